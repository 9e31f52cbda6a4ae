"""Hashes of files, cached until a file changes."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from .artifacts import write_text
from .evidence import stamp as stamp

STATE = Path(".snakemake/coder-clip")  # beside Snakemake's own state: machine-local, ignored by git


class Hashes:
    """md5 (what DVC compares) and sha256 (what records hold) of files, both in one reading."""

    def __init__(self) -> None:
        self._path = STATE / "sums.json"
        self._known: dict[str, dict[str, Any]] = {}  # path -> its stamp, md5 and sha256
        # a damaged cache is the same as none
        with suppress(OSError, ValueError, TypeError, AttributeError):
            known = json.loads(self._path.read_text())
            self._known = {p: v for p, v in known.items() if v.keys() == {"stamp", "md5", "sha256"}}
        self._changed = False

    def md5(self, path: str) -> str:
        return self._hash(path, "md5")

    def sha256(self, path: str) -> str:
        return self._hash(path, "sha256")

    def sha(self, path: str) -> str:
        """sha256 of a file, or of the names in a folder ("data/reference/").

        "" if it is not there.
        """
        if path.endswith("/"):
            return self.names(path)
        return self.sha256(path) if os.path.isfile(path) else ""

    def names(self, folder: str) -> str:
        """sha256 of the names in a folder, without hidden ones; "" if the folder is not there."""
        if not os.path.isdir(folder):
            return ""
        names = sorted(
            name for name in os.listdir(folder) if not name.startswith((".", "__pycache__"))
        )
        return hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()

    def save(self) -> None:
        """Write new hashes to the cache file."""
        if self._changed:
            existing = {p: v for p, v in self._known.items() if os.path.exists(p)}
            write_text(self._path, json.dumps(existing))
            self._changed = False

    def _hash(self, path: str, name: str) -> str:
        """The hash of a file, computed only if the file is new or changed. name: md5 or sha256."""
        now = stamp(path)
        entry = self._known.get(path)
        if entry is None or entry["stamp"] != now:
            entry = {"stamp": now, **_md5_and_sha256(path)}
            self._known[path] = entry
            self._changed = True
        return str(entry[name])


def _md5_and_sha256(path: str) -> dict[str, str]:
    """Both hashes of a file, by name."""
    md5, sha = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            md5.update(block)
            sha.update(block)
    return {"md5": md5.hexdigest(), "sha256": sha.hexdigest()}
