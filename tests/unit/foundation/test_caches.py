"""The user's folder of caches, with and without a home."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from coder_clip.encoders.store import FeatureStore
from coder_clip.foundation.caches import feature_store, user_cache


def test_the_folder_is_that_of_the_desktop_standard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sites move it from small home folders by XDG_CACHE_HOME."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert user_cache() == tmp_path / ".cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "scratch"))
    assert user_cache() == tmp_path / "scratch"


def test_a_user_without_a_home_has_no_caches_and_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container the system may not know the user: an import ended with a traceback."""

    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", unknown)
    store = FeatureStore(feature_store())
    store.put("encoder", "image", [("a", torch.ones(3))])
    store.flush()
    assert store.get("encoder", "image", ["b"], 3) == {}
