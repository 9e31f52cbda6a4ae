"""The resources that a job asks for, now and after a failure: more memory or time only if it had
too little of it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from .journal import Tries

Cause = Literal["memory", "time", "other"]
PASSING = {"PREEMPTED", "NODE_FAIL", "BOOT_FAIL"}  # no fault of the job, and no reason to give up
UNITS = {"mem_mb": "MB", "runtime": "min", "cpus": "CPUs"}
LEAST = 300  # MB that the Snakemake around each job needs
# resource -> the field of `Tries` that says which attempt's amount counts
GROWING = {"mem_mb": "memory", "mem_mb_per_cpu": "memory", "runtime": "time"}


def cause(state: str, code: str) -> Cause:
    """Name the cause of a failure. code: exit status:signal."""
    if state == "TIMEOUT":
        return "time"
    status, _, signal = code.partition(":")
    killed = signal == "9" or status == "137"  # 128 + 9: what a shell says of its child
    if state == "OUT_OF_MEMORY" or (state == "FAILED" and killed):
        return "memory"
    return "other"


def after(tries: Tries, why: Cause) -> Tries:
    """The factors of the next try, after a failure with this cause."""
    if why == "other":
        return tries
    return replace(tries, **{why: getattr(tries, why) + 1})


def asked(job: Any, tries: Tries) -> dict[str, Any]:
    """The resources that a job of Snakemake, or a group, is submitted with: mem_mb in MB, runtime
    in minutes.
    """
    resources = job.resources
    given = {name: _amount(job, name, getattr(tries, factor)) for name, factor in GROWING.items()}
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


def given(
    members: Sequence[Any], asked: Mapping[str, Any], tries: Tries
) -> dict[str, dict[str, int]]:
    """Rule -> resource -> the amount that its jobs must see, where they would see another one.

    members: Snakemake's jobs in a job or group. asked: its resources. A job sees what it was
    submitted with; jobs of one rule in a group see the largest amount of one of them.
    """
    found: dict[str, dict[str, int]] = {}
    for member in members:
        for name, factor in GROWING.items():
            amount = _amount(member, name, getattr(tries, factor))
            if not isinstance(amount, int):
                continue
            amount = min(amount, asked.get(name, amount))  # cut to what the partition has
            if amount != member.resources.get(name):
                sizes = found.setdefault(member.rule.name, {})
                sizes[name] = max(amount, sizes.get(name, 0))
    return found


def capped(asked: dict[str, Any], most: dict[str, float]) -> tuple[dict[str, Any], list[str]]:
    """Cut CPUs, mem_mb and runtime to ``most``, the limits of the partition.

    Also returns a text about each cut.
    """
    cut = {k: int(most[k]) for k in UNITS if k in most and number(asked, k) > most[k]}
    words = [
        f"{n} {UNITS[k]}, the most that there is, instead of {asked[k]}" for k, n in cut.items()
    ]
    return asked | cut, words


def fitted(
    job: Any, whole: dict[str, Any], tries: Tries, nodes: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    """The resources that a job asks for.

    If a group fits no node, its jobs take turns: then the resources of as many of its jobs as the
    largest node can run at a time.

    nodes: memory in MB and CPUs of each.
    """
    mb, n = number(whole, "mem_mb"), whole["cpus"]
    fits = any(mb <= memory and n <= cores for memory, cores in nodes)
    if not job.is_group() or not nodes or fits:
        return whole
    # jobs of one level can run at a time, each in a lane that is wide enough for the largest job
    levels = [[asked(member, tries) for member in level] for level in job.toposorted]
    members = [member for level in levels for member in level]
    mb, n = (max(number(member, k) for member in members) for k in ("mem_mb", "cpus"))
    lanes = 1
    for memory, cores in nodes:
        lanes_by_memory = cores
        if mb:
            lanes_by_memory = memory // mb
        lanes = max(lanes, min(cores // n, lanes_by_memory))
    if whole.get("gpu"):
        lanes = 1  # one job at a time uses the GPU
    minutes = sum(
        math.ceil(len(level) / lanes) * max(number(each, "runtime") for each in level)
        for level in levels
    )
    sizes = {"mem_mb": lanes * mb, "cpus": lanes * n, "runtime": minutes}
    return whole | {k: v for k, v in sizes.items() if k in whole}


def cpus(job: Any) -> int:
    """The CPUs of a job: the larger one of its resource cpus_per_task and its threads."""
    return max(int(job.resources.get("cpus_per_task") or 0), int(job.threads), 1)


def number(asked: dict[str, Any], name: str) -> int:
    """The amount of a resource; 0 if it is not given, or not a number (known only in the job)."""
    amount = asked.get(name)
    if not isinstance(amount, int):
        return 0
    return amount


def _amount(job: Any, name: str, attempt: int) -> Any:
    """The workflow's amount for an attempt; if it does not grow there, the first amount times the
    attempt.
    """
    first = _at(job, name, 1)
    if attempt == 1 or not isinstance(first, int):
        return first
    later = _at(job, name, attempt)
    if isinstance(later, int) and later > first:
        return later
    return attempt * first


def _at(job: Any, name: str, attempt: int) -> Any:
    """The workflow's amount of a resource for an attempt."""
    now = job.attempt
    job.attempt = attempt  # Snakemake evaluates resources for this attempt
    try:
        return job.resources.get(name)
    finally:
        job.attempt = now


def set_aside(logs: list[str]) -> None:
    """Rename logs of an earlier try, so that a failure of the next try does not show them."""
    for path in logs:
        if os.path.exists(path):
            os.replace(path, f"{path}.before")
