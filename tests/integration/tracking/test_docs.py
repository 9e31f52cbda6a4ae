"""Every block of docs/sharing.md, typed as it is printed in the toy project."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pages import PAGES, blocks, lines, type_lines
from project import JOB, Project, make_toy

pytestmark = pytest.mark.rest

REPLACED = {  # what differs in the toy: it has no Makefile of its own, and other names
    r"make reproduce CONFIG=(\S+)": r"snakemake --profile workflow/profiles/default --configfile \1",
    r"make reproduce": "snakemake --profile workflow/profiles/default",
    r"/shared/coder-clip": "../shared",
    r"zero_shot\.csv$|zero_shot\.csv(?= +#)": "main.csv",
    # typed by test_real.py on the real pipeline
    r"^(git clone …|source |coder-clip explain).*": "true",
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


# these need a colleague, and have tests of their own below
WITH_OTHERS = ("git fetch ../fork main", "git merge colleague")
SHARING = [
    b
    for b in blocks(PAGES["docs/sharing.md"])
    if "dvc remote" not in b and not any(line in b for line in WITH_OTHERS)
]
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


def typed(beginning: str) -> list[str]:
    """The lines of the one block with this command, in the toy's words."""
    (found,) = [b for b in blocks(PAGES["docs/sharing.md"]) if beginning in b]
    typed_lines = lines(found)
    for pattern, other in REPLACED.items():
        typed_lines = [re.sub(pattern, other, line) for line in typed_lines]
    return typed_lines


def test_another_s_numbers(shared: Project) -> None:
    """What one looks at before merging a fork; nothing of it runs."""
    fork = Project(shared.folder.parent / "fork", shared.programs)
    fork.edit("config/reproduce.yaml", "threshold: 5", "threshold: 9")
    fork.snakemake()
    fork.commit("nine")
    fetch, about, metrics, tables = typed("git fetch ../fork main")
    shared.run("sh", "-ec", fetch)
    before = shared.snapshot()
    assert "config/reproduce.yaml" in shared.run("sh", "-ec", about).stdout
    assert re.search(r"metrics\.json +a +37 +33 +-4", shared.run("sh", "-ec", metrics).stdout)
    assert "-a,37\n-b,84\n+a,33\n+b,80" in shared.run("sh", "-ec", tables).stdout
    assert {p: is_now for p, is_now in shared.snapshot().items() if before.get(p) != is_now} == {}


def test_an_older_commit_and_back(shared: Project) -> None:
    old = shared.bytes()
    shared.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    shared.snakemake()
    shared.commit("6")
    new = shared.bytes()
    for commit, expected in (("HEAD~1", old), ("main", new)):
        shared.run("sh", "-ec", f"git checkout {commit} && coder-clip pull")
        assert shared.bytes() == expected
        assert (shared.planned(), shared.stale()) == ([], [])


RAN = {
    "--ours": ["page", "score", "score"],
    "--theirs": ["feature", "page", "score", "text"],
}


@pytest.mark.parametrize("side", RAN)
def test_two_people_have_results(shared: Project, side: str) -> None:
    """By the lines of docs/sharing.md, with either side: the same as a run from nothing, and of the
    side that was taken no job runs again without need.
    """
    theirs = shared.clone("colleague")
    theirs.edit("src/toy/score.py", "% 100", "% 50")
    shared.edit("data/a.txt", "red", "green")
    for person in (theirs, shared):
        person.run("coder-clip", "pull")
        person.snakemake()
        person.commit("both")
        person.run("coder-clip", "push")
    shared.git("fetch", "--quiet", str(theirs.folder), "main:colleague")
    merge, take, commit, run = typed("git merge colleague")
    stopped = shared.run("sh", "-ec", merge, ok=False)
    assert stopped.returncode != 0
    assert "Merge conflict in dvc.lock" in stopped.stdout
    for command in ("status", "record", "pull"):
        (said,) = [
            line
            for line in shared.run("coder-clip", command, ok=False).stdout.splitlines()
            if "dvc.lock is in conflict" in line
        ]
        assert "'git checkout --ours dvc.lock results && git add dvc.lock results' (or" in said
    for line in (take.replace("--theirs", side), commit):
        shared.run("sh", "-ec", line)
    said = shared.run("sh", "-ec", run).stdout
    assert sorted(rule for rule in JOB.findall(said) if rule != "all") == RAN[side]
    assert (shared.planned(), shared.stale()) == ([], [])
    fresh = shared.clone("fresh")
    fresh.git("rm", "-r", "--quiet", "results")
    fresh.snakemake()
    assert shared.bytes() == fresh.bytes()
