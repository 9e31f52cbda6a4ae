"""The real pipeline: the default and the paper's configuration in miniature, recorded and shared
from one clone.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

import paper_miniature
from project import Project
from working_copy import SHAPES_ALONE, Work, few_pictures

pytestmark = pytest.mark.proof

DEFAULT, PAPER = "config/reproduce.yaml", "config/small.yaml"
DATASETS = ("dtd", "imagenet_v2")  # one has sentences, too


def artefacts(project: Project) -> dict[str, str]:
    """Of both: without what is about this machine."""
    passing = ("/logs/", "environment.json", ".snakemake_timestamp")
    return {
        path: sha
        for path, sha in project.bytes().items()
        if not any(name in path for name in passing)
    }


def test_the_paper_s_miniature_beside_the_default(tmp_path: Path) -> None:
    paper = paper_miniature.made(tmp_path, "results/small", DATASETS)
    folder = paper.folder
    (folder / paper.config).rename(folder / PAPER)
    paper = Work(folder, PAPER)
    few_pictures(folder)
    (folder / DEFAULT).write_text(yaml.safe_dump(SHAPES_ALONE, sort_keys=False))
    project = Project(folder, PYTHONPATH=str(folder / "src"))
    project.git("init", "--quiet", "--initial-branch", "main")
    project.run("dvc", "remote", "add", "--quiet", "--default", "store", "../store")
    project.commit("two configurations")
    Work(folder, DEFAULT).make()

    def line(config: str) -> tuple[str, ...]:
        """What `make reproduce CONFIG=…` runs."""
        return ("snakemake", "--profile", "workflow/profiles/default", "--configfile", config)

    for config in (DEFAULT, PAPER):
        assert "Nothing to be done" in project.run(*line(config)).stdout
        said = project.run("coder-clip", "record", "--config", config).stdout
        assert "recorded in DVC: texts, image_features" in said
        assert "is not recorded" not in said
    assert project.stale() == []
    project.git("add", "dvc.yaml", "dvc.lock", "results", PAPER, "tracked")
    project.git("commit", "--quiet", "-m", "Results of both")
    for config in (DEFAULT, PAPER):
        project.run("coder-clip", "push", "--config", config)
        shown = project.run("coder-clip", "status", "--config", config).stdout.splitlines()
        assert [row.split()[2:5] for row in shown[1:11]] == [["yes", "yes", "yes"]] * 10

    shutil.rmtree(tmp_path / "root")  # the colleague has no images, no weights and no key
    shutil.rmtree(tmp_path / "hub")
    clone = project.clone("clone")
    clone.environment["PYTHONPATH"] = str(clone / "src")
    for config, results in ((PAPER, "results/small"), (DEFAULT, "results")):
        clone.run("coder-clip", "pull", "--config", config)
        said = clone.run(*line(config)).stdout
        assert "Nothing to be done" in said
        assert (clone / results / "report.html").is_file()
        if config == PAPER:
            assert not (clone / "results/image_features").exists()  # each is pulled on its own
    assert artefacts(clone) == artefacts(project)
    assert clone.stale() == []
    assert clone.git("status", "--short") == ""
