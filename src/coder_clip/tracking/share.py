"""Push and pull what is recorded, each object verified; and clean up without taking what others need."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError
from ..foundation.artifacts import write_bytes
from ..pipeline.phase_list import phases
from . import dvc
from .adopt import adopt
from .hashes import Hashes
from .record import aside, locked, some
from .stages import Tracked, git, tracked

NAME_OBJECTS = ("--", ":(top,glob)**/*.dvc", ":(top,glob)**/dvc.lock")  # files in Git that name objects
YOUNG = 30 * 86400  # seconds; what was pushed lately may belong to a commit that is not pushed yet


@dataclass
class Shared:
    """What came or went, and what did not: phase -> why."""

    lines: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def cached(t: Tracked) -> dict[str, dict[str, str]]:
    """For each recorded phase its outs in DVC's cache, with their objects."""
    kept = {out for phase in phases() for out in t.keeps(phase)}
    return {
        name: {out: oid for out, oid in outs.items() if out not in kept}
        for name, outs in t.recorded().items()
    }


def pull(config: str, remote: str | None = None, jobs: int | None = None) -> Shared:
    """Bring what dvc.lock records into the workspace, verified, and let Snakemake know it.

    A missing or corrupt object costs its phase alone. Results here that are recorded nowhere are moved aside.
    """
    t, done = tracked(config), Shared()
    outs_of = cached(t)
    if not outs_of:
        raise UserError(f"nothing of {t.config} is recorded in this commit")
    with locked():
        hashes = Hashes()
        store = dvc.Store(hashes, remote, jobs)
        failed = store.fetch({oid for outs in outs_of.values() for oid in outs.values()})
        wanted = {}
        for name, outs in outs_of.items():
            wanted[name], unknown = store.wanted(outs)
            if unknown:
                done.failed[name] = f"{some(unknown)} {failed.get(outs[unknown[0]], 'not in the remote')}"
        failed |= store.fetch({oid for objects in wanted.values() for oid in objects})
        for name, objects in wanted.items():
            if absent := sorted(path for oid, path in objects.items() if oid in failed):
                why = next(failed[oid] for oid, path in objects.items() if path == absent[0])
                done.failed.setdefault(name, f"{some(absent)} {why}")
        ready = [name for name in outs_of if name not in done.failed]
        unsaved = [
            path
            for name in ready
            for out in outs_of[name]
            for path in dvc.files_below(out)
            if not store.good(hashes.md5(path))
        ]
        if unsaved:
            done.lines.append(aside(unsaved, "recorded nowhere"))
        store.checkout([t.address(name) for name in ready])
        for name in done.failed:  # how its files were made is good to know without them
            record = t.record(name)
            if store.good(oid := outs_of[name].get(record.as_posix(), "")):
                write_bytes(record, Path(store.path(oid)).read_bytes())
        if ready:
            records = [
                outs_of[name][t.record(name).as_posix()]
                for name in ready
                if t.record(name).as_posix() in outs_of[name]
            ]
            if any(not store.note(md5) for md5 in records):
                store.carry_notes(records, out=False)
            done.lines.append(f"here now: {', '.join(ready)}")
        hashes.save()
    done.lines += adopt(t).lines()
    done.lines += [
        f"phase {name} is not here: {why}; the next run makes it" for name, why in done.failed.items()
    ]
    return done


def push(config: str, remote: str | None = None, jobs: int | None = None, thorough: bool = False) -> Shared:
    """Send what dvc.lock records, and make sure that the remote holds it. A corrupt object is never sent."""
    t, done = tracked(config), Shared()
    outs_of = cached(t)
    if not outs_of:
        raise UserError(
            f"nothing of {t.config} is recorded in this commit; a run, or 'coder-clip record', records it"
        )
    with locked():
        hashes = Hashes()
        store = dvc.Store(hashes, remote, jobs)
        sendable: dict[str, str] = {}  # object -> path
        bad: dict[str, list[str]] = {}
        for name, outs in outs_of.items():
            store.repair(outs)
            objects, unknown = store.wanted(outs)
            lost = sorted([*unknown, *(path for oid, path in objects.items() if not store.good(oid))])
            bad |= {name: lost} if lost else {}
            sendable |= {oid: path for oid, path in objects.items() if store.good(oid)}
        before = store.bad_in_remote(sendable, thorough)
        store.push(before)
        after = store.bad_in_remote(sendable, thorough)
        replaced = sorted(
            sendable[oid] for oid, why in before.items() if why.startswith("corrupt") and oid not in after
        )
        if replaced:
            done.lines.append(f"replaced in the remote, where it was corrupt: {some(replaced)}")
        for name, lost in bad.items():  # perhaps the remote has them
            oids = {oid: path for oid, path in store.wanted(outs_of[name])[0].items() if path in lost}
            absent = store.bad_in_remote(oids, thorough)
            left = [p for p in lost if p in outs_of[name] and p not in oids.values()]
            if left or absent:
                done.failed[name] = (
                    f"{some(left or sorted(oids[o] for o in absent))} is neither whole here nor in the remote"
                )
        for oid, why in after.items():
            name = next(name for name, outs in outs_of.items() if oid in store.wanted(outs)[0])
            done.failed.setdefault(name, f"{sendable[oid]} {why}")
        store.carry_notes(
            {o[t.record(n).as_posix()] for n, o in outs_of.items() if t.record(n).as_posix() in o}, out=True
        )
        sent = [name for name in outs_of if name not in done.failed]
        if sent:
            count = len(before)
            done.lines.append(
                f"in the remote: {', '.join(sent)} ({count} files sent, {len(sendable)} verified)"
            )
        hashes.save()
    for name, why in done.failed.items():
        done.lines.append(
            f"phase {name} is not pushed: {why}; make it again and record it, or ask who has it"
        )
    return done


def in_remote(config: str) -> dict[str, bool] | str:
    """For each recorded phase whether the remote holds it; or why that is not known. Changes nothing."""
    t = tracked(config)
    try:
        store = dvc.Store(Hashes())
        found = {}
        for name, outs in cached(t).items():
            objects, unknown = store.wanted(outs)
            found[name] = set(objects), bool(unknown)
        bad = store.bad_in_remote(set().union(*(objects for objects, _ in found.values())))
        return {
            name: not unknown and bad.keys().isdisjoint(objects) for name, (objects, unknown) in found.items()
        }
    except UserError as error:
        return "no remote" if str(error).startswith("no remote") else "remote not reached"


def clean(cloud: bool, remote: str | None = None, delete: bool = False) -> list[str]:
    """Objects that no commit of any branch, tag or stash needs, here or in the remote: told, or deleted.

    All branches of all Git remotes are fetched first, and what is younger than 30 days is kept: its commit may not be
    pushed yet. Needed is what any dvc.lock or .dvc file names. UserError where it cannot be told what somebody needs,
    as in a cache that other clones may share.
    """
    if git("remote").strip():
        git("fetch", "--all", "--tags", "--quiet")
    store = dvc.Store(Hashes(), remote)
    if not cloud and not Path(store.cache.path).resolve().is_relative_to(Path(".dvc").resolve()):
        raise UserError(
            f"the cache {store.cache.path} is not this clone's alone: what another needs is not known here"
        )
    here = git("ls-files", "-z", "--cached", "--others", *NAME_OBJECTS).decode().split("\0")
    texts = {Path(p).read_text(encoding="utf-8") for p in here if os.path.isfile(p)}
    top = git("rev-parse", "--show-toplevel").decode().strip()
    blobs = set[str]()
    for commit in git("rev-list", "--all", "--reflog", *NAME_OBJECTS).decode().split():
        rows = git("-C", top, "ls-tree", "-r", "-z", commit).decode().split("\0")
        blobs |= {row.split()[2] for row in rows if row.endswith((".dvc", "/dvc.lock", "\tdvc.lock"))}
    texts |= {git("cat-file", "blob", blob).decode() for blob in blobs}
    needed = {oid for text in texts for oid in dvc.OBJECT_IN.findall(text)}
    folders = sorted(oid for oid in needed if oid.endswith(".dir"))
    there = store.listing() if cloud else {}
    known = [oid for oid in folders if store.good(oid) or oid in there]
    if cloud:
        store.fetch(known)
    for oid in known:
        needed |= set(store.files("", oid).values()) if store.good(oid) else set()
    if lost := [oid for oid in known if not store.good(oid)]:
        raise UserError(f"the list of files {lost[0]} cannot be read, so nothing is deleted")
    if cloud:
        found = {oid: (info["path"], info["size"], _time(info)) for oid, info in there.items()}
    else:
        files = (store.path(oid) for oid in store.cache.all())
        found = {"".join(p.split("/")[-2:]): (p, os.path.getsize(p), os.stat(p).st_mtime) for p in files}
    old = {oid: entry for oid, entry in found.items() if oid not in needed and entry[2] < time.time() - YOUNG}
    where = "the remote" if cloud else "the cache"
    size = sum(entry[1] for entry in old.values()) / 1e6
    if not old:
        return [f"nothing to clean in {where}: every file is needed by a commit, or younger than 30 days"]
    if not delete:
        return [f"{len(old)} files ({size:.1f} MB) in {where} are needed by no commit; --delete deletes them"]
    for path, _, _ in old.values():
        (store.remote.fs if cloud else store.cache.fs).remove(path)
    return [f"deleted from {where}: {len(old)} files ({size:.1f} MB) that no commit needs"]


def _time(info: dict[str, object]) -> float:
    """When a remote's file was written; what does not say so counts as young."""
    value = info.get("mtime") or info.get("LastModified")
    return float(
        value.timestamp()
        if hasattr(value, "timestamp")
        else value
        if isinstance(value, (int, float))
        else time.time()
    )
