"""Find a model's names that are too similar to a class to be analogous to another one, by text features.

A rule takes (class, name) pairs and returns for each why the name is too similar, or None. It uses no image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from ...encoders.encoder import Encoder

PROMPT = "a photo of {}"  # as published
PUBLISHED = 0.9  # cosine, of ViT-L/14; other encoders have other cosines

Rule = Callable[[Sequence[tuple[str, str]]], list[str | None]]


def rule(encoder: Encoder, classes: Sequence[str], published: bool = False) -> Rule:
    """A rule that refuses a name nearer to another class than to its own, and than that class's nearest neighbour.

    So the label set shows how near two different things can be, whatever cosines the encoder has. published: a rule
    that refuses cosines over 0.9 with another class, as in the authors' code.
    """
    if len(classes) < 2:
        return lambda names: [None] * len(names)
    features = encoder.encode_texts([PROMPT.format(c) for c in classes])  # (C, d)
    nearest = (features @ features.T).fill_diagonal_(-1).max(dim=1).values.cpu()
    limits = torch.full_like(nearest, PUBLISHED) if published else nearest

    def check(names: Sequence[tuple[str, str]]) -> list[str | None]:
        if not names:
            return []
        cosines = (encoder.encode_texts([PROMPT.format(n) for _, n in names]) @ features.T).cpu()  # (N, C)
        return [against(owner, row) for (owner, _), row in zip(names, cosines, strict=True)]

    def against(owner: str, cosines: torch.Tensor) -> str | None:
        own = torch.tensor([c == owner for c in classes])  # several where a name is in the label set twice
        least = limits if published else limits.maximum(cosines[own].max())
        over = (cosines - least).masked_fill(own, -1)
        worst = int(over.argmax())
        if over[worst] <= 0:
            return None
        return f"too similar to {classes[worst]} (cosine {cosines[worst]:.3f}, limit {least[worst]:.3f})"

    return check
