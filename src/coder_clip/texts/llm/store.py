"""Stored answers.

One file per data set, one JSON line per answer, found again by content, never changed.

A line is on disk (fsync) before its texts are used, so a killed run loses only what was in flight.
Two people's files are merged by putting their lines together (.gitattributes: merge=union).

What is sent and not yet answered is in a journal beside the answers, so that a killed run's
requests count too. Room for their answers is kept in a file without content, which is deleted when
the disk is full.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ...errors import UserError
from .prompts import Request, digest, item_key
from .requests import Answer, Money

log = logging.getLogger("coder_clip")

IN_FLIGHT, SPARE = ".in_flight", ".spare"  # files beside the answers, of the run that asks
BLOCK = 1 << 16  # bytes: more than a file system's block
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Sent(BaseModel):
    """Money for a try without an answer: the most that it can cost."""

    at_most: Money
    currency: str


@dataclass(frozen=True)
class Stored:
    """An answer with the key of its request, the model, and its items' documents."""

    key: str
    model: str
    items: tuple[dict[str, Any], ...]
    answer: Answer


class Answers:
    """The stored answers of one data set.

    Other files in the folder count too: ImageNet-V2 has ImageNet's classes.

    found: answers by item key. kept: answers by request key. spent: money for the whole folder by
    currency, known or the most it can be; requests that a killed run left in flight are included.
    """

    def __init__(self, folder: Path, dataset: str) -> None:
        self.folder, self.path = folder, folder / f"{dataset}.jsonl"
        self.added = 0  # answers of this run
        self._writing = threading.Lock()
        self._full = ""  # why nothing more can be stored
        self.refresh()

    def refresh(self) -> None:
        """Read all files, with what other processes have added."""
        self.found: dict[str, Stored] = {}
        self.kept: dict[str, Stored] = {}
        self.spent: dict[str, float] = {}
        others = [path for path in sorted(self.folder.glob("*.jsonl")) if path != self.path]
        # the data set's own file first: if a request has two answers, the first one counts
        for file in (self.path, *others):
            lines = file.read_bytes().split(b"\n") if file.is_file() else []
            damaged = sum(not self._read(line) for line in lines if line.strip())
            if damaged:
                log.warning(
                    "%s: %d lines are skipped: not the model's whole answers (a cut-off write, or "
                    "an edit by hand)",
                    file,
                    damaged,
                )
        for sent in self._unanswered().values():
            self._spend(sent.currency, sent.at_most)

    def _unanswered(self) -> dict[str, Sent]:
        """Requests of the journal that were sent and have no answer, by key."""
        journal = self.folder / IN_FLIGHT
        unanswered: dict[str, Sent] = {}
        lines = journal.read_bytes().split(b"\n") if journal.is_file() else []
        for line in lines:
            # a damaged line is skipped
            with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
                document = json.loads(line)
                # a line with a key alone settles the line before with the same key
                unanswered.pop(document["key"], None)
                if "at_most" in document:
                    unanswered[document["key"]] = Sent.model_validate(document)
        return {key: sent for key, sent in unanswered.items() if key not in self.kept}

    def _read(self, line: bytes) -> bool:
        """Add the answer of a line, or the money of a line about a try without an answer.

        False if the line is damaged or a hash is wrong.
        """
        try:
            document = json.loads(line)
            if "lost" in document:
                lost = Sent.model_validate(document["lost"])
                self._spend(lost.currency, lost.at_most)
                return True
            asked, answer = document["request"], Answer.model_validate(document["answer"])
            items = tuple(asked["items"])
            keys = [item_key(asked["model"], asked["parameters"], item) for item in items]
            # without both hashes right, somebody changed the question or the answer
            if (document["key"], document["sha256"]) != (digest(asked), digest(document["answer"])):
                return False
            self._keep(Stored(document["key"], asked["model"], items, answer), keys)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return False
        return True

    def _keep(self, stored: Stored, item_keys: list[str]) -> None:
        """Add an answer and its cost, unless its request has one already."""
        if stored.key not in self.kept:  # the first of two, so that merging changes nothing
            self.kept[stored.key] = stored
            # an answer of unknown cost counts with the most that it can cost
            self._spend(stored.answer.currency, stored.answer.cost or stored.answer.at_most or 0.0)
            for key in item_keys:
                self.found.setdefault(key, stored)

    def _spend(self, currency: str, money: float) -> None:
        self.spent[currency] = self.spent.get(currency, 0.0) + money

    @contextmanager
    def open(self, room: int = 0) -> Iterator[None]:
        """Open for adding answers, by one process at a time.

        With everything that other processes have stored.

        The other processes wait, so no question is asked twice, and ``max_cost`` and
        ``max_in_flight`` hold for all of them together. The lock ends with the process, however
        that ends. room: bytes to keep for answers in flight.
        UserError if the folder cannot be written or has no room.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / ".lock").open("ab")
        except OSError as error:
            raise UserError(
                f"cannot write in {self.folder}: {error.strerror or error}; check permissions"
            ) from error
        with lock:
            # before a wait, log its reason
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("another run asks for answers of %s; waiting for it", self.folder)
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError:
                log.warning(
                    "%s: this file system has no locks; let one run ask at a time", self.folder
                )
            self.refresh()
            self._settle_unanswered()
            self._reserve(room)
            try:
                yield
            finally:
                (self.folder / SPARE).unlink(missing_ok=True)
                # the next run settles requests without an answer, so their journal stays
                if not self._unanswered():
                    (self.folder / IN_FLIGHT).unlink(missing_ok=True)

    def begin(self, key: str, at_most: float, currency: str) -> None:
        """Note, before it is sent, what a request can cost.

        UserError if nothing more can be stored.
        """
        with self._writing:
            if self._full:
                raise UserError(self._full)
            sent = {"key": key, "at_most": at_most, "currency": currency}
            self._write(self.folder / IN_FLIGHT, sent, use_spare=False)

    def end(self, key: str) -> None:
        """Note that a request cost nothing, because it was refused or never sent."""
        with self._writing:
            self._write(self.folder / IN_FLIGHT, {"key": key})

    def lose(self, key: str, at_most: float, currency: str) -> None:
        """Note what a try without an answer may have cost: the limit on money includes it."""
        with self._writing:
            self._write_lost(at_most, currency)
            self._write(self.folder / IN_FLIGHT, {"key": key})

    def add(self, request: Request, answer: Answer) -> None:
        """Write and sync one line, then keep it.

        Safe in threads. UserError if it cannot be written.
        """
        with self._writing:
            document = answer.model_dump()
            self._write(
                self.path,
                {
                    "key": request.key,
                    "request": request.document(),
                    "answer": document,
                    "sha256": digest(document),
                },
            )
            # The journal is not changed: a request whose answer is kept is not in flight.
            self._keep(Stored(request.key, request.model, request.items, answer), request.item_keys)
            self.added += 1

    def _settle_unanswered(self) -> None:
        """Count requests that a killed run left in flight as lost, and begin an empty journal."""
        for sent in self._unanswered().values():
            log.warning(
                "a run that was killed had a request in flight: it counts as %.4f %s at most",
                sent.at_most,
                sent.currency,
            )
            self._write_lost(sent.at_most, sent.currency)
            # `refresh` counted it as in flight, and `_write_lost` counted it again
            self._spend(sent.currency, -sent.at_most)
        (self.folder / IN_FLIGHT).unlink(missing_ok=True)

    def _reserve(self, room: int) -> None:
        """Keep room on the disk for answers that are paid for when the disk is full."""
        self._full = ""
        if not room:
            return
        try:
            with (self.folder / SPARE).open("wb") as stream:
                os.posix_fallocate(stream.fileno(), 0, room)
        except OSError as error:
            (self.folder / SPARE).unlink(missing_ok=True)
            if error.errno in FULL:
                raise UserError(
                    f"no room in {self.folder} for {room / 1e6:.1f} MB of answers; nothing was "
                    "asked, free some space"
                ) from None
            log.info("%s: this file system cannot reserve room for answers", self.folder)

    def _write_lost(self, at_most: float, currency: str) -> None:
        """Write a line for a try without an answer, and count the most that it can cost."""
        lost = {"at_most": at_most, "currency": currency, "date": today()}
        self._write(self.path, {"lost": lost})
        self._spend(currency, at_most)

    def _write(self, path: Path, document: Any, use_spare: bool = True) -> None:
        """Append a line.

        If the disk is full, use the room that was kept, and let nothing more be sent.
        """
        line = json.dumps(document, ensure_ascii=False, sort_keys=True, allow_nan=False)
        data = line.encode() + b"\n"
        try:
            _append(path, data)
        except OSError as error:
            self._full = (
                f"cannot write {path}: {error.strerror or error}; nothing more is asked, every "
                "stored answer is kept, run again when that is fixed"
            )
            spare = self.folder / SPARE
            # only a full disk can be helped, by giving up reserved room
            if error.errno not in FULL or not use_spare or not spare.is_file():
                raise UserError(self._full) from error
            # The file is shortened and kept, so that requests in flight use their share of its
            # room.
            os.truncate(spare, max(0, spare.stat().st_size - 2 * len(data) - BLOCK))
            try:
                _append(path, data)
            except OSError:
                raise UserError(self._full) from error


def _append(path: Path, data: bytes) -> None:
    """Append whole lines or nothing: half a line would swallow the next one."""
    with path.open("a+b", buffering=0) as stream:
        size = stream.seek(0, os.SEEK_END)
        if size:
            # without a final newline the last line was cut off: begin a new one
            stream.seek(size - 1)
            data = data if stream.read(1) == b"\n" else b"\n" + data
        try:
            # unbuffered writes may stop early, so write on until all bytes are out
            written = 0
            while written < len(data):
                written += stream.write(data[written:])
            os.fsync(stream.fileno())
        except OSError:
            # remove the part of a line that was written
            with contextlib.suppress(OSError):
                stream.truncate(size)
            raise


def today() -> str:
    """ISO day, in UTC."""
    return datetime.now(UTC).date().isoformat()
