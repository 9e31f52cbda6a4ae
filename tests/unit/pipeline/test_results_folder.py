"""The results folder: results never replace files of the project, however it is named."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from coder_clip.errors import UserError
from coder_clip.pipeline.config import load_config
from coder_clip.pipeline.results_folder import OWN, misplaced

PHASES = """
phases:
  report: {target: report_page, makes: [tables, metrics.json], keeps: [tables, metrics.json]}
"""
FILES = (
    "workflow/phases.yaml",
    "workflow/rules/report.smk",
    "Snakefile",
    "thesis/chapter/one.tex",
    "results/tables/main.csv",
    "results/metrics.json",
    "results/mine/tables/main.csv",
    "figures/tables/main.csv",
    "figures/one.svg",
)


def put(path: Path, text: str = "x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone with a user's own folders in Git."""
    folder = tmp_path / "clone"
    for name in FILES:
        put(folder / name, PHASES if name == "workflow/phases.yaml" else "x")
    for command in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    (folder / "shortcut").symlink_to("thesis")
    return folder


@pytest.mark.parametrize("folder", ["results", "results/mine", "results/mine/a", "other", "größe"])
def test_a_folder_of_its_own_may_hold_results(clone: Path, folder: str) -> None:
    """Tables that Git keeps are no reason to refuse: then nobody could commit any."""
    assert misplaced(folder, clone) == ""


@pytest.mark.parametrize(
    ("folder", "why"),
    [
        (".", "the folder of the Snakefile"),
        ("a/..", "the folder of the Snakefile"),
        ("thesis", "files that Git tracks (thesis/chapter/one.tex)"),
        ("Thesis", "files that Git tracks"),
        ("thesis/chapter", "files that Git tracks"),
        ("thesis/results", "files that Git tracks"),
        ("results/../thesis/chapter/new/results", "files that Git tracks"),
        ("shortcut", "files that Git tracks (thesis/chapter/one.tex)"),
        ("figures", "files that Git tracks (figures/one.svg)"),
        ("results/tables", "files that Git tracks (results/tables/main.csv)"),
        ("results/tables/mine", "files that Git tracks"),
        ("results/metrics.json", "files that Git tracks"),
        ("Snakefile", "files that Git tracks (Snakefile)"),
        ("src/coder_clip", "a folder of the project"),
        ("Data", "a folder of the project"),
        ("tracked/mine", "a folder of the project"),
        (".git", "a name with a dot in front ('.git')"),
        ("results/.hidden/x", "a name with a dot in front ('.hidden')"),
        ("../elsewhere", "outside of this clone"),
        ("results/../../elsewhere", "outside of this clone"),
        ("/elsewhere", "a path of this machine alone"),
    ],
)
def test_results_do_not_come_among_other_files(clone: Path, folder: str, why: str) -> None:
    """`pull` put the files of a remote in the place of the program, without any change of code."""
    assert why in misplaced(folder, clone)


def test_a_copy_without_git_keeps_its_program(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing says there what is tracked: in an archive of a release, or where no git is."""
    monkeypatch.setenv("PATH", "")
    assert misplaced("thesis", clone) == ""
    assert "a folder of the project" in misplaced("src", clone)


def test_outside_of_a_clone_every_folder_may_hold_results(tmp_path: Path) -> None:
    """The library works without a Snakefile, and pulls nothing."""
    for folder in ("data", "/scratch/results", "../results", "src"):
        assert misplaced(folder, tmp_path) == ""


def test_all_folders_of_the_project_are_refused(repo: Path) -> None:
    """A folder that is added later would be open to results in a copy without Git."""
    names = subprocess.run(
        ["git", "ls-files"], cwd=repo, capture_output=True, text=True, check=False
    ).stdout.splitlines()
    folders = {name.split("/")[0] for name in names if "/" in name and not name.startswith(".")}
    if not folders:
        pytest.skip("not a clone")
    assert folders - {"results"} == {f for f in folders if f.lower() in OWN}


def test_every_command_reads_the_configuration_and_refuses(
    clone: Path, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run would write there, too, and not only a pull."""
    monkeypatch.chdir(clone)
    put(clone / "data/README.md")
    (clone / "data/mini").symlink_to(repo / "data/mini")
    put(clone / "config/mine.yaml", "results: thesis\ndatasets: [shapes]\nmodels: [mini]\n")
    with pytest.raises(UserError, match=r"mine\.yaml: results: 'thesis' .*such as results/mine$"):
        load_config("config/mine.yaml")
    monkeypatch.chdir(clone.parent)
    with pytest.raises(UserError, match=r"results: 'thesis' would share 'thesis' with files"):
        load_config(clone / "config/mine.yaml", root=clone)
