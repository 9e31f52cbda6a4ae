"""What jobs asked for and used, by rule, from the journal and from rows of sacct."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from snakemake_executor_plugin_slurm_resilient.journal import Entry
from snakemake_executor_plugin_slurm_resilient.used import parse, table

SACCT = """\
7|00:02:00||01:00.500
7.batch|00:02:00|204800K|01:00.500
7.extern|00:02:00|0|00:00:00
8|1-00:00:00||12:00:00
8.batch|1-00:00:00|1.50G|12:00:00
9.batch|00:01:00||00:00:01
"""


def entry(rule: str, id: str, settled: str = "made", **asked: Any) -> Entry:
    return Entry(f"key{id}", rule, {}, {}, asked, id=id, settled=settled)


def test_the_largest_amounts_of_a_rule() -> None:
    """Who halves a request for the mean of its jobs loses the largest ones."""
    entries = [
        entry("fit", "7", mem_mb=4000, runtime=30, cpus=2),
        entry("fit", "8", mem_mb=2000, runtime=3000, cpus=2),
        entry("fit", "9", "failed", mem_mb=9000),
        entry("other", "10", mem_mb=9000),  # the database does not know it
    ]
    _, row = table(entries, parse(SACCT))
    assert row == ("fit", "2", "4000", "1536", "3000", "1440.0", "2", "0.5")


@pytest.mark.rest
def test_a_folder_without_jobs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "snakemake_executor_plugin_slurm_resilient.used"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "no jobs were submitted in this folder\n"
