"""Predictions, best classes, and the margin for stage two, from class scores.

`neighbors.TextNeighbors` gives the scores.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import UserError
from .protocols import TOP_K

CHUNK = 2**16  # numbers computed at a time: they stay in cache, and memory does not grow with N
DECIMALS = 12  # of the margin, whose last digits differ between libraries, by 1e-16


def predict(scores: Tensor) -> Tensor:
    """The best class: scores (N, C) -> (N,) int64.

    Ties go to the lowest index. UserError for NaN.
    """
    return _checked(scores).argmax(dim=1)  # documented: the first of several maxima


def top_k(scores: Tensor, k: int = TOP_K) -> tuple[Tensor, Tensor]:
    """The min(k, C) best classes: scores (N, C) -> values and classes, (N, k) each, best first.

    Ties keep the order of the classes, which `torch.topk` does not promise. UserError for NaN.
    """
    scores = _checked(scores)
    k = min(k, scores.shape[1])
    if k < 1:
        raise UserError(f"top_k: k is {k}; give at least 1")
    # one class more than asked for, to see a tie across the border of the top k
    top = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    values, classes = top.values[:, :k].contiguous(), top.indices[:, :k].contiguous()
    tied = (top.values[:, 1:] == top.values[:, :-1]).any(dim=1).nonzero()[:, 0]
    # only rows with a tie are ranked again: k times the first class of the largest score, which is
    # then taken out
    for some in torch.split(tied, max(1, CHUNK // scores.shape[1])):
        rest = scores[some]
        for j in range(k):
            best = rest.argmax(dim=1, keepdim=True)  # documented: the first of several maxima
            classes[some, j : j + 1] = best
            rest.scatter_(1, best, -torch.inf)
    return values, classes


def softmax_gap(scores: Tensor, best: Tensor | None = None) -> Tensor:
    """Margin: softmax of the best class minus the second, (N, C) -> (N,) float64 in [0, 1].

    best: the classes of `top_k`, if they are known already. 1 if there is only one class.
    Stage two reranks images whose margin is below the threshold (paper, one-to-one rerank). Rounded
    to DECIMALS, because the last digits of a library's exp differ between processors.
    """
    scores = _checked(scores)
    if scores.shape[1] == 1:
        return torch.ones(len(scores), dtype=torch.float64, device=scores.device)
    if best is None or best.shape[1] < 2:
        best = scores.topk(2, dim=1).indices
    rows = max(1, CHUNK // scores.shape[1])
    parts = zip(torch.split(scores, rows), torch.split(best[:, :2], rows), strict=True)
    # softmax over all classes, of which only the shares of the best two are kept
    shares = [part.double().softmax(dim=1).gather(1, classes) for part, classes in parts]
    first, second = torch.cat(shares).unbind(dim=1)
    return (first - second).round(decimals=DECIMALS)


def _checked(scores: Tensor) -> Tensor:
    """Scores in float32 or float64.

    float16 is converted, so that softmax and ties are the same everywhere.

    UserError unless (N, C) with C at least 1, all finite.
    """
    if scores.ndim != 2 or not scores.shape[1]:
        raise UserError(f"scores: shape {tuple(scores.shape)} where (N, C) is needed, C at least 1")
    scores = scores if scores.dtype == torch.float64 else scores.float()
    # minimum and maximum are finite only if all numbers are: one pass, no copy
    if scores.numel() and not torch.stack(scores.aminmax()).isfinite().all():
        row = int((~scores.isfinite().all(dim=1)).nonzero()[0])
        raise UserError(f"scores: row {row} holds NaN or infinity")
    return scores
