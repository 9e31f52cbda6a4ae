"""The one judge: does the record of a job hold in a working tree?

A record holds if the job calls the same function with the same settings and paths, and if all
modules, variables, inputs and files that it names are as it says. Times, versions and machines do
not count. A job is deterministic, so it takes the same path again unless something on this path
differs, and its first step aside would lie in one of these.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from .hashes import Hashes
from .record import PRESENT, Job, Record, hash_of_variable, read

MISSING = "missing"
NONE = "without a record: not made by a job that ended well"
OTHER_BYTES = "not the bytes that were made"
FOLLOWS = "follows from a job before it"
FORCED = "forced"


class Judge:
    """The judge of a working tree. Changes nothing, and judges each job once.

    jobs: all jobs, by which the hash of a missing file is known. folder: of the records.
    """

    def __init__(self, folder: str | Path, jobs: Iterable[Job], hashes: Hashes | None = None):
        self.folder, self.jobs, self.hashes = Path(folder), list(jobs), hashes or Hashes()
        self.makers = {path: job for job in self.jobs for path in job.outputs}
        self._objections: dict[str, str] = {}  # by job
        self._changed_modules: dict[str, str] = {}  # by the modules, which jobs share

    def record(self, job: Job) -> Record | None:
        """The job's record; None if there is none."""
        return read(job.record(self.folder))

    def reason_to_run(self, job: Job) -> str:
        """Why a job must run; "" if its record holds and all its outputs are here."""
        if all(map(os.path.isfile, job.outputs)):
            return self.objection(job)
        return self.objection(job) or MISSING

    def objection(self, job: Job) -> str:
        """Why the record of a job does not hold; "" if it holds. Its outputs can be missing."""
        if job.name not in self._objections:
            record = self.record(job)
            if record is None:
                why = NONE if any(map(os.path.isfile, job.outputs)) else MISSING
            else:
                # a missing output counts as the bytes that the job would make again
                missing = {p: sha for p, sha in record.outputs.items() if not os.path.isfile(p)}
                why = self.compare(record, job, lambda path: missing.get(path) or self.sha(path))
            self._objections[job.name] = why
        return self._objections[job.name]

    def compare(self, record: Record, job: Job, sha: Callable[[str], str]) -> str:
        """The first difference between a record and a job here, in a few words; "" if none.

        sha: the sha256 that a file has here, or will have; "" if it is not known.
        """
        if record.doubt:
            return record.doubt
        if record.call != job.meaning:
            return difference(record.call, job.meaning)
        if set(record.outputs) != set(job.outputs):
            return "other outputs than before"
        for name, then in record.variables.items():
            if hash_of_variable(name) != then:
                return f"an environment variable changed ({name})"
        if list(record.inputs) != job.inputs:
            other = sorted(record.inputs.keys() ^ set(job.inputs)) or ["another order"]
            return f"other inputs than before ({other[0]})"
        module = self._unnamed(record, job) or self.changed_module(record)
        if module:
            return f"the code changed ({module})"
        for kind, files in (("an input", record.inputs), ("a file that it read", record.files)):
            for path, then in files.items():
                same = os.path.exists(path) if then == PRESENT else sha(path) == then
                if not same:
                    return f"{kind} changed ({path})"
        if any(sha(path) != then for path, then in record.outputs.items()):
            return OTHER_BYTES
        return ""

    def sha(self, path: str) -> str:
        """sha256 of a file, or of the names in a folder.

        A missing file counts as the bytes that its job would make again: those of its record, or ""
        if that does not hold.
        """
        here = self.hashes.file(path)
        job = self.makers.get(path)
        if here or job is None:
            return here
        record = self.record(job)
        if record is None or self.objection(job):
            return ""
        return record.outputs.get(path, "")

    @cached_property
    def outdated(self) -> dict[str, str]:
        """Name of each job that must run for a reason of its own -> the reason."""
        reasons = {job.name: self.reason_to_run(job) for job in self.jobs}
        return {name: why for name, why in reasons.items() if why}

    def must_run(self, forced: Callable[[Job], bool] = lambda job: False) -> dict[str, str]:
        """Name of each job that a run starts -> why.

        These are jobs whose records do not hold, and all that depend on them, which are judged when
        their inputs are there. If all files of a group of jobs are missing (the first part of their
        names), because nobody fetched them, they run only if another job needs their files.
        """
        here = {group(job) for job in self.jobs if any(map(os.path.isfile, job.outputs))}
        reasons: dict[str, str] = {}
        for job in self._in_order:
            if forced(job):
                reasons[job.name] = FORCED
            elif any(maker.name in reasons for maker in self._makers_of(job)):
                reasons[job.name] = FOLLOWS
            elif group(job) in here and self.reason_to_run(job):
                reasons[job.name] = self.reason_to_run(job)
        jobs = {job.name: job for job in self.jobs}
        waiting = [jobs[name] for name in reasons]
        for job in waiting:  # the list grows in the loop
            # a missing input is made first, whatever its record says
            needed = [m for m in self._makers_of(job) if not all(map(os.path.isfile, m.outputs))]
            for other, why in [
                *((maker, MISSING) for maker in needed),
                *((follower, FOLLOWS) for follower in self._followers_of[job.name]),
            ]:
                if other.name not in reasons:
                    reasons[other.name] = why
                    waiting.append(other)
        return reasons

    def changed_module(self, record: Record) -> str:
        """The first module of a record whose code is another here; "" if all are the same."""
        key = json.dumps([record.docstrings, record.modules])
        if key not in self._changed_modules:
            changed = (p for p, then in record.modules.items() if self._code(p, record) != then)
            self._changed_modules[key] = next(changed, "")
        return self._changed_modules[key]

    def _unnamed(self, record: Record, job: Job) -> str:
        """The module of the job's function, if its record does not name it; else ""."""
        place = job.call.partition(":")[0].replace(".", "/")
        ends = (f"{place}.py", f"{place}/__init__.py")
        if any(path.endswith(ends) for path in record.modules):
            return ""
        return f"{place}.py, which its record does not name"

    def _code(self, path: str, record: Record) -> str:
        """The hash of a module here, as the record has it; "" if there is no such module."""
        try:
            code = self.hashes.code(path)
        except (OSError, SyntaxError, ValueError):
            return ""
        return str(code["all" if record.docstrings else "code"])

    def _makers_of(self, job: Job) -> list[Job]:
        """The jobs that make inputs of a job."""
        return [self.makers[path] for path in job.inputs if path in self.makers]

    @cached_property
    def _followers_of(self) -> dict[str, list[Job]]:
        """Name of each job -> the jobs that read what it makes."""
        followers: dict[str, list[Job]] = {job.name: [] for job in self.jobs}
        for job in self.jobs:
            for maker in self._makers_of(job):
                followers[maker.name].append(job)
        return followers

    @cached_property
    def _in_order(self) -> list[Job]:
        """All jobs, each after those that make its inputs."""
        ordered: dict[str, Job] = {}

        def add(job: Job) -> None:
            if job.name not in ordered:
                for maker in self._makers_of(job):
                    add(maker)
                ordered[job.name] = job

        for job in self.jobs:
            add(job)
        return list(ordered.values())


def group(job: Job) -> str:
    """The first part of a job's name."""
    return job.name.partition("/")[0]


def difference(then: Any, now: Any, place: str = "") -> str:
    """The first place where two documents of JSON differ, in a few words."""
    if isinstance(then, dict) and isinstance(now, dict):
        for name in (*now, *then):
            if then.get(name) != now.get(name):
                return difference(then.get(name), now.get(name), f"{place}.{name}".lstrip("."))
    return f"a parameter changed ({place.removeprefix('settings.')} {_short(then)} → {_short(now)})"


def _short(value: Any) -> str:
    """A value as a few characters of JSON."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:59]}…"
