"""Explain in words how a job ended, why it waits and why it was refused."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress

UNNOTED = "73"  # exit status of a job that could not note its start (`journal.GUARD`)
# what a job was submitted with: mem_mb, runtime (minutes), cpus, gpu, partition, …
Asked = Mapping[str, object]

# Slurm does not see that the kernel killed a child of a job. Snakemake, a shell and PyTorch say so
# in these words.
KILLED = re.compile(
    r"Signals\.SIGKILL|exit (status|code) 137\b|by signal: Killed|^\S+: line \d+: +\d+ Killed\b",
    re.M,
)
TAIL = 20_000  # bytes at the end of a log, in which to look for the cause of a failure
# pattern of sbatch's message, words for the user
REFUSED = (
    (
        r"invalid partition",
        "there is no such partition: change slurm_partition in the profile ('sinfo -s' lists them)",
    ),
    (
        r"invalid account|account or account/partition",
        "{account} is not one of yours, or not allowed on partition {partition}: change "
        "slurm_account in the profile",
    ),
    (r"invalid qos", "there is no {qos}, or {account} may not use it: change qos in the profile"),
    (
        r"node configuration is not available|invalid generic resource|invalid gres|"
        r"invalid trestype",
        "no node of the partition has that much memory, so many CPUs or such GPUs",
    ),
    (
        r"GRES option unsupported",
        "this cluster does not take gpu and gpu_model: name GPUs by 'gres: gpu:1' in their place",
    ),
)
# Slurm's reasons of jobs that it ended itself
UNSATISFIABLE = frozenset({"BadConstraints"})
UNSTARTED = frozenset({"JobLaunchFailure", "launch_failed_requeued_held", "PartitionConfig"})
# Pattern of Slurm's reason, words for the user, advice, and the query at which to say this: nodes
# that are just starting look as if they were down, once or twice.
RELEASE = "'scontrol release {job}' lets it go on, "
RESUME = "'scontrol resume {job}' (of an administrator) lets it go on, "
CHANGE = "'scontrol update JobId={job} …' lets it go on, "
WAITING = (
    (r"launch failed", "could not be started on its node and is held", RELEASE, 1),
    (r"JobHeld|in held state|BeginTime.*never|JobHoldMaxRequeue", "is held", RELEASE, 1),
    (r"PartitionTimeLimit|QOSMaxWall|AssocMaxWall", "asks for more time than allowed", CHANGE, 1),
    (
        r"BadConstraints|ReqNodeNotAvail|NodeDown|DOWN, DRAINED",
        "waits for nodes that are down or reserved",
        "",
        3,
    ),
    (r"PartitionDown|PartitionInactive", "waits for a partition that is closed", "", 3),
    (r"(Assoc|QOS).*(Limit|Grp|Max)", "waits for a limit of your account or QOS", "", 3),
)


def unsatisfiable(reason: str) -> bool:
    """True if Slurm ended a job because it can never run. reason: Slurm's."""
    return reason in UNSATISFIABLE


def ended(state: str, code: str, nodes: str, limit: str, asked: Asked, reason: str = "") -> str:
    """Explain why a job failed. code: exit status:signal. limit: the job's time limit.

    reason: Slurm's reason, which counts before a signal.
    """
    name = ""
    if nodes not in ("", "(null)"):
        name = f" {nodes}"
    where = ""
    if name:
        where = f" on{name}"
    code, _, signal = code.partition(":")
    memory = "what it asked for"
    if asked.get("mem_mb"):
        memory = f"the {asked['mem_mb']} MB it asked for"
    limit = limit or f"{asked.get('runtime', '?')} min"
    words = {
        "TIMEOUT": f"ran into its time limit of {limit}{where}",
        "OUT_OF_MEMORY": f"needed more memory than {memory}{where}",
        "CANCELLED": f"was cancelled{where} (scancel, or an administrator)",
        "NODE_FAIL": f"lost its node{name}, which went down",
        "BOOT_FAIL": f"did not start: its node{name} did not boot",
        "PREEMPTED": f"was preempted{where} by a job of higher priority",
        "DEADLINE": "could not end before its deadline",
        "FORGOTTEN": "is not known to Slurm any more, and its files are not all there",
    }
    if state in words:
        return words[state]
    if unsatisfiable(reason):
        return f"can never run: no node has {wanted(asked)} (Slurm says: {reason})"
    if reason in UNSTARTED:
        return f"could not be started{where} (Slurm says: {reason})"
    if signal == "53":
        return (
            f"could not be started{where}: its log file or its work folder cannot be written (disk "
            "full, quota?)"
        )
    if code == UNNOTED:
        return f"could not note its start{where} (disk full, quota?)"
    if signal == "9" or code == "137":
        return f"was killed{where}, most likely for using more memory than {memory}"
    if signal not in ("", "0"):
        return f"was ended by signal {signal}{where}"
    return f"ended with status {code or '?'}{where}"


def killed(logs: Iterable[str]) -> bool:
    """True if the end of a log says that a child of the job was killed."""
    for path in filter(os.path.isfile, logs):
        with suppress(OSError), open(path, "rb") as stream:
            stream.seek(max(os.path.getsize(path) - TAIL, 0))
            if KILLED.search(stream.read().decode(errors="replace")):
                return True
    return False


def refused(message: str, asked: Asked) -> str:
    """Explain why sbatch refused a job."""
    lines = [
        line.removeprefix("sbatch: error: ").strip()
        for line in message.splitlines()
        if line.strip()
    ]
    said = "; ".join(dict.fromkeys(lines)) or "no reason given"
    why = next((words for pattern, words in REFUSED if re.search(pattern, said, re.IGNORECASE)), "")
    why = why.format(
        account=f"account {asked['account']}" if asked.get("account") else "your default account",
        partition=asked.get("partition", "(the default)"),
        qos=f"QOS {asked['qos']}" if asked.get("qos") else "such QOS",
    )
    return f"Slurm refused it: {why + ' — ' if why else ''}{said}. Asked for: {wanted(asked)}"


def waiting(state: str, reason: str) -> tuple[str, str, int] | None:
    """Explain why a job waits for a person.

    Returns words, advice, and the number of the query at which to say so; None if the job waits its
    turn.
    """
    if state in ("REQUEUE_HOLD", "SPECIAL_EXIT"):
        return "is held after a requeue", RELEASE, 1
    if state in ("SUSPENDED", "STOPPED"):
        return "is suspended", RESUME, 1
    if state != "PENDING":
        return None
    for pattern, words, advice, query in WAITING:
        if re.search(pattern, reason):
            return words, advice, query
    return None


def wanted(asked: Asked) -> str:
    """The resources of a job in words."""
    units = {"mem_mb": "MB", "runtime": "min", "cpus": "CPUs", "gpu": "GPU"}
    parts = [f"{asked[key]} {unit}" for key, unit in units.items() if asked.get(key)]
    parts += [
        f"{key} {asked[key]}"
        for key in ("gpu_model", "gres", "partition", "account", "qos")
        if asked.get(key)
    ]
    return ", ".join(parts) or "nothing in particular"
