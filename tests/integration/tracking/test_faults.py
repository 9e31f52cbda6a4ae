"""What goes wrong on real machines. Never is something incomplete recorded, never is work lost."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from project import Project, make_toy, wait_for

pytestmark = pytest.mark.rest


def kill(process: subprocess.Popen[str]) -> None:
    """kill -9 of exactly this process, as the kernel or a person would."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def kill_when(process: subprocess.Popen[str], happened: Callable[[], bool]) -> bool:
    """kill -9 of this process and what it started, in its own group, once that has happened; False:
    it ended first.
    """
    while not happened():
        if process.poll() is not None:
            return False
        time.sleep(0.001)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return True


def kill_a_job(toy: Project, moment: str, file: str, now: str, other: str) -> None:
    """kill -9 of a run with another setting, and of its job that makes this file; then the setting
    is as before. moment: "hang", the file is half-written; "pause", the old one is there.
    """
    toy.edit("config/reproduce.yaml", now, other)
    (toy / moment).write_text(file)
    run = toy.start("snakemake", "--cores", "1", "--rerun-incomplete")
    job = int(wait_for(toy / "hanging"))
    kill(run)
    os.kill(job, signal.SIGKILL)
    (toy / moment).unlink()
    toy.run("snakemake", "--unlock")
    toy.edit("config/reproduce.yaml", other, now)


def finish(toy: Project) -> None:
    """The way back is an ordinary run; then both tools are content, and so is a clone."""
    toy.snakemake()
    toy.run("coder-clip", "record")
    assert (toy.planned(), toy.stale()) == ([], [])


# ---- runs


def test_kill_of_snakemake_in_the_middle_of_a_job(toy: Project) -> None:
    before = toy.entries("features", "scores", "report")
    toy.edit("config/reproduce.yaml", "scale: 2", "scale: 3")
    (toy / "hang").write_text("m/b.bin")
    run = toy.start("snakemake", "--cores", "1", "--rerun-incomplete")
    job = int(wait_for(toy / "hanging"))
    kill(run)
    said = toy.run("coder-clip", "record", ok=False)
    assert said.returncode == 1
    # which of the two jobs Snakemake starts first is its own choice
    lacks = r"^phase features is not recorded: results/features/m/\S+( \(and 1 more\))? a parameter changed"
    assert re.search(lacks, said.stdout, flags=re.M), said.stdout
    os.kill(job, signal.SIGKILL)  # the job lives on when Snakemake is killed
    assert toy.run("coder-clip", "record", ok=False).returncode == 1
    assert toy.entries("features", "scores", "report") == before
    (toy / "hang").unlink()
    toy.run("snakemake", "--unlock")
    assert "feature" in toy.honest()
    finish(toy)


@pytest.mark.parametrize(
    ("lost", "target"),
    [
        (("results/scores/m/b.json", "results/report.html"), "all"),  # behind the half-written file
        (("results/scores/m/a.json",), "scores"),  # beside it
        (("results/scores/m/a.json", "results/report.html"), "report_page"),
    ],
)
def test_with_a_half_written_file_everything_missing_is_made(
    toy: Project, lost: tuple[str, ...], target: str
) -> None:
    """Snakemake itself starts the job of a half-written file; a run that makes no other would end
    well, with gaps.
    """
    kill_a_job(toy, "hang", "m/b.bin", "scale: 2", "scale: 3")
    for path in lost:
        (toy / path).unlink()
    toy.snakemake(target)
    assert [path for path in lost if not (toy / path).is_file()] == []
    finish(toy)


def test_behind_a_killed_job_whose_old_files_are_there_every_phase_is_made(toy: Project) -> None:
    """Snakemake starts it, and found nothing else to do: a phase without any file was left so, and
    the run ended well.
    """
    kill_a_job(toy, "pause", "m/b.json", "threshold: 5", "threshold: 6")
    shutil.rmtree(toy / "results/texts")
    toy.snakemake("every_phase")
    assert sorted(path.name for path in (toy / "results/texts").glob("*")) == ["a.json", "b.json"]
    finish(toy)


def test_a_failing_job(toy: Project) -> None:
    """The other phases are recorded, the phase of the failed job keeps its entry."""
    toy.edit("config/reproduce.yaml", "words: 3", "words: 2")
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    (toy / "fail").write_text("m/b.json")
    said = toy.snakemake(ok=False)
    assert "recorded in DVC: texts, features;" in said
    assert "phase scores is not recorded: results/scores/m/b.json (and 1 more)" in said
    changed = toy.git("diff", "--unified=0", "dvc.lock")
    assert "results/features" in toy.lock()
    assert "+      md5" not in "".join(x for x in changed.split("@@") if "results/scores" in x)
    (toy / "fail").unlink()
    finish(toy)


def test_two_runs_at_once(toy: Project) -> None:
    """The second sees Snakemake's lock; both records wait for each other."""
    toy.edit("config/reproduce.yaml", "scale: 2", "scale: 3")
    runs = [toy.start("snakemake", "--cores", "1", "--rerun-incomplete") for _ in range(2)]
    said = [run.communicate(timeout=300)[0] for run in runs]
    assert any(run.returncode == 0 for run in runs), said
    records = [toy.start("coder-clip", "record") for _ in range(3)]
    assert [r.wait(timeout=300) for r in records] == [0, 0, 0]
    finish(toy)


# ---- records


MOMENTS: dict[str, Callable[[Project], object]] = {  # of which each changes while record works
    "an object is in the cache": lambda toy: len(list((toy / ".dvc/cache/files/md5").glob("??/*"))),
    "dvc.lock is being written": lambda toy: (toy / "dvc.lock").stat().st_mtime_ns,
    "dvc.lock is written": lambda toy: (toy / "dvc.lock").read_text(),
}


COMMIT = ("dvc", "commit", "-q", "-f", "features", "scores", "report")
KILLED = (
    (("coder-clip", "record"), "an object is in the cache"),
    (("coder-clip", "record"), "dvc.lock is written"),
    (COMMIT, "dvc.lock is being written"),
)


@pytest.mark.parametrize(("command", "moment"), KILLED, ids=[moment for _, moment in KILLED])
def test_kill_of_a_record(toy: Project, command: tuple[str, ...], moment: str) -> None:
    """A killed `record` would lose finished work, or leave a lock without its files; DVC's own can
    leave dvc.lock empty, after which every dvc command fails.
    """
    toy.edit("config/reproduce.yaml", "scale: 2", "scale: 3")
    toy.snakemake(DVC_STAGE="none")  # records nothing at its end
    look = MOMENTS[moment]
    before = look(toy)
    assert kill_when(toy.start(*command), lambda: look(toy) != before)
    assert toy.planned() == []  # no work is lost
    finish(toy)


@pytest.mark.parametrize("left", ["", "schema: '2.0'\nstages:\n  texts:\n    cmd: ["])
def test_a_damaged_lock_is_mended(toy: Project, left: str) -> None:
    whole = toy.lock()
    (toy / "dvc.lock").write_text(left)
    assert toy.run("dvc", "status", ok=False).returncode != 0
    said = toy.run("coder-clip", "record").stdout
    assert "dvc.lock was damaged (a write was cut short): the committed one was restored" in said
    assert toy.lock() == whole
    (toy / "dvc.lock").write_text(left)
    for look in ("status", "pull"):
        assert (
            "dvc.lock is damaged; 'coder-clip record' repairs it"
            in toy.run("coder-clip", look, ok=False).stdout
        )
    assert "Nothing to be done" in toy.snakemake()  # a run repairs it, too
    toy.run("coder-clip", "record")
    assert toy.lock() == whole
    assert (toy.planned(), toy.stale()) == ([], [])


def test_a_damaged_lock_that_no_commit_has_is_removed(toy: Project) -> None:
    whole = toy.lock()
    toy.git("rm", "--quiet", "--cached", "dvc.lock")
    toy.git("commit", "--quiet", "-m", "without dvc.lock")
    (toy / "dvc.lock").write_text("")
    said = toy.run("coder-clip", "record").stdout
    assert "dvc.lock was damaged (a write was cut short): the last commit has none" in said
    assert "restored" not in said
    assert toy.lock() == whole  # recorded again


# ---- cache


def test_an_edited_file_does_not_become_the_lost_object_of_another(toy: Project) -> None:
    """Its bytes would be in the cache under the hash of the recorded ones."""
    path = next(p for p in sorted((toy / "results/features").rglob("*")) if p.is_file())
    md5 = hashlib.md5(path.read_bytes()).hexdigest()
    lost = toy / f".dvc/cache/files/md5/{md5[:2]}/{md5[2:]}"
    lost.unlink()
    path.unlink()  # a link to the object, or a copy of it
    path.write_text("edited")
    shutil.rmtree(toy.folder.parent / "store")  # else the object is in the remote already
    done = toy.run("coder-clip", "push", ok=False)
    assert f"phase features is not pushed: {path.relative_to(toy.folder)}" in done.stdout
    assert not lost.exists()


def test_a_cache_that_cannot_be_written(toy: Project) -> None:
    """Root ignores permissions, so a file is in the place of the cache folder."""
    before = toy.lock()
    toy.edit("config/reproduce.yaml", "scale: 2", "scale: 3")
    toy.run("dvc", "cache", "dir", "--local", "../no-cache")
    (toy.folder.parent / "no-cache").write_text("in the way")
    said = toy.snakemake()  # a good run stays a good run
    assert "DVC's cache cannot be written" in said
    assert "Nothing is lost: when that is fixed, 'coder-clip record' does it" in said
    assert toy.lock() == before
    (toy.folder.parent / "no-cache").unlink()
    finish(toy)


# ---- surroundings


@pytest.mark.parametrize("lacks", ["Git", "DVC"])
def test_no_git_or_no_dvc(tmp_path: Path, lacks: str) -> None:
    toy = make_toy(tmp_path / "work", git=lacks != "Git", dvc=lacks != "DVC")
    said = toy.snakemake()
    assert "8 of 8 steps (100%) done" in said
    assert said.count("coder-clip:") == 1
    assert f"results are not recorded: no {lacks} repository here" in said
    assert toy.planned() == []


def test_a_job_on_a_node_calls_no_dvc(toy: Project) -> None:
    """A job's own Snakemake records nothing."""
    (toy / "results/scores/m/a.json").unlink()
    before = toy.lock()
    options = [
        "--mode",
        "remote",
        "--no-hooks",
        "--nolock",
        "--target-jobs",
        "score:set=a",
        "--force",
    ]
    said = toy.run(
        "snakemake",
        "--cores",
        "1",
        "--allowed-rules",
        "score",
        *options,
        "--",
        "results/scores/m/a.json",
    )
    assert "coder-clip:" not in said.stdout
    assert toy.lock() == before


# ---- the code, the configuration and the files that were really used


def test_code_of_another_clone_neither_runs_nor_is_recorded(toy: Project) -> None:
    """Its environment is active here: what ./src holds would be recorded for bytes that the other
    code made.
    """
    (toy / "src/coder_clip").mkdir()
    (toy / "src/coder_clip/__init__.py").write_text("")
    toy.edit("src/toy/score.py", "% 100", "% 50")
    before = toy.lock(), toy.bytes()
    for command in (("snakemake", "--cores", "1"), ("coder-clip", "record")):
        done = toy.run(*command, ok=False)
        assert done.returncode == 1
        assert "not from ./src" in done.stdout
        assert "make install" in done.stdout
    assert (toy.lock(), toy.bytes()) == before


# ---- a look changes nothing


def test_what_dvc_replaced_in_the_middle_of_a_job_is_made_again(toy: Project) -> None:
    """DVC's own commands do not know of the run."""
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    (toy / "pause").write_text("m/b.csv")
    run = toy.start("snakemake", "--cores", "1")
    wait_for(toy / "hanging")
    toy.run("dvc", "checkout", "--force", "--quiet", "scores")
    (toy / "pause").unlink()
    said = run.communicate(timeout=300)[0]
    assert run.returncode == 0, said
    assert "not the bytes that were made" in said
    assert "score" in toy.honest()  # both, if the other one had ended before
    toy.edit("src/toy/score.py", "% 100", "% 100 + 0")  # the same bytes
    assert toy.honest() == ["page", "score", "score"]
    assert (toy.planned(), toy.stale()) == ([], [])


def test_nothing_is_pulled_while_a_run_makes_files(toy: Project) -> None:
    """A job has written one of its outputs; the recorded one in its place would count as what the
    job made.
    """
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    (toy / "pause").write_text("m/b.csv")
    run = toy.start("snakemake", "--cores", "1", "--nolock")
    wait_for(toy / "hanging")
    made = (toy / "results/scores/m/b.json").read_bytes()
    said = toy.run("coder-clip", "pull", ok=False)
    assert said.returncode == 1
    assert "a run makes results here; try again when it has ended" in said.stdout
    assert (toy / "results/scores/m/b.json").read_bytes() == made
    (toy / "pause").unlink()
    said_by_run = run.communicate(timeout=300)[0]
    assert run.returncode == 0, said_by_run
    assert toy.honest() == []
    toy.run("coder-clip", "pull")
    assert (toy.planned(), toy.stale()) == ([], [])
