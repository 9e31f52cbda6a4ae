"""DVC's own commands drive the same pipeline: repro, comparisons, the graph."""

from __future__ import annotations

import json

import pytest

from project import Project

pytestmark = pytest.mark.rest


def test_repro_after_a_change(toy: Project) -> None:
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    toy.run("dvc", "repro", "--force")
    assert (toy.planned(), toy.stale()) == ([], [])
    toy.commit("6")
    toy.run("coder-clip", "push")
    clone = toy.clone("clone")
    clone.run("coder-clip", "pull")
    assert (clone.planned(), clone.stale()) == ([], [])
    clone.edit("config/reproduce.yaml", "threshold: 6", "threshold: 5")
    assert clone.planned() == ["page", "score", "score"]


def test_repro_stops_at_a_phase_that_is_not_complete(toy: Project) -> None:
    before = toy.entries("scores", "report")
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    (toy / "fail").write_text("m/b.json")
    assert toy.run("dvc", "repro", "--force", ok=False).returncode != 0
    assert toy.entries("scores", "report") == before
    (toy / "fail").unlink()
    toy.run("dvc", "repro", "--force")
    assert (toy.planned(), toy.stale()) == ([], [])


def test_metrics_and_the_graph(toy: Project) -> None:
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 9")
    toy.snakemake()
    changed = json.loads(toy.run("dvc", "metrics", "diff", "--json").stdout)
    assert changed["results/metrics.json"]["a"]["diff"] == 4
    edges = toy.run("dvc", "dag", "--dot").stdout
    assert '"features" -> "scores"' in edges
    assert '"scores" -> "report"' in edges
