"""The benchmarks that run commands of the workflow still run: `make benchmark` ended in the middle."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.rest


def test_the_benchmark_of_tracking_runs(repo: Path) -> None:
    """Its rules were written as the workflow's were once, and Snakemake could plan no job."""
    done = subprocess.run(
        [sys.executable, "benchmarks/tracking.py", "--outputs", "4"],
        cwd=repo,
        env={**os.environ, "PYTHONPATH": "src"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "| record, one output changed |" in done.stdout
