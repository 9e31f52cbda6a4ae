"""Make Snakemake know the files that DVC brought: in `coder-clip pull`, before a run's jobs, and `coder-clip adopt`.

A pulled file has no record of Snakemake's here, or that of another version, and Snakemake would neither trust it nor
notice that its parameters have changed. Where its content is what a statement speaks of, Snakemake is told how it was
made. All files that are as their inputs make them get one time, so that none is newer than what was made from it;
those that are not get a time in the past.
"""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field

from .hashes import Hashes
from .ledger import Book, Made, add, read_ledger
from .record import locked, moved, recorded_files, remember, some
from .snakemake import CHECKED_BY_CONTENT, Making, Records, running
from .stages import Tracked

OLD = 1  # time of what must be made again; 0 reads as "no output"


@dataclass
class Adopted:
    """Files that Snakemake now knows; whose inputs changed; and of which nothing is known."""

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
    """Adopt what is here. Costs little where there is nothing to adopt."""
    with locked():
        if running():  # a running Snakemake knows its files best
            return Adopted()
        adoption = Adoption(t)
        adoption.run()
        remember(t)
        adoption.hashes.save()
    return adoption.outcome


class Adoption:
    """One adopt: what statements say of the files that are here."""

    def __init__(self, t: Tracked) -> None:
        self.hashes, self.records, self.outcome = Hashes(), Records(), Adopted()
        self.recorded, self.book = recorded_files(t, self.hashes), read_ledger()
        self.by_another = moved(t)
        for path, made in self.recorded.items():
            known = self.book.setdefault(path, [])
            if not any(m.sha256 == made.sha256 and m.making == made.making for m in known):
                add(
                    {path: made.sha256}, made.making, made.environment
                )  # true when another version is recorded, too
            known.append(made)
        self.current = Current(self.book, self.hashes)
        self.good: dict[str, Made] = {}  # as their inputs make them
        self.absent: dict[str, Made] = {}  # so, too, but not here

    def run(self) -> None:
        marked = self.records.incomplete(self.book)
        waiting = []  # good, and Snakemake is not told yet
        for path, statements in self.book.items():
            theirs = self.records.read(path)
            if path in marked:
                continue
            if not os.path.isfile(path):  # nothing may need it; but a change of its parameters is to be seen
                best = self.current.best(statements)
                if theirs is None or not best.making.same(theirs[0]):
                    self.records.write(path, best.making, 0)
                if self.current(best):
                    self.absent[path] = best
                continue
            valid = theirs is not None and theirs[1] == os.lstat(path).st_mtime
            made = self._statement(path, statements, theirs[0] if theirs else None, valid)
            if made is None:
                continue
            if self.current(made):
                self.good[path] = made
                if not valid or theirs is None or theirs[1] == OLD or not _tells(theirs[0], made.making):
                    waiting.append(path)
                continue
            if self.current.unknown(made):
                self.records.forget(path)
            else:
                self.records.write(path, made.making, OLD)
            if self._make_old(path):
                self.outcome.changed.append(path)
        if waiting or self._out_of_order():
            self._one_time()
            self.outcome.known += waiting

    def _statement(
        self, path: str, statements: list[Made], theirs: Making | None, valid: bool
    ) -> Made | None:
        """The one to believe of a file. theirs: what Snakemake says; valid: of the file as it is.

        None where none speaks of these bytes. If a job that was seen made other bytes, or was in doubt, this file is
        none of its, and is made again. Of a job that was not seen, or --touch, Snakemake's word stands (and record
        refuses).
        """
        known = [m for m in statements if m.sha256 == self.hashes.sha256(path) and not m.doubt]
        if not known:
            seen = theirs is not None and any(m.making.same(theirs) for m in statements)
            if seen or not valid:
                self.records.forget(path)  # its checksums would vouch for a file they do not belong to
                if self._make_old(path):
                    self.outcome.foreign.append(path)
            return None
        if valid and theirs is not None and not (self.by_another and path in self.recorded):
            # where none is the same the file was touched, and Snakemake is told the truth
            known = [m for m in known if m.making.same(theirs)] or known
        return self.current.best(known)

    def _make_old(self, path: str) -> bool:
        """Give a file the time of what must be made again; False where it has it.

        Of a link into DVC's cache it is the link's own: what it points to belongs to every clone that shares the cache.
        """
        if os.lstat(path).st_mtime == OLD:
            return False
        os.utime(path, (OLD, OLD), follow_symlinks=False)
        self.hashes.moved(path)
        return True

    def _large_inputs(self) -> set[str]:
        """Inputs of which Snakemake compares the time alone; what is absent hands them on to what is made from it."""
        read = {p for made in (*self.good.values(), *self.absent.values()) for p in made.making.inputs}
        return {p for p in read if os.path.isfile(p) and os.path.getsize(p) > CHECKED_BY_CONTENT}

    def _out_of_order(self) -> bool:
        """Whether a time would mislead Snakemake: a large input is newer than what was made from it, or a file comes
        from the future and would hide every edit until then."""
        newest = {p: max(os.stat(p).st_mtime, os.lstat(p).st_mtime) for p in self._large_inputs()}
        times = {path: os.lstat(path).st_mtime for path in self.good}
        for path, made in self.good.items():
            with suppress(OSError):
                times[path] = min(times[path], os.stat(made.making.benchmark).st_mtime)
        oldest = min(times.values(), default=math.inf)
        return (
            any(moment > time.time() + 2 for moment in times.values())
            or any(newest.get(p, 0) > times[path] for path, m in self.good.items() for p in m.making.inputs)
            or any(newest.get(p, 0) > oldest for made in self.absent.values() for p in made.making.inputs)
        )

    def _one_time(self) -> None:
        """The same time for all, benchmark files included; not before a large source, whose time Snakemake compares,
        nor before what a link points to: of an input it takes the later of the two."""
        good = self.good
        for path in {p for made in good.values() for p in made.making.inputs} - good.keys():
            if os.path.isfile(path) and os.stat(path).st_mtime > time.time() + 2:
                os.utime(path)  # a clock was ahead; Snakemake fails every job with an input from the future
                self.hashes.moved(path)
        sources = [os.stat(p) for p in self._large_inputs() if p not in good or os.path.islink(p)]
        now = math.floor(time.time())
        ns = max([now * 10**9, *(s.st_mtime_ns for s in sources)])
        endtime = max([float(now), *(s.st_mtime for s in sources)])
        for path, made in good.items():
            # record first: cut short between the two, the next adopt does it again
            self.records.write(path, made.making, endtime)
            os.utime(path, ns=(ns, ns), follow_symlinks=False)
            self.hashes.moved(path)
        for benchmark in {made.making.benchmark for made in good.values()} - {""}:
            with suppress(OSError):
                os.utime(benchmark, ns=(ns, ns))


class Current:
    """Whether the inputs of a making are what it says; of an input that is not here, whether it would be that."""

    def __init__(self, book: Book, hashes: Hashes) -> None:
        self._book, self._hashes, self._known = book, hashes, dict[tuple[str, str], bool]()

    def __call__(self, made: Made) -> bool:
        return all(self._holds(path, sha) for path, sha in made.making.inputs.items())

    def best(self, makings: list[Made]) -> Made:
        """The newest that is current, else the newest."""
        return next((m for m in reversed(makings) if self(m)), makings[-1])

    def unknown(self, made: Made) -> bool:
        """Whether nothing is known of an input that is not here."""
        return any(not os.path.isfile(p) and p not in self._book for p in made.making.inputs)

    def _holds(self, path: str, sha: str) -> bool:
        if os.path.isfile(path):
            return self._hashes.sha256(path) == sha
        if (path, sha) not in self._known:
            makings = [m for m in self._book.get(path, ()) if m.sha256 == sha and not m.doubt]
            self._known[path, sha] = any(self(m) for m in makings)
        return self._known[path, sha]


def _tells(theirs: Making, made: Making) -> bool:
    """Whether Snakemake's record is that of this making; it holds the sums of small inputs."""
    return made.same(theirs) and all(made.inputs.get(p) == sha for p, sha in theirs.inputs.items())
