"""Wait for what passes: a controller that is away, a program that does not start, a full disk."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from . import answers
from .queue import SlurmError, Unreachable

Result = TypeVar("Result")
TELL = 5  # seconds after which a person is told
SLOWEST = 60  # seconds between two tries, at most
# What no time mends, of the head's own files; every other error of a file system can pass.
FINAL = frozenset(
    {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EROFS, errno.ELOOP}
)


class Patience:
    """One thing that fails for now: when to try again, when to tell it, when to give up."""

    def __init__(self, most: float) -> None:
        """most: seconds after which to give up."""
        self._since = time.monotonic()
        self._most = most
        self._told = False
        self._tries = 0

    @property
    def seconds(self) -> float:
        """Seconds since it failed for the first time."""
        return time.monotonic() - self._since

    def pause(self) -> float:
        """Seconds to the next try: 1, 4, 8, 16, …, `SLOWEST`."""
        self._tries += 1
        if self._tries == 1:
            return 1
        return float(min(2**self._tries, SLOWEST))

    def tells(self) -> bool:
        """True once, as soon as it has failed for `TELL` seconds."""
        if self._told or self.seconds < TELL:
            return False
        self._told = True
        return True

    def over(self, said: str) -> bool:
        """True if waiting does not help any more. said: Slurm's words."""
        if answers.passes(said):
            return False
        return answers.final(said) or self.seconds > self._most


class Contact:
    """Ask Slurm, and wait while it does not answer. Safe in threads."""

    def __init__(self, most: float, logger: Any, stop: threading.Event) -> None:
        """most: seconds to wait for an unknown fault. stop: set when the run ends."""
        self._most = most
        self._logger = logger
        self._stop = stop
        self._away: Patience | None = None

    def patiently(self, do: Callable[[], Result]) -> Result:
        """Call ``do`` until it neither lacks an answer of Slurm nor fails to write a file.

        SlurmError if the fault is final or lasts too long, or if the run ends.
        """
        while True:
            try:
                result = do()
            except Unreachable as error:
                said = str(error)
                pause = self.failed(said)
            except OSError as error:
                if error.errno in FINAL:
                    raise
                said = f"{error.filename or 'a file'}: {error.strerror or error}"
                pause = self.failed(said, "Files cannot be written now")
            else:
                self.back()
                return result
            if self._stop.wait(pause):
                raise SlurmError(f"stopped while Slurm gave no answer ({said})") from None

    def failed(self, said: str, what: str = "The Slurm controller does not answer") -> float:
        """Note that a query failed; return the seconds to the next try.

        It is told in one line. SlurmError if the fault is final or lasts too long.
        """
        away = self._away = self._away or Patience(self._most)
        if away.over(said):
            raise SlurmError(
                f"{what}, for {away.seconds:.0f} s now ({said}). Jobs keep running: the next run "
                "goes on with them"
            )
        if away.tells():
            self._logger.warning(
                f"{what} ({said}). Jobs keep running; this run waits until it is back."
            )
        return away.pause()

    def back(self) -> None:
        """Say that Slurm answers again, if it was told that it does not."""
        away, self._away = self._away, None
        if away is not None and away.seconds >= TELL:
            self._logger.info(f"The Slurm controller is back after {away.seconds:.0f} s.")
