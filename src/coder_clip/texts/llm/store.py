"""Stored answers: one file per data set, one JSON line per answer, found again by content.

A line is never changed, and on disk (fsync) before its texts are used, so a killed run loses only
what was in flight. Two people's files are merged by putting their lines together (.gitattributes:
merge=union).
"""

from __future__ import annotations

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


class Lost(BaseModel):
    """Money for a try without an answer, in files of earlier versions."""

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
    currency, known or the most it can be.
    """

    def __init__(self, folder: Path, dataset: str) -> None:
        self.folder, self.path = folder, folder / f"{dataset}.jsonl"
        self.added = 0  # answers of this run
        self._writing = threading.Lock()
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

    def _read(self, line: bytes) -> bool:
        """Add the answer of a line. False if the line is damaged or a hash is wrong."""
        try:
            document = json.loads(line)
            if "lost" in document:
                lost = Lost.model_validate(document["lost"])
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
            self._spend(stored.answer.currency, stored.answer.paid)
            for key in item_keys:
                self.found.setdefault(key, stored)

    def _spend(self, currency: str, money: float) -> None:
        self.spent[currency] = self.spent.get(currency, 0.0) + money

    @contextmanager
    def open(self) -> Iterator[None]:
        """Open for adding answers, with everything that other processes have stored.

        One process adds at a time and the others wait, so no question is asked twice, and
        ``max_cost`` and ``max_in_flight`` hold for all of them together. The lock ends with the
        process, however that ends. UserError if the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / ".lock").open("ab")
        except OSError as error:
            raise UserError(
                f"cannot write in {self.folder}: {error.strerror or error}; check permissions"
            ) from error
        with lock:
            # try without waiting first: if it has to wait, log its reason
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
            yield

    def add(self, request: Request, answer: Answer) -> None:
        """Write and sync one line, then keep it.

        Safe in threads. UserError if it cannot be written.
        """
        document = answer.model_dump()
        line = {
            "key": request.key,
            "request": request.document(),
            "answer": document,
            "sha256": digest(document),
        }
        text = json.dumps(line, ensure_ascii=False, sort_keys=True, allow_nan=False)
        with self._writing:
            try:
                _append(self.path, text.encode() + b"\n")
            except OSError as error:
                raise UserError(
                    f"cannot write {self.path}: {error.strerror or error}; every stored answer is "
                    "kept, run again when that is fixed"
                ) from error
            self._keep(Stored(request.key, request.model, request.items, answer), request.item_keys)
            self.added += 1


def _append(path: Path, line: bytes) -> None:
    """Append a whole line or nothing: half a line would swallow the next one."""
    with path.open("a+b", buffering=0) as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - 1))
        # a killed run may have left half a line: begin a new one
        if stream.read(1) not in (b"", b"\n"):
            line = b"\n" + line
        try:
            while line:
                line = line[stream.write(line) :]
            os.fsync(stream.fileno())
        except OSError:
            stream.truncate(size)
            raise


def today() -> str:
    """ISO day, in UTC."""
    return datetime.now(UTC).date().isoformat()
