"""Nodes and limits as tight as the jobs: 2 CPUs, 4,000 MB, 60 minutes. A passing fault never
becomes final.
"""

from __future__ import annotations

import os
import re
import signal
import time
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import Cluster, eventually
from toy_run import BY_RECORDS, Run, toy

pytestmark = pytest.mark.rest
NAMES = ["killed", "child", "large", "held_late", "held_longest"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tight: Cluster) -> Iterator[Run]:
    run = toy(
        tmp_path_factory.mktemp("tight") / "toy",
        tight,
        jobs=NAMES,
        memory={"killed": 2500, "child": 600, "large": 5000},
        runtime={"held_late": 40, "held_longest": 60, "large": 80},
        partition={"held_late": "gpu", "held_longest": "gpu"},
    )
    run.start()
    run.starts("held_late", "held_longest")
    for name in ("held_late", "held_longest"):
        tight.run("scontrol", "update", f"JobId={run.started(name)[0]}", "EndTime=now+1")
    run.starts("held_late", tries=2)
    run.go("held_late")
    run.wait(240)
    yield run
    tight.cancel_all()


def memory(run: Run, name: str) -> list[str]:
    return [run.job(id).memory for id in run.started(name)]


def test_memory_is_capped_by_the_partition_and_that_is_said_in_one_line(run: Run) -> None:
    """After signal 9."""
    assert memory(run, "killed") == ["2500M", "4000M"]
    assert "asks for 4000 MB, the most that there is, instead of 5000 (partition cpu)" in run.said()
    assert (run.folder / "out/killed.after").is_file()


def test_a_killed_child_of_a_job_had_too_little_memory(run: Run) -> None:
    """As the kernel ends it where Slurm does not count memory: three tries with the same would end
    the same.
    """
    assert memory(run, "child") == ["600M", "1200M"]
    assert f"Slurm job {run.started('child')[0]} was killed on" in run.said()
    assert (run.folder / "out/child.after").is_file()


def test_the_first_request_is_capped_too_and_what_was_asked_is_said(run: Run) -> None:
    """Else a job that would fit is refused for its generous estimate."""
    assert memory(run, "large") == ["4000M"]
    cut = (
        "asks for 4000 MB, the most that there is, instead of 5000 and 60 min, the most that "
        "there is, instead of 80"
    )
    assert cut in run.said()
    (line,) = [x for x in run.said().splitlines() if f"SLURM jobid {run.started('large')[0]} " in x]
    assert line.endswith("It asks for 4000 MB, 60 min, 1 CPUs, partition cpu.")
    assert (run.folder / "out/large.after").is_file()


def test_time_is_capped_by_the_partition_and_that_is_said_in_one_line(run: Run) -> None:
    assert "asks for 60 min, the most that there is, instead of 80 (partition gpu)" in run.said()
    assert len(run.started("held_late")) == 2
    assert (run.folder / "out/held_late.after").is_file()


def test_a_job_that_needs_more_than_there_is_ends_with_a_line_that_says_so(run: Run) -> None:
    assert len(run.started("held_longest")) == 1
    assert "and 60 is the most that partition gpu gives: not tried again" in run.said()
    assert run.status == 1, "the rest was done"


def test_a_partition_is_chosen_by_what_a_job_asks_for(shared_tight: Path, tight: Cluster) -> None:
    """On a GPU or not; each rule need not name a partition of this site."""
    names = ["ok", "ok_gpu"]
    auto = {"partition": dict.fromkeys(names, "auto"), "gpu": {"ok_gpu": 1}}
    run = toy(shared_tight, tight, jobs=names, **auto)
    assert run.start().wait() == 0, run.said()
    assert [run.job(run.started(name)[0]).partition for name in names] == ["cpu", "gpu"]


def test_the_memory_that_a_partition_allows_cuts_a_retry(
    shared_tight: Path, tight: Cluster
) -> None:
    """MaxMemPerNode: else the next try is refused for good."""
    tight.run("scontrol", "update", "PartitionName=urgent", "MaxMemPerNode=1500")
    partition = {"partition": {"child": "urgent"}, "memory": {"child": 1000}}
    run = toy(shared_tight, tight, jobs=["child"], **partition)
    assert run.start().wait() == 0, run.said()
    assert [run.job(id).memory for id in run.started("child")] == ["1000M", "1500M"]


def test_less_memory_than_snakemake_needs_is_told(shared_tight: Path, tight: Cluster) -> None:
    """Slurm ends such a job at its start, and its own small program is not the reason."""
    run = toy(shared_tight, tight, jobs=["ok"], memory={"ok": 200})
    run.start("--retries", "0").wait()
    assert "Job job: asks for 200 MB, and Snakemake itself needs about 300 MB of it" in run.said()


def test_a_group_asks_for_no_more_than_a_node_has(shared_tight: Path, tight: Cluster) -> None:
    """Side by side, its jobs would ask for 6,000 MB and 3 CPUs, and be refused by every head again."""
    names = ["ok", "ok_too", "brief"]
    given = {"memory": dict.fromkeys(names, 2000), "runtime": dict.fromkeys(names, 5)}
    run = toy(shared_tight, tight, jobs=names, **given, after_on_cluster=True)
    groups = ["--groups", "job=all", "after=all", "--group-components", "all=100"]
    assert run.start(*groups).wait() == 0, run.said()
    (group,) = {run.job(id) for name in names for id in run.started(name)}
    assert (group.memory, group.cpus) == ("4000M", "2")
    assert (
        "its jobs take turns, because no node has 6000 MB, 10 min, 3 CPUs, partition cpu"
        in run.said()
    )
    assert "It asks for 4000 MB, 20 min, 2 CPUs, partition cpu" in run.said()


def test_a_job_asks_for_no_more_cpus_than_a_node_has(shared_tight: Path, tight: Cluster) -> None:
    """A head on a large login node plans for more."""
    run = toy(shared_tight, tight, jobs=["ok"], threads=5)
    assert run.start().wait() == 0, run.said()
    assert run.job(run.started("ok")[0]).cpus == "2"
    assert "asks for 2 CPUs, the most that there is, instead of 5 (partition cpu)" in run.said()


def test_a_partition_that_is_closed_is_waited_for(shared_tight: Path, tight: Cluster) -> None:
    """For maintenance; jobs of other partitions go on."""
    run = toy(shared_tight, tight, jobs=["ok", "ok_too"], partition={"ok": "gpu"})
    tight.run("scontrol", "update", "PartitionName=gpu", "State=DRAIN")
    try:
        run.start().says("Slurm takes no job now (job")
        eventually("the other made", lambda: (shared_tight / "out/ok_too.after").exists())
    finally:
        tight.run("scontrol", "update", "PartitionName=gpu", "State=UP")
    assert run.wait() == 0, run.said()
    assert len(run.started("ok")) == 1


def test_another_cluster_is_refused_in_one_line(shared_tight: Path, tight: Cluster) -> None:
    """Half of Slurm's commands would look for its jobs here."""
    run = toy(shared_tight, tight, jobs=["ok"])
    assert run.start("--set-resources", "job:cluster='east'", "--retries", "0").wait() == 1
    (line,) = [line for line in run.said().splitlines() if "is not supported" in line]
    assert (
        "resource cluster is not supported: start the run on a login node of that cluster" in line
    )


def test_preempted_and_lost_more_often_than_there_are_tries(
    shared_tight: Path, tight: Cluster
) -> None:
    """Where Slurm does not queue such jobs again itself."""
    names = ["held_preempted", "held_lost"]
    run = toy(
        shared_tight,
        tight,
        jobs=names,
        partition={"held_preempted": "scavenge", "held_lost": "gpu"},
    )
    profile = shared_tight / "workflow/profiles/slurm/config.yaml"
    profile.write_text(
        profile.read_text().replace("slurm-resilient-requeue", "slurm-resilient-no-requeue")
    )
    run.start("--retries", "0")
    for tries in (1, 2, 3):
        run.starts(*names, tries=tries)
        (preempted, lost) = (run.job(run.started(name)[-1]) for name in names)
        urgent = [
            "-p",
            "urgent",
            "-w",
            preempted.node,
            "--exclusive",
            "-D",
            str(shared_tight),
            "-o",
            "/dev/null",
        ]
        room = tight.run("sbatch", "--parsable", *urgent, "--wrap", "true").strip()
        tight.run("scontrol", "update", "NodeName=g1", "State=DOWN", "Reason=test")
        eventually(
            "both gone",
            lambda p=preempted, o=lost: {p.id, o.id}.isdisjoint(j.id for j in tight.live()),
        )
        tight.ask(
            "scontrol", "update", "NodeName=g1", "State=RESUME"
        )  # unless it has registered again itself
        eventually("room was made", lambda r=room: run.job(r).state == "COMPLETED", 180)
    run.starts(*names, tries=4)
    run.go(*names)
    assert run.wait() == 0, run.said()
    for name, state, words in (
        ("held_preempted", "PREEMPTED", "was preempted"),
        ("held_lost", "NODE_FAIL", "lost its node"),
    ):
        *before, last = run.started(name)
        assert [run.job(id).state for id in before] == [state] * 3
        (line,) = [x for x in run.said().splitlines() if words in x]
        assert f"Slurm job {before[0]} " in line, "said once"
        assert "uses no try" in line
        assert run.job(last).state == "COMPLETED"


def test_what_a_forgotten_job_made_is_known_whatever_the_clocks_say(
    shared_tight: Path, tight: Cluster
) -> None:
    """Files without Snakemake's records would hide a later change of a parameter."""
    run = toy(shared_tight, tight, jobs=["held_a", "held_b"]).start()
    run.starts("held_a", "held_b")
    (mark,) = (
        m
        for m in (shared_tight / ".snakemake/incomplete").iterdir()
        if b"held_b" in b64decode(m.name)
    )
    run.kill(signal.SIGKILL)
    run.wait()
    run.go("held_a", "held_b")
    eventually("both made", lambda: not tight.live())
    tight.forget()
    os.utime(
        shared_tight / "out/held_a.txt", (0, time.time() - 3600)
    )  # the head's clock is an hour fast
    mark.touch()  # a half-written file
    assert run.start().wait() == 0, run.said()
    assert [len(run.started(name)) for name in ("held_a", "held_b")] == [1, 2]
    run.config["content"] = "two"  # a parameter: so Snakemake must know what made each file
    assert run.start("--dry-run", *BY_RECORDS).wait() == 0
    assert re.search(r"^job +2$", run.said(), re.MULTILINE), run.said()


def test_a_group_of_a_dead_head_that_failed_is_made_again(
    shared_tight: Path, tight: Cluster
) -> None:
    """One of its jobs had ended well, which nobody recorded."""
    grouped = ["--groups", "job=jobs", "--group-components", "jobs=100"]
    run = toy(shared_tight, tight, jobs=["ok", "held_a"]).start(*grouped)
    run.starts("ok", "held_a")
    eventually("ok made", lambda: (shared_tight / "out/ok.txt").exists())
    run.kill(signal.SIGKILL)
    run.wait()
    tight.run("scancel", *run.started("held_a"))
    eventually("its end", lambda: not tight.live())
    run.go("held_a")
    assert run.start(*grouped).wait() == 0, run.said()
    run.config["content"] = "two"
    assert run.start(*grouped, "--dry-run", *BY_RECORDS).wait() == 0
    assert re.search(r"^job +2$", run.said(), re.MULTILINE), run.said()


@pytest.fixture
def shared_tight(tmp_path: Path, tight: Cluster) -> Iterator[Path]:
    yield tmp_path
    tight.cancel_all()
