"""The one judge: whether a certificate holds in a working tree.

A certificate holds if the command, what it calls and the names of inputs and outputs are those of
the plan, if the configuration keys and variables that it names have the same values, if the code
has the same blocks (foundation/blocks.py), and if all files that it names have the same hashes.
Times, versions and machines do not count.

Why nothing is missed: a job is deterministic, so it takes the same path as before unless something
on this path differs, and its first step aside would have to lie in one of these.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..foundation.blocks import Code, Found
from ..foundation.evidence import hash_of_variable
from ..foundation.hashes import Hashes
from ..foundation.reads import lookup
from ..pipeline import phase_list
from .certificates import PRESENT, Certificate, Job, read

MISSING = "missing"
NONE = "without a certificate: not made by a job that ended well"
OTHER_BYTES = "not the bytes that were made"
FOLLOWS = "follows from a phase before it"
FORCED = "forced"
# environment variable: names of the jobs that the plan has judged and that must run, one a line
TO_RUN = "CODER_CLIP_TO_RUN"


def judged_here(job: Job, config: Any, results: str | Path) -> bool:
    """In the process of a job: True if its certificate holds, so that nothing is left to do.

    The plan could judge the job only if no job before it runs. Then it is not judged again.
    """
    if job.name in os.environ.get(TO_RUN, "").split("\n"):
        return False
    judge = Judge(results, [job], lambda key: lookup(config, key))
    return not judge.reason_to_run(job)


class Judge:
    """The judge of a working tree. Changes nothing, and judges each job once.

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
        self.hashes, self.code = hashes or Hashes(), Code(Path("src").absolute())
        self.makers = {path: job for job in self.jobs for path in job.outputs}
        self._objections: dict[str, str] = {}  # by job
        self._changed_blocks: dict[str, str] = {}  # by the blocks, which jobs of a rule share

    def certificate(self, job: Job) -> Certificate | None:
        return read(job.certificate(self.results))

    def reason_to_run(self, job: Job) -> str:
        """Why a job must run; "" if its certificate holds and all its outputs are here."""
        if all(map(os.path.isfile, job.outputs)):
            return self._objection(job)
        return self._objection(job) or MISSING

    def holds(self, job: Job) -> bool:
        """True if the certificate of a job holds; its outputs can be missing."""
        return not self._objection(job)

    @cached_property
    def outdated(self) -> dict[str, str]:
        """Name of each job that must run for a reason of its own -> the reason."""
        reasons = {job.name: self.reason_to_run(job) for job in self.jobs}
        return {name: why for name, why in reasons.items() if why}

    def must_run(self, forced: Collection[str] = ()) -> dict[str, str]:
        """Name of each job that a run starts -> why.

        Jobs whose certificates do not hold, and all jobs that depend on them, which are judged when
        their inputs are there (`judged_here`).

        If all files of a phase are missing (it was not pulled), its jobs run only if another job
        that runs needs their outputs.
        forced: rules and files that run in any case.
        """
        phases_here = {job.phase for job in self.jobs if any(map(os.path.isfile, job.outputs))}
        reasons: dict[str, str] = {}
        for job in self._in_order:
            if not {"*", job.rule, *job.outputs}.isdisjoint(forced):
                reasons[job.name] = FORCED
            elif any(maker.name in reasons for maker in self._makers_of(job)):
                reasons[job.name] = FOLLOWS
            elif job.phase in phases_here and self.reason_to_run(job):
                reasons[job.name] = self.reason_to_run(job)
        jobs = {job.name: job for job in self.jobs}
        waiting = [jobs[name] for name in reasons]
        for job in waiting:  # the list grows in the loop
            # an input that is missing is made first, whatever its certificate says
            needed = [m for m in self._makers_of(job) if not all(map(os.path.isfile, m.outputs))]
            followers = [other for other in self.jobs if job in self._makers_of(other)]
            for other, why in [*((m, MISSING) for m in needed), *((f, FOLLOWS) for f in followers)]:
                if other.name not in reasons:
                    reasons[other.name] = why
                    waiting.append(other)
        return reasons

    def sha(self, path: str) -> str:
        """sha256 of a file, or of the names in a folder ("data/reference/").

        A missing file counts as the bytes that its job would make again: those of its certificate,
        or "" if that does not hold.
        """
        here = self.hashes.sha(path)
        job = self.makers.get(path)
        if here or job is None:
            return here
        stated = self.certificate(job)
        return stated.outputs.get(path, "") if stated and self.holds(job) else ""

    def changed_block(self, blocks: Found) -> str:
        """The first block of a certificate that the code of today does not have, or has besides.

        "" if all are the same.
        """
        key = json.dumps(blocks)
        if key not in self._changed_blocks:
            now = self.code.closure((path, block) for path in blocks for block in blocks[path])
            then = {(path, block): sha for path in blocks for block, sha in blocks[path].items()}
            today = {(path, block): sha for path in now for block, sha in now[path].items()}
            changed = sorted({place for place, _ in then.items() ^ today.items()})
            self._changed_blocks[key] = ": ".join(changed[0]) if changed else ""
        return self._changed_blocks[key]

    def _objection(self, job: Job) -> str:
        """Why the certificate of a job does not hold, found once; "" if it holds."""
        if job.name not in self._objections:
            stated = self.certificate(job)
            if stated is None:
                why = _why_not(job)
            else:
                # a missing output counts as the bytes that the job would make again
                missing = [path for path in stated.outputs if not os.path.isfile(path)]
                made = {path: stated.outputs[path] for path in missing}
                why = self.objection(stated, job, lambda path: made.get(path) or self.sha(path))
            self._objections[job.name] = why
        return self._objections[job.name]

    def objection(self, stated: Certificate, job: Job, sha: Callable[[str], str]) -> str:
        """The first reason why a certificate does not hold, in a few words; "" if it holds.

        sha: the sha256 that a file has here, or will have; "" if it is not known.
        """
        if stated.doubt:
            return stated.doubt
        if not re.fullmatch(_pattern(job), stated.command):
            return "the command changed"
        try:
            meant = str(phase_list.Call.of(stated.command))
        except UserError as error:  # another person's file
            return str(error)
        if meant != stated.call:
            return f"the command means something else ({meant})"
        if stated.outputs.keys() != set(job.outputs):
            return "other outputs than before"
        for key, before in stated.values.items():
            now = self.value(key)
            # as text, because dicts are equal in any order
            if json.dumps(now) != json.dumps(before):
                return f"a parameter changed ({key} {before} → {now})"
        for name, hash_then in stated.variables.items():
            if hash_of_variable(name) != hash_then:
                return f"an environment variable changed ({name})"
        if list(stated.inputs) != list(job.inputs):
            other = sorted(stated.inputs.keys() ^ set(job.inputs)) or ["another order"]
            return f"other inputs than before ({other[0]})"
        block = self.changed_block(stated.blocks)
        if block:
            return f"the code changed ({block})"
        for kind, files in (("an input", stated.inputs), ("a file that it read", stated.files)):
            changed = changed_files(files, sha)
            if changed:
                return f"{kind} changed ({changed[0]})"
        same = all(sha(path) == then for path, then in stated.outputs.items())
        return "" if same else OTHER_BYTES

    def _makers_of(self, job: Job) -> list[Job]:
        """The jobs that make inputs of a job."""
        return [self.makers[path] for path in job.inputs if path in self.makers]

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


def changed_files(files: Mapping[str, str], sha: Callable[[str], str]) -> list[str]:
    """The paths whose file has another sha256 than a certificate says, or that came or went."""
    changed = []
    for path, then in files.items():
        same = os.path.exists(path) if then == PRESENT else sha(path) == then
        if not same:
            changed.append(path)
    return changed


def _why_not(job: Job) -> str:
    """Say why no certificate can be read."""
    if not any(map(os.path.isfile, job.outputs)):
        return MISSING
    return NONE


def _pattern(job: Job) -> str:
    """Regular expression of a job's command: as in workflow/rules, with the job's wildcards.

    Each ``{params.name}`` fits any text, because inputs and outputs decide these parameters.
    """
    command = next(p.commands[job.rule] for p in phase_list.phases() if job.rule in p.commands)
    pattern = re.escape(command)
    for name, value in job.wildcards.items():
        pattern = pattern.replace(re.escape(f"{{wildcards.{name}}}"), re.escape(value))
    # re.escape has turned "{params.name}" into "\{params\.name\}"
    return re.sub(r"\\\{params\\?\.\w+\\\}", ".*", pattern)
