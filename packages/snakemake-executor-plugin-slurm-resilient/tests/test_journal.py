"""A folder whose jobs are not settled is not cleared without a word."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from snakemake_executor_plugin_slurm_resilient.journal import FOLDER, Entry, Journal

pytestmark = pytest.mark.rest  # each starts Snakemake's imports
COMMAND = (sys.executable, "-m", "snakemake_executor_plugin_slurm_resilient.journal")
MAKEFILE = Path(__file__).parents[3] / "Makefile"


def noted(folder: Path) -> Journal:
    """A journal with one job that is at work."""
    journal = Journal(folder / FOLDER / "head.jsonl")
    journal.intend(Entry("0123456789ab", "fit", {"a.txt": "x"}, {}, {}))
    journal.note("0123456789ab", id="12")
    return journal


def test_jobs_that_are_not_settled_are_named(tmp_path: Path) -> None:
    journal = noted(tmp_path)
    done = subprocess.run(COMMAND, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "jobs of a run are not settled: 12." in done.stderr
    assert "'scancel 12'" in done.stderr
    journal.note("0123456789ab", settled="made")
    assert subprocess.run(COMMAND, cwd=tmp_path).returncode == 0


def test_make_clean_refuses_while_jobs_are_not_settled(tmp_path: Path) -> None:
    """Without the journal the next run would make their files beside them."""
    if not MAKEFILE.is_file():
        pytest.skip("the package alone, without the Makefile of coder-clip")
    noted(tmp_path)
    shutil.copy(MAKEFILE, tmp_path)
    clean = ["make", "clean", f"BIN={Path(sys.executable).parent}"]
    done = subprocess.run(clean, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "jobs of a run are not settled: 12." in done.stderr
    assert (tmp_path / ".snakemake").is_dir()
    assert subprocess.run([*clean, "FORCE=1"], cwd=tmp_path).returncode == 0
    assert not (tmp_path / ".snakemake").exists()
