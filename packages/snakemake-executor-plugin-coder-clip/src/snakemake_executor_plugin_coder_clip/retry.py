"""The resources that a job asks for, now and after a failure: more memory or time only if it had too little of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

from .journal import Tries

Cause = Literal["memory", "time", "other"]
PASSING = {"PREEMPTED", "NODE_FAIL", "BOOT_FAIL"}  # no fault of the job, and no reason to give up
GROWING = {"mem_mb": "memory", "mem_mb_per_cpu": "memory", "runtime": "time"}


def cause(state: str, code: str) -> Cause:
    """Why a job failed. code: exit status:signal."""
    if state == "TIMEOUT":
        return "time"
    status, _, signal = code.partition(":")
    killed = signal == "9" or status == "137"  # 128 + 9: what a shell says of its child
    return "memory" if state == "OUT_OF_MEMORY" or (state == "FAILED" and killed) else "other"


def after(tries: Tries, why: Cause) -> Tries:
    return tries if why == "other" else replace(tries, **{why: getattr(tries, why) + 1})


def asked(job: Any, tries: Tries) -> dict[str, Any]:
    """The resources that a job of Snakemake, or a group, is submitted with. mem_mb in MB, runtime in minutes."""
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
        "cluster": cluster(job),
    }
    return {k: v if isinstance(v, int) else str(v) for k, v in given.items() if v}


def capped(asked: dict[str, Any], most: dict[str, float]) -> tuple[dict[str, Any], list[str]]:
    """Cut mem_mb and runtime to what the partition has; also returns words on each cut."""
    less = {k: int(most[k]) for k in ("mem_mb", "runtime") if k in asked and asked[k] > most.get(k, asked[k])}
    units = {"mem_mb": "MB", "runtime": "min"}
    words = [f"{n} {units[k]}, the most that there is, instead of {asked[k]}" for k, n in less.items()]
    return asked | less, words


def cpus(job: Any) -> int:
    return max(int(job.resources.get("cpus_per_task") or 0), int(job.threads), 1)


def cluster(job: Any) -> str:
    return str(next((v for n in ("cluster", "clusters", "slurm_cluster") if (v := job.resources.get(n))), ""))


def _amount(job: Any, name: str, attempt: int) -> Any:
    """The workflow's amount for that attempt; if it does not grow there, a multiple of the first amount."""
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
