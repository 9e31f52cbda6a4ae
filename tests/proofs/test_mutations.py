"""Every deliberate bug of the method is noticed, by a unit test and by a number of the default."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_no_bug_survives(repo: Path) -> None:
    """Takes minutes, and the results of `make reproduce`."""
    command = [sys.executable, "-m", "benchmarks.mutations"]
    done = subprocess.run(command, cwd=repo, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
