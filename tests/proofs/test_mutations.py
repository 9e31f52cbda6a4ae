"""Every deliberate bug of the method is noticed, by a unit test and by a number of the default."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml
from working_copy import working_copy

from benchmarks.mutations import CONFIG, MEASURED


def test_no_bug_survives(repo: Path, tmp_path: Path) -> None:
    """On the results of `make reproduce`; where there are none, they are made in a copy of the repository."""
    results = repo / "results"
    if not all((results / phase).is_dir() for phase in MEASURED):
        work = working_copy(tmp_path / "copy", yaml.safe_load(CONFIG.read_text(encoding="utf-8")))
        work.snakemake(*MEASURED)
        results = work.folder / "results"
    command = [sys.executable, "-m", "benchmarks.mutations", "--results", str(results)]
    done = subprocess.run(command, cwd=repo, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
