"""Answers, kept for good as they arrive: one file per data set, one JSON line per answer, found again by content.

A line is written and on disk (fsync) before anything is done with it, and never changed: a killed run loses what
was in flight and nothing else. Lines of two people merge by putting them together (.gitattributes: merge=union).
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator, Sequence
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
    """The stored answers of one data set; made by `opened`, or by `read` to look at them only.

    others: files of other data sets, whose answers count, too (ImageNet-V2 has ImageNet's classes).
    """

    def __init__(self, path: Path, stream: BinaryIO | None = None, others: Sequence[Path] = ()) -> None:
        self.path = path
        self.found: dict[str, Stored] = {}  # by item key
        self.kept: dict[str, Stored] = {}  # by request key
        self.lost = 0.0  # money that tries without an answer may have cost
        self.ratio: float | None = None  # of the lengths of answers, see cost.py
        self._stream = stream
        for file in (path, *others):
            lines = file.read_bytes().split(b"\n") if file.is_file() else []
            if damaged := sum(not self._take(line, file == path) for line in lines if line.strip()):
                log.warning(
                    "%s: %d lines are skipped because they are not whole answers (a cut-off write, or an edit)",
                    *(file, damaged),
                )

    def _take(self, line: bytes, own: bool) -> bool:
        """Whether the line is an answer to the question whose hash it has, or money that was lost."""
        try:
            document = json.loads(line)
            if "lost" in document:
                self.lost += float(document["lost"]["at_most"]) if own else 0.0
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

    def _keep(self, stored: Stored, item_keys: Sequence[str]) -> None:
        if stored.key not in self.kept:  # of two, the first: then merging changes nothing
            self.kept[stored.key] = stored
            for key in item_keys:
                self.found.setdefault(key, stored)

    def add(self, request: Request, answer: Answer) -> None:
        """Write, flush and sync one line, then remember it. UserError where the disk does not take it."""
        self._append({"key": request.key, "request": request.document(), "answer": asdict(answer)})
        self._keep(Stored(request.key, request.model, request.items, answer), request.item_keys)

    def lose(self, at_most: float, tries: int, date: str) -> None:
        """Note what tries without an answer may have cost: the limit on money holds for them, too."""
        self._append({"lost": {"at_most": at_most, "tries": tries, "date": date}})
        self.lost += at_most

    @property
    def spent(self) -> float:
        """Money behind all answers here: known, or the most it can be."""
        return self.lost + sum(s.answer.cost or s.answer.at_most or 0.0 for s in self.kept.values())

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


def read(folder: Path, dataset: str) -> Answers:
    """Answers that are there, without a lock: to look ahead."""
    return Answers(folder / f"{dataset}.jsonl", None, _others(folder, dataset))


def _others(folder: Path, dataset: str) -> list[Path]:
    return sorted(p for p in folder.glob("*.jsonl") if p.stem != dataset)


def spent(folder: Path) -> float:
    """Money behind all answers of a folder."""
    return sum(Answers(path).spent for path in sorted(folder.glob("*.jsonl")))


@contextmanager
def opened(folder: Path, dataset: str) -> Iterator[Answers]:
    """The answers of a data set, to be added to. One process at a time asks for answers of a folder.

    So no question is asked twice, and limits on requests and money hold for all data sets together. Who comes
    second waits, and then finds what the first has stored. The lock is freed with the process, however that ends.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("ab")
        path = folder / f"{dataset}.jsonl"
        stream = path.open("ab")
    except OSError as error:
        raise UserError(f"cannot write in {folder}: {error.strerror or error}; check permissions") from error
    with lock, stream:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("another run asks for answers of %s; waiting for it", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            log.warning("%s: this file system has no locks; let one run ask at a time", folder)
        if path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            stream.write(b"\n")  # a killed run left half a line: the next one starts on its own
            stream.flush()
        yield Answers(path, stream, _others(folder, dataset))
