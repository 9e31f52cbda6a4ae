"""A job is gone only if Slurm says so, whatever it answers before: nothing is submitted while it
may be alive.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.rest  # a minute, most of it waiting

SNAKEFILE = """
rule all:
    input: "a.txt"

rule a:
    output: "a.txt"
    shell: "echo $SLURM_JOB_ID >> started; BODY; echo made > {output}"
"""
FAKE = Path(__file__).with_name("fake_slurm.py")
COMMANDS = ("sbatch", "scancel", "squeue", "scontrol", "sacct", "sinfo")
QUICK = (
    *("--slurm-resilient-init-seconds-before-status-checks", "1"),
    *("--slurm-resilient-retry-pause", "1", "--latency-wait", "5"),
)


@dataclass
class Site:
    """A folder with a Snakefile of one job, and a pretended Slurm that answers as a test says."""

    folder: Path
    slurm: Path

    def answers(self, command: str, *answers: str) -> None:
        (self.slurm / command).write_text("\n".join(answers))

    def run(self, body: str) -> str:
        """Run Snakemake to its end, and return what it said."""
        (self.folder / "Snakefile").write_text(SNAKEFILE.replace("BODY", body))
        path = f"{self.slurm}/bin{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "FAKE_SLURM": str(self.slurm)}
        command = [sys.executable, "-m", "snakemake", "--executor", "slurm-resilient"]
        command += ["--jobs", "1", "--retries", "1", *QUICK]
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        assert (self.folder / "a.txt").read_text() == "made\n"
        return done.stderr

    def started(self) -> list[str]:
        return (self.folder / "started").read_text().split()

    def calls(self) -> list[str]:
        return (self.slurm / "calls").read_text().splitlines()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    folder, slurm = tmp_path / "run", tmp_path / "slurm"
    folder.mkdir()
    (slurm / "bin").mkdir(parents=True)
    for name in COMMANDS:
        file = slurm / "bin" / name
        file.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE} {name} "$@"\n')
        file.chmod(0o755)
    yield Site(folder, slurm)
    for pid in slurm.glob("jobs/*/pid"):
        with suppress(ProcessLookupError):
            os.killpg(int(pid.read_text()), signal.SIGKILL)


def test_a_job_that_ended_and_was_forgotten_before_sbatch_answered_runs_once(site: Site) -> None:
    """Else a good result is thrown away, and made again, where sbatch is slow and Slurm soon
    forgets a job.
    """
    (site.slurm / "forgets").touch()
    site.answers("sbatch", "late", "true")
    said = site.run("true")
    assert site.started() == ["1"], said


def test_silence_is_no_answer(site: Site) -> None:
    """Else a job runs twice where a busy Slurm prints nothing, with exit status 0, to two questions
    in a row.
    """
    site.answers("squeue", "nothing")
    site.answers("scontrol", "nothing", "nothing", "nothing", "true")
    site.answers("sacct", "unknown")
    said = site.run("sleep 6")
    assert site.started() == ["1"], said


def test_a_job_that_the_queue_shows_again_ends_the_wait_for_scontrol(site: Site) -> None:
    """Else the patience of its first missing hour is over at once when it is missing again."""
    site.answers("squeue", "true", *["nothing"] * 5, "true")
    site.answers("scontrol", "nothing")
    said = site.run("sleep 25")
    assert site.started() == ["1"], said
    assert said.count("does not answer (scontrol show job 1: it printed nothing of this job)") == 1
    assert said.count("The Slurm controller is back after") == 1


@pytest.mark.parametrize("knows", ["scontrol", "sacct"])
def test_a_job_that_shows_up_again_is_cancelled_before_it_is_submitted_again(
    site: Site, knows: str
) -> None:
    """Else two jobs write one file where Slurm denies a job that is alive, and squeue still does
    not show it.
    """
    site.answers("squeue", "nothing")
    site.answers("scontrol", "unknown", "true" if knows == "scontrol" else "unknown")
    site.answers("sacct", "unknown", "true" if knows == "sacct" else "unknown")
    said = site.run("[ $SLURM_JOB_ID = 2 ] || sleep 600")
    assert site.calls() == ["sbatch 1", "scancel 1", "sbatch 2"], said
