"""What a cluster has: partitions, their limits and nodes, and how many jobs a person may have in the queue."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from . import reasons
from .queue import SlurmError, ask

UNUSABLE = re.compile(r"down|drain|fail|error|unknown|future|maint|power(ing_|ed_)?(down|off)|\*")
GPU = re.compile(r"gpu(?::([A-Za-z][\w.-]*))?(?::(\d+))?(?![\w:])")


@dataclass(frozen=True)
class Node:
    name: str
    usable: bool
    memory_mb: int
    cpus: int
    gpus: tuple[tuple[str, int], ...]  # model, number


@dataclass(frozen=True)
class Partition:
    name: str
    default: bool
    up: bool
    minutes: float  # the longest run it allows
    nodes: tuple[Node, ...]


@dataclass(frozen=True)
class Unmet:
    """What a cluster does not have. amount: mem_mb or runtime, where less of it would do."""

    words: str
    amount: str = ""


def partitions(cluster: str = "") -> dict[str, Partition]:
    """All there are. Unreachable where the controller gives no answer."""
    command = ["sinfo", "--all", "--noheader", "--Node", "--format=%P|%a|%l|%N|%T|%m|%c|%G"]
    return parse_partitions(ask(*command, *([f"--clusters={cluster}"] if cluster else [])))


def parse_partitions(text: str) -> dict[str, Partition]:
    """From sinfo's rows, one a node and partition: partition|up|longest run|node|state|MB|CPUs|GRES."""
    found: dict[str, Partition] = {}
    for line in filter(lambda line: line.count("|") == 7, text.splitlines()):  # "CLUSTER: …" stands above
        name, up, limit, node, state, memory, cpus, gres = line.split("|")
        this = Node(node, not UNUSABLE.search(state), _number(memory), _number(cpus), gpus(gres))
        key = name.rstrip("*")
        before = found[key].nodes if key in found else ()
        found[key] = Partition(key, name.endswith("*"), up == "up", minutes(limit), (*before, this))
    return dict(sorted(found.items()))


def minutes(limit: str) -> float:
    """Slurm's [days-][hours:]minutes:seconds."""
    if not (match := re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(?:(\d+):)?(\d+)", limit)):
        return float("inf")  # infinite, UNLIMITED, n/a
    days, hours, mins, seconds = match.groups()
    if mins is None:  # minutes:seconds, or with days days-hours
        hours, mins = (seconds, "0") if days else ("0", hours or "0")
        seconds = "0" if days else seconds
    return int(days or 0) * 1440 + int(hours or 0) * 60 + int(mins) + int(seconds) / 60


def gpus(gres: str) -> tuple[tuple[str, int], ...]:
    """Models and numbers in a GRES: "gpu:h100:2(S:0),shard:8" -> (("h100", 2),)."""
    parts = [GPU.fullmatch(re.sub(r"\(.*?\)", "", part)) for part in re.split(r",(?![^(]*\))", gres)]
    return tuple((m[1] or "", int(m[2] or 1)) for m in parts if m)


def unmet(asked: Mapping[str, Any], site: Mapping[str, Partition]) -> Unmet | None:
    """What no node of the partition that a job asks for has; None where one has it all."""
    named = str(asked.get("partition") or ",".join(p.name for p in site.values() if p.default))
    if not named:
        return Unmet("no partition is named, and the cluster has no default one: give slurm_partition")
    for name in named.split(","):
        if name not in site:
            return Unmet(f"there is no partition '{name}'{_nearest(name, site)}; change slurm_partition")
    open_ones = [site[name] for name in named.split(",") if site[name].up]
    if not open_ones:
        return Unmet(f"partition {named} is closed now ('sinfo -p {named}')")
    nodes = [node for partition in open_ones for node in partition.nodes]
    if not any(node.usable for node in nodes):
        return Unmet(f"all nodes of partition {named} are down or drained ('sinfo -R' says why)")
    longest = max(partition.minutes for partition in open_ones)
    if int(asked.get("runtime") or 0) > longest:
        return Unmet(f"it asks for {asked['runtime']} min, partition {named} allows {longest:g}", "runtime")
    model, number = _wanted_gpus(asked)
    if number:
        having = {m: n for node in nodes for m, n in node.gpus}
        if not having:
            return Unmet(f"no node of partition {named} has a GPU ('sinfo -o \"%P %G\"' lists them)")
        if model and model.lower() not in map(str.lower, having):
            return Unmet(f"no GPU of model '{model}' in partition {named}{_nearest(model, having)}")
        nodes = [n for n in nodes if _gpus_of(n, model) >= number]
        if not nodes:
            return Unmet(f"it asks for {number} GPUs, no node of partition {named} has as many")
    cpus = int(asked.get("cpus") or 1)
    if cpus > (most := max(n.cpus for n in nodes)):
        return Unmet(f"it asks for {cpus} CPUs, the largest node of partition {named} has {most}")
    memory = int(asked.get("mem_mb") or 0)
    if memory > (most := max(n.memory_mb for n in nodes if n.cpus >= cpus)):
        return Unmet(f"it asks for {memory} MB, the largest node of partition {named} has {most}", "mem_mb")
    return None


def most(asked: Mapping[str, Any], site: Mapping[str, Partition]) -> dict[str, float]:
    """The most mem_mb and runtime that the partitions of a job allow one with its CPUs; empty where none is known."""
    named = str(asked.get("partition") or ",".join(p.name for p in site.values() if p.default)).split(",")
    places = [site[name] for name in named if name in site]
    nodes = [n for p in places for n in p.nodes if n.cpus >= int(asked.get("cpus") or 1)]
    if not nodes:
        return {}
    return {"mem_mb": max(n.memory_mb for n in nodes), "runtime": max(p.minutes for p in places)}


def submit_limit(user: str, account: str | None, qos: str | None) -> int | None:
    """Jobs a person may have in the queue by account and QOS; None where no limit is known."""
    own = ("Account", "MaxSubmit")
    try:
        rows = ask(
            *("sacctmgr", "--noheader", "--parsable2", "show", "associations"),
            *("where", f"user={user}", f"format={','.join(own)}"),
        )
        limits = [n for a, n in _rows(rows) if account in (None, a)]
        if qos:
            rows = ask("sacctmgr", "--noheader", "--parsable2", "show", "qos", "format=Name,MaxSubmitPU")
            limits += [n for q, n in _rows(rows) if q == qos]
    except SlurmError:  # a site without accounting
        return None
    return min((int(n) for n in limits if n.isdigit()), default=None)


def accounts(user: str) -> list[str]:
    """Accounts a person may use; empty where the site does not say."""
    try:
        rows = ask(
            *("sacctmgr", "--noheader", "--parsable2", "show", "associations"),
            *("where", f"user={user}", "format=Account,QOS"),
        )
    except SlurmError:
        return []
    return [f"{account} (QOS {qos})" if qos else account for account, qos in _rows(rows)]


def refused(message: str, asked: Mapping[str, Any]) -> str:
    """Why sbatch refused a job; where the account or the QOS is wrong, also which a person may use."""
    told = reasons.refused(message, asked)
    mine = accounts(getpass.getuser()) if reasons.NOT_YOURS.search(message) else []
    return f"{told}. Yours are: {', '.join(mine)}" if mine else told


def _rows(text: str) -> list[tuple[str, str]]:
    rows = (line.split("|") for line in text.splitlines())
    return [(row[0], row[1]) for row in rows if len(row) >= 2]


def _number(text: str) -> int:
    return int(re.match(r"\d*", text)[0] or 0)  # type: ignore[index]


def _wanted_gpus(asked: Mapping[str, Any]) -> tuple[str, int]:
    if asked.get("gres"):
        return next(iter(gpus(str(asked["gres"]))), ("", 0))
    number = int(asked.get("gpu") or 0)
    model = str(asked.get("gpu_model") or "")
    return model, number or bool(model)


def _gpus_of(node: Node, model: str) -> int:
    return sum(n for m, n in node.gpus if not model or m.lower() == model.lower())


def _nearest(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name, [*known], n=1)
    return f" (did you mean '{close[0]}'?)" if close else f" (known: {', '.join(known)})"
