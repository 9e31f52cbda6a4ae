"""The head is killed at random moments of a run with shards: nothing runs twice, nothing is lost.

CODER_CLIP_KILLS: how often, 6 unless told.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from pathlib import Path

import pytest

from cluster import Cluster
from toy_run import BY_RECORDS, toy

pytestmark = pytest.mark.rest

KILLS = int(os.environ.get("CODER_CLIP_KILLS", "6"))
SHARDS = [f"brief_{i}" for i in range(2 * KILLS)]


@pytest.mark.parametrize("grouped", [False, True])
def test_random_kills(shared_folder: Path, cluster: Cluster, grouped: bool) -> None:
    """grouped: a shard and what follows share a job, as a job of Slurm each else."""
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    run = toy(shared_folder, cluster, jobs=SHARDS, after_on_cluster=True)
    groups = ["--jobs", "6", *(["--groups", "job=pair", "after=pair"] if grouped else [])]
    kills = 0
    while kills < KILLS:
        run.start(*groups)
        time.sleep(chance.uniform(1, 14))
        assert run.process is not None
        if run.process.poll() is not None:
            break  # done before it could be killed
        run.kill(signal.SIGKILL)
        run.wait()
        kills += 1
    print(
        f"seed {seed}, {kills} kills, "
        f"{sum(len(run.started(n)) for n in SHARDS)} shards "
        "started by then"
    )
    assert run.start(*groups).wait(1200) == 0, run.said()
    assert (shared_folder / "out/merged.txt").read_text() == "".join(
        f"{name} one\n" for name in SHARDS
    )
    assert {name: len(run.started(name)) for name in SHARDS} == dict.fromkeys(SHARDS, 1), (
        f"seed {seed}"
    )
    assert cluster.live() == []
    assert not [p for p in (shared_folder / ".snakemake/incomplete").rglob("*") if p.is_file()]
    assert run.start(*groups, "--dry-run", *BY_RECORDS).wait() == 0
    assert "Nothing to be done" in run.said()
    run.config["content"] = "two"  # a parameter: so Snakemake must know what made each file
    assert run.start(*groups, "--dry-run", *BY_RECORDS).wait() == 0
    assert re.search(rf"^job +{len(SHARDS)}$", run.said(), re.MULTILINE), run.said()
