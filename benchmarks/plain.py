"""The method in plain vectorised PyTorch, as a good engineer writes it: float32, no trick left out.

What `method.py` compares this project's code with, beside the published loops. Plain code rounds as
PyTorch does, so its last bits depend on the processor, and it checks nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize


def joined(blocks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """All rows of blocks, unit, and the block of each row."""
    sizes = torch.tensor([len(block) for block in blocks])
    owner = torch.repeat_interleave(torch.arange(len(blocks)), sizes)
    return normalize(torch.cat(list(blocks)), dim=1), owner


class Neighbors:
    """Stage one with one column for each name: the mean of its class's texts and the name."""

    def __init__(self, mean_texts: Sequence[Tensor], max_texts: Sequence[Tensor]) -> None:
        means, owner = joined(mean_texts)
        sums = torch.zeros(len(mean_texts), means.shape[1]).index_add_(0, owner, means)
        counts = torch.bincount(owner, minlength=len(mean_texts))
        names, of = joined(max_texts)
        sizes = torch.bincount(of)
        # level j has the j-th name of each class, or its last one again
        levels = torch.arange(int(sizes.max()))[:, None].clamp(max=sizes - 1)
        rows = sizes.cumsum(0) - sizes + levels
        self.levels = 100 * (sums + names[rows]) / (counts[:, None] + 1)

    def scores(self, x: Tensor) -> Tensor:
        x = normalize(x, dim=1)
        best = x @ self.levels[0].T
        for level in self.levels[1:]:
            torch.maximum(best, x @ level.T, out=best)
        return best

    def top(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores and classes of the top five, and the margin."""
        scores = self.scores(x)
        values, classes = scores.topk(5, dim=1)
        first, second = scores.softmax(dim=1).topk(2, dim=1).values.unbind(dim=1)
        return values, classes, first - second


class Pairs:
    """Stage two with one difference of means for each unordered pair, and a table of their rows."""

    def __init__(self, texts: dict[tuple[int, int], Tensor], n_classes: int) -> None:
        pairs = sorted((a, b) for a, b in texts if a < b and (b, a) in texts)
        blocks = [texts[a, b] for a, b in pairs] + [texts[b, a] for a, b in pairs]
        rows, owner = joined(blocks)
        sums = torch.zeros(len(blocks), rows.shape[1]).index_add_(0, owner, rows)
        means = sums / torch.bincount(owner, minlength=len(blocks))[:, None]
        self.differences = means[: len(pairs)] - means[len(pairs) :]
        a, b = torch.tensor(pairs).unbind(dim=1)
        self.row = torch.full((n_classes, n_classes), -1)
        self.row[a, b] = torch.arange(len(pairs))

    def rerank(self, x: Tensor, scores: Tensor, threshold: float) -> Tensor:
        """Predictions, with stage two where the margin is below the threshold."""
        first, second = scores.softmax(dim=1).topk(2, dim=1).values.unbind(dim=1)
        classes = scores.topk(5, dim=1).indices
        picks = classes[:, 0].clone()
        hesitant = first - second < threshold
        picks[hesitant] = self._compare(normalize(x[hesitant], dim=1), classes[hesitant])
        return picks

    def _compare(self, x: Tensor, classes: Tensor) -> Tensor:
        values = torch.zeros(classes.shape)
        for i, j in combinations(range(5), 2):
            a, b = classes[:, i], classes[:, j]
            row = self.row[torch.minimum(a, b), torch.maximum(a, b)]
            found = (self.differences[row.clamp_min(0)] * x).sum(dim=1) * (row >= 0)
            found = torch.where(a < b, found, -found)
            values[:, i] += found
            values[:, j] -= found
        return classes.gather(1, values.argmax(dim=1, keepdim=True))[:, 0]


class Best(NamedTuple):
    """A point of a grid and its accuracy."""

    accuracy: float
    alpha: float = 0.0
    beta: float = 0.0
    gamma: float = 0.0


def best_point(
    votes: Callable[[float], Tensor],
    clip_logits: Tensor,
    labels: Tensor,
    betas: Sequence[float],
    alphas: Sequence[float],
) -> Best:
    """The first best point of a grid. votes: β -> (N, C).

    The votes of a β are computed once, and only added for each α.
    """
    best = Best(-1.0)
    for beta in betas:
        of_beta = votes(beta)
        for alpha in alphas:
            logits = torch.add(clip_logits, of_beta, alpha=alpha)
            accuracy = float((logits.argmax(dim=1) == labels).float().mean())
            if accuracy > best.accuracy:
                best = Best(accuracy, alpha, beta)
    return best


def decayed_votes(affinity: Tensor, values: Tensor) -> Callable[[float], Tensor]:
    """exp(−β (1 − A)) V of affinities (N, K) and values (K, C), as a function of β."""
    return lambda beta: ((affinity - 1) * beta).exp_() @ values
