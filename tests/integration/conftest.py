"""Finished and fresh working copies for the tests of the DAG."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

import browser as browsers
from working_copy import SMALL, Work, duplicate, few_pictures, working_copy


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """A working copy in which Snakemake ran everything once. Not to be changed; all test processes
    share it.
    """
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    with FileLock(folder / "finished.lock"):
        if not (folder / "finished").exists():
            work = working_copy(folder / "making", SMALL)
            few_pictures(work.folder)
            work.snakemake()
            (folder / "making").rename(folder / "finished")
    return Work(folder / "finished")


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


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One for all pages of a test process."""
    driver = browsers.start(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest begin first, so that no process works on one alone at the end.
    Then files without the finished run, which one process makes meanwhile.
    """
    with_run = {item.path for item in items if "finished" in getattr(item, "fixturenames", ())}
    first = "test_paper.py", "test_predict.py", "test_extension.py", "test_fetch.py"
    items.sort(key=lambda item: (item.path.name not in first, item.path in with_run))
