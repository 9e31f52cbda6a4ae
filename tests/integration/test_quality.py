"""Style, types and workflow, as `make check` does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CHECKS = {
    "ruff check": ["ruff", "check"],
    "ruff format": ["ruff", "format", "--check"],
    "mypy": ["mypy"],
    "snakefmt": ["snakefmt", "--check", "Snakefile", "workflow"],
    "snakemake --lint": ["snakemake", "--lint"],
}


@pytest.mark.parametrize("name", CHECKS)
def test_clean(repo: Path, name: str) -> None:
    command, *arguments = CHECKS[name]
    tool = Path(sys.executable).parent / command
    done = subprocess.run([str(tool), *arguments], cwd=repo, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
