"""Coverage of the rerank by one-to-one texts: a pair without texts counts 0 and decides nothing."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..rerank import OneToOne

POINTS = 60  # of the curve over budgets


def coverage(classes: Tensor, pairs: OneToOne) -> dict[str, Any]:
    """Share of decisions and comparisons with texts, and what it would be with texts for more or
    fewer pairs.

    classes: (n, k) candidates of the n reranked images; each decision compares all k (k - 1) / 2
    pairs of them.

    coverage: share of comparisons with texts; None if nothing is compared. comparisons: all,
    with_text.
    decisions: all, and the numbers with texts for every pair, for some, for none. compared_pairs:
    different pairs, and the number of them with texts. coverage_curve: with texts for the ``pairs``
    most frequent pairs, the share of comparisons that have one and of decisions that have all.
    Equally frequent pairs: lower classes first.
    """
    n, k = classes.shape
    i, j = torch.triu_indices(k, k, 1)
    a, b = classes[:, i], classes[:, j]
    # one number per unordered pair, the smaller class first
    keys = torch.minimum(a, b) * pairs.n_classes + torch.maximum(a, b)  # (n, k (k - 1) / 2)
    have = torch.isin(keys, pairs.pairs[:, 0] * pairs.n_classes + pairs.pairs[:, 1])
    with_text = have.sum(dim=1)
    each = keys.shape[1]
    every = int((with_text == each).sum()) if each else 0
    none = int((with_text == 0).sum()) if each else n
    different, place, counts = torch.unique(keys, return_inverse=True, return_counts=True)
    compared = {
        "different": len(different),
        "with_text": int(torch.isin(different, keys[have]).sum()),
    }
    return {
        "coverage": float(have.double().mean()) if have.numel() else None,
        "comparisons": {"all": have.numel(), "with_text": int(with_text.sum())},
        "decisions": {"all": n, "every_pair": every, "some": n - every - none, "none": none},
        "compared_pairs": compared,
        "coverage_curve": _curve(place, counts) if have.numel() else [],
    }


def _curve(place: Tensor, counts: Tensor) -> list[dict[str, float]]:
    """The curve over budgets. place: (n, p) each comparison's pair among M; counts: (M,)
    comparisons per pair.
    """
    order = counts.argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    # a decision has all its texts when the budget reaches its rarest pair
    needs = (
        rank[place].amax(dim=1).sort().values + 1
    )  # per decision: the budget that gives it all its texts
    # budgets evenly spaced on a logarithmic scale, from one pair to all
    budgets = (
        torch.logspace(0, math.log10(len(counts)), POINTS).round().long().clamp_max(len(counts))
    )
    reached = torch.cumsum(counts[order], 0)
    return [
        {
            "pairs": budget,
            "comparisons": int(reached[budget - 1]) / place.numel(),
            "decisions": int(torch.searchsorted(needs, budget, right=True)) / len(needs),
        }
        for budget in torch.unique(budgets).tolist()
    ]
