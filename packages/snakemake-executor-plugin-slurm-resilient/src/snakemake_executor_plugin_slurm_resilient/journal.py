"""The journal of submitted jobs: which Slurm job makes which files, from what, and what it asked
for.

The next head process learns here about the jobs of one that was killed. One JSON line is written
before a job is submitted, and one for each thing that is known later: its id, its end. A line cut
off by a kill is skipped.

A submission is known by its key, not by Slurm's number, which can be lost, late, wrong or used
again. The key decides
which of several jobs runs, too: the first that starts with it writes its number into the key's
file, and a job that finds another number there ends at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from . import adapter
from .queue import KEY
from .reasons import UNNOTED

FOLDER = Path(".snakemake/slurm-resilient/jobs")  # a file for each configuration: <head>.jsonl
# a file for each key: the number of the Slurm job that started with this key
STARTS = Path(".snakemake/slurm-resilient/starts")
LATER = {"id", "log", "settled"}  # what is noted of an entry later
NEVER = "never"  # in place of a number: no job may start with this key any more
LATEST = 86_400  # seconds after which Slurm takes no job that sbatch handed over
READ = 200_000_000  # bytes of an input that is compared by content, too
# Runs before anything else of a job. The first job that starts with a key makes the key's file and
# writes its number into it; it alone removes a file that it could not write (disk full), and tries
# again for a minute. An empty file is nobody's claim: its maker is about to write, or was killed.
# A job that Slurm queued again finds its own number, and goes on.
GUARD = """\
for try in $(seq 30); do
  if (set -C; : > {file}) 2> /dev/null; then
    fault=$( (echo "$SLURM_JOB_ID" > {file}) 2>&1) && first=$SLURM_JOB_ID && break
    rm -f {file}
  elif read -r first < {file} 2> /dev/null && [ -n "$first" ]; then
    break
  else
    fault=$(ls {file} 2>&1)
  fi
  first=; sleep 2
done
if [ -z "$first" ]; then
  echo "This job cannot note its start in {file}: disk full, or a quota is used up? $fault"
  exit {unnoted}
elif [ "$first" != "$SLURM_JOB_ID" ]; then
  echo "This is a second copy of Slurm job $first, or was given up before: it ends here."
  exit 0
fi
"""


@dataclass(frozen=True)
class Tries:
    """Factors of a job's next try, such as twice the memory if it had too little, and three times
    the time.
    """

    memory: int = 1
    time: int = 1


@dataclass(frozen=True)
class Entry:
    """One submission.

    key: also in the comment of the Slurm job. makes: output -> hash of its command, parameters and
    names of inputs. inputs, before: path -> size and time of change, of inputs and of outputs that
    existed before the submission. contents: input -> hash. asked: resources, as from `retry.asked`.
    settled: "made" or "failed", once Snakemake knows.
    """

    key: str
    rule: str
    makes: dict[str, str]
    inputs: dict[str, str]
    asked: dict[str, Any]
    contents: dict[str, str] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)
    tries: Tries = Tries()
    id: str = ""
    log: str = ""
    settled: str = ""

    def same(self, other: Entry) -> bool:
        """True if both make the same files in the same way from the same inputs.

        An input may be written again with the same content.
        """
        if self.makes != other.makes or self.inputs.keys() != other.inputs.keys():
            return False
        changed = [path for path, stamp in self.inputs.items() if stamp != other.inputs[path]]
        return all(
            path in self.contents and self.contents[path] == other.contents.get(path)
            for path in changed
        )


@dataclass
class Journal:
    """The journal of one configuration, one JSON line per fact. Safe in threads."""

    path: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def intend(self, entry: Entry) -> None:
        """Note a job before it is submitted."""
        self._append(asdict(entry))

    def note(self, key: str, **known: str) -> None:
        """Note what became known of a submission: id, log, settled.

        If the disk is full it is left out: the next head finds the job by its key.
        """
        with suppress(OSError):
            self._append({"key": key, **known})

    def read(self) -> list[Entry]:
        """All submissions, oldest first."""
        found: dict[str, Entry] = {}
        if not self.path.is_file():  # none, or a pipe, which would be read for ever
            return []
        text = self.path.read_text(encoding="utf-8", errors="replace")
        for line in text.split("\n"):
            # half a line, or none of ours
            with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
                row = json.loads(line)
                if "rule" in row:
                    e = _entry(row)
                else:
                    e = _known(found[row.pop("key")], row)
                found[e.key] = e
        return list(found.values())

    def settle(self, key: str, how: str) -> None:
        """Note how a submission ended ("made" or "failed").

        From now on no job can start with its key, not even one that starts late or that somebody
        queues again.
        """
        with suppress(OSError):
            STARTS.mkdir(parents=True, exist_ok=True)
            (STARTS / key).write_text(f"{NEVER}\n", encoding="utf-8")
        self.note(key, settled=how)

    def shrink(self) -> None:
        """Forget jobs that were settled so long ago that Slurm starts none of them any more."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        entries = [e for e in self.read() if not (e.settled and _over(STARTS / e.key))]
        part = self.path.with_suffix(".part")
        part.write_text("".join(json.dumps(asdict(e)) + "\n" for e in entries), encoding="utf-8")
        part.replace(self.path)

    def _append(self, row: Mapping[str, Any]) -> None:
        """Write one line to the disk, also behind a line that a kill cut off."""
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b") as stream:
                cut_off = False
                if stream.seek(0, os.SEEK_END) > 0:
                    stream.seek(-1, os.SEEK_END)
                    cut_off = stream.read(1) != b"\n"
                stream.write((b"\n" if cut_off else b"") + json.dumps(row).encode() + b"\n")
                stream.flush()
                os.fsync(stream.fileno())


def _entry(row: dict[str, Any]) -> Entry:
    """An entry from its fields. TypeError or ValueError if no head has written them."""
    row.pop("benchmarks", None)  # of a head before this version
    e = Entry(**{**row, "tries": Tries(**row["tries"])})
    tables = [e.makes, e.inputs, e.asked, e.contents, e.before]
    numbers = [e.tries.memory, e.tries.time]
    if not all(isinstance(table, dict) for table in tables) or not isinstance(e.rule, str):
        raise TypeError(row)
    if not all(isinstance(number, int) for number in numbers):
        raise TypeError(row)
    if not re.fullmatch(KEY, e.key):  # it names a file
        raise ValueError(row)
    return _known(e, {name: getattr(e, name) for name in LATER})


def _known(e: Entry, row: dict[str, Any]) -> Entry:
    """An entry with what was noted later. TypeError or ValueError if no head has noted it."""
    if not row.keys() <= LATER or not all(isinstance(text, str) for text in row.values()):
        raise TypeError(row)
    if not re.fullmatch(r"[0-9_]*", row.get("id", "")):  # it goes to Slurm's programs
        raise ValueError(row)
    return replace(e, **row)


def _over(file: Path) -> bool:
    """Remove the file of a settled key if it is older than LATEST; True if the file is gone."""
    with suppress(OSError):
        if time.time() - file.stat().st_mtime > LATEST:
            file.unlink()
    return not file.exists()


def guard(key: str) -> str:
    """Lines of shell that end a job if another one has started with its key."""
    STARTS.mkdir(parents=True, exist_ok=True)
    return GUARD.format(file=shlex.quote(str(STARTS.absolute() / key)), unnoted=UNNOTED)


def first_to_start(key: str, otherwise: str = "") -> str:
    """The number of the job that started with a key.

    "" if none has. otherwise: text for the key's file if no job has started, such as NEVER.
    """
    if otherwise:
        STARTS.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError), (STARTS / key).open("x") as stream:
            _write_or_remove(STARTS / key, stream, f"{otherwise}\n")
    try:
        found = (STARTS / key).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
    if not re.fullmatch(r"[0-9]+", found):
        return ""
    return found


def _write_or_remove(path: Path, stream: TextIO, text: str) -> None:
    """Write a new file, or remove it, because an empty one would be nobody's claim."""
    try:
        stream.write(text)
        stream.flush()
    except OSError:
        path.unlink()
        raise


def journals() -> Iterator[Journal]:
    """The journals of all configurations that were run in this folder."""
    for path in sorted(FOLDER.glob("*.jsonl")):
        yield Journal(path)


def members(job: Any) -> list[Any]:
    """Snakemake's jobs in a job or group."""
    if job.is_group():
        return list(job.jobs)
    return [job]


def entry(
    own: Iterable[Any], rule: str, persistence: Any, asked: Mapping[str, Any], tries: Tries
) -> Entry:
    """The entry of a Slurm job before it is submitted.

    own: its jobs of Snakemake. rule: its name. asked: its resources.
    """
    own = list(own)
    makes = {
        str(path): _hash(adapter.making(member, persistence))
        for member in own
        for path in member.output
    }
    inputs = {str(path) for member in own for path in member.input} - makes.keys()
    inputs = {path for path in inputs if not path.startswith(".snakemake/")}  # new with every head
    return Entry(
        key=uuid.uuid4().hex[:12],
        rule=rule,
        makes=makes,
        inputs=stamps(inputs),
        contents=contents(inputs),
        asked=dict(asked),
        before=stamps(makes),
        tries=tries,
    )


def _hash(value: Any) -> str:
    """Short hash of a value, by its JSON."""
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()[:16]


def stamps(paths: Iterable[str]) -> dict[str, str]:
    """Path -> size and time of change, of the files that exist."""
    found = {path: os.stat(path) for path in sorted(paths) if os.path.exists(path)}
    return {path: f"{stat.st_size} {stat.st_mtime_ns}" for path, stat in found.items()}


def contents(paths: Iterable[str]) -> dict[str, str]:
    """Path -> hash, of the files among these paths without very large ones.

    A file is read again only if it changed.
    """
    return {path: _content(path, stamp) for path, stamp in stamps(paths).items() if _readable(path)}


def _readable(path: str) -> bool:
    """True for a file that is small enough to compare its content."""
    return os.path.isfile(path) and os.path.getsize(path) <= READ


@cache
def _content(path: str, stamp: str) -> str:
    """Hash of a file. stamp: as from `stamps`, so that the cache knows a changed file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:32]
