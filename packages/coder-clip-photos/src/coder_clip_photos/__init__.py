"""Your own photos: classify them with names or texts, see why, and improve the texts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .classifier import Classifier, Photo, Reason

__all__ = ["Classifier", "Photo", "Reason"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    # The classifier imports torch, which takes seconds; `coder-clip --help` imports this package
    # for its commands.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import classifier

    return getattr(classifier, name)
