"""DVC's own commands see what the certificates name: sources, keys, files."""

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


def test_a_clean_tree_is_clean(toy: Project) -> None:
    """What `record` writes must be to the byte what DVC itself would write."""
    assert status(toy) == {}
    before = toy.lock()
    toy.run("dvc", "commit", "--force")
    assert toy.lock() == before
    stages = yaml.safe_load((toy / "dvc.yaml").read_text())["stages"]
    assert "src/toy/score.py" in stages["scores"]["deps"]
    assert "src/toy/page.py" not in stages["scores"]["deps"]
    assert stages["scores"]["params"] == [{"config/reproduce.yaml": ["threshold"]}]


def test_an_edited_source(toy: Project) -> None:
    """`dvc status` said that all is well, and `dvc repro` kept the old results."""
    toy.edit("src/toy/score.py", "% 100", "% 50")
    assert list(status(toy)) == ["scores"]
    before = (toy / "results/metrics.json").read_bytes()
    toy.run("dvc", "repro")
    assert (toy / "results/metrics.json").read_bytes() != before
    assert (toy.planned(), status(toy)) == ([], {})


def test_a_changed_key(toy: Project) -> None:
    """DVC's users look at `params diff`, and expect `repro` to run what reads the key, no more."""
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    # the report asks for a title, which the file does not have, so any edit of it counts there
    assert list(status(toy)) == ["scores", "report"]
    said = json.loads(toy.run("dvc", "params", "diff", "--json").stdout)
    assert said == {"config/reproduce.yaml": {"threshold": {"old": 5, "new": 6, "diff": 1}}}
    ran = toy.run("dvc", "repro").stdout
    assert "Running stage 'scores'" in ran
    assert "Running stage 'features'" not in ran
    assert (toy.planned(), status(toy)) == ([], {})


def test_a_key_that_the_file_does_not_have(toy: Project) -> None:
    """A key that is added counts as much as one that is changed."""
    with (toy / "config/reproduce.yaml").open("a") as file:
        file.write("title: New\n")
    assert list(status(toy)) == ["report"]
    toy.run("dvc", "repro")
    assert "New" in (toy / "results/report.html").read_text()
    assert (toy.planned(), status(toy)) == ([], {})


def test_a_remark_costs_no_job(toy: Project) -> None:
    """DVC compares whole files; the jobs themselves know better, and the lock is clean again."""
    toy.edit("src/toy/score.py", "import json\n", "# a remark\nimport json\n")
    assert list(status(toy)) == ["scores"]
    before = toy.bytes()
    toy.run("coder-clip", "record")
    assert (status(toy), toy.bytes()) == ({}, before)


def test_a_renamed_source(toy: Project) -> None:
    """DVC stops at a source that is gone, before any run could say that it is not needed; `record`
    writes the new name.
    """
    (toy / "src/toy/common.py").rename(toy / "src/toy/files.py")
    for file in (toy / "src/toy").glob("*.py"):
        file.write_text(file.read_text().replace("from .common", "from .files"))
    stopped = toy.run("dvc", "repro", ok=False)
    assert stopped.returncode != 0
    assert "src/toy/common.py" in stopped.stdout
    toy.run("coder-clip", "record", ok=False)
    toy.run("dvc", "repro")
    assert (toy.planned(), status(toy)) == ([], {})


def test_a_clone_without_results_describes_the_same(toy: Project) -> None:
    """A run of one phase in a fresh clone must not rewrite what the other phases read."""
    clone = toy.clone("fresh")
    before = (clone / "dvc.yaml").read_text()
    clone.snakemake("texts")
    assert (clone / "dvc.yaml").read_text() == before


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
        {"params": ["threshold"]},
        {"params": {"config/reproduce.yaml": 5}},
        {"params": {"config/reproduce.yaml": {5: 6}}},
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


def test_paths_of_a_hostile_lock_are_not_described(toy: Project) -> None:
    """Where certificates are missing, dvc.yaml is written from the lock: DVC would read /etc, and
    replace ${…}.
    """
    document = yaml.safe_load(toy.lock())
    for path in ("/etc/hostname", "../outside", "${x}", ".git/config", "src/toy/score.py"):
        size = {"md5": "0" * 32, "hash": "md5", "size": 1}
        document["stages"]["scores"]["deps"].append({"path": path, **size})
    document["stages"]["scores"]["params"]["config/reproduce.yaml"] |= {"${x}": 1, "*": 2, "a.b": 3}
    (toy / "dvc.lock").write_text(yaml.safe_dump(document))
    for certificate in (toy / "results/certificates/scores").rglob("*.json"):
        certificate.unlink()
    toy.run("coder-clip", "record", ok=False)
    stage = yaml.safe_load((toy / "dvc.yaml").read_text())["stages"]["scores"]
    named = [path for path in stage["deps"] if not path.startswith(("src/toy/", "results/"))]
    rules = "workflow/rules/scores.smk"
    assert set(named) == {"workflow/phases.yaml", rules, "config/reproduce.yaml"}
    assert stage["params"] == [{"config/reproduce.yaml": ["threshold"]}]
