"""In any sequence of steps by two people, no wrong result is called current and no shared result is
lost.

A few of the sequences that tests/proofs/test_sequences.py runs. A failure prints the command that
plays it again."""

from __future__ import annotations

from pathlib import Path

import pytest

from sequences import draw, play

pytestmark = pytest.mark.rest


# 197 and 273: edits of the configuration that keep its size and time, as DVC sees them
@pytest.mark.parametrize("seed", [0, 197, 273, 1, 2])
def test_a_sequence(beginning: tuple[Path, Path], tmp_path: Path, seed: int) -> None:
    """Some order of runs, edits, pushes and pulls would show stale results as valid."""
    play(draw(seed), *beginning, tmp_path / "world", print)
