"""The first and the last seconds of a run: nothing is written twice, and what still runs is told."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import Cluster, eventually
from snakemake_executor_plugin_slurm_resilient import journal
from toy_run import Run, fill, small_disk, toy

pytestmark = pytest.mark.rest


def wrap(run: Run, name: str, body: str) -> None:
    """Put a command of this name in front of Slurm's."""
    folder = run.folder / "wrappers"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{body.format(real=shutil.which(name))}\n")
    (folder / name).chmod(0o755)
    run.more["PATH"] = f"{folder}{os.pathsep}{run.environment['PATH']}"


def times(cluster: Cluster, id: str) -> tuple[str, str]:
    """Start and end of a job, as Slurm writes them."""
    said = cluster.run("scontrol", "show", "job", id)
    return re.findall(r"StartTime=(\S+)", said)[0], re.findall(r"EndTime=(\S+)", said)[0]


def test_a_job_that_nothing_is_known_of_ends_before_its_files_are_made_again(
    shared_folder: Path, cluster: Cluster
) -> None:
    """Somebody removed .snakemake: two jobs would write one file, as long as scancel takes."""
    run = toy(shared_folder, cluster, jobs=["held_a"]).start()
    run.starts("held_a")
    run.kill(signal.SIGKILL)
    run.wait()
    shutil.rmtree(shared_folder / ".snakemake")
    wrap(
        run,
        "scancel",
        f'[ -e {shared_folder}/failed ] && exec {{real}} "$@"; touch {shared_folder}/failed\n'
        'echo "scancel: error: Kill job error: Unspecified error" >&2; exit 1',
    )
    run.start()
    run.starts("held_a", tries=2)
    first, second = run.started("held_a")
    run.go("held_a")
    assert run.wait() == 0, run.said()
    assert run.job(first).state == "CANCELLED"
    assert times(cluster, first)[1] <= times(cluster, second)[0]
    assert f"Cancelled {first}: jobs of an earlier run that nothing is known of" in run.said()


def test_a_folder_is_cleared_once_its_jobs_have_ended(
    shared_folder: Path, cluster: Cluster
) -> None:
    """A killed head leaves a job at work; what removes .snakemake asks Slurm for it."""
    run = toy(shared_folder, cluster, jobs=["held_a"]).start()
    run.starts("held_a")
    run.kill(signal.SIGKILL)
    run.wait()
    (id,) = run.started("held_a")

    def asked() -> tuple[int, str]:
        command = [sys.executable, "-m", "snakemake_executor_plugin_slurm_resilient.unsettled"]
        done = subprocess.run(
            command, cwd=run.folder, env=run.environment, capture_output=True, text=True
        )
        return done.returncode, done.stderr

    assert asked()[1].startswith(f"jobs of a run are at work: {id}. ")
    cluster.run("scancel", id)
    eventually("its end", lambda: not cluster.live())
    assert asked() == (0, "")


def test_three_times_control_c_say_what_still_runs(shared_folder: Path, cluster: Cluster) -> None:
    """A person presses it again where scancel is slow, and must not believe that all is over."""
    run = toy(shared_folder, cluster, jobs=["held_a", "held_b"])
    asked = shared_folder / "asked"
    wrap(run, "scancel", f'echo $$ > {asked}; sleep 600; exec {{real}} "$@"')
    run.start()
    run.starts("held_a", "held_b")
    ids = sorted(run.started("held_a") + run.started("held_b"))
    run.kill(signal.SIGINT)
    eventually("scancel", lambda: asked.exists() and asked.read_text())
    run.kill(signal.SIGINT)
    run.kill(signal.SIGINT)
    assert run.wait() == 1
    words = f"Slurm jobs {' '.join(ids)} could not be cancelled and keep running (interrupted)"
    assert words in run.said()
    assert "Traceback" not in run.said()
    assert {run.job(id).state for id in ids} == {"RUNNING"}
    # else it would cancel them later, and the next run would find that they are gone
    assert not Path(f"/proc/{asked.read_text().strip()}/cmdline").exists()


@pytest.mark.parametrize("folder", ["", "starts"])
def test_a_quota_that_is_used_up_for_a_while(
    shared_folder: Path, cluster: Cluster, folder: str
) -> None:
    """A job that could not note its start counted as a copy of none, and as done without a run.

    For the head's own files: it waits, and says so."""
    run = toy(shared_folder, cluster, jobs=["ok", "ok_too"])
    with small_disk(shared_folder / ".snakemake/slurm-resilient" / folder) as disk:
        filler = fill(disk)
        run.start()
        if folder:
            eventually(
                "both at the guard",
                lambda: [job.state for job in cluster.live()] == ["RUNNING"] * 2,
            )
        else:
            run.says("Files cannot be written now (")
        assert not run.started("ok")
        filler.unlink()
        assert run.wait() == 0, run.said()
    assert [len(run.started(name)) for name in ("ok", "ok_too")] == [1, 1]
    assert {job.state for job in run.submitted()} == {"COMPLETED"}


def test_a_quota_of_files_that_ends_before_the_first_job(
    shared_folder: Path, cluster: Cluster
) -> None:
    """There is room for the head's own files, and none for the folder that the first job needs."""
    run = toy(shared_folder, cluster, jobs=["ok"])
    with small_disk(shared_folder / ".snakemake/slurm-resilient", "size=2m,nr_inodes=5") as disk:
        run.start()
        run.says("Files cannot be written now (.snakemake/slurm-resilient/starts: No space left")
        subprocess.run(["mount", "-o", "remount,nr_inodes=1000", str(disk)], check=True)
        assert run.wait() == 0, run.said()
    assert len(run.started("ok")) == 1
    assert "Files can be written again after" in run.said()


def guarded(file: Path, id: str, seconds: str = "0") -> subprocess.CompletedProcess[str]:
    """What a job with a number does that has a key's file."""
    script = journal.GUARD.format(file=file, unnoted=journal.UNNOTED)
    script = script.replace("sleep 2", f"sleep {seconds}") + "echo it runs\n"
    return subprocess.run(
        ["sh", "-c", script], env={**os.environ, "SLURM_JOB_ID": id}, capture_output=True, text=True
    )


def test_the_first_job_with_a_key_runs_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "key"
    assert guarded(file, "7").stdout == "it runs\n"
    assert guarded(file, "7").stdout == "it runs\n", "Slurm queued it again"
    second = guarded(file, "8")
    assert second.returncode == 0
    assert second.stdout.startswith("This is a second copy of Slurm job 7")


def test_an_empty_file_is_nobody_s_claim(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.touch()
    done = guarded(file, "7")
    assert done.returncode == 73
    assert "it runs" not in done.stdout
    assert "disk full, or a quota is used up?" in done.stdout


def test_a_disk_that_stays_full_is_told(tmp_path: Path) -> None:
    with small_disk(tmp_path / "full") as disk:
        filler = fill(disk)
        done = guarded(tmp_path / "full/key", "7")
        assert done.returncode == 73
        assert "disk full, or a quota is used up?" in done.stdout
        assert re.search("No space left on device|I/O error", done.stdout)  # dash says the latter
        filler.unlink()
        assert guarded(tmp_path / "full/key", "8").stdout == "it runs\n"
