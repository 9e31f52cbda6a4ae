"""Stage one with other texts: some kinds at a time, fewer of them, more and less diverse ones.

Fewer texts are always taken in proportion: of each class and kind the same share, as far as whole
numbers permit (`StageOne.in_proportion`). Kinds of text differ in what they add, so two choices of
texts that had other numbers of each kind would compare kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..baselines.zero_shot import description_scores
from ..foundation.reproducible import exact_matmul, ordered_sum
from ..neighbors import MAX_KINDS, MEAN_KINDS, TextNeighbors, l2_normalize
from ..texts.kinds import BESIDES_NAME
from .estimates import compare, estimate

if TYPE_CHECKING:
    from .estimates import Labels, Values

# one by one, then together: with the name, without it
KIND_COMBINATIONS: tuple[tuple[str, ...], ...] = (
    ("name",),
    *((kind,) for kind in BESIDES_NAME),
    *(("name", *others) for n in (1, 2, 3) for others in combinations(BESIDES_NAME, n)),
    *(others for n in (2, 3) for others in combinations(BESIDES_NAME, n)),
)
CHOSEN = {"diverse": 1.0, "alike": -1.0}  # the sign of similarity in the greedy choice
# share of the texts of each class and kind, rounded up, so that no kind of a class disappears
FEW = 0.25
Mask = NDArray[np.bool_]


class StageOne:
    """Images and texts, to score stage one with any subset of the texts.

    name: mask (M,) of the name texts; other: mask (M,) of the attribute, analogous and synonym
    texts. Texts of other kinds are unused."""

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
        """x: (N, d), labels: (N,); text_features: (M, d).

        class_index, kinds: (M,), the class and the kind of each text.

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
        """The number (M,) of each text's group: texts of the same class and kind."""
        # class · (kinds + 1) + kind; names and unused kinds share the last kind
        kinds = {kind: i for i, kind in enumerate(BESIDES_NAME)}
        of_kind = np.array(
            [kinds.get(kind, len(kinds)) for kind in self.kind.tolist()], dtype=np.int64
        )
        return np.asarray(self.owner * (len(kinds) + 1) + of_kind)

    @cached_property
    def greedy(self) -> dict[str, NDArray[np.int64]]:
        """``diverse`` and ``alike`` -> rank (M,) of each text in this greedy order within its class
        and kind.
        """
        return {chosen: _greedy_ranks(self, sign) for chosen, sign in CHOSEN.items()}

    def share_before(self, rank: NDArray[np.int64]) -> NDArray[np.float64]:
        """For each text (M,) the share of the texts of its class and kind that come before it.

        rank: (M,) the place, from 0, of each text (names excluded) among the texts of its class and
        kind."""
        sizes = np.bincount(self.group[self.other], minlength=int(self.group.max(initial=0)) + 1)
        return np.asarray(rank / np.maximum(sizes[self.group], 1))

    def in_proportion(self, rank: NDArray[np.int64]) -> NDArray[np.int64]:
        """Order a class's texts so that any first ``n`` of them hold each kind in proportion.

        rank: as in `share_before`. Return the place (M,) of each text among all texts of its
        class. The next text is always of the kind with the smallest share taken so far (ties: the
        first kind in BESIDES_NAME). So one text of each kind comes first, then more texts of the
        larger kinds, and any two ranks give the same number of each kind.
        """
        rows = np.flatnonzero(self.other)
        share = self.share_before(rank)[rows]
        # by class, then by the share taken before, then by kind: lexsort has the first key last
        order = rows[np.lexsort((self.group[rows], share, self.owner[rows]))]
        place = np.zeros(len(self.owner), dtype=np.int64)
        place[order] = pd.Series(order).groupby(self.owner[order]).cumcount()
        return place

    def correct(self, keep: Mask) -> Mask:
        """Images (N,) that are right with the kept texts (M,); a class without any is scored by its
        name.

        If neither names nor synonyms are kept, stage one has no maximum, and is the mean of the
        other texts.
        """
        key = keep.tobytes()
        if key not in self._correct:
            self._correct[key] = self._scored(keep)
        return self._correct[key]

    def _scored(self, keep: Mask) -> Mask:
        """`correct` without its cache."""
        # without a name or synonym stage one has no maximum, only the mean of the rest
        has_maximum = np.isin(self.kind[keep], MAX_KINDS).any()
        needed = np.isin(self.kind, MAX_KINDS if has_maximum else MEAN_KINDS)
        with_texts = np.bincount(self.owner[keep & needed], minlength=self.n_classes) > 0
        # a class without a needed text falls back to its name
        keep = keep | (self.name & ~with_texts[self.owner])
        if has_maximum:
            neighbors = TextNeighbors(
                self.per_class(keep, MEAN_KINDS), self.per_class(keep, MAX_KINDS)
            )
            predictions = neighbors.predict(self.x)
        else:
            averaged = keep & np.isin(self.kind, [*MEAN_KINDS, "name"])
            rows = torch.from_numpy(np.flatnonzero(averaged))
            owner = torch.from_numpy(self.owner)[rows]
            scores = description_scores(self.x, self.text_features[rows], owner, self.n_classes)
            predictions = scores.argmax(dim=1)
        return np.asarray(predictions.cpu().numpy() == self.labels)

    def per_class(self, keep: Mask, kinds: Sequence[str]) -> list[Tensor]:
        """For each class the features of its kept texts of some kinds."""
        rows = np.flatnonzero(keep & np.isin(self.kind, list(kinds)))
        # sorted by class, so that one split gives each class its block
        rows = rows[np.argsort(self.owner[rows], kind="stable")]
        sizes = np.bincount(self.owner[rows], minlength=self.n_classes).tolist()
        return list(torch.split(self.text_features[torch.from_numpy(rows)], sizes))

    def first(self, count: int, place: NDArray[np.int64]) -> Mask:
        """The names and each class's first ``count`` other texts by ``place`` (M,): a mask (M,)."""
        return np.asarray(self.name | (self.other & (place < count)))

    def accuracy(self, keep: Mask) -> float:
        """The share of images that are right with the kept texts (M,)."""
        return float(self.correct(keep).mean())


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
    """Accuracy of stage one with the name and ``count`` texts per class, in several random subsets.

    Texts are drawn from each kind in proportion (`StageOne.in_proportion`); a class with
    fewer uses all of them. Within one draw a larger count keeps the texts of a smaller one. The
    last row always has all texts of every class, at the count of the largest class; larger counts
    would be the same. Without a choice (0, or all) there is one draw.
    Each row: count, draw, accuracy.
    """
    most = stage_one.most
    # for each draw the place of each text in an order of its class; the first ``count`` are kept
    orders = [stage_one.in_proportion(rank) for rank in _draws(stage_one, n_subsets, seed)]
    rows = []
    for count in sorted({min(count, most) for count in (*counts, most)}):
        # 0 and all leave no choice, so one draw is enough
        has_choice = 0 < count < most
        for draw, place in enumerate(orders if has_choice else orders[:1]):
            keep = stage_one.first(count, place)
            rows.append({"count": count, "draw": draw, "accuracy": stage_one.accuracy(keep)})
    return rows


def text_choice_curve(stage_one: StageOne, counts: Sequence[int]) -> list[dict[str, Any]]:
    """Accuracy of stage one with the ``count`` most diverse, and most alike, texts per class.

    Texts are chosen within their class and kind. Both choices, and the random draws of
    `text_count_curve`, have the same number of texts of each class and kind
    (`StageOne.in_proportion`), so they differ in diversity alone. Only counts that leave a
    choice are used: of some class and kind they take at least two texts and not all. A larger count
    keeps the texts of a smaller one.
    Each row: count, chosen ("diverse" or "alike"), accuracy.
    """
    return [
        {"count": count, "chosen": chosen, "accuracy": stage_one.accuracy(keep)}
        for chosen in CHOSEN
        for count, keep in _chosen(stage_one, chosen, counts).items()
    ]


def text_tests(
    stage_one: StageOne, counts: Sequence[int], n_subsets: int = 3, seed: int = 0
) -> list[dict[str, Any]]:
    """Comparisons of what texts add to stage one, on the same images.

    all_against_few: all texts of every class against the share FEW of each class and kind, rounded
    up, over the random draws of `text_count_curve`. diverse_against_alike: the most diverse texts
    against the most alike ones; an image's result is the share of the ``counts`` of
    `text_choice_curve` with which it is right. kind: all kinds against all without one kind, for
    each kind besides the name.

    Each has the keys of `Difference`, with an interval for other images of these classes, and
    over_classes, a `Difference` whose interval is for other classes. A positive difference says
    that more texts, more diverse texts, or texts of this kind help. A test without a choice of
    texts is absent.
    """
    return [
        *_all_against_few(stage_one, n_subsets, seed),
        *_diverse_against_alike(stage_one, counts),
        *_each_kind(stage_one),
    ]


def _all_against_few(stage_one: StageOne, n_subsets: int, seed: int) -> list[dict[str, Any]]:
    """The test of all texts against few, in a list; empty if few are already all."""
    every = stage_one.name | stage_one.other
    draws = [
        stage_one.name | (stage_one.other & (stage_one.share_before(rank) < FEW))
        for rank in _draws(stage_one, n_subsets, seed)
    ]
    # a quarter, rounded up, may already be every text
    if np.array_equal(draws[0], every):
        return []
    few = np.stack([stage_one.correct(keep) for keep in draws])
    every_text = np.broadcast_to(stage_one.correct(every), few.shape)
    return [{"test": "all_against_few", **_compared(stage_one, few, every_text)}]


def _diverse_against_alike(stage_one: StageOne, counts: Sequence[int]) -> list[dict[str, Any]]:
    """The test of diverse against alike texts, in a list; empty if no count leaves a choice."""
    kept = {chosen: _chosen(stage_one, chosen, counts) for chosen in CHOSEN}
    if not kept["diverse"]:
        return []
    # for each choice the share of counts with which each image is right: (N,)
    shares = {
        chosen: np.mean([stage_one.correct(keep) for keep in masks.values()], axis=0)
        for chosen, masks in kept.items()
    }
    test = _compared(stage_one, shares["alike"], shares["diverse"])
    return [{"test": "diverse_against_alike", **test}]


def _each_kind(stage_one: StageOne) -> list[dict[str, Any]]:
    """For each kind that a class has, the test of all kinds against all without this kind."""
    every = stage_one.name | stage_one.other
    after = stage_one.correct(every)
    tests = []
    for kind in BESIDES_NAME:
        if kind in stage_one.kind:
            before = stage_one.correct(every & (stage_one.kind != kind))
            tests.append({"test": "kind", "kind": kind, **_compared(stage_one, before, after)})
    return tests


def _compared(stage_one: StageOne, before: Values, after: Values) -> dict[str, Any]:
    """The difference on these classes, and (over_classes) with an interval for other classes."""
    return {
        **compare(before, after, groups=stage_one.groups),
        "over_classes": compare(before, after, groups=stage_one.labels),
    }


def _draws(stage_one: StageOne, n_subsets: int, seed: int) -> list[NDArray[np.int64]]:
    """For each draw the rank (M,) of each text in a random order within its class and kind."""
    return [
        _random_ranks(stage_one.group, stage_one.other, np.random.default_rng([seed, draw]))
        for draw in range(n_subsets)
    ]


def _chosen(stage_one: StageOne, chosen: str, counts: Sequence[int]) -> dict[int, Mask]:
    """Count -> mask (M,) of the most diverse or most alike texts, for counts that leave a
    choice.
    """
    place = stage_one.in_proportion(stage_one.greedy[chosen])
    sizes = np.bincount(stage_one.group[stage_one.other])
    masks = {}
    for count in sorted(set(counts)):
        keep = stage_one.first(count, place)
        taken = np.bincount(stage_one.group[keep & stage_one.other], minlength=len(sizes))
        # a count leaves a choice if it takes two texts of some group, but not all
        if ((taken >= 2) & (taken < sizes)).any():
            masks[count] = keep
    return masks


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
    """The rank (M,) of each text in a greedy order, whose next text is the least (sign 1) or the
    most (sign -1) similar to those chosen before.

    Only texts of the same class and kind are compared. Similarity: mean cosine with the chosen
    texts; for the first text, with all of the class and kind. Ties keep the order.
    """
    rank = np.zeros(len(stage_one.owner), dtype=np.int64)
    for group in np.unique(stage_one.group[stage_one.other]):
        rows = np.flatnonzero(stage_one.other & (stage_one.group == group))
        texts = l2_normalize(stage_one.text_features[torch.from_numpy(rows)], "text features")
        cosines = exact_matmul(texts, texts)
        similarity = sign * ordered_sum(cosines)  # with all of the class and kind
        for place in range(len(rows)):
            best = int(similarity.argmin())
            chosen = sign * cosines[best]
            # the first text is chosen by all texts; from here on only chosen texts count
            similarity = chosen if place == 0 else similarity + chosen
            similarity[best] = torch.inf  # not chosen again
            rank[rows[best]] = place
    return rank
