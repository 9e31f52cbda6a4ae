"""Keep Snakemake and DVC in agreement: record results that were made, register results that were pulled.

Snakemake decides what runs, DVC stores. A run writes a provenance statement about each job (ledger.py); `record`
commits whole phases to DVC together with their statements; `adopt` registers pulled files with Snakemake. Every
decision compares statements with the working tree (docs/sharing.md). workflow/rules/tracking.smk calls the functions
below.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..errors import UserError
from . import adopt, ledger, record, snakemake, stages

# options of Snakemake that leave jobs out of its plan
PART = ("targets", "target_jobs", "batch", "until", "omit_from", "allowed_rules")
_planned: dict[str, str] = {}  # configuration -> what it held when its values were read
_began: set[str] = set()  # configurations with started jobs


def follow(workflow: Any, config: str) -> None:
    """Let a run adopt pulled files before it plans, and record finished phases at its end.

    Dry runs and --summary change nothing. They plan no fewer jobs than a run would; more where large files that a plain
    dvc command brought are newer than what was made from them, to which a run gives one time first.
    """
    on = os.environ.get(snakemake.OFF) != "off"
    _planned[config] = ledger.state_of(config)
    if on:
        _warn_of_pulled_lock(config)
    execute, build = workflow.execute, workflow._build_dag
    looks = on

    def plan() -> None:
        if looks:
            _foresee(workflow, config)
        build()

    def run(*, executor_plugin: Any, **options: Any) -> None:
        from snakemake.executors.touch import Executor as Touch

        nonlocal looks
        touches = issubclass(executor_plugin.executor, Touch)
        looks = on and executor_plugin.common_settings.dryrun_exec and not touches
        tracks = on and not looks and not touches
        if tracks:
            _adopt(config)
        try:
            execute(executor_plugin=executor_plugin, **options)
        except BaseException:
            if tracks and config in _began:
                _record(workflow, config)
            raise
        if tracks:
            _record(workflow, config)

    workflow.execute, workflow._build_dag = run, plan


def on_start(workflow: Any, config: str) -> None:
    """Start to watch jobs, before the first one, unless files are only touched."""
    if os.environ.get(snakemake.OFF) != "off" and not workflow.touch and not ledger.foreign_code():
        with record.locked():  # a pull that is not over yet
            ledger.Watch(workflow, config, _planned.get(config, ""))
    _began.add(config)


def _warn_of_pulled_lock(config: str) -> None:
    try:
        t = stages.tracked(config)
    except UserError:
        return  # the end of the run reports it
    if t.lock.is_file() and record.moved(t) and _has_remote():
        _say(
            f"{t.lock} records other results than the last run or pull here; "
            "'coder-clip pull' brings those that it records"
        )


def _has_remote() -> bool:
    """Whether this repository names a remote; read from the files, as importing DVC takes a second."""
    files = [Path(".dvc") / name for name in ("config", "config.local")]
    return any("['remote " in path.read_text(encoding="utf-8") for path in files if path.is_file())


def _adopt(config: str) -> None:
    """Adopt, with one line about problems. Ends the process if jobs would run code from elsewhere."""
    if reason := ledger.foreign_code():
        sys.exit(f"coder-clip: error: {reason}")
    try:
        _say(*adopt.adopt(stages.tracked(config)).lines())
    except (UserError, OSError) as error:
        _say(f"pulled results could not be adopted: {error}")


def _foresee(workflow: Any, config: str) -> None:
    """Let Snakemake plan as if it had adopted. The run reports errors."""
    with suppress(UserError, OSError):
        adoption = adopt.foresee(stages.tracked(config))
        found, planned = adoption.outcome, adoption.records.planned
        _say(*found.lines())
        workflow.dag.forcefiles.update(found.changed, found.foreign)
        store, read = workflow.persistence, workflow.persistence._read_record
        store._read_record = lambda key: planned[key] if key in planned else read(key)


def _record(workflow: Any, config: str) -> None:
    """Record, with one line about problems: they do not make a good run fail."""
    if "DVC_STAGE" in os.environ or not any(job.output for job in workflow.dag.jobs):
        return  # the stage's command records; or no job has outputs
    whole = not any(getattr(workflow.dag_settings, name) for name in PART)
    jobs = None  # record plans again: files may have been edited during the run
    if whole and config not in _began and ledger.state_of(config) == _planned[config]:
        jobs = snakemake.jobs_of(workflow)
    try:
        t, outcome = record.record(config, jobs=jobs)
        _say(*outcome.lines(t))
    except (UserError, OSError) as error:
        _say(str(error))


def _say(*lines: str) -> None:
    for line in lines:
        print(f"coder-clip: {line}", file=sys.stderr, flush=True)
