"""Snakemake's entry to the executor plugin: `--executor slurm-resilient` runs jobs on Slurm.

No `from __future__ import annotations` in this file: Snakemake reads the types of the fields.
"""
# ruff: noqa: UP045, RUF009

import atexit
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase

from . import heads
from .executor import Executor

__all__ = ["Executor", "ExecutorSettings", "common_settings"]

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=0,  # the executor has its own pauses
)


def _option(default: Any, words: str) -> Any:
    return field(default=default, metadata={"help": words})


@dataclass
class ExecutorSettings(ExecutorSettingsBase):  # type: ignore[misc]
    """Options of the command line, as --slurm-resilient-logdir.

    Resources are those of the official plugin.
    """

    logdir: Optional[Path] = _option(None, "Folder for Slurm's log of each job.")
    jobname_prefix: Optional[str] = _option("", "First part of job names.")
    requeue: bool = _option(
        False, "Let Slurm restart jobs whose node failed or that were preempted."
    )
    no_requeue: bool = _option(False, "Forbid Slurm to restart jobs.")
    qos: Optional[str] = _option(None, "QOS of all jobs.")
    reservation: Optional[str] = _option(None, "Reservation of all jobs.")
    exclude_failed_nodes: Optional[str] = _option(None, "Nodes to avoid, separated by commas.")
    init_seconds_before_status_checks: int = _option(
        10,
        "Seconds to the first query of the queue; later ones are rarer, up to a minute, until a "
        "job ends.",
    )
    patience: int = _option(
        3600,
        "Seconds to wait for a fault of Slurm that is neither known to pass nor final, or for a "
        "full disk.",
    )
    retry_pause: int = _option(
        30,
        "Seconds before a job that failed for another reason than memory or time is tried again.",
    )
    head_margin: int = _option(
        300,
        "Seconds before the time limit of the head's own Slurm job at which it hands over to a new "
        "one.",
    )

    def __post_init__(self) -> None:
        atexit.unregister(heads.explain_lock)
        atexit.register(heads.explain_lock)
