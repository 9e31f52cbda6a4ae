"""The head node's work for the whole paper on a Slurm cluster.

All models and data sets, images in 8 shards.

    python benchmarks/slurm.py [--shards 8] [--config config/paper.yaml]

Starts the cluster of the tests (of the executor's package), plans the paper without images and runs
it with the profile for Slurm. The head does all its work: planning, sbatch, the journal, the queue,
records. Only the jobs
are replaced: `precommand` of the profile becomes a process that makes the job's files and ends, and
commands of local rules make theirs. Prints a Markdown table. Goals: more than 500 jobs with less
than 1 GB and less than one core.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import yaml

from coder_clip.foundation.installed import slurm_advice

if TYPE_CHECKING:
    from cluster import Cluster

ROOT = Path(__file__).parents[1]
CLUSTER = ROOT / "packages/snakemake-executor-plugin-slurm-resilient/tests/support"
JOURNALS = ".snakemake/slurm-resilient/jobs/*.jsonl"
# A job of a node: looks up its files in the journal (the line with its id comes after sbatch) and
# makes them.
JOB = f"""
import glob, json, os, time
job = os.environ["SLURM_JOB_ID"]
key = None
while key is None:
    entries = {{}}
    for line in open(glob.glob("{JOURNALS}")[0]):
        if line.endswith("\\n"):
            entry = json.loads(line)
            entries.setdefault(entry["key"], entry)
            if entry.get("id") == job:
                key = entry["key"]
    time.sleep(0.1)
for path in entries[key]["makes"]:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, "w").write(path)
"""
LOCAL = "for f in {output}; do echo $f > $f; done"


@dataclass
class Head:
    """Measurements of the head process and its children (sbatch, squeue), every half second."""

    planning: float = 0.0  # seconds to the first submission
    seconds: float = 0.0
    cpu: float = 0.0  # seconds, children's too
    busiest: float = 0.0  # cores, over the busiest minute
    memory: int = 0  # bytes: the process and its children together, at most
    planning_memory: int = 0
    _past: list[tuple[float, float]] = field(default_factory=list)

    def watch(self, process: subprocess.Popen[str], folder: Path) -> int:
        """Measure until the process ends; return its status."""
        start = time.monotonic()
        head = psutil.Process(process.pid)
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):  # it has just ended
                self.look(head, time.monotonic() - start)
            if not self.planning and any(folder.glob(JOURNALS)):
                self.planning, self.planning_memory = time.monotonic() - start, self.memory
            time.sleep(0.5)
        self.seconds = time.monotonic() - start
        return process.returncode

    def look(self, head: psutil.Process, now: float) -> None:
        memory = 0
        for process in (head, *head.children(recursive=True)):
            try:
                memory += process.memory_full_info().pss  # pages shared by a fork counted once
            except psutil.NoSuchProcess:
                continue
        times = head.cpu_times()
        self.cpu = sum(times[:4])
        self.memory = max(self.memory, memory)
        self._past = [(t, c) for t, c in self._past if t >= now - 60.5] + [(now, self.cpu)]
        since, before = self._past[0]
        if now - since > 59:
            self.busiest = max(self.busiest, (self.cpu - before) / (now - since))


def copy(folder: Path, config: str, shards: int) -> None:
    """A copy of the repository whose jobs only make their files."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True
    )
    for name in listed.stdout.decode().rstrip("\0").split("\0"):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "docs/", "results/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    common = folder / "workflow/rules/common.smk"
    certified = (
        'return f"{job} --inputs {{input:q}} --outputs {{output:q}} -- {command} 2> {{log}}"'
    )
    text = common.read_text(encoding="utf-8")
    assert certified in text
    common.write_text(text.replace(certified, f'return "{LOCAL}"'), encoding="utf-8")
    for rules in (folder / "workflow/rules").glob("*.smk"):
        # a job that only makes its files measures nothing
        text = re.sub(r"\n *benchmark:\n.*", "", rules.read_text(encoding="utf-8"))
        rules.write_text(text, encoding="utf-8")
    document = yaml.safe_load((folder / config).read_text(encoding="utf-8"))
    document["features"]["shards"] = shards
    (folder / config).write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    (folder / "job.py").write_text(JOB)
    snakefile = (folder / "Snakefile").read_text(encoding="utf-8")
    assert "        preflight()\n" in snakefile
    # neither images nor a key are here, and no job needs them
    (folder / "Snakefile").write_text(
        snakefile.replace("        preflight()\n", "        pass\n"), encoding="utf-8"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--config", default="config/paper.yaml")
    options = parser.parse_args()
    if not CLUSTER.is_dir():
        print(f"Not measured: {slurm_advice()}")
        return
    sys.path.insert(0, str(CLUSTER))
    from cluster import Cluster, missing  # not at the top: the executor's package may be missing

    reason = missing()
    if reason:
        print(f"Not measured: {reason}")
        return
    with tempfile.TemporaryDirectory(prefix="coder-clip-") as parent:
        Path(parent).chmod(0o755)  # munge refuses a socket in a private folder
        cluster = Cluster(
            Path(parent) / "cluster", 17310, cpus=256, memory=4_000_000, gpus=64, minutes=10_000
        )
        folder = Path(parent) / "work"
        copy(folder, options.config, options.shards)
        cluster.start()
        try:
            result = measure(folder, cluster, options.config)
        finally:
            cluster.cancel_all()
            cluster.stop()
    tell(options.config, options.shards, result)


def measure(folder: Path, cluster: Cluster, config: str) -> dict[str, float]:
    environment = {
        **os.environ,
        **cluster.environment,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{cluster.environment['PATH']}",
        "PYTHONPATH": f"{folder}/src:{folder}/packages"
        "/snakemake-executor-plugin-slurm-resilient/src",
    }
    environment.pop("CODER_CLIP_DATA", None)
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--profile",
        "workflow/profiles/slurm",
        "--configfile",
        config,
    ]
    command += ["--precommand", f"exec {sys.executable} -S job.py"]
    head = Head()
    with (folder / "run.log").open("w") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, text=True
        )
        status = head.watch(process, folder)
    said = (folder / "run.log").read_text()
    if status:
        sys.exit(f"{said[:3000]}\n…\n{said[-5000:]}")
    lines = [json.loads(line) for line in next(folder.glob(JOURNALS)).read_text().splitlines()]
    submitted = Counter(line["rule"] for line in lines if "rule" in line)
    # the run's own first line: "2,455 jobs: texts 28, …"
    planned = re.search(r"^([\d,]+) jobs: ", said, re.MULTILINE)
    assert planned is not None, said[:3000]
    ended = (cluster.folder / "log/jobcomp.log").read_text().count("JobState=COMPLETED")
    return {
        "planned": int(planned[1].replace(",", "")),
        "submitted": sum(submitted.values()),
        "in_groups": sum(n for name, n in submitted.items() if "-" in name),
        "completed": ended,
        "planning": head.planning,
        "planning_memory": head.planning_memory,
        "seconds": head.seconds,
        "cpu": head.cpu,
        "busiest": head.busiest,
        "memory": head.memory,
        "load": os.getloadavg()[2],
    }


def tell(config: str, shards: int, r: dict[str, float]) -> None:
    rows = (
        ("jobs of the DAG", f"{r['planned']:.0f}", ""),
        ("sbatch calls", f"{r['submitted']:.0f} ({r['in_groups']:.0f} of them groups)", ""),
        ("jobs that Slurm completed", f"{r['completed']:.0f}", ""),
        (
            "planning, to the first sbatch",
            f"{r['planning']:.0f} s, {r['planning_memory'] / 1e6:.0f} MB",
            "",
        ),
        ("whole run", f"{r['seconds'] / 60:.1f} min", ""),
        ("memory at most", f"{r['memory'] / 1e6:.0f} MB", "< 1000 MB"),
        ("computing", f"{r['cpu']:.0f} s, {1000 * r['cpu'] / r['submitted']:.0f} ms a job", ""),
        ("cores, whole run", f"{r['cpu'] / r['seconds']:.2f}", "< 1"),
        ("cores, busiest minute", f"{r['busiest']:.2f}", "< 1"),
    )
    print(
        f"All models and data sets of {config} with {shards} shards: the head process with its "
        "sbatch and squeue.\n"
        "Planned without images. What a job computes is replaced (`precommand` makes its files and "
        "ends it), and so\n"
        "are the commands of local rules; nothing is recorded in DVC. All else is a real run on a "
        "real Slurm of three\n"
        f"nodes on the same {os.cpu_count()} cores (load average {r['load']:.1f} over 15 "
        "minutes).\n"
    )
    print("| what | here | goal |\n| --- | ---: | ---: |")
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
