"""A run that was killed leaves Snakemake's locks behind; here the next run tells that nobody holds them.

Snakemake removes its locks when it ends, but not after a power cut or `kill -9`: the next run would stop and ask
for `--unlock`. Every run on this folder holds a shared lock on one file, which the kernel frees with the process,
however that ends. Who gets it alone knows that no other run is alive.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
from pathlib import Path
from typing import TextIO

ALIVE: list[TextIO] = []  # open, and so locked, as long as this process lives; children do not inherit it


def clear_stale_locks(folder: Path = Path(".snakemake")) -> bool:
    """Hold the folder, and remove Snakemake's locks where no other run on this machine is alive.

    Locks of a run on another machine stay, because file locks do not reach every shared file system. True if
    locks were removed.
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
        left = [p for p in (folder / "locks").glob("*") if p.is_file()]
        if stream.read() == socket.gethostname():
            for path in left:
                path.unlink()
            removed = bool(left)
        if removed or not left:
            stream.truncate(0)
            stream.write(socket.gethostname())
            stream.flush()
    with contextlib.suppress(OSError):  # a file system without locks: Snakemake's own remain
        fcntl.flock(stream, fcntl.LOCK_SH)
    ALIVE.append(stream)
    return removed
