"""Answers, kept for good as they arrive: one file a data set, one JSON line an answer, found again by content.

A line is written and on disk (fsync) before anything is done with it, and never changed: a killed run loses what
was under way and nothing else. Lines of two people merge by putting them together (.gitattributes: merge=union).
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
from .prompts import Request

log = logging.getLogger("coder_clip")


@dataclass(frozen=True)
class Answer:
    """What the model sent: text (None: it refused, or sent nothing), refusal and finish as the server says.

    served: the model's full name as the server gives it. tokens: None where the server does not count them.
    cost: money at the prices of that day; None where there are none. date: ISO day. way: live or batch.
    """

    text: str | None
    refusal: str | None
    finish: str | None
    served: str
    prompt_tokens: int | None
    completion_tokens: int | None
    cost: float | None
    date: str
    way: str = "live"


class Answers:
    """The stored answers of one data set; made by `opened`, or by `read` to look at them only.

    others: files of other data sets, whose answers count, too (ImageNet-V2 has ImageNet's classes).
    """

    def __init__(self, path: Path, stream: BinaryIO | None = None, others: Sequence[Path] = ()) -> None:
        self.path = path
        self.found: dict[str, Answer] = {}
        self.of_template: dict[tuple[str, str], list[Answer]] = {}  # (model, prompt's hash)
        self._stream = stream
        for file in (path, *others):
            lines = file.read_bytes().split(b"\n") if file.is_file() else []
            if damaged := sum(not self._take(line) for line in lines if line.strip()):
                log.warning(
                    "%s: %d lines that are no whole answers are passed over (a write that was cut short, or an edit)",
                    *(file, damaged),
                )

    def _take(self, line: bytes) -> bool:
        """Whether the line is an answer, to the question whose hash it bears."""
        try:
            document = json.loads(line)
            asked = document["request"]
            messages = tuple((str(role), str(content)) for role, content in asked["messages"])
            request = Request(
                asked["model"], messages, asked["parameters"], asked["template"], asked["attempt"]
            )
            answer = Answer(**{f.name: document["answer"][f.name] for f in fields(Answer)})
        except (ValueError, KeyError, TypeError):
            return False
        if request.key != document.get("key"):
            return False
        self._keep(request, answer)
        return True

    def _keep(self, request: Request, answer: Answer) -> None:
        if request.key not in self.found:  # of two, the first: then merging changes nothing
            self.found[request.key] = answer
            self.of_template.setdefault((request.model, request.template["sha256"]), []).append(answer)

    def get(self, request: Request) -> Answer | None:
        return self.found.get(request.key)

    def add(self, request: Request, answer: Answer) -> None:
        """Write, flush and sync one line, then remember it. UserError where the disk does not take it."""
        document: dict[str, Any] = {
            "key": request.key,
            "request": request.document(),
            "answer": asdict(answer),
        }
        line = json.dumps(document, ensure_ascii=False, sort_keys=True, allow_nan=False)
        append(self._stream, self.path, line)
        self._keep(request, answer)

    @property
    def cost(self) -> float:
        """Money behind all answers here, as far as it is known."""
        return sum(answer.cost or 0.0 for answer in self.found.values())


def append(stream: BinaryIO | None, path: Path, line: str) -> None:
    """One line at the end of an open file, on disk when this returns."""
    if stream is None:
        raise ValueError(f"{path} was opened for reading")
    try:
        stream.write(line.encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; what was asked before is kept, run again when "
            "that is mended"
        ) from error


def read(folder: Path, dataset: str) -> Answers:
    """Answers that are there, without a lock: to look ahead."""
    return Answers(folder / f"{dataset}.jsonl", None, _others(folder, dataset))


def _others(folder: Path, dataset: str) -> list[Path]:
    return sorted(p for p in folder.glob("*.jsonl") if p.stem != dataset)


def spent(folder: Path) -> float:
    """Money behind all answers of a folder."""
    return sum(Answers(path).cost for path in sorted(folder.glob("*.jsonl")))


@contextmanager
def opened(folder: Path, dataset: str) -> Iterator[Answers]:
    """The answers of a data set, to be added to. One process at a time asks for answers of a folder.

    So no question is asked twice, and limits on requests and money hold for all data sets together. Who comes
    second waits. The lock is freed with the process, however that ends.
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
            log.warning("%s: this file system has no locks; see to it that one run asks at a time", folder)
        end_half_line(path, stream)
        yield Answers(path, stream, _others(folder, dataset))


def end_half_line(path: Path, stream: BinaryIO) -> None:
    """What a killed run left of its last line ends here, so that the next one stands alone."""
    size = path.stat().st_size
    if size:
        with path.open("rb") as there:
            there.seek(-1, os.SEEK_END)
            if there.read() != b"\n":
                stream.write(b"\n")
                stream.flush()
