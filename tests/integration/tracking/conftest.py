"""A toy project that was run, recorded and pushed once; each test changes a copy."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from project import Project, add_remote, make_toy
from sequences import started
from warm import warm


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of Snakemake, DVC and coder-clip without the seconds in which they only import."""
    with warm(tmp_path_factory.mktemp("programs") / "bin") as bin:
        yield bin


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, programs: Path) -> Path:
    """Folder of the finished project ("work") and its remote ("store"). Not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    project = make_toy(folder / "work", programs=programs)
    add_remote(project, "../store")
    project.snakemake()
    project.commit()
    project.run("coder-clip", "push")
    return folder


@pytest.fixture
def cold(finished: Path, tmp_path: Path) -> Project:
    """A copy of the finished project and its remote, in which every program starts from nothing."""
    subprocess.run(["cp", "-a", f"{finished}/.", str(tmp_path)], check=True)
    return Project(tmp_path / "work")


@pytest.fixture
def toy(cold: Project, programs: Path) -> Project:
    """A copy of the finished project and its remote, to change at will."""
    return Project(cold.folder, programs)


@pytest.fixture
def clone(toy: Project) -> Project:
    """A colleague's clone of it, pulled."""
    clone = toy.clone("clone")
    clone.run("coder-clip", "pull")
    return clone


@pytest.fixture(scope="session")
def beginning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Folder of two people who have the same results, not to be changed; and the programs to go on
    with.
    """
    with started(tmp_path_factory.mktemp("two") / "people") as start_and_bin:
        yield start_and_bin
