"""Fixtures: one real Slurm cluster per test process, and one more that keeps accounts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import Cluster
from toy_run import running


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with running("slurm", min_job_age=3600) as found:
        yield found


@pytest.fixture(scope="session")
def tight() -> Iterator[Cluster]:
    """Its nodes and its time limit are as small as the jobs."""
    with running("slurm-tight", min_job_age=3600, cpus=2, memory=4000, minutes=60) as found:
        yield found


@pytest.fixture(scope="session")
def accounting() -> Iterator[Cluster]:
    """It has a database, enforces accounts and QOS, forgets ended jobs within seconds, and soon
    misses a node.
    """
    with running("slurm-accounts", accounting=True, min_job_age=2, node_timeout=6) as found:
        yield found


@pytest.fixture
def shared_folder(tmp_path: Path, cluster: Cluster) -> Iterator[Path]:
    """A folder that jobs see; no job of a test outlives it."""
    yield tmp_path
    cluster.cancel_all()
