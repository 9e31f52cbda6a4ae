"""Every block of docs/sharing.md, typed as it is printed in the toy project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pages import PAGES, blocks, type_lines
from project import Project, make_toy

pytestmark = pytest.mark.rest

REPLACED = {  # what differs in the toy: it has no Makefile of its own, and other names
    r"make reproduce CONFIG=(\S+)": r"snakemake --profile workflow/profiles/default --configfile \1",
    r"make reproduce": "snakemake --profile workflow/profiles/default",
    r"/shared/coder-clip": "../shared",
    r"zero_shot\.csv$|zero_shot\.csv(?= +#)": "main.csv",
    # typed by test_real.py on the real pipeline, or by a test of its own (merge)
    r"^(git clone …|source |coder-clip explain|.*merge|git commit -m \"Merge).*": "true",
}


@pytest.fixture
def shared(toy: Project) -> Project:
    """As a group has it: a Git remote, an earlier commit, a fork and one more configuration."""
    toy.run("git", "init", "--quiet", "--bare", "--initial-branch", "main", "../origin.git")
    toy.git("remote", "add", "origin", "../origin.git")
    text = (toy / "config/reproduce.yaml").read_text()
    (toy / "config/mine.yaml").write_text(text + "results: results/mine\n")
    toy.commit("second")
    toy.git("push", "--quiet", "--set-upstream", "origin", "main")
    toy.clone("fork")
    return toy


SHARING = [b for b in blocks(PAGES["docs/sharing.md"]) if "dvc remote" not in b]
REMOTES = [b for b in blocks(PAGES["docs/sharing.md"]) if "dvc remote" in b]


@pytest.mark.parametrize("block", SHARING, ids=lambda block: block.splitlines()[0])
def test_a_block_works_as_it_is_typed(shared: Project, block: str) -> None:
    """A group would share nothing by the lines of the page, or end with another state."""
    if "git add dvc.lock" in block:
        shared.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    type_lines(block, shared.folder, shared.environment, REPLACED)
    assert (shared.planned(), shared.stale()) == ([], [])


@pytest.mark.parametrize("block", REMOTES, ids=lambda block: block.splitlines()[0])
def test_remotes(block: str, tmp_path: Path) -> None:
    """What is typed once; pushing to real servers is tested in test_remotes.py."""
    toy = make_toy(tmp_path / "work")
    (tmp_path / "ssh").write_text("#!/bin/sh\n")
    (tmp_path / "ssh").chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{toy.environment['PATH']}"
    type_lines(block, toy.folder, {**toy.environment, "PATH": path}, REPLACED)
    assert "store" in toy.run("dvc", "remote", "list").stdout
