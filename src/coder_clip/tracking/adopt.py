"""Make Snakemake know the files that DVC brought: at the start of every run, and `coder-clip adopt`.

A pulled file has no record here, or that of another version, and Snakemake would neither trust it nor notice
that its parameters have changed. Where its content is what dvc.lock and the provenance say, Snakemake's record
is restored, and all such files get one equal mtime, so that none is newer than what was made from it.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, field, replace

from ..errors import UserError
from . import provenance
from .hashes import Hashes
from .record import locked, moved, remember
from .records import Record, Records
from .stages import keep_lock, mend_lock, read_lock, read_stages

CHECKED_BY_SNAKEMAKE = (
    1_000_000  # bytes; it compares the content of inputs up to this size, of others the mtime
)
OLD = 1  # mtime of what must be made again; 0 reads as "no output"


@dataclass
class Adopted:
    """Files that Snakemake now knows; that it will make again, and why; and what a person should know."""

    known: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)  # an input is not what it was made from
    foreign: list[str] = field(default_factory=list)  # neither made here nor what is recorded
    notes: list[str] = field(default_factory=list)


def adopt() -> Adopted:
    """Adopt what lies here. Costs little where there is nothing to adopt."""
    outcome = Adopted()
    if not provenance.FOLDER.is_dir():
        return outcome
    with locked():
        if mended := mend_lock():
            outcome.notes.append(mended)
        lock, made = read_lock(), {}
        for stage in read_stages():
            try:
                found = provenance.read(stage.name)
            except UserError as error:
                outcome.notes.append(str(error))
                continue
            if found is None or stage.name not in lock:
                continue
            if found.outs != lock[stage.name]:
                outcome.notes.append(
                    f"provenance/{stage.name}.json is not of what dvc.lock records; 'coder-clip record' renews it"
                )
                continue
            made[stage.name] = found
        records = Records()
        if made and not records.running():  # a running Snakemake knows its files best
            _adopt(made, records, outcome)
            keep_lock()
            remember()
    return outcome


def _adopt(made: dict[str, provenance.Provenance], records: Records, outcome: Adopted) -> None:
    hashes, anew = Hashes(), moved()
    latest = time.time() + 2  # a file from the future would hide every edit until then
    _to_the_present(made, latest, outcome)
    newest_large = _newest_large_input(made)
    marked = records.incomplete(path for found in made.values() for path in found.files)
    matching: dict[str, tuple[provenance.Provenance, Record]] = {}  # what is recorded, to be made known
    settled: dict[str, tuple[float, Record]] = {}  # known already
    other = 0
    for found in made.values():
        for path, (md5, wanted) in found.files.items():
            try:
                mtime = os.stat(path).st_mtime
            except FileNotFoundError:
                continue
            here = records.read(path)
            valid = here is not None and here.endtime == mtime and path not in marked
            same = valid and here is not None and here.same(wanted)
            if valid and not same and not anew:
                continue  # made here since: Snakemake knows better
            if same and mtime != OLD and newest_large.get(wanted.rule, 0) <= mtime <= latest:
                settled[path] = mtime, wanted
            elif hashes.md5(path) == md5:
                matching[path] = found, wanted
            elif valid:
                other += 1
            elif path not in marked:
                records.forget(path)  # its input checksums would vouch for a file they do not belong to
                os.utime(path, (OLD, OLD))
                outcome.foreign.append(path)
    if anew and other:
        outcome.notes.append(
            f"{other} files here are not those that dvc.lock records; 'dvc checkout' or 'dvc pull' brings them"
        )
    if matching:
        _give_one_time(matching, settled, records, hashes, outcome)
    hashes.save()


def _give_one_time(
    matching: dict[str, tuple[provenance.Provenance, Record]],
    settled: dict[str, tuple[float, Record]],
    records: Records,
    hashes: Hashes,
    outcome: Adopted,
) -> None:
    phases = {id(found): found for found, _ in matching.values()}
    here = {p for found in phases.values() for p in found.inputs if os.path.isfile(p)}
    differing = {
        n: {p for p, sha in found.inputs.items() if p in here and hashes.sha256(p) != sha}
        for n, found in phases.items()
    }
    newest = max((os.stat(p).st_mtime for p in here - matching.keys() if _large(p)), default=0.0)
    now = max(math.floor(time.time()), math.ceil(newest))
    moved_to_now: set[str] = set()
    for path, (found, wanted) in matching.items():
        if not differing[id(found)].isdisjoint(wanted.input):
            outcome.changed.append(path)
            _put(path, wanted, OLD, records, hashes)
        else:
            outcome.known.append(path)
            moved_to_now.add(path)
            _put(path, wanted, now, records, hashes)
    waiting = True
    while waiting:  # what was made from them must not be older than they are
        waiting = False
        for path, (mtime, wanted) in list(settled.items()):
            if mtime < now and not moved_to_now.isdisjoint(wanted.input):
                del settled[path]
                if all(
                    not os.path.isfile(p) or hashes.sha256(p) == sha for p, sha in wanted.checksums.items()
                ):
                    moved_to_now.add(path)
                    _put(path, wanted, now, records, hashes)
                    waiting = True


def _to_the_present(made: dict[str, provenance.Provenance], latest: float, outcome: Adopted) -> None:
    """Sources of a clone whose clock was ahead: Snakemake fails every job with an input from the future."""
    outputs = {path for found in made.values() for path in found.files}
    given = {p for found in made.values() for p in found.inputs if p not in outputs and os.path.isfile(p)}
    ahead = [p for p in given if os.stat(p).st_mtime > latest]
    for path in ahead:
        os.utime(path)
    if ahead:
        outcome.notes.append(
            f"{len(ahead)} source files had a time in the future, now they have the present time"
        )


def _large(path: str) -> bool:
    return os.stat(path).st_size > CHECKED_BY_SNAKEMAKE


def _put(path: str, wanted: Record, mtime: int, records: Records, hashes: Hashes) -> None:
    """Record first: cut short between the two, the times differ, and the next adopt does it again."""
    records.write(path, replace(wanted, endtime=float(mtime)))
    os.utime(path, (mtime, mtime))
    hashes.moved(path)


def _newest_large_input(made: dict[str, provenance.Provenance]) -> dict[str, float]:
    """For each rule the mtime of its newest input that Snakemake judges by mtime alone."""
    outputs = {path for found in made.values() for path in found.files}
    given = {p for found in made.values() for p in found.inputs} - outputs
    large = {
        p: s.st_mtime for p in given if os.path.isfile(p) and (s := os.stat(p)).st_size > CHECKED_BY_SNAKEMAKE
    }
    newest: dict[str, float] = {}
    for found in made.values() if large else ():
        for _, record in found.files.values():
            times = (large[p] for p in large.keys() & set(record.input))
            newest[record.rule] = max(newest.get(record.rule, 0.0), *times, 0.0)
    return newest
