"""The real workflow on Slurm: its head is killed ten times, then a head that is a job of Slurm
hands over twice.

On three nodes, and on nodes as tight as the jobs. Each job runs once, none is cancelled, and the
bytes are those of a
run on this machine. CODER_CLIP_KILLS: how often, 10 unless told.
"""

from __future__ import annotations

import os
import random
import signal
import time
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


@pytest.mark.parametrize("nodes", NODES)
def test_ten_kills_and_two_hand_overs(local: tuple[Work, Work], tmp_path: Path, nodes: str) -> None:
    fresh, done = local
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    folder = tmp_path / f"killed-{nodes}"
    folder.mkdir()
    duplicate(fresh, folder)
    quicken(folder)
    with running(f"kills-{nodes}", min_job_age=3600 * 24, **NODES[nodes]) as cluster:
        run = Run(folder, cluster, configfile=fresh.config)
        for kill in range(KILLS):
            run.start()
            eventually(
                "a plan", lambda: "jobs:" in run.said() or run.process.poll() is not None, 600
            )  # type: ignore[union-attr]
            time.sleep(chance.uniform(0, 25))
            if run.process is not None and run.process.poll() is not None:
                break  # done before it could be killed
            run.kill(signal.SIGKILL)
            run.wait()
            assert run.start("--dry-run").wait() == 0, run.said()
            print(f"seed {seed}, kill {kill + 1}: {len(run.submitted())} jobs so far")
        head = run.submit(minutes=3)
        run.hands_over(head, 2)
        eventually("the end of the run", lambda: run.job(head).state not in LIVE, 3600)
        assert run.job(head).state == "COMPLETED", run.said()
        tries = run.tries()
        assert set(tries.values()) == {1}, (seed, tries)
        assert {state for _, state in tries} == {"COMPLETED"}, (seed, tries)
    assert len(done.hashes()) > 50
    assert Work(folder, fresh.config).hashes() == done.hashes()
