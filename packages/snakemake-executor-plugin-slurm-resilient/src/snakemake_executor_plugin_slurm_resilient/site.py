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


def up(asked: Mapping[str, Any], site: Mapping[str, Partition]) -> set[str]:
    """The nodes that are up now in the partitions of a job; Unreachable without an answer.

    Without a named partition: those of the default one.
    """
    names = [place.name for place in places(asked, site)]
    options = [f"--partition={','.join(names)}"] if names else []
    states = "--states=idle,mixed,allocated,completing,planned"
    said = ask("sinfo", "--noheader", "--Node", states, "--format=%P|%N", *options)
    rows = [line.split("|") for line in said.splitlines() if "|" in line]
    return {node for place, node in rows if names or place.endswith("*")}


def parse_partitions(text: str) -> dict[str, Partition]:
    """Parse sinfo's rows, one per node and partition: partition|longest run|MB|CPUs."""
    found: dict[str, Partition] = {}
    for line in text.splitlines():
        if line.count("|") != 3:  # the heading "CLUSTER: …"
            continue
        name, limit, memory, cpus = line.split("|")
        key = name.rstrip("*")
        partition = found.get(key, Partition(key, minutes(limit)))
        node = _number(memory), _number(cpus)
        found[key] = replace(partition, nodes=(*partition.nodes, node))
    return dict(sorted(found.items()))


def _number(text: str) -> int:
    """The number at the beginning of a text: "32000+" -> 32000, "n/a" -> 0."""
    return int(re.match(r"\d*", text)[0] or 0)  # type: ignore[index]


def minutes(limit: str) -> float:
    """Minutes of a time limit in Slurm's form [days-][hours:]minutes:seconds, or days-hours."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(?:(\d+):)?(\d+)", limit)
    if match is None:
        return float("inf")  # infinite, UNLIMITED, n/a
    days, hours, mins, seconds = match.groups()
    # with fewer parts, the groups hold other units than their names say
    if mins is None and days:  # days-hours
        hours, mins, seconds = seconds, "0", "0"
    elif mins is None:  # minutes:seconds
        hours, mins = "0", hours or "0"
    return int(days or 0) * 1440 + int(hours or 0) * 60 + int(mins) + int(seconds) / 60


def places(asked: Mapping[str, Any], site: Mapping[str, Partition]) -> list[Partition]:
    """The known partitions that a job names; [] without a name, because a site can choose by other
    rules.
    """
    named = str(asked.get("partition", "")).split(",")
    return [site[name] for name in named if name in site]


def nodes(asked: Mapping[str, Any], site: Mapping[str, Partition]) -> list[tuple[int, int]]:
    """Memory in MB and CPUs of the nodes on which a job may run, as far as they are known."""
    return [node for place in places(asked, site) for node in place.nodes if all(node)]


def most(asked: Mapping[str, Any], site: Mapping[str, Partition]) -> dict[str, float]:
    """The most CPUs, mem_mb and runtime that the partitions of a job allow; empty if none is known.

    mem_mb: of nodes with as many CPUs as the job asks for, or with the most CPUs if none has so
    many.
    """
    of_job = nodes(asked, site)
    if not of_job:
        return {}
    cpus = max(n for _, n in of_job)
    needed = min(cpus, int(asked.get("cpus") or 1))
    memory = max(mb for mb, n in of_job if n >= needed)
    return {"cpus": cpus, "mem_mb": memory, "runtime": max(p.minutes for p in places(asked, site))}
