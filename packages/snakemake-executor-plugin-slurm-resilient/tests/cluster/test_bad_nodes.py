"""A node that fails all its jobs at once, and is therefore always idle: it does not use up their
tries.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from cluster import Cluster, eventually
from toy_run import Run, toy

pytestmark = pytest.mark.rest
NAMES = ["ok", *(f"ok_{i}" for i in range(5))]
ON_N1 = "[ $SLURMD_NODENAME != n1 ]"


def tries(run: Run) -> Counter[tuple[str, str, str]]:
    """Job, node and end of each try."""
    return Counter((job.comment.split()[0], job.node, job.state) for job in run.submitted())


def test_a_broken_node_is_learnt_and_avoided(shared_folder: Path, cluster: Cluster) -> None:
    """Six jobs with two retries: all 18 tries would go to this node."""
    run = toy(shared_folder, cluster, jobs=NAMES)
    assert run.start("--precommand", ON_N1).wait() == 0, run.said()
    assert run.said().count("Node n1: two jobs failed there within 10 minutes") == 1
    found = tries(run)
    assert {state for _, node, state in found if node == "n1"} == {"FAILED"}
    failed = {job: n for (job, node, _), n in found.items() if node == "n1"}
    assert set(failed.values()) == {1}, "the next try of a job avoids its last node"
    assert sum(n for (*_, state), n in found.items() if state == "COMPLETED") == len(NAMES)


def test_waiting_jobs_are_kept_off_a_node_that_turned_out_to_be_bad(
    shared_folder: Path, tight: Cluster
) -> None:
    """Slurm has taken them already, and the broken node would be the next that is idle."""
    run = toy(shared_folder, tight, jobs=["held_a", "held_b", *NAMES], after_on_cluster=True)
    # a job on n1 fails as soon as a file with its number is there
    wait = f"until [ -e {shared_folder}/bad/$SLURM_JOB_ID ]; do sleep 0.2; done; exit 1"
    bad = shared_folder / "bad"
    bad.mkdir()
    run.start("--precommand", f"{{ {ON_N1} || {{ {wait}; }}; }}")

    def on_n1() -> list[str]:
        return [job.id for job in tight.live() if job.node == "n1" and job.state == "RUNNING"]

    eventually("two jobs there", lambda: len(on_n1()) == 2)
    for id in on_n1():
        (bad / id).touch()
    run.says("Node n1: two jobs failed there")

    def kept_off() -> bool:
        waiting = [job.id for job in tight.live() if job.state == "PENDING"]
        said = [tight.run("scontrol", "show", "job", id) for id in waiting]
        return bool(said) and all("ExcNodeList=n1" in text for text in said)

    eventually("the waiting ones avoid it", kept_off)
    for id in on_n1():  # these had started meanwhile
        (bad / id).touch()
    run.go("held_a", "held_b")
    assert run.wait() == 0, run.said()
    assert len([job for job in run.submitted() if job.node == "n1"]) <= 4


def test_broken_jobs_are_not_the_fault_of_nodes(shared_folder: Path, cluster: Cluster) -> None:
    """Else they would take one node after the other from all others, and wait for ever."""
    run = toy(shared_folder, cluster, jobs=["never", "never_too", "ok"])
    assert run.start().wait() == 1
    assert [len(run.started(name)) for name in ("never", "never_too", "ok")] == [3, 3, 1]
    for name in ("never", "never_too"):
        first, second, _ = (run.job(id).node for id in run.started(name))
        assert first != second, "another node was tried"
    if "two jobs failed there" in run.said():
        assert "used again, as a job that failed there failed elsewhere, too" in run.said()


def test_the_only_node_of_a_partition_is_not_avoided(shared_folder: Path, cluster: Cluster) -> None:
    """The next try would wait for a node that is not there."""
    names = ["once", "once_too"]
    run = toy(shared_folder, cluster, jobs=names, partition=dict.fromkeys(names, "gpu"))
    assert run.start().wait() == 0, run.said()
    assert {job.node for job in run.submitted()} == {"g1"}
    assert "two jobs failed there" not in run.said(), "it would not be true that it is avoided"


def test_a_job_that_only_one_node_can_run_goes_there_again(
    shared_folder: Path, cluster: Cluster
) -> None:
    """Slurm refuses to avoid the node that the job names."""
    run = toy(shared_folder, cluster, jobs=["once"])
    extra = "job:slurm_extra='--nodelist=n1'"
    assert run.start("--set-resources", extra).wait() == 0, run.said()
    assert [run.job(id).node for id in run.started("once")] == ["n1", "n1"]
