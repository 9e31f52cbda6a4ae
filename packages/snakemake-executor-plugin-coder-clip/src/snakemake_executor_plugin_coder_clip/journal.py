"""The journal of submitted jobs: which Slurm job makes which files, from what, and what it asked for.

A head process that is killed knows nothing of its jobs any more; the next one reads it here. One JSON line before a
job is submitted, one more with its id after; a line cut off by a kill is passed over.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from coder_clip.foundation.artifacts import write_text
from coder_clip.tracking.hashes import Hashes
from coder_clip.tracking.ledger import inputs_of, state_of
from coder_clip.tracking.snakemake import Making, making

JOURNAL = Path(".snakemake/coder-clip/slurm.jsonl")


@dataclass(frozen=True)
class Entry:
    """One submission. makes: output -> how it is made, from what the inputs held then. config: what the configuration
    file held."""

    key: str
    run: str
    rule: str
    makes: dict[str, Making]
    asked: dict[str, Any]
    benchmarks: list[str]
    time: float
    id: str = ""
    log: str = ""
    config: str = ""

    def same(self, makes: dict[str, Making], wanted: Collection[str]) -> bool:
        """Whether of the wanted files it makes the same in the same way."""
        mine = {p for p in self.makes if p in wanted}
        return mine == makes.keys() and all(
            self.makes[p].same(makes[p]) and self.makes[p].inputs == makes[p].inputs for p in makes
        )


@dataclass
class Journal:
    path: Path = JOURNAL
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def intend(self, entry: Entry) -> None:
        self._append(_document(entry))

    def submitted(self, key: str, job: str, log: str) -> None:
        self._append({"key": key, "id": job, "log": log})

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
                    makes = {p: Making.read(r) for p, r in row.pop("makes").items()}
                    found[row["key"]] = Entry(makes=makes, **row)
                elif row["key"] in found:
                    found[row["key"]] = replace(found[row["key"]], id=row["id"], log=row["log"])
            except (ValueError, TypeError, KeyError):  # half a line
                continue
        return list(found.values())

    def settle(self, open_runs: Iterable[str]) -> None:
        """Forget how the files of settled runs were made (Snakemake has records of them), keep what they asked for."""
        keep = set(open_runs)
        entries = [e if e.run in keep else replace(e, makes={}) for e in self.read()[-20000:]]
        write_text(self.path, "".join(json.dumps(_document(e)) + "\n" for e in entries))

    def _append(self, row: dict[str, Any]) -> None:
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+", encoding="utf-8") as stream:
                stream.seek(0, os.SEEK_END)
                whole = stream.tell() == 0 or _ends_line(self.path)
                stream.write(("" if whole else "\n") + json.dumps(row) + "\n")
                stream.flush()
                os.fsync(stream.fileno())


def entry(job: Any, persistence: Any, run: str, hashes: Hashes) -> Entry:
    """What is about to be submitted. job: Snakemake's, or a group of them."""
    members = list(job.jobs) if job.is_group() else [job]
    makes: dict[str, Making] = {}
    for member in members:
        made = replace(making(member, persistence), inputs=inputs_of(member, hashes))
        makes.update({str(path): made for path in member.output})
    benchmarks = [str(m.benchmark) for m in members if m.benchmark]
    config = state_of(os.environ.get("CODER_CLIP_CONFIG", ""))
    return Entry(uuid.uuid4().hex, run, job.name, makes, asked(job), benchmarks, time.time(), config=config)


def asked(job: Any) -> dict[str, Any]:
    """What a job is submitted with. job: Snakemake's, or a group of them."""
    resources = job.resources
    given = {
        "mem_mb": resources.get("mem_mb"),
        "runtime": resources.get("runtime"),
        "cpus": resources.get("cpus_per_task") or max(job.threads, 1),
        "gpu": resources.get("gpu"),
        "gpu_model": resources.get("gpu_model"),
        "gres": resources.get("gres"),
        "partition": resources.get("slurm_partition"),
        "account": resources.get("slurm_account"),
        "qos": resources.get("qos"),
        "attempt": job.attempt,
    }
    return {k: v if isinstance(v, int) else str(v) for k, v in given.items() if v}


def _document(entry: Entry) -> dict[str, Any]:
    return asdict(entry)


def _ends_line(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"
