"""Decide classes from features.

Stage one on your texts, stage two if a run has one, and probabilities of scores.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from coder_clip.foundation.reproducible import exact_matmul
from coder_clip.neighbors import l2_normalize
from coder_clip.protocols import TOP_K
from coder_clip.rerank import OneToOne, rerank_scores
from coder_clip.zero_shot import top_k

FEWEST = 30  # validation images that a scale of probabilities is fitted to
SCALES = (1e-3, 1e2)  # what the scores are multiplied with; 1 is CLIP's own


@dataclass(frozen=True)
class Decisions:
    """The classes of N images.

    order: (N, C), the decided class first, the others by score. scores: (N, C) by class.

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
    """Let stage two decide among the k best if stage one's gap is below the threshold.

    x: (N, d); scores: (N, C).
    """
    stage_one = by_score(scores)
    stage_two = rerank_scores(x, scores, pairs, k)
    # all values are 0 if no pair of candidates has texts; stage one decides then
    has_texts = (stage_two.values != 0).any(dim=1)
    reranked = (stage_two.gap < threshold) & has_texts
    by_value = stage_two.values.argsort(dim=1, descending=True, stable=True)
    rest = stage_one.order[:, stage_two.classes.shape[1] :]
    order = torch.cat([stage_two.classes.gather(1, by_value), rest], dim=1)
    # cosines × 100: points, as the scores
    points = 100 * stage_two.values.to(scores.dtype)
    values = torch.zeros_like(scores).scatter(1, stage_two.classes, points)
    return Decisions(
        order=torch.where(reranked[:, None], order, stage_one.order),
        scores=scores,
        reranked=reranked,
        values=values * reranked[:, None],
    )


class PairText(NamedTuple):
    """A one-to-one text, about what class ``of`` has and class ``other`` has not.

    sentence: the text in one of the templates.
    """

    of: int
    other: int
    text: str
    sentence: str


@dataclass(frozen=True)
class StageTwo:
    """How scores become classes.

    pairs: the differences of stage two; None without stage two. pair_texts: the texts of the pairs.
    threshold, top_k: of stage two. scale: factor that turns scores into probabilities; None without
    probabilities.

    score: features (N, d) -> scores (N, C), of a method that is not a mean over texts and so has no
    reasons; None for the mean over texts.
    """

    score: Callable[[Tensor], Tensor] | None = None
    pairs: OneToOne | None = None
    pair_texts: tuple[PairText, ...] = ()
    threshold: float = 0.0
    top_k: int = TOP_K
    scale: float | None = None


class PairTerm(NamedTuple):
    """A text of class ``of`` that counted in stage two.

    cosine: with the image, mean over the text's sentences. adds: points that the text adds to the
    winner's value.
    """

    of: int
    text: str
    cosine: float
    adds: float


def compare_texts(
    x: Tensor, texts: Sequence[PairText], features: Tensor, candidates: Tensor, winner: int
) -> list[PairTerm]:
    """Split the winner's value of one image into a term per text, the largest first.

    x: (d,). features: (P, d) of the sentences of ``texts``; a pair has texts of both sides. The
    terms sum to the winner's value: 100 × the mean over the other candidates of x·D(winner, other),
    a difference of two means of cosines. As in stage one (`evaluation.reasons`), the middle of the
    two means is subtracted from every cosine: the weights of the two sides cancel, so the sum stays
    the same, and a text that fits as well as both classes do on average adds nothing."""
    cosines = exact_matmul(l2_normalize(x[None]), l2_normalize(features))[0].tolist()
    rows_of = defaultdict(list)  # (of, other) -> rows of the texts of this side
    for i, text in enumerate(texts):
        rows_of[text.of, text.other].append(i)
    others = [c for c in candidates.tolist() if c != winner]
    # (class, text) -> (cosine, points) of each sentence and pair: a text can count in several pairs
    parts = defaultdict(list)
    for other in others:
        sides = rows_of[winner, other], rows_of[other, winner]
        if not all(sides):
            continue
        middle = sum(sum(cosines[i] for i in side) / len(side) for side in sides) / 2
        for sign, side in zip((1, -1), sides, strict=True):
            weight = sign * 100 / (len(side) * len(others))
            for i in side:
                part = cosines[i], weight * (cosines[i] - middle)
                parts[texts[i].of, texts[i].text].append(part)
    terms = []
    for (of, description), of_text in parts.items():
        cosine = sum(c for c, _ in of_text) / len(of_text)
        terms.append(PairTerm(of, description, cosine, sum(adds for _, adds in of_text)))
    return sorted(terms, key=lambda t: -t.adds)


def fit_scale(scores: Tensor, labels: Tensor) -> float | None:
    """The factor that makes softmax(factor × scores) probabilities, from validation images.

    None for fewer than FEWEST.

    Temperature scaling (Guo et al., ICML 2017) with smoothed targets (Platt 1999): with n images,
    the target of the true class is (n + 1) / (n + C). Otherwise a method without a mistake on 40
    images would be certain of everything.
    scores: (N, C); -inf marks a class that cannot be predicted, which no factor changes. labels:
    (N,).
    """
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
    """Lead of the decided class over the runner-up: (N,).

    Points of score, or of stage two's values for images that stage two decided.
    """
    points = torch.where(decisions.reranked[:, None], decisions.values, decisions.scores)
    best = points.gather(1, decisions.order[:, :2])
    return (best[:, 0] - best[:, 1]).double()
