"""Snakemake's entry to the executor plugin: `--executor slurm-resilient` runs jobs on Slurm.

No `from __future__ import annotations` in this file: Snakemake reads the types of the fields.
"""
# ruff: noqa: UP045

import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase

# While it is imported, the official plugin runs `which` and `scontrol show config` for a help text, and each job's own
# Snakemake imports it, too. It gets no answer here, so that no job asks the controller (upstream/help_text.patch).
_which, _output = shutil.which, subprocess.check_output


def _no_answer(*_: Any, **__: Any) -> Any:
    raise subprocess.CalledProcessError(1, "which")


shutil.which, subprocess.check_output = lambda *_, **__: None, _no_answer  # type: ignore[assignment]
try:
    import snakemake_executor_plugin_slurm  # noqa: F401
finally:
    shutil.which, subprocess.check_output = _which, _output

from .executor import Executor  # noqa: E402

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


@dataclass
class ExecutorSettings(ExecutorSettingsBase):  # type: ignore[misc]
    """Options of the command line, as --slurm-resilient-logdir; resources are those of the official plugin."""

    logdir: Optional[Path] = field(default=None, metadata={"help": "Folder for Slurm's log of each job."})
    jobname_prefix: Optional[str] = field(default="", metadata={"help": "First part of job names."})
    requeue: bool = field(
        default=False,
        metadata={"help": "Let Slurm restart jobs whose node failed or that were preempted."},
    )
    no_requeue: bool = field(default=False, metadata={"help": "Forbid Slurm to restart jobs."})
    qos: Optional[str] = field(default=None, metadata={"help": "QOS of all jobs."})
    reservation: Optional[str] = field(default=None, metadata={"help": "Reservation of all jobs."})
    exclude_failed_nodes: Optional[str] = field(
        default=None, metadata={"help": "Nodes to avoid, separated by commas."}
    )
    init_seconds_before_status_checks: int = field(
        default=10,
        metadata={
            "help": "Seconds to the first query of the queue; later ones are rarer, up to a minute, until a job ends."
        },
    )
    controller_patience: int = field(
        default=86400,
        metadata={"help": "Seconds to wait for a controller that does not answer before a submission fails."},
    )
    retry_pause: int = field(
        default=30,
        metadata={
            "help": "Seconds before a job that failed for another reason than memory or time is tried again."
        },
    )
    head_margin: int = field(
        default=300,
        metadata={
            "help": "Seconds before the time limit of the head's own Slurm job at which it hands over to a new one."
        },
    )
    array_jobs: Optional[str] = field(default=None, metadata={"help": "Refused: use groups."})
