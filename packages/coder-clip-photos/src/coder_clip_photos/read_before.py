"""Remember the sha256 of photos that were read, so that a second call reads only what changed."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from coder_clip.errors import UserError
from coder_clip.foundation.artifacts import atomic_path
from coder_clip.foundation.evidence import stamp

DIGEST = 32  # bytes of a sha256
MOST = 1 << 20  # files that are remembered, the latest; 64 MB
# A file that changed this recently may change again within the resolution of the file system's
# clock.
SETTLED = 2 * 10**9  # nanoseconds


class ReadBefore:
    """The sha256 of files, found by path, size, times and inode; in one file of rows (n, 64) uint8.

    A row is the sha256 of path and stamp, then the sha256 of the content: no file name is stored.
    If this file cannot be read or written, photos are read again. If two processes write at once,
    the rows of one are lost."""

    def __init__(self, folder: Path | None) -> None:
        self._file = None if folder is None else folder / "read.npy"
        self._known = self._load()
        self._new: dict[bytes, bytes] = {}

    def sha256(self, path: str | Path) -> str | None:
        """The sha256 of a file that has not changed since it was read; None for all others."""
        if not self._known:
            return None
        try:
            found = self._known.get(_key(path, stamp(str(path))))
        except (OSError, ValueError):
            return None
        if found is None:
            return None
        return found.hex()

    def add(self, path: str | Path, before: list[int], sha256: str) -> None:
        """Remember a file that was read. before: its `stamp` before the reading."""
        if self._file is None:
            return
        with suppress(OSError):
            changed = before[-1]  # ctime, which no program can set
            if stamp(str(path)) == before and changed < time.time_ns() - SETTLED:
                self._new[_key(path, before)] = bytes.fromhex(sha256)

    def save(self) -> None:
        """Add the new rows to the file, which other processes may have written meanwhile."""
        if self._file is None or not self._new:
            return
        self._known = {**self._load(), **self._new}
        self._new = {}
        latest = list(self._known.items())[-MOST:]
        rows = np.frombuffer(b"".join(key + content for key, content in latest), np.uint8)
        with (
            suppress(UserError, OSError),
            atomic_path(self._file) as part,
            open(part, "wb") as stream,
        ):
            np.save(stream, rows.reshape(-1, 2 * DIGEST))

    def _load(self) -> dict[bytes, bytes]:
        """Key of a file -> sha256 of its content; {} if there is no usable file of rows."""
        if self._file is None or not self._file.is_file():
            return {}
        try:
            rows = np.load(self._file, mmap_mode="r", allow_pickle=False)
            if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != 2 * DIGEST:
                return {}
            content = rows.tobytes()
        except Exception:  # numpy raises almost anything on damaged bytes
            return {}
        starts = range(0, len(content), 2 * DIGEST)
        return {content[i : i + DIGEST]: content[i + DIGEST : i + 2 * DIGEST] for i in starts}


def _key(path: str | Path, at: list[int]) -> bytes:
    """The sha256 of path and stamp (``at``)."""
    # not normalized: another spelling of a path only costs time
    text = f"{os.path.join(os.getcwd(), path)}\0{at}"
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()
