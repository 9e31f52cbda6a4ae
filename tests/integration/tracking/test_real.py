"""The real pipeline, on the shapes alone: recorded, pushed, cloned, pulled, compared."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from project import BIN, ROOT, Project
from working_copy import SHAPES_ALONE, Work, few_pictures, python_path, working_copy

pytestmark = pytest.mark.rest

PAGES = ("README.md", "docs/sharing.md")
RUN = ("--profile", "workflow/profiles/default", "--configfile", "config/reproduce.yaml")


def plan(project: Project) -> set[str]:
    """Rules that would run, without the groups of targets."""
    said = project.run(
        "snakemake", "-n", "--configfile", "config/reproduce.yaml", "--cores", "1"
    ).stdout
    if "Nothing to be done" in said:
        return set()
    table = said.split("Job stats:")[1].split("\n\n")[0].splitlines()[3:]
    return {line.split()[0] for line in table if line.split()} - {"all", "total"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The repository with a small configuration, run, recorded and pushed. Not to be changed."""
    folder = tmp_path_factory.mktemp("real") / "work"
    work = working_copy(folder, SHAPES_ALONE)
    (folder / work.config).rename(folder / "config/reproduce.yaml")
    few_pictures(folder)
    project = Project(folder, PYTHONPATH=python_path(folder))
    project.git("init", "--quiet", "--initial-branch", "main")
    project.run("dvc", "remote", "add", "--quiet", "--default", "store", "../store")
    project.commit("the pipeline")
    Work(folder, "config/reproduce.yaml").make()
    said = project.run("coder-clip", "record").stdout
    assert "recorded in DVC: texts, image_features" in said
    assert "is not recorded" not in said
    project.commit()
    project.run("coder-clip", "push")
    return project


@pytest.fixture
def clone(made: Project, tmp_path: Path) -> Project:
    return cloned(made, tmp_path / "clone")


def bare(made: Project, folder: Path) -> Project:
    """A colleague's clone of it, as Git makes it."""
    made.run("git", "clone", "--quiet", str(made.folder), str(folder))
    clone = Project(folder, PYTHONPATH=python_path(folder))
    clone.run(
        "dvc", "remote", "modify", "--local", "store", "url", str(made.folder.parent / "store")
    )
    return clone


def cloned(made: Project, folder: Path) -> Project:
    """A colleague's clone of it, pulled."""
    clone = bare(made, folder)
    clone.run("coder-clip", "pull")
    return clone


def test_the_pulled_clone_has_nothing_to_do(clone: Project) -> None:
    assert plan(clone) == set()
    assert clone.stale() == []
    assert (clone / "results/report.html").is_file()
    assert (clone / "results/figures/few_shot.pdf").is_file()
    assert clone.git("status", "--short") == ""
    shown = clone.run("coder-clip", "status").stdout.splitlines()
    assert [line.split()[2:5] for line in shown[1:11]] == [["yes", "yes", "yes"]] * 10


def test_the_documented_line_works_in_a_bare_clone(made: Project, tmp_path: Path) -> None:
    """A colleague has no coder-clip before the first `make`. Installed here, so that nothing is
    downloaded.
    """
    begin = "git clone … && cd … && "
    lines = [
        x for page in PAGES for x in (ROOT / page).read_text().splitlines() if x.startswith(begin)
    ]
    assert len(lines) == len(PAGES)
    (line,) = {x.split("#")[0].strip() for x in lines}
    clone = bare(made, tmp_path / "clone")
    (clone / ".venv").mkdir()
    (clone / ".venv/bin").symlink_to(BIN)
    (clone / ".venv/installed").write_text(f"{clone.folder}\n")
    path = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if Path(p) != BIN)
    assert shutil.which("coder-clip", path=path) is None
    said = clone.run("sh", "-c", line.removeprefix(begin), PATH=path).stdout
    assert "everything is recorded in DVC" in said or "Nothing to be done" in said
    assert plan(clone) == set()


def test_numbers_are_explained(clone: Project) -> None:
    """`explain` would not trace a number in a clone that only pulled."""
    shutil.rmtree(clone / ".snakemake")  # from what came with the pull alone
    (line,) = re.findall(
        r"^coder-clip explain .*", (ROOT / "docs/sharing.md").read_text(), flags=re.M
    )
    command = line.split("#")[0].replace("rare", "shapes").split()
    found = json.loads(clone.run(*command, "--json").stdout)
    made = [a["path"] for a in found["artefacts"]]
    assert made[0] == "results/tables/zero_shot.csv"
    assert "results/image_features/mini/shapes/test.safetensors" in made
    assert not any("adapter" in path for path in made)
    assert found["encoders"][0]["weights_sha256"]
    assert {t["path"] for t in found["texts"]} == {
        "results/texts/shapes.json",
        "results/one_to_one/shapes.json",
    }
    assert found["changed"] == []
    assert all(a["changed"] == "" for a in found["artefacts"])
    params = {a["path"]: a["params"] for a in found["artefacts"]}
    assert params["results/rerank/mini/shapes.json"]["top_k"] == 5
    assert params["results/rerank/mini/shapes.json"]["threshold"] == 0.1
    commit = clone.git("log", "-1", "--format=%h", "--", "dvc.lock").strip()
    assert f"recorded by commit {commit}" in found["code"]
    assert found["versions"]
    assert len(clone.run(*command).stdout.splitlines()) <= 25
    mixed = [
        "explain",
        "results/tables/settings.csv",
        "1",
        "value",
        "--config",
        "config/reproduce.yaml",
        "--json",
    ]
    behind = {
        a["path"].split("/")[1]
        for a in json.loads(clone.run("coder-clip", *mixed).stdout)["artefacts"]
    }
    assert {"tables", "zero_shot", "rerank", "adapter", "image_features"} <= behind
    table = (clone / "results/tables/zero_shot.csv").read_bytes()
    clone.edit("data/texts/shapes.json", '"synonym"', ' "synonym"')
    clone.edit("config/reproduce.yaml", "top_k: 5", "top_k: 4")
    again = clone.run(*command).stdout
    assert "changed since: a parameter changed (top_k 5 → 4)" in again
    assert "data/texts/shapes.json" in [
        x.split()[0] for x in again.splitlines() if "  changed since" in x
    ]
    clone.git("checkout", "--quiet", ".")
    clone.run(*found["again"].split())  # the command it gives makes the same number
    assert (clone / "results/tables/zero_shot.csv").read_bytes() == table
    (clone / "results/tables/zero_shot.csv").write_bytes(table + b"\n")
    said = clone.run(*command, ok=False)
    assert said.returncode == 1
    assert (
        "results/tables/zero_shot.csv was edited since it was made; 'snakemake results/tables"
        in said.stdout
    )


def test_pulled_files_need_no_run_after_a_killed_one(made: Project, tmp_path: Path) -> None:
    """Its locks are in the way: a look leaves them, a run removes them first."""
    clone = bare(made, tmp_path / "clone")
    clone.run("dvc", "pull", "--quiet")
    lock = clone / ".snakemake/locks/0.output.lock"
    lock.parent.mkdir(parents=True)
    lock.write_text("results/report.html\n")
    clone.run("snakemake", "-n", *RUN, ok=False)
    clone.run("coder-clip", "status", "--no-remote")
    assert lock.exists()
    said = clone.run("snakemake", *RUN).stdout
    assert "An earlier run was killed" in said
    assert "Nothing to be done" in said
