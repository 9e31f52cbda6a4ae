"""Runs on a Slurm cluster (docs/slurm.md).

`executor` submits jobs through snakemake-executor-plugin-slurm, keeps a journal of them (`submitted`), and watches
them through a controller that goes away and a head process that is killed (`earlier`). `check` looks at a cluster
before a run, `staging` fetches what nodes cannot, `usage` compares what jobs asked for with what they used.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .earlier import Earlier

_SEEN: list[Earlier | None] = []


def before_run() -> None:
    """At the start of every run, before Snakemake looks at files: what did an earlier run leave on the cluster?

    Nothing is asked of Slurm where no run of this folder ever used it.
    """
    from ..errors import UserError
    from .earlier import Earlier, look

    try:
        settled, found = look()
    except (UserError, OSError) as error:
        print(f"coder-clip: jobs of an earlier run could not be looked for: {error}", file=sys.stderr)
        settled, found = 0, Earlier()
    if settled:
        print(f"coder-clip: {settled} files were finished by jobs of an earlier run", file=sys.stderr)
    _SEEN[:] = [found]


def seen_at_start() -> Earlier | None:
    """Live jobs of earlier runs at the start of this one; None where the controller gave no answer."""
    if not _SEEN:
        before_run()
    return _SEEN[0]


def before_jobs(workflow: Any) -> None:
    """Before the first job: no run beside live jobs of an earlier one that it cannot take over.

    WorkflowError, which Snakemake prints, where this run would work beside them.
    """
    from snakemake_interface_common.exceptions import WorkflowError

    from .executor import Executor

    if isinstance(workflow.scheduler._executor, Executor):
        return
    if seen := seen_at_start():
        ids = " ".join(seen.ids())
        raise WorkflowError(
            f"jobs of an earlier run of this folder are still on the cluster: {ids}. Wait until they end, or stop them "
            f"with 'scancel {ids}', or go on with them: --profile workflow/profiles/slurm"
        )
    if seen is None:
        raise WorkflowError(
            "the Slurm controller gives no answer, and jobs of an earlier run of this folder may still be at work; try "
            "again when it is back, or remove .snakemake/coder-clip/slurm.jsonl if you know that none is"
        )
