"""Where Snakemake looks for executor plugins: `--executor coder-clip` runs jobs on Slurm (docs/slurm.md)."""

from dataclasses import dataclass, field
from typing import Optional

from snakemake_executor_plugin_slurm import ExecutorSettings as SlurmSettings
from snakemake_executor_plugin_slurm import common_settings

from .executor import Executor

__all__ = ["Executor", "ExecutorSettings", "common_settings"]


@dataclass
class ExecutorSettings(SlurmSettings):  # type: ignore[misc]
    """Those of snakemake-executor-plugin-slurm, and some more. Its choice of a status command has no effect here.

    No `from __future__ import annotations` in this file: Snakemake reads the types of the fields.
    """

    controller_patience: int = field(
        default=86400,
        metadata={"help": "Seconds to wait for a controller that does not answer before a submission fails."},
    )
    scratch: Optional[str] = field(  # noqa: UP045
        default=None,
        metadata={"help": "Folder for temporary files on a node (TMPDIR); may name variables of the node."},
    )
    online: bool = field(
        default=False,
        metadata={
            "help": "Let jobs ask the Hugging Face hub; else everything is staged before (docs/slurm.md)."
        },
    )
