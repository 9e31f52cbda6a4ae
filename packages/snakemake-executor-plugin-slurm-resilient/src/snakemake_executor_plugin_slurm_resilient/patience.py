"""Wait for what passes: a controller that is away, a program that does not start, a full disk."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from . import answers
from .queue import LOST, NoDatabase, SlurmError, Unreachable

Result = TypeVar("Result")
TELL = 5  # seconds after which a person is told
SLOWEST = 60  # seconds between two tries, at most
# What no time mends, of the head's own files; every other error of a file system can pass.
FINAL = frozenset(
    {errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EROFS, errno.ELOOP}
)


@dataclass(frozen=True)
class Fault:
    """The words for a kind of fault: what fails, what the run does, and what is told at its end."""

    fails: str
    meanwhile: str
    over: str


CONTROLLER = Fault(
    "The Slurm controller does not answer",
    "Jobs keep running; this run waits until it is back",
    "The Slurm controller is back",
)
DATABASE = Fault(
    "Slurm's accounting database does not answer",
    f"This run waits for at most {LOST // 60} minutes; then a job's files tell how it ended",
    "This run waits no longer for Slurm's accounting database",
)
FILES = Fault(
    "Files cannot be written now",
    "Jobs keep running; this run waits until it can write",
    "Files can be written again",
)


def _fault(error: Unreachable) -> Fault:
    """The kind of fault of a program of Slurm."""
    if isinstance(error, NoDatabase):
        return DATABASE
    return CONTROLLER


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
    """Ask Slurm, and wait while it does not answer.

    Safe in threads: who asks is told apart, so that one answer does not end the wait for another.
    """

    def __init__(self, most: float, logger: Any, stop: threading.Event) -> None:
        """most: seconds to wait for an unknown fault. stop: set when the run ends."""
        self._most = most
        self._logger = logger
        self._stop = stop
        self._waiting: dict[object, tuple[Fault, Patience]] = {}  # by who asks
        self._told: set[Fault] = set()

    def patiently(self, do: Callable[[], Result]) -> Result:
        """Call ``do`` until it neither lacks an answer of Slurm nor fails to write a file.

        SlurmError if the fault is final or lasts too long, or if the run ends.
        """
        me = threading.get_ident()
        while True:
            try:
                result = do()
            except Unreachable as error:
                said, fault = str(error), _fault(error)
            except OSError as error:
                said, fault = f"{error.filename or 'a file'}: {error.strerror or error}", FILES
                if error.errno in FINAL:
                    raise SlurmError(f"{said}. Look at what is there") from None
            else:
                self.back(me)
                return result
            if self._stop.wait(self._failed(me, said, fault)):
                raise SlurmError(f"stopped while Slurm gave no answer ({said})") from None

    def failed(self, who: object, error: Unreachable) -> float:
        """Note that a query failed; return the seconds to the next try.

        It is told in one line. SlurmError if the fault is final or lasts too long. who: asks.
        """
        return self._failed(who, str(error), _fault(error))

    def _failed(self, who: object, said: str, fault: Fault) -> float:
        if who in self._waiting and self._waiting[who][0] != fault:
            self.back(who)
        _, patience = self._waiting.setdefault(who, (fault, Patience(self._most)))
        if patience.over(said):
            self._forget(who)
            raise SlurmError(
                f"{fault.fails}, for {patience.seconds:.0f} s now ({said}). Jobs keep running: the "
                "next run goes on with them"
            )
        if patience.seconds >= TELL and fault not in self._told:
            self._told.add(fault)
            self._logger.warning(f"{fault.fails} ({said}). {fault.meanwhile}.")
        return patience.pause()

    def back(self, who: object) -> None:
        """Note that a query did not fail. A fault that was told is over if nobody meets it."""
        if who not in self._waiting:
            return
        fault, patience = self._waiting[who]
        if self._forget(who):
            self._logger.info(f"{fault.over} after {patience.seconds:.0f} s.")

    def _forget(self, who: object) -> bool:
        """Forget that somebody waits. True if the fault was told, and nobody else meets it."""
        fault, _ = self._waiting.pop(who)
        if fault not in self._told or fault in self._met():
            return False
        self._told.discard(fault)
        return True

    def _met(self) -> list[Fault]:
        """The faults for which somebody waits now."""
        return [fault for fault, _ in list(self._waiting.values())]
