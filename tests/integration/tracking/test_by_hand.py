"""What people do beside the documented commands: files edited, moved and brought by hand, odd
places and names.
"""

from __future__ import annotations

import os
import subprocess

import pytest

from project import Project

pytestmark = pytest.mark.rest

SCORES = ["page", "score", "score"]


# ---- a dry run shows the jobs of the run


# ---- files


def test_a_pull_replaces_links_to_what_is_gone(toy: Project) -> None:
    """DVC with linked files leaves one where it removes a corrupt object."""
    path = toy / "results/scores/m/a.json"
    path.unlink()
    path.symlink_to("gone")
    toy.run("coder-clip", "pull")
    assert (toy.planned(), toy.stale()) == ([], [])


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
    (toy / "results/größe/texts/a.json").unlink()
    (toy / "results/größe/texts/a.json").write_text("[ ")
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
