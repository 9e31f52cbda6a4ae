"""Decide classes from features: stage one on your texts, stage two if a run has one, and
probabilities of scores.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from coder_clip.foundation.reproducible import exact_matmul
from coder_clip.neighbors import l2_normalize
from coder_clip.rerank import OneToOne, rerank_scores
from coder_clip.zero_shot import top_k

FEWEST = 30  # validation images that a scale of probabilities is fitted to
SCALES = (1e-3, 1e2)  # what the scores are multiplied with; 1 is CLIP's own


@dataclass(frozen=True)
class Decisions:
    """The classes of N images. order: (N, C), the decided class first, the others by score. scores:
    (N, C) by class.

    reranked: (N,) bool, those that stage two decided. values: (N, C) stage two's value of each
    class in points of score, 0 where it has none.
    """

    order: Tensor
    scores: Tensor
    reranked: Tensor
    values: Tensor


def by_score(scores: Tensor) -> Decisions:
    """Decide by the best score: scores (N, C)."""
    _, order = top_k(scores, scores.shape[1])
    return Decisions(
        order, scores, torch.zeros(len(scores), dtype=torch.bool), torch.zeros_like(scores)
    )


def by_rerank(x: Tensor, scores: Tensor, pairs: OneToOne, threshold: float, k: int) -> Decisions:
    """Let stage two decide among the k best if stage one's gap is below the threshold. x: (N, d);
    scores: (N, C).
    """
    one = by_score(scores)
    both = rerank_scores(x, scores, pairs, k)
    near = both.gap < threshold
    near &= (both.values != 0).any(
        dim=1
    )  # without texts for any of the pairs stage one has the last word
    by_value = both.values.argsort(dim=1, descending=True, stable=True)
    rest = one.order[:, both.classes.shape[1] :]
    order = torch.cat([both.classes.gather(1, by_value), rest], dim=1)
    values = torch.zeros_like(scores).scatter(1, both.classes, 100 * both.values.to(scores.dtype))
    return Decisions(
        torch.where(near[:, None], order, one.order), scores, near, values * near[:, None]
    )


class PairText(NamedTuple):
    """A one-to-one text: what class ``of`` has and ``other`` has not, in one of its sentences."""

    of: int
    other: int
    text: str
    sentence: str


class PairTerm(NamedTuple):
    """A text of class ``of`` that stage two decided by. cosine: with the image, mean over the
    text's sentences.
    adds: points for the winner."""

    of: int
    text: str
    cosine: float
    adds: float


def compare_texts(
    x: Tensor, texts: Sequence[PairText], features: Tensor, candidates: Tensor, winner: int
) -> list[PairTerm]:
    """The winner against each other candidate, text by text, for one image; the largest first.

    x: (d,). features: (P, d) of the sentences of ``texts``; both sides of every pair are there. The
    terms sum to the winner's value: 100 × the mean over the other candidates of x·D(winner, other),
    a difference of two means of cosines. As in stage one (`evaluation.reasons`), the middle of the
    two means is taken off every cosine: the weights of the two sides cancel, so the sum stays, and
    a text that fits as well as both classes do on average adds nothing."""
    cosines = exact_matmul(l2_normalize(x[None]), l2_normalize(features))[0].tolist()
    sides = defaultdict(list)  # (of, other) -> rows
    for i, text in enumerate(texts):
        sides[text.of, text.other].append(i)
    others = [c for c in candidates.tolist() if c != winner]
    parts = defaultdict(list)  # a text may tell its class from several others
    for other in others:
        both = sides[winner, other], sides[other, winner]
        if not all(both):
            continue
        middle = sum(sum(cosines[i] for i in side) / len(side) for side in both) / 2
        for sign, side in zip((1, -1), both, strict=True):
            weight = sign * 100 / (len(side) * len(others))
            for i in side:
                parts[texts[i].of, texts[i].text].append(
                    (cosines[i], weight * (cosines[i] - middle))
                )
    terms = [
        PairTerm(of, text, sum(c for c, _ in each) / len(each), sum(adds for _, adds in each))
        for (of, text), each in parts.items()
    ]
    return sorted(terms, key=lambda t: -t.adds)


def fit_scale(scores: Tensor, labels: Tensor) -> float | None:
    """The factor that makes softmax(factor × scores) probabilities, from validation images; None
    for fewer than FEWEST.

    Temperature scaling (Guo et al., ICML 2017) with smoothed targets (Platt 1999): with n images,
    the target of the true class is (n + 1) / (n + C). Otherwise a method without a mistake on 40
    images would be certain of everything.
    scores: (N, C); -inf marks a class that cannot be predicted, which no factor changes. labels:
    (N,)."""
    n, n_classes = scores.shape
    if n < FEWEST or n_classes < 2:
        return None
    from scipy.optimize import minimize_scalar  # half a second, and most calls have no labels

    target = torch.full_like(scores, 1 / (n + n_classes))
    target.scatter_(1, labels[:, None], (n + 1) / (n + n_classes))

    def loss(log_scale: float) -> float:
        logs = log_softmax(scores * 10**log_scale, dim=1)
        return -float((target * logs.where(logs.isfinite(), 0.0)).sum(dim=1).mean())

    low, high = (float(torch.log10(torch.tensor(s))) for s in SCALES)
    return float(10 ** minimize_scalar(loss, bounds=(low, high), method="bounded").x)


def margins(decisions: Decisions) -> Tensor:
    """Lead of the decided class over the runner-up: (N,) points of score; stage two's values where
    it decided.
    """
    points = torch.where(decisions.reranked[:, None], decisions.values, decisions.scores)
    best = points.gather(1, decisions.order[:, :2])
    return (best[:, 0] - best[:, 1]).double()
