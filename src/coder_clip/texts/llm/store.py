"""Answers, kept for good as they arrive: one file per data set, one JSON line per answer, found again by content.

A line is written and on disk (fsync) before anything is done with it, and never changed: a killed run loses what
was in flight and nothing else. Lines of two people merge by putting them together (.gitattributes: merge=union).
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

from ...errors import UserError
from .prompts import Request, digest, item_key

log = logging.getLogger("coder_clip")


@dataclass(frozen=True)
class Answer:
    """What the model sent: text (None: it refused, or sent nothing), refusal and finish as the server says.

    served: the model's full name as the server gives it. tokens: None where the server does not count them.
    cost: money at the prices of that day; None where it is unknown or there are no prices. at_most: what counts in
    its place. date: ISO day. server: host and port. fingerprint: of the system, as OpenAI sends it.
    """

    text: str | None
    refusal: str | None
    finish: str | None
    served: str
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: float | None
    date: str
    at_most: float | None = None
    server: str = ""
    fingerprint: str | None = None


@dataclass(frozen=True)
class Stored:
    """An answer with the key of its request, its model and the documents of the items that were asked for in it."""

    key: str
    model: str
    items: tuple[dict[str, Any], ...]
    answer: Answer


class Answers:
    """The stored answers of one data set. Those of other data sets in the folder count, too: ImageNet-V2 has
    ImageNet's classes."""

    def __init__(self, folder: Path, dataset: str) -> None:
        self.folder, self.path = folder, folder / f"{dataset}.jsonl"
        self._stream: BinaryIO | None = None
        self.refresh()

    def refresh(self) -> None:
        """Read all files, with what other processes and people have added."""
        self.found: dict[str, Stored] = {}  # by item key
        self.kept: dict[str, Stored] = {}  # by request key
        self.spent = 0.0  # money behind the answers of the whole folder: known, or the most it can be
        self.ratio: float | None = None  # of the lengths of answers, see budget.py
        others = [path for path in sorted(self.folder.glob("*.jsonl")) if path != self.path]
        for file in (self.path, *others):
            lines = file.read_bytes().split(b"\n") if file.is_file() else []
            if damaged := sum(not self._take(line) for line in lines if line.strip()):
                log.warning(
                    "%s: %d lines are skipped because they are not whole answers (a cut-off write, or an edit)",
                    *(file, damaged),
                )

    def _take(self, line: bytes) -> bool:
        """Whether the line is an answer to the question whose hash it has, or money that was lost."""
        try:
            document = json.loads(line)
            if "lost" in document:
                self.spent += float(document["lost"]["at_most"])
                return True
            asked, given = document["request"], document["answer"]
            answer = Answer(**{f.name: given[f.name] for f in fields(Answer) if f.name in given})
            if document["key"] != digest(asked):
                return False
            items = tuple(asked.get("items", ()))  # an answer from before items were stored is money only
            keys = [item_key(asked["model"], asked["parameters"], asked["form"], item) for item in items]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return False
        self._keep(Stored(document["key"], asked["model"], items, answer), keys)
        return True

    def _keep(self, stored: Stored, item_keys: list[str]) -> None:
        if stored.key not in self.kept:  # of two, the first: then merging changes nothing
            self.kept[stored.key] = stored
            self.spent += stored.answer.cost or stored.answer.at_most or 0.0
            for key in item_keys:
                self.found.setdefault(key, stored)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Open for adding answers, as the only process (`locked`) and with all that the others have stored."""
        with locked(self.folder):
            try:
                stream = self.path.open("ab")
            except OSError as error:
                raise _unwritable(self.folder, error) from error
            with stream:
                if self.path.stat().st_size and not self.path.read_bytes().endswith(b"\n"):
                    stream.write(b"\n")  # a killed run left half a line: the next one starts on its own
                    stream.flush()
                self._stream = stream
                self.refresh()
                try:
                    yield
                finally:
                    self._stream = None

    def add(self, request: Request, answer: Answer) -> None:
        """Write, flush and sync one line, then remember it. UserError where the disk does not take it."""
        self._append({"key": request.key, "request": request.document(), "answer": asdict(answer)})
        self._keep(Stored(request.key, request.model, request.items, answer), request.item_keys)

    def lose(self, at_most: float, date: str) -> None:
        """Note what a try without an answer may have cost: the limit on money holds for it, too."""
        self._append({"lost": {"at_most": at_most, "date": date}})
        self.spent += at_most

    def _append(self, document: Any) -> None:
        if self._stream is None:
            raise ValueError(f"{self.path} was opened for reading")
        line = json.dumps(document, ensure_ascii=False, sort_keys=True, allow_nan=False)
        try:
            self._stream.write(line.encode() + b"\n")
            self._stream.flush()
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise UserError(
                f"cannot write {self.path}: {error.strerror or error}; earlier answers are kept, run again when "
                "that is fixed"
            ) from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One process at a time asks for answers of a folder; the others wait.

    So no question is asked twice, and ``max_cost`` and ``max_in_flight`` hold for all of them together. The lock is
    freed with the process, however that ends.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("ab")
    except OSError as error:
        raise _unwritable(folder, error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another run asks for answers of %s; waiting for it", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            log.warning("%s: this file system has no locks; let one run ask at a time", folder)
        yield


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(f"cannot write in {folder}: {error.strerror or error}; check permissions")
