"""Which names of a model are too similar to a class to be analogous to another one, by an encoder's text features.

A rule is given (class, name) and gives for each what it says against it, or None. No image is looked at.
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
    """A name is too similar where it is nearer to another class than that class's nearest neighbour in the label set.

    So the label set itself says how near two things are that are not the same, whatever cosines the encoder has.
    published: nearer than 0.9 to another class, as in the authors' code.
    """
    limits: list[torch.Tensor] = []

    def check(names: Sequence[tuple[str, str]]) -> list[str | None]:
        if not names or len(classes) < 2:
            return [None] * len(names)
        if not limits:
            features = encoder.encode_texts([PROMPT.format(c) for c in classes])
            between = (features @ features.T).fill_diagonal_(-1)
            limit = torch.full((len(classes),), PUBLISHED) if published else between.max(dim=1).values.cpu()
            limits.extend((features, limit))
        features, limit = limits
        cosines = (encoder.encode_texts([PROMPT.format(n) for _, n in names]) @ features.T).cpu()  # (N, C)
        for row, (owner, _) in enumerate(names):
            cosines[
                row, [i for i, c in enumerate(classes) if c == owner]
            ] = -1  # similar to its own class it may be
        over = cosines - limit
        worst = over.argmax(dim=1).tolist()
        return [
            f"too similar to {classes[c]} (cosine {cosines[row, c]:.3f}, limit {limit[c]:.3f})"
            if over[row, c] > 0
            else None
            for row, c in enumerate(worst)
        ]

    return check
