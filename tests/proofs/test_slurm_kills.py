"""The real workflow on Slurm, with all that goes wrong in a bad week; and as a head that hands over.

On three nodes, and on nodes as tight as the jobs. The head is killed ten times at random moments,
one node fails every job at once, the controller is away for 40 s, squeue cannot be started for 15 s,
and the quota of the executor's own files is used up for 10 s. Each job runs once, none is cancelled,
and the bytes are those of a run on this machine. Nodes take half a minute to start a job, so that the
run outlasts all of it. CODER_CLIP_KILLS: how often the head is killed, 10 unless told.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip(
    "snakemake_executor_plugin_slurm_resilient", reason="the executor for Slurm is not installed"
)
from cluster import eventually
from cluster_run import Run, quicken, running
from snakemake_executor_plugin_slurm_resilient.queue import LIVE
from toy_run import fill, small_disk
from working_copy import PHASES, REPORT, SHAPES_ALONE, Work, duplicate, few_pictures, working_copy

KILLS = int(os.environ.get("CODER_CLIP_KILLS", "10"))
NODES: dict[str, dict[str, Any]] = {
    "three": {},
    "tight": {"cpus": 2, "memory": 4000, "minutes": 60},
}


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> tuple[Work, Work]:
    """A copy in which nothing was run, and one with the results of a run on this machine."""
    folder = tmp_path_factory.mktemp("kills")
    fresh = working_copy(folder / "fresh", SHAPES_ALONE)
    few_pictures(fresh.folder)
    (folder / "local").mkdir()
    done = duplicate(fresh, folder / "local")
    done.commands(*PHASES, *REPORT)
    return fresh, done


@pytest.fixture(params=NODES)
def run(request: pytest.FixtureRequest, local: tuple[Work, Work], tmp_path: Path) -> Iterator[Run]:
    """A copy in which nothing was run, on a cluster of its own."""
    fresh, _ = local
    nodes = request.param
    folder = tmp_path / f"copy-{nodes}"
    folder.mkdir()
    duplicate(fresh, folder)
    quicken(folder)
    slow = {"min_job_age": 3600 * 24, "start_seconds": 30}
    with running(f"kills-{nodes}", **slow, **NODES[nodes]) as cluster:
        yield Run(folder, cluster, configfile=fresh.config)


def check(run: Run, local: tuple[Work, Work], bad: str = "") -> None:
    """Each job ran once and none was cancelled; the bytes are those of the run on this machine.

    bad: the node on which all fail."""
    fresh, done = local
    jobs = run.submitted()
    assert {job.node for job in jobs if job.state != "COMPLETED"} <= {bad}, jobs
    assert {job.state for job in jobs if job.node == bad} <= {"FAILED"}, jobs
    tries = {what: n for (what, state), n in run.tries().items() if state == "COMPLETED"}
    assert set(tries.values()) == {1}, tries
    assert len(done.hashes()) > 50
    assert Work(run.folder, fresh.config).hashes() == done.hashes()


def away(run: Run) -> None:
    """No controller for 40 s."""
    run.cluster.stop_controller()
    time.sleep(40)
    run.cluster.start_controller()


def unstartable(squeue: Path) -> None:
    """squeue has no right to start for 15 s."""
    squeue.chmod(0o644)
    time.sleep(15)
    squeue.chmod(0o755)


def used_up(disk: Path) -> None:
    """No space for the executor's own files for 10 s."""
    filler = fill(disk)
    time.sleep(10)
    filler.unlink()


def test_a_bad_week(run: Run, local: tuple[Work, Work]) -> None:
    """A job that runs twice, or is cancelled by the next head, costs hours on a GPU."""
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    profile = run.folder / "workflow/profiles/slurm/config.yaml"
    text = profile.read_text()
    assert "\nprecommand: " in text
    fails = "test $SLURMD_NODENAME != n1"  # the node that Slurm takes first
    profile.write_text(text.replace("\nprecommand: ", f"\nprecommand: {fails} && "))
    squeue = run.own_squeue()
    with small_disk(run.folder / ".snakemake/slurm-resilient", "size=2m") as disk:
        faults: dict[int, Callable[[], None]] = {
            2: lambda: away(run),
            4: lambda: unstartable(squeue),
            6: lambda: used_up(disk),
        }
        for kill in range(KILLS):
            run.start()
            run.says("jobs:", 600)
            faults.get(kill, lambda: None)()
            time.sleep(chance.uniform(0, 15))
            assert run.process is not None
            assert run.process.poll() is None, (seed, "it ended before", run.said())
            run.kill(signal.SIGKILL)
            run.wait()
            assert run.start("--dry-run").wait() == 0, run.said()
            print(f"seed {seed}, kill {kill + 1}: {len(run.submitted())} jobs so far", flush=True)
        assert run.start().wait(3600) == 0, run.said()
    print(f"{len(run.submitted())} jobs, {run.tries()}")
    assert {job.state for job in run.submitted() if job.node == "n1"} == {"FAILED"}
    check(run, local, bad="n1")


def test_two_hand_overs(run: Run, local: tuple[Work, Work]) -> None:
    """A head that is a job ends with its time limit; its jobs go on, and its successor finds them."""
    head = run.submit(3, "--jobs", "1")  # one job at a time, so that the run outlasts two heads
    run.hands_over(head, 2)
    eventually("the end of the run", lambda: run.job(head).state not in LIVE, 3600)
    assert run.job(head).state == "COMPLETED", run.said()
    check(run, local)
