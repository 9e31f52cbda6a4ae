"""Certificates of results, and DVC: which jobs must run, what is recorded, pushed, pulled and merged.

The process of a job certifies what it makes (certify.py), and one judge (judge.py) decides which certificates hold in a
working tree. Snakemake runs the other jobs; `record` commits whole phases to DVC, certificates included
(docs/sharing.md). workflow/rules/tracking.smk calls the functions below.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from ..errors import UserError
from ..foundation.locks import RUN
from ..pipeline.environment import foreign_code
from .certificates import PLAN, Job, plan
from .certify import FORCED
from .judge import Judge

_held: list[IO[str]] = []
MARK = ".snakemake/coder-clip/outdated"


def begin(file: str, results: str | Path) -> dict[str, str]:
    """Judge all certificates before Snakemake plans: names of the jobs that must run, each with the reason.

    Changes no content. Files that Snakemake would misjudge by their times get other ones.
    """
    if PLAN in os.environ:  # who only plans takes the mark that is there
        if not Path(MARK).is_file():
            _make_mark()
        return {}
    if reason := foreign_code():
        sys.exit(f"coder-clip: error: {reason}")
    try:
        judge = Judge(results, plan(file))
    except UserError:
        _make_mark()
        return {}  # Snakemake reports it in its own words
    # where all files of a job are missing, Snakemake knows whether anything needs them
    here = {job.name for job in judge.jobs if any(map(os.path.isfile, job.outputs))}
    outdated = {name: why for name, why in judge.outdated.items() if name in here}
    put_in_order(judge, outdated)
    judge.hashes.save()
    _make_mark()
    return outdated


def put_in_order(judge: Judge, outdated: Collection[str]) -> None:
    """Give files times by which Snakemake runs the jobs that the judge names, and those behind them.

    All files with certificates that hold get one time, if one of them is older than an input, or in the future;
    outdated ones are older than the mark; inputs of the future get the time of now. Benchmarks count as outputs.
    """
    now = time.time_ns()
    current = [job for job in judge.jobs if job.name not in outdated]
    made = [path for job in judge.jobs for path in job.outputs]
    for path in {path for job in judge.jobs for path in job.inputs}.difference(made):
        if _time(path) > now:
            judge.hashes.set_time(path, now, follow=True)
    files = [path for job in current for path in job.outputs if os.path.isfile(path)]
    oldest = min(map(_time, files), default=now)
    for job in current:
        times = [t for t in map(_time, job.outputs) if t] or [
            oldest
        ]  # Snakemake takes those behind missing ones
        if max(times) > now or max(map(_time, job.inputs), default=0) > min(times):
            for path in files:
                judge.hashes.set_time(path, now)
            break
    for path in (path for job in judge.jobs if job.name in outdated for path in job.outputs):
        if _time(path) >= now:
            judge.hashes.set_time(path, now - 10**9)
    for benchmark in (judge.results / "benchmarks").rglob("*.tsv"):
        with suppress(OSError):
            os.utime(benchmark, ns=(now, now))


def _time(path: str) -> int:
    """The time in ns by which Snakemake compares a file: of a link, the later one of its own and its target's."""
    return max(os.stat(path).st_mtime_ns, os.lstat(path).st_mtime_ns) if os.path.isfile(path) else 0


def _make_mark() -> None:
    """A new mark for a run, or a dry run."""
    Path(MARK).parent.mkdir(parents=True, exist_ok=True)
    # other bytes each time: Snakemake compares small inputs by content
    Path(MARK).write_text(f"{time.time_ns()}\n", encoding="utf-8")


def named(
    rule: str,
    wildcards: dict[str, str],
    values: Callable[[], Any],
    inputs: Iterable[str],
    outputs: Iterable[str],
) -> str:
    """A job's rule and wildcards for `cli.job`; where Snakemake only plans, `certificates.plan` reads the job.

    values: reads the values of the configuration that decide its outputs.
    """
    job = {"rule": rule, "wildcards": wildcards}
    if PLAN in os.environ:
        noted = [{**job, "values": values()}, [*map(str, inputs)], [*map(str, outputs)]]
        with open(os.environ[PLAN], "a", encoding="utf-8") as stream:
            stream.write(json.dumps(noted) + "\n")
    return json.dumps(job)


def start(workflow: Any) -> None:
    """Before the first job: name forced jobs to their processes, and hold a lock until this process ends.

    While it is held nothing is pulled or merged.
    """
    settings = workflow.dag_settings
    forced = ["*"] if settings.forceall else [*settings.forcerun]
    os.environ[FORCED] = "\n".join(map(str, [*forced, *(settings.targets if settings.forcetargets else ())]))
    _held.append(RUN.open("a", encoding="utf-8"))
    with suppress(OSError):  # a file system without locks
        fcntl.flock(_held[-1], fcntl.LOCK_SH)  # other configurations can run at the same time


def job_name(rule: str, wildcards: Any) -> str:
    return Job(rule, dict(wildcards.items())).name


def finish(config: str) -> None:
    """Record finished phases at the end of a run. A problem makes no good run fail."""
    if "DVC_STAGE" in os.environ:
        return  # the stage's command records
    from .record import record

    try:
        lines = record(config).lines
    except (UserError, OSError) as error:
        lines = [str(error)]
    for line in lines:
        print(f"coder-clip: {line}", file=sys.stderr, flush=True)
