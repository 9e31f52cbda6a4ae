"""Files in the forms of other people: JSON, pickles, and a pickle that runs a command when it is
read.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coder_clip.errors import UserError


class Evil:
    """What makes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.target}",)


def saved(path: Path, value: Any) -> Path:
    """Write a value as its suffix says, JSON or a pickle."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        path.write_text(json.dumps(value), encoding="utf-8")
    else:
        path.write_bytes(pickle.dumps(value))
    return path


def assert_refused(read: Callable[[Path], object], path: Path, data: bytes, mark: Path) -> None:
    """The reader refuses this pickle in one line and runs nothing. mark: what its `Evil` makes."""
    path.write_bytes(data)
    with pytest.raises(UserError, match="refused") as caught:
        read(path)
    assert not mark.exists()
    assert "\n" not in str(caught.value)
    pickle.loads(data)  # it is a real attack: the standard reader runs it
    assert mark.exists()
