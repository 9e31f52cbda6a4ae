"""What a run ran on stands beside the results, and in none of them."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import torch

from coder_clip.foundation.artifacts import Paths
from coder_clip.pipeline import environment


def test_what_a_run_ran_on_in_a_file_and_in_a_line(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    assert environment.line(paths) is None, "who pulled results has not made them"
    environment.write(paths.environment, "cpu")
    found = json.loads((tmp_path / "environment.json").read_text())
    assert found["packages"]["torch"] == torch.__version__
    line = environment.line(paths)
    assert line is not None
    for part in (
        platform.python_version(),
        f"torch {torch.__version__}",
        found["processor"],
        "on cpu",
    ):
        assert part in line
    paths.environment.write_text("{}")
    assert environment.line(paths) is None


def test_git_ignores_it(repo: Path) -> None:
    """Two people's descriptions of their machines would be in conflict at every merge."""
    assert "/results/*" in (repo / ".gitignore").read_text().splitlines()
    assert "results/environment.json" not in (repo / "dvc.yaml").read_text()
