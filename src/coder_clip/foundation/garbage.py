"""Find and delete objects of DVC that no commit needs."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from ..errors import UserError
from . import dvc
from .git import git
from .hashes import Hashes

NAME_OBJECTS = ("--", ":(top,glob)**/*.dvc", ":(top,glob)**/dvc.lock")  # files that name objects
YOUNG = 30 * 86400  # seconds; the commit of a young object may not be pushed yet


def clean(cloud: bool, remote: str | None = None, delete: bool = False) -> list[str]:
    """Count or delete objects that no dvc.lock or .dvc file of any branch, tag or stash names.

    cloud: in the remote, else in the cache. All branches of all Git remotes are fetched first. Objects younger than 30
    days are kept: their commit may not be pushed yet. UserError if it is unknown what others need, as in a cache that
    other clones may share.
    """
    # Deleting is safe only if every commit is known (no shallow clone), nobody else uses the store unseen (no
    # shared cache), and commits have had time to be pushed (YOUNG).
    store = dvc.Store(Hashes(), remote)
    if git("rev-parse", "--is-shallow-repository").strip() == b"true":
        raise UserError(
            "a shallow clone does not know what older commits need; 'git fetch --unshallow' first"
        )
    if not cloud and not Path(store.cache.path).resolve().is_relative_to(Path(".dvc").resolve()):
        raise UserError(
            f"the cache {store.cache.path} is not this clone's alone: what another needs is not known here"
        )
    there = store.listing() if cloud else {}
    needed = _needed(store, there)
    if cloud:
        found = {oid: (info["path"], info["size"], _time(info)) for oid, info in there.items()}
    else:
        files = [store.path(oid) for oid in store.cache.all()]
        found = {"".join(p.split("/")[-2:]): (p, os.path.getsize(p), os.path.getmtime(p)) for p in files}
    old = {oid: file for oid, file in found.items() if oid not in needed and file[2] < time.time() - YOUNG}
    where = "the remote" if cloud else "the cache"
    size = f"{len(old)} files ({sum(file[1] for file in old.values()) / 1e6:.1f} MB)"
    if not old:
        return [f"nothing to clean in {where}: every file is needed by a commit, or younger than 30 days"]
    if not delete:
        return [f"{size} in {where} are needed by no commit; --delete deletes them"]
    for path, _, _ in old.values():
        (store.remote.fs if cloud else store.cache.fs).remove(path)
    return [f"deleted from {where}: {size} that no commit needs"]


def _needed(store: dvc.Store, there: Mapping[str, object]) -> set[str]:
    """Objects named anywhere in Git's history or in this folder, and the files of folders among them."""
    # Every line that a commit ever added counts, even of files that no branch has any more: this may keep too
    # much, but never deletes what an old commit needs.
    if git("remote").strip():
        git("fetch", "--all", "--tags", "--quiet")
    here = git("ls-files", "-z", "--cached", "--others", *NAME_OBJECTS).decode().split("\0")
    texts = [Path(p).read_text(encoding="utf-8") for p in here if os.path.isfile(p)]
    every_line = ("--patch", "-m", "--text", "--no-ext-diff", "--no-color", "--format=")
    texts.append(git("log", "--all", "--reflog", "--full-history", *every_line, *NAME_OBJECTS).decode())
    needed = {oid for text in texts for oid in dvc.OBJECT_IN.findall(text)}
    folders = [oid for oid in needed if oid.endswith(".dir") and (store.good(oid) or oid in there)]
    if there:
        store.fetch(folders)
    for oid in folders:
        if not store.good(oid):
            raise UserError(f"the list of files {oid} cannot be read, so nothing is deleted")
        needed |= set(store.files("", oid).values())
    return needed


def _time(info: Mapping[str, object]) -> float:
    """Modification time of a file in the remote; if unknown, the present time: the file counts as young."""
    value = info.get("mtime") or info.get("LastModified")
    if hasattr(value, "timestamp"):
        return float(value.timestamp())
    return float(value) if isinstance(value, (int, float)) else time.time()
