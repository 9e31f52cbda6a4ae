"""The partitions of a cluster, their limits and nodes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .queue import ask


@dataclass(frozen=True)
class Partition:
    """A partition. minutes: the longest run it allows. nodes: memory in MB and CPUs of each."""

    name: str
    minutes: float
    nodes: tuple[tuple[int, int], ...] = ()


def partitions() -> dict[str, Partition]:
    """All partitions by name. Unreachable if the controller gives no answer."""
    return parse_partitions(ask("sinfo", "--all", "--noheader", "--Node", "--format=%P|%l|%m|%c"))


def parse_partitions(text: str) -> dict[str, Partition]:
    """Parse sinfo's rows, one per node and partition: partition|longest run|MB|CPUs."""
    found: dict[str, Partition] = {}
    for line in filter(
        lambda line: line.count("|") == 3, text.splitlines()
    ):  # a line "CLUSTER: …" is above
        name, limit, memory, cpus = line.split("|")
        key = name.rstrip("*")
        partition = found.get(key, Partition(key, minutes(limit)))
        node = _number(memory), _number(cpus)
        found[key] = replace(partition, nodes=(*partition.nodes, node))
    return dict(sorted(found.items()))


def _number(text: str) -> int:
    """Of "32000+" 32000, of "n/a" 0."""
    return int(re.match(r"\d*", text)[0] or 0)  # type: ignore[index]


def minutes(limit: str) -> float:
    """Slurm's [days-][hours:]minutes:seconds."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(?:(\d+):)?(\d+)", limit)
    if match is None:
        return float("inf")  # infinite, UNLIMITED, n/a
    days, hours, mins, seconds = match.groups()
    if mins is None:  # minutes:seconds, or with days days-hours
        hours, mins = (seconds, "0") if days else ("0", hours or "0")
        seconds = "0" if days else seconds
    return int(days or 0) * 1440 + int(hours or 0) * 60 + int(mins) + int(seconds) / 60


def places(asked: Mapping[str, Any], site: Mapping[str, Partition]) -> list[Partition]:
    """The partitions that a job names. Without a name a site may choose one by what the job asks
    for.
    """
    named = str(asked.get("partition", "")).split(",")
    return [site[name] for name in named if name in site]


def nodes(asked: Mapping[str, Any], site: Mapping[str, Partition]) -> list[tuple[int, int]]:
    """Memory in MB and CPUs of the nodes on which a job may run, as far as they are known."""
    return [node for place in places(asked, site) for node in place.nodes if all(node)]


def most(asked: Mapping[str, Any], site: Mapping[str, Partition]) -> dict[str, float]:
    """The most CPUs, mem_mb and runtime that the partitions of a job allow; empty if none is known.

    mem_mb: of nodes with as many CPUs as the job asks for, or as there are.
    """
    there = nodes(asked, site)
    if not there:
        return {}
    cpus = max(n for _, n in there)
    memory = max(mb for mb, n in there if n >= min(cpus, int(asked.get("cpus") or 1)))
    return {"cpus": cpus, "mem_mb": memory, "runtime": max(p.minutes for p in places(asked, site))}
