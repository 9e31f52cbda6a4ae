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
        self._known: dict[str, dict[str, Any]] = {}
        # a damaged cache is the same as none
        with suppress(OSError, ValueError, TypeError, KeyError):
            known = json.loads(self._path.read_text())
            self._known = {path: known[path] for path in known if known[path]["stamp"]}
        self._changed = False

    def md5(self, path: str) -> str:
        return self._sum(path, "md5")

    def sha256(self, path: str) -> str:
        return self._sum(path, "sha256")

    def names(self, folder: str) -> str:
        """sha256 of the names in a folder, but hidden ones; "" if it is not there."""
        if not os.path.isdir(folder):
            return ""
        names = sorted(
            name for name in os.listdir(folder) if not name.startswith((".", "__pycache__"))
        )
        return hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()

    def save(self) -> None:
        """Write new hashes to the cache file."""
        if self._changed:
            write_text(
                self._path, json.dumps({p: v for p, v in self._known.items() if os.path.exists(p)})
            )
            self._changed = False

    def _sum(self, path: str, name: str) -> str:
        now, known = stamp(path), self._known.get(path)
        if known is None or known["stamp"] != now:
            known = self._known[path] = {"stamp": now, **_both(path)}
            self._changed = True
        return str(known[name])


def _both(path: str) -> dict[str, str]:
    md5, sha = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            md5.update(block)
            sha.update(block)
    return {"md5": md5.hexdigest(), "sha256": sha.hexdigest()}
