"""The resources that a job asks for, now and after a failure: more memory or time only if it had
too little of it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from .journal import Tries

Cause = Literal["memory", "time", "other"]
PASSING = {"PREEMPTED", "NODE_FAIL", "BOOT_FAIL"}  # no fault of the job, and no reason to give up
UNITS = {"mem_mb": "MB", "runtime": "min", "cpus": "CPUs"}
GROWING = {"mem_mb": "memory", "mem_mb_per_cpu": "memory", "runtime": "time"}


def cause(state: str, code: str) -> Cause:
    """Name the cause of a failure. code: exit status:signal."""
    if state == "TIMEOUT":
        return "time"
    status, _, signal = code.partition(":")
    killed = signal == "9" or status == "137"  # 128 + 9: what a shell says of its child
    return "memory" if state == "OUT_OF_MEMORY" or (state == "FAILED" and killed) else "other"


def after(tries: Tries, why: Cause) -> Tries:
    return tries if why == "other" else replace(tries, **{why: getattr(tries, why) + 1})


def asked(job: Any, tries: Tries) -> dict[str, Any]:
    """The resources that a job of Snakemake, or a group, is submitted with. mem_mb in MB, runtime
    in minutes.
    """
    resources = job.resources
    given = {name: _amount(job, name, getattr(tries, of)) for name, of in GROWING.items()}
    given |= {
        "cpus": cpus(job),
        "gpu": resources.get("gpu"),
        "gpu_model": resources.get("gpu_model"),
        "gres": resources.get("gres"),
        "partition": resources.get("slurm_partition"),
        "account": resources.get("slurm_account"),
        "qos": resources.get("qos"),
        "constraint": resources.get("constraint"),
    }
    return {k: v if isinstance(v, int) else str(v) for k, v in given.items() if v}


def capped(asked: dict[str, Any], most: dict[str, float]) -> tuple[dict[str, Any], list[str]]:
    """Cut CPUs, mem_mb and runtime to what the partition has; also returns words on each cut."""
    less = {k: int(most[k]) for k in UNITS if k in most and number(asked, k) > most[k]}
    words = [
        f"{n} {UNITS[k]}, the most that there is, instead of {asked[k]}" for k, n in less.items()
    ]
    return asked | less, words


def fitted(job: Any, tries: Tries, nodes: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """The resources that a job asks for; of a group that fits no node, those of as many jobs as the
    largest node takes.

    nodes: memory in MB and CPUs of each.
    """
    whole = asked(job, tries)
    mb, n = number(whole, "mem_mb"), whole["cpus"]
    if (
        not job.is_group()
        or not nodes
        or any(mb <= memory and n <= there for memory, there in nodes)
    ):
        return whole
    levels = [[asked(member, tries) for member in level] for level in job.toposorted]
    mb, n = (max(number(each, k) for level in levels for each in level) for k in ("mem_mb", "cpus"))
    lanes = max(1, *(min(there // n, memory // mb if mb else there) for memory, there in nodes))
    if whole.get("gpu"):
        lanes = 1  # they take turns
    minutes = sum(
        math.ceil(len(level) / lanes) * max(number(each, "runtime") for each in level)
        for level in levels
    )
    sizes = {"mem_mb": lanes * mb, "cpus": lanes * n, "runtime": minutes}
    return whole | {k: v for k, v in sizes.items() if k in whole}


def cpus(job: Any) -> int:
    return max(int(job.resources.get("cpus_per_task") or 0), int(job.threads), 1)


def number(asked: dict[str, Any], name: str) -> int:
    """0 if it is not given, or known only to the job."""
    amount = asked.get(name)
    return amount if isinstance(amount, int) else 0


def _amount(job: Any, name: str, attempt: int) -> Any:
    """The workflow's amount for that attempt; if it does not grow there, a multiple of the first
    amount.
    """
    first = _at(job, name, 1)
    if attempt == 1 or not isinstance(first, int):
        return first
    later = _at(job, name, attempt)
    return later if isinstance(later, int) and later > first else attempt * first


def _at(job: Any, name: str, attempt: int) -> Any:
    now = job.attempt
    job.attempt = attempt  # Snakemake evaluates resources for it
    try:
        return job.resources.get(name)
    finally:
        job.attempt = now
