"""Two people with two clones: nothing is lost, no wrong result is called current, and messages are
right.

These are situations that the random sequences of test_sequences.py hardly reach.
"""

from __future__ import annotations

import shutil
import subprocess
import textwrap
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


def share(person: Project, message: str = "shared") -> None:
    person.commit(message)
    sh(person, "coder-clip push && git push --quiet origin HEAD")


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


OWN_STAGE = {"cmd": "wc -w a.txt > n.txt", "deps": ["a.txt"], "outs": ["n.txt"]}


def test_a_stage_of_one_s_own_is_left_alone(ann: Project) -> None:
    """It can follow ours, in a dvc.yaml of another folder."""
    own = yaml.safe_dump({"stages": {"mine": OWN_STAGE}})
    (ann / "data/dvc.yaml").write_text(own)
    sh(ann, "dvc repro -q data/dvc.yaml; coder-clip record; coder-clip push; coder-clip pull")
    assert set(yaml.safe_load(ann.lock())["stages"]) == {"texts", "features", "scores", "report"}
    assert set(yaml.safe_load((ann / "data/dvc.lock").read_text())["stages"]) == {"mine"}
    assert (ann / "data/dvc.yaml").read_text() == own
    assert (ann / "data/n.txt").is_file()
    assert ann.stale() == []


def test_a_dvc_yaml_that_no_commit_has_is_moved_aside(ann: Project) -> None:
    """`record` writes the whole file, and its stages were somebody's work."""
    document = yaml.safe_load((ann / "dvc.yaml").read_text())
    document["stages"]["mine"] = {**OWN_STAGE, "wdir": "data"}
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


READS_IT = 'int(Path("config/reproduce.yaml").read_text().split("threshold:")[1].split()[0])'
SWITCH = """
if Path("{0}").exists():  # as somebody who edits, or goes to another branch and back
    Path("config/reproduce.yaml").write_text(Path("{0}").read_text())
    Path("{0}").unlink()
"""


@pytest.mark.parametrize("when", ["before the first job", "and back in the middle of a job"])
def test_a_configuration_that_changes_during_a_run(world: World, ann: Project, when: str) -> None:
    """The plan of a large configuration takes a while, and jobs read the file when they start."""
    ann.edit("src/toy/score.py", 'config["threshold"]', READS_IT)
    ann.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    if when == "before the first job":
        text = (ann / "config/reproduce.yaml").read_text().replace("threshold: 6", "threshold: 7")
        (ann / "then").write_text(text)
        edit = SWITCH.format("then").replace('Path("config/reproduce.yaml")', "Path(CONFIG_FILE)")
        ann.edit("Snakefile", "wildcard_constraints:", f"{edit}\n\nwildcard_constraints:")
    else:
        text = (ann / "config/reproduce.yaml").read_text()
        for name, threshold in (
            ("then-again", 6),
            ("then", 7),
        ):  # the first score ends, the second begins and ends
            (ann / name).write_text(text.replace("threshold: 6", f"threshold: {threshold}"))
        switch = (
            SWITCH.format("then")
            + SWITCH.format("then-again").replace("\nif", "\nelif").strip()
            + "\n"
        )
        job = (ann / "src/toy/score.py").read_text() + textwrap.indent(switch, "    ")
        (ann / "src/toy/score.py").write_text(job)
    run(ann)
    (ann / "config/reproduce.yaml").write_text(
        (ann / "config/reproduce.yaml").read_text().replace("threshold: 7", "threshold: 6")
    )
    run(ann)
    world.check("ann")


def test_a_file_of_a_phase_that_another_hand_put_into_the_lock(
    world: World, ann: Project, bob: Project
) -> None:
    """A tool that merges dvc.lock by lines in spite of .gitattributes: the features of one, the
    record of another.
    """
    ann.edit("config/reproduce.yaml", "scale: 2", "scale: 3")
    run(ann)
    share(ann)
    theirs = {o["path"]: o for o in yaml.safe_load(ann.lock())["stages"]["features"]["outs"]}
    document = yaml.safe_load(bob.lock())
    outs = document["stages"]["features"]["outs"]
    outs[:] = [theirs[o["path"]] if o["path"] == "results/features" else o for o in outs]
    (bob / "dvc.lock").write_text(yaml.safe_dump(document, sort_keys=False))
    bob.run("coder-clip", "pull", ok=False)
    table = world._status(bob)
    assert table["features"] != ("yes", "yes")
    world.do_run(bob)
    world.check("bob")


def test_an_octopus_merge(world: World, ann: Project) -> None:
    """Sources of three sides, of which one is recorded: the lock merges without a conflict."""
    for name, edit in {
        "x": ("src/toy/page.py", "<html>", "<body>"),
        "y": ("data/a.txt", "red", "green"),
        "z": ("src/toy/score.py", "% 100", "% 50"),
    }.items():
        ann.git("switch", "--quiet", "-c", name, "main")
        ann.edit(*edit)
        if name == "z":
            run(ann)
        ann.commit(name)
    ann.git("switch", "--quiet", "main")
    ann.git("merge", "--quiet", "-m", "all", "x", "y", "z")
    world.check("ann")
    sh(ann, "coder-clip pull")
    world.check("ann")
    world.do_run(ann)
    world.check("ann")


def checked(world: World, person: Project, name: str) -> None:
    """As for Ann and Bob."""
    world.people[name] = person
    world.check(name)


def settle_a_conflict(world: World, person: Project, name: str) -> None:
    """Two branches that both recorded; merged, and run."""
    person.git("switch", "--quiet", "-c", "side")
    person.edit("config/reproduce.yaml", "scale: 2", "scale: 3")
    run(person)
    person.commit("side")
    person.git("switch", "--quiet", "-c", "other", "HEAD~1")
    person.edit("src/toy/page.py", "<html>", "<body>")
    run(person)
    person.commit("other")
    assert person.run("git", "merge", "side", ok=False).returncode != 0
    sh(person, "git checkout --theirs dvc.lock results; git add dvc.lock results")
    person.git("commit", "--quiet", "-m", "both")
    sh(person, "coder-clip pull")
    checked(world, person, name)
    world.do_run(person)
    checked(world, person, name)


def test_a_submodule(world: World, ann: Project) -> None:
    """A project that is a submodule of another could not be recorded and shared."""
    parent = world._project("parent", world.bin)
    parent.folder.mkdir()
    sh(
        parent,
        "git init -q -b main; git -c protocol.file.allow=always "
        "submodule --quiet add ../hub.git sub",
    )
    sub = world._project("parent/sub", world.bin)
    sh(sub, "dvc remote modify --local store url ../../store; coder-clip pull")
    checked(world, sub, "sub")
    settle_a_conflict(world, sub, "sub")


def test_a_second_worktree(world: World, ann: Project) -> None:
    """Two worktrees of a clone would disturb each other's results."""
    ann.git("worktree", "add", "--quiet", "-b", "second", "../second")
    second = world._project("second", world.bin)
    sh(second, "coder-clip pull")
    checked(world, second, "second")
    settle_a_conflict(world, second, "second")


def test_a_folder_of_a_larger_repository(world: World, ann: Project) -> None:
    large = world._project("large", world.bin)
    large.folder.mkdir()
    sh(
        large,
        "git init -q -b main; git -C ../ann archive --prefix=part/ HEAD | tar x; cd part; rm -r "
        ".dvc dvc.lock",
    )
    sh(
        large,
        "cd part; dvc init -q --subdir; dvc remote add -q -d store ../../store; git add .; git "
        "commit -qm part",
    )
    part = world._project("large/part", world.bin)
    run(part)
    part.commit("recorded")
    checked(world, part, "part")
    settle_a_conflict(world, part, "part")


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


def test_a_corrupt_record_costs_its_phase(world: World, ann: Project) -> None:
    """Records are objects like others: in the remote one is cut short."""
    md5 = {o["path"]: o["md5"] for o in yaml.safe_load(ann.lock())["stages"]["scores"]["outs"]}
    oid = md5["results/certificates/scores"]
    stored = world.folder / f"store/files/md5/{oid[:2]}/{oid[2:]}"
    stored.chmod(0o644)
    stored.write_bytes(stored.read_bytes()[:100])
    new = world._project("new", world.bin)
    subprocess.run(
        ["git", "clone", "-q", str(world.folder / "hub.git"), str(new.folder)], check=True
    )
    said = new.run("coder-clip", "pull", ok=False)
    assert said.returncode == 1
    assert (
        "phase scores is not here: results/certificates/scores corrupt in the remote" in said.stdout
    )
    assert "here now: texts, features, report" in said.stdout
    checked(world, new, "new")
    assert "replaced in the remote" in sh(ann, "coder-clip push")
    sh(new, "coder-clip pull")
    assert "Nothing to be done" in run(new)
    checked(world, new, "new")


@pytest.mark.parametrize("where", ["cache", "remote", "both"])
def test_the_list_of_files_of_a_folder_is_lost(world: World, ann: Project, where: str) -> None:
    """What DVC keeps of a folder is a list, and it is an object, too."""
    oid = next(
        o["md5"]
        for o in yaml.safe_load(ann.lock())["stages"]["features"]["outs"]
        if o["path"] == "results/features"
    )
    assert oid.endswith(".dir")
    for folder in (ann / ".dvc/cache", world.folder / "store"):
        if where in ("both", {"cache": "cache", "store": "remote"}[folder.name]):
            (folder / f"files/md5/{oid[:2]}/{oid[2:]}").unlink()
    world.check("ann")
    sh(ann, "coder-clip push")
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
