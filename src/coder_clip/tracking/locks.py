"""Locks of a folder.

One command at a time records, pushes or pulls, and no pull while a run makes files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import filelock

from ..errors import UserError
from ..rerun.hashes import STATE
from ..rerun.mark import running

WAIT = 600.0  # seconds that a command waits for another one


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
