"""A colleague's clone, pulled: nothing to do; and after a change both tools name what depends on
it.
"""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import pytest
import yaml

from project import Project, make_toy

REST = pytest.mark.rest
SCORES = ["page", "score", "score"]
EVERYTHING = ["feature", "feature", *SCORES, "text", "text"]


def test_a_pulled_clone_has_nothing_to_do(toy: Project, clone: Project) -> None:
    assert clone.planned() == []
    assert clone.stale() == []
    assert (clone / "results/report.html").read_bytes() == (
        toy / "results/report.html"
    ).read_bytes()
    assert clone.git("status", "--short") == ""


def test_a_clone_with_other_ends_of_lines_has_nothing_to_do(toy: Project) -> None:
    """With Git's core.autocrlf=true, as on Windows, each job of a fresh clone was stale."""
    folder = toy.folder.parent / "crlf"
    toy.git("clone", "--quiet", "-c", "core.autocrlf=true", str(toy.folder), str(folder))
    clone = Project(folder, toy.programs)
    clone.run("coder-clip", "pull")
    assert clone.planned() == []
    assert clone.git("status", "--short") == ""


def test_status_says_what_would_rerun_and_why(toy: Project) -> None:
    def lines() -> dict[str, str]:
        shown = toy.run("coder-clip", "status").stdout.splitlines()[1:]
        return {line.split()[0]: " ".join(line.split()[1:]) for line in shown}

    before = lines()
    assert before["texts"] == before["features"] == "2/2 yes yes yes"
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    changed = lines()
    assert (
        changed["scores"]
        == "4/4 no an earlier version yes a parameter changed (threshold 5 → 6) (4)"
    )
    assert changed["report"] == "3/3 no an earlier version yes follows from a job before it (3)"
    assert changed["features"] == before["features"]
    toy.snakemake()
    recorded = lines()
    assert recorded["scores"] == "4/4 yes yes no"  # recorded and not pushed
    assert recorded["features"] == before["features"]
    (toy / "results/scores/m/a.json").unlink()
    assert lines()["scores"] == "3/4 no an earlier version no missing (1)"


def test_status_names_phases_that_other_versions_made(toy: Project) -> None:
    """Versions make no job run again, so nothing else says that a clone mixes two."""
    record = toy / "results/certificates/scores/score/a.json"
    made = json.loads(record.read_text())
    made["versions"]["python"] = "2.7"
    record.unlink()  # a link into the cache
    record.write_text(json.dumps(made))
    said = toy.run("coder-clip", "status").stdout
    assert f"made with python 2.7, here {platform.python_version()}: scores\n" in said


ALL = ["features", "report", "scores", "texts"]
# file, edit, rules that run, phases that DVC calls changed before the run: all depend on all code
# and on the whole configuration
CHANGES = {
    "parameter": ("config/reproduce.yaml", "threshold: 5", "threshold: 6", SCORES, ALL),
    "source": ("src/toy/common.py", "asked to", "told to", EVERYTHING, ALL),
    "text": ("data/a.txt", "red", "green", ["feature", "page", "score", "text"], ["texts"]),
}


@pytest.mark.parametrize(
    "change", ["text", *(pytest.param(c, marks=REST) for c in CHANGES if c != "text")]
)
def test_a_change_reruns_what_depends_on_it(toy: Project, change: str) -> None:
    path, old, new, rules, phases = CHANGES[change]
    clone = toy.clone("clone")
    clone.run("dvc", "pull", "--quiet")
    assert clone.planned() == []
    lock = clone.lock()
    clone.edit(path, old, new)
    # older than the pulled files: only the content differs
    os.utime(clone / path, (1_600_000_000, 1_600_000_000))
    assert clone.planned() == rules
    assert clone.stale() == phases
    clone.snakemake()
    assert (clone.planned(), clone.stale()) == ([], [])
    clone.edit(path, new, old)  # and back: at most the same jobs
    assert set(clone.planned()) <= set(rules)
    clone.snakemake()
    assert (clone.planned(), clone.stale(), clone.lock()) == ([], [], lock)


def test_a_run_with_nothing_to_do_records(toy: Project) -> None:
    recorded = toy.lock()
    assert "coder-clip:" not in toy.snakemake()  # as all is
    assert "Nothing to be done" in toy.snakemake("--until", "text")
    assert toy.git("status", "--short") == ""
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    toy.snakemake(DVC_STAGE="none")  # records nothing at its end
    assert toy.lock() == recorded
    toy.snakemake("-n")
    assert toy.lock() == recorded
    assert "Nothing to be done" in toy.snakemake()
    said = toy.run("coder-clip", "record").stdout
    assert (
        "recorded in DVC: scores, report; to share: git add config/reproduce.yaml dvc.lock" in said
    )
    assert toy.stale() == []


@pytest.mark.rest
def test_a_partial_pull(toy: Project) -> None:
    """What is missing is behind files that are here and current; a change that concerns it is seen
    all the same.
    """
    outs = yaml.safe_load(toy.lock())["stages"]["features"]["outs"]
    features = next(out["md5"] for out in outs if out["path"] == "results/features")
    (toy.folder.parent / f"store/files/md5/{features[:2]}/{features[2:]}").unlink()
    clone = toy.clone("clone")
    assert "phase features is not here" in clone.run("coder-clip", "pull", ok=False).stdout
    assert clone.planned() == []
    (clone / "data/weights.bin").touch()  # a large input of what is missing
    assert clone.planned() == []
    before = clone.lock()
    said = clone.run("coder-clip", "record", ok=False).stdout
    assert "phase scores is not recorded: waits for features" in said
    assert "not made yet" not in said, "they are recorded, so a pull brings them"
    assert clone.lock() == before
    clone.edit("config/reproduce.yaml", "scale: 2", "scale: 3")  # of what is missing
    assert clone.planned() == ["feature", "feature", "page", "score", "score"]
    clone.edit("config/reproduce.yaml", "scale: 3", "scale: 2")
    clone.edit("src/toy/feature.py", "seed[:1_500_000]", "seed[:1_400_000]")
    os.utime(clone / "src/toy/feature.py", (1_600_000_000, 1_600_000_000))
    assert clone.honest() == ["feature", "feature", "page", "score", "score"]


@pytest.mark.rest
def test_a_run_of_a_part(tmp_path: Path) -> None:
    toy = make_toy(tmp_path / "new")
    assert (
        toy.run("coder-clip", "record", ok=False).stdout
        == "no results yet, so there is nothing to record\n"
    )
    said = toy.snakemake("results/texts/a.json", "results/texts/b.json")
    assert "not made yet, so not recorded: features, scores, report" in said
    assert "metrics.json" not in said.split("recorded in DVC")[0].split("coder-clip:")[-1]
    assert "results/texts" in toy.lock()
    (toy / "results/texts/b.json").unlink()
    said = toy.run("coder-clip", "record", ok=False).stdout
    assert "phase texts is not recorded: results/texts/b.json missing" in said


@pytest.mark.rest
def test_what_this_configuration_does_not_make_is_not_recorded(toy: Project) -> None:
    before = toy.lock()
    toy.edit("config/reproduce.yaml", "sets: [a, b]", "sets: [a]")
    said = toy.snakemake()
    assert "results/scores/m/b.csv (and 1 more) is not made by this configuration" in said
    assert "results/scores/m/b" in before or toy.stale()  # the old lock entry of scores stays
    toy.run("coder-clip", "record", "--set-aside")
    assert (toy / "results-set-aside/results/scores/m/b.json").is_file()
    assert (toy.planned(), toy.stale()) == ([], [])
    toy.commit("only a")
    toy.run("coder-clip", "push")
    clone = toy.clone("clone")
    clone.run("coder-clip", "pull")
    assert (clone.planned(), clone.stale()) == ([], [])
    assert not (clone / "results/scores/m/b.json").exists()
