"""Print a line for each finished phase, one per minute while it runs, and all errors.

A logger of Snakemake (`logger: [coder-clip]` in workflow/profiles), for terminals and logs alike.
Snakemake's own log (.snakemake/log) has every job; `--verbose` shows it all, as Snakemake does.
"""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from logging import INFO, LogRecord
from pathlib import Path

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from coder_clip.jobs import RULES

CLONE = Path(__file__).resolve().parents[2]
EVERY = 60.0  # seconds between lines of a phase that is not done
JOBS = {  # what is printed by phase
    LogEvent.JOB_INFO,
    LogEvent.JOB_STARTED,
    LogEvent.JOB_FINISHED,
    LogEvent.GROUP_INFO,
    LogEvent.PROGRESS,
    LogEvent.SHELLCMD,
    LogEvent.RESOURCES_INFO,
    LogEvent.RUN_INFO,
}
SAID = (
    "Building DAG",
    "Using shell",
    "Select jobs",
    "Conda environments",
    "Singularity containers",
)
SUBMITTED = re.compile(
    r"Job \S+ has been submitted"
)  # of a job by number, of a group by a long name
DOWNLOADS = "downloads"
FETCHES = ("fetch_images", "fetch_weights", "prefetch")
WIDTH = 16  # of the names of phases
TAIL = 4096  # bytes at the end of a job's log that are searched for its progress
STEPS = re.compile(r"\b(\d+)/(\d+) \[")  # as tqdm writes it: photos:  68%|### | 108/159 [


class Phases:
    """Jobs of a run by phase, and the lines about them. clock: seconds, for tests."""

    def __init__(
        self, rules: Mapping[str, str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """rules: rule -> its phase."""
        self._rules, self._clock = rules, clock
        self._total: Counter[str] = Counter()
        self._done: Counter[str] = Counter()
        self._began: dict[str, float] = {}
        self._running: dict[int, tuple[str, str]] = {}  # job -> its phase, what it does
        self._logs: dict[int, tuple[list[str], float]] = {}  # job -> its log files, when it began

    def planned(self, jobs: Mapping[str, int]) -> str:
        """Take the numbers of jobs by rule; a line with those by phase."""
        for rule, count in jobs.items():
            phase = self._rules.get(rule)
            if phase:
                self._total[phase] += count
        if not self._total:
            return ""
        counts = ", ".join(f"{phase} {n}" for phase, n in self._total.items())
        return f"{_count(sum(self._total.values()))}: {counts}"

    def started(self, job: int, rule: str, what: str, logs: Iterable[str] = ()) -> str:
        """Take a job that begins; a line for a download, which people want to see begin.

        logs: where it writes.
        """
        phase = self._rules.get(rule)
        if phase:
            self._began.setdefault(phase, self._clock())
            self._running[job] = (phase, what)
            self._logs[job] = (list(logs), time.time())
        if phase == DOWNLOADS:
            return what
        return ""

    def finished(self, job: int) -> str:
        """Take a job that has ended; a line if it was the last of its phase."""
        phase, _ = self._running.pop(job, ("", ""))
        if not phase:
            return ""
        self._done[phase] += 1
        if self._done[phase] < self._total[phase] or any(
            p == phase for p, _ in self._running.values()
        ):
            return ""
        return f"{phase:{WIDTH}} {_count(self._done[phase])}, {self._spent(phase)}"

    def failed(self, job: int) -> None:
        self._running.pop(job, None)

    def under_way(self) -> Iterator[str]:
        """A line for every phase with running jobs: counts, duration, and what runs."""
        by_phase: dict[str, list[str]] = {}
        for job, (phase, what) in self._running.items():
            by_phase.setdefault(phase, []).append(f"{what}{self._progress(job)}")
        for phase, now in by_phase.items():
            counts = f"{self._done[phase]} of {_count(self._total[phase])}"
            more = f" and {len(now) - 1} more" if len(now) > 1 else ""
            yield f"{phase:{WIDTH}} {counts}, {self._spent(phase)}; now {now[0]}{more}"

    def _progress(self, job: int) -> str:
        """How far a job has come by the last progress line of its log: " (108 of 159)".

        "" without one.
        """
        logs, began = self._logs.get(job, ([], 0.0))
        for log in logs:
            steps = STEPS.findall(_tail(log, began))
            if steps:
                done, total = map(int, steps[-1])
                return f" ({done:,} of {total:,})"
        return ""

    def _spent(self, phase: str) -> str:
        return _time(self._clock() - self._began[phase])


def _tail(log: str, since: float) -> str:
    """The end of a log; "" if it is not there, or was last written by an earlier run."""
    try:
        # file systems and clocks differ by a second or two
        if os.path.getmtime(log) < since - 2:
            return ""
        with open(log, "rb") as stream:
            stream.seek(-min(TAIL, os.path.getsize(log)), os.SEEK_END)
            return stream.read(TAIL).decode(errors="replace")
    except OSError:
        return ""


def _count(jobs: int) -> str:
    return f"{jobs:,} job{'s' * (jobs != 1)}"


def _time(seconds: float) -> str:
    """Seconds as people say them: "8 s", "3 min", "2 h 5 min"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


class LogHandler(LogHandlerBase):
    """The handler that Snakemake finds by its name."""

    def __post_init__(self) -> None:
        rules: dict[str, str] = {}
        if Path.cwd() == CLONE:  # another workflow, with a profile of this one, has none
            rules = {rule.name: rule.phase for rule in RULES}
        self._phases = Phases(rules | dict.fromkeys(FETCHES, DOWNLOADS))
        self._all = not rules or self.common_settings.verbose or self.common_settings.dryrun
        self._stream = sys.stdout if self.common_settings.stdout else sys.stderr
        self._ended = threading.Event()
        threading.Thread(target=self._each_minute, daemon=True).start()

    def _each_minute(self) -> None:
        while not self._ended.wait(EVERY):
            with suppress(OSError), self.lock:  # type: ignore[union-attr]
                for line in self._phases.under_way():
                    self._write(line)

    def emit(self, record: LogRecord) -> None:
        """Write what the record tells, if anything. Called with the handler's lock."""
        try:
            self._emit(record)
        except Exception:  # else Snakemake's thread ends, and all that follows is lost
            self.handleError(record)

    def _emit(self, record: LogRecord) -> None:
        """Write lines of phases for some events of JOBS, and drop the other events of JOBS.

        Write all other records as Snakemake does, but without its chatter.
        """
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_ERROR:
            self._phases.failed(record.jobid)  # type: ignore[attr-defined]
        if self._all or (event not in JOBS and not self._is_talk(record)):
            self._write(self.format(record))
        elif event == LogEvent.RUN_INFO:
            self._write(self._phases.planned(record.stats))  # type: ignore[attr-defined]
        elif event == LogEvent.JOB_INFO:
            what = record.rule_msg or record.rule_name  # type: ignore[attr-defined]
            logs = [str(log) for log in getattr(record, "log", None) or ()]
            self._write(self._phases.started(record.jobid, record.rule_name, what, logs))  # type: ignore[attr-defined]
        elif event == LogEvent.JOB_FINISHED:
            # in this event Snakemake calls the number job_id, in all others jobid
            self._write(self._phases.finished(record.job_id))  # type: ignore[attr-defined]

    def _is_talk(self, record: LogRecord) -> bool:
        said = str(record.msg)
        return record.levelno <= INFO and (
            said.startswith(SAID) or SUBMITTED.match(said) is not None
        )

    def _write(self, text: str) -> None:
        if text:
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        self._ended.set()
        super().close()

    @property
    def writes_to_stream(self) -> bool:
        return True

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return False  # Snakemake's own: --quiet works

    @property
    def has_formatter(self) -> bool:
        return False  # Snakemake's own, for errors and for all that is not about jobs

    @property
    def needs_rulegraph(self) -> bool:
        return False
