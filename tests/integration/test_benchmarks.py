"""The benchmarks that run commands of the workflow still run: `make benchmark` ended in the middle."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.rest


def measured(repo: Path, *command: str) -> str:
    """What a benchmark prints."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=repo,
        env={**os.environ, "PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_benchmark_of_tracking_runs(repo: Path) -> None:
    """Its rules were written as the workflow's were once, and Snakemake could plan no job."""
    table = measured(repo, "benchmarks/tracking.py", "--outputs", "4")
    assert "| record, one output changed |" in table


def test_the_benchmark_of_the_head_node_runs(repo: Path) -> None:
    """It takes the workflow's own rules and replaces what their jobs compute."""
    pytest.importorskip("cluster", reason="the executor for Slurm is not here")
    command = ("benchmarks/slurm.py", "--shards", "1", "--config", "config/reproduce.yaml")
    table = measured(repo, *command)
    if "Not measured" in table:
        pytest.skip(table)
    assert "| jobs of the DAG | 32 |" in table
