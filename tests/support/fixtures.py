"""Fixtures of all tests: the repository, the shared files, the command line in this process."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer.main

if TYPE_CHECKING:
    from web import Web

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
def web() -> Iterator[Web]:
    """A server on this machine that has the files of `web.files`."""
    from web import serve

    with serve() as found:
        yield found


# Building all commands takes 40 ms, which a process does once; here one process runs hundreds.
get_command = cache(typer.main.get_command)


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Answer]:
    """`coder-clip` with these arguments, in this process."""
    from coder_clip import cli

    monkeypatch.setattr(typer.main, "get_command", get_command)

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
