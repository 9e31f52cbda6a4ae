"""One head for each configuration of a folder; one that is itself a job goes on after its time
limit.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from cluster import Cluster, eventually
from toy_run import Run, toy

pytestmark = pytest.mark.rest


def test_a_second_head_does_not_start_beside_a_living_one(
    shared_folder: Path, cluster: Cluster
) -> None:
    """Not even after --unlock."""
    run = toy(shared_folder, cluster, jobs=["held_a"]).start()
    run.starts("held_a")
    second = Run(shared_folder, cluster, config=run.config, log="second.log")
    assert second.start("--unlock").wait() == 0
    assert second.start().wait() == 1
    refusal = f"another run of this configuration is alive: process {run.process.pid}"  # type: ignore[union-attr]
    (line,) = [x for x in second.said().splitlines() if "alive" in x]
    assert refusal in line
    assert not re.search(r"Traceback|^\w*(Error|Exception):|^ +File ", second.said(), re.M), (
        second.said()
    )
    assert second.start(profile="default").wait() == 1, "nor one on this machine"
    assert "is alive" in second.said()
    run.go("held_a")
    assert run.wait() == 0, run.said()
    assert len(run.started("held_a")) == 1


def test_two_configurations_of_a_folder_do_not_take_each_other_s_jobs(
    shared_folder: Path, cluster: Cluster
) -> None:
    one = toy(shared_folder, cluster, jobs=["held_a"])
    one.configfile = "one.json"
    other = Run(
        shared_folder,
        cluster,
        config={"jobs": ["held_b"]},
        configfile="other.json",
        log="other.log",
    )
    one.start("out/held_a.txt")
    one.starts("held_a")
    one.kill(signal.SIGKILL)
    one.wait()
    other.start("out/held_b.txt")
    other.starts("held_b")
    names = {job.name for job in cluster.live()}
    assert {name.split("_")[-2] for name in names} == {"one", "other"}
    assert all(shared_folder.name in name for name in names), "names tell the clone"
    one.start("out/held_a.txt")
    one.says("is Slurm job")
    one.go("held_a", "held_b")
    assert (one.wait(), other.wait()) == (0, 0), one.said() + other.said()
    assert "of an earlier run" not in other.said()
    assert [len(one.started(name)) for name in ("held_a", "held_b")] == [1, 1]


def test_a_head_in_a_job_goes_on_after_its_time_limit(
    shared_folder: Path, cluster: Cluster
) -> None:
    """Though a job that it does itself lasts longer: this one is done again."""
    (shared_folder / "wait").mkdir()
    (shared_folder / "wait/ok").touch()
    run = toy(shared_folder, cluster, jobs=["held_a", "ok"])
    job = run.submit(3)
    eventually("held_a starts", lambda: run.started("held_a"), 400)
    eventually("the head hands over", lambda: "it is queued again" in run.said(), 400)
    eventually("the next head takes over", lambda: "of an earlier run (log" in run.said(), 400)
    assert run.job(job).state == "RUNNING"
    (shared_folder / "wait/ok").unlink()
    run.go("held_a")
    eventually("all is done", lambda: run.job(job).state == "COMPLETED", 400)
    assert (shared_folder / "out/merged.txt").read_text() == "held_a one\nok one\n"
    assert [len(run.started(name)) for name in ("held_a", "ok")] == [1, 1]
