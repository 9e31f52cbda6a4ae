"""Style, types and workflow, as `make check` does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from coder_clip.jobs import RECORDS, jobs
from coder_clip.pipeline.config import load_config
from coder_clip.tracking import stages

pytestmark = pytest.mark.rest

CHECKS = {
    "ruff check": ["ruff", "check"],
    "ruff format": ["ruff", "format", "--check"],
    "mypy": ["mypy"],
    "snakefmt": ["snakefmt", "--check", "Snakefile", "workflow"],
    "snakemake --lint": ["snakemake", "--lint"],
    "reuse lint": ["reuse", "lint", "--lines"],
    "weight": ["python", "-m", "tools.weight"],
}


@pytest.mark.parametrize("name", CHECKS)
def test_clean(repo: Path, name: str) -> None:
    """A contributor's `make check` would be red on a fresh clone."""
    command, *arguments = CHECKS[name]
    tool = Path(sys.executable).parent / command
    done = subprocess.run([str(tool), *arguments], cwd=repo, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def test_dvc_yaml_covers_the_dag(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every output is in one stage, and every stage's outputs are made by a job, with their
    records.
    """
    monkeypatch.chdir(repo)
    t = stages.tracked(stages.DEFAULT)
    every = jobs(load_config(t.config))
    records = f"{t.root}/{RECORDS}"
    paths = [path for job in every for path in (*job.outputs, job.record(records).as_posix())]
    assert all(map(t.out_of, paths))
    stages_of = yaml.safe_load(t.yaml.read_text(encoding="utf-8"))["stages"]
    described = {
        out
        for s in stages_of.values()
        for k in ("outs", "metrics")
        for o in s.get(k, ())
        for out in o
    }
    assert described == {t.out_of(path) for path in paths}


def test_the_files_to_read_before_a_change_exist(repo: Path) -> None:
    """CONTRIBUTING.md would send a newcomer to files that were moved or renamed."""
    text = (repo / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.partition("## What to read")[2].partition("\n## ")[0]
    files = re.findall(r"`([\w/]+\.\w[\w.]*)`", table)
    assert len(files) > 30
    packages = (repo / "packages").glob("*/src/*")
    folders = [repo, repo / "src/coder_clip", *packages]
    missing = [file for file in files if not any((folder / file).is_file() for folder in folders)]
    assert missing == []
