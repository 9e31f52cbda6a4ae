"""The effect of each text on training images: stage one with the text and without it.

    change(x) = p(true class of x | all texts) − p(true class of x | all texts but one)

p is the softmax of stage one's scores (100 × cosine), the same as for the margin of stage two. One
text changes the score of its own class alone, so all texts of a class are left out in one product.
The change is a finer measure than decisions: one text of ten rarely moves a whole image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import UserError
from ..foundation.reproducible import exact_matmul
from ..neighbors import MAX_KINDS, MEAN_KINDS, TextNeighbors, l2_normalize
from ..zero_shot import top_k
from .estimates import Estimate
from .intervals import clear, crossed_interval
from .text_ablations import StageOne

Advice = Literal["keep", "drop", "ask again"]
Floats = NDArray[np.float64]

# With fewer texts of a kind that is averaged, one bad text counts too much (rule "count" of
# `coder-clip texts check`).
LEAST = 3
# The rule of "drop" was written before any text was weighed; docs/texts_judging.md says what
# changed later.
RULES: dict[Advice, str] = {
    "drop": "the interval of net lies below 0: over all training images together it does harm",
    "ask again": "the interval of tells is not above 0: photos of other classes are as similar to "
    f"it as those of its own; or it would be dropped, but its class has no more than {LEAST} "
    "attributes",
    "keep": "all others: it helps, or its effect is within chance",
}


@dataclass(frozen=True)
class Weight:
    """The effect of one text.

    row: of the text features. tells: its mean cosine with images of its class, minus that with all
    other images; from each cosine the mean score of all classes for the image is subtracted. The
    effects are shares, per image of its class. own: mean change on images of its
    class; others: sum of the changes on all other images, divided by the number of images of its
    class; net: own plus others.
    takes_from: the class whose images lose most, None if none lose; taken: the mean change on that
    class's images, with an interval that is corrected for the choice among all other classes.
    fixed, broke: images that are right only with the text, and only without it.
    """

    row: int
    owner: int
    kind: str
    tells: Estimate
    own: Estimate
    others: Estimate
    net: Estimate
    takes_from: int | None
    taken: Estimate | None
    fixed: int
    broke: int
    advice: Advice = "keep"


def weigh(stage_one: StageOne) -> list[Weight]:
    """Weigh every attribute, analogous and synonym text on the images, in the order of the texts.

    Names are not weighed, because a class needs one; neither are texts of a class without images.
    UserError with a single class.
    """
    labels = stage_one.labels
    if stage_one.n_classes < 2:
        raise UserError("texts take from other classes; give a data set of at least two classes")
    scores = _Scores.of(stage_one)
    weights = [
        weight
        for owner in np.unique(labels).tolist()
        for weight in _of_class(stage_one, owner, scores)
    ]
    return sorted(advised(weights), key=lambda weight: weight.row)


def advised(weights: Sequence[Weight]) -> list[Weight]:
    """The weights with the advice of RULES.

    Texts of a class and kind are advised in the order of their net effect, worst first, so that
    those kept by the limit of LEAST texts are the least harmful ones.
    """
    n_of_kind: dict[tuple[int, str], int] = {}
    for weight in weights:
        key = (weight.owner, weight.kind)
        n_of_kind[key] = n_of_kind.get(key, 0) + 1
    result = []
    for weight in sorted(weights, key=lambda weight: weight.net["value"]):
        key = (weight.owner, weight.kind)
        advice: Advice = "keep"
        harms = clear(weight.net) == "worse"
        # a class may do without analogous texts and synonyms, but not without attributes
        can_go = weight.kind != "attribute" or n_of_kind[key] > LEAST
        if harms and can_go:
            advice = "drop"
            n_of_kind[key] -= 1
        elif harms or weight.tells["low"] <= 0:
            advice = "ask again"
        result.append(replace(weight, advice=advice))
    return result


@dataclass(frozen=True)
class _Scores:
    """Stage one with all texts.

    x: (N, d) unit images. scores: (N, C). e: exp of the scores, each row divided by its largest
    value, whose score is ``largest`` (N,). best, second: score and class of the best two classes,
    (N,) each.
    """

    x: torch.Tensor
    scores: Floats
    largest: Floats
    e: Floats
    best: tuple[Floats, NDArray[np.int64]]
    second: tuple[Floats, NDArray[np.int64]]

    @classmethod
    def of(cls, stage_one: StageOne) -> _Scores:
        """Score the images by all texts."""
        is_mean, is_name = (np.isin(stage_one.kind, list(k)) for k in (MEAN_KINDS, MAX_KINDS))
        features = stage_one.text_features
        owners = [stage_one.owner == owner for owner in range(stage_one.n_classes)]
        neighbors = TextNeighbors(
            mean_texts=[features[torch.from_numpy(of & is_mean)] for of in owners],
            max_texts=[features[torch.from_numpy(of & is_name)] for of in owners],
        )
        scores = neighbors.class_scores(stage_one.x)
        values, classes = (part.numpy() for part in top_k(scores, 2))
        largest = values[:, 0]
        return cls(
            l2_normalize(stage_one.x),
            scores.numpy(),
            largest,
            np.exp(scores.numpy() - largest[:, None]),
            (largest, classes[:, 0]),
            (values[:, 1], classes[:, 1]),
        )

    def rival_of(self, owner: int) -> tuple[Floats, NDArray[np.int64]]:
        """Score and class (N,) of the best class but ``owner``."""
        is_best = self.best[1] == owner
        score = np.where(is_best, self.second[0], self.best[0])
        return score, np.where(is_best, self.second[1], self.best[1])


def _of_class(stage_one: StageOne, owner: int, all_texts: _Scores) -> Iterator[Weight]:
    """The weights of the texts of one class, which has images."""
    of_class = stage_one.owner == owner
    rows = np.flatnonzero(of_class & stage_one.other)
    if not len(rows):
        return
    cosines, columns = _without_each(stage_one, rows, of_class, all_texts.x)
    labels = stage_one.labels
    own = labels == owner
    n = np.arange(len(labels))
    # probability of the true class with all texts, (N,), and without each text, (N, m)
    total = all_texts.e.sum(axis=1)
    true = all_texts.e[n, labels]
    e = np.exp(columns - all_texts.largest[:, None])
    # the other classes together; where they are next to nothing, a difference leaves none of them
    rest = total - all_texts.e[:, owner]
    lost = rest < 1e-6 * total
    rest[lost] = np.delete(all_texts.e[lost], owner, axis=1).sum(axis=1)
    without = np.where(own[:, None], e, true[:, None]) / (rest[:, None] + e)
    change = (true / total)[:, None] - without
    # decisions: the class wins without a text if its score beats the best other class
    score, rival = all_texts.rival_of(owner)
    beats = columns > score[:, None]
    # ties go to the lower index
    beats |= (columns == score[:, None]) & (owner < rival)[:, None]
    right_without = np.where(beats, owner, rival[:, None]) == labels[:, None]
    right = (all_texts.best[1] == labels)[:, None]
    fixed = (right & ~right_without).sum(axis=0)
    broke = (~right & right_without).sum(axis=0)
    # some images are less similar to all texts than others, which says nothing of a text
    centred = cosines - all_texts.scores.mean(axis=1, keepdims=True) / 100
    groups = None if stage_one.groups is None else np.asarray(stage_one.groups)
    per_image = len(labels) / own.sum()
    for j, row in enumerate(rows.tolist()):
        takes_from, taken = _class_that_loses_most(change[:, j], stage_one, owner)
        others_mean = 0.0
        if (~own).any():
            others_mean = centred[~own, j].mean()
        yield Weight(
            row=row,
            owner=owner,
            kind=str(stage_one.kind[row]),
            tells=_mean(centred[own, j] - others_mean, groups, own),
            own=_mean(change[own, j], groups, own),
            others=_mean(np.where(own, 0.0, change[:, j]), groups, scale=per_image),
            net=_mean(change[:, j], groups, scale=per_image),
            takes_from=takes_from,
            taken=taken,
            fixed=int(fixed[j]),
            broke=int(broke[j]),
        )


def _without_each(
    stage_one: StageOne, rows: NDArray[np.int64], of_class: NDArray[np.bool_], x: torch.Tensor
) -> tuple[Floats, Floats]:
    """Cosines (N, m) of images with a class's texts, and its score (N, m) without each.

    rows: (m,) of the texts. of_class: (M,) mask of all texts of the class. x: (N, d) unit images.
    """

    def cosines_of(some: NDArray[np.int64]) -> Floats:
        texts = l2_normalize(stage_one.text_features[torch.from_numpy(some)], "text features")
        return np.asarray(exact_matmul(x, texts).numpy())

    averaged = np.flatnonzero(of_class & np.isin(stage_one.kind, MEAN_KINDS))
    names = np.flatnonzero(of_class & np.isin(stage_one.kind, MAX_KINDS))
    sums = cosines_of(averaged).sum(axis=1, keepdims=True)
    of_names = np.sort(cosines_of(names), axis=1)
    best = of_names[:, -1:]
    cosines = cosines_of(rows)
    # an averaged text leaves the sum and the number; a synonym leaves the maximum
    columns = (sums - cosines + best) / max(1, len(averaged))
    is_name = np.isin(rows, names)
    if is_name.any():
        # without the best of the names the second one is the maximum
        remaining = np.where(cosines[:, is_name] == best, of_names[:, -2:-1], best)
        columns[:, is_name] = (sums + remaining) / (len(averaged) + 1)
    return cosines, 100 * columns


def _class_that_loses_most(
    change: Floats, stage_one: StageOne, owner: int
) -> tuple[int | None, Estimate | None]:
    """The class whose images lose most by a text of ``owner``, with the mean change of its images
    and the interval; None if no class loses.

    change: (N,).
    """
    counts = np.bincount(stage_one.labels, minlength=stage_one.n_classes)
    sums = np.bincount(stage_one.labels, weights=change, minlength=stage_one.n_classes)
    sums[owner] = 0
    worst = int(sums.argmin())
    if sums[worst] >= 0:
        return None, None
    groups = None if stage_one.groups is None else np.asarray(stage_one.groups)
    of_worst = stage_one.labels == worst
    n_others = int(np.count_nonzero(counts)) - 1
    return worst, _mean(change[of_worst], groups, of_worst, tests=n_others)


def _mean(
    values: Floats,
    groups: NDArray[np.int64] | None,
    rows: NDArray[np.bool_] | None = None,
    tests: int = 1,
    scale: float = 1.0,
) -> Estimate:
    """``scale`` times the mean of values (n,), with Student's t interval over images or groups.

    groups: (N,) of all images; rows: (N,) mask of those that ``values`` are of. One image alone
    has no interval: then it is −1 to 1 (times ``scale``).
    """
    if groups is not None and rows is not None:
        groups = groups[rows]
    value = float(values.mean())
    units = len(values) if groups is None else len(np.unique(groups))
    low, high = -1.0, 1.0
    if units > 1:
        low, high, _ = crossed_interval(values[None], (), tests, groups)
    return {"value": scale * value, "low": scale * low, "high": scale * high}
