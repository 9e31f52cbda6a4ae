"""`make first` is killed at ten random moments, from the first download to the report, and ends in
the same files.

SIGKILL, as from a machine that is switched off (all processes) or from one that runs out of memory
(only Snakemake's process, whose jobs live on beside the next run).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil

from first import First, first
from working_copy import environment

# the most that each run lives, as a share of a whole run's time: the first ones end while it
# downloads
LIVES = [0.04] * 4 + [0.25] * 6


def hashes(here: First) -> dict[str, str]:
    return {p: h for p, h in here.work.hashes().items() if p.startswith("first/")}


def test_a_run_killed_ten_times_ends_in_the_same_report(tmp_path: Path) -> None:
    rng = random.Random(0)
    with first(tmp_path) as whole:
        killed = whole.copy(tmp_path / "killed")
        began = time.monotonic()
        whole.work.run("make", "first", **whole.names)
        length = time.monotonic() - began
        for most in LIVES:
            log = tmp_path / "said.log"
            with log.open("w") as stream:
                run = subprocess.Popen(
                    ["make", "first"],
                    cwd=killed.work.folder,
                    env={**environment(killed.work.folder), **killed.names},
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            time.sleep(rng.uniform(0, most) * length)
            if run.poll() is not None:  # done before it could be killed
                assert run.returncode == 0, log.read_text()
                break
            kill(run.pid, everything=rng.random() < 0.5)
            run.wait()
            print(f"killed after: {log.read_text()[-300:]}")
        done = killed.work.run("make", "first", **killed.names)
        assert "results/first/report.html" in done.stdout
        assert hashes(killed) == hashes(whole)
        again = killed.work.run("make", "first", **killed.names)
        assert "Nothing to be done" in again.stdout + again.stderr


def kill(make: int, everything: bool) -> None:
    """Kill all processes, or make and Snakemake alone."""
    family = psutil.Process(make).children(recursive=True)
    os.kill(make, signal.SIGKILL)
    for process in family:
        with suppress(psutil.NoSuchProcess):
            if everything or "--profile" in " ".join(process.cmdline()):
                process.kill()
