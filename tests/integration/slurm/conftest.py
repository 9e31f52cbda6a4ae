"""One real Slurm cluster a test process, and one more that keeps accounts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import Cluster, missing


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := missing():
        pytest.skip(reason)
    # munge refuses a socket below a folder that others may not enter, as pytest's own are
    folder = Path(f"/tmp/coder-clip-slurm-{os.getpid()}")
    found = Cluster(folder, min_job_age=3600)
    found.start()
    yield found
    found.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def tight() -> Iterator[Cluster]:
    """Its nodes and its time limit are as small as the jobs."""
    if reason := missing():
        pytest.skip(reason)
    folder = Path(f"/tmp/coder-clip-slurm-tight-{os.getpid()}")
    found = Cluster(folder, min_job_age=3600, cpus=2, memory=4000, minutes=60)
    found.start()
    yield found
    found.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def accounting() -> Iterator[Cluster]:
    """It has a database, enforces accounts and QOS, forgets ended jobs within seconds, and soon misses a node."""
    if reason := missing(accounting=True):
        pytest.skip(reason)
    folder = Path(f"/tmp/coder-clip-slurm-accounts-{os.getpid()}")
    found = Cluster(folder, accounting=True, min_job_age=2, node_timeout=6)
    found.start()
    yield found
    found.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def shared_folder(tmp_path: Path, cluster: Cluster) -> Iterator[Path]:
    """A folder that jobs see; no job of a test outlives it."""
    yield tmp_path
    cluster.cancel_all()
