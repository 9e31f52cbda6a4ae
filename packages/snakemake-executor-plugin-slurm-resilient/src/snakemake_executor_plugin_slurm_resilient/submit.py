"""The sbatch call of a job.

Options as snakemake-executor-plugin-slurm makes them, the script on standard input.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import get_job_wildcards
from snakemake_executor_plugin_slurm.validation import validate_slurm_extra

from .queue import SlurmError

# Not for every job: keys of services, addresses with a password, and what the head's own Slurm job
# was given. A list of words, which README.md repeats: a secret under another name passes.
SECRET = re.compile(
    r"KEY|TOKEN(?!IZERS)|SECRET|(?<!COM)PASS|CREDENTIAL|AUTH(?!OR)|JWT|WEBHOOK|DATABASE_URL|_(PAT|PWD|DSN)(_|$)",
    re.IGNORECASE,
)
ADDRESS = re.compile(r"://[^/\s@]*:[^/\s@]+@")
CLUSTER = ("SLURM_CONF", "SLURM_CLUSTERS")


class Values(dict[str, Any]):
    """Resources: by key and as attributes, as the plugin reads them."""

    __getattr__ = dict.__getitem__


class Sized:
    """A job of Snakemake with the amounts of resources that it is submitted with."""

    def __init__(self, job: Any, asked: Mapping[str, Any]) -> None:
        self._job = job
        amounts = {k: asked[k] for k in ("mem_mb", "mem_mb_per_cpu", "runtime") if k in asked}
        self.threads = asked["cpus"]
        if int(job.resources.get("cpus_per_task") or 0) > self.threads:
            amounts["cpus_per_task"] = self.threads
        self.resources = Values({**dict(job.resources.items()), **amounts})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._job, name)


def what(job: Any) -> tuple[str, str]:
    """A job's rule or group, with a prefix that says which, and its wildcards as text."""
    kind = "rule"
    if job.is_group():
        kind = "group"
    return f"{kind}_{job.name}", get_job_wildcards(job)


def call(
    job: Any, asked: Mapping[str, Any], settings: Any, name: str, log: Path | str, comment: str
) -> str:
    """The sbatch command for a shell.

    name: of the Slurm job. asked: as from `retry.asked`. WorkflowError for options that are not
    allowed.
    """
    validate_slurm_extra(job)
    named = [name for name in ("cluster", "clusters", "slurm_cluster") if job.resources.get(name)]
    if named:
        raise SlurmError(
            f"resource {named[0]} is not supported: start the run on a login node of that cluster, "
            "without it"
        )
    values = {
        "run_uuid": name,
        "slurm_logfile": log,
        "comment_str": comment,
        "account": "",
        "partition": "",
        "workdir": os.getcwd(),
    }
    for key, option in (("account", "-A"), ("partition", "-p")):
        if asked.get(key):
            values[key] = f"{option} {shlex.quote(str(asked[key]))}"
    listed = (settings.exclude_failed_nodes or "").replace(" ", "").split(",")
    avoided = sorted({node for node in listed if node})
    sized = Sized(job, asked)
    command = get_submit_command(sized, values, settings=settings, failed_nodes=avoided)
    return f"{command}{_gpus(asked)}"


def _gpus(asked: Mapping[str, Any]) -> str:
    """Options for GPUs and other generic resources, in any form that Slurm takes."""
    gres, model, gpu = (asked.get(name) for name in ("gres", "gpu_model", "gpu"))
    options = f" --gres={shlex.quote(str(gres))}" if gres else ""
    if model:
        options += f" --gpus={shlex.quote(f'{model}:{gpu or 1}')}"
    elif gpu:
        options += f" --gpus={shlex.quote(str(gpu))}"
    return options


def environment(job: Any, declared: Mapping[str, str]) -> dict[str, str]:
    """Environment of a job: the head's variables, without those that look like secrets.

    declared: variables that the workflow passes to all jobs (`envvars:`) and to storage plugins.
    The resource `needs_env` of a job names more variables to pass, separated by commas.
    """
    needed = set(re.split(r"[,\s]+", str(job.resources.get("needs_env") or "")))
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in needed or name in CLUSTER or not _withheld(name, value)
    }
    return kept | dict(declared)


def _withheld(name: str, value: str) -> bool:
    """True if jobs do not get a variable: it looks like a secret, or belongs to the head's job."""
    if name.startswith("SNAKEMAKE_STORAGE_"):
        return False
    return bool(SECRET.search(name) or ADDRESS.search(value) or name.startswith("SLURM_"))


def job_id(said: str) -> str:
    """The job id from the output of sbatch --parsable.

    A line "12" or "12;cluster", perhaps among other lines of the site.

    "" if no line, or more than one, looks like an id.
    """
    found = re.findall(r"^(\d+)(?:;[\w.-]+)?\s*$", said, flags=re.M)
    return str(found[0]) if len(found) == 1 else ""
