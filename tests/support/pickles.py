"""A pickle that runs a command when it is read, and what a reader of pickles has to do with it."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from coder_clip.errors import UserError


class Evil:
    """What makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.target}",)


def assert_refused(read: Callable[[Path], object], path: Path, data: bytes, mark: Path) -> None:
    """The reader refuses this pickle in one line and runs nothing. mark: what its `Evil` makes."""
    path.write_bytes(data)
    with pytest.raises(UserError, match="refused") as caught:
        read(path)
    assert not mark.exists()
    assert "\n" not in str(caught.value)
    pickle.loads(data)  # it is a real attack: the standard reader runs it
    assert mark.exists()
