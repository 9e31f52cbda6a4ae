"""Unit tests are quick: one thread each, and as many random examples as find what more would find."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from coder_clip.encoders.encoder import Encoder

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # before torch is imported; the processes of a run share the cores

settings.register_profile("quick", max_examples=25, deadline=None)
settings.load_profile("quick")


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing may leave the machine, wherever the tests run."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Folders that answer as those without permission do, also to root."""
    scandir, shut = os.scandir, set()

    def answer(path: Any = ".") -> Any:
        if os.fspath(path) in shut:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", answer)
    return lambda folder: shut.add(str(folder))


@pytest.fixture(scope="module")
def tiny_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny import save_tiny

    return save_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def tiny(tiny_dir: Path) -> Encoder:
    from tiny import local

    return local(tiny_dir)


@pytest.fixture(scope="module")
def lite(shared: Path) -> Encoder:
    """A real encoder of two small towers."""
    from tiny import local

    return local(shared / "models/lite0-minilm")
