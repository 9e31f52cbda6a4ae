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
from .ledger import Made, add, read_ledger
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
    outcome = Adopted()
    with locked():
        if not running():  # a running Snakemake knows its files best
            hashes = Hashes()
            _adopt(t, hashes, outcome)
            hashes.save()
    return outcome


def _adopt(t: Tracked, hashes: Hashes, outcome: Adopted) -> None:
    recorded, local, records = recorded_files(t, hashes), read_ledger(), Records()
    by_another = moved(t)
    book = {p: [*local.get(p, ()), *([recorded[p]] if p in recorded else ())] for p in {**local, **recorded}}
    for path, made in recorded.items():  # as true when another version is recorded, and the file still here
        if not any(m.sha256 == made.sha256 and m.making == made.making for m in local.get(path, ())):
            add({path: made.sha256}, made.making, made.environment)
    current = _Current(book, hashes)
    marked = records.incomplete(book)
    good: dict[str, Made] = {}  # as their inputs make them
    waiting = []  # of those: Snakemake is not told yet
    for path, every in book.items():
        theirs = records.read(path)
        if path in marked:
            continue
        if not os.path.isfile(path):  # nothing may need it; but a change of its parameters is to be seen
            best = current.best(every)
            if theirs is None or not best.making.same(theirs[0]):
                records.write(path, best.making, 0)
            continue
        sha, mtime = hashes.sha256(path), os.lstat(path).st_mtime
        valid = theirs is not None and theirs[1] == mtime
        known = [m for m in every if m.sha256 == sha and not m.doubt]
        if not known:
            # Where a job that was seen made other bytes, or was in doubt, this file is none of its. Of a job that was
            # not seen, or --touch, Snakemake's word stands (and record refuses).
            seen = theirs is not None and any(m.making.same(theirs[0]) for m in every)
            if seen or not valid:
                records.forget(path)  # its checksums would vouch for a file they do not belong to
                if _make_old(path, hashes):
                    outcome.foreign.append(path)
            continue
        if valid and theirs is not None and not (by_another and path in recorded):
            known = [
                m for m in known if m.making.same(theirs[0])
            ] or known  # none: touched, and is told the truth
        best = current.best(known)
        if current(best):
            good[path] = best
            if not valid or mtime == OLD or theirs is None or not _tells(theirs[0], best.making):
                waiting.append(path)
        else:
            if current.unknown(best):
                records.forget(path)
            else:
                records.write(path, best.making, OLD)
            if _make_old(path, hashes):
                outcome.changed.append(path)
    if waiting or _out_of_order(good):
        _one_time(good, records, hashes)
        outcome.known += waiting
    remember(t)


def _tells(theirs: Making, made: Making) -> bool:
    """Whether Snakemake's record is that of this making; it holds the sums of small inputs."""
    return made.same(theirs) and all(made.inputs.get(p) == sha for p, sha in theirs.inputs.items())


def _make_old(path: str, hashes: Hashes) -> bool:
    """Give a file the time of what must be made again; False where it has it.

    Of a link into DVC's cache it is the link's own: what it points to belongs to every clone that shares the cache.
    """
    if os.lstat(path).st_mtime == OLD:
        return False
    os.utime(path, (OLD, OLD), follow_symlinks=False)
    hashes.moved(path)
    return True


class _Current:
    """Whether the inputs of a making are what it says; of an input that is not here, whether it would be that."""

    def __init__(self, book: dict[str, list[Made]], hashes: Hashes) -> None:
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


def _out_of_order(good: dict[str, Made]) -> bool:
    """Whether a time would mislead Snakemake: a large input, which it judges by its time alone, is newer than what was
    made from it, or a file comes from the future and would hide every edit until then."""
    newest = {p: max(os.stat(p).st_mtime, os.lstat(p).st_mtime) for p in _large_inputs(good)}
    for path, made in good.items():
        own = os.lstat(path).st_mtime
        with suppress(OSError):
            own = min(own, os.stat(made.making.benchmark).st_mtime)
        if own > time.time() + 2 or any(newest.get(p, 0) > own for p in made.making.inputs):
            return True
    return False


def _large_inputs(good: dict[str, Made]) -> set[str]:
    read = {p for made in good.values() for p in made.making.inputs}
    return {p for p in read if os.path.isfile(p) and os.path.getsize(p) > CHECKED_BY_CONTENT}


def _one_time(good: dict[str, Made], records: Records, hashes: Hashes) -> None:
    """The same time for all, benchmark files included; not before a large source, whose time Snakemake compares, nor
    before what a link points to: of an input it takes the later of the two."""
    for path in {p for made in good.values() for p in made.making.inputs} - good.keys():
        if os.path.isfile(path) and os.stat(path).st_mtime > time.time() + 2:
            os.utime(path)  # a clock was ahead; Snakemake fails every job with an input from the future
            hashes.moved(path)
    sources = [os.stat(p) for p in _large_inputs(good) if p not in good or os.path.islink(p)]
    ns = max([math.floor(time.time()) * 10**9, *(s.st_mtime_ns for s in sources)])
    endtime = max([float(math.floor(time.time())), *(s.st_mtime for s in sources)])
    for path, made in good.items():  # record first: cut short between the two, the next adopt does it again
        records.write(path, made.making, endtime)
        os.utime(path, ns=(ns, ns), follow_symlinks=False)
        hashes.moved(path)
    for benchmark in {made.making.benchmark for made in good.values()} - {""}:
        with suppress(OSError):
            os.utime(benchmark, ns=(ns, ns))


def untold(t: Tracked) -> bool:
    """Whether something was recorded since the last adopt, so that Snakemake may not know the files here yet."""
    return t.lock.is_file() and moved(t)
