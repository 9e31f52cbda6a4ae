"""Finished and fresh working copies for the tests of the DAG."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from working_copy import SMALL, Work, duplicate, working_copy


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """A working copy in which everything was run once. Not to be changed."""
    work = working_copy(tmp_path_factory.mktemp("finished") / "copy", SMALL)
    work.snakemake()
    return work


@pytest.fixture
def work(finished: Work, tmp_path: Path) -> Work:
    """A copy of the finished run, to change at will."""
    folder = tmp_path / "copy"
    folder.mkdir()
    return duplicate(finished, folder)


@pytest.fixture
def fresh(finished: Work, tmp_path: Path) -> Work:
    """The same sources, photos and weights, elsewhere, in which nothing was run."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    work = duplicate(finished, folder)
    for made in ("results", ".snakemake"):
        shutil.rmtree(folder / made)
    return work
