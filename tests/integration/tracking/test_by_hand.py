"""What people do beside the documented commands: files edited, moved and brought by hand, odd
places and names.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from project import JOB, Project

pytestmark = pytest.mark.rest

SCORES = ["page", "score", "score"]


def planned(toy: Project) -> list[str]:
    """Rules of the jobs that a dry run shows."""
    return sorted(rule for rule in JOB.findall(toy.snakemake("-n")) if rule != "all")


def overwrite(path: Path, data: bytes, time: tuple[int, int] | None = None) -> None:
    """Change a file in place, as an editor or a script may; the inode stays."""
    path.chmod(0o644)
    with path.open("r+b") as stream:
        stream.write(data)
    if time:
        os.utime(path, time)


# ---- a dry run shows the jobs of the run


def brought_by_dvc(toy: Project) -> None:
    """Scores of another threshold, from a dvc.lock that was taken whole in a conflict."""
    lock = toy.lock()
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    toy.snakemake()
    (toy / "dvc.lock").write_text(lock)
    toy.run("dvc", "checkout", "--force", "--quiet")


def forgotten(toy: Project) -> None:
    """Without a record of its own Snakemake compares no parameters."""
    toy.snakemake("--cleanup-metadata", "results/scores/m/a.json", "results/scores/m/a.csv")
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")


CHANGES: dict[str, tuple[Callable[[Project], None], list[str]]] = {
    "large weights with an older time": (
        lambda toy: overwrite(toy / "data/weights.bin", b"other", (1_600_000_000, 1_600_000_000)),
        ["feature", "feature", *SCORES],
    ),
    "a result that was edited": (
        lambda toy: overwrite(toy / "results/texts/a.json", b"[ "),
        ["feature", "page", "score", "text"],
    ),
    "results of other parameters": (brought_by_dvc, SCORES),
    "metadata that were deleted": (forgotten, SCORES),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_dry_run_shows_what_a_run_makes(toy: Project, change: str) -> None:
    make, rules = CHANGES[change]
    make(toy)
    assert planned(toy) == rules
    assert toy.honest() == rules
    assert planned(toy) == []


# ---- files


def test_a_pull_replaces_links_to_what_is_gone(toy: Project) -> None:
    """DVC with linked files leaves one where it removes a corrupt object."""
    path = toy / "results/scores/m/a.json"
    path.unlink()
    path.symlink_to("gone")
    toy.run("coder-clip", "pull")
    assert (toy.planned(), toy.stale()) == ([], [])


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    folder = Path("/dev/shm") / f"coder-clip-{os.getpid()}"
    if not folder.parent.is_dir() or folder.parent.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("this machine has no other file system")
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def test_results_on_another_disk_are_refused_by_name(toy: Project, other_disk: Path) -> None:
    """Behind a link files would be written and deleted outside of the clone."""
    shutil.move(toy / "results/scores", other_disk / "scores")
    (toy / "results/scores").symlink_to(other_disk / "scores")
    (toy / "results/scores/m/a.json").write_text("mine")
    before = toy.lock()
    for command in ("record", "pull", "push"):
        said = toy.run("coder-clip", command, ok=False)
        assert said.returncode == 1
        assert "results/scores is a symbolic link" in said.stdout
    assert (other_disk / "scores/m/a.json").read_text() == "mine"
    assert toy.lock() == before
    (toy / "results/scores").unlink()
    toy.run("coder-clip", "pull")
    assert (toy.planned(), toy.stale()) == ([], [])


def test_a_copy_without_times_needs_no_run(toy: Project) -> None:
    copy = Project(toy.folder.parent / "copy", toy.programs)
    subprocess.run(["cp", "-r", str(toy.folder), str(copy.folder)], check=True)
    assert (copy.planned(), copy.stale()) == ([], [])


# ---- what is vouched for by hand


def test_nobody_believes_what_dvc_commit_was_forced_to_take(toy: Project) -> None:
    """'dvc commit --force' vouches for whatever is there; the records do not, here and in other
    clones.
    """
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    toy.run("dvc", "commit", "--force", "--quiet")
    toy.commit("committed by hand")
    toy.run("coder-clip", "push")
    clone = toy.clone("clone")
    clone.run("coder-clip", "pull")
    for person in (toy, clone):
        assert (
            "a parameter changed (threshold 5 → 6) (4)" in person.run("coder-clip", "status").stdout
        )
        assert person.run("coder-clip", "record", ok=False).returncode == 1
        assert person.honest() == SCORES
        assert (person.planned(), person.stale()) == ([], [])


# ---- places and names


def test_names_with_spaces_and_letters_of_other_languages(toy: Project) -> None:
    config = "config/mein Größe's.yaml"
    text = (toy / "config/reproduce.yaml").read_text()
    (toy / config).write_text(f"{text}results: results/größe\n")
    toy.git("init", "--quiet", "--bare", "../origin.git")
    toy.git("remote", "add", "origin", "../origin.git")
    said = toy.snakemake("--configfile", config)
    share = said.split("to share: ")[1].splitlines()[0].replace("git commit", "git commit -qm x")
    toy.run("sh", "-ec", share.replace("git push", "git push -q origin main"))
    assert toy.git("status", "--short") == ""
    toy.edit(config, "threshold: 5", "threshold: 6")
    toy.run("dvc", "repro", "--force", "--quiet", "tracked/mein Größe's/dvc.yaml")
    assert toy.stale() == []
    overwrite(toy / "results/größe/texts/a.json", b"[ ")
    said = toy.run("coder-clip", "record", "--config", config, ok=False).stdout
    assert "results/größe/texts/a.json not the bytes that were made" in said
    toy.snakemake("--configfile", config)
    toy.run("coder-clip", "record", "--config", config)
    toy.commit("six")
    toy.run("coder-clip", "push", "--config", config)
    clone = toy.clone("clone")
    clone.run("coder-clip", "pull", "--config", config)
    assert "Nothing to be done" in clone.snakemake("--configfile", config)


COMMANDS = ("status", "record", "pull", "push")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("rm -r .dvc", "not inside of a DVC repository"),
        ("rm -rf .git", "not a git repository"),
        ("echo '[[' > .dvc/config", "config file error"),
        ("dvc remote modify -q store url gs://bucket/x", "requires 'dvc-gs' to be installed"),
    ],
)
def test_a_place_where_dvc_cannot_work_is_one_line(toy: Project, script: str, said: str) -> None:
    toy.run("sh", "-ec", script)
    for command in COMMANDS:
        answer = toy.run("coder-clip", *command.split(), ok=False)
        assert "Traceback" not in answer.stdout, command
        if answer.returncode:
            assert len(answer.stdout.splitlines()) == 1, answer.stdout
    assert said in toy.run("coder-clip", "push", ok=False).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts the clone read-only")
def test_a_clone_that_cannot_be_written_is_one_line(toy: Project) -> None:
    clone = Project(toy.folder.parent / "read-only", toy.programs)
    clone.folder.mkdir()
    for options in (["--bind", str(toy.folder)], ["-o", "remount,ro,bind"]):
        if subprocess.run(["mount", *options, str(clone.folder)], check=False).returncode:
            pytest.skip("mounting is not allowed here")
    try:
        for command in COMMANDS:
            answer = clone.run("coder-clip", *command.split(), ok=False).stdout
            assert "Traceback" not in answer, command
            assert len(answer.splitlines()) == (5 if command == "status" else 1), (
                answer
            )  # it only looks
        answer = clone.run("coder-clip", "pull", ok=False).stdout
        assert "Read-only file system; check its permissions" in answer
    finally:
        subprocess.run(["umount", "--lazy", str(clone.folder)], check=True)
