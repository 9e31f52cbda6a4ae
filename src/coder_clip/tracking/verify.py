"""`coder-clip verify`: run jobs again in a copy, and compare the bytes with their certificates.

A certificate is a statement; the pipeline is exact to the byte, so anybody can check it. A job runs
in a copy of the clone, where of the results only its inputs are. Nothing of the clone changes.
"""

from __future__ import annotations

import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError, nearest, one_line
from ..foundation.artifacts import sha256
from ..foundation.caches import user_cache
from ..foundation.reads import ABSENT
from ..pipeline.environment import foreign_code, this_machine
from ..texts.generator import STORED_ONLY
from .certificates import PRESENT, Certificate, Job, read
from .judge import TO_RUN
from .record import Workspace
from .stages import is_below, is_in, tracked

SAME, DIFFERS, FAILED, SKIPPED = "same", "differs", "failed", "not verified"
ANSWERS = "generator.answers"  # key: the folder of a language model's answers
ASKS = "src/coder_clip/texts/llm/store.py"  # reads this folder
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
    """The jobs to verify, in the order of the plan.

    names: jobs, rules, phases or outputs; none: a random sample of the jobs that can be verified.
    UserError for an unknown name.
    """

    def __init__(self, config: str | Path, names: Sequence[str], sample: int, seed: int) -> None:
        reason = foreign_code()
        if reason:
            raise UserError(reason)
        self._here = Workspace(tracked(config), [ANSWERS])
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
        self.skipped = [Verdict(job.name, SKIPPED, why_not[job.name]) for job in left_out]
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
        for job in self.jobs:
            yield self._verdict(job)

    def _why_not(self, job: Job) -> str:
        """Why a job cannot be verified here; "" if it can."""
        judge = self._here.judge
        stated = judge.certificate(job)
        if stated is None or not judge.holds(job):
            return judge.reason_to_run(job)
        missing = [path for path in job.inputs if not os.path.exists(path)]
        if missing:
            return f"its input {missing[0]} is not here ('coder-clip pull' downloads results)"
        outside = [path for path in stated.files if not is_below(path)]
        if outside:
            return f"{one_line(outside[0])} is not a path inside of this clone"
        answers = self._answers(stated)
        if answers and not os.path.isdir(answers):
            return f"it asked a language model, whose answers are not here ({answers})"
        if answers and not is_below(answers):
            return f"it asked a language model, whose answers are outside of this clone ({answers})"
        return ""

    def _answers(self, stated: Certificate) -> str:
        """The folder of answers, for a job that asks a language model; else ""."""
        folder = self._here.plan.value(ANSWERS)
        return str(folder) if ASKS in stated.blocks and folder not in (ABSENT, None) else ""

    def _verdict(self, job: Job) -> Verdict:
        """Run a job again in a copy, and compare its outputs with those that are certified."""
        stated = self._here.judge.certificate(job)
        assert stated is not None  # `_why_not` has read it
        begin = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="coder-clip-verify-") as folder:
            try:
                copy = self._copy(job, stated, Path(folder).resolve())
                why = self._run(job, stated, copy, _cache(Path(folder) / "cache"))
            except OSError as error:
                why = one_line(error)
            if why:
                return Verdict(job.name, FAILED, why)
            again = {path: sha256(copy / path) for path in job.outputs}
            hidden = _hidden(stated, read(copy / job.certificate(self._here.t.root)))
        seconds = f"{time.monotonic() - begin:.0f} s"
        other = [path for path in job.outputs if again[path] != stated.outputs[path]]
        if not other and hidden:
            return Verdict(job.name, DIFFERS, f"it read {hidden}, which its certificate hides")
        if not other:
            return Verdict(job.name, SAME, f"{len(again)} files, {seconds}")
        return Verdict(job.name, DIFFERS, f"{', '.join(other)}; {_machines(stated.versions)}")

    def _copy(self, job: Job, stated: Certificate, folder: Path) -> Path:
        """A folder like the clone, but of the results it has only what the certificate names.

        What the job reads is copied, because artefacts name paths behind links. All else are links:
        results are written beside their places and renamed, so nothing is written through one.
        """
        t, plan = self._here.t, self._here.plan
        around = [path for path in map(os.path.normpath, plan.folders) if path.startswith("..")]
        around += [path for path in job.inputs if path.startswith("..")]
        # as deep as paths that begin with ".." need
        depth = max((Path(path).parts.count("..") for path in around), default=0)
        copy = folder.joinpath("tree", *["deeper"] * depth, "clone")
        copy.mkdir(parents=True)
        shutil.copytree("src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg*"))
        answers = self._answers(stated)
        if answers:
            shutil.copytree(answers, copy / answers)
        # results are made in folders, and never behind a link
        made = [*job.outputs, str(job.certificate(t.root))]
        named = [path for path in (*job.inputs, *stated.files) if is_below(path)]
        given = [path for path in named if os.path.isfile(path) and not is_in(path, "src")]
        for path in (*made, *given):
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
        for path in given:
            shutil.copy2(path, copy / path)
        here = [name for name in os.listdir() if not name.startswith(".")]
        for name in {*here} - {"src", Path(t.root).parts[0]}:
            _link(Path(name), copy / name)
        for path in around:
            # a folder with the clone in it would bring the results, too
            inside = Path.cwd().is_relative_to(os.path.realpath(path))
            if os.path.exists(path) and not inside:
                (copy / path).parent.mkdir(parents=True, exist_ok=True)
                _link(Path(path), copy / path)
        return copy

    def _run(self, job: Job, stated: Certificate, copy: Path, cache: Path) -> str:
        """Run a job in the copy. Returns why it failed; "" if it ended well."""
        named = json.dumps({"rule": job.rule, "wildcards": job.wildcards})
        command = [sys.executable, self._here.plan.program, named, "--inputs", *job.inputs]
        command += ["--outputs", *job.outputs, "--", *shlex.split(stated.command)]
        variables = {
            "CODER_CLIP_CONFIG": self._here.t.config,
            TO_RUN: job.name,  # it runs, though its certificate holds
            "XDG_CACHE_HOME": str(cache),
            STORED_ONLY: "1",
            "HF_HUB_OFFLINE": "1",
            "CODER_CLIP_FETCH": "false",
        }
        done = subprocess.run(
            command,
            cwd=copy,
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        said = [line for line in done.stdout.splitlines() if line.strip()] or ["no message"]
        missing = [path for path in job.outputs if not (copy / path).is_file()]
        if done.returncode or missing or not (copy / job.certificate(self._here.t.root)).is_file():
            return f"it ended with status {done.returncode}: {one_line(said[-1], 500)}"
        return ""


def _named(jobs: list[Job], names: Iterable[str]) -> list[Job]:
    """The jobs with these names, rules, phases or outputs. UserError for an unknown name."""
    wanted: dict[str, Job] = {}
    for name in names:
        path = os.path.normpath(name)
        of_name = [
            job for job in jobs if name in (job.name, job.rule, job.phase) or path in job.outputs
        ]
        if not of_name:
            known = [word for job in jobs for word in (job.name, job.rule, job.phase, *job.outputs)]
            raise UserError(f"no job, rule, phase or output '{name}'{nearest(name, set(known))}")
        wanted |= {job.name: job for job in of_name}
    return list(wanted.values())


def _link(source: Path, target: Path) -> None:
    """Link a file or folder; a folder that is there already gets links to what it lacks."""
    if not os.path.lexists(target):
        target.symlink_to(source.absolute())
    elif source.is_dir() and target.is_dir() and not target.is_symlink():
        for name in os.listdir(source):
            _link(source / name, target / name)


def _cache(folder: Path) -> Path:
    """A cache folder like the user's, but without features: a job must encode again."""
    there = user_cache()
    own = folder / "coder-clip"
    own.mkdir(parents=True)
    others = [path for path in _entries(there) if path.name != own.name]
    others += [p for p in _entries(there / own.name) if not p.name.startswith(FEATURES)]
    for path in others:
        _link(path, folder / path.relative_to(there))
    return folder


def _hidden(stated: Certificate, again: Certificate | None) -> str:
    """A file that the job read and its certificate does not name; "" if there is none.

    Sources are not compared: with stored features, a job executes less.
    """
    files = again.files if again is not None else {}
    content = [path for path, sha in files.items() if sha not in ("", PRESENT)]
    own = [p for p in content if not p.endswith("/") and not is_in(p, "src")]
    return next((path for path in own if path not in stated.files), "")


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, if there is one."""
    return list(folder.iterdir()) if folder.is_dir() else []


def _machines(then: dict[str, str]) -> str:
    """Versions and processor that differ between the certificate and here."""
    here = this_machine()
    other = [name for name in {**then, **here} if then.get(name) != here.get(name)]
    if not other:
        return "made with the same versions on this kind of processor"
    made = ", ".join(f"{name} {then.get(name, 'unknown')}" for name in other)
    now = ", ".join(f"{name} {here.get(name, 'none')}" for name in other)
    return one_line(f"made with {made}; here {now}", 1000)


def summary(verdicts: Iterable[Verdict], named_but_skipped: int) -> tuple[str, bool]:
    """The last line, and True if every job that was asked for has the same bytes."""
    counts = Counter(verdict.outcome for verdict in verdicts)
    bad = [f"{counts[kind]} {kind}" for kind in (DIFFERS, FAILED) if counts[kind]]
    if named_but_skipped:
        bad.append(f"{named_but_skipped} {SKIPPED}")
    if not counts:
        return "no job was verified", False
    return ", ".join(
        [f"{counts[SAME]} of {counts.total()} jobs made the same bytes", *bad]
    ), not bad
