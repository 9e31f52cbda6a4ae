"""The sbatch call of a job: its options, its environment, and the number that sbatch prints."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .queue import SlurmError

# Not for every job: keys of services, addresses with a password, and what the head's own Slurm job
# was given. A list of words, which README.md repeats: a secret under another name passes.
SECRET = re.compile(
    r"KEY|TOKEN(?!IZERS)|SECRET|(?<!COM)PASS|CREDENTIAL|AUTH(?!OR)|JWT|WEBHOOK|DATABASE_URL|_(PAT|PWD|DSN)(_|$)",
    re.IGNORECASE,
)
ADDRESS = re.compile(r"://[^/\s@]*:[^/\s@]+@")
LONGEST = 200  # bytes of a folder's name from wildcards
CLUSTER = ("SLURM_CONF", "SLURM_CLUSTERS")
# Options of sbatch that have a resource or an option of their own: not in slurm_extra.
MANAGED = frozenset(
    (
        "--job-name",
        "-J",
        "--output",
        "-o",
        "--error",
        "-e",
        "--parsable",
        "--export",
        "--comment",
        "--workdir",
        "--chdir",
        "-D",
        "--account",
        "-A",
        "--partition",
        "-p",
        "--mem",
        "--mem-per-cpu",
        "--ntasks",
        "-n",
        "--ntasks-per-gpu",
        "--cpus-per-task",
        "-c",
        "--cpus-per-gpu",
        "--time",
        "-t",
        "--constraint",
        "-C",
        "--qos",
        "-q",
        "--nodes",
        "-N",
        "--clusters",
        "-M",
        "--gres",
        "--gpus",
        "-G",
        "--array",
        "-a",
        "--wrap",
    )
)


def what(job: Any) -> tuple[str, str]:
    """A job's rule or group, with a prefix that says which, and its wildcards, as names of folders.

    Any text can be a wildcard or a group.
    """
    if job.is_group():
        return f"group_{_folder(str(job.name))}", ""
    return f"rule_{job.name}", _folder("_".join(job.wildcards or ()))


def _folder(text: str) -> str:
    """A text as the name of a folder, in the path of a log for Slurm.

    A backslash would switch off its %j, and a system takes at most 255 bytes.
    """
    name = re.sub(r"[/\\\x00-\x1f\x7f]", "_", text)
    whole = os.fsencode(name)
    if len(whole) <= LONGEST:
        return name
    return f"{whole[:LONGEST].decode(errors='ignore')}-{hashlib.sha256(whole).hexdigest()[:8]}"


def comment(what: str, wildcards: str, key: str) -> str:
    """The comment of a Slurm job: what it makes, in one word, and the key of its submission."""
    words = what
    if wildcards:
        words += f"_wildcards_{wildcards}"
    return f"{'_'.join(words.split())} {key}"


def log_option(log: Path) -> str:
    """The path of a log, <id>.log, as a pattern for sbatch, which replaces %-signs in all of it."""
    return f"{str(log.parent).replace('%', '%%')}/%j.log"


def call(
    job: Any,
    asked: Mapping[str, Any],
    settings: Any,
    name: str,
    log: str,
    comment: str,
    avoid: Iterable[str] = (),
) -> list[str]:
    """The sbatch command of a job, as words; its script is for standard input.

    asked: as from `retry.asked`. name: of the Slurm job. log: as from `log_option`. avoid: nodes.
    SlurmError for options that are not allowed.
    """
    get = job.resources.get
    named = [name for name in ("cluster", "clusters", "slurm_cluster") if get(name)]
    if named:
        raise SlurmError(
            f"resource {named[0]} is not supported: start the run on a login node of that cluster, "
            "without it"
        )
    words = ["sbatch", "--parsable", "--job-name", name, "--output", log]
    words += ["--export=ALL", "--comment", comment, "-D", os.getcwd()]
    for option, value in (
        ("-A", asked.get("account")),
        ("-p", asked.get("partition")),
        ("-t", asked.get("runtime")),
        ("-C", get("constraint")),
        ("--qos", settings.qos or get("qos")),
        ("--reservation", settings.reservation),
    ):
        if value is not None:
            words += [option, str(value)]
    words += _memory(asked)
    if settings.requeue:
        words.append("--requeue")
    elif settings.no_requeue:
        words.append("--no-requeue")
    listed = re.split(r"[,\s]+", settings.exclude_failed_nodes or "")
    avoided = sorted({*listed, *avoid} - {""})
    if avoided:
        words.append(f"--exclude={','.join(avoided)}")
    return [*words, *_tasks(job, asked), *_gpus(asked), *_extra(get("slurm_extra") or "")]


def _memory(asked: Mapping[str, Any]) -> list[str]:
    """The option for memory."""
    for name, option in (("mem_mb_per_cpu", "--mem-per-cpu"), ("mem_mb", "--mem")):
        if asked.get(name):
            return [option, str(asked[name])]
    return []


def _tasks(job: Any, asked: Mapping[str, Any]) -> list[str]:
    """Options for nodes, tasks and CPUs; SlurmError if they do not fit together."""
    get = job.resources.get
    on_gpu = bool(asked.get("gpu") or "gpu" in str(asked.get("gres", "")))
    tasks, per_node, nodes = get("tasks"), get("tasks_per_node"), get("nodes")
    words = []
    if nodes is not None:
        if not isinstance(nodes, int) or nodes < 1:
            raise SlurmError(f"resource nodes must be a number of at least 1, not {nodes!r}")
        words.append(f"--nodes={nodes}")
    if get("mpi"):
        if bool(tasks) == bool(per_node) or 1 in (tasks, per_node):
            raise SlurmError("a job with mpi needs tasks or tasks_per_node, one of both, above 1")
        words.append(f"--ntasks={tasks}" if tasks else f"--ntasks-per-node={per_node}")
    elif not on_gpu:
        words.append(f"--ntasks={tasks or 1}")
    elif get("tasks_per_gpu") or tasks:
        words.append(f"--ntasks-per-gpu={get('tasks_per_gpu') or tasks}")
    return words + _cpus(job, asked, on_gpu)


def _cpus(job: Any, asked: Mapping[str, Any], on_gpu: bool) -> list[str]:
    """The option for CPUs; [] for a negative number, because some sites refuse the option."""
    per_task, per_gpu = job.resources.get("cpus_per_task"), job.resources.get("cpus_per_gpu")
    if per_task is not None and per_task < 0:
        return []
    if on_gpu and per_gpu and not per_task:
        if per_gpu > 0:
            return [f"--cpus-per-gpu={per_gpu}"]
        return []
    if per_task:
        return [f"--cpus-per-task={min(per_task, asked['cpus'])}"]
    return [f"--cpus-per-task={asked['cpus']}"]


def _gpus(asked: Mapping[str, Any]) -> list[str]:
    """Options for GPUs and other generic resources, in any form that Slurm takes."""
    gres, model, gpu = (asked.get(name) for name in ("gres", "gpu_model", "gpu"))
    words = []
    if gres:
        words.append(f"--gres={gres}")
    if model:
        words.append(f"--gpus={model}:{gpu or 1}")
    elif gpu:
        words.append(f"--gpus={gpu}")
    return words


def _extra(text: str) -> list[str]:
    """The words of slurm_extra, with environment variables. SlurmError for a managed option."""
    try:
        words = shlex.split(os.path.expandvars(text))
    except ValueError as error:
        raise SlurmError(f"slurm_extra: {error}: {text}") from None
    options = [re.match(r"--[\w-]+|-\w|", word)[0] for word in words]  # type: ignore[index]
    managed = [option for option in options if option in MANAGED]
    if managed:
        raise SlurmError(
            f"slurm_extra: option {managed[0]} is set by a resource or an option of the executor; "
            "use that (README of slurm-resilient)"
        )
    return words


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
    """The job id from the output of sbatch --parsable; "" if no line, or more than one, is an id.

    The line is "12" or "12;cluster", perhaps among other lines of the site.
    """
    found = re.findall(r"^(\d+)(?:;[\w.-]+)?\s*$", said, flags=re.M)
    if len(found) != 1:
        return ""
    return str(found[0])
