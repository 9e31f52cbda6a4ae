"""Coverage of the rerank by one-to-one texts: a pair without texts counts 0 and decides nothing."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..rerank import OneToOne

POINTS = 60  # of the curve over budgets


def coverage(classes: Tensor, pairs: OneToOne) -> dict[str, Any]:
    """Share of decisions and comparisons with texts.

    And the shares with texts for more or fewer pairs.

    classes: (n, k) candidates of the n reranked images; each decision compares all k (k - 1) / 2
    pairs of its candidates.

    Return a dict. coverage: share of comparisons with texts; None if nothing is compared.
    comparisons: all, with_text. decisions: all, and the numbers with texts for every pair, for
    some, for none. compared_pairs: different pairs, and the number of them with texts.
    coverage_curve: if only the ``pairs`` most frequent pairs had texts, the share of comparisons
    with texts and of decisions with all their texts. Equally frequent pairs: lower classes first.
    """
    n, k = classes.shape
    i, j = torch.triu_indices(k, k, 1)
    a, b = classes[:, i], classes[:, j]
    # one number per unordered pair, the smaller class first
    keys = torch.minimum(a, b) * pairs.n_classes + torch.maximum(a, b)  # (n, k (k - 1) / 2)
    has_text = torch.isin(keys, pairs.pairs[:, 0] * pairs.n_classes + pairs.pairs[:, 1])
    with_text = has_text.sum(dim=1)  # (n,)
    n_pairs = keys.shape[1]
    # a single candidate makes no pair: its decision has no text
    every, none = 0, n
    if n_pairs:
        every, none = int((with_text == n_pairs).sum()), int((with_text == 0).sum())
    different, pair, counts = torch.unique(keys, return_inverse=True, return_counts=True)
    compared = {
        "different": len(different),
        "with_text": int(torch.isin(different, keys[has_text]).sum()),
    }
    return {
        "coverage": float(has_text.double().mean()) if has_text.numel() else None,
        "comparisons": {"all": has_text.numel(), "with_text": int(with_text.sum())},
        "decisions": {"all": n, "every_pair": every, "some": n - every - none, "none": none},
        "compared_pairs": compared,
        "coverage_curve": _curve(pair, counts) if has_text.numel() else [],
    }


def _curve(pair: Tensor, counts: Tensor) -> list[dict[str, float]]:
    """`coverage_curve` over budgets, numbers of pairs with texts.

    pair: (n, p) which of the M different pairs each comparison is; counts: (M,) comparisons per
    pair.
    """
    # rank of each pair: the most frequent pair has 0
    order = counts.argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    # a decision has all its texts when the budget reaches its rarest pair; ascending, to search in
    needed = rank[pair].amax(dim=1).sort().values + 1
    # budgets evenly spaced on a logarithmic scale, from one pair to all
    spaced = torch.logspace(0, math.log10(len(counts)), POINTS)
    budgets = torch.unique(spaced.round().long().clamp_max(len(counts)))
    reached = torch.cumsum(counts[order], 0)
    return [
        {
            "pairs": budget,
            "comparisons": int(reached[budget - 1]) / pair.numel(),
            "decisions": int(torch.searchsorted(needed, budget, right=True)) / len(needed),
        }
        for budget in budgets.tolist()
    ]
