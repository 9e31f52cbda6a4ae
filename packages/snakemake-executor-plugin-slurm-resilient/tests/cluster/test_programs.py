"""Slurm's programs cannot be started for a while, or answer with any of Slurm's errors: the run
waits, and no job is lost or runs twice.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

from cluster import Cluster, eventually
from toy_run import Run, toy

pytestmark = pytest.mark.rest

# In the head's process: these programs of Slurm fail to start at their calls FIRST to LAST, or end
# with a message.
FAULTS = """
import errno, os, subprocess
from collections import Counter

PROGRAMS, FAULT, FIRST, LAST = {programs}, {fault!r}, {first}, {last}
calls = Counter()
start = subprocess.Popen.__init__


def init(self, args, *more, **options):
    name = os.path.basename(args[0]) if isinstance(args, (list, tuple)) else ""
    if name in PROGRAMS:
        calls[name] += 1
        with open("{calls}", "a") as stream:
            print(name, calls[name], file=stream)
        if FIRST <= calls[name] <= LAST:
            code = getattr(errno, FAULT, None)
            if code is not None:
                raise OSError(code, os.strerror(code), name)
            args = ("sh", "-c", "echo \\"$0\\" >&2; exit 1", name + ": error: " + FAULT)
    start(self, args, *more, **options)


subprocess.Popen.__init__ = init
"""
# All but a program that is not here at the first call, which is not installed
CODES = ("EACCES", "EAGAIN", "ENOMEM", "ESTALE", "ENOSPC")


PROGRAMS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "sacct")


def inject(
    run: Run, fault: str, first: int, last: int, programs: tuple[str, ...] = PROGRAMS
) -> Path:
    """Let programs fail in the head; the file that lists its calls.

    fault: the name of an errno at their start, or a message with which they end."""
    folder = run.folder / "faults"
    folder.mkdir(exist_ok=True)
    calls = folder / "calls"
    values = {"fault": fault, "first": first, "last": last, "calls": calls, "programs": programs}
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


# Faults of sacct, and the first call that meets them. What it says while the database is away is in
# the words of Slurm 24.11.
TALK = "Problem talking to the database: "
NO_START = [*((code, 1) for code in CODES), ("ENOENT", 2)]
NO_ANSWER = [(TALK + "Connection refused", 1), (TALK + "Unspecified error", 1), ("", 1)]
FINAL = [("Slurm accounting storage is disabled", 1), (TALK + "Access/permission denied", 1)]


@pytest.mark.parametrize("faults", [NO_START, NO_ANSWER + FINAL])
def test_sacct_that_gives_no_answer_is_waited_for(
    tmp_path: Path, accounting: Cluster, faults: list[tuple[str, int]]
) -> None:
    """It alone knows how a job ended that the controller has forgotten: it was cancelled.

    A final answer is as good as no database: then the files of the jobs tell. The runs are side by
    side. While the heads are stopped, one job of each ends well, and one is cancelled."""
    runs = []
    ids: set[str] = set()
    for fault, first in faults:
        run = toy(tmp_path / f"toy-{len(runs)}", accounting, jobs=["held_a", "held_b"])
        inject(run, fault, first, first + 2, programs=("sacct",))
        runs.append(run.start())
    for run in runs:
        run.starts("held_a", "held_b")
        run.kill(signal.SIGSTOP)
        ids.update(run.started("held_a"), run.started("held_b"))
        run.go("held_a")
        accounting.run("scancel", *run.started("held_b"))
    eventually("the end of all", lambda: not accounting.live())
    eventually("all are forgotten", lambda: not {job.id for job in accounting.jobs()} & ids)
    for run in runs:
        run.kill(signal.SIGCONT)
        run.go("held_b")
    for run, fault in zip(runs, faults, strict=True):
        assert run.wait(600) == 0, run.said()
        assert "Traceback" not in run.said()
        assert [len(run.started(job)) for job in ("held_a", "held_b")] == [1, 2], run.said()
        known = "was cancelled" in run.said()
        assert known == (fault not in FINAL), run.said()
        calls = (run.folder / "faults/calls").read_text().count("sacct")
        assert calls > 3 or not known, "the faults were met"


def test_a_database_that_is_away(tmp_path: Path, accounting: Cluster) -> None:
    """The real one, for seconds: it is told in one line that names it, and the run goes on."""
    run = toy(tmp_path / "toy", accounting, jobs=["held_a"]).start()
    run.starts("held_a")
    (id,) = run.started("held_a")
    run.kill(signal.SIGSTOP)
    accounting.run("scancel", id)
    eventually("it is forgotten", lambda: id not in {job.id for job in accounting.jobs()})
    accounting.stop_database()
    try:
        run.kill(signal.SIGCONT)
        run.says("Slurm's accounting database does not answer (sacct: error: ")
        time.sleep(10)  # looks of the queue are answered meanwhile, and end no wait
    finally:
        accounting.start_database()
    run.says("This run waits no longer for Slurm's accounting database after")
    run.go("held_a")
    assert run.wait() == 0, run.said()
    assert run.said().count("database does not answer") == 1
    assert "The Slurm controller" not in run.said(), "which was never away"
    assert "was cancelled" in run.said()
    assert len(run.started("held_a")) == 2
