"""Lines of jobs that wait to be submitted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

PLACE = ("slurm_partition", "slurm_account", "qos")


class Lines:
    """Submit one job at a time, in the order in which they come.

    Each partition, account and QOS has a line of its own, so that a job that Slurm does not take
    now keeps its place, and only the jobs behind it wait.
    """

    def __init__(
        self,
        submit: Callable[[Any], None],
        fail: Callable[[Any, Exception], None],
        stop: threading.Event,
    ) -> None:
        """submit: submits a job.

        fail: called with a job and the error of its submission. stop: set when no more jobs may be
        submitted.
        """
        self._submit = submit
        # nobody looks at the exceptions of threads: without `fail` the run would hang
        self._fail = fail
        self._stop = stop
        self._threads: dict[tuple[Any, ...], ThreadPoolExecutor] = {}  # one per line
        # held while a job is submitted, but not while it waits in its line
        self._one = threading.Lock()

    def add(self, job: Any, pause: float = 0) -> None:
        """Put a job at the end of its line, after a pause in seconds."""
        if pause > 0:
            timer = threading.Timer(pause, self.add, [job])
            timer.daemon = True
            timer.start()
            return
        if self._stop.is_set():
            return
        place = tuple(job.resources.get(name) for name in PLACE)
        try:
            if place not in self._threads:
                self._threads[place] = ThreadPoolExecutor(1, thread_name_prefix="sbatch")
            self._threads[place].submit(self._run, job)
        except Exception as error:
            if not self._stop.is_set():
                self._fail(job, error)

    def _run(self, job: Any) -> None:
        """Submit a job, in the thread of its line."""
        try:
            with self._one:
                if not self._stop.is_set():
                    self._submit(job)
        except Exception as error:
            self._fail(job, error)

    def pause(self, seconds: float) -> None:
        """Let other lines submit their jobs, while the job that is submitted now waits."""
        self._one.release()
        self._stop.wait(seconds)
        self._one.acquire()

    def end(self) -> None:
        """Submit no more jobs, and wait for the one that is submitted now."""
        self._stop.set()
        for thread in list(self._threads.values()):
            thread.shutdown(wait=True, cancel_futures=True)
