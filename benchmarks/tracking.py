"""Tracking at scale: a synthetic DAG of 2,000 outputs in two phases, each with its own source files as inputs.

    python benchmarks/tracking.py [--outputs 2000]

Prints a Markdown table of seconds and CPU seconds, each for one whole command. Goals: adopt under 1 s if there is
nothing to adopt, record under 15 s.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from coder_clip.tracking import ledger
from coder_clip.tracking.hashes import Hashes
from coder_clip.tracking.snakemake import Records, plan

ROOT = Path(__file__).parents[1]
OFF = {"CODER_CLIP_TRACKING": "off"}
GOALS = {"adopt, nothing to adopt": "1", "record, one output changed": "15"}
SNAKEFILE = """
import os
import yaml
CONFIG_FILE = "config/reproduce.yaml"
CONFIG = yaml.safe_load(open(CONFIG_FILE))
N = range(CONFIG["outputs"] // 2)

include: "tracking.smk"

onstart:
    tracking.on_start(workflow, CONFIG_FILE)

rule all:
    default_target: True
    input: expand("results/{phase}/{i}.txt", phase=["first", "second"], i=N)

rule one:
    input: sources=expand("src/{k}.py", k=range(20))
    output: "results/first/{i}.txt"
    params: reads={"scale": CONFIG["scale"]}
    shell: "echo {wildcards.i} {params.reads[scale]} > {output}"

rule two:
    input: "results/first/{i}.txt", sources=expand("src/{k}.py", k=range(10, 30))
    output: "results/second/{i}.txt"
    params: reads=lambda w: {"shift": CONFIG["shift"] if w.i == "0" else 0}
    shell: "echo {wildcards.i} {params.reads[shift]} > {output}"
"""
PHASES = """
phases:
  first:
    target: all
    makes: [first]
    rules: {one: {command: "echo {wildcards.i} {params.reads[scale]} > {output}"}}
  second:
    target: all
    makes: [second]
    rules: {two: {command: "echo {wildcards.i} {params.reads[shift]} > {output}"}}
"""


def run(folder: Path, *command: str | Path, **more: str) -> tuple[float, float]:
    """Seconds and CPU seconds of a command that must succeed. more: environment variables."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, **more}
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def make(folder: Path, outputs: int) -> None:
    """Write the finished project as if Snakemake had made it, because thousands of jobs would measure the shell."""
    for name, text in (
        ("Snakefile", SNAKEFILE),
        ("workflow/phases.yaml", PHASES),
        (".gitignore", "/results/\n/.snakemake/\n"),
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    shutil.copy(ROOT / "workflow/rules/tracking.smk", folder)
    for name in ("src", "config", "results/first", "results/second"):
        (folder / name).mkdir(parents=True)
    for k in range(30):
        (folder / f"src/{k}.py").write_text(f"# source {k}\n" * 200)
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
    note_all(folder)
    run(folder, "snakemake", "-n", **OFF)


def commit(folder: Path) -> None:
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "-m", "results")


def note_all(folder: Path) -> None:
    """Write the records of Snakemake and of the ledger as after finished jobs."""
    here = Path.cwd()
    os.chdir(folder)
    records, hashes, where = Records(), Hashes(), ledger.environment(here=True)
    for job in plan("config/reproduce.yaml"):
        made = replace(job.recipe, inputs={p: hashes.sha256(p) for p in job.recipe.input})
        for path in job.outputs:
            records.write(path, made, os.stat(path).st_mtime)
            ledger.add({path: hashes.sha256(path)}, made, where)
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
        seconds["snakemake -n, no tracking"] = run(work, *dry, **OFF)
        seconds["status"] = run(work, "coder-clip", "status", "--no-remote")
        seconds["adopt, nothing to adopt"] = run(work, "coder-clip", "adopt")
        seconds["record, nothing changed"] = run(work, "coder-clip", "record")
        (work / "config/reproduce.yaml").write_text(f"outputs: {outputs}\nscale: 1\nshift: 1\n")
        run(work, "snakemake", "--cores", "1", "--quiet", "all", DVC_STAGE="none")  # does not record
        seconds["record, one output changed"] = run(work, "coder-clip", "record")
        commit(work)
        seconds["push"] = run(work, "coder-clip", "push")
        run(work, "git", "clone", "--quiet", work, clone)
        seconds["pull into a clone"] = run(clone, "coder-clip", "pull")
        seconds["snakemake -n after it"] = run(clone, *dry)
        size = sum(p.stat().st_size for p in (work / "results/provenance").iterdir())
    print(
        f"{outputs:,} outputs in two phases; the records hold {size / 1e6:.1f} MB. {os.cpu_count()} cores, load"
    )
    print(
        f"average {os.getloadavg()[1]:.1f} over 5 minutes: where other work ran, CPU seconds are the better measure.\n"
    )
    print("| what | seconds | CPU seconds | goal, seconds |\n| --- | ---: | ---: | ---: |")
    for what, (wall, cpu) in seconds.items():
        print(f"| {what} | {wall:.1f} | {cpu:.1f} | {GOALS.get(what, '')} |")


if __name__ == "__main__":
    main()
