"""Several configurations side by side in one clone, each recorded, shared and merged on its own."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

from project import Project

pytestmark = pytest.mark.rest
MINE = ("--config", "config/mine.yaml")


def other(toy: Project) -> None:
    """A second configuration, run once."""
    text = (toy / "config/reproduce.yaml").read_text()
    (toy / "config/mine.yaml").write_text(
        text.replace("threshold: 5", "threshold: 9") + "results: results/mine\n"
    )
    said = toy.snakemake("--configfile", "config/mine.yaml")
    assert (
        "recorded in DVC: texts, features, scores, report; to share: git add config/mine.yaml"
        in said
    )
    assert "coder-clip push --config config/mine.yaml" in said


def test_two_configurations_side_by_side(toy: Project) -> None:
    before = toy.lock()
    other(toy)
    assert toy.lock() == before
    assert sorted(p.name for p in (toy / "tracked/mine").iterdir()) == ["dvc.lock", "dvc.yaml"]
    stages = yaml.safe_load((toy / "tracked/mine/dvc.yaml").read_text())["stages"]
    assert list(stages) == ["texts", "features", "scores", "report"]
    toy.commit("mine")
    assert toy.stale() == []
    assert "mine" in toy.run("dvc", "metrics", "show").stdout
    toy.run("coder-clip", "push", *MINE)
    shown = toy.run("coder-clip", "status", *MINE).stdout.splitlines()[1:5]
    assert [line.split()[1:5] for line in shown] == [
        [files, "yes", "yes", "yes"] for files in ("2/2", "2/2", "4/4", "3/3")
    ]
    clone = toy.clone("clone")
    clone.run("coder-clip", "pull", *MINE)
    assert not (clone / "results/texts").exists()  # the default's are not downloaded
    assert "Nothing to be done" in clone.snakemake("--configfile", "config/mine.yaml")
    assert clone.bytes("results/mine") == toy.bytes("results/mine")
    clone.run("coder-clip", "pull")
    assert clone.planned() == []
    assert clone.stale() == []
    assert clone.git("status", "--short") == ""


@pytest.mark.parametrize("place", ["absolute", "relative"])
def test_a_model_in_another_folder_is_read_and_not_for_git(
    toy: Project, tmp_path: Path, place: str
) -> None:
    """Git was asked about a file outside of the repository, and the line about sharing was lost."""
    elsewhere = tmp_path / "weights.bin"
    shutil.move(toy / "data/weights.bin", elsewhere)
    named = str(elsewhere) if place == "absolute" else os.path.relpath(elsewhere, toy.folder)
    toy.edit("workflow/features.smk", "data/weights.bin", named)
    toy.edit("src/toy/feature.py", "data/weights.bin", named)
    said = toy.snakemake()
    assert "recorded in DVC: features; to share: git add dvc.lock src/toy/feature.py" in said
    assert toy.planned() == []


def test_a_conflict_in_one_configuration_is_settled_there(toy: Project) -> None:
    other(toy)
    toy.commit("mine")
    lock = toy.lock()
    toy.git("checkout", "--quiet", "-b", "theirs")
    toy.edit("config/mine.yaml", "words: 3", "words: 2")
    toy.snakemake("--configfile", "config/mine.yaml")
    toy.commit("words")
    toy.git("checkout", "--quiet", "main")
    toy.run("coder-clip", "pull", *MINE)
    toy.edit("config/mine.yaml", "threshold: 9", "threshold: 8")
    toy.snakemake("--configfile", "config/mine.yaml")
    toy.commit("threshold")
    assert toy.run("git", "merge", "theirs", ok=False).returncode != 0
    said = toy.run("coder-clip", "merge", *MINE, ok=False).stdout
    if "settle config/mine.yaml first" in said:
        text = (toy / "config/mine.yaml").read_text()
        kept = re.sub(
            r"<<<<<<<.*?>>>>>>> \w+\n", "words: 2\nscale: 2\nthreshold: 8\n", text, flags=re.S
        )
        (toy / "config/mine.yaml").write_text(kept)
        toy.git("add", "config/mine.yaml")
        said = toy.run("coder-clip", "merge", *MINE).stdout
    assert "texts: theirs" in said
    assert "a run makes again: scores, report" in said
    assert toy.lock() == lock
    assert toy.planned() == []


def test_the_printed_line_shares_all_that_was_edited(toy: Project) -> None:
    """Whoever leaves out the edited source makes the colleague run everything again."""
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    toy.edit("data/a.txt", "red", "green")
    toy.edit("src/toy/score.py", "% 100", "% 50")
    toy.edit("Snakefile", "# A pipeline", "# The pipeline")
    (toy / "unrelated.txt").write_text("x")
    said = toy.snakemake()
    line = re.search(r"to share: (git add .*) && git commit && (coder-clip push) && git push", said)
    assert line, said
    toy.run("sh", "-c", line[1])
    toy.git("commit", "--quiet", "-m", "shared")
    toy.run(*line[2].split())
    assert toy.git("status", "--short") == "?? unrelated.txt\n"
    clone = toy.clone("clone")
    clone.run("coder-clip", "pull")
    assert (clone.planned(), clone.stale()) == ([], [])


def test_two_configurations_with_the_same_results_are_told_at_the_start(toy: Project) -> None:
    """The second overwrote the results of the first, and that was said when it had."""
    text = (toy / "config/reproduce.yaml").read_text()
    (toy / "config/mine.yaml").write_text(text.replace("scale: 2", "scale: 3"))
    said = toy.snakemake("-n", "--configfile", "config/mine.yaml")
    assert "config/mine.yaml would be recorded over config/reproduce.yaml" in said, "before any job"
