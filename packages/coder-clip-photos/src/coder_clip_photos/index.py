"""The kept index: which feature a photo's file had when it was last read.

One SQLite file per encoder says, for each path, the stamp of the file (times, size, inode) and the
row of its feature. The features are rows of one flat file, which readers map into memory piece by
piece. A file whose stamp has not changed is not read, so that a search in a hundred thousand photos
takes about a second.

Rows are flushed to the disk before SQLite commits their paths, under SQLite's lock: a process that
is killed leaves rows that no path names, and two processes write one after the other. If the files
cannot be read or written, photos are read again.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FORMAT = 2
# A file that changed this recently may change again within the resolution of the file system's
# clock.
SETTLED = 2 * 10**9  # nanoseconds
WAIT = 600.0  # seconds for another process that is writing
PIECE = 8192  # rows that are mapped at a time: 16 MB of 512 numbers
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS photos (path TEXT PRIMARY KEY, stamp TEXT, row INTEGER) "
    "WITHOUT ROWID"
)
Rows = NDArray[np.float32]


class Index:
    """The index of one encoder.

    folder: None keeps nothing. key: of the encoder's image features. size: of a feature.
    """

    def __init__(self, folder: Path | None, key: str, size: int) -> None:
        self.size = size
        self._base: Path | None = None
        if folder is not None:
            self._base = folder / f"index-{FORMAT}" / f"{key}.sqlite"

    def rows(self, paths: Sequence[str]) -> NDArray[np.int64]:
        """The row of each photo's feature, −1 for a photo that is new or has changed."""
        found = np.full(len(paths), -1, np.int64)
        known: dict[str, tuple[str, int]] = {}
        here = _absolute(paths)
        with self._open() as base:
            if base is not None and here:
                # the first and the last path in order share what all share
                known = _below(base, os.path.commonpath([min(here), max(here)]))
        if not known:
            return found
        on_disk = _bytes(self._features()) // (4 * self.size)
        for i, path in enumerate(here):
            entry = known.get(path)
            if entry is not None and entry[1] < on_disk and entry[0] == stamp(path):
                found[i] = entry[1]
        return found

    def read(self, rows: NDArray[np.int64]) -> Rows:
        """Copy some rows of the file of features: (n, size) float32."""
        found = np.empty((len(rows), self.size), np.float32)
        # in the order of the file, a piece at a time: a mapping of all of it would count as memory
        order = rows.argsort(kind="stable")
        at = 0
        while at < len(order):
            first = int(rows[order[at]])
            end = int(np.searchsorted(rows[order], first + PIECE, side="left"))
            some = order[at:end]
            last = int(rows[some[-1]])
            shape = (last - first + 1, self.size)
            offset = 4 * self.size * first
            piece = np.memmap(self._features(), np.float32, "r", offset=offset, shape=shape)
            if np.array_equal(some, np.arange(at, end)) and len(some) == len(piece):
                found[at:end] = piece  # as in the file: no second copy
            else:
                found[some] = piece[rows[some] - first]
            at = end
        return found

    def add(self, photos: Iterable[tuple[str, str | None, Rows]]) -> None:
        """Keep (path, stamp before the reading, feature) of photos that were read.

        A photo that has changed since, or just now, is not kept.
        """
        settled = [
            (path, before, feature)
            for path, before, feature in photos
            if before is not None and stamp(path) == before and _settled(before)
        ]
        if not settled:
            return
        with self._open(write=True) as base:
            if base is None:
                return
            (first,) = base.execute("SELECT COALESCE(MAX(row) + 1, 0) FROM photos").fetchone()
            # what lies beyond the last row that SQLite knows was left by a killed process
            self._write(first, np.stack([feature for _, _, feature in settled]))
            base.executemany(
                "INSERT OR REPLACE INTO photos VALUES (?, ?, ?)",
                [
                    (path, before, first + i)
                    for i, (path, (_, before, _)) in enumerate(
                        zip(_absolute([path for path, _, _ in settled]), settled, strict=True)
                    )
                ],
            )

    def _write(self, first: int, rows: Rows) -> None:
        """Put rows into the file of features from row ``first`` on, and on the disk."""
        handle = os.open(self._features(), os.O_WRONLY | os.O_CREAT, 0o600)
        with open(handle, "wb") as stream:
            stream.seek(4 * self.size * first)
            stream.write(np.ascontiguousarray(rows, np.float32).tobytes())
            stream.flush()
            os.fsync(stream.fileno())

    def _features(self) -> Path:
        assert self._base is not None
        return self._base.with_suffix(".f32")

    @contextmanager
    def _open(self, write: bool = False) -> Iterator[sqlite3.Connection | None]:
        """A transaction, alone if it writes; None if there is no index, or it cannot be used."""
        if self._base is None or not (write or self._base.is_file()):
            yield None
            return
        base = None
        try:
            self._base.parent.mkdir(parents=True, exist_ok=True)
            if write:
                # it has the paths of photos, so no other user may read it
                os.close(os.open(self._base, os.O_WRONLY | os.O_CREAT, 0o600))
            base = sqlite3.connect(self._base, timeout=WAIT, isolation_level=None)
            if write:
                base.execute(SCHEMA)
            base.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        except (sqlite3.Error, OSError) as error:
            if base is not None:
                base.close()
            base = None
            if isinstance(error, sqlite3.DatabaseError) and "not a database" in str(error):
                self._base.unlink(missing_ok=True)  # damaged: a new one is made
        if base is None:
            yield None
            return
        try:
            with suppress(sqlite3.Error, OSError):
                yield base
                base.execute("COMMIT")
        finally:
            base.close()


def stamp(path: str | Path) -> str | None:
    """Times, size and inode of a file, by which a change is noticed; None for a file that is gone.

    Tools can restore the mtime of a changed file, but not its ctime, which is last.
    """
    try:
        s = os.stat(path)
    except (OSError, ValueError):
        return None
    return f"{s.st_mtime_ns} {s.st_size} {s.st_ino} {s.st_ctime_ns}"


def _bytes(file: Path) -> int:
    """Bytes of a file; 0 if it is gone."""
    with suppress(OSError):
        return file.stat().st_size
    return 0


def _settled(before: str) -> bool:
    return int(before.rpartition(" ")[2]) < time.time_ns() - SETTLED


def _absolute(paths: Sequence[str]) -> list[str]:
    """Paths from the root, as SQLite takes them: bytes that are no Unicode are escaped."""
    # not normalized: another spelling of a path only costs time
    here = os.path.join(os.getcwd(), "")
    found = [path if path.startswith("/") else here + path for path in paths]
    return [
        path if path.isascii() else path.encode("utf-8", "backslashreplace").decode()
        for path in found
    ]


def _below(base: sqlite3.Connection, folder: str) -> dict[str, tuple[str, int]]:
    """Path -> (stamp, row) of the photos in a folder, at any depth, or of this one photo."""
    # "0" is the character after "/", so this is the range of all paths that begin with folder/
    rows = base.execute(
        "SELECT path, stamp, row FROM photos WHERE path = ? OR path >= ? AND path < ?",
        (folder, f"{folder.rstrip('/')}/", f"{folder.rstrip('/')}0"),
    )
    return {path: (text, row) for path, text, row in rows}
