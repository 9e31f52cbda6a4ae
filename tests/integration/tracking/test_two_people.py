"""Two people with two clones: nothing is lost, no wrong result is called current, and messages are
right.

These are situations that the random sequences of test_sequences.py hardly reach.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from project import Project
from world import World

pytestmark = pytest.mark.rest

EDIT_WHILE_RECORDING = """
import pathlib, sys
from coder_clip.foundation import dvc
from coder_clip.tracking import record

path, old, new = sys.argv[1:]
real = dvc.Store.store


def store(self, outs):
    text = pathlib.Path(path).read_text()
    assert old in text
    pathlib.Path(path).write_text(text.replace(old, new))
    return real(self, outs)


dvc.Store.store = store
record.record("config/reproduce.yaml")
"""


@pytest.fixture
def world(beginning: tuple[Path, Path], tmp_path: Path) -> World:
    """Ann and Bob with the same results, recorded and shared; they begin with a copy of it."""
    start, bin = beginning
    subprocess.run(["cp", "-a", f"{start}/.", str(tmp_path)], check=True)
    return World(tmp_path, bin)


@pytest.fixture
def ann(world: World) -> Project:
    return world.people["ann"]


@pytest.fixture
def bob(world: World) -> Project:
    return world.people["bob"]


def sh(person: Project, script: str, ok: bool = True) -> str:
    return person.run("bash", "-c", f"set -e; {script}", ok=ok).stdout


def run(person: Project) -> str:
    return sh(person, "snakemake --cores 1 --rerun-incomplete")


def results(person: Project) -> dict[str, bytes]:
    paths = (
        p for p in (person / "results").rglob("*") if p.is_file() and "benchmarks" not in p.parts
    )
    return {str(p.relative_to(person.folder)): p.read_bytes() for p in paths}


# ---- nothing is lost


@pytest.mark.parametrize("reason", ["not pushed", "the remote is gone", "the remote is empty"])
def test_a_pull_that_gets_nothing_leaves_what_is_here(
    world: World, ann: Project, bob: Project, reason: str
) -> None:
    if reason == "not pushed":
        bob.edit("config/reproduce.yaml", "words: 3", "words: 2")
        run(bob)
        bob.commit("words")
        bob.git("push", "--quiet")
        ann.git("pull", "--quiet")
    else:  # and these are the only copies
        shutil.rmtree(ann / ".dvc/cache")
        shutil.rmtree(world.folder / "store")
        if reason == "the remote is empty":
            (world.folder / "store/files/md5").mkdir(parents=True)
    before = results(ann)
    done = ann.run("coder-clip", "pull", ok=False)
    assert done.returncode == 1
    after = {
        **results(ann),
        **{p.removeprefix("results-set-aside/"): data for p, data in aside(ann).items()},
    }
    assert after == before, done.stdout
    assert "remote" in done.stdout
    world.do_run(ann)
    world.check("ann")


def aside(person: Project) -> dict[str, bytes]:
    folder = person / "results-set-aside"
    return {
        str(p.relative_to(person.folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_a_dvc_yaml_that_no_commit_has_is_moved_aside(ann: Project) -> None:
    """`record` writes the whole file, and its stages were somebody's work."""
    document = yaml.safe_load((ann / "dvc.yaml").read_text())
    document["stages"]["mine"] = {"cmd": "wc -w a.txt > n.txt", "deps": ["a.txt"], "wdir": "data"}
    text = yaml.safe_dump(document, sort_keys=False)
    (ann / "dvc.yaml").write_text(text)
    said = ann.run("coder-clip", "record").stdout
    assert "dvc.yaml: in no commit, and written again, moved to results-set-aside/" in said
    assert aside(ann) == {"results-set-aside/dvc.yaml": text.encode()}
    assert "mine" not in (ann / "dvc.yaml").read_text()


# ---- nothing wrong is called current


@pytest.mark.parametrize(
    "edit",
    [("config/reproduce.yaml", "scale: 3", "scale: 4"), ("src/toy/feature.py", "60000", "50000")],
)
def test_edited_while_it_is_recorded(
    world: World, ann: Project, edit: tuple[str, str, str]
) -> None:
    """Hashing takes minutes at the end of a long run, and DVC hashes the configuration as it is
    then.
    """
    ann.edit("config/reproduce.yaml", "scale: 2", "scale: 3")
    run(ann)
    ann.git("checkout", "--", "dvc.lock")
    (world.folder / "edit.py").write_text(EDIT_WHILE_RECORDING)
    ann.run("python", "../edit.py", *edit, ok=False)
    assert "features" in ann.stale()
    world.check("ann")
    world.do_run(ann)
    world.check("ann")


# Where the clone is -> how it gets there, from Ann's.
PLACES = {
    "parent/sub": (
        "git init -q ../parent; cd ../parent; git -c protocol.file.allow=always submodule --quiet "
        "add ../hub.git sub; cd sub; dvc remote modify --local store url ../../store"
    ),
    "second": "git worktree add --quiet -b second ../second",
    "large/part": (
        "git init -q ../large; git archive --prefix=part/ HEAD | tar x -C ../large; cd ../large/part; "
        "rm -r .dvc; dvc init -q --subdir; dvc remote add -q -d store ../../store; git add .; git "
        "commit -qm part"
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_submodule_a_worktree_and_a_folder_of_a_larger_repository(
    world: World, ann: Project, place: str
) -> None:
    """They could not be recorded and shared, or would disturb each other's results."""
    sh(ann, PLACES[place])
    there = world.people[place] = world._project(place, world.bin)
    sh(there, "coder-clip pull")
    world.check(place)
    world.do_edit(there, "scale", "1")
    world.do_run(there)
    world.check(place)


# ---- no job without need


@pytest.mark.parametrize("kind", ["symlink", "hardlink"])
def test_pulled_links_into_a_shared_cache_need_no_run(
    world: World, ann: Project, bob: Project, kind: str
) -> None:
    """As on machines whose cache is on another disk."""
    for person in (ann, bob):
        sh(
            person,
            f"dvc cache dir --local ../cache; dvc config --local cache.type {kind}; rm -r "
            ".dvc/cache results",
        )
        sh(person, "git checkout -q results; coder-clip pull")
        assert "Nothing to be done" in run(person)
    ann.edit("config/reproduce.yaml", "scale: 2", "scale: 3")
    world.do_run(ann)
    world.check("ann")
    assert "Nothing to be done" in run(bob)
    world.check("bob")
    sh(ann, "git checkout -q .; coder-clip pull")
    for person in (ann, bob):
        assert "Nothing to be done" in run(person)


def test_lost_objects_come_back(world: World, ann: Project) -> None:
    """A file of the cache and the list of files of a folder, which is an object, too: from the
    workspace, and from the remote.
    """
    outs = yaml.safe_load(ann.lock())["stages"]["features"]["outs"]
    (oid,) = [out["md5"] for out in outs if out["path"] == "results/features"]
    files = [p for p in (ann / ".dvc/cache/files/md5").rglob("*") if p.is_file()]
    largest = max(files, key=lambda path: path.stat().st_size)
    for folder in (ann / ".dvc/cache", world.folder / "store"):
        (folder / f"files/md5/{oid[:2]}/{oid[2:]}").unlink()
    largest.unlink()
    world.check("ann")
    sh(ann, "coder-clip record; coder-clip push")
    assert largest.is_file()
    shutil.rmtree(ann / ".dvc/cache")
    shutil.rmtree(ann / "results/features")
    sh(ann, "coder-clip pull")
    assert "Nothing to be done" in run(ann)
    world.check("ann")


# ---- what is said


def test_back_where_git_is_there_is_nothing_to_share(ann: Project) -> None:
    ann.edit("config/reproduce.yaml", "scale: 2", "scale: 3")
    run(ann)
    ann.edit("config/reproduce.yaml", "scale: 3", "scale: 2")
    said = run(ann)
    assert "git add  &&" not in said
    assert ann.git("status", "--short") == ""
