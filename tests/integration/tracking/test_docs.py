"""Every command of docs/sharing.md, as it is printed, in the toy project."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from project import JOB, ROOT, Project, make_toy

pytestmark = pytest.mark.rest

BLOCKS = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs/sharing.md").read_text(), flags=re.M | re.S)
REPLACED = {  # what differs in the toy: it has no Makefile of its own, and other keys and names
    r"make reproduce CONFIG=(\S+)": r"snakemake --profile workflow/profiles/default --configfile \1",
    r"make reproduce": "snakemake --profile workflow/profiles/default",
    r"/shared/coder-clip": "../shared",
}


def block(beginning: str) -> str:
    """The one block with this command, in the toy's words."""
    (found,) = [b for b in BLOCKS if beginning in b]
    for pattern, other in REPLACED.items():
        found = re.sub(pattern, other, found)
    return found


def lines(beginning: str) -> list[str]:
    return [line for line in block(beginning).splitlines() if line.strip()]


@pytest.fixture
def shared(toy: Project) -> Project:
    """With a Git remote, as a group has one."""
    toy.run("git", "init", "--quiet", "--bare", "--initial-branch", "main", "../origin.git")
    toy.git("remote", "add", "origin", "../origin.git")
    toy.git("push", "--quiet", "--set-upstream", "origin", "main")
    return toy


def colleague(shared: Project, name: str = "colleague") -> Project:
    folder = shared.folder.parent / name
    shared.run("git", "clone", "--quiet", "../origin.git", str(folder))
    return Project(folder, shared.programs)


def test_three_lines(shared: Project) -> None:
    """Sharing a change by the three lines of docs/sharing.md would not reach a colleague."""
    run, share, take = lines("prints the next line")
    other = colleague(shared)
    shared.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    shared.run("sh", "-ec", run)
    shared.git("add", "config")  # the line that the run prints names it, too
    shared.run("sh", "-ec", share)
    assert "Nothing to be done" in other.run("sh", "-ec", take).stdout
    assert other.bytes() == shared.bytes()


def test_three_lines_for_another_configuration(shared: Project) -> None:
    text = (shared / "config/reproduce.yaml").read_text()
    (shared / "config/mine.yaml").write_text(text + "results: results/mine\n")
    run, share, take = lines("CONFIG=config/mine.yaml")
    other = colleague(shared)
    for line in (run, share):
        shared.run("sh", "-ec", line)
    other.run("sh", "-ec", take)
    assert other.bytes("results/mine") == shared.bytes("results/mine")
    assert shared.git("status", "--short") == ""


@pytest.mark.parametrize("kind", ["/shared/coder-clip", "ssh://host", "s3://bucket"])
def test_remotes(kind: str, tmp_path: Path) -> None:
    """What is typed once; pushing to real servers is tested in test_remotes.py."""
    toy = make_toy(tmp_path / "work")
    (tmp_path / "ssh").write_text("#!/bin/sh\n")
    (tmp_path / "ssh").chmod(0o755)
    toy.run("sh", "-ec", block(kind), PATH=f"{tmp_path}{os.pathsep}{toy.environment['PATH']}")
    assert "store" in toy.run("dvc", "remote", "list").stdout
    if kind.startswith("/"):
        toy.snakemake()
        toy.commit()
        toy.run("coder-clip", "push")


def test_day_by_day(shared: Project) -> None:
    """A command of the daily list in docs/sharing.md would fail."""
    shared.commit("second")
    for command in lines("coder-clip push --verify"):
        if "explain" not in command:
            shared.run("sh", "-ec", command)


def test_verify(shared: Project) -> None:
    for command in lines("coder-clip verify --sample"):
        shared.run("sh", "-ec", command.replace("zero_shot.csv", "main.csv"))


def test_another_s_numbers(shared: Project) -> None:
    """What one looks at before merging a fork; nothing of it runs."""
    fork = shared.clone("fork")
    fork.edit("config/reproduce.yaml", "threshold: 5", "threshold: 9")
    fork.snakemake()
    fork.commit("nine")
    fetch, about, metrics, tables = lines("git fetch ../fork main")
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
    theirs = colleague(shared)
    theirs.edit("src/toy/score.py", "% 100", "% 50")
    shared.edit("data/a.txt", "red", "green")
    for person in (theirs, shared):
        person.run("coder-clip", "pull")
        person.snakemake()
        person.commit("both")
        person.run("coder-clip", "push")
    shared.git("fetch", "--quiet", str(theirs.folder), "main:colleague")
    merge, take, commit, run = lines("git merge colleague")
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


def test_no_block_is_left_out() -> None:
    """Those of a fresh clone and of explain run in test_real.py, on the real pipeline."""
    tested = Path(__file__).read_text()
    elsewhere = ("git clone … && cd …",)
    for text in BLOCKS:
        begins = [
            *re.findall(r'(?:block|lines)\("(.*?)"\)', tested),
            "/shared",
            "ssh://",
            "s3://",
            *elsewhere,
        ]
        assert any(beginning in text for beginning in begins), text
