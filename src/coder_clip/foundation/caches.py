"""Where caches of a user are."""

from __future__ import annotations

import os
from pathlib import Path

FEATURES = 2  # version of the store of features


def user_cache() -> Path:
    """The user's folder of caches: XDG_CACHE_HOME, by default ~/.cache.

    A user whom the system does not know, as in some containers, has no home. Then a path where
    nothing can be written: caches save time, and everything works without them.
    """
    given = os.environ.get("XDG_CACHE_HOME")
    if given:
        return Path(given)
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        return Path(os.devnull)


def feature_store() -> Path:
    """The folder of the user's features (encoders/store.py)."""
    return user_cache() / "coder-clip" / f"features-{FEATURES}"
