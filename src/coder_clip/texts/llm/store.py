"""Stored answers: one file per data set, one JSON line per answer, found again by content, never changed.

A line is on disk (fsync) before its texts are used, so a killed run loses only what was in flight. Two people's files
are merged by putting their lines together (.gitattributes: merge=union).
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

from pydantic import BaseModel, ConfigDict

from ...errors import UserError
from .prompts import Request, digest, item_key

log = logging.getLogger("coder_clip")


class Answer(BaseModel):
    """What the model sent: text (None: it refused, or sent nothing), refusal and finish as the server says.

    served: the model's full name, as the server gives it. tokens: None if the server does not count them. cost: money,
    at the prices of that day, in `currency`; None if unknown or without prices. at_most: counts in place of an unknown
    cost. date: ISO day. server: host and port. fingerprint: the system's, as OpenAI sends it.
    """

    model_config = ConfigDict(frozen=True)

    text: str | None = None
    refusal: str | None = None
    finish: str | None = None
    served: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost: float | None = None
    currency: str = ""
    date: str
    at_most: float | None = None
    server: str = ""
    fingerprint: str | None = None


@dataclass(frozen=True)
class Stored:
    """An answer with the key of its request, the model, and the documents of the items it answers."""

    key: str
    model: str
    items: tuple[dict[str, Any], ...]
    answer: Answer


class Answers:
    """The stored answers of one data set. Other files in the folder count too: ImageNet-V2 has ImageNet's classes.

    found: by item key. kept: by request key. spent: money for the whole folder by currency, known or the most it can
    be.
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
        for file in (self.path, *others):
            lines = file.read_bytes().split(b"\n") if file.is_file() else []
            if damaged := sum(not self._read(line) for line in lines if line.strip()):
                log.warning(
                    "%s: %d lines are skipped: not the model's whole answers (a cut-off write, or an edit by hand)",
                    *(file, damaged),
                )

    def _read(self, line: bytes) -> bool:
        """Add a line; False unless question and answer have their hashes, or it is money for a try without answer."""
        try:
            document = json.loads(line)
            if "lost" in document:
                self._spend(document["lost"]["currency"], float(document["lost"]["at_most"]))
                return True
            asked, answer = document["request"], Answer.model_validate(document["answer"])
            items = tuple(asked["items"])
            keys = [item_key(asked["model"], asked["parameters"], item) for item in items]
            if (document["key"], document["sha256"]) != (digest(asked), digest(document["answer"])):
                return False
            self._keep(Stored(document["key"], asked["model"], items, answer), keys)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return False
        return True

    def _keep(self, stored: Stored, item_keys: list[str]) -> None:
        if stored.key not in self.kept:  # the first of two, so that merging changes nothing
            self.kept[stored.key] = stored
            self._spend(stored.answer.currency, stored.answer.cost or stored.answer.at_most or 0.0)
            for key in item_keys:
                self.found.setdefault(key, stored)

    def _spend(self, currency: str, money: float) -> None:
        self.spent[currency] = self.spent.get(currency, 0.0) + money

    @contextmanager
    def open(self) -> Iterator[None]:
        """Open for adding answers, by one process at a time, with everything that other processes have stored.

        The other processes wait, so no question is asked twice, and ``max_cost`` and ``max_in_flight`` hold for all of
        them together. The lock ends with the process, however that ends.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / ".lock").open("ab")
        except OSError as error:
            raise UserError(
                f"cannot write in {self.folder}: {error.strerror or error}; check permissions"
            ) from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                log.info("another run asks for answers of %s; waiting for it", self.folder)
                fcntl.flock(lock, fcntl.LOCK_EX)
            except OSError:
                log.warning("%s: this file system has no locks; let one run ask at a time", self.folder)
            self.refresh()
            if self.path.is_file() and self.path.read_bytes()[-1:] not in (b"", b"\n"):
                self._append(b"\n")  # a killed run left half a line
            yield

    def add(self, request: Request, answer: Answer) -> None:
        """Write and sync one line, then keep it. Safe in threads. UserError if it cannot be written."""
        with self._writing:
            said = answer.model_dump()
            self._write(
                {"key": request.key, "request": request.document(), "answer": said, "sha256": digest(said)}
            )
            self._keep(Stored(request.key, request.model, request.items, answer), request.item_keys)
            self.added += 1

    def lose(self, at_most: float, currency: str) -> None:
        """Note what a try without an answer may have cost, because the limit on money includes it."""
        with self._writing:
            self._write({"lost": {"at_most": at_most, "currency": currency, "date": today()}})
            self._spend(currency, at_most)

    def _write(self, document: Any) -> None:
        self._append(
            json.dumps(document, ensure_ascii=False, sort_keys=True, allow_nan=False).encode() + b"\n"
        )

    def _append(self, data: bytes) -> None:
        try:
            with self.path.open("ab") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise UserError(
                f"cannot write {self.path}: {error.strerror or error}; earlier answers are kept, run again when "
                "that is fixed"
            ) from error


def today() -> str:
    """ISO day, in UTC."""
    return datetime.now(UTC).date().isoformat()
