"""`coder-clip find`: photos that are most like a text."""

from __future__ import annotations

import math

import pytest
import torch

from coder_clip.photos.find import most_like
from reference import grid_error


@pytest.mark.parametrize("n_minus", [0, 1, 3])
def test_a_score_is_the_mean_cosine_with_some_texts_minus_that_with_others(n_minus: int) -> None:
    """A wrong mean or sign would show the wrong photos first. Compared with plain loops."""
    torch.manual_seed(n_minus)
    photos, plus, minus = (torch.nn.functional.normalize(torch.randn(n, 7), dim=1) for n in (5, 2, n_minus))

    def mean_cosine(photo: list[float], texts: list[list[float]]) -> float:
        found = 0.0
        for text in texts:
            dot = math.fsum(p * t for p, t in zip(photo, text, strict=True))
            found += dot / math.hypot(*photo) / math.hypot(*text) / len(texts)
        return found

    scores = most_like(photos, plus, minus)
    assert scores.dtype == torch.float64
    expected = [mean_cosine(p, plus.tolist()) - mean_cosine(p, minus.tolist()) for p in photos.tolist()]
    assert scores.tolist() == pytest.approx(expected, abs=2 * grid_error(7))
