"""Tracking at scale: a synthetic DAG of 2,000 outputs in two phases, each with twenty source files.

    python benchmarks/tracking.py [--outputs 2000]

Prints a Markdown table of seconds and CPU seconds, each for one whole command. Goal: record under
15 s."""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from coder_clip.foundation.blocks import Code
from coder_clip.foundation.hashes import Hashes
from coder_clip.pipeline.phase_list import Call
from coder_clip.tracking.certificates import Certificate
from coder_clip.tracking.plan import plan

ROOT = Path(__file__).parents[1]
GOALS = {"record, one output changed": "15"}
SNAKEFILE = """
import os
import yaml
CONFIG_FILE = "config/reproduce.yaml"
CONFIG = yaml.safe_load(open(CONFIG_FILE))
N = range(CONFIG["outputs"] // 2)

RESULTS_FOLDER = "results"
JOB_PROGRAM = "job.py"
KNOWN_FOLDERS = []
CONSTRAINTS = {"i": "[0-9]+"}


def certify(command):
    return f"python {JOB_PROGRAM} {{params.job:q}} -- " + command


include: "tracking.smk"
include: "workflow/rules/first.smk"
include: "workflow/rules/second.smk"


rule all:
    default_target: True
    input: expand("results/{phase}/{i}.txt", phase=["first", "second"], i=N)


list_jobs()
"""
RULES = {
    "first": """
rule one:
    input: outdated()
    output: "results/first/{i}.txt"
    params: job=job()
    shell: certify("toy one {wildcards.i}")
""",
    "second": """
rule two:
    input: outdated(), "results/first/{i}.txt"
    output: "results/second/{i}.txt"
    params: job=job()
    shell: certify("toy two {wildcards.i}")
""",
}
PHASES = """
phases:
  first:
    target: all
    makes: [first]
  second:
    target: all
    makes: [second]
"""


def run(folder: Path, *command: str | Path, **more: str) -> tuple[float, float]:
    """Seconds and CPU seconds of a command that must succeed. more: environment variables."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, **more}
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def make(folder: Path, outputs: int) -> None:
    """Write the finished project as if Snakemake had made it.

    Thousands of jobs would measure the shell.
    """
    for name, text in (
        ("Snakefile", SNAKEFILE),
        ("workflow/phases.yaml", PHASES),
        *((f"workflow/rules/{phase}.smk", rule) for phase, rule in RULES.items()),
        (".gitignore", "/results/\n/.snakemake/\n"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    shutil.copy(ROOT / "workflow/rules/tracking.smk", folder)
    for name in ("src", "config", "results/first", "results/second"):
        (folder / name).mkdir(parents=True)
    for k in range(30):
        functions = (f"def f{i}(x):\n    return x + {k}\n" for i in range(50))
        (folder / f"src/{k}.py").write_text("\n\n".join(functions))
    (folder / "config/reproduce.yaml").write_text(f"outputs: {outputs}\nscale: 1\nshift: 0\n")
    for i in range(outputs // 2):
        (folder / f"results/first/{i}.txt").write_text(f"{i} 1\n")
        (folder / f"results/second/{i}.txt").write_text(f"{i} 0\n")
    run(folder, "git", "init", "--quiet", "--initial-branch", "main")
    run(folder, "git", "config", "user.name", "benchmark")
    run(folder, "git", "config", "user.email", "benchmark@example.org")
    run(folder, "dvc", "init", "--quiet")
    for key in ("core.analytics", "core.check_update"):
        run(folder, "dvc", "config", key, "false")
    run(folder, "dvc", "remote", "add", "--default", "store", "../store")
    certify_all(folder)


def commit(folder: Path) -> None:
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "-m", "results")


def certify_all(folder: Path) -> None:
    """Write the certificates as after finished jobs."""
    here = Path.cwd()
    os.chdir(folder)
    hashes = Hashes()
    bodies = ((f"src/{k}.py", f"f{i}()") for k in range(30) for i in range(10))
    blocks = Code(Path("src").absolute()).closure(bodies)
    config = yaml.safe_load(Path("config/reproduce.yaml").read_text())
    for job in plan("config/reproduce.yaml").jobs:
        inputs, outputs = (
            {path: hashes.sha256(path) for path in of} for of in (job.inputs, job.outputs)
        )
        i = job.wildcards["i"]
        key = "scale" if job.rule == "one" else "shift"
        values = {key: config[key]} if job.rule == "one" or i == "0" else {}
        command = f"toy {job.rule} {i}"
        call = str(Call.of(command))
        made = Certificate(job.rule, command, call, values, {}, blocks, inputs, {}, outputs)
        made.write(job.certificate("results"))
    os.chdir(here)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--outputs", type=int, default=2000)
    outputs = parser.parse_args().outputs
    with tempfile.TemporaryDirectory() as parent:
        work, clone = Path(parent) / "work", Path(parent) / "clone"
        work.mkdir()
        make(work, outputs)
        dry = ("snakemake", "-n", "--quiet", "all")
        seconds = {"first record of everything": run(work, "coder-clip", "record")}
        commit(work)
        seconds["snakemake -n"] = run(work, *dry)
        seconds["status"] = run(work, "coder-clip", "status", "--no-remote")
        seconds["record, nothing changed"] = run(work, "coder-clip", "record")
        (work / "config/reproduce.yaml").write_text(f"outputs: {outputs}\nscale: 1\nshift: 1\n")
        (work / "results/second/0.txt").write_text("0 1\n")
        certify_all(work)
        seconds["record, one output changed"] = run(work, "coder-clip", "record")
        commit(work)
        seconds["push"] = run(work, "coder-clip", "push")
        run(work, "git", "clone", "--quiet", work, clone)
        seconds["pull into a clone"] = run(clone, "coder-clip", "pull")
        seconds["snakemake -n after it"] = run(clone, *dry)
        size = sum(p.stat().st_size for p in (work / "results/certificates").rglob("*.json"))
    print(
        f"{outputs:,} outputs in two phases; the certificates hold {size / 1e6:.1f} MB. "
        f"{os.cpu_count()} cores, load"
    )
    print(
        f"average {os.getloadavg()[1]:.1f} over 5 minutes: where other work ran, CPU seconds are "
        "the better measure.\n"
    )
    print("| what | seconds | CPU seconds | goal, seconds |\n| --- | ---: | ---: | ---: |")
    for what, (wall, cpu) in seconds.items():
        print(f"| {what} | {wall:.1f} | {cpu:.1f} | {GOALS.get(what, '')} |")


if __name__ == "__main__":
    main()
