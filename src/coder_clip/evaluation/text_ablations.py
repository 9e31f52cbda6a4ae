"""Stage one with other texts: some kinds at a time, fewer of them, more and less diverse ones.

Fewer texts are always taken in proportion: of each class and kind the same share, as far as whole
numbers permit (`StageOne.in_proportion`). Kinds of text differ in what they add, so two choices of
texts that had other numbers of each kind would compare kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..baselines.zero_shot import description_scores
from ..foundation.reproducible import exact_matmul, ordered_sum
from ..neighbors import MAX_KINDS, MEAN_KINDS, TextNeighbors, l2_normalize
from ..texts.kinds import BESIDES_NAME
from .estimates import (
    Labels,
    as_estimate,
    estimate,
    paired_mean_test,
    paired_test,
    paired_test_over_seeds,
)

# one by one, then together: with the name, without it
KIND_COMBINATIONS: tuple[tuple[str, ...], ...] = (
    ("name",),
    *((kind,) for kind in BESIDES_NAME),
    *(("name", *others) for n in (1, 2, 3) for others in combinations(BESIDES_NAME, n)),
    *(others for n in (2, 3) for others in combinations(BESIDES_NAME, n)),
)
CHOSEN = {"diverse": 1.0, "alike": -1.0}  # the sign of similarity in the greedy choice
# of the texts of each class and kind, rounded up: so each kind that the class has is there
FEW = 0.25
Mask = NDArray[np.bool_]


class StageOne:
    """Images and texts, so that stage one can be scored with any part of the texts.

    name, other: masks (M,) of the name texts and of the attribute, analogous and synonym texts; all
    others are unused."""

    def __init__(
        self,
        x: Tensor,
        labels: Labels,
        text_features: Tensor,
        class_index: Labels,
        kinds: Sequence[str],
        n_classes: int,
        groups: Tensor | None = None,
    ) -> None:
        """x: (N, d), labels: (N,); text_features: (M, d), with the class and the kind of each:
        (M,).

        groups: (N,), near twins share a number, and intervals are over groups.
        """
        self.groups = groups
        self.x, self.labels = x, np.asarray(labels, dtype=np.int64)
        self.text_features, self.n_classes = text_features, n_classes
        self.owner = np.asarray(class_index, dtype=np.int64)
        self.kind = np.asarray(kinds, dtype=str)
        self.name, self.other = self.kind == "name", np.isin(self.kind, BESIDES_NAME)
        self._correct: dict[bytes, Mask] = {}  # by the kept texts: curves and tests share them

    @cached_property
    def most(self) -> int:
        """Number of texts, besides the name, of the class with most of them."""
        return int(np.bincount(self.owner[self.other], minlength=1).max())

    @cached_property
    def group(self) -> NDArray[np.int64]:
        """A number (M,) for each class and kind: texts of the same class and kind have the same."""
        # class · (kinds + 1) + kind; names and unused kinds share the last kind
        kinds = {kind: i for i, kind in enumerate(BESIDES_NAME)}
        of_kind = np.array(
            [kinds.get(kind, len(kinds)) for kind in self.kind.tolist()], dtype=np.int64
        )
        return np.asarray(self.owner * (len(kinds) + 1) + of_kind)

    @cached_property
    def greedy(self) -> dict[str, NDArray[np.int64]]:
        """The rank (M,) of each text in the greedy orders of its class and kind: ``diverse`` and
        ``alike``.
        """
        return {chosen: _greedy_ranks(self, sign) for chosen, sign in CHOSEN.items()}

    def share_before(self, rank: NDArray[np.int64]) -> NDArray[np.float64]:
        """The share (M,) of the texts of its class and kind that come before each text.

        rank: (M,) the place of each text, besides the names, among those of its class and kind,
        from 0."""
        sizes = np.bincount(self.group[self.other], minlength=int(self.group.max(initial=0)) + 1)
        return np.asarray(rank / np.maximum(sizes[self.group], 1))

    def in_proportion(self, rank: NDArray[np.int64]) -> NDArray[np.int64]:
        """Order a class's texts so that the first ``n`` of them hold each kind in proportion, for
        every ``n``.

        rank: as in :meth:`share_before` -> the place (M,) of each text among all texts of its
        class. The next text is of the kind of which the smallest share was taken, of equal ones the
        first in BESIDES_NAME: first one text of each kind, then more of the kinds that have more.
        Two ranks thus give the same number of each kind."""
        rows = np.flatnonzero(self.other)
        # by class, then by the share taken before, then by kind
        order = rows[
            np.lexsort((self.group[rows], self.share_before(rank)[rows], self.owner[rows]))
        ]
        place = np.zeros(len(self.owner), dtype=np.int64)
        place[order] = pd.Series(order).groupby(self.owner[order]).cumcount()
        return place

    def correct(self, keep: Mask) -> Mask:
        """Images (N,) that are right with the kept texts (M,); a class without any is scored by its
        name.

        If neither names nor synonyms are kept, stage one has no maximum, and is the mean of the
        other texts."""
        key = keep.tobytes()
        if key not in self._correct:
            self._correct[key] = self._scored(keep)
        return self._correct[key]

    def _scored(self, keep: Mask) -> Mask:
        # without a name or synonym stage one has no maximum, only the mean of the rest
        needed = MAX_KINDS if np.isin(self.kind[keep], MAX_KINDS).any() else MEAN_KINDS
        with_texts = (
            np.bincount(self.owner[keep & np.isin(self.kind, needed)], minlength=self.n_classes) > 0
        )
        # a class that lost all its texts falls back to its name
        keep = keep | (self.name & ~with_texts[self.owner])
        if needed == MAX_KINDS:
            neighbors = TextNeighbors(
                *(self._per_class(keep, kinds) for kinds in (MEAN_KINDS, MAX_KINDS))
            )
            predictions = neighbors.predict(self.x)
        else:
            rows = torch.from_numpy(
                np.flatnonzero(keep & np.isin(self.kind, [*MEAN_KINDS, "name"]))
            )
            owner = torch.from_numpy(self.owner)[rows]
            scores = description_scores(self.x, self.text_features[rows], owner, self.n_classes)
            predictions = scores.argmax(dim=1)
        return np.asarray(predictions.cpu().numpy() == self.labels)

    def _per_class(self, keep: Mask, kinds: Sequence[str]) -> list[Tensor]:
        """For each class the features of its kept texts of some kinds."""
        rows = np.flatnonzero(keep & np.isin(self.kind, list(kinds)))
        # sorted by class, so that one split gives each class its block
        rows = rows[np.argsort(self.owner[rows], kind="stable")]
        sizes = np.bincount(self.owner[rows], minlength=self.n_classes).tolist()
        return list(torch.split(self.text_features[torch.from_numpy(rows)], sizes))

    def first(self, count: int, place: NDArray[np.int64]) -> Mask:
        """The names and each class's first ``count`` other texts by ``place`` (M,): a mask (M,)."""
        return np.asarray(self.name | (self.other & (place < count)))

    def described(self, keep: Mask) -> dict[str, Any]:
        """Accuracy and number of the kept texts (M,), and diversity of those that are not names."""
        others = keep & self.other
        return {
            "accuracy": float(self.correct(keep).mean()),
            "texts": int(keep.sum()),
            "diversity": diversity(
                self.text_features[others], torch.from_numpy(self.owner[others])
            ),
        }


def diversity(texts: Tensor, owner: Tensor) -> float | None:
    """Mean over classes with at least two texts of the mean cosine between two of them; lower is
    more diverse.

    texts: (M, d), owner: (M,) the class of each. None if no class has two. For n unit rows t: mean
    over pairs t·u = (|sum t|² − n) / (n (n − 1)).
    """
    n = torch.bincount(owner).double()
    sums = torch.zeros(len(n), texts.shape[1], dtype=torch.float64)
    sums.index_add_(0, owner, l2_normalize(texts, "text features"))
    pairs = n * (n - 1)
    mean = (sums.square().sum(dim=1) - n)[pairs > 0] / pairs[pairs > 0]
    return float(mean.mean()) if len(mean) else None


def text_kind_ablation(stage_one: StageOne) -> list[dict[str, Any]]:
    """Accuracy of stage one with some kinds of text at a time (paper, ablation of text kinds).

    Combinations with a kind that no class has are skipped. A class without a text of the chosen
    kinds, or without a synonym if those are chosen, is scored by its name. Each row: kinds,
    accuracy (an `Estimate`), number of texts."""
    rows: list[dict[str, Any]] = []
    for kinds in KIND_COMBINATIONS:
        if set(kinds) <= set(stage_one.kind.tolist()):
            keep = np.isin(stage_one.kind, kinds)
            result = estimate(stage_one.correct(keep), groups=stage_one.groups)
            rows.append({"kinds": list(kinds), "accuracy": result, "texts": int(keep.sum())})
    return rows


def text_count_curve(
    stage_one: StageOne, counts: Sequence[int], n_subsets: int = 3, seed: int = 0
) -> list[dict[str, Any]]:
    """Accuracy of stage one with ``count`` texts per class besides its name, in several random
    subsets (draws).

    Texts are drawn from each kind in proportion (:meth:`StageOne.in_proportion`); a class with
    fewer uses all of them. Within one draw a larger count keeps the texts of a smaller one. The
    last row always has all texts of every class, at the count of the largest class; larger counts
    would be the same. Without a choice (0, or all) there is one draw.
    Each row: count, draw, and as from :meth:`StageOne.described`.
    """
    most = stage_one.most
    places = [stage_one.in_proportion(rank) for rank in _draws(stage_one, n_subsets, seed)]
    # 0 and all leave no choice, so one draw is enough; larger counts fall together
    return [
        {"count": count, "draw": draw, **stage_one.described(stage_one.first(count, place))}
        for count in sorted({min(count, most) for count in (*counts, most)})
        for draw, place in enumerate(places if 0 < count < most else places[:1])
    ]


def text_choice_curve(stage_one: StageOne, counts: Sequence[int]) -> list[dict[str, Any]]:
    """Accuracy of stage one with the ``count`` most diverse, and the most alike, texts of each
    class.

    Texts are chosen within their class and kind, and both choices have the same number of texts of
    each (:meth:`StageOne.in_proportion`), as have the random draws of :func:`text_count_curve`; so
    they differ in diversity alone. Only counts that leave a choice are used: of some class and kind
    they take at least two texts and not all. A larger count keeps the texts of a smaller one. Each
    row: count, chosen ("diverse" or "alike"), and as from
    :meth:`StageOne.described`.
    """
    return [
        {"count": count, "chosen": chosen, **stage_one.described(keep)}
        for chosen in CHOSEN
        for count, keep in _chosen(stage_one, chosen, counts).items()
    ]


def text_tests(
    stage_one: StageOne, counts: Sequence[int], n_subsets: int = 3, seed: int = 0
) -> list[dict[str, Any]]:
    """Paired tests (`PairedTest`) of what texts add to stage one, on the same images.

    all_against_few: all texts of every class against the share FEW of each class and kind, rounded
    up, over the random draws of :func:`text_count_curve`; with the mean number of texts per class
    of both sides, besides the name.
    diverse_against_alike: of each image the share of the ``counts`` of :func:`text_choice_curve`
    with which it is right, by the most diverse texts against the most alike ones. kind: all kinds
    against all without this one, for each kind besides the name. A positive difference says that
    more, more diverse, or these texts help. A test without a choice of texts is absent.
    """
    return [
        *_all_against_few(stage_one, n_subsets, seed),
        *_diverse_against_alike(stage_one, counts),
        *_each_kind(stage_one),
    ]


def _all_against_few(stage_one: StageOne, n_subsets: int, seed: int) -> list[dict[str, Any]]:
    every = stage_one.name | stage_one.other
    draws = [
        stage_one.name | (stage_one.other & (stage_one.share_before(rank) < FEW))
        for rank in _draws(stage_one, n_subsets, seed)
    ]
    # a quarter, rounded up, may already be every text
    if np.array_equal(draws[0], every):
        return []
    few = np.stack([stage_one.correct(keep) for keep in draws])
    test = paired_test_over_seeds(
        few, np.broadcast_to(stage_one.correct(every), few.shape), groups=stage_one.groups
    )
    numbers = {"few": draws[0], "all": every}
    per_class = {
        key: float((keep & stage_one.other).sum() / stage_one.n_classes)
        for key, keep in numbers.items()
    }
    difference = as_estimate(test["difference"])
    return [
        {"test": "all_against_few", "texts_per_class": per_class, **test, "difference": difference}
    ]


def _diverse_against_alike(stage_one: StageOne, counts: Sequence[int]) -> list[dict[str, Any]]:
    kept = {chosen: _chosen(stage_one, chosen, counts) for chosen in CHOSEN}
    used = list(kept["diverse"])
    if not used:
        return []
    shares = {
        chosen: np.mean([stage_one.correct(keep) for keep in masks.values()], axis=0)
        for chosen, masks in kept.items()
    }
    test = paired_mean_test(shares["alike"], shares["diverse"], stage_one.groups)
    return [{"test": "diverse_against_alike", "counts": used, **test}]


def _each_kind(stage_one: StageOne) -> list[dict[str, Any]]:
    every = stage_one.name | stage_one.other
    after = stage_one.correct(every)
    return [
        {
            "test": "kind",
            "kind": kind,
            **paired_test(
                stage_one.correct(every & (stage_one.kind != kind)), after, groups=stage_one.groups
            ),
        }
        for kind in BESIDES_NAME
        if kind in stage_one.kind
    ]


def _draws(stage_one: StageOne, n_subsets: int, seed: int) -> list[NDArray[np.int64]]:
    """For each draw the rank (M,) of each text in a random order of the texts of its class and
    kind.
    """
    return [
        _random_ranks(stage_one.group, stage_one.other, np.random.default_rng([seed, draw]))
        for draw in range(n_subsets)
    ]


def _chosen(stage_one: StageOne, chosen: str, counts: Sequence[int]) -> dict[int, Mask]:
    """For each count that leaves a choice the most diverse, or the most alike, texts: masks
    (M,).
    """
    place = stage_one.in_proportion(stage_one.greedy[chosen])
    masks = {c: stage_one.first(c, place) for c in sorted(set(counts))}
    # a count leaves a choice if it takes two texts of a group, but not all
    sizes = np.bincount(stage_one.group[stage_one.other])
    taken = {
        c: np.bincount(stage_one.group[keep & stage_one.other], minlength=len(sizes))
        for c, keep in masks.items()
    }
    return {c: keep for c, keep in masks.items() if ((taken[c] >= 2) & (taken[c] < sizes)).any()}


def _random_ranks(
    group: NDArray[np.int64], pool: Mask, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The rank (M,) of each text of the pool in a random order of the texts of its group."""
    shuffled = rng.permutation(np.flatnonzero(pool))
    rank = np.zeros(len(group), dtype=np.int64)
    # number the shuffled texts of each group from 0
    rank[shuffled] = pd.Series(shuffled).groupby(group[shuffled]).cumcount()
    return rank


def _greedy_ranks(stage_one: StageOne, sign: float) -> NDArray[np.int64]:
    """The rank (M,) of each text: the next one is the least (sign 1) or the most (-1) similar to
    those before it.

    Only texts of the same class and kind are compared. Similarity: mean cosine with the chosen
    texts; for the first one, with all of the class and kind. Ties keep the order.
    """
    rank = np.zeros(len(stage_one.owner), dtype=np.int64)
    for group in np.unique(stage_one.group[stage_one.other]):
        rows = np.flatnonzero(stage_one.other & (stage_one.group == group))
        texts = l2_normalize(stage_one.text_features[torch.from_numpy(rows)], "text features")
        cosines = exact_matmul(texts, texts)
        similarity = sign * ordered_sum(cosines)  # with all of the class and kind
        for at in range(len(rows)):
            best = int(similarity.argmin())
            # the first one is chosen by all texts; from here on only chosen ones count
            similarity = sign * cosines[best] if at == 0 else similarity + sign * cosines[best]
            similarity[best] = torch.inf
            rank[rows[best]] = at
    return rank
