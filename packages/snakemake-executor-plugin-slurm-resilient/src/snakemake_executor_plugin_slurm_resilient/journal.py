"""The journal of submitted jobs: which Slurm job makes which files, from what, and what it asked for.

The next head process learns here about the jobs of one that was killed. One JSON line is written before a job is
submitted, and one for each thing that is known later: its id, its end. A line cut off by a kill is skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from . import adapter

FOLDER = Path(".snakemake/slurm-resilient/jobs")  # a file for each configuration: <head>.jsonl
KEPT = 20_000  # jobs


@dataclass(frozen=True)
class Tries:
    """Factors of a job's next try: twice the memory if it had too little, three times the time, …"""

    memory: int = 1
    time: int = 1


@dataclass(frozen=True)
class Entry:
    """One submission.

    key: also in the comment of the Slurm job. makes: output -> how it is made, a hash of command, inputs' names and
    parameters. before, inputs: what was there of outputs and inputs -> size and time of change. asked: see `wanted` in
    reasons.py. settled: "made" or "failed", once Snakemake knows.
    """

    key: str
    rule: str
    makes: dict[str, str]
    inputs: dict[str, str]
    asked: dict[str, Any]
    benchmarks: list[str]
    before: dict[str, str] = field(default_factory=dict)
    tries: Tries = Tries()
    id: str = ""
    log: str = ""
    settled: str = ""

    def same(self, other: Entry) -> bool:
        """True if both make the same files in the same way from the same inputs."""
        return self.makes == other.makes and self.inputs == other.inputs


@dataclass
class Journal:
    """The journal of one configuration, one JSON line per fact. Safe in threads."""

    path: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def intend(self, entry: Entry) -> None:
        """Note a job before it is submitted."""
        self._append(asdict(entry))

    def note(self, key: str, **known: str) -> None:
        """Note what became known of a submission: id, log, settled."""
        self._append({"key": key, **known})

    def read(self) -> list[Entry]:
        """All submissions, oldest first."""
        found: dict[str, Entry] = {}
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        for line in lines:
            try:
                row = json.loads(line)
                if "rule" in row:
                    tries = Tries(**row.pop("tries"))
                    found[row["key"]] = Entry(tries=tries, **row)
                else:
                    key = row.pop("key")
                    found[key] = replace(found[key], **row)
            except (ValueError, TypeError, KeyError):  # half a line
                continue
        return list(found.values())

    def shrink(self) -> None:
        """Keep, of settled jobs, only what they asked for."""
        entries = [
            replace(e, makes={}, inputs={}, before={}) if e.settled else e for e in self.read()[-KEPT:]
        ]
        part = self.path.with_suffix(".part")
        part.write_text("".join(json.dumps(asdict(e)) + "\n" for e in entries), encoding="utf-8")
        part.replace(self.path)

    def _append(self, row: Mapping[str, Any]) -> None:
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as stream:
                end = stream.seek(0, os.SEEK_END)
                whole = end == 0 or (stream.seek(-1, os.SEEK_END), stream.read(1))[1] == b"\n"
                stream.write((b"" if whole else b"\n") + json.dumps(row).encode() + b"\n")
                stream.flush()
                os.fsync(stream.fileno())


def journals() -> Iterator[Journal]:
    """The journals of all configurations that were run in this folder."""
    for path in sorted(FOLDER.glob("*.jsonl")):
        yield Journal(path)


def members(job: Any) -> list[Any]:
    """Snakemake's jobs in a job or group."""
    return list(job.jobs) if job.is_group() else [job]


def entry(own: Iterable[Any], rule: str, persistence: Any, asked: Mapping[str, Any], tries: Tries) -> Entry:
    """The entry of a job before it is submitted. own: the jobs of Snakemake in it. rule: its name."""
    own = list(own)
    makes = {
        str(path): _hash(adapter.making(member, persistence)) for member in own for path in member.output
    }
    inputs = {str(path) for member in own for path in member.input} - makes.keys()
    inputs = {path for path in inputs if not path.startswith(".snakemake/")}  # new with every head
    return Entry(
        key=uuid.uuid4().hex[:12],
        rule=rule,
        makes=makes,
        inputs=stamps(inputs),
        asked=dict(asked),
        benchmarks=[str(m.benchmark) for m in own if m.benchmark],
        before=stamps(makes),
        tries=tries,
    )


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()[:16]


def stamps(paths: Iterable[str]) -> dict[str, str]:
    """Size and time of change of the files that exist."""
    found = {path: os.stat(path) for path in sorted(paths) if os.path.exists(path)}
    return {path: f"{of.st_size} {of.st_mtime_ns}" for path, of in found.items()}
