"""What the jobs of this folder asked for and used: memory, time and CPUs, by rule.

    python -m snakemake_executor_plugin_slurm_resilient.used

The journal has what was asked, Slurm's accounting database (sacct) what was used."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

from . import queue
from .journal import Entry, journals
from .site import minutes

UNITS = {"": 1 / 1024**2, "K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2}  # in MB
HEADING = (
    "rule",
    "jobs",
    "MB asked",
    "MB used",
    "min asked",
    "min used",
    "CPUs asked",
    "CPUs used",
)


@dataclass
class Used:
    """What one Slurm job used: memory in MB and minutes at most, and minutes of CPUs."""

    mem_mb: float = 0
    minutes: float = 0
    cpu_minutes: float = 0


@dataclass
class Rule:
    """The jobs of one rule or group, with the largest amounts of one of them."""

    asked: list[dict[str, object]] = field(default_factory=list)
    used: list[Used] = field(default_factory=list)

    def row(self, name: str) -> tuple[str, ...]:
        """The row of the table."""
        cpus = [each.cpu_minutes / each.minutes for each in self.used if each.minutes]
        largest = [
            self._asked("mem_mb"),
            max(each.mem_mb for each in self.used),
            self._asked("runtime"),
            max(each.minutes for each in self.used),
            self._asked("cpus"),
            max(cpus, default=0),
        ]
        digits = (0, 0, 0, 1, 0, 1)
        amounts = [f"{n:.{d}f}" for n, d in zip(largest, digits, strict=True)]
        return (name, str(len(self.used)), *amounts)

    def _asked(self, name: str) -> float:
        """The largest amount that a job asked for."""
        amounts = [asked.get(name) for asked in self.asked]
        return max((n for n in amounts if isinstance(n, int)), default=0)


def parse(rows: str) -> dict[str, Used]:
    """Job id -> what it used, from rows of sacct: id of a job or step|elapsed|memory|CPU time."""
    found: dict[str, Used] = {}
    for line in rows.splitlines():
        step, elapsed, memory, cpu = line.split("|")
        used = found.setdefault(step.split(".")[0], Used())
        amount = re.fullmatch(r"([\d.]+)([KMGT]?)", memory)
        if amount:
            used.mem_mb = max(used.mem_mb, float(amount[1]) * UNITS[amount[2]])
        used.minutes = max(used.minutes, minutes(elapsed))
        used.cpu_minutes = max(used.cpu_minutes, minutes(cpu.split(".")[0]))
    return found


def table(entries: Iterable[Entry], used: dict[str, Used]) -> list[tuple[str, ...]]:
    """Rows by rule, of jobs that ended well and that the database knows."""
    rules: dict[str, Rule] = {}
    for e in entries:
        if e.settled == "made" and e.id in used:
            rule = rules.setdefault(e.rule, Rule())
            rule.asked.append(e.asked)
            rule.used.append(used[e.id])
    return [HEADING, *(rules[name].row(name) for name in sorted(rules))]


def main() -> None:
    """Print the table; one line and an error where there is nothing to print."""
    entries = [e for journal in journals() for e in journal.read() if e.id]
    if not entries:
        sys.exit("no jobs were submitted in this folder")
    ids = ",".join(e.id for e in entries)
    fields = "--format=JobID,Elapsed,MaxRSS,TotalCPU"
    try:
        said = queue.ask("sacct", "--noheader", "--parsable2", fields, f"--jobs={ids}")
    except queue.SlurmError as error:
        sys.exit(f"what jobs used is not known: {error}")
    rows = table(entries, parse(said))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *amounts in rows:
        cells = [text.rjust(width) for text, width in zip(amounts, widths[1:], strict=True)]
        print("  ".join([name.ljust(widths[0]), *cells]))


if __name__ == "__main__":
    main()
