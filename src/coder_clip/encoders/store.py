"""A cache of features by the content of the photo or text, so that a second call takes seconds.

One SQLite file in the user's cache folder, for runs and for `predict` alike. It can be deleted at any time; where it
cannot be opened, everything works without it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sqlite3
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from .spec import EncoderSpec

log = logging.getLogger(__name__)

FORMAT = 1  # of the file and of how photos are read: another number and everything is computed again
MANY = 500  # keys in one query
LIBRARIES = ("open_clip_torch", "timm", "transformers", "torch", "pillow")  # another version, other features
TABLES = """
create table if not exists features
  (encoder text, kind text, key text, checksum integer, value blob, primary key (encoder, kind, key)) without rowid;
create table if not exists encoders (spec text primary key, files text, metadata text);
"""


def cache_file() -> Path:
    """The file of features: below XDG_CACHE_HOME, by default ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "coder-clip" / f"features-{FORMAT}.sqlite"


class FeatureStore:
    """Features (d,) float32 by encoder, kind ("image" or "text") and key. path: None keeps nothing."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._lock = path, Lock()
        self._connection: sqlite3.Connection | None = None
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=30, check_same_thread=False)
            self._connection.executescript(TABLES)
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def get(self, encoder: str, kind: str, keys: Sequence[str]) -> dict[str, Tensor]:
        """Stored features by key; a damaged entry counts as absent."""
        found: dict[str, Tensor] = {}
        for start in range(0, len(keys), MANY):
            some = keys[start : start + MANY]
            query = "select key, checksum, value from features where encoder = ? and kind = ? and key in "
            places = ",".join("?" * len(some))
            for key, checksum, value in self._read(f"{query}({places})", encoder, kind, *some):
                if zlib.crc32(value) == checksum and len(value) % 4 == 0:
                    found[key] = torch.frombuffer(bytearray(value), dtype=torch.float32)
        return found

    def put(self, encoder: str, kind: str, features: Iterable[tuple[str, Tensor]]) -> None:
        """Store features (d,) by key, with a checksum."""
        rows = []
        for key, feature in features:
            value = feature.float().contiguous().numpy().tobytes()
            rows.append((encoder, kind, key, zlib.crc32(value), value))
        self._write("insert or replace into features values (?, ?, ?, ?, ?)", rows)

    def metadata(self, spec: EncoderSpec) -> dict[str, str] | None:
        """Metadata of the encoder of this specification, if its files are unchanged: no need to load it."""
        query = "select files, metadata from encoders where spec = ?"
        for files, metadata in self._read(query, encoder_key(asdict(spec))):
            before = json.loads(files)
            if before and _stats(map(Path, before)) == before:
                return dict(json.loads(metadata))
        return None

    def remember(self, spec: EncoderSpec, files: Iterable[Path], metadata: dict[str, str]) -> None:
        """Store an encoder's metadata. files: all files that decide its features."""
        row = (encoder_key(asdict(spec)), json.dumps(_stats(files)), json.dumps(metadata))
        self._write("insert or replace into encoders values (?, ?, ?)", [row])

    def _read(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        return self._try(lambda connection: connection.execute(query, values).fetchall())

    def _write(self, query: str, rows: list[tuple[Any, ...]]) -> None:
        self._try(lambda connection: connection.executemany(query, rows).fetchall())

    def _try(self, action: Callable[[sqlite3.Connection], list[tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
        try:
            if self._connection is not None:
                with self._lock, self._connection:
                    return action(self._connection)
        except sqlite3.Error as error:
            self._give_up(error)
        return []

    def _give_up(self, error: Exception) -> None:
        """Go on without the file after a full disk, a damaged file or a lock that is never released."""
        log.warning("features are not kept: %s: %s", self._path, error)
        self._connection = None


def encoder_key(of: Mapping[str, Any]) -> str:
    """The key of an encoder's features: its metadata, the libraries and the code that ran it."""
    versions = {name: version(name) for name in LIBRARIES}
    return json.dumps({**of, **versions, "code": _code()}, sort_keys=True)


def features_key(metadata: Mapping[str, str]) -> str:
    """sha256 of :func:`encoder_key` for a loaded encoder's metadata."""
    return hashlib.sha256(encoder_key(metadata).encode()).hexdigest()


@cache
def _code() -> str:
    """sha256 over the modules between an image or text and its feature."""
    package = Path(__file__).parents[1]
    files = [
        *package.glob("encoders/*.py"),
        package / "datasets/images.py",
        package / "foundation/reproducible.py",
    ]
    return hashlib.sha256(b"".join(p.read_bytes() for p in sorted(files))).hexdigest()


def _stats(files: Iterable[Path]) -> dict[str, list[int]]:
    """Size and modification time of each file; empty if one is missing."""
    try:
        stats = {str(path): path.stat() for path in sorted(files)}
    except OSError:
        return {}
    return {path: [s.st_size, s.st_mtime_ns] for path, s in stats.items()}
