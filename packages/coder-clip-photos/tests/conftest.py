"""The fixtures of coder-clip's unit tests and of photos, and an empty folder of drafts for tests."""

from pathlib import Path

import pytest

from fixtures import command, repo, shared, web  # noqa: F401
from photo_fixtures import (  # noqa: F401
    classify,
    client,
    explorer,
    folder,
    model,
    own_cache,
    photos,
    study,
    texts,
    unloadable,
)
from unit_fixtures import closed, lite, no_network, tiny, tiny_dir  # noqa: F401


@pytest.fixture(autouse=True)
def drafts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / ".state"))
