"""DVC's own commands: what they see of sources, rules, the configuration and files."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import yaml

from project import Project

pytestmark = pytest.mark.rest


def status(toy: Project) -> dict[str, Any]:
    """What `dvc status` says: stage -> what changed."""
    found: dict[str, Any] = json.loads(toy.run("dvc", "status", "--json").stdout.splitlines()[-1])
    return found


ALL = ["texts", "features", "scores", "report"]


def test_a_clean_tree_is_clean(toy: Project) -> None:
    """What `record` writes must be to the byte what DVC itself would write."""
    assert status(toy) == {}
    before = toy.lock()
    toy.run("dvc", "commit", "--force")
    assert toy.lock() == before


def test_an_edited_source(toy: Project) -> None:
    """`dvc status` said that all is well, and `dvc repro` kept the old results."""
    toy.edit("src/toy/score.py", "% 100", "% 50")
    assert list(status(toy)) == ALL
    before = (toy / "results/metrics.json").read_bytes()
    toy.run("dvc", "repro")
    assert (toy / "results/metrics.json").read_bytes() != before
    assert (toy.planned(), status(toy)) == ([], {})


def test_an_edited_rule(toy: Project) -> None:
    """What a job is called with decides results as much as code does."""
    toy.edit("src/toy/jobs.py", '"plus": 0', '"plus": 1')
    assert list(status(toy)) == ALL
    assert toy.planned() == ["page", "score", "score"]
    toy.run("dvc", "repro")
    assert (toy.planned(), status(toy)) == ([], {})


def test_a_remark_and_a_renamed_source_cost_no_job(toy: Project) -> None:
    """DVC compares whole files; the jobs themselves know better, and the lock is clean again."""
    before = toy.bytes()
    toy.edit("src/toy/score.py", "import json\n", "# a remark\nimport json\n")
    assert list(status(toy)) == ALL
    assert "Nothing to be done" in toy.run("dvc", "repro").stdout
    assert (status(toy), toy.bytes()) == ({}, before)
    (toy / "src/toy/common.py").rename(toy / "src/toy/files.py")
    for file in (toy / "src/toy").glob("*.py"):
        file.write_text(file.read_text().replace("from .common", "from .files"))
    toy.run("dvc", "repro")
    assert (toy.planned(), status(toy), toy.bytes()) == ([], {}, before)


def test_dvc_yaml_stays_as_it_is(toy: Project) -> None:
    """A run of one phase in a fresh clone, and one of edited code, leave it alone."""
    clone = toy.clone("fresh")
    before = (clone / "dvc.yaml").read_text()
    clone.edit("src/toy/score.py", "% 100", "% 50")
    clone.snakemake("texts")
    clone.snakemake()
    assert (clone / "dvc.yaml").read_text() == before


def test_a_lock_of_an_earlier_version(toy: Project) -> None:
    """It names modules, and keys with their values: it is pulled as before, and recorded anew."""
    document = yaml.safe_load(toy.lock())
    for stage in document["stages"].values():
        module = {"path": "src/toy/text.py", "hash": "md5", "md5": "0" * 32, "size": 1}
        stage["deps"] = [module, *(d for d in stage["deps"] if d["path"] != "src")]
        stage["params"] = {"config/reproduce.yaml": {"threshold": 5, "title": "not there"}}
    expected = toy.lock()
    (toy / "dvc.lock").write_text(yaml.safe_dump(document, sort_keys=False))
    toy.commit("an earlier version")
    clone = toy.clone("clone")
    assert "here now: texts, features, scores, report" in clone.run("coder-clip", "pull").stdout
    assert clone.planned() == []
    assert "everything is recorded" in clone.run("coder-clip", "record").stdout
    assert (clone.lock(), status(clone)) == (expected, {})


def test_files_that_no_job_makes_stop_repro(toy: Project) -> None:
    """DVC would record them with the phase, and a colleague would pull them."""
    (toy / "results/scores/m/old.json").write_text("{}")
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    done = toy.run("dvc", "repro", ok=False)
    assert done.returncode != 0
    assert "results/scores/m/old.json is not made by this configuration" in done.stdout
    assert "record --set-aside" in done.stdout


def test_an_edit_during_repro_is_not_recorded(toy: Project) -> None:
    """DVC would call results current that nobody can say the sources of."""
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    (toy / "pause").write_text("scores/m/b.json")
    before = toy.entries("scores")
    running = toy.start("dvc", "repro")
    deadline = time.monotonic() + 120
    while not (toy / "hanging").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    toy.edit("src/toy/score.py", "% 100", "% 50")
    (toy / "pause").unlink()
    said, _ = running.communicate(timeout=300)
    assert running.returncode != 0
    assert "src/toy/score.py changed while it was made" in said
    assert toy.entries("scores") == before


@pytest.mark.parametrize(
    "entry",
    [
        {"deps": [{"path": ["a"], "md5": "0" * 32, "hash": "md5", "size": 1}]},
        {"deps": [{"md5": "0" * 32, "hash": "md5", "size": 1}]},
    ],
)
def test_hostile_entries(toy: Project, entry: dict[str, Any]) -> None:
    """A lock comes from others: one line, and nothing is changed."""
    document = yaml.safe_load(toy.lock())
    document["stages"]["scores"] |= entry
    (toy / "dvc.lock").write_text(yaml.safe_dump(document))
    before = toy.bytes()
    done = toy.run("coder-clip", "pull", ok=False)
    assert done.returncode == 1
    assert len(done.stdout.strip().splitlines()) == 1, done.stdout
    assert "nothing was changed" in done.stdout
    assert toy.bytes() == before


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
