"""One real Slurm cluster a test process."""

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


@pytest.fixture
def shared_folder(tmp_path: Path, cluster: Cluster) -> Iterator[Path]:
    """A folder that jobs see; no job of a test outlives it."""
    yield tmp_path
    cluster.cancel_all()
