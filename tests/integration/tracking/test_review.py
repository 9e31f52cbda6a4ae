"""`coder-clip review`: another's results beside ours, and nothing of theirs runs."""

from __future__ import annotations

import json
import os
import time
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from project import Project

pytestmark = pytest.mark.rest


@pytest.fixture
def theirs(toy: Project) -> Project:
    """A fork with another threshold, run, recorded and pushed to the common remote."""
    fork = toy.clone("fork")
    fork.run("coder-clip", "pull")
    fork.edit("config/reproduce.yaml", "threshold: 5", "threshold: 9")
    fork.snakemake()
    fork.commit("nine")
    fork.run("coder-clip", "push")
    return fork


def fetched(toy: Project, theirs: Project) -> None:
    toy.git("fetch", "--quiet", str(theirs.folder), "main:theirs")


def review(toy: Project, *options: str, ok: bool = True) -> str:
    return toy.run("coder-clip", "review", "theirs", *options, ok=ok).stdout


def refused(toy: Project, *phases: str) -> str:
    """What a review says that ends with an error, because of these phases."""
    done = toy.run("coder-clip", "review", "theirs", ok=False)
    assert done.returncode == 1
    assert f"error: NOT certified: {', '.join(phases)}; the lines above" in done.stdout
    return done.stdout


def test_numbers_beside_ours(toy: Project, theirs: Project) -> None:
    """A reviewer sees by how much the results differ, and whether the fork's commit made them."""
    fetched(toy, theirs)
    before = toy.snapshot()
    said = review(toy)
    for phase, jobs in (("texts", 2), ("features", 2), ("scores", 2), ("report", 1)):
        assert f"{phase}: certified, {jobs} jobs" in said
    assert "metrics.json: 2 of 2 values differ" in said
    assert "(+4)" in said
    assert "tables/main.csv: 2 of 4 values differ" in said
    assert toy.snapshot() == before


def test_our_own_commit(toy: Project) -> None:
    """Of one's own results everything is the same."""
    said = toy.run("coder-clip", "review", "HEAD").stdout
    assert "2 of 2 tables and metrics are the same" in said
    assert "NOT" not in said


def test_results_of_an_earlier_source(toy: Project, theirs: Project) -> None:
    """A fork that edits its code and keeps its results is found without running anything."""
    theirs.edit("src/toy/score.py", "% 100", "% 50")
    theirs.commit("after the run")
    fetched(toy, theirs)
    said = refused(toy, "scores")
    assert "scores: NOT certified (2)" in said
    assert "the code changed (src/toy/score.py: run())" in said
    assert "features: certified" in said


def test_an_edited_table(toy: Project, theirs: Project) -> None:
    """A number that no job wrote is the first thing that a reviewer wants to know."""
    theirs.edit("results/tables/main.csv", "a,", "a,1")
    theirs.commit("a better number")
    fetched(toy, theirs)
    assert "report: NOT certified (1): results/certificates/report/page.json: not the bytes" in (
        refused(toy, "report")
    )


def test_a_changed_key(toy: Project, theirs: Project) -> None:
    """The values of keys come from their file, read by our code."""
    theirs.edit("config/reproduce.yaml", "words: 3", "words: 2")
    theirs.commit("words")
    fetched(toy, theirs)
    assert "texts: NOT certified (2)" in refused(toy, "texts")


def test_nothing_of_theirs_runs(toy: Project, theirs: Project, tmp_path: Path) -> None:
    """Reviewing is what one does before trusting."""
    trap = tmp_path / "ran"
    theirs.edit("Snakefile", "import os\n", f"import os\nopen('{trap}', 'w')\n")
    theirs.edit("src/toy/score.py", "import json\n", f"import json\nopen('{trap}', 'w')\n")
    config = (theirs / "config/reproduce.yaml").read_text()
    run = f"a: !!python/object/apply:os.system ['touch {trap}']\n"
    (theirs / "config/reproduce.yaml").write_text(config + run)
    (theirs / ".gitattributes").write_text("* filter=trap diff=trap\n")
    (theirs / ".dvc/config").write_text(
        f"[core]\nremote = evil\n['remote \"evil\"']\nurl = {tmp_path}/evil\nask_password = true\n"
    )
    theirs.commit("a trap")
    fetched(toy, theirs)
    said = review(toy, ok=False)
    assert not trap.exists()
    assert "Traceback" not in said
    theirs.edit("config/reproduce.yaml", run, "")
    theirs.commit("a smaller trap")
    toy.git("fetch", "--quiet", str(theirs.folder), "+main:theirs")
    said = refused(toy, "scores")
    assert not trap.exists()
    assert "its workflow is another one than ours: Snakefile" in said
    assert "features: certified" in said


def test_objects_that_are_nowhere(toy: Project, theirs: Project) -> None:
    """What is not in our cache or remote is said, and not guessed."""
    theirs.edit("config/reproduce.yaml", "threshold: 9", "threshold: 8")
    theirs.snakemake()
    theirs.commit("not pushed")
    fetched(toy, theirs)
    said = review(toy)
    assert "scores: not checked: the list of files of results/" in said
    assert "metrics.json: 2 of 2 values differ" in said
    assert "texts: certified" in said


def test_offline(toy: Project, theirs: Project) -> None:
    """Without the remote, what the cache has is reviewed."""
    fetched(toy, theirs)
    os.rename(toy.folder.parent / "store", toy.folder.parent / "gone")
    for options in ((), ("--no-remote",)):
        said = review(toy, *options)
        assert "texts: certified" in said
        assert "scores: not checked" in said


@pytest.mark.parametrize("ref", ["nobody/main", "--output=x", "", "HEAD:src", "a b"])
def test_no_such_commit(toy: Project, ref: str) -> None:
    """One line, whatever the word is, and an option of Git is no ref."""
    done = toy.run("coder-clip", "review", "--", ref, ok=False)
    assert done.returncode == 1
    assert done.stdout.count("\n") == 1
    assert "no commit '" in done.stdout


HOSTILE = {
    "a link": lambda f: (f / "data/a.txt").unlink() or (f / "data/a.txt").symlink_to("/etc/passwd"),
    "a deep source": lambda f: (f / "src/toy/score.py").write_text("x = " + "(" * 50_000),
    "a long sum": lambda f: (f / "src/toy/score.py").write_text("x = 1" + "+1" * 100_000),
    "zero bytes": lambda f: (f / "src/toy/score.py").write_bytes(b"\0" * 99),
    "results outside": lambda f: (f / "config/reproduce.yaml").write_text(
        "sets: [a]\nresults: ../..\n"
    ),
    "outputs outside": lambda f: (f / "workflow/phases.yaml").write_text(
        "phases: {texts: {target: texts, makes: [../../..]}}\n"
    ),
    "a configuration that is a link": lambda f: (
        (f / "config/reproduce.yaml").unlink()
        or (f / "config/reproduce.yaml").symlink_to("/etc/passwd")
    ),
    "growing aliases": lambda f: (f / "config/reproduce.yaml").write_text(
        "a: &a [1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"{y}: &{y} [{', '.join(['*' + x] * 9)}]\n" for x, y in pairwise("abcdefghi"))
    ),
    "a lock of a million": lambda f: (f / "dvc.lock").write_text(
        "stages:\n" + "  a: {}\n" * 200_000
    ),
    "a metric in metrics": lambda f: (f / "results/metrics.json").write_text("[" * 100_000),
    "escapes in a table": lambda f: (f / "results/tables/main.csv").write_text(
        "set,\x1b[31maccuracy\na,\x1b]0;x\x07\n"
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_commits(toy: Project, theirs: Project, what: str) -> None:
    """Another's commit can hold anything: lines, no traceback, and nothing of ours changes."""
    HOSTILE[what](theirs.folder)
    theirs.commit(what)
    fetched(toy, theirs)
    before = toy.snapshot()
    begin = time.monotonic()
    said = review(toy, ok=False)
    assert time.monotonic() - begin < 30
    assert "Traceback" not in said
    assert "root:" not in said
    assert "\x1b" not in said
    assert toy.snapshot() == before


def test_a_forged_certificate(toy: Project, theirs: Project) -> None:
    """A certificate of another phase's command says nothing about an output."""
    path = theirs / "results/certificates/scores/score/a.json"
    stated = json.loads(path.read_text())
    stated["command"], stated["call"] = "toy page", "coder_clip.phases.page.run()"
    path.unlink()
    path.write_text(json.dumps(stated))
    theirs.run("dvc", "commit", "--force")
    theirs.commit("forged")
    theirs.run("dvc", "push")
    assert yaml.safe_load(theirs.lock())
    fetched(toy, theirs)
    assert "'toy page' is not a command of this phase" in refused(toy, "scores")
