"""ImageNet's curated class names and the 80 templates of Radford et al. 2021, from open_clip."""

from __future__ import annotations

from collections.abc import Callable

N_CLASSES = 1000


def class_names() -> list[str]:
    """The 1000 names in label order; two names occur twice."""
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES  # takes three seconds

    return list(IMAGENET_CLASSNAMES)


def templates() -> tuple[Callable[[str], str], ...]:
    """Functions from a class name to a prompt."""
    from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES

    return tuple(OPENAI_IMAGENET_TEMPLATES)
