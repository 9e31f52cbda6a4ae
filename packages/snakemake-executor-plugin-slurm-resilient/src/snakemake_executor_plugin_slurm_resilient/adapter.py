"""All private parts of Snakemake that this package uses.

Its tests, and each run, say which one is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from typing import Any

from snakemake_interface_executor_plugins.utils import format_cli_arg

from .queue import SlurmError

# attributes of a workflow, while it is executed
PARTS = (
    "persistence._code",
    "persistence._input",
    "persistence._params",
    "persistence._lockfile",
    "dag.forcefiles",
    "dag.group_job_factory.cache",
    "dag.postprocess",
    "dag.cleanup_workdir",
    "dag.bfs",
    "dag.depending",
    "dag.dependencies",
    "async_run",
    "resource_settings._parsed_overwrite_resources",
)
# Resources that Snakemake stores under another name
MEMORY = {"mem_mb": "mem", "mem_mib": "mem"}


def check(workflow: Any) -> None:
    """SlurmError if this Snakemake lacks one of the parts."""
    lacking = [part for part in PARTS if not _has(workflow, part)]
    if lacking:
        raise SlurmError(
            f"Snakemake {version('snakemake')} has no {', '.join(lacking)}, which slurm-resilient "
            "needs: install a version that its pyproject.toml names"
        )


def _has(workflow: Any, part: str) -> bool:
    """True if a workflow has an attribute; part: a name with dots."""
    try:
        attrgetter(part)(workflow)
    except AttributeError:
        return False
    return True


def making(job: Any, persistence: Any) -> list[Any]:
    """The values of a job that tell if a file is still made in the same way.

    Snakemake compares them: code, inputs and parameters.
    """
    inputs = sorted(set(map(str, persistence._input(job))))
    return [persistence._code(job.rule), inputs, persistence._params(job)]


def locks(workflow: Any) -> list[str]:
    """The names of the lock files that this run holds."""
    return [Path(p).name for p in workflow.persistence._lockfile.values()]


def make_again(workflow: Any, paths: Iterable[str]) -> None:
    """Let Snakemake make these files as if they were missing.

    It also makes all that it would make anyway.
    """
    again = set(paths)
    dag = workflow.dag
    made = [job for job in dag.jobs if not again.isdisjoint(job.output)]
    behind = set(dag.bfs(dag.depending, *made))
    needed = set(dag.bfs(dag.dependencies, *made, *dag.needrun_jobs()))
    # Snakemake skips jobs that depend on a forced job if their inputs are ancient, even if they are
    # forced, too. So all jobs between a forced job and a job that must run lose these flags.
    for job in behind & needed:
        for path in job.input:
            path.flags.pop("ancient", None)
    dag.forcefiles.update(again)
    dag.group_job_factory.cache.clear()  # groups were merged in place: make them again
    workflow.async_run(dag.postprocess())


def keep_folders(workflow: Any) -> None:
    """Keep Snakemake from removing empty folders at its end.

    Jobs that keep running write into these folders.
    """
    workflow.dag.cleanup_workdir = lambda: None


def set_resources(workflow: Any, given: Mapping[str, Mapping[str, int]]) -> str:
    """The option --set-resources of a job's own Snakemake, which has all that this run was given.

    given: rule -> resource -> amount, which replace the run's. "" if there are none: then the
    general options have those of the run.
    """
    if not given:
        return ""
    known = workflow.resource_settings._parsed_overwrite_resources
    amounts = [f"{rule}:{name}={n}" for rule, sizes in given.items() for name, n in sizes.items()]
    for rule, resources in known.items():
        mine = {MEMORY.get(name, name) for name in given.get(rule, ())}
        kept = [(name, value) for name, value in resources.items() if name not in mine]
        amounts += [f"{rule}:{name}={value.raw}" for name, value in kept]
    return str(format_cli_arg("--set-resources", amounts, base64_encode=True))
