"""The published search of α and β for cache models: rounds, each over a narrower grid, done
exactly.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from ..errors import UserError
from .branch_and_bound import Grids, first_best
from .cache_model import AffinityBlocks, CacheModel
from .line_search import Floats

Span = tuple[float, float, int]


class Round(NamedTuple):
    """The best point of one round; accuracy is a share in [0, 1]."""

    alpha: float
    beta: float
    accuracy: float


class SearchResult(NamedTuple):
    """The best point of the last round; rounds: the best point of every round.

    alpha and beta are 0 if no point of a round had a single image right, as in the published code.
    """

    alpha: float
    beta: float
    accuracy: float
    rounds: tuple[Round, ...]


def grid(low: float, high: float, steps: int) -> Floats:
    """``steps`` values from ``low`` up to, not including, ``high``, as in the code of Tip-Adapter
    and CODER.
    """
    return np.array([i * (high - low) / steps + low for i in range(steps)])


def search(
    a: CacheModel,
    x: Tensor,
    clip_logits: Tensor,
    labels: Tensor,
    betas: Span = (0.1, 200, 500),
    alphas: Span = (0.1, 20, 50),
    rounds: int = 3,
) -> SearchResult:
    """The (α, β) with the best accuracy on images x (N, d) with clip_logits (N, C) and labels (N,).

    Returns the result of the published loop (classify_few_shot.search_hp): in each round β outer, α
    inner over `grid`, the first strictly better accuracy wins; the next round spans 0.5 to
    1.5 times the winner and starts from zero. An image is right at (α, β) if the arg max of
    `cache_logits`, lowest class first, is its label. Points are not tried one by one
    (branch_and_bound.py).

    UserError for spans that are empty, negative or falling, labels out of range, or no image.
    """
    for name, (low, high, steps) in (("betas", betas), ("alphas", alphas)):
        if not (0 <= low <= high < np.inf and steps >= 1):
            raise UserError(
                f"{name}: ({low}, {high}, {steps}) is not a span; give (from, to, steps) with 0 <= "
                "from <= to and steps >= 1"
            )
    if rounds < 1 or not len(x):
        raise UserError(
            f"a search needs at least one round and one image, not {rounds} and {len(x)}"
        )
    # affinities depend on neither α nor β, so all rounds share them
    images = AffinityBlocks(a, x, clip_logits, labels)
    images.keep()
    done: list[Round] = []
    for _ in range(rounds):
        right, alpha, beta, _ = first_best(images, Grids(grid(*alphas), grid(*betas)))
        done.append(Round(alpha, beta, right / len(x)))
        betas = (beta * 0.5, beta * 1.5, betas[2])
        alphas = (alpha * 0.5, alpha * 1.5, alphas[2])
    return SearchResult(*done[-1], tuple(done))
