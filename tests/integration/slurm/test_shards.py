"""Images in shards, a job each: however many, the same bytes, and one that dies is the only one
that runs again.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from cluster import Cluster, Job, eventually
from cluster_run import Run, quicken
from working_copy import SMALL, Work, duplicate, working_copy

pytestmark = pytest.mark.rest

FEATURES = "results/image_features/mini/marks/test.safetensors"
MARKS: dict[str, Any] = {**SMALL, "datasets": {"marks": SMALL["datasets"]["marks"]}}
KILLED = "1-of-3"


def shard(job: Job) -> str:
    """1-of-3; nothing where it is another rule's."""
    found = re.search(r"rule_encode_shard_wildcards_mini_marks_(\d+)_(\d+) ", job.comment + " ")
    return f"{found[1]}-of-{found[2]}" if found else ""


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Encoded in one piece, without a cluster."""
    work = working_copy(tmp_path_factory.mktemp("shards") / "local", MARKS)
    work.commands("manifest", "image-features")
    return work


@pytest.fixture(scope="module")
def runs(local: Work, cluster: Cluster) -> Iterator[dict[int, Run]]:
    """1, 3 and 7 shards at once; of the three, one is cancelled while it runs."""
    runs = {}
    for shards in (1, 3, 7):
        folder = local.folder.parent / str(shards)
        folder.mkdir()
        work = duplicate(local, folder)
        os.unlink(folder / FEATURES)
        work.configure(lambda document, **more: document["features"].update(more), shards=shards)
        quicken(folder)
        runs[shards] = Run(folder, cluster, configfile=work.config).start(FEATURES)
    victims: list[Job] = []

    def cancelled() -> bool:
        victims[:] = [j for j in cluster.jobs() if j.state == "RUNNING" and shard(j) == KILLED]
        for job in victims:
            cluster.run("scancel", job.id)
        return bool(victims)

    eventually("a shard to cancel", cancelled, 900)
    for run in runs.values():
        assert run.wait(1800) == 0, run.said()
    yield runs
    cluster.cancel_all()


@pytest.mark.parametrize("shards", [1, 3, 7])
def test_the_bytes_do_not_depend_on_the_number_of_shards(
    runs: dict[int, Run], local: Work, shards: int
) -> None:
    assert (runs[shards].folder / FEATURES).read_bytes() == (local.folder / FEATURES).read_bytes()


def test_every_shard_is_a_job_on_the_gpu_node(runs: dict[int, Run], cluster: Cluster) -> None:
    jobs = [job for job in cluster.jobs() if shard(job)]
    assert {shard(j) for j in jobs} == {f"{i}-of-{n}" for n in (3, 7) for i in range(n)}
    assert {(j.partition, j.node) for j in jobs} == {("gpu", "g1")}


def test_only_the_shard_that_died_ran_again(runs: dict[int, Run], cluster: Cluster) -> None:
    jobs = [job for job in cluster.jobs() if shard(job)]
    assert [j.state for j in jobs if shard(j) == KILLED] == ["CANCELLED", "COMPLETED"]
    tries = Counter(shard(j) for j in jobs)
    assert {name: n for name, n in tries.items() if n > 1} == {KILLED: 2}
    assert "was cancelled" in runs[3].said()


def test_more_shards_encode_only_what_is_missing(runs: dict[int, Run], cluster: Cluster) -> None:
    """As one has to who met the time limit of a partition: what was encoded is in the feature
    store.
    """
    run = runs[3]
    work = Work(run.folder, run.configfile)
    store = run.folder / ".cache/coder-clip"
    bytes_before, stored = (run.folder / FEATURES).read_bytes(), sorted(store.rglob("*"))
    assert stored
    work.configure(lambda document: document["features"].update(shards=4))
    assert run.start(FEATURES).wait(900) == 0, run.said()
    jobs = Counter(re.findall(r"/slurm/(rule_encode_shard|group_merges\S*?|rule_\w+)/", run.said()))
    assert jobs["rule_encode_shard"] == 4
    assert sorted(store.rglob("*")) == stored, "an image was encoded again"
    assert (run.folder / FEATURES).read_bytes() == bytes_before
