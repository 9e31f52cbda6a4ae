"""The one place that turns the judge's answer into what Snakemake does (docs/architecture.md).

Snakemake starts a job if an input is newer than an output. Here times say nothing, so all inputs
are ancient to it, except one: the mark, an input of every job that is newer than everything. Its
time counts for the jobs that must run. workflow/rules/tracking.smk calls these functions.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from ..errors import UserError
from ..foundation.locks import RUN
from ..foundation.reads import lookup
from ..pipeline.environment import foreign_code
from .certificates import Job
from .judge import FOLLOWS, MISSING, NONE, TO_RUN, Judge
from .plan import known
from .stages import SameFolder, tracked

MARK = ".snakemake/coder-clip/must-run"
# lock files of this process, kept open because a closed file loses its lock
_held: list[IO[str]] = []


def begin(
    file: str, results: str | Path, config: Any, jobs: list[Job], settings: Any
) -> dict[str, dict[str, bool]]:
    """Judge all certificates when Snakemake makes the DAG. Changes no result.

    Returns job -> input -> True if the time of that input counts: of the mark for jobs that must
    run, of made files for those that must make something. All inputs are listed, in their order,
    because Snakemake passes them to the job in this order.
    file: of the configuration. settings: Snakemake's settings of the DAG, which name forced jobs.
    """
    reason = foreign_code()
    if reason:
        sys.exit(f"coder-clip: error: {reason}")
    try:
        tracked(file)
    except SameFolder as error:  # said before jobs overwrite results of the other configuration
        print(f"coder-clip: {error}", file=sys.stderr, flush=True)
    except UserError:
        pass  # `finish` says it
    _check_stage(file, results, config, jobs, after=False)
    judge = Judge(results, jobs, lambda key: lookup(config, key))
    reasons = judge.must_run(_forced(settings))
    judge.hashes.save()
    _say_why(reasons)
    # jobs that follow from others are judged when their inputs are there
    os.environ[TO_RUN] = "\n".join(name for name, why in reasons.items() if why != FOLLOWS)
    # Snakemake also starts jobs on its own, whose files a killed run left half-written. Behind such
    # a job it finds nothing to do if all inputs are ancient: the run would end well with files
    # missing. So for jobs that must make something, the times of all made inputs count.
    to_make = {
        job.name: job
        for job in jobs
        if job.name in reasons or not all(map(os.path.isfile, job.outputs))
    }
    made = {path for job in to_make.values() for path in job.outputs}
    set_mark(
        max((os.stat(path).st_mtime for path in made if os.path.isfile(path)), default=0.0) + 1
    )
    return {
        job.name: {
            MARK: job.name in reasons,
            **{path: job.name in to_make and path in judge.makers for path in job.inputs},
        }
        for job in jobs
    }


def _say_why(reasons: Mapping[str, str]) -> None:
    """Say how many results of earlier runs are made again, and why."""
    changed = [why for why in reasons.values() if why not in (FOLLOWS, MISSING, NONE)]
    if changed:
        kinds = Counter(why.partition(" (")[0] for why in changed)
        said = ", ".join(f"{kind} ({count})" for kind, count in kinds.most_common())
        print(
            f"made again: {len(reasons)} jobs, because {said}; 'coder-clip status' tells more",
            file=sys.stderr,
            flush=True,
        )


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
    """Before the first job: hold a lock until this process ends.

    While it is held, nothing is pulled.
    """
    now = time.time()
    for path in {str(path) for job in workflow.dag.needrun_jobs() for path in job.input}:
        # Snakemake calls a job failed if the time of an input is in the future
        if os.path.isfile(path) and os.lstat(path).st_mtime > now:
            os.utime(path, (now, now), follow_symlinks=False)
    RUN.parent.mkdir(parents=True, exist_ok=True)  # a run that only downloads judges nothing
    _held.append(RUN.open("a", encoding="utf-8"))
    with suppress(OSError):  # a file system without locks
        fcntl.flock(_held[-1], fcntl.LOCK_SH)  # other configurations can run at the same time


def _forced(settings: Any) -> list[str]:
    """Rules and files that run in any case; * for all."""
    forced = ["*"] if settings.forceall else [*settings.forcerun]
    if settings.forcetargets:
        forced += settings.targets
    return list(map(str, forced))


def job_name(rule: str, wildcards: Mapping[str, str]) -> str:
    """Name of a job (`Job.name`) from what Snakemake knows of it."""
    return Job(rule, dict(wildcards.items())).name


def finish(file: str, results: str | Path, config: Any, jobs: list[Job]) -> None:
    """Record finished phases at the end of a run. Problems are printed, and the run succeeds."""
    from .record import STAGE, record

    if STAGE in os.environ:
        _check_stage(file, results, config, jobs, after=True)
        return
    try:
        lines = record(file).lines
    except (UserError, OSError) as error:
        lines = [str(error)]
    for line in lines:
        print(f"coder-clip: {line}", file=sys.stderr, flush=True)


def _check_stage(file: str, results: str | Path, config: Any, jobs: list[Job], after: bool) -> None:
    """Under `dvc repro`, which records what it finds: end with an error if that is not complete."""
    from .record import STAGE, check_stage

    if STAGE in os.environ:
        try:
            check_stage(file, known(results, config, jobs), after)
        except UserError as error:
            sys.exit(f"coder-clip: error: {error}")
