"""Several configurations side by side in one clone, each recorded, shared and merged on its own."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

from project import JOB, Project

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
    toy.edit("src/toy/jobs.py", "data/weights.bin", named)
    said = toy.snakemake()
    shared = "git add dvc.lock dvc.yaml src/toy/jobs.py"  # dvc.yaml names what jobs read
    assert f"recorded in DVC: features; to share: {shared}" in said
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
    said = toy.run("coder-clip", "pull", *MINE, ok=False).stdout
    assert "tracked/mine/dvc.lock is in conflict; 'git checkout --ours tracked/mine &&" in said
    toy.git("checkout", "--theirs", "tracked/mine")
    toy.git("add", "tracked/mine")
    toy.git("commit", "--quiet", "-m", "both")
    toy.run("coder-clip", "pull", *MINE)
    said = toy.snakemake("--configfile", "config/mine.yaml")
    assert sorted(rule for rule in JOB.findall(said) if rule != "all") == ["page", "score", "score"]
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


# ---- what changed in between stops nobody


def agree(toy: Project, *config: str) -> None:
    """Every command ends well, and has nothing left to say."""
    for command in ("record", "push", "pull", "status"):
        toy.run("coder-clip", command, *config)
    assert "everything is recorded in DVC" in toy.run("coder-clip", "record", *config).stdout


def test_results_in_another_folder_are_recorded(toy: Project) -> None:
    """All commands refused; only deleting dvc.yaml and dvc.lock helped, and nothing said so."""
    toy.run("sh", "-c", "echo 'results: results/new' >> config/reproduce.yaml")
    said = toy.snakemake()
    assert "left out of dvc.lock: 'results/certificates/texts' is named as an output of" in said
    assert "(and 3 more)" in said
    assert "recorded in DVC: texts, features, scores, report; to share" in said
    assert "results/texts" not in toy.lock()
    agree(toy)
    assert (toy.planned(), toy.stale()) == ([], [])


def test_a_removed_phase_leaves_the_record(toy: Project) -> None:
    """Its entry, which nothing makes any more, was kept for ever."""
    toy.edit("dvc.lock", "  texts:", "  gone:\n    cmd: x\n    outs: []\n  texts:")
    toy.edit("dvc.yaml", "stages:", "stages:\n  gone: {cmd: x}")
    toy.commit("a phase that is gone")
    agree(toy)
    for name in ("dvc.lock", "dvc.yaml"):
        assert list(yaml.safe_load((toy / name).read_text())["stages"]) == [
            "texts",
            "features",
            "scores",
            "report",
        ]


BROKEN = {
    "half-edited": lambda toy: (toy / "config/mine.yaml").write_text("results: ["),
    "a record that is a pipe": lambda toy: (
        (toy / "tracked/mine/dvc.lock").unlink(),
        os.mkfifo(toy / "tracked/mine/dvc.lock"),
    ),
    "a record of the default's results": lambda toy: (toy / "tracked/mine/dvc.lock").write_text(
        (toy / "tracked/mine/dvc.lock").read_text().replace("results/mine/", "results/")
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_another_s_broken_configuration_stops_nobody_else(toy: Project, what: str) -> None:
    """One person's half-edited file stopped record, pull, push and status of the default for all."""
    other(toy)
    toy.commit("mine")
    os.mkfifo(toy.folder.parent / "pipe")  # opening it would wait for ever
    BROKEN[what](toy)
    agree(toy)
    done = toy.run("coder-clip", "status", *MINE, ok=False)
    assert "Traceback" not in done.stdout
    if what == "half-edited":
        assert done.returncode == 1
        assert len(done.stdout.splitlines()) == 1
