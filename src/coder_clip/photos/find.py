"""Find the photos that are most like a text."""

from __future__ import annotations

from torch import Tensor

from ..foundation.reproducible import exact_matmul
from ..neighbors import l2_normalize


def most_like(features: Tensor, plus: Tensor, minus: Tensor) -> Tensor:
    """Mean cosine of each photo with the texts to be like, minus its mean cosine with those to be unlike: (N,) float64.

    features: (N, d) of photos; plus: (P, d), P ≥ 1; minus: (M, d), M may be 0. Rows are scaled to length 1. A photo
    without a direction (a zero row) has the score 0.
    """
    photos = l2_normalize(features)
    score = exact_matmul(photos, l2_normalize(plus, "text features")).mean(dim=1)
    if len(minus):
        score -= exact_matmul(photos, l2_normalize(minus, "text features")).mean(dim=1)
    return score
