"""Register files that DVC brought with Snakemake: in `coder-clip pull`, before a run's jobs, and `coder-clip adopt`.

Snakemake has no record of a pulled file, or that of another version, so it would run its job again, or not notice that
its parameters have changed. If a statement matches the file's sha256, its recipe becomes Snakemake's record. All files
whose inputs match their statements get the same time, so that none is newer than what was made from it; the others get
a time in the past, and Snakemake makes them again.
"""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field

from .hashes import Hashes
from .ledger import Ledger, Statement, add, read_ledger, running
from .record import locked, moved, recorded_files, remember, some
from .snakemake import CHECKED_BY_CONTENT, Recipe, Records
from .stages import Tracked

OLD = 20_000_000  # what must be made again has a time before this one, of 1970; 0 reads as "no output"


@dataclass
class Adopted:
    """Files that are registered now; files whose inputs changed; files without a statement."""

    known: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        found = []
        if self.known:
            found.append(f"{len(self.known)} files are as recorded and need not be made again")
        if self.changed:
            found.append(f"{some(self.changed)} will be made again: what it was made from has changed")
        if self.foreign:
            found.append(f"{some(self.foreign)} will be made again: neither made here nor as recorded")
        return found


def adopt(t: Tracked) -> Adopted:
    """Register all files with matching statements. Costs little if there is nothing to do."""
    with locked():
        if running():  # it is making files
            return Adopted()
        adoption = Adoption(t)
        adoption.run()
        remember(t)
        adoption.hashes.save()
    return adoption.outcome


def foresee(t: Tracked) -> Adoption:
    """What `adopt` would do. Changes nothing."""
    adoption = Adoption(t, looks=True)
    adoption.run()
    return adoption


class Adoption:
    """One pass over all files that have statements. looks: change nothing."""

    def __init__(self, t: Tracked, looks: bool = False) -> None:
        self.hashes, self.records, self.outcome, self.looks = Hashes(), Records(looks), Adopted(), looks
        self.recorded, self.book = recorded_files(t, self.hashes), read_ledger()
        self.by_another = moved(t)
        for path, made in self.recorded.items():
            known = self.book.setdefault(path, [])
            if not looks and not any(m.sha256 == made.sha256 and m.recipe == made.recipe for m in known):
                add(
                    {path: made.sha256}, made.recipe, made.environment
                )  # still true when another version is recorded
            known.append(made)
        self.current = Current(self.book, self.hashes)
        self.good: dict[str, Statement] = {}  # files that match their inputs
        self.absent: dict[str, Statement] = {}  # missing files that would match them
        self.times: set[float] = set()  # of good files, by Snakemake's records

    def run(self) -> None:
        """Register files with a current statement; let Snakemake make the others again."""
        marked = self.records.incomplete(self.book)
        waiting = []  # good, and not registered yet
        for path, statements in self.book.items():
            theirs = self.records.read(path)
            if path in marked:
                continue
            if not os.path.isfile(path):  # with a record Snakemake notices changed parameters
                best = self.current.best(statements)
                if theirs is None or not best.recipe.same(theirs[0]):
                    self.records.write(path, best.recipe, 0)
                if self.current(best):
                    self.absent[path] = best
                continue
            valid = theirs is not None and theirs[1] == os.lstat(path).st_mtime
            made = self._statement(path, statements, theirs[0] if theirs else None, valid)
            if made is None:
                continue
            if self.current(made):
                self.good[path] = made
                self.times.add(theirs[1] if theirs else 0.0)
                if not valid or theirs is None or theirs[1] < OLD or not _equal(theirs[0], made.recipe):
                    waiting.append(path)
                continue
            if self._make_old(path):
                self.outcome.changed.append(path)
            if self.current.unknown(made):
                self.records.forget(path)
            else:
                self.records.write(path, made.recipe, os.lstat(path).st_mtime)
        if self.looks:
            for path in waiting:
                self.records.write(path, self.good[path].recipe, 0)
        elif waiting or self._out_of_order():
            self._one_time()
            self.outcome.known += waiting

    def _statement(
        self, path: str, statements: list[Statement], theirs: Recipe | None, valid: bool
    ) -> Statement | None:
        """The statement about a file as it is; None if none has its sha256.

        theirs: Snakemake's recipe; valid: whether the file still has the time of Snakemake's record. A file with other
        bytes than those of a known job is made again. Where only Snakemake has a record (no job was watched, --touch),
        Snakemake decides, and `record` refuses the file.
        """
        known = [m for m in statements if m.sha256 == self.hashes.sha256(path) and not m.doubt]
        if not known:
            seen = theirs is not None and any(m.recipe.same(theirs) for m in statements)
            if seen or not valid:
                self.records.forget(path)  # its checksums belong to other bytes
                if self._make_old(path):
                    self.outcome.foreign.append(path)
            return None
        if valid and theirs is not None and not (self.by_another and path in self.recorded):
            # if none has Snakemake's recipe, the file was touched
            known = [m for m in known if m.recipe.same(theirs)] or known
        return self.current.best(known)

    def _make_old(self, path: str) -> bool:
        """Give a file a time before OLD, if it has none; False if it has.

        A new one each time: DVC takes a file that was edited in place for the version of its size that had the same
        time. A link into DVC's cache gets the time itself: its target belongs to all clones that share the cache.
        """
        if os.lstat(path).st_mtime < OLD:
            return False
        if not self.looks:
            self.hashes.set_time(path, 10**9 + time.time_ns() % 10**16)
        return True

    def _large_inputs(self) -> set[str]:
        """Inputs whose content Snakemake does not compare, also those of missing files."""
        read = {p for made in (*self.good.values(), *self.absent.values()) for p in made.recipe.inputs}
        return {p for p in read if os.path.isfile(p) and os.path.getsize(p) > CHECKED_BY_CONTENT}

    def _out_of_order(self) -> bool:
        """True if times mislead Snakemake: a large input is newer than what was made from it, or a file has a time in
        the future, which would hide every edit until then."""
        newest = {p: max(os.stat(p).st_mtime, os.lstat(p).st_mtime) for p in self._large_inputs()}
        times = {path: os.lstat(path).st_mtime for path in self.good}
        for path, made in self.good.items():
            with suppress(OSError):
                times[path] = min(times[path], os.stat(made.recipe.benchmark).st_mtime)
        oldest = min(times.values(), default=math.inf)
        return (
            any(moment > time.time() + 2 for moment in times.values())
            or any(newest.get(p, 0) > times[path] for path, m in self.good.items() for p in m.recipe.inputs)
            or any(newest.get(p, 0) > oldest for made in self.absent.values() for p in made.recipe.inputs)
        )

    def _one_time(self) -> None:
        """Give all good files and their benchmark files the same time.

        It is not before that of a large source, nor that of a link's target: Snakemake takes the later of the two.
        Whole seconds, as some cluster file systems keep no others. Not a time that an earlier version had: DVC takes a
        file with the inode, size and time of one that it knows for that one.
        """
        good = self.good
        for path in {p for made in good.values() for p in made.recipe.inputs} - good.keys():
            if os.path.isfile(path) and os.stat(path).st_mtime > time.time() + 2:
                # Snakemake fails every job with an input from the future
                self.hashes.set_time(path, time.time_ns(), follow=True)
        sources = [os.stat(p) for p in self._large_inputs() if p not in good or os.path.islink(p)]
        now = math.floor(time.time())
        while now in self.times:
            now -= 1
        ns = max([now * 10**9, *(s.st_mtime_ns for s in sources)])
        endtime = max([float(now), *(s.st_mtime for s in sources)])
        for path, made in good.items():
            # record first: if killed between the two, the next adopt repeats it
            self.records.write(path, made.recipe, endtime)
            self.hashes.set_time(path, ns)
        for benchmark in {made.recipe.benchmark for made in good.values()} - {""}:
            with suppress(OSError):
                os.utime(benchmark, ns=(ns, ns))


class Current:
    """Decide whether all inputs of a statement have its hashes; a missing input has that of its current statement."""

    def __init__(self, book: Ledger, hashes: Hashes) -> None:
        self._book, self._hashes, self._known = book, hashes, dict[tuple[str, str], bool]()

    def __call__(self, made: Statement) -> bool:
        return all(self._holds(path, sha) for path, sha in made.recipe.inputs.items())

    def best(self, statements: list[Statement]) -> Statement:
        """The newest that is current, else the newest."""
        return next((m for m in reversed(statements) if self(m)), statements[-1])

    def unknown(self, made: Statement) -> bool:
        """True if a missing input has no statement."""
        return any(not os.path.isfile(p) and p not in self._book for p in made.recipe.inputs)

    def _holds(self, path: str, sha: str) -> bool:
        if (path, sha) not in self._known:  # thousands of files have the same sources as inputs
            if os.path.isfile(path):
                holds = self._hashes.sha256(path) == sha
            else:
                known = [m for m in self._book.get(path, ()) if m.sha256 == sha and not m.doubt]
                holds = any(self(m) for m in known)
            self._known[path, sha] = holds
        return self._known[path, sha]


def _equal(theirs: Recipe, made: Recipe) -> bool:
    """True if Snakemake's record has this recipe; it holds the hashes of small inputs only."""
    return made.same(theirs) and all(made.inputs.get(p) == sha for p, sha in theirs.inputs.items())
