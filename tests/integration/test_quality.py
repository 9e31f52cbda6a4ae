"""Style, types and workflow, as `make check` does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from coder_clip.tracking.snakemake import plan

from coder_clip.tracking import stages

RULE = re.compile(r"^\s*(?:local)?(?:rule|checkpoint) (\w+):", re.M)
CHECKS = {
    "ruff check": ["ruff", "check"],
    "ruff format": ["ruff", "format", "--check"],
    "mypy": ["mypy"],
    "snakefmt": ["snakefmt", "--check", "Snakefile", "workflow"],
    "snakemake --lint": ["snakemake", "--lint"],
}


@pytest.mark.parametrize(
    "name", [pytest.param(c, marks=pytest.mark.rest if c == "mypy" else []) for c in CHECKS]
)
def test_clean(repo: Path, name: str) -> None:
    command, *arguments = CHECKS[name]
    tool = Path(sys.executable).parent / command
    done = subprocess.run([str(tool), *arguments], cwd=repo, capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]


def test_dvc_yaml_is_that_of_the_dag(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every output in one stage, every stage with the sources, texts and rule files it depends on."""
    if subprocess.run(
        ["git", "diff", "--quiet", "HEAD", "--", "src", "workflow", "dvc.yaml"], cwd=repo
    ).returncode:
        pytest.skip("sources or rules are being edited")
    monkeypatch.chdir(repo)
    t = stages.tracked(stages.DEFAULT)
    made = stages.pipeline(t, plan(t.config))
    assert yaml.safe_load(t.yaml.read_text()) == made, "'coder-clip record' writes it"


def test_every_rule_lists_its_sources(repo: Path) -> None:
    """A rule without them would miss an edit after a pull."""
    for path in sorted((repo / "workflow/rules").glob("*.smk")):
        for name, body in _rules(path.read_text()):
            if "output:" in body and "FETCHED" not in body:  # what was downloaded is not a result
                assert "sources=" in body, f"{path.name}: rule {name}"


def _rules(text: str) -> list[tuple[str, str]]:
    parts = RULE.split(text)
    return list(zip(parts[1::2], parts[2::2], strict=True))
