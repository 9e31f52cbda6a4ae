"""`coder-clip usage`: what the jobs of each rule asked for and used, so that the next run asks for less.

What they used is in Snakemake's benchmark files, after a run on this machine as after one on a cluster. Where a site
keeps accounts, Slurm also knows the jobs of the journal, failed ones too.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from snakemake_executor_plugin_coder_clip.journal import Entry, journals
from snakemake_executor_plugin_coder_clip.queue import COMPLETED, LIVE, SlurmError, ask

from ..errors import UserError
from ..foundation import terminal
from ..pipeline.resources import LEAST

AROUND = 300  # MB of the Snakemake around a job, which Slurm counts and a benchmark file does not
WORTH_MB, WORTH_MINUTES = 2000, 30  # smaller savings let no job start sooner
AT_ONCE = 500  # jobs per call of sacct
UNITS = {"": 1e-6, "K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}  # of MaxRSS, in MB
AMOUNTS = ("asked_mb", "used_mb", "asked_minutes", "used_minutes", "cpus", "busy_cpus")


@dataclass(frozen=True)
class Usage:
    """One job; or all jobs of a rule, or all groups of one kind, with the largest amounts. None: not known."""

    rule: str
    group: bool = False
    jobs: int = 0
    failed: int = 0
    asked_mb: float | None = None
    used_mb: float | None = None
    asked_minutes: float | None = None
    used_minutes: float | None = None
    cpus: float | None = None
    busy_cpus: float | None = None

    @property
    def better_mb(self) -> int | None:
        """Memory to ask for instead; None if the request is about right, and for a group, which sums up rules."""
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


class Accounted(NamedTuple):
    """A job in Slurm's accounting."""

    state: str
    minutes: float
    mem_mb: float | None


def usage(results: Path) -> list[Usage]:
    """A row per rule, by name. UserError if no run has left anything."""
    folder = results / "benchmarks"
    measured = benchmarks(folder)
    entries = [e for journal in journals() for e in journal.read() if e.id]
    if not measured and not entries:
        raise UserError(
            f"no benchmark files in {folder}: run something first, with a profile of workflow/profiles"
        )
    jobs = [
        *as_submitted(measured, entries).values(),
        *submitted(entries, measured, accounted(e.id for e in entries)),
    ]
    return [
        _largest([job for job in jobs if job.rule == rule]) for rule in sorted({job.rule for job in jobs})
    ]


def benchmarks(folder: Path) -> dict[str, Usage]:
    """The jobs of the benchmark files below a folder, by path; without half-written files and those without a rule."""
    found = {}
    for path in sorted(folder.rglob("*.tsv")):
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = list(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
        with suppress(IndexError, KeyError, TypeError, ValueError):
            found[str(path)] = _benchmark(rows[-1])
    return found


def _benchmark(row: Mapping[str, str]) -> Usage:
    seconds, cpu_seconds = float(row["s"]), _float(row["cpu_time"])
    asked = dict(re.findall(r"'(\w+)': '?(\d+)", row["resources"]))
    return Usage(
        row["rule_name"],
        jobs=1,
        asked_mb=_float(asked.get("mem_mb")),
        used_mb=_float(row["max_rss"]),
        asked_minutes=_float(asked.get("runtime")),
        used_minutes=seconds / 60,
        cpus=int(row["threads"]),
        busy_cpus=cpu_seconds / seconds if cpu_seconds and seconds > 1 else None,
    )


def _float(text: str | None) -> float | None:
    return None if text in (None, "NA", "-") else float(text)


def as_submitted(measured: Mapping[str, Usage], entries: Iterable[Entry]) -> dict[str, Usage]:
    """Replace what a job asked for by its last request, which its own Snakemake does not know after a second try."""
    last = {e.benchmarks[0]: e.asked for e in entries if len(e.benchmarks) == 1}
    return {
        path: replace(job, asked_mb=last[path].get("mem_mb"), asked_minutes=last[path].get("runtime"))
        if path in last
        else job
        for path, job in measured.items()
    }


def submitted(
    entries: Iterable[Entry], measured: Mapping[str, Usage], accounts: Mapping[str, Accounted]
) -> Iterator[Usage]:
    """The jobs of the journal that Slurm's accounting knows, or that are known to have failed."""
    rules = {path: job.rule for path, job in measured.items()}
    for e in entries:
        group = len(e.benchmarks) > 1 or any(rules.get(path, e.rule) != e.rule for path in e.benchmarks)
        name = e.rule.partition("-")[0] if group else e.rule  # of scores-RN50-dtd_classify: all scores
        account = accounts.get(e.id)
        if account is None:  # a site without accounting
            if e.settled == "failed":
                yield Usage(name, group, failed=1)
            continue
        cpus, asked_mb, asked_minutes = (e.asked.get(k) for k in ("cpus", "mem_mb", "runtime"))
        job = Usage(name, group, failed=1, asked_mb=asked_mb, asked_minutes=asked_minutes, cpus=cpus)
        if account.state == COMPLETED:
            memory = max(account.mem_mb - AROUND, 0) if account.mem_mb else None
            counted = e.rule in rules.values()  # by its benchmark file
            job = replace(job, jobs=int(not counted), failed=0, used_mb=memory, used_minutes=account.minutes)
        yield job


def accounted(ids: Iterable[str]) -> dict[str, Accounted]:
    """Ended jobs by Slurm's accounting; empty if a site keeps none."""
    found: dict[str, Accounted] = {}
    wanted, fields = sorted(set(ids), key=int), "--format=JobIDRaw,State,ElapsedRaw,MaxRSS"
    for start in range(0, len(wanted), AT_ONCE):
        some = wanted[start : start + AT_ONCE]
        try:
            found |= parse_accounts(
                ask("sacct", "--noheader", "--parsable2", fields, f"--jobs={','.join(some)}")
            )
        except SlurmError:
            return {}
    return found


def parse_accounts(text: str) -> dict[str, Accounted]:
    """Parse sacct's rows: those of jobs, and those of their steps ("12.batch"), which alone have the memory."""
    jobs: dict[str, Accounted] = {}
    memory: dict[str, float] = {}
    for line in text.splitlines():
        step, state, elapsed, rss = line.split("|")[:4]
        job, _, name = step.partition(".")
        if match := re.fullmatch(r"([\d.]+)([KMGT]?)", rss):
            memory[job] = max(memory.get(job, 0), float(match[1]) * UNITS[match[2]])
        if not name and (word := state.split()[0] if state else "") not in LIVE:  # "CANCELLED by 1000"
            jobs[job] = Accounted(word, float(elapsed or 0) / 60, None)
    return {i: job._replace(mem_mb=memory.get(i)) for i, job in jobs.items()}


def _largest(jobs: list[Usage]) -> Usage:
    """Summarise the jobs of one rule by their largest amounts."""
    amounts = {
        name: max((n for job in jobs if (n := getattr(job, name)) is not None), default=None)
        for name in AMOUNTS
    }
    return Usage(
        jobs[0].rule, jobs[0].group, sum(j.jobs for j in jobs), sum(j.failed for j in jobs), **amounts
    )


# ---- as text -----------------------------------------------------------------------------------------


def table(rows: list[Usage]) -> list[list[str]]:
    """A heading and a line per rule; an empty cell is not known."""
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
    return [heading, *map(_cells, rows)]


def _cells(r: Usage) -> list[str]:
    def number(value: float | None, digits: int = 0) -> str:
        return "" if value is None else f"{value:.{digits}f}"

    pairs = (("memory", r.asked_mb, r.better_mb), ("time", r.asked_minutes, r.better_minutes))
    advice = [
        f"{'more' if better > asked else 'less'} {what}" for what, asked, better in pairs if asked and better
    ]
    return [
        f"{r.rule} (group)" if r.group else r.rule,
        *(str(r.jobs), str(r.failed)),
        *(number(r.asked_mb), number(r.used_mb)),
        *(number(r.asked_minutes), number(r.used_minutes, 1)),
        *(number(r.cpus), number(r.busy_cpus, 1)),
        ", ".join(advice),
    ]


def lines(rows: list[Usage]) -> Iterator[str]:
    """The table in columns, and what to write into the profile."""
    head, *cells = table(rows)
    yield from terminal.table(head, cells, right=range(1, len(head) - 1))
    if not (advised := [r for r in rows if r.better_mb or r.better_minutes]):
        return
    yield ""
    yield "For the profile (the largest job of a rule decides; a quarter more memory, twice the time):"
    yield "set-resources:"
    for r in advised:
        yield f"  {r.rule}:"
        if r.better_mb:
            yield f"    mem_mb: attempt * {r.better_mb} # used {r.used_mb:.0f} of {r.asked_mb:.0f}"
        if r.better_minutes:
            yield f"    runtime: attempt * {r.better_minutes} # used {r.used_minutes:.1f} of {r.asked_minutes:.0f}"
