"""A folder whose jobs are, or may be, at work is not cleared without a word."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from snakemake_executor_plugin_slurm_resilient.journal import FOLDER, Entry, Journal

pytestmark = pytest.mark.rest  # each starts Snakemake's imports
COMMAND = (sys.executable, "-m", "snakemake_executor_plugin_slurm_resilient.unsettled")
MAKEFILE = Path(__file__).parents[3] / "Makefile"
KEY = "0123456789ab"
SCONTROL = 'echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1'


def noted(folder: Path) -> Journal:
    """A journal with one job that no head has seen to end."""
    journal = Journal(folder / FOLDER / "head.jsonl")
    journal.intend(Entry(KEY, "fit", {"a.txt": "x"}, {}, {}))
    journal.note(KEY, id="12")
    return journal


def slurm(folder: Path, squeue: str) -> dict[str, str]:
    """An environment in which squeue and scontrol answer so."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    for name, body in (("squeue", squeue), ("scontrol", SCONTROL)):
        (programs / name).write_text(f"#!/bin/sh\n{body}\n")
        (programs / name).chmod(0o755)
    return {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}


def asked(folder: Path, squeue: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        COMMAND, cwd=folder, env=slurm(folder, squeue), capture_output=True, text=True
    )


def test_jobs_that_are_at_work_are_named(tmp_path: Path) -> None:
    noted(tmp_path)
    done = asked(tmp_path, f'echo "13|RUNNING|0:0|None|n1|20:00|name|rule_fit {KEY}|"')
    assert done.returncode == 1
    assert done.stderr.startswith("jobs of a run are at work: 13. ")
    assert "'scancel 13'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_jobs_that_have_ended_since_keep_nobody(tmp_path: Path) -> None:
    """Who followed the advice, and cancelled them, was refused again."""
    noted(tmp_path)
    done = asked(tmp_path, f'echo "12|CANCELLED|0:15|None|n1|20:00|name|rule_fit {KEY}|"')
    assert (done.returncode, done.stderr) == (0, "")
    done = asked(tmp_path, "true")
    assert (done.returncode, done.stderr) == (0, ""), "the controller does not know the job"


def test_jobs_of_which_slurm_says_nothing_may_be_at_work(tmp_path: Path) -> None:
    journal = noted(tmp_path)
    away = 'echo "slurm_load_jobs error: Unable to contact slurm controller" >&2; exit 1'
    done = asked(tmp_path, away)
    assert done.returncode == 1
    words = "jobs of a run may be at work (slurm_load_jobs error: Unable to contact slurm"
    assert done.stderr.startswith(words)
    assert "'scancel 12'" in done.stderr
    journal.note(KEY, settled="made")
    assert asked(tmp_path, away).returncode == 0


def test_make_clean_refuses_while_jobs_may_be_at_work(tmp_path: Path) -> None:
    """Without the journal the next run would make their files beside them."""
    if not MAKEFILE.is_file():
        pytest.skip("the package alone, without the Makefile of coder-clip")
    noted(tmp_path)
    shutil.copy(MAKEFILE, tmp_path)
    clean = ["make", "clean", f"BIN={Path(sys.executable).parent}"]
    environment = slurm(tmp_path, "exit 1")
    done = subprocess.run(clean, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    first, *_ = done.stderr.splitlines()  # no warning of Python before it
    assert first.startswith("jobs of a run may be at work (squeue ended with status 1): 12. ")
    assert (tmp_path / ".snakemake").is_dir()
    assert subprocess.run([*clean, "FORCE=1"], cwd=tmp_path, env=environment).returncode == 0
    assert not (tmp_path / ".snakemake").exists()
