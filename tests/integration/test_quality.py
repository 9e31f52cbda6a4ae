"""Style, types and workflow, as `make check` does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from coder_clip.tracking import stages
from coder_clip.tracking.plan import plan

pytestmark = pytest.mark.rest

RULE = re.compile(r"^\s*(?:local)?(?:rule|checkpoint) (\w+):", re.M)
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
    certificates.
    """
    monkeypatch.chdir(repo)
    t = stages.tracked(stages.DEFAULT)
    jobs = plan(t.config).jobs
    paths = [path for job in jobs for path in (*job.outputs, job.certificate(t.root).as_posix())]
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


def test_every_rule_is_judged_and_certified(repo: Path) -> None:
    """A rule without these lines would miss every edit, or vouch for files of another rule."""
    for path in sorted((repo / "workflow/rules").glob("*.smk")):
        for name, body in _rules(path.read_text()):
            if "output:" in body and "FETCHED" not in body:  # what was downloaded is not a result
                for line in ("outdated(),", "job=job(),", "certify("):
                    assert line in body, f"{path.name}: rule {name} lacks {line}"


def _rules(text: str) -> list[tuple[str, str]]:
    parts = RULE.split(text)
    return list(zip(parts[1::2], parts[2::2], strict=True))


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
