"""Stage one with other texts: some kinds at a time, fewer of them, more and less diverse ones."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..baselines.zero_shot import description_scores
from ..foundation.exact import inner
from ..neighbors import MAX_KINDS, MEAN_KINDS, TextNeighbors, unit
from ..texts.kinds import BESIDES_NAME
from .estimates import Estimate, Labels, accuracy, estimate

# one by one, then together: with the name, without it
KIND_COMBINATIONS: tuple[tuple[str, ...], ...] = (
    ("name",),
    *((kind,) for kind in BESIDES_NAME),
    *(("name", *others) for n in (1, 2, 3) for others in combinations(BESIDES_NAME, n)),
    *(others for n in (2, 3) for others in combinations(BESIDES_NAME, n)),
)


class KindsRow(TypedDict):
    """Accuracy of stage one with some kinds of text."""

    kinds: list[str]
    accuracy: Estimate
    texts: int


class CountRow(TypedDict):
    """Accuracy of stage one with some number of texts a class besides its name.

    diversity: mean cosine between two of a class's drawn texts, over classes; lower is more diverse; None where
    no class has two.
    """

    count: int
    draw: int
    accuracy: float
    texts: int
    diversity: float | None


class ChoiceRow(TypedDict):
    """As `CountRow`, with the texts of a class chosen to be ``diverse`` or ``alike``."""

    count: int
    chosen: str
    accuracy: float
    texts: int
    diversity: float | None


def text_kind_ablation(
    x: Tensor,
    labels: Labels,
    text_features: Tensor,
    class_index: Labels,
    kinds: Sequence[str],
    n_classes: int,
    combinations: Sequence[Sequence[str]] = KIND_COMBINATIONS,
) -> list[KindsRow]:
    """Accuracy of stage one with some kinds of text at a time (paper, ablation of text kinds).

    x: (N, d), labels: (N,); text_features: (M, d) with class_index (M,) and kinds (M,) a row; kinds other
    than name, attribute, analogous and synonym are ignored. A combination with a kind that no class has is
    left out. A class without a text of the chosen kinds, or without a synonym where those are chosen, has its name
    in its place.
    """
    kind = np.asarray(kinds, dtype=str)
    rows: list[KindsRow] = []
    for chosen in combinations:
        if not set(chosen) <= set(kind.tolist()):
            continue
        keep = np.isin(kind, list(chosen))
        correct = _stage_one(x, labels, text_features, class_index, kind, keep, n_classes)
        rows.append({"kinds": list(chosen), "accuracy": estimate(correct), "texts": int(keep.sum())})
    return rows


def text_count_curve(
    x: Tensor,
    labels: Labels,
    text_features: Tensor,
    class_index: Labels,
    kinds: Sequence[str],
    n_classes: int,
    *,
    counts: Sequence[int] | None = None,
    draws: int = 3,
    seed: int = 0,
) -> list[CountRow]:
    """Accuracy of stage one with ``count`` texts a class besides its name, drawn at random several times.

    Inputs as in :func:`text_kind_ablation`. Texts are drawn from all other kinds of the class; a class with
    fewer gives all of them. Within one draw a larger count keeps the texts of a smaller one. counts: 0, 1, 2,
    4, … unless given. The last row is always that of all texts of every class, at the count of the largest class;
    counts above it would be the same. Where nothing is left to draw (0, or all), there is one draw.
    """
    kind, owner = np.asarray(kinds, dtype=str), np.asarray(class_index, dtype=np.int64)
    name = kind == "name"
    pool = np.isin(kind, BESIDES_NAME)
    most = int(np.bincount(owner[pool], minlength=1).max())
    if counts is None:
        counts = [0, *(2**i for i in range(most.bit_length()))]
    counts = sorted({min(count, most) for count in (*counts, most)})
    places = [_places(owner, pool, np.random.default_rng([seed, draw])) for draw in range(draws)]
    rows: list[CountRow] = []
    for count in counts:
        for draw, place in enumerate(places if 0 < count < most else places[:1]):
            keep = name | (pool & (place < count))
            correct = _stage_one(x, labels, text_features, class_index, kind, keep, n_classes)
            texts = int(keep.sum())
            spread = _diversity(text_features, owner, keep & pool)
            rows.append(
                {
                    "count": count,
                    "draw": draw,
                    "accuracy": accuracy(correct),
                    "texts": texts,
                    "diversity": spread,
                }
            )
    return rows


def text_choice_curve(
    x: Tensor,
    labels: Labels,
    text_features: Tensor,
    class_index: Labels,
    kinds: Sequence[str],
    n_classes: int,
    counts: Sequence[int],
) -> list[ChoiceRow]:
    """Accuracy of stage one with the ``count`` most diverse, and the most alike, texts of every class.

    Inputs as in :func:`text_count_curve`, whose random draws all have much the same diversity; these two have the
    same number of texts and differ in it. Only counts that leave a choice: at least two texts, and fewer than some
    class has. A larger count keeps the texts of a smaller one.
    """
    kind, owner = np.asarray(kinds, dtype=str), np.asarray(class_index, dtype=np.int64)
    pool = np.isin(kind, BESIDES_NAME)
    most = int(np.bincount(owner[pool], minlength=1).max())
    rows: list[ChoiceRow] = []
    for chosen, sign in (("diverse", 1.0), ("alike", -1.0)):
        place = _greedy_places(text_features, owner, pool, sign)
        for count in sorted({c for c in counts if 2 <= c < most}):
            keep = (kind == "name") | (pool & (place < count))
            correct = _stage_one(x, labels, text_features, class_index, kind, keep, n_classes)
            rows.append(
                {
                    "count": count,
                    "chosen": chosen,
                    "accuracy": accuracy(correct),
                    "texts": int(keep.sum()),
                    "diversity": _diversity(text_features, owner, keep & pool),
                }
            )
    return rows


def _greedy_places(
    text_features: Tensor, owner: NDArray[np.int64], pool: NDArray[np.bool_], sign: float
) -> NDArray[np.int64]:
    """(M,) the place of each text of the pool: each next one is the least (sign 1) or most (-1) like those before.

    Like: mean cosine with the chosen; the first against all of the class. Equal ones in their order.
    """
    place = np.zeros(len(owner), dtype=np.int64)
    for c in np.unique(owner[pool]):
        rows = np.flatnonzero(pool & (owner == c))
        texts = unit(text_features[torch.from_numpy(rows)], "text features")
        chosen = texts.sum(dim=0)
        left = torch.ones(len(rows), dtype=torch.bool)
        for at in range(len(rows)):
            like = sign * inner(texts, chosen[None])[:, 0]
            like[~left] = torch.inf
            nearest = int(like.argmin())
            chosen = texts[nearest] if at == 0 else chosen + texts[nearest]
            left[nearest] = False
            place[rows[nearest]] = at
    return place


def _diversity(text_features: Tensor, owner: NDArray[np.int64], keep: NDArray[np.bool_]) -> float | None:
    """Mean over classes with two kept texts and more of the mean cosine between two of them.

    Of n unit rows t: mean over pairs t·u = (|sum t|² − n) / (n (n − 1)).
    """
    rows = torch.from_numpy(np.flatnonzero(keep))
    classes = torch.from_numpy(owner[keep])
    n = torch.bincount(classes).double()
    sums = torch.zeros(len(n), text_features.shape[1], dtype=torch.float64)
    if len(rows):
        sums.index_add_(0, classes, unit(text_features[rows], "text features"))
    pairs = n * (n - 1)
    mean = (sums.square().sum(dim=1) - n)[pairs > 0] / pairs[pairs > 0]
    return float(mean.mean()) if len(mean) else None


def _places(owner: NDArray[np.int64], pool: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """(M,) the place of each text of the pool in a random order of its class's texts."""
    shuffled = rng.permutation(np.flatnonzero(pool))
    grouped = shuffled[np.argsort(owner[shuffled], kind="stable")]
    _, starts, counts = np.unique(owner[grouped], return_index=True, return_counts=True)
    place = np.zeros(len(owner), dtype=np.int64)
    place[grouped] = np.arange(len(grouped)) - np.repeat(starts, counts)
    return place


def _stage_one(
    x: Tensor,
    labels: Labels,
    text_features: Tensor,
    class_index: Labels,
    kind: NDArray[np.str_],
    keep: NDArray[np.bool_],
    n_classes: int,
) -> NDArray[np.bool_]:
    """(N,) whether stage one is right with the kept texts; a class that has none is scored by its name.

    Where neither names nor synonyms are kept, nothing is left of stage one's maximum: the mean of the others.
    """
    owner = np.asarray(class_index, dtype=np.int64)
    needed = MAX_KINDS if np.isin(kind[keep], MAX_KINDS).any() else MEAN_KINDS
    bare = np.bincount(owner[keep & np.isin(kind, needed)], minlength=n_classes) == 0
    keep = keep | ((kind == "name") & bare[owner])

    def of(some: Sequence[str]) -> list[Tensor]:
        rows = np.flatnonzero(keep & np.isin(kind, list(some)))
        rows = rows[np.argsort(owner[rows], kind="stable")]
        sizes = np.bincount(owner[rows], minlength=n_classes).tolist()
        return list(torch.split(text_features[torch.from_numpy(rows)], sizes))

    if needed == MAX_KINDS:
        scores = TextNeighbors(mean_texts=of(MEAN_KINDS), max_texts=of(MAX_KINDS)).class_scores(x)
    else:
        rows = torch.from_numpy(np.flatnonzero(keep & np.isin(kind, [*MEAN_KINDS, "name"])))
        scores = description_scores(x, text_features[rows], torch.from_numpy(owner)[rows], n_classes)
    predictions = scores.argmax(dim=1).cpu().numpy()
    return np.asarray(predictions == np.asarray(labels, dtype=np.int64))
