"""Fixtures of all tests: the repository, the shared files, the command line in this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("CODER_CLIP_SHARED", REPO.parent / "shared"))
os.environ.pop("CODER_CLIP_DATA", None)  # a contributor's own data sets play no part in a test


@pytest.fixture(scope="session")
def repo() -> Path:
    return REPO


@pytest.fixture(scope="session")
def shared() -> Path:
    """Fixtures that are too large for the repository: photos, a real encoder."""
    if not SHARED.is_dir():
        pytest.skip(f"no shared fixtures in {SHARED}; CODER_CLIP_SHARED names another folder")
    return SHARED


@dataclass(frozen=True)
class Answer:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """`coder-clip` with these arguments, in this process."""
    from coder_clip import cli

    def run(*arguments: str | Path) -> Answer:
        monkeypatch.setattr(sys, "argv", ["coder-clip", *map(str, arguments)])
        monkeypatch.setenv("CODER_CLIP_ONLY_PRESENT", "")  # as it was, afterwards
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    return run
