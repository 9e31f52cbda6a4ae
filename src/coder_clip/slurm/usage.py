"""`coder-clip usage`: what the jobs of a rule asked for and what they used, so that the next run asks for less.

Used is what Snakemake's benchmark files say, after a run on this machine as after one on a cluster; and, where a site
keeps accounts, what Slurm measured of every job of the journal, failed ones too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from snakemake_executor_plugin_coder_clip.journal import Entry, journals
from snakemake_executor_plugin_coder_clip.queue import COMPLETED, LIVE, SlurmError, ask

from ..errors import UserError
from ..foundation import terminal
from ..pipeline.resources import LEAST

AROUND = 300  # MB of the Snakemake around a job, which Slurm counts and a benchmark file does not
WORTH_MB, WORTH_MINUTES = 2000, 30  # less of it lets no job start sooner
AT_ONCE = 500  # jobs a question to sacct
FIELDS = ("JobIDRaw", "State", "ElapsedRaw", "MaxRSS")
UNITS = {"": 1e-6, "K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}  # of MaxRSS, in MB


@dataclass(frozen=True)
class Benchmark:
    """One file. mem_mb, cpu_seconds: None where the job was over before it could be looked at."""

    path: str
    rule: str
    seconds: float
    mem_mb: float | None
    cpu_seconds: float | None
    cpus: int
    asked_mb: int | None
    asked_minutes: int | None


@dataclass(frozen=True)
class Accounted:
    """A job by Slurm's accounting."""

    state: str
    seconds: float
    mem_mb: float | None


@dataclass
class Usage:
    """A rule, or groups of one kind, each a job. Amounts: the largest of any job; None where nobody knows."""

    rule: str
    group: bool = False
    jobs: int = 0
    failed: int = 0
    asked_mb: int | None = None
    used_mb: float | None = None
    asked_minutes: int | None = None
    used_minutes: float | None = None
    cpus: int | None = None
    busy_cpus: float | None = None

    def add(
        self,
        cpus: int | None,
        asked_mb: int | None,
        asked_minutes: int | None,
        used_mb: float | None,
        seconds: float | None,
    ) -> None:
        """One more job."""
        minutes = None if seconds is None else seconds / 60
        self.cpus = _most(self.cpus, cpus)
        self.asked_mb, self.asked_minutes = (
            _most(self.asked_mb, asked_mb),
            _most(self.asked_minutes, asked_minutes),
        )
        self.used_mb, self.used_minutes = _most(self.used_mb, used_mb), _most(self.used_minutes, minutes)

    @property
    def better_mb(self) -> int | None:
        """What to ask for instead; None where what was asked is about right."""
        if self.group or self.asked_mb is None or self.used_mb is None:
            return None
        need = math.ceil((self.used_mb * 1.25 + AROUND) / 500) * 500
        tight = self.used_mb + AROUND > 0.9 * self.asked_mb
        return need if tight or self.asked_mb - need >= WORTH_MB else None

    @property
    def better_minutes(self) -> int | None:
        if self.group or self.asked_minutes is None or self.used_minutes is None:
            return None
        need = max(math.ceil(self.used_minutes * 2 / 5) * 5, LEAST)
        tight = self.used_minutes > 0.8 * self.asked_minutes
        return need if tight or self.asked_minutes - need >= WORTH_MINUTES else None


def usage(results: Path) -> list[Usage]:
    """A row a rule, by name. UserError where no run has left anything."""
    folder = results / "benchmarks"
    files = benchmarks(folder)
    entries = [e for journal in journals() for e in journal.read() if e.id]
    if not files and not entries:
        raise UserError(
            f"no benchmark files in {folder}: run something first, with a profile of workflow/profiles"
        )
    return combine(as_submitted(files, entries), entries, accounted(e.id for e in entries))


def benchmarks(folder: Path) -> list[Benchmark]:
    """All that name their rule (benchmark-extended: true in the profile)."""
    found = (_benchmark(path) for path in sorted(folder.rglob("*.tsv")))
    return [b for b in found if b is not None]


def as_submitted(files: list[Benchmark], entries: list[Entry]) -> list[Benchmark]:
    """With what a job asked for last, which its own Snakemake does not know after a second try."""
    last = {e.benchmarks[0]: e.asked for e in entries if len(e.benchmarks) == 1}
    asked = (last.get(b.path, {"mem_mb": b.asked_mb, "runtime": b.asked_minutes}) for b in files)
    return [
        replace(b, asked_mb=a.get("mem_mb"), asked_minutes=a.get("runtime"))
        for b, a in zip(files, asked, strict=True)
    ]


def _benchmark(path: Path) -> Benchmark | None:
    lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line]
    if len(lines) < 2 or "rule_name" not in lines[0]:
        return None
    row = dict(zip(lines[0], lines[-1], strict=False))

    def asked(name: str) -> int | None:
        value = re.search(rf"'{name}': '?(\d+)", row["resources"])
        return int(value[1]) if value else None

    try:
        return Benchmark(
            str(path),
            row["rule_name"],
            float(row["s"]),
            _float(row["max_rss"]),
            _float(row["cpu_time"]),
            int(row["threads"]),
            asked("mem_mb"),
            asked("runtime"),
        )
    except (KeyError, ValueError):  # half written
        return None


def _float(text: str) -> float | None:
    return None if text in ("NA", "-") else float(text)


def accounted(ids: Iterable[str]) -> dict[str, Accounted]:
    """Ended jobs by Slurm's accounting; empty where a site keeps none."""
    found: dict[str, Accounted] = {}
    wanted = sorted(set(ids), key=int)
    for start in range(0, len(wanted), AT_ONCE):
        some = ",".join(wanted[start : start + AT_ONCE])
        try:
            text = ask("sacct", "--noheader", "--parsable2", f"--format={','.join(FIELDS)}", f"--jobs={some}")
        except SlurmError:
            return {}
        found |= parse_accounts(text)
    return found


def parse_accounts(text: str) -> dict[str, Accounted]:
    """From sacct's rows: a job's own, and its steps' ("12.batch"), which alone have the memory."""
    jobs: dict[str, Accounted] = {}
    memory: dict[str, float] = {}
    for line in text.splitlines():
        step, state, elapsed, rss = line.split("|")[: len(FIELDS)]
        job, _, name = step.partition(".")
        if match := re.fullmatch(r"([\d.]+)([KMGT]?)", rss):
            memory[job] = max(memory.get(job, 0), float(match[1]) * UNITS[match[2]])
        if not name and (word := state.split()[0] if state else "") not in LIVE:  # "CANCELLED by 1000"
            jobs[job] = Accounted(word, float(elapsed or 0), None)
    return {i: Accounted(job.state, job.seconds, memory.get(i)) for i, job in jobs.items()}


def combine(files: list[Benchmark], entries: list[Entry], accounts: dict[str, Accounted]) -> list[Usage]:
    rows: dict[str, Usage] = {}
    for b in files:
        row = rows.setdefault(b.rule, Usage(b.rule))
        row.jobs += 1
        busy = b.cpu_seconds / b.seconds if b.cpu_seconds and b.seconds > 1 else None
        row.busy_cpus = _most(row.busy_cpus, busy)
        row.add(b.cpus, b.asked_mb, b.asked_minutes, b.mem_mb, b.seconds)
    rules = {b.path: b.rule for b in files}
    measured = set(rules.values())
    for e in entries:
        of = accounts.get(e.id)
        if of is None and e.settled != "failed":
            continue
        group = len(e.benchmarks) > 1 or any(rules.get(path, e.rule) != e.rule for path in e.benchmarks)
        name = e.rule.partition("-")[0] if group else e.rule  # of scores-RN50-dtd_classify: all scores
        row = rows.setdefault(name, Usage(name, group))
        if of is None:  # a site without accounting
            row.failed += 1
            continue
        good = of.state == COMPLETED
        row.failed += not good
        row.jobs += good and e.rule not in measured
        memory = max(of.mem_mb - AROUND, 0) if good and of.mem_mb else None
        cpus, asked_mb, asked_minutes = (e.asked.get(k) for k in ("cpus", "mem_mb", "runtime"))
        row.add(cpus, asked_mb, asked_minutes, memory, of.seconds if good else None)
    return [rows[name] for name in sorted(rows)]


def _most(a: float | None, b: float | None) -> Any:
    return max((x for x in (a, b) if x is not None), default=None)


# ---- for people --------------------------------------------------------------------------------------


def table(rows: list[Usage]) -> list[list[str]]:
    """A heading and a line a rule; an empty cell is not known."""
    heading = [
        "rule",
        "jobs",
        "failed",
        "asked MB",
        "used MB",
        "asked min",
        "used min",
        "CPUs",
        "busy CPUs",
        "advice",
    ]
    return [heading, *(_cells(r) for r in rows)]


def _cells(r: Usage) -> list[str]:
    def number(value: float | None, digits: int = 0) -> str:
        return "" if value is None else f"{value:.{digits}f}"

    return [
        f"{r.rule} (group)" if r.group else r.rule,
        str(r.jobs),
        str(r.failed),
        *(number(r.asked_mb), number(r.used_mb)),
        *(number(r.asked_minutes), number(r.used_minutes, 1)),
        *(number(r.cpus), number(r.busy_cpus, 1)),
        ", ".join(_words(r)),
    ]


def _words(r: Usage) -> Iterator[str]:
    pairs = (("memory", r.asked_mb, r.better_mb), ("time", r.asked_minutes, r.better_minutes))
    for what, asked, better in pairs:
        if asked and better:
            yield f"{'more' if better > asked else 'less'} {what}"


def lines(rows: list[Usage]) -> Iterator[str]:
    """The table in columns, and what to write into the profile."""
    head, *cells = table(rows)
    yield from terminal.table(head, cells, right=range(1, len(head) - 1))
    yield from advice_lines(rows)


def advice_lines(rows: list[Usage]) -> Iterator[str]:
    if not (advised := [r for r in rows if r.better_mb or r.better_minutes]):
        return
    yield ""
    yield "For the profile (the largest job of a rule decides; a quarter more memory, twice the time):"
    yield "set-resources:"
    for r in advised:
        yield f"  {r.rule}:"
        if r.better_mb:
            yield f"    mem_mb: attempt * {r.better_mb} # used {r.used_mb:.0f} of {r.asked_mb}"
        if r.better_minutes:
            yield f"    runtime: attempt * {r.better_minutes} # used {r.used_minutes:.1f} of {r.asked_minutes}"
