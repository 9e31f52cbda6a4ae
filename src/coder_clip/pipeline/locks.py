"""Remove Snakemake's locks that a killed run left behind.

Snakemake removes its locks when it ends, but not after a power cut or `kill -9`: the next run would stop and ask
for `--unlock`. Every run in this folder holds a shared lock on one file, which the kernel releases with the process,
however it ends. A run that gets the lock exclusively knows that no other run is alive.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
from pathlib import Path
from typing import TextIO

ALIVE: list[
    TextIO
] = []  # stays open, and so locked, as long as this process lives; children do not inherit it


def clear_stale_locks(folder: Path = Path(".snakemake")) -> bool:
    """Lock the folder, and remove Snakemake's locks if no other run on this machine is alive; True if any were removed.

    Locks of a run on another machine stay, because file locks do not work on every shared file system.
    """
    folder.mkdir(exist_ok=True)
    stream = (folder / "alive").open("a+", encoding="utf-8")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
    except OSError:
        alone = False
    removed = False
    if alone:
        stream.seek(0)
        stale = [p for p in (folder / "locks").glob("*") if p.is_file()]
        if stream.read() == socket.gethostname():
            for path in stale:
                path.unlink()
            removed = bool(stale)
        if removed or not stale:
            stream.truncate(0)
            stream.write(socket.gethostname())
            stream.flush()
    with contextlib.suppress(OSError):  # on a file system without locks only Snakemake's own remain
        fcntl.flock(stream, fcntl.LOCK_SH)
    ALIVE.append(stream)
    return removed
