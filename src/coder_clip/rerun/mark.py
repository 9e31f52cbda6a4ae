"""Lets Snakemake start the jobs that must run, and no others.

Snakemake starts a job if an input is newer than an output. Here times say nothing, so all inputs
are ancient to it, except one: the mark, an input of every job that is newer than everything. Its
time counts for the jobs that must run.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import IO, Any

from .hashes import STATE
from .judge import FOLLOWS, Judge
from .record import Job

MARK = str(STATE / "must-run")
RUN = STATE / "run"  # locked while runs make files here
# environment variable: names of the jobs that the plan has judged and that must run, one a line
TO_RUN = "RERUN_TO_RUN"
_held: list[IO[str]] = []  # kept open, because a closed file loses its lock


class Marks:
    """The inputs of jobs, as Snakemake gets them: ancient, or with a time that counts.

    judge: of all jobs. workflow: Snakemake's. say: called, when the DAG is made, with the jobs that
    must run and why. In a process of Snakemake that runs one given job, as
    on a node of a cluster, all inputs are ancient.
    """

    def __init__(
        self, judge: Judge, workflow: Any, say: Callable[[dict[str, str]], None] = lambda _: None
    ) -> None:
        self._judge, self._workflow, self._say = judge, workflow, say

    def inputs(self, job: Job) -> list[Any]:
        """The mark and the inputs of a job, in their order."""
        from snakemake.io import ancient

        counts = self._counts.get(job.name, set())
        return [path if path in counts else ancient(path) for path in (MARK, *job.inputs)]

    @cached_property
    def _counts(self) -> dict[str, set[str]]:
        """Name of a job -> inputs whose time counts. Found when the DAG is made: Snakemake does not
        know earlier which jobs are forced.
        """
        if not self._workflow.is_main_process:
            return {}
        judge, found, made = self._judge, {}, [0.0]
        reasons = judge.must_run(forced(self._workflow.dag_settings))
        self._say(reasons)
        judge.hashes.save()
        # jobs that follow from others are judged when their inputs are there
        os.environ[TO_RUN] = "\n".join(name for name, why in reasons.items() if why != FOLLOWS)
        for job in judge.jobs:
            there = [path for path in job.outputs if os.path.isfile(path)]
            counts = {MARK} if job.name in reasons else set()
            # Snakemake also starts jobs on its own, whose files a killed run left half-written.
            # Behind such a job it finds nothing to do if all inputs are ancient: the run would end
            # well with files missing. So for jobs that must make something, the times of all made
            # inputs count.
            if counts or len(there) < len(job.outputs):
                counts |= judge.makers.keys() & set(job.inputs)
                made += [os.stat(path).st_mtime for path in there]
            found[job.name] = counts
        set_mark(max(made) + 1)
        return found


def set_mark(seconds: float) -> None:
    """Make the mark, or move its time to a later one.

    The mark is a link to a folder. Snakemake plans by the time of the folder, and after a job it
    compares the outputs with the time of the link. A small file would be compared by content.
    """
    mark = Path(MARK)
    folder = mark.with_name("must-run.time")
    folder.mkdir(parents=True, exist_ok=True)
    if folder.stat().st_mtime < seconds:
        os.utime(folder, (seconds, seconds))
    # the link exists from an earlier run, or another process was faster
    with suppress(FileExistsError):
        mark.symlink_to(folder.name)


def start(workflow: Any) -> None:
    """Before the first job: hold a lock until this process ends, while which `running` is true."""
    now = time.time()
    for path in {str(path) for job in workflow.dag.needrun_jobs() for path in job.input}:
        # Snakemake calls a job failed if the time of an input is in the future
        if os.path.isfile(path) and os.lstat(path).st_mtime > now:
            os.utime(path, (now, now), follow_symlinks=False)
    RUN.parent.mkdir(parents=True, exist_ok=True)
    _held.append(RUN.open("a", encoding="utf-8"))
    with suppress(OSError):  # a file system without locks
        fcntl.flock(_held[-1], fcntl.LOCK_SH)  # other configurations can run at the same time


def running() -> bool:
    """True while a run makes files here. The lock of a killed run is free."""
    with suppress(FileNotFoundError), RUN.open(encoding="utf-8") as stream:
        try:
            # only a test: closing the file frees the lock at once
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            pass  # a file system without locks
    return False


def forced(settings: Any) -> Callable[[Job], bool]:
    """True for the jobs that Snakemake's settings of the DAG force: by rule or by file."""
    names = {*settings.forcerun, *(settings.targets if settings.forcetargets else ())}
    texts = set(map(str, names))

    def is_forced(job: Job) -> bool:
        rule = job.name.split("/")[1]
        return settings.forceall or rule in texts or not texts.isdisjoint(job.outputs)

    return is_forced
