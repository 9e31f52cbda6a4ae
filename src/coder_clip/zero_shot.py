"""Predictions, best classes, and the gap for stage two, from class scores (`neighbors.TextNeighbors`)."""

from __future__ import annotations

import torch
from torch import Tensor

from .errors import UserError
from .foundation.exact import exp, total

CHUNK = 2**22  # numbers copied at a time, so that memory does not grow with N


def predict(scores: Tensor) -> Tensor:
    """The best class: scores (N, C) -> (N,) int64. Ties go to the lowest index. UserError for NaN."""
    return _checked(scores).argmax(dim=1)  # documented: the first of several maxima


def top_k(scores: Tensor, k: int = 5) -> tuple[Tensor, Tensor]:
    """The min(k, C) best classes: scores (N, C) -> values and classes, (N, k) each, best first.

    Ties keep the order of the classes, which ``torch.topk`` does not promise. UserError for NaN.
    """
    scores = _checked(scores)
    k = min(k, scores.shape[1])
    if k < 1:
        raise UserError(f"top_k: k is {k}; give at least 1")
    top = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    values, classes = top.values[:, :k].contiguous(), top.indices[:, :k].contiguous()
    tied = (top.values[:, 1:] == top.values[:, :-1]).any(dim=1).nonzero()[:, 0]
    for some in torch.split(tied, max(1, CHUNK // scores.shape[1])):
        rest = scores[some]
        for j in range(k):
            best = rest.argmax(dim=1, keepdim=True)  # documented: the first of several maxima
            classes[some, j : j + 1] = best
            rest.scatter_(1, best, -torch.inf)
    return values, classes


def softmax_gap(scores: Tensor, best: Tensor | None = None) -> Tensor:
    """Softmax of the best class minus that of the second: scores (N, C) -> (N,) in [0, 1].

    best: the values of :func:`top_k`, if they are known already. 1 if there is only one class. Stage two reranks
    images whose gap is below the threshold (paper, one-to-one rerank).
    """
    scores = _checked(scores)
    if scores.shape[1] == 1:
        return scores.new_ones(len(scores))
    if best is None or best.shape[1] < 2:
        best = scores.topk(2, dim=1).values
    first, gap = best[:, :1], torch.empty(len(scores), dtype=torch.float64, device=scores.device)
    rows = max(1, CHUNK // scores.shape[1])
    for some in (slice(i, i + rows) for i in range(0, len(scores), rows)):
        second = exp((best[some, 1:2] - first[some]).double())[:, 0]
        gap[some] = (1 - second) / total(exp((scores[some] - first[some]).double()))
    return gap


def uncertain(scores: Tensor, threshold: float, best: Tensor | None = None) -> Tensor:
    """The images that stage two reranks: scores (N, C) -> (N,) bool, ``softmax_gap(scores, best) < threshold``.

    Exact exponentials are computed only for gaps that float32 leaves open: each of the C terms, and each addition of
    them, is wrong by a rounding or two of a number below the sum, which is at least 1; the quotient and the product are
    rounded once each. UserError for a threshold that is NaN.
    """
    if threshold != threshold:  # every comparison with NaN is false: nothing would be reranked
        raise UserError("the threshold is NaN, where a gap from 0 to 1 is needed")
    scores = _checked(scores)
    if best is None or best.shape[1] < 2:
        best = scores.topk(min(2, scores.shape[1]), dim=1).values
    rows = max(1, CHUNK // scores.shape[1])
    parts = zip(torch.split(scores, rows), torch.split(best[:, :1], rows), strict=True)
    share = torch.cat([(part - first).float().softmax(dim=1).amax(dim=1) for part, first in parts])
    second = (best[:, 1] - best[:, 0]).float().exp() if scores.shape[1] > 1 else 0.0
    gap = share * (1 - second)
    found = gap < threshold
    error = 4 * (scores.shape[1] + 2) * torch.finfo(torch.float32).eps
    open_ = (gap - threshold).abs() <= error
    found[open_] = softmax_gap(scores[open_], best[open_]) < threshold
    return found


def _checked(scores: Tensor) -> Tensor:
    """Scores in float32 or float64; float16 is converted, so that softmax and ties are the same everywhere.

    UserError unless (N, C) with C at least 1, all finite.
    """
    if scores.ndim != 2 or not scores.shape[1]:
        raise UserError(f"scores: shape {tuple(scores.shape)} where (N, C) is needed, C at least 1")
    scores = scores if scores.dtype == torch.float64 else scores.float()
    if scores.numel() and not torch.stack(scores.aminmax()).isfinite().all():  # one pass, no copy
        row = int((~scores.isfinite().all(dim=1)).nonzero()[0])
        raise UserError(f"scores: row {row} holds NaN or infinity")
    return scores
