"""The one judge: whether a certificate holds in a working tree.

A certificate holds if the command and the names of inputs and outputs are those of the plan, if the
configuration keys that it names have the same values, and if all files that it names have the same
hashes. Times, versions and machines do not count.

The process of the job has noted all of this: the keys and the files that it opened in
`foundation.reads`, the sources that it executed in `cli.job`, its outputs where
`foundation.artifacts` writes them, and `certify` puts it together.
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


def objection(
    stated: Certificate, job: Job, value: Callable[[str], Any], sha: Callable[[str], str]
) -> str:
    """The first reason why a certificate does not hold, in a few words; "" if it holds.

    value: the present value of a configuration key. sha: the sha256 that a file has here, or will
    have; "" if it is not known.
    """
    if stated.doubt:
        return stated.doubt
    if not re.fullmatch(_pattern(job), stated.command):
        return "the command changed"
    if stated.outputs.keys() != set(job.outputs):
        return "other outputs than before"
    for key, then in stated.values.items():
        now = value(key)
        if now != then:
            return f"a parameter changed ({key} {then} → {now})"
    others = sorted(stated.inputs.keys() ^ set(job.inputs))
    if others:
        return f"other inputs than before ({others[0]})"
    kinds = (
        ("a source", stated.sources),
        ("an input", stated.inputs),
        ("a file that it read", stated.files),
    )
    for kind, files in kinds:
        path = next((p for p in sorted(files) if sha(p) != files[p]), "")
        if path:
            return f"{kind} changed ({path})"
    same = all(sha(path) == then for path, then in stated.outputs.items())
    return "" if same else OTHER_BYTES


def _pattern(job: Job) -> str:
    """Regular expression of a job's command: as in workflow/phases.yaml, with the job's wildcards.

    Each ``{params.name}`` fits any text, because inputs and outputs decide these parameters.
    """
    command = next(p.commands[job.rule] for p in phase_list.phases() if job.rule in p.commands)
    pattern = re.escape(command.removesuffix(" 2> {log}"))
    for name, value in job.wildcards.items():
        pattern = pattern.replace(re.escape(f"{{wildcards.{name}}}"), re.escape(value))
    # re.escape has turned "{params.name}" into "\{params\.name\}"
    return re.sub(r"\\\{params\\?\.\w+\\\}", ".*", pattern)


class Judge:
    """The judge of a working tree. Changes nothing.

    jobs: all jobs of the plan, by which the hash of a missing file is known. value: returns the
    present value of a configuration key."""

    def __init__(
        self,
        results: str | Path,
        jobs: Iterable[Job],
        value: Callable[[str], Any],
        hashes: Hashes | None = None,
    ) -> None:
        self.results, self.jobs, self.value = Path(results), list(jobs), value
        self.hashes = hashes or Hashes()
        self.makers = {path: job for job in self.jobs for path in job.outputs}
        self._shas: dict[str, str] = {}
        self._objections: dict[str, str] = {}

    def certificate(self, job: Job) -> Certificate | None:
        return read(job.certificate(self.results))

    def reason_to_run(self, job: Job) -> str:
        """Why a job must run; "" if its certificate holds and all its outputs are here."""
        return self._objection(job) or ("" if all(map(os.path.isfile, job.outputs)) else MISSING)

    def holds(self, job: Job) -> bool:
        """True if the certificate of a job holds; its outputs can be missing."""
        return not self._objection(job)

    def sha(self, path: str) -> str:
        """sha256 of a file, or of the names in a folder ("data/reference/").

        A missing file has the sha256 of its certificate, or "" if that certificate does not hold.
        """
        if path not in self._shas:
            self._shas[path] = self._sha(path)
        return self._shas[path]

    @cached_property
    def outdated(self) -> dict[str, str]:
        """Name of each job that must run -> why."""
        reasons = {job.name: self.reason_to_run(job) for job in self.jobs}
        return {name: why for name, why in reasons.items() if why}

    def must_run(self, forced: Collection[str] = ()) -> dict[str, str]:
        """Name of each job that a run starts -> why: jobs whose certificates do not hold, and all
        jobs that depend on them.

        If all files of a phase are missing (it was not pulled), its jobs run only if another job
        that runs needs their outputs.
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
        for job in waiting:  # the list grows in the loop
            makers = [self.makers[path] for path in job.inputs if path in self.makers]
            # an input that is missing is made first, whatever its certificate says
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
        if path.endswith("/"):
            return self.hashes.names(path)
        if os.path.isfile(path):
            return self.hashes.sha256(path)
        # a missing file counts as the bytes that its job would make again
        job = self.makers.get(path)
        if job is None:
            return ""
        stated = self.certificate(job)
        if stated is None or self._objection(job):
            return ""
        return stated.outputs.get(path, "")

    def _objection(self, job: Job) -> str:
        """Why the certificate of a job does not hold, found once; "" if it holds."""
        if job.name not in self._objections:
            self._objections[job.name] = self._find_objection(job)
        return self._objections[job.name]

    def _find_objection(self, job: Job) -> str:
        stated = self.certificate(job)
        if stated is None:
            return NONE if any(map(os.path.isfile, job.outputs)) else MISSING
        # a missing output counts as the bytes that the job would make again
        missing = {path: sha for path, sha in stated.outputs.items() if not os.path.isfile(path)}
        return objection(stated, job, self.value, lambda path: missing.get(path) or self.sha(path))
