"""In any sequence of steps by two people, no wrong result is called current and no shared result is
lost.

A failure prints the command that plays its steps again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sequences import draw, play, started


@pytest.fixture(scope="module")
def beginning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    with started(tmp_path_factory.mktemp("two") / "people") as start_and_bin:
        yield start_and_bin


@pytest.mark.parametrize("seed", range(300))
def test_a_sequence(beginning: tuple[Path, Path], tmp_path: Path, seed: int) -> None:
    """Some long order of runs, edits, pushes and pulls would show stale results as valid."""
    play(draw(seed), *beginning, tmp_path / "world", print)
