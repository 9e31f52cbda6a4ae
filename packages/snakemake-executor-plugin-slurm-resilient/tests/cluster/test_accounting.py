"""A cluster with an accounting database: sacct exists and the plugin would use it, a user may
submit two jobs at a time, the controller forgets ended jobs within seconds, and a node crashes. The
run goes on as elsewhere."""

from __future__ import annotations

import getpass
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import Cluster, eventually
from toy_run import Run, toy

pytestmark = pytest.mark.rest


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, accounting: Cluster) -> Iterator[Run]:
    """Of three jobs one loses its node, one is cancelled, one just ends."""
    run = toy(
        tmp_path_factory.mktemp("accounting") / "toy",
        accounting,
        jobs=["ok", "held_crash", "held_cancel"],
    )
    accounting.limit_submissions(2)
    run.start()
    run.starts("held_crash", "held_cancel")
    (victim,) = run.started("held_crash")
    accounting.run("scancel", *run.started("held_cancel"))
    run.starts("held_cancel", tries=2, seconds=120)
    node = run.job(victim).node
    accounting.crash(node)
    run.starts("held_crash", tries=2, seconds=150)
    run.go("held_crash", "held_cancel")
    run.wait()
    accounting.limit_submissions(None)
    accounting.start_node(node)
    yield run
    accounting.cancel_all()


def test_the_run_succeeds(run: Run) -> None:
    """A run whose jobs crash or are cancelled would not end with all its files."""
    assert run.status == 0, run.said()
    lines = (run.folder / "out/merged.txt").read_text().splitlines()
    assert lines == ["ok one", "held_crash one", "held_cancel one"]


def test_slurm_queues_the_job_of_a_crashed_node_again(run: Run) -> None:
    first, second = run.started("held_crash")
    assert first == second, "a copy beside it would write the same file"
    assert f"Slurm job {first} " not in run.said(), "the head never noticed"


def test_a_cancelled_job_is_tried_again(run: Run) -> None:
    """The plugin waits for ever: it does not know sacct's 'CANCELLED by 0'."""
    first, _ = dict.fromkeys(run.started("held_cancel"))
    assert f"Slurm job {first} was cancelled" in run.said()


def test_the_database_knows_every_job(run: Run, accounting: Cluster) -> None:
    rows = accounting.run("sacct", "-nPX", "--format=JobID,State").split("\n")
    states = dict(row.split("|") for row in rows if row)
    (ok,), (first, second) = run.started("ok"), dict.fromkeys(run.started("held_cancel"))
    assert states[first].startswith("CANCELLED by")
    crashed = run.started("held_crash")[0]
    assert [states[i] for i in (ok, second, crashed)] == ["COMPLETED"] * 3


def test_what_jobs_asked_for_and_used_is_told_after_a_run(run: Run) -> None:
    command = [sys.executable, "-m", "snakemake_executor_plugin_slurm_resilient.used"]
    done = subprocess.run(
        command, cwd=run.folder, env=run.environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    heading, row = done.stdout.splitlines()
    assert heading.split()[:3] == ["rule", "jobs", "MB"]
    rule, jobs, asked, used, *_ = row.split()
    assert (rule, jobs, asked) == ("job", "3", "500")
    assert 0 < int(used) <= 500


def test_a_wrong_account_or_qos_is_told_in_a_line(
    tmp_path_factory: pytest.TempPathFactory, accounting: Cluster
) -> None:
    run = toy(
        tmp_path_factory.mktemp("not-mine") / "toy",
        accounting,
        jobs=["ok", "account", "qos"],
        account={"account": "their-lab", "qos": "lab"},
        qos={"qos": "gold"},
    )
    assert run.start().wait() == 1
    for words in (
        "account their-lab is not one of yours, or not allowed on partition cpu: change "
        "slurm_account in the profile",
        "there is no QOS gold, or account lab may not use it: change qos in the profile",
    ):
        assert len([line for line in run.said().splitlines() if words in line]) == 1
    assert [len(run.started(name)) for name in ("ok", "account", "qos")] == [1, 0, 0]


def test_a_job_that_slurm_does_not_take_now_holds_up_no_other(
    accounting: Cluster, tmp_path: Path
) -> None:
    """One QOS is full for hours, and nodes of another partition are idle."""
    accounting.run("sacctmgr", "-i", "add", "qos", "narrow", "MaxSubmitJobsPerUser=1")
    accounting.run("sacctmgr", "-i", "modify", "user", getpass.getuser(), "set", "qos+=narrow")
    narrow = ["held_a", "held_b"]
    run = toy(
        tmp_path / "toy",
        accounting,
        jobs=[*narrow, "ok", "ok_too"],
        qos=dict.fromkeys(narrow, "narrow"),
    )
    run.start()
    run.says("Slurm takes no job now (job")
    assert "partition cpu: sbatch: error: QOSMaxSubmitJobPerUserLimit" in run.said()
    eventually(
        "the others made",
        lambda: all((run.folder / f"out/{n}.after").exists() for n in ("ok", "ok_too")),
    )
    assert sorted(len(run.started(name)) for name in narrow) == [0, 1]
    run.go(*narrow)
    assert run.wait() == 0, run.said()
    assert run.said().count("Slurm takes no job now") == 1
