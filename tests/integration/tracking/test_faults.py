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
        (("results/scores/m/a.json",), "all"),
        (("results/report.html",), "all"),
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


@pytest.mark.parametrize("moment", [m for m in MOMENTS if m != "dvc.lock is being written"])
def test_kill_of_record(toy: Project, moment: str) -> None:
    """A killed `record` would lose finished work, or leave a lock without its files."""
    toy.edit("config/reproduce.yaml", "scale: 2", "scale: 3")
    toy.snakemake(DVC_STAGE="none")  # records nothing at its end
    look = MOMENTS[moment]
    before = look(toy)
    assert kill_when(toy.start("coder-clip", "record"), lambda: look(toy) != before)
    assert toy.planned() == []  # no work is lost
    finish(toy)


@pytest.mark.parametrize(
    "moment", ["an object is in the cache", "dvc.lock is being written", "dvc.lock is written"]
)
def test_kill_of_dvc_commit(toy: Project, moment: str) -> None:
    """It can leave dvc.lock empty, after which every dvc command fails."""
    toy.edit("config/reproduce.yaml", "scale: 2", "scale: 3")
    toy.snakemake(DVC_STAGE="none")
    look = MOMENTS[moment]
    before = look(toy)
    commit = toy.start("dvc", "commit", "-q", "-f", "features", "scores", "report")
    assert kill_when(commit, lambda: look(toy) != before)
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


def test_a_half_written_record_of_snakemake(toy: Project) -> None:
    """As a full disk leaves it."""
    for path in sorted((toy / ".snakemake/metadata").rglob("*")):
        if path.is_file():
            path.write_text(path.read_text()[:40])
    assert toy.planned() == []
    toy.edit("config/reproduce.yaml", "threshold: 5", "threshold: 6")
    assert toy.planned() == ["page", "score", "score"]


# ---- cache


def test_a_deleted_cache_object_comes_back_from_the_remote(toy: Project) -> None:
    objects = [p for p in (toy / ".dvc/cache/files/md5").rglob("*") if p.is_file()]
    largest = max(objects, key=lambda p: p.stat().st_size)
    largest.unlink()
    assert toy.planned() == []
    toy.run("coder-clip", "record")  # puts the workspace's copy back
    assert largest.is_file()
    shutil.rmtree(toy / ".dvc/cache")
    shutil.rmtree(toy / "results/features")
    toy.run("coder-clip", "pull")
    assert (toy.planned(), toy.stale()) == ([], [])


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


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_full_cache(toy: Project) -> None:
    """A full disk would leave a record of files that the cache does not have."""
    before = toy.lock()
    small = toy.folder.parent / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(small)], check=False
    ).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        toy.edit("config/reproduce.yaml", "scale: 2", "scale: 3")
        toy.run("dvc", "cache", "dir", "--local", str(small))
        said = toy.snakemake()
        assert "DVC's cache cannot be written (No space left" in said
        assert toy.lock() == before
    finally:
        subprocess.run(["umount", "--lazy", str(small)], check=True)
    toy.run("dvc", "cache", "dir", "--local", "--unset")
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


def test_no_git_program(cold: Project, tmp_path: Path) -> None:
    """As in a slim container: the PATH holds what a run needs and no git."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "sh", "env", "which"):
        os.symlink(shutil.which(name) or name, tools / name)
    (cold / "results/report.html").unlink()
    path = f"{Path(cold.environment['PATH'].split(os.pathsep)[0])}{os.pathsep}{tools}"
    said = cold.snakemake(PATH=path)
    assert "results are not recorded: no Git repository here, or no git installed" in said


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
