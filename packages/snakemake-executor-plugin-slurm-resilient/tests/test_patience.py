"""A fault is told once, whoever meets it, and its end is told when nobody meets it any more."""

from __future__ import annotations

import threading
import time

import pytest

from snakemake_executor_plugin_slurm_resilient.patience import Contact
from snakemake_executor_plugin_slurm_resilient.queue import NoDatabase, SlurmError, Unreachable


class Lines:
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def warning(self, text: str) -> None:
        self.said.append(text)

    info = warning


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time now, in seconds; a test sets it."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def contact(lines: Lines) -> Contact:
    return Contact(100, lines, threading.Event())


def test_an_answer_to_another_question_ends_no_wait(clock: list[float]) -> None:
    """A squeue that works hid an scontrol that fails: its hour began again at each look, and a run
    said at each that the controller was back.
    """
    lines = Lines()
    asking = contact(lines)
    for second in range(0, 100, 10):
        clock[0] = second
        asking.failed("a job", Unreachable("scontrol: error"))
        asking.back("queue")
    assert len(lines.said) == 1
    clock[0] = 101
    with pytest.raises(SlurmError, match=r"does not answer, for 101 s now \(scontrol: error\)"):
        asking.failed("a job", Unreachable("scontrol: error"))


def test_a_fault_that_two_meet_is_told_once(clock: list[float]) -> None:
    lines = Lines()
    asking = contact(lines)
    for second in (0, 6):
        clock[0] = second
        asking.failed("queue", Unreachable("away"))
        asking.failed("a job", Unreachable("away"))
    asking.back("queue")
    assert len(lines.said) == 1, "one of them still waits"
    clock[0] = 8
    asking.back("a job")
    assert lines.said[1:] == ["The Slurm controller is back after 8 s."]


def test_each_fault_has_its_words(clock: list[float]) -> None:
    """Who reads that the controller is back, of a full disk, looks in the wrong place."""
    lines = Lines()
    asking = contact(lines)
    for fault in (NoDatabase("sacct: error"), Unreachable("away")):
        asking.failed("a job", fault)
        clock[0] += 6
        asking.failed("a job", fault)
    clock[0] += 1
    asking.back("a job")
    assert [line.split(" (")[0] for line in lines.said] == [
        "Slurm's accounting database does not answer",
        "This run waits no longer for Slurm's accounting database after 6 s.",
        "The Slurm controller does not answer",
        "The Slurm controller is back after 7 s.",
    ]


def test_a_short_fault_is_not_told(clock: list[float]) -> None:
    lines = Lines()
    asking = contact(lines)
    asking.failed("queue", Unreachable("away"))
    clock[0] = 60  # the next query worked; it came late
    asking.back("queue")
    assert lines.said == []


def test_a_full_disk_is_told_as_such(clock: list[float]) -> None:
    lines = Lines()
    stop = threading.Event()
    tries = []

    def write() -> str:
        tries.append(clock[0])
        if len(tries) < 4:
            raise OSError(28, "No space left on device", "journal")
        return "written"

    def wait(seconds: float) -> bool:
        clock[0] += seconds
        return False

    stop.wait = wait  # type: ignore[assignment]
    assert Contact(100, lines, stop).patiently(write) == "written"
    assert tries == [0, 1, 5, 13]
    assert lines.said == [
        "Files cannot be written now (journal: No space left on device). Jobs keep running; this "
        "run waits until it can write.",
        "Files can be written again after 13 s.",
    ]
