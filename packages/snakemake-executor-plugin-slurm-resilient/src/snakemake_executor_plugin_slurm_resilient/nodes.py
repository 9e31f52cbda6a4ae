"""Learn which nodes are bad: two different jobs fail there within minutes, and none ends well."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from . import queue
from .journal import Entry
from .queue import SlurmError
from .site import Site

WINDOW = 600  # seconds in which failures of two jobs speak against a node
Job = frozenset[str]  # a failed job is known by what it makes, as its next try makes the same


class Nodes:
    """The failures of each node, as far as nothing but the node explains them."""

    def __init__(self, logger: Any, now: Callable[[], float] = time.monotonic) -> None:
        """now: the clock, in seconds."""
        self._logger = logger
        self._now = now
        self._failed: dict[str, dict[Job, float]] = {}  # node -> job -> when
        self._last: dict[Job, str] = {}  # the node to avoid once
        self.bad: set[str] = set()

    def avoided(self, e: Entry, here: Site) -> set[str]:
        """The nodes that the next try of a job avoids: bad ones, and once its last one.

        None if no other node is up.
        """
        last = self._last.pop(frozenset(e.makes), "")
        found = (self.bad | {last}) - {""}
        if not found or self._is_all(found, e, here):
            return set()
        return found

    def judge(self, node: str, e: Entry, live: Iterable[Entry], here: Site) -> None:
        """Learn from a failure of unknown cause, and keep waiting jobs off a node that is bad.

        live: the jobs of this run that are not over.
        """
        bad, good = self.ended_badly(node, frozenset(e.makes))
        if good:
            self._logger.warning(
                f"{', '.join(good)}: used again, as a job that failed there failed elsewhere, too."
            )
        if not bad or self._is_all(self.bad, e, here):  # then there is no other node to go to
            return
        self._logger.warning(
            f"Node {bad}: two jobs failed there within {WINDOW // 60} minutes and none ended well; "
            "this run avoids it from now on."
        )
        with suppress(SlurmError):  # then they fail there, and their next try avoids it
            rows = queue.jobs()
            for waiting in list(live):
                if waiting.id in rows and rows[waiting.id].state == "PENDING":
                    queue.avoid(waiting.id, self.bad)

    def _is_all(self, nodes: set[str], e: Entry, here: Site) -> bool:
        """True if a job has no other node than these that is up; False if Slurm does not say."""
        with suppress(SlurmError):
            up = here.up(e.asked)
            return bool(up) and up <= nodes
        return False

    def ended_well(self, node: str) -> None:
        """Note that a job ended well on a node: what failed there before was not its fault."""
        if node not in self.bad:
            self._failed.pop(node, None)

    def ended_badly(self, node: str, job: Job) -> tuple[str, list[str]]:
        """Note a failure of unknown cause.

        Returns the node if it is bad from now on, else "", and the nodes that count as good again,
        because a job failed on another node as well.
        """
        if not re.fullmatch(r"[\w.-]+", node):  # several nodes, or none
            return "", []
        self._last[job] = node
        elsewhere = [name for name, jobs in self._failed.items() if name != node and job in jobs]
        if elsewhere:  # it is the job's fault
            for name in elsewhere:
                del self._failed[name][job]
            good = sorted(name for name in self.bad if len(self._failed[name]) < 2)
            self.bad.difference_update(good)
            return "", good
        jobs = self._failed.setdefault(node, {})
        jobs[job] = self._now()
        recent = [when for when in jobs.values() if when > self._now() - WINDOW]
        if len(recent) < 2 or node in self.bad:
            return "", []
        self.bad.add(node)
        return node, []
