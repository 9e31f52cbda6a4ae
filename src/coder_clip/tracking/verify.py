"""`coder-clip verify`: run jobs again in a clone, and compare with their records.

A record is a statement; the pipeline is exact to the byte, so anybody can check it. A job runs in a
clone of this clone, where of the results only its inputs are. Nothing here changes. Compared
are the bytes that it makes, and what it notes: a record can hide a module or a file.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import UserError, nearest, one_line
from ..foundation.artifacts import sha256
from ..foundation.caches import user_cache
from ..foundation.git import git
from ..pipeline.environment import foreign_code
from ..rerun.judge import group
from ..rerun.record import Job, Record, read
from ..texts.generator import STORED_ONLY
from .record import Workspace
from .stages import is_below, is_in, tracked

SAME, DIFFERS, FAILED, SKIPPED = "same", "differs", "failed", "not verified"
FEATURES = "features-"  # beginning of the folders of stored features in the user's cache


@dataclass(frozen=True)
class Verdict:
    """What came of one job. outcome: SAME, DIFFERS, FAILED or SKIPPED. why: in one line."""

    job: str
    outcome: str
    why: str

    def __str__(self) -> str:
        return f"{self.outcome:12}  {self.job}: {self.why}"


class Verification:
    """The jobs to verify, in the order of the list of jobs.

    names: jobs, rules, phases or outputs; none: a random sample of the jobs that can be verified.
    UserError for an unknown name.
    """

    def __init__(self, config: str | Path, names: Sequence[str], sample: int, seed: int) -> None:
        reason = foreign_code()
        if reason:
            raise UserError(reason)
        self._here = Workspace(tracked(config))
        jobs = self._here.judge.jobs
        why_not = {job.name: self._why_not(job) for job in jobs}
        able = [job for job in jobs if not why_not[job.name]]
        if names:
            wanted = _named(jobs, names)
            self.jobs = [job for job in wanted if not why_not[job.name]]
            left_out = [job for job in wanted if why_not[job.name]]
        else:
            # a random sample that another person can draw again
            drawn = random.Random(seed).sample(able, min(sample, len(able)))
            self.jobs = [job for job in able if job in drawn]
            left_out = [job for job in jobs if why_not[job.name]]
        self.skipped = [Verdict(_short(job), SKIPPED, why_not[job.name]) for job in left_out]
        self._sample = "" if names else f"{len(self.jobs)} of {len(able)} jobs (--seed {seed})"

    def beginning(self) -> list[str]:
        """Lines about what cannot be verified, and the sample."""
        if not self._sample:
            return list(map(str, self.skipped))
        counts = Counter(verdict.why for verdict in self.skipped)
        lines = [f"{SKIPPED:12}  {n} jobs: {why}" for why, n in counts.most_common()]
        return [*lines, f"a random sample: {self._sample}"]

    def run(self) -> Iterator[Verdict]:
        """Run each job again, one after the other."""
        if not self.jobs:
            return
        with clone() as copy:
            for job in self.jobs:
                yield self._verdict(job, copy)

    def _why_not(self, job: Job) -> str:
        """Why a job cannot be verified here; "" if it can."""
        judge = self._here.judge
        stated = judge.record(job)
        if stated is None or judge.objection(job):
            return judge.reason_to_run(job)
        missing = [path for path in job.inputs if not os.path.exists(path)]
        if missing:
            return f"its input {missing[0]} is not here ('coder-clip pull' downloads results)"
        outside = [path for path in (*stated.files, *stated.modules) if not is_below(path)]
        if outside:
            return f"{one_line(outside[0])} is not a path inside of this clone"
        answers = _answers(job)
        if answers and not os.path.isdir(answers):
            return f"it asked a language model, whose answers are not here ({answers})"
        if answers and not is_below(answers):
            return f"it asked a language model, whose answers are outside of this clone ({answers})"
        return ""

    def _verdict(self, job: Job, copy: Path) -> Verdict:
        """Run a job again, and compare with its record."""
        stated = self._here.judge.record(job)
        assert stated is not None  # `_why_not` has read it
        begin = time.monotonic()
        try:
            shutil.rmtree(copy / self._here.t.root, ignore_errors=True)
            _bring(job, stated, self._here.t.root, copy)
            why = self._run(job, copy)
        except OSError as error:
            why = one_line(error)
        if why:
            return Verdict(_short(job), FAILED, why)
        again = read(copy / job.record(self._here.folder))
        other = [path for path in job.outputs if sha256(copy / path) != stated.outputs[path]]
        if other:
            machines = _machines(stated.versions, again.versions if again else {})
            return Verdict(_short(job), DIFFERS, f"{', '.join(other)}; {machines}")
        hidden = _hidden(stated, again)
        if hidden:
            return Verdict(_short(job), DIFFERS, f"it used {hidden}, which its record hides")
        seconds = f"{time.monotonic() - begin:.0f} s"
        return Verdict(_short(job), SAME, f"{len(job.outputs)} files, {seconds}")

    def _run(self, job: Job, copy: Path) -> str:
        """Run a job in the copy. Returns why it failed; "" if it ended well."""
        variables = {
            "PYTHONPATH": str(copy / "src"),
            "XDG_CACHE_HOME": str(_cache(copy.with_name("cache"))),
            STORED_ONLY: "1",
            "HF_HUB_OFFLINE": "1",
        }
        done = subprocess.run(
            [sys.executable, "-m", "coder_clip.job", self._here.folder, json.dumps(asdict(job))],
            cwd=copy,
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            said = [line for line in done.stdout.splitlines() if line.strip()] or ["no message"]
            return f"it ended with status {done.returncode}: {one_line(said[-1], 500)}"
        return ""


@contextmanager
def clone() -> Iterator[Path]:
    """A clone of this clone with its tracked files as they are here, beside it, so that relative
    paths lead to the same places. It is removed at the end.

    A worktree of Git would be noted in this clone's `.git`, where nothing is to change.
    """
    if not Path(".git").exists():
        raise UserError("jobs run again in a copy by Git, and this folder is no clone of Git")
    try:
        folder = Path(tempfile.mkdtemp(prefix=".coder-clip-verify-", dir=Path.cwd().parent))
    except OSError as error:
        raise UserError(f"no folder beside this clone can be made: {error}") from error
    copy = folder / "clone"
    try:
        git("clone", "--quiet", "--shared", ".", str(copy))
        edits = git("-c", "diff.autoRefreshIndex=false", "diff", "--binary", "HEAD")
        if edits:
            subprocess.run(["git", "-C", str(copy), "apply"], input=edits, check=True)
        yield copy
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _bring(job: Job, stated: Record, root: str, copy: Path) -> None:
    """Bring into the copy what the job reads and Git does not have: inputs, files that it opened,
    its folders of images. root: of the results.

    Answers of a language model are copied, because a run may repair them.
    """
    given = [*job.inputs, *stated.files, *stated.modules]
    for path in given:
        if is_below(path) and os.path.isfile(path):
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy / path)
    answers = _answers(job)
    for folder in map(os.path.relpath, job.ignore.get("folders", ())):
        there = copy / folder
        elsewhere = not is_below(folder) or not os.path.isdir(folder) or there.exists()
        if elsewhere or is_in(folder, root):
            continue  # in the results there is only what the job makes
        there.parent.mkdir(parents=True, exist_ok=True)
        if folder == answers:
            shutil.copytree(folder, there)
        else:
            there.symlink_to(os.path.abspath(folder))


def _answers(job: Job) -> str:
    """The folder of answers, for a job that asks a language model; else ""."""
    folder = job.here.get("access", {}).get("answers", "")
    return os.path.relpath(folder) if folder else ""


def _named(jobs: list[Job], names: Iterable[str]) -> list[Job]:
    """The jobs with these names, rules, phases or outputs. UserError for an unknown name."""
    wanted: dict[str, Job] = {}
    for name in names:
        path = os.path.normpath(name)
        of_name = [job for job in jobs if name in _words(job) or path in job.outputs]
        if not of_name:
            known = {word for job in jobs for word in (*_words(job), *job.outputs)}
            raise UserError(f"no job, rule, phase or output '{name}'{nearest(name, known)}")
        wanted |= {job.name: job for job in of_name}
    return list(wanted.values())


def _short(job: Job) -> str:
    """A job's name without its phase: "classify/mini/rare"."""
    return job.name.partition("/")[2]


def _words(job: Job) -> tuple[str, ...]:
    """The names of a job: its phase, its rule, its own with the phase and without."""
    return group(job), _short(job).partition("/")[0], _short(job), job.name


def _cache(folder: Path) -> Path:
    """A cache folder like the user's, but without features: a job must encode again."""
    there = user_cache()
    if folder.exists():
        return folder
    own = folder / "coder-clip"
    own.mkdir(parents=True)
    others = [path for path in _entries(there) if path.name != own.name]
    others += [p for p in _entries(there / own.name) if not p.name.startswith(FEATURES)]
    for path in others:
        (folder / path.relative_to(there)).symlink_to(path.absolute())
    return folder


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, if there is one."""
    return list(folder.iterdir()) if folder.is_dir() else []


def _hidden(stated: Record, again: Record | None) -> str:
    """What the second run noted and the record does not have, or has otherwise; "" if nothing."""
    if again is None:
        return "something that it did not note"
    pairs = (
        (stated.modules, again.modules),
        (stated.files, again.files),
        (stated.variables, again.variables),
    )
    for then, now in pairs:
        for name, value in now.items():
            if then.get(name) != value:
                return name
    return ""


def _machines(then: dict[str, str], now: dict[str, str]) -> str:
    """Versions and processor that differ between two records."""
    # a package that one of them did not import says nothing
    other = [name for name in then if then[name] != now.get(name, then[name])]
    if not other:
        return "made with the same versions on this kind of processor"
    made = ", ".join(f"{name} {then[name]}" for name in other)
    here = ", ".join(f"{name} {now[name]}" for name in other)
    return one_line(f"made with {made}; here {here}", 1000)


def summary(verdicts: Iterable[Verdict], named_but_skipped: int) -> tuple[str, bool]:
    """The last line, and True if every job that was asked for has the same bytes."""
    counts = Counter(verdict.outcome for verdict in verdicts)
    bad = [f"{counts[kind]} {kind}" for kind in (DIFFERS, FAILED) if counts[kind]]
    if named_but_skipped:
        bad.append(f"{named_but_skipped} {SKIPPED}")
    if not counts:
        return "no job was verified", False
    line = f"{counts[SAME]} of {counts.total()} jobs made the same bytes"
    return ", ".join([line, *bad]), not bad
