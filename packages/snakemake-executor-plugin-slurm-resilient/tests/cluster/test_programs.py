"""Slurm's programs cannot be started for a while, or answer with any of Slurm's errors: the run
waits, and no job is lost or runs twice.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from cluster import Cluster, eventually
from toy_run import Run, toy

pytestmark = pytest.mark.rest

# In the head's process: each program of Slurm fails to start at its calls FIRST to LAST.
FAULTS = """
import errno, os, subprocess
from collections import Counter

CODE, FIRST, LAST = getattr(errno, "{code}"), {first}, {last}
calls = Counter()
start = subprocess.Popen.__init__


def init(self, args, *more, **options):
    name = os.path.basename(args[0]) if isinstance(args, (list, tuple)) else ""
    if name in ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "sacct"):
        calls[name] += 1
        with open("{calls}", "a") as stream:
            print(name, calls[name], file=stream)
        if FIRST <= calls[name] <= LAST:
            raise OSError(CODE, os.strerror(CODE), name)
    start(self, args, *more, **options)


subprocess.Popen.__init__ = init
"""
# All but a program that is not here at the first call, which is not installed
CODES = ("EACCES", "EAGAIN", "ENOMEM", "ESTALE", "ENOSPC")


def inject(run: Run, code: str, first: int, last: int) -> Path:
    """Let programs fail in the head; the file that lists its calls."""
    folder = run.folder / "faults"
    folder.mkdir(exist_ok=True)
    calls = folder / "calls"
    values = {"code": code, "first": first, "last": last, "calls": calls}
    (folder / "sitecustomize.py").write_text(FAULTS.format(**values))
    before = os.environ.get("PYTHONPATH")
    run.more["PYTHONPATH"] = os.pathsep.join([str(folder), *([before] if before else [])])
    return calls


@pytest.mark.parametrize(("code", "first"), [*((code, 1) for code in CODES), ("ENOENT", 2)])
def test_a_program_that_cannot_be_started_is_waited_for(
    shared_folder: Path, cluster: Cluster, code: str, first: int
) -> None:
    """A file system that was away for seconds ends the head, and with it a run of days.

    A killed head's job is cancelled, a job fails and is looked up, and others are submitted."""
    run = toy(shared_folder, cluster, jobs=["held_a", "once", "ok"]).start("out/held_a.txt")
    run.starts("held_a")
    run.kill(signal.SIGKILL)
    run.wait()
    run.config["content"] = "two"
    calls = inject(run, code, first, first + 1)
    run.go("held_a")
    eventually("its end", lambda: not cluster.live())
    assert run.start("--rerun-triggers", "params", "mtime").wait() == 0, run.said()
    assert "Traceback" not in run.said()
    tries = [len(run.started(name)) for name in ("held_a", "once", "ok")]
    assert tries == [2, 2, 1], "one of each content; a failure and its retry; one"
    called = set(calls.read_text().splitlines())
    assert {f"sbatch {first + 2}", f"squeue {first + 2}"} <= called


def test_squeue_that_is_not_executable_for_seconds(shared_folder: Path, cluster: Cluster) -> None:
    """As while the site's Slurm is updated: one line after five seconds, and the run goes on."""
    run = toy(shared_folder, cluster, jobs=["held_a", "held_b"])
    squeue = run.own_squeue()
    run.start()
    run.starts("held_a", "held_b")
    squeue.chmod(0o644)
    run.says("The Slurm controller does not answer (squeue cannot be started: Permission denied)")
    run.go("held_a")
    squeue.chmod(0o755)
    run.says("is back after")
    run.go("held_b")
    assert run.wait() == 0, run.said()
    assert run.said().count("does not answer") == 1
    assert [len(run.started(name)) for name in ("held_a", "held_b")] == [1, 1]


def test_a_head_that_gives_up_leaves_its_jobs_and_their_folders(
    shared_folder: Path, cluster: Cluster
) -> None:
    """Snakemake removes empty folders at its end; a job that runs on could not write its file."""
    run = toy(shared_folder, cluster, jobs=["held_a"])
    wrappers = shared_folder / "wrappers"
    wrappers.mkdir()
    squeue = wrappers / "squeue"
    broken = shared_folder / "broken"
    words = "slurm_load_jobs error: Unspecified error"
    squeue.write_text(
        f'#!/bin/sh\n[ -e {broken} ] && {{ echo "{words}" >&2; exit 1; }}\n'
        f'exec {shutil.which("squeue")} "$@"\n'
    )
    squeue.chmod(0o755)
    run.more["PATH"] = f"{wrappers}{os.pathsep}{run.environment['PATH']}"
    run.start("--slurm-resilient-patience", "2")
    run.starts("held_a")
    broken.touch()
    assert run.wait() == 1
    said = re.findall(r".*Jobs keep running: the next run goes on with them.*", run.said())
    assert words in said[0]
    assert "Traceback" not in run.said()
    assert (shared_folder / "out").is_dir()
    broken.unlink()
    run.go("held_a")
    eventually("its end", lambda: not cluster.live())
    assert run.start().wait() == 0, run.said()
    assert len(run.started("held_a")) == 1
