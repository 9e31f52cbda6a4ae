"""The one judge: whether a certificate holds in a working tree.

A certificate holds if the command, the values of the configuration and the names of inputs and outputs are those of the
plan, and if all sources, inputs and outputs have the hashes that it names. Times, versions and machines do not count.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from ..foundation.hashes import Hashes
from ..pipeline import phase_list
from .certificates import Certificate, Job, read

MISSING = "missing"
NONE = "without a certificate: not made by a job that ended well"
OTHER_BYTES = "not the bytes that were made"
FOLLOWS = "follows from a phase before it"
FORCED = "forced"


def why_not(stated: Certificate, job: Job, sha: Callable[[str], str]) -> str:
    """The first reason why a certificate does not hold, in a few words; "" if it holds.

    sha: the sha256 that a file has here, or will have; "" if it is not known.
    """
    if stated.doubt:
        return stated.doubt
    if not re.fullmatch(_pattern(job), stated.command):
        return "the command changed"
    if stated.outputs.keys() != set(job.outputs):
        return "other outputs than before"
    if changed := changes(stated.values, job.values):
        return f"a parameter changed ({changed[0]})"
    if others := sorted(stated.inputs.keys() ^ set(job.inputs)):
        return f"other inputs than before ({others[0]})"
    for kind, files in (("a source", stated.sources), ("an input", stated.inputs)):
        if path := next((p for p in sorted(files) if sha(p) != files[p]), ""):
            return f"{kind} changed ({path})"
    return "" if all(sha(p) == of for p, of in stated.outputs.items()) else OTHER_BYTES


def _pattern(job: Job) -> str:
    """The command of workflow/phases.yaml with the job's wildcards; its outputs and inputs decide other parameters."""
    command = next(p.commands[job.rule] for p in phase_list.phases() if job.rule in p.commands)
    pattern = re.escape(command.removesuffix(" 2> {log}"))
    for name, value in job.wildcards.items():
        pattern = pattern.replace(re.escape(f"{{wildcards.{name}}}"), re.escape(value))
    return re.sub(r"\\\{params\\?\.\w+\\\}", ".*", pattern)


def changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Keys with other values than before, each with both."""
    absent = "not there"
    pairs = [(key, old.get(key, absent), new.get(key, absent)) for key in {**old, **new}]
    return [f"{key} {then} → {now}" for key, then, now in pairs if then != now]


class Judge:
    """The judge of a working tree. jobs: the plan, to know what a missing file would hold. Changes nothing."""

    def __init__(self, results: str | Path, jobs: Iterable[Job], hashes: Hashes | None = None) -> None:
        self.results, self.jobs, self.hashes = Path(results), list(jobs), hashes or Hashes()
        self.makers = {path: job for job in self.jobs for path in job.outputs}
        self._shas: dict[str, str] = {}
        self._why: dict[str, str] = {}

    def certificate(self, job: Job) -> Certificate | None:
        return read(job.certificate(self.results))

    def why_not(self, job: Job) -> str:
        """Why a job must run; "" if its certificate holds and all its outputs are here."""
        return self._differs(job) or ("" if all(map(os.path.isfile, job.outputs)) else MISSING)

    def sha(self, path: str) -> str:
        """sha256 of a file; of a missing one that of its certificate, if that holds; else ""."""
        if path not in self._shas:
            self._shas[path] = self._sha(path)
        return self._shas[path]

    @cached_property
    def outdated(self) -> dict[str, str]:
        """Jobs that must run, by name -> why."""
        return {job.name: why for job in self.jobs if (why := self.why_not(job))}

    def must_run(self, forced: Collection[str] = ()) -> dict[str, str]:
        """Jobs that a run starts, by name -> why: those whose certificates do not hold, and all that depend on them.

        A file that is missing together with its whole phase, which nobody pulled, is made only if such a job needs it.
        forced: rules and files that run in any case.
        """
        phases_here = {job.phase for job in self.jobs if any(map(os.path.isfile, job.outputs))}
        reasons: dict[str, str] = {}
        for job in self.jobs:
            if not {"*", job.rule, *job.outputs}.isdisjoint(forced):
                reasons[job.name] = FORCED
            elif job.name in self.outdated and job.phase in phases_here:
                reasons[job.name] = self.outdated[job.name]
        jobs = {job.name: job for job in self.jobs}
        waiting = [jobs[name] for name in reasons]
        for job in waiting:  # it grows
            makers = [self.makers[path] for path in job.inputs if path in self.makers]
            needed = [maker for maker in makers if not all(map(os.path.isfile, maker.outputs))]
            for other in needed + self._consumers.get(job.name, []):
                if other.name not in reasons:
                    reasons[other.name] = MISSING if other in needed else FOLLOWS
                    waiting.append(other)
        return reasons

    @cached_property
    def _consumers(self) -> dict[str, list[Job]]:
        """Name of a job -> the jobs that read its outputs."""
        found: dict[str, list[Job]] = {}
        for job in self.jobs:
            for maker in {self.makers[path].name for path in job.inputs if path in self.makers}:
                found.setdefault(maker, []).append(job)
        return found

    def _sha(self, path: str) -> str:
        if os.path.isfile(path):
            return self.hashes.sha256(path)
        job = self.makers.get(path)
        stated = self.certificate(job) if job else None
        return stated.outputs.get(path, "") if job and stated and not self._differs(job) else ""

    def _differs(self, job: Job) -> str:
        if job.name not in self._why:
            if stated := self.certificate(job):
                own = {p: of for p, of in stated.outputs.items() if not os.path.isfile(p)}
                sha = lambda path: own.get(path) or self.sha(path)  # noqa: E731
                self._why[job.name] = why_not(stated, job, sha)
            else:
                self._why[job.name] = NONE if any(map(os.path.isfile, job.outputs)) else MISSING
        return self._why[job.name]
