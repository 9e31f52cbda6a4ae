"""Hashes of files, remembered until a file changes, and the hash DVC gives to a folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ..foundation.artifacts import write_text

STATE = Path(".snakemake/coder-clip")  # beside Snakemake's own state: machine-local, ignored by git


class Hashes:
    """md5 (what DVC compares) and sha256 (what records hold) of files, both in one reading."""

    def __init__(self) -> None:
        self._path = STATE / "hashes.json"
        self._known: dict[str, list[int | str]] = {}
        with suppress(OSError, ValueError):
            self._known = json.loads(self._path.read_text())
        self._changed = False

    def md5(self, path: str) -> str:
        return self._both(path)[0]

    def sha256(self, path: str) -> str:
        return self._both(path)[1]

    def save(self) -> None:
        if self._changed:
            write_text(self._path, json.dumps({p: v for p, v in self._known.items() if os.path.exists(p)}))
            self._changed = False

    def moved(self, path: str) -> None:
        """The file got another time by our own hand: what is known of its content still holds."""
        if path in self._known:
            self._known[path][:4] = stamp(path)
            self._changed = True

    def _both(self, path: str) -> tuple[str, str]:
        now = stamp(path)
        known = self._known.get(path)
        if known is None or known[:4] != now:
            md5, sha = hashlib.md5(usedforsecurity=False), hashlib.sha256()
            with open(path, "rb") as stream:
                while block := stream.read(1 << 20):
                    md5.update(block)
                    sha.update(block)
            known = self._known[path] = [*now, md5.hexdigest(), sha.hexdigest()]
            self._changed = True
        return str(known[4]), str(known[5])


def stamp(path: str) -> list[int]:
    """ctime too: a tool can give a changed file its old time back, but not that one."""
    s = os.stat(path)
    return [s.st_mtime_ns, s.st_size, s.st_ino, s.st_ctime_ns]


def folder_md5(files: Mapping[str, str]) -> str:
    """DVC's hash of a folder from the md5 of each file in it, named relative to the folder."""
    listing = [{"md5": files[p], "relpath": p} for p in sorted(files)]
    return (
        hashlib.md5(json.dumps(listing, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"
    )
