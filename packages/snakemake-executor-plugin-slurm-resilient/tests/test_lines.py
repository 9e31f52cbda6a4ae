"""A job that cannot be submitted fails. An exception in a thread alone would be lost, and the run
would wait for the job without end.
"""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from snakemake_executor_plugin_slurm_resilient import lines

JOB = SimpleNamespace(resources={"slurm_partition": "cpu"})


@pytest.mark.parametrize("ended", [False, True])
def test_a_job_without_a_thread_fails_unless_the_run_has_ended(
    monkeypatch: pytest.MonkeyPatch, ended: bool
) -> None:
    failed, stop = [], threading.Event()

    def full(*args: Any, **options: Any) -> Any:
        """As on a head node on which the user may start no more threads."""
        if ended:
            stop.set()  # Control-C while the job was being put in line
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(lines, "ThreadPoolExecutor", full)
    waiting = lines.Lines(lambda job: None, lambda job, error: failed.append((job, error)), stop)
    waiting.add(JOB)
    assert [(job, str(error)) for job, error in failed] == (
        [] if ended else [(JOB, "can't start new thread")]
    )


def test_a_submission_that_raises_fails_its_job_and_no_other() -> None:
    """The first job raises; the second of the same line is submitted."""
    failed, submitted, done = [], [], threading.Event()
    second = SimpleNamespace(resources=JOB.resources)

    def submit(job: Any) -> None:
        if job is JOB:
            raise OSError("no sbatch here")
        submitted.append(job)
        done.set()

    def fail(job: Any, error: Exception) -> None:
        failed.append((job, str(error)))

    waiting = lines.Lines(submit, fail, threading.Event())
    waiting.add(JOB)
    waiting.add(second)
    assert done.wait(10)
    assert failed == [(JOB, "no sbatch here")]
    assert submitted == [second]
