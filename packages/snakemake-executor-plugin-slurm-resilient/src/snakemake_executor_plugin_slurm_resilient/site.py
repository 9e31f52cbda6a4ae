"""What a site has and allows: partitions, nodes, GPUs, limits of partition, QOS and account.

Read once per run; a cluster without an accounting database has no limits of QOS and account."""

from __future__ import annotations

import getpass
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from .queue import SlurmError, ask

NO_LIMIT = float("inf")
AUTO = "auto"  # as slurm_partition: the executor chooses
UNITS = {"": 1.0, "K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}  # in MB


@dataclass(frozen=True)
class Limits:
    """The most of one job: CPUs, memory in MB, minutes."""

    cpus: float = NO_LIMIT
    mem_mb: float = NO_LIMIT
    runtime: float = NO_LIMIT

    def within(self, other: Limits) -> Limits:
        """The smaller of both, for each resource."""
        return Limits(
            min(self.cpus, other.cpus),
            min(self.mem_mb, other.mem_mb),
            min(self.runtime, other.runtime),
        )

    def finite(self) -> dict[str, float]:
        """Resource -> limit, without the resources that have none."""
        return {name: limit for name, limit in vars(self).items() if limit != NO_LIMIT}


@dataclass(frozen=True)
class Node:
    """A node: its memory in MB (0: not known), CPUs, and the number of its GPUs by type."""

    name: str
    memory: int
    cpus: int
    gpus: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Partition:
    """A partition. limits: of one job, on one node. per_cpu: MB per CPU. qos: its own, or ""."""

    name: str
    default: bool = False
    nodes: tuple[Node, ...] = ()
    limits: Limits = Limits()
    per_cpu: float = NO_LIMIT
    qos: str = ""

    def most(self, cpus: int) -> Limits:
        """The most of a job that needs so many CPUs.

        Memory: of nodes with as many CPUs, or with the most CPUs if none has so many.
        """
        known = [node for node in self.nodes if node.memory and node.cpus]
        if not known:
            return self.limits
        largest = min(max(node.cpus for node in known), self.limits.cpus)
        enough = [node for node in known if node.cpus >= min(cpus, largest)]
        # Slurm gives a job with more memory than its CPUs may have more CPUs
        memory = max(
            min(node.memory, self.per_cpu * min(node.cpus, self.limits.cpus)) for node in enough
        )
        return self.limits.within(Limits(largest, memory))

    @property
    def gpus(self) -> Counter[str]:
        """Type -> number of GPUs of all nodes."""
        found = Counter[str]()
        for node in self.nodes:
            found.update(node.gpus)
        return found

    def gives(self, asked: Mapping[str, Any]) -> bool:
        """True if a job can get all that it asks for; without GPUs it leaves GPU nodes alone."""
        model = asked.get("gpu_model")
        wants_gpu = bool(asked.get("gpu") or model or "gpu" in str(asked.get("gres", "")))
        if wants_gpu != bool(self.gpus) or (model and model not in self.gpus):
            return False
        most = vars(self.most(int(asked.get("cpus") or 1)))
        amounts = [(asked.get(name), limit) for name, limit in most.items()]
        return all(n <= limit for n, limit in amounts if isinstance(n, int))


@dataclass(frozen=True)
class Account:
    """One of the user's associations. partition: "" for all."""

    name: str
    partition: str = ""
    qos: str = ""  # the default one
    limits: Limits = Limits()


@dataclass(frozen=True)
class Site:
    """Partitions by name, QOS by name, and the user's accounts, the default one first."""

    partitions: Mapping[str, Partition] = field(default_factory=dict)
    qos: Mapping[str, Limits] = field(default_factory=dict)
    accounts: tuple[Account, ...] = ()

    def places(self, asked: Mapping[str, Any]) -> list[Partition]:
        """The known partitions that a job names; [] without a name, as a site may choose itself."""
        named = str(asked.get("partition", "")).split(",")
        return [self.partitions[name] for name in named if name in self.partitions]

    def nodes(self, asked: Mapping[str, Any]) -> list[tuple[int, int]]:
        """Memory in MB and CPUs that one job can have on each node on which it may run."""
        found = []
        for place in self.places(asked):
            for node in place.nodes:
                if node.memory and node.cpus:
                    most = Partition("", nodes=(node,), limits=place.limits, per_cpu=place.per_cpu)
                    limits = most.most(node.cpus)
                    found.append((int(limits.mem_mb), int(limits.cpus)))
        return found

    def most(self, asked: Mapping[str, Any]) -> dict[str, float]:
        """The most CPUs, mem_mb and runtime that a job can get, as far as they are known."""
        account = self.account(asked)
        limits = account.limits
        limits = limits.within(self.qos.get(str(asked.get("qos") or account.qos), Limits()))
        cpus = int(asked.get("cpus") or 1)
        places = [
            place.most(cpus).within(self.qos.get(place.qos, Limits()))
            for place in self.places(asked)
        ]
        if places:
            largest = Limits(
                max(place.cpus for place in places),
                max(place.mem_mb for place in places),
                max(place.runtime for place in places),
            )
            limits = limits.within(largest)
        return limits.finite()

    def placed(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Replace partition AUTO by one that gives all that a job asks for: the default one if it
        does, else the one with the shortest longest run. If none does, the partition is left to
        Slurm.
        """
        if asked.get("partition") != AUTO:
            return asked
        rest = {name: value for name, value in asked.items() if name != "partition"}
        places = [place for place in self.partitions.values() if place.gives(rest)]
        if not places:
            return rest
        best = min(places, key=lambda place: (not place.default, place.limits.runtime, place.name))
        return {**rest, "partition": best.name}

    def account(self, asked: Mapping[str, Any]) -> Account:
        """The user's association for a job; one without limits if it is not known."""
        name = asked.get("account") or (self.accounts[0].name if self.accounts else "")
        partition = str(asked.get("partition", ""))
        mine = [account for account in self.accounts if account.name == name]
        exact = [account for account in mine if account.partition == partition]
        general = [account for account in mine if not account.partition]
        return [*exact, *general, Account(str(name))][0]

    def up(self, asked: Mapping[str, Any]) -> set[str]:
        """The nodes that are up now in the partitions of a job, or in the default one.

        Unreachable if the controller gives no answer.
        """
        places = self.places(asked) or [p for p in self.partitions.values() if p.default]
        if not places:
            return set()
        states = "--states=idle,mixed,allocated,completing,planned"
        names = ",".join(place.name for place in places)
        said = ask("sinfo", "--noheader", "--Node", states, "--format=%N", f"--partition={names}")
        return set(said.split())


def read() -> Site:
    """Read the site. Unreachable if the controller gives no answer."""
    rows = ask("sinfo", "--all", "--noheader", "--Node", "--format=%P|%l|%m|%c|%N|%G")
    settings, qos, accounts, default = "", "", "", ""
    with suppress(SlurmError):
        settings = ask("scontrol", "--all", "show", "partition", "--oneliner")
    with suppress(SlurmError):  # without a database there is nothing to ask
        me = getpass.getuser()
        show = ("sacctmgr", "--noheader", "--parsable2", "show")
        default = ask(*show, "user", me, "format=DefaultAccount").strip()
        fields = "format=Account,Partition,DefaultQOS,MaxWall,MaxTRES"
        accounts = ask(*show, "association", f"user={me}", fields)
        qos = ask(*show, "qos", "format=Name,MaxWall,MaxTRES")
    return Site(parse_partitions(rows, settings), parse_qos(qos), parse_accounts(accounts, default))


def parse_partitions(rows: str, settings: str = "") -> dict[str, Partition]:
    """Parse partitions.

    rows: of sinfo, one per node and partition: partition|longest run|MB|CPUs|node|resources.
    settings: of scontrol, one line of NAME=value per partition.
    """
    nodes: dict[str, list[Node]] = {}
    runs: dict[str, str] = {}
    for line in rows.splitlines():
        if line.count("|") != 5:  # the heading "CLUSTER: …"
            continue
        name, runs[name], memory, cpus, node, gres = line.split("|")
        nodes.setdefault(name, []).append(Node(node, _number(memory), _number(cpus), gpus(gres)))
    said = [dict(re.findall(r"(\w+)=(\S+)", line)) for line in settings.splitlines()]
    known = {row["PartitionName"]: row for row in said if "PartitionName" in row}
    found = {}
    for starred, here in sorted(nodes.items()):
        name = starred.rstrip("*")
        row = known.get(name, {})
        qos = row.get("QoS", "N/A")
        found[name] = Partition(
            name,
            starred.endswith("*"),
            tuple(here),
            Limits(
                _limit(row.get("MaxCPUsPerNode", "")),
                _limit(row.get("MaxMemPerNode", "")),
                minutes(runs[starred]),
            ),
            _limit(row.get("MaxMemPerCPU", "")),
            "" if qos == "N/A" else qos,
        )
    return found


def parse_qos(rows: str) -> dict[str, Limits]:
    """Parse rows of sacctmgr: name|longest run|resources of one job."""
    found = {}
    for name, wall, tres in _columns(rows, 3):
        found[name] = _limits(wall, tres)
    return found


def parse_accounts(rows: str, default: str) -> tuple[Account, ...]:
    """Parse rows of sacctmgr: account|partition|QOS|longest run|resources."""
    found = [
        Account(name, partition, qos, _limits(wall, tres))
        for name, partition, qos, wall, tres in _columns(rows, 5)
    ]
    return tuple(sorted(found, key=lambda account: account.name != default))


def gpus(gres: str) -> dict[str, int]:
    """Type -> number of GPUs, of a node's generic resources; type "" where none is named.

    Slices of a GPU (MIG) are types of their own: "gpu:a100:2(S:0-1),gpu:1g.10gb:7,lscratch:5".
    """
    found = Counter[str]()
    for name, number in re.findall(r"(?:^|,)gpu(?::([^,:()]*[^\d,:()][^,:()]*))?:(\d+)", gres):
        found[name] += int(number)
    return dict(found)


def minutes(limit: str) -> float:
    """Minutes of a time limit in Slurm's form [days-][hours:]minutes:seconds, or days-hours."""
    match = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(?:(\d+):)?(\d+)", limit)
    if match is None:
        return NO_LIMIT  # infinite, UNLIMITED, n/a
    days, hours, mins, seconds = match.groups()
    # with fewer parts, the groups hold other units than their names say
    if mins is None and days:  # days-hours
        hours, mins, seconds = seconds, "0", "0"
    elif mins is None:  # minutes:seconds
        hours, mins = "0", hours or "0"
    return int(days or 0) * 1440 + int(hours or 0) * 60 + int(mins) + int(seconds) / 60


def _columns(rows: str, count: int) -> Iterable[list[str]]:
    """The rows of sacctmgr that have so many columns."""
    split = [line.split("|") for line in rows.splitlines()]
    return [row for row in split if len(row) == count]


def _limits(wall: str, tres: str) -> Limits:
    """The limits of one job: the longest run, and resources as "cpu=8,mem=4G"."""
    amounts = dict(re.findall(r"(cpu|mem)=(\w+)", tres))
    return Limits(_limit(amounts.get("cpu", "")), _limit(amounts.get("mem", "")), minutes(wall))


def _number(text: str) -> int:
    """The number at the beginning of a text: "32000+" -> 32000, "n/a" -> 0."""
    return int(re.match(r"\d*", text)[0] or 0)  # type: ignore[index]


def _limit(text: str) -> float:
    """A number, or an amount of memory in MB; infinite for UNLIMITED and nothing."""
    match = re.fullmatch(r"(\d+)([KMGT]?)", text)
    if match is None:
        return NO_LIMIT
    return int(match[1]) * UNITS[match[2]]
