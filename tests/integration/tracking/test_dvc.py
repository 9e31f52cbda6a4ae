"""DVC's own commands drive the same pipeline: repro, experiments, comparisons."""

from __future__ import annotations

import json

import pytest
from project import Project

pytestmark = pytest.mark.rest


def test_repro_after_a_change(toy: Project) -> None:
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    said = toy.run("dvc", "repro").stdout
    assert "Stage 'features' didn't change, skipping" in said
    assert (toy.planned(), toy.stale()) == ([], [])
    toy.commit("6")
    toy.run("coder-clip", "push")
    clone = toy.clone("clone")
    clone.run("coder-clip", "pull")
    assert (clone.planned(), clone.stale()) == ([], [])
    clone.edit("config/reproduce.yaml", "threshold: 6", "threshold: 5")
    assert clone.planned() == ["page", "score", "score"]


def test_repro_stops_at_a_phase_that_is_not_complete(toy: Project) -> None:
    before = toy.lock()
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    (toy / "fail").write_text("m/b.json")
    assert toy.run("dvc", "repro", ok=False).returncode != 0
    assert toy.lock() == before
    (toy / "fail").unlink()
    toy.run("dvc", "repro")
    assert (toy.planned(), toy.stale()) == ([], [])


def test_experiments(toy: Project) -> None:
    """In the workspace, elsewhere, and with a data set less; metrics and parameters are compared."""
    toy.run("dvc", "exp", "run", "--name", "nine", "-S", "config/reproduce.yaml:threshold=9")
    assert (toy.planned(), toy.stale()) == ([], [])
    changed = json.loads(toy.run("dvc", "metrics", "diff", "--json").stdout)
    assert changed["results/metrics.json"]["a"]["diff"] == 4
    changed = json.loads(toy.run("dvc", "params", "diff", "--json").stdout)
    assert changed == {"config/reproduce.yaml": {"threshold": {"old": 5, "new": 9, "diff": 4}}}

    toy.run("dvc", "exp", "run", "--temp", "--name", "away", "-S", "config/reproduce.yaml:scale=4")
    assert (toy.planned(), toy.stale()) == ([], [])  # here nothing changed
    toy.run("dvc", "exp", "apply", "away")
    assert (toy.planned(), toy.stale()) == ([], [])

    toy.run("dvc", "exp", "run", "--name", "less", "-S", "config/reproduce.yaml:sets=[a]")
    assert (toy.planned(), toy.stale()) == ([], [])
    assert not (toy / "results/scores/m/b.json").exists()
    assert (toy / "results-set-aside/results/scores/m/b.json").exists()
    shown = toy.run("dvc", "exp", "show", "--csv", "--only-changed").stdout
    for name in ("nine", "away", "less"):
        assert name in shown
    toy.run("dvc", "exp", "apply", "nine")
    assert (toy.planned(), toy.stale()) == ([], [])


def test_an_experiment_keeps_the_layout_of_the_configuration(toy: Project) -> None:
    """-S keeps comments alone; a value that was changed with an editor changes nothing else."""
    config = toy / "config/reproduce.yaml"
    text = config.read_text().replace("sets: [a, b]", "sets:\n    [a,  b]   # two")
    config.write_text(text)
    toy.snakemake()
    toy.commit("a comment")
    config.write_text(text.replace("threshold: 5", "threshold: 6"))
    toy.run("dvc", "exp", "run", "--name", "six")
    assert config.read_text() == text.replace("threshold: 5", "threshold: 6")
    assert (toy.planned(), toy.stale()) == ([], [])
    toy.run("dvc", "exp", "run", "--name", "seven", "-S", "config/reproduce.yaml:threshold=7")
    assert "# two" in config.read_text()
    toy.git("checkout", "--quiet", ".")
    toy.run("dvc", "exp", "apply", "six")
    assert config.read_text() == text.replace("threshold: 5", "threshold: 6")
