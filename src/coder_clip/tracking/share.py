"""Push and pull recorded results, each object verified."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from ..errors import UserError
from ..foundation import dvc
from ..foundation.git import git
from ..jobs import RECORDS
from ..rerun.hashes import Hashes
from .locks import locked
from .record import Workspace, aside, some
from .stages import Tracked, option, tracked


@dataclass
class Shared:
    """Outcome of a push or pull. failed: phase -> why."""

    lines: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def check(self, objects: Mapping[str, Mapping[str, str]], bad: Mapping[str, str]) -> None:
        """Note phases with a bad object as failed.

        objects: phase -> object -> path; bad: object -> why.
        """
        for name, path_of in objects.items():
            why_of = {path: bad[oid] for oid, path in path_of.items() if oid in bad}
            if why_of:
                # the reason of the first path, which `some` shows
                self.failed[name] = f"{some(sorted(why_of))} {why_of[min(why_of)]}"


def cached(t: Tracked) -> dict[str, dict[str, str]]:
    """Recorded phase -> out -> object, without outs that Git keeps.

    UserError if nothing is recorded, or if `Tracked.recorded` or `Tracked.refuse_links` refuses it.
    """
    t.refuse_links()
    recorded = t.recorded()
    if not recorded:
        raise UserError(
            f"nothing of {t.config} is recorded in this commit; a run, or 'coder-clip record', "
            "records it"
        )
    return {
        name: {out: oid for out, oid in outs.items() if out not in t.kept}
        for name, outs in recorded.items()
    }


def pull(config: str, remote: str | None = None, jobs: int | None = None) -> Shared:
    """Download recorded results, verify them and put them in their places.

    A phase with a missing or corrupt object is left out. Results here that are recorded nowhere are
    moved aside."""
    t, done = tracked(config), Shared()
    outs_of = cached(t)
    with locked(alone=True):
        hashes = Hashes()
        store = dvc.Store(hashes, remote, jobs)
        # folder lists first, because they say which files are needed
        bad = store.fetch({oid for outs in outs_of.values() for oid in outs.values()})
        objects = {name: store.wanted(outs) for name, outs in outs_of.items()}  # checks all paths
        bad |= store.fetch({oid for needed in objects.values() for oid in needed} - bad.keys())
        done.check(objects, bad)
        for name, outs in outs_of.items():
            if name in done.failed:
                continue
            files: dict[str, str] = {}  # path -> object
            for out, oid in outs.items():
                files |= store.files(out, oid)
            done.lines += _put(store, hashes, outs, files)
            # read again: another program can have changed a file meanwhile
            wrong = _wrong(files, hashes)
            if wrong:
                done.failed[name] = f"{some(wrong)} changed meanwhile"
        _put_certificates(t, store, {name: objects[name] for name in done.failed}, bad)
        _restore_kept(t)
        hashes.save()
    ready = [name for name in outs_of if name not in done.failed]
    if ready:
        done.lines.append(f"here now: {', '.join(ready)}")
    done.lines += [
        f"phase {name} is not here: {why}; the next run makes it"
        for name, why in done.failed.items()
    ]
    with suppress(UserError):
        done.lines += _outdated(t)
    return done


def _wrong(files: Mapping[str, str], hashes: Hashes) -> list[str]:
    """The files (path -> object) that are missing or have other content."""
    return [
        path for path, md5 in files.items() if not os.path.isfile(path) or hashes.md5(path) != md5
    ]


def _outdated(t: Tracked) -> list[str]:
    """A line about files that are here and that a run will make again, if there are any."""
    here = Workspace(t)
    jobs = [job for job in here.judge.jobs if job.name in here.judge.outdated]
    outdated = [path for job in jobs for path in job.outputs if os.path.isfile(path)]
    here.hashes.save()
    if not outdated:
        return []
    return [
        f"{some(outdated)} will be made again; 'coder-clip status{option(t)}' tells the reasons"
    ]


def _put(
    store: dvc.Store, hashes: Hashes, outs: Iterable[str], files: Mapping[str, str]
) -> list[str]:
    """Put the files of a phase (path -> object) in the place of older ones.

    Returns lines about files that were moved aside.
    """
    lines = []
    here = [path for out in outs for path in dvc.files_below(out)]
    # links to an object that is gone
    broken = [path for path in here if not os.path.exists(path)]
    # changed, or not a file of the phase
    other = [path for path in here if path not in broken and hashes.md5(path) != files.get(path)]
    # what the cache does not have would be lost, so it is moved aside
    unsaved = [path for path in other if not store.good(hashes.md5(path))]
    if unsaved:
        lines.append(aside(unsaved, "recorded nowhere"))
    # remove the rest that the phase does not have; another pull brings it back
    for path in {*broken, *other} - {*files, *unsaved}:
        os.unlink(path)
    for path in _wrong(files, hashes):
        store.place(path, files[path])
    return lines


def _put_certificates(
    t: Tracked, store: dvc.Store, objects: Mapping[str, Mapping[str, str]], bad: Mapping[str, str]
) -> None:
    """Put in place the certificates of phases that could not be pulled.

    They say how the files were made. A certificate here that holds stays.

    objects: phase -> object -> path. bad: object -> why.
    """
    holds = set[str]()
    if objects:
        with suppress(UserError):
            judge = Workspace(t).judge
            held = [job for job in judge.jobs if not judge.objection(job)]
            holds = {job.record(judge.folder).as_posix() for job in held}
    for path_of in objects.values():
        for oid, path in path_of.items():
            certificate = path.startswith(f"{t.root}/{RECORDS}/") and path.endswith(".json")
            if certificate and oid not in bad and path not in holds:
                store.place(path, oid)


def _restore_kept(t: Tracked) -> None:
    """Bring back tables and metrics that are in Git and missing here."""
    for out in t.kept:
        with suppress(UserError, OSError):
            missing = git("ls-files", "-z", "--deleted", "--", out).decode().split("\0")[:-1]
            if missing:
                git("checkout", "--", *missing)


def push(
    config: str, remote: str | None = None, jobs: int | None = None, thorough: bool = False
) -> Shared:
    """Upload recorded results, and verify the remote. A corrupt object is never sent.

    The contents of uploaded objects are verified, over SSH too; thorough: verify the contents of
    all objects."""
    t, done = tracked(config), Shared()
    outs_of = cached(t)
    with locked():
        hashes = Hashes()
        store = dvc.Store(hashes, remote, jobs)
        # files that the cache lacks come from the workspace
        for outs in outs_of.values():
            store.store(outs)
        objects = {name: store.wanted(outs) for name, outs in outs_of.items()}
        needed = {oid: path for path_of in objects.values() for oid, path in path_of.items()}
        # object -> why it is bad in the remote, before the upload
        before = store.bad_in_remote(needed, thorough)
        sent = {oid: why for oid, why in before.items() if store.good(oid)}
        store.push(sent)
        # what was sent is compared in full, also without `thorough`
        bad = store.bad_in_remote(sent, thorough=True)
        replaced = [needed[o] for o, why in sent.items() if why == dvc.CORRUPT and o not in bad]
        if replaced:
            done.lines.append(
                f"replaced in the remote, where it was corrupt: {some(sorted(replaced))}"
            )
        bad |= dict.fromkeys(before.keys() - sent.keys(), "is neither whole here nor in the remote")
        done.check(objects, bad)
        hashes.save()
    whole = [name for name in outs_of if name not in done.failed]
    if whole:
        verified = len(needed.keys() - bad.keys())
        done.lines.append(
            f"in the remote: {', '.join(whole)} ({len(sent)} files sent, {verified} verified)"
        )
    done.lines += [
        f"phase {name} is not pushed: {why}; make it again and record it, or ask who has it"
        for name, why in done.failed.items()
    ]
    return done


def in_remote(t: Tracked) -> dict[str, bool] | str:
    """Recorded phase -> True if the remote holds all its objects.

    Or, if the remote cannot be asked, a text that says why. UserError if .dvc/config or a list of
    files is refused. Changes nothing.
    """
    # phase -> object -> path
    try:
        store = dvc.Store(Hashes())
        objects = {name: store.wanted(outs) for name, outs in cached(t).items()}
        bad = store.bad_in_remote({oid for needed in objects.values() for oid in needed})
    except dvc.NoRemote as error:
        return str(error).split(":")[0]
    return {name: bad.keys().isdisjoint(needed) for name, needed in objects.items()}
