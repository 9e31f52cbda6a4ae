"""Locks of a folder.

One command at a time records, pushes or pulls, and no pull while a run makes files.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import filelock

from ..errors import UserError
from .hashes import STATE

WAIT = 600.0  # seconds that a command waits for another one
RUN = STATE / "run"  # locked while runs make files here


@contextmanager
def locked(alone: bool = False) -> Iterator[None]:
    """Allow one record, pull or push at a time. The lock of a killed process is freed.

    alone: UserError while a run makes files here.
    """
    STATE.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(STATE / "lock", timeout=WAIT):
            if alone and running():
                raise UserError("a run makes results here; try again when it has ended")
            yield
    except filelock.Timeout:
        raise UserError(
            f"another coder-clip has been recording here for {WAIT:.0f} s; try 'coder-clip record' "
            "later"
        ) from None


def running() -> bool:
    """True while a run makes files here. The lock of a killed run is free."""
    with suppress(FileNotFoundError), RUN.open(encoding="utf-8") as stream:
        try:
            # only a test: closing the file frees the lock at once
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            pass  # a file system without locks
    return False
