"""Nodes and limits as tight as the jobs: 4 CPUs, 4,000 MB, 60 minutes. A passing fault never becomes final."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import Cluster
from cluster_run import Run, toy

pytestmark = pytest.mark.rest
NAMES = ["once_full", "held_cancel", "greedy", "killed", "held_late", "held_longest"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tight: Cluster) -> Iterator[Run]:
    run = toy(
        tmp_path_factory.mktemp("tight") / "toy",
        tight,
        jobs=NAMES,
        memory={"once_full": 3500, "held_cancel": 3500, "greedy": 400, "killed": 2500},
        runtime={"once_full": 60, "held_cancel": 60, "held_late": 40, "held_longest": 60},
        partition={"held_late": "gpu", "held_longest": "gpu"},
    )
    run.start()
    run.starts("held_late", "held_longest")
    for name in ("held_late", "held_longest"):
        tight.run("scontrol", "update", f"JobId={run.started(name)[0]}", "EndTime=now+1")
    run.starts("held_cancel")
    tight.run("scancel", *run.started("held_cancel"))
    run.starts("held_cancel", "held_late", tries=2)
    run.go("held_cancel", "held_late")
    run.wait(240)
    yield run
    tight.cancel_all()


def memory(run: Run, name: str) -> list[str]:
    return [run.job(id).memory for id in run.started(name)]


@pytest.mark.parametrize("name", ["once_full", "held_cancel"])
def test_what_failed_otherwise_is_tried_with_what_it_had(run: Run, name: str) -> None:
    """One that ended with status 1, and one that was cancelled: twice the memory would be refused."""
    assert memory(run, name) == ["3500M", "3500M"]
    assert (run.folder / f"out/{name}.after").is_file()


def test_more_memory_after_an_out_of_memory_kill(run: Run) -> None:
    assert memory(run, "greedy") == ["400M", "800M"]
    assert (run.folder / "out/greedy.after").is_file()


def test_memory_is_capped_by_the_partition_and_that_is_said_in_one_line(run: Run) -> None:
    """After signal 9."""
    assert memory(run, "killed") == ["2500M", "4000M"]
    assert "asks for 4000 MB, the most that there is, instead of 5000 (partition cpu)" in run.said()
    assert (run.folder / "out/killed.after").is_file()


def test_time_is_capped_by_the_partition_and_that_is_said_in_one_line(run: Run) -> None:
    assert "asks for 60 min, the most that there is, instead of 80 (partition gpu)" in run.said()
    assert len(run.started("held_late")) == 2
    assert (run.folder / "out/held_late.after").is_file()


def test_a_job_that_needs_more_than_there_is_ends_with_a_line_that_says_so(run: Run) -> None:
    assert len(run.started("held_longest")) == 1
    assert "and 60 is the most that partition gpu gives: not tried again" in run.said()
    assert run.status == 1, "the rest was done"


def test_a_limit_that_nobody_told_of_is_no_reason_to_give_up(shared_tight: Path, tight: Cluster) -> None:
    """Slurm refuses what the next try asks for: it gets what it had before."""
    tight.run("scontrol", "update", "PartitionName=scavenge", "MaxMemPerNode=3000")
    run = toy(shared_tight, tight, jobs=["killed"], memory={"killed": 2000}, partition={"killed": "scavenge"})
    assert run.start().wait() == 0, run.said()
    assert memory(run, "killed") == ["2000M", "2000M"]
    assert "does not take job job with 4000 MB" in run.said()
    assert "it asks for what it had before" in run.said()


@pytest.fixture
def shared_tight(tmp_path: Path, tight: Cluster) -> Iterator[Path]:
    yield tmp_path
    tight.cancel_all()
