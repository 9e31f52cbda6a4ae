"""The real workflow on Slurm: its head is killed ten times; a head that is a job of Slurm hands
over twice.

On three nodes, and on nodes as tight as the jobs. Each job runs once, none is cancelled, and the
bytes are those of a run on this machine. Nodes take half a minute to start a job, so that the run
outlasts all kills. CODER_CLIP_KILLS: how often, 10 unless told.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster import eventually
from cluster_run import Run, quicken, running
from working_copy import PHASES, REPORT, SHAPES_ALONE, Work, duplicate, few_pictures, working_copy

pytest.importorskip(
    "snakemake_executor_plugin_slurm_resilient", reason="the executor for Slurm is not installed"
)
from snakemake_executor_plugin_slurm_resilient.queue import LIVE

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


def check(run: Run, local: tuple[Work, Work]) -> None:
    """Each job ran once and none was cancelled; the bytes are those of the run on this machine."""
    fresh, done = local
    tries = run.tries()
    assert set(tries.values()) == {1}, tries
    assert {state for _, state in tries} == {"COMPLETED"}, tries
    assert len(done.hashes()) > 50
    assert Work(run.folder, fresh.config).hashes() == done.hashes()


def test_ten_kills(run: Run, local: tuple[Work, Work]) -> None:
    """A job that runs twice, or is cancelled by the next head, costs hours on a GPU."""
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    for kill in range(KILLS):
        run.start()
        run.says("jobs:", 600)
        time.sleep(chance.uniform(0, 15))
        assert run.process is not None
        assert run.process.poll() is None, (seed, "done before it could be killed", run.said())
        run.kill(signal.SIGKILL)
        run.wait()
        assert run.start("--dry-run").wait() == 0, run.said()
        print(f"seed {seed}, kill {kill + 1}: {len(run.submitted())} jobs so far")
    assert run.start().wait(3600) == 0, run.said()
    check(run, local)


def test_two_hand_overs(run: Run, local: tuple[Work, Work]) -> None:
    """A head that is a job ends with its time limit; its jobs go on, and its successor finds them."""
    head = run.submit(3, "--jobs", "1")  # one job at a time, so that the run outlasts two heads
    run.hands_over(head, 2)
    eventually("the end of the run", lambda: run.job(head).state not in LIVE, 3600)
    assert run.job(head).state == "COMPLETED", run.said()
    check(run, local)
