"""Exact search of α, β and γ over a whole grid, without evaluating every point of it.

For logits of the form

    logits = base + γ · tilt + α · votes(β, γ)

TIP-X has a tilt, and votes without γ; APE has votes that depend on γ; the CODER-Adapter and
Tip-Adapter have neither. For each γ, an image is right on one range of α (line_search.py). Between
two β the votes of a class are convex in β, also after the decay that they share is taken out, which
bounds by how much the label can lead: most images are decided for all β between the two, and only
the others are evaluated again (docs/search.md).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from .line_search import (
    MARGIN,
    NOBODY,
    Few,
    Floats,
    Ints,
    count_right,
    count_spans,
    label_leads,
    label_values,
    right_spans,
    undecided,
)

RATIO = 1.4  # between neighbouring β in the first cut of a search
PARTS = 2  # parts of an interval of β in every later cut
# With several γ a bound costs several plain evaluations. There, a part of an interval is tried
# whole if more than this share of the interval's images stay in doubt.
SHARE = 0.8
# Votes are multiplied by at most exp(MOST_GROWTH) = 148, so that rounding stays far below MARGIN.
MOST_GROWTH = 5
AXES = ("alpha", "beta", "gamma")


class Images(NamedTuple):
    """Some images.

    rows: (n,) number of each image; labels: (n,); base: (C, n); tilt: (C, n), None for a method
    without a tilt.

    votes: function of a β, the indices (g,) of some γ in the grid, and whether the slopes are
    wanted; returns the votes and their derivatives by β (slopes, None if not wanted), (C, n, g)
    each, or (C, n, 1) for votes that do not depend on γ. Votes are positive and convex in β.
    """

    rows: Ints
    labels: Ints
    base: Floats
    tilt: Floats | None
    votes: Callable[[float, Ints, bool], tuple[Floats, Floats | None]]


class Family(Protocol):
    """The interface that a search needs: all images of a method."""

    @property
    def size(self) -> int:
        """Number of images."""
        ...

    def largest_vote(self, beta: float) -> float:
        """An upper bound of all votes at any γ, for all β up to ``beta``."""
        ...

    def blocks(self, rows: Ints) -> Iterator[Images]:
        """The images with the numbers ``rows``, in blocks that fit in the processor's cache."""
        ...


class Grids(NamedTuple):
    """The values to try, rising and none negative."""

    alphas: Floats
    betas: Floats
    gammas: Floats = np.zeros(1)


class Best(NamedTuple):
    """A point of the grid and its number of right images."""

    right: int
    alpha: float
    beta: float
    gamma: float


@dataclass(order=True)
class _Interval:
    """The β indices strictly between two evaluated ones, ``first`` and ``last``.

    certain: (γ, α), number of images that are right at all these β. most: (γ, α), upper bound of
    the number at any of these β. images: numbers of the images in doubt. rank: sorts the most
    promising interval first, then the smallest β. whole: try every β, without more bounds.
    """

    rank: tuple[int, int]
    first: int
    last: int
    certain: Ints
    most: Ints
    images: Ints
    whole: bool = False


class _Node(NamedTuple):
    """Votes and slopes (C, n, g) at a β.

    Least and largest (C, n) over γ of the label's votes minus those of each class. slopes: None in
    an interval that is tried whole.
    """

    votes: Floats
    slopes: Floats | None
    least: Floats
    largest: Floats


def first_best(
    family: Family, grids: Grids, loops: tuple[str, ...] = ("beta", "alpha", "gamma")
) -> Best:
    """The point with the most right images that comes first in these loops, outermost first.

    An image is right if the arg max of its logits, lowest class first, is its label. The result is
    all zeros if no point has an image right, because the published loops start from zeros.
    """
    positions = _positions(grids, loops)
    zeros = np.zeros(positions.shape[1:], dtype=np.int64)
    best, best_position = Best(0, 0.0, 0.0, 0.0), 0
    # the first interval holds every β (−1 and len(betas) are its open ends), and all images are in
    # doubt
    start = _Interval(
        (0, 0), -1, len(grids.betas), zeros, zeros + family.size, np.arange(family.size)
    )
    waiting = [start]
    while waiting:
        part = heapq.heappop(waiting)
        # An equal count wins only if its position is earlier. Positions rise with β, so the first β
        # of the interval decides. A later point needs one more right image.
        later = positions[part.first + 1] > best_position
        hopeful = part.most >= np.maximum(1, best.right + later)
        if not hopeful.any():
            continue
        # only γ and α that can still win: a list of γ, and a slice of α that holds all such α
        gammas = np.flatnonzero(hopeful.any(axis=1))
        alphas = np.flatnonzero(hopeful.any(axis=0))
        span = slice(int(alphas[0]), int(alphas[-1]) + 1)
        nodes = _nodes(grids.betas, part)
        counts, intervals = _evaluate(family, part, nodes, grids, gammas, span)
        for b, right in zip(nodes, counts, strict=True):
            if not part.first < b < part.last:
                continue
            most = int(right.max())
            places = positions[b][gammas, span]
            # of equal maxima the one that the published loops reach first
            position = int(places[right == most].min())
            is_earlier = most == best.right and most > 0 and position < best_position
            if most > best.right or is_earlier:
                g, a = (int(i[0]) for i in np.nonzero(places == position))
                point = grids.alphas[span.start + a], grids.betas[b], grids.gammas[gammas[g]]
                best, best_position = Best(most, *map(float, point)), position
        for interval in intervals:
            heapq.heappush(waiting, interval)
    return best


def _positions(grids: Grids, loops: tuple[str, ...]) -> Ints:
    """The position of each point in the loops, as an array with the axes (β, γ, α)."""
    sizes = dict(zip(AXES, map(len, grids), strict=True))
    # number the points in the order of the loops, then move the axes to (β, γ, α)
    positions = np.arange(np.prod([*sizes.values()])).reshape([sizes[axis] for axis in loops])
    return positions.transpose([loops.index(axis) for axis in ("beta", "gamma", "alpha")])


def _nodes(betas: Floats, part: _Interval) -> list[int]:
    """The β indices to evaluate in an interval: with its two ends, unless it is tried whole.

    The first interval (first is −1) is the whole range; there, neighbouring nodes differ by at most
    the factor RATIO, as far as the grid allows.
    """
    first, last = part.first, part.last
    if part.whole:
        return list(range(first + 1, last))
    if first >= 0:
        return sorted({first, last, *np.linspace(first, last, PARTS + 1).astype(int).tolist()})
    nodes = [0]
    while nodes[-1] < len(betas) - 1:
        # as far as the ratio allows, but at least one step and at most to the end
        beyond = int(np.searchsorted(betas, betas[nodes[-1]] * RATIO, "right")) - 1
        nodes.append(min(max(beyond, nodes[-1] + 1), len(betas) - 1))
    return nodes


def _evaluate(
    family: Family, part: _Interval, nodes: list[int], grids: Grids, gammas: Ints, span: slice
) -> tuple[Ints, list[_Interval]]:
    """Number of right images (nodes, γ, α) at each node for these γ and α, and the intervals
    between nodes.

    nodes: β indices; gammas, span: indices of γ and α.
    """
    counts = np.tile(part.certain[gammas, span], (len(nodes), 1, 1))
    certain, most = counts.copy(), counts.copy()
    # for node j: numbers of the images in doubt between nodes j − 1 and j
    doubtful: list[list[Ints]] = [[] for _ in nodes]
    largest = family.largest_vote(grids.betas[-1])
    for images in family.blocks(part.images):
        lines = _Lines(images, largest, grids.alphas[span], grids.gammas, gammas)
        before = None
        for j, b in enumerate(nodes):
            node = lines.node(grids.betas[b], with_slopes=not part.whole)
            # the ends of the interval are counted already
            if part.first < b < part.last:
                counts[j] += lines.right(node)
            if before is not None and b - nodes[j - 1] > 1:
                step = grids.betas[b] - grids.betas[nodes[j - 1]]
                sure, possible, rows = lines.right_between(before, node, step)
                certain[j] += sure
                most[j] += possible
                doubtful[j].append(rows)
            before = node
    intervals = []
    in_later_cut = part.first >= 0
    for j in range(1, len(nodes)):
        if nodes[j] - nodes[j - 1] > 1:
            # points that cannot win were not evaluated: −1 keeps them from looking promising
            all_certain = np.full(part.certain.shape, -1, dtype=np.int64)
            all_most = all_certain.copy()
            all_certain[gammas, span] = certain[j]
            all_most[gammas, span] = most[j]
            rows = np.concatenate([*doubtful[j], np.zeros(0, dtype=np.int64)])
            rank = (-int(most[j].max()), nodes[j])
            whole = in_later_cut and len(gammas) > 1 and len(rows) > SHARE * len(part.images)
            intervals.append(
                _Interval(rank, nodes[j - 1], nodes[j], all_certain, all_most, rows, whole)
            )
    return counts, intervals


class _Lines:
    """A block of images, with the α and γ to try."""

    def __init__(
        self, images: Images, largest_vote: float, alphas: Floats, all_gammas: Floats, gammas: Ints
    ) -> None:
        self.images, self.alphas, self.numbers = images, alphas, gammas
        self.gammas = all_gammas[gammas]
        base, tilt, labels = images.base, images.tilt, images.labels
        # lead (C, n) of the label's logit on each class, without votes: smallest and largest over γ
        self.low = self.high = _lead(base, labels)
        # size of the logits, for the rounding error; never 0, so that equal logits are a tie, too
        size = 1 + np.abs(base).max(axis=0) + alphas[-1] * largest_vote
        if tilt is not None:
            lead = _lead(tilt, labels)
            # γ · lead is linear in γ, so its extremes are at the two ends
            ends = self.gammas[0] * lead, self.gammas[-1] * lead
            self.low, self.high = self.low + np.minimum(*ends), self.high + np.maximum(*ends)
            size += self.gammas[-1] * np.abs(tilt).max(axis=0)
        self.slack = MARGIN * size

    def node(self, beta: float, *, with_slopes: bool) -> _Node:
        """The votes at a β."""
        votes, slopes = self.images.votes(beta, self.numbers, with_slopes)
        lead = _lead(votes, self.images.labels)
        if votes.shape[2] == 1:
            return _Node(votes, slopes, lead[:, :, 0], lead[:, :, 0])
        least, largest = _over_gammas(np.minimum, lead), _over_gammas(np.maximum, lead)
        return _Node(votes, slopes, least, largest)

    def right(self, node: _Node) -> Ints:
        """Number of images that are right at a node: (γ, α)."""
        sure, blocks = self._undecided(node.least, node.largest)
        counts = np.full((len(self.gammas), len(self.alphas)), sure, dtype=np.int64)
        for few in blocks:
            base, votes = self._base(few), few.take(node.votes)
            counts += count_right(
                base, votes, few.labels, self.alphas, self.slack[few.images][:, None]
            )
        return counts

    def right_between(self, before: _Node, here: _Node, step: float) -> tuple[Ints, Ints, Ints]:
        """Bounds (γ, α) of the number of right images between two nodes, and images in doubt.

        Lower and upper bound at any β, and the numbers of these images. step: difference of the two
        β.

        All votes fall with β at about the rate of the label's own. Multiplied by exp(rate · (β −
        first β)), "level" votes hardly change. They are convex, too: below their chord, but by at
        most bend = (difference of level slopes) · step / 4. So the lead of the label's votes on
        class c is at least the smallest lead at the two nodes, level or not, minus the label's
        bend, and at most the largest lead plus the bend of c (proof in docs/search.md).
        """
        assert before.slopes is not None
        assert here.slopes is not None
        rate = self._rate(here.votes, here.slopes, step)
        growth = np.exp(rate * step)
        first, second = (before.votes, before.slopes), (here.votes, here.slopes)
        bend = _bends(first, second, rate[:, None], growth[:, None], step)
        least, largest = (before.least, here.least), (before.largest, here.largest)
        low, high = _lead_bounds(
            least, largest, _over_gammas(np.maximum, bend), growth, self.images.labels
        )
        sure, blocks = self._undecided(low, high)
        certain = np.full((len(self.gammas), len(self.alphas)), sure, dtype=np.int64)
        most = certain.copy()
        doubtful = [np.zeros(0, dtype=np.int64)]
        for few in blocks:
            first = few.take(before.votes), few.take(before.slopes)
            second = few.take(here.votes), few.take(here.slopes)
            few_growth = growth[few.images, None]
            bend = _bends(first, second, rate[few.images, None], few_growth, step)
            leads = _lead(first[0], few.labels), _lead(second[0], few.labels)
            low, high = _lead_bounds(leads, leads, bend, few_growth, few.labels)
            lead = label_leads(self._base(few), few.labels)
            slack = self.slack[few.images][:, None]
            inner = right_spans(lead - slack, low, self.alphas)
            outer = right_spans(lead + slack, high, self.alphas)
            same = (inner[0] == outer[0]) & (inner[1] == outer[1])
            # decided at every γ: both bounds give the same range of α, or no α is possible
            decided = (same | (outer[0] >= outer[1])).all(axis=1)
            most += self._count(outer)
            certain += self._count((outer[0][decided], outer[1][decided]))
            doubtful.append(self.images.rows[few.images[~decided]])
        return certain, most, np.concatenate(doubtful)

    def _rate(self, votes: Floats, slopes: Floats, step: float) -> Floats:
        """Rate at which the votes of each image's label fall at a node, on average over γ: (n,).

        0 where the label has no votes. The bounds hold for any rate from 0 to MOST_GROWTH / step.
        """
        own = label_values(votes, self.images.labels).mean(axis=1)
        falling = -label_values(slopes, self.images.labels).mean(axis=1)
        rate = np.divide(falling, own, out=np.zeros(len(own)), where=own > 0)
        # a grid may hold a β twice: no step, and no growth to limit
        limit = MOST_GROWTH / step if step > 0 else 0.0
        limited: Floats = np.clip(rate, 0, limit)
        return limited

    def _undecided(self, low: Floats, high: Floats) -> tuple[int, Iterator[Few]]:
        """Apply `undecided`.

        low, high: (C, n), bounds of the label's votes minus those of each class.
        """
        first, last = self.alphas[0], self.alphas[-1]
        # α · lead is linear in α, so its extremes are at the first and last α
        lowest = self.low + np.minimum(first * low, last * low)
        highest = self.high + np.maximum(first * high, last * high)
        return undecided(lowest, highest, self.images.labels, self.slack, len(self.gammas))

    def _base(self, few: Few) -> Floats:
        """The logits of a few images without votes: (rows, m, γ)."""
        base = few.take(self.images.base, NOBODY)[:, :, None]
        if self.images.tilt is None:
            return base
        tilted: Floats = base + self.gammas * few.take(self.images.tilt)[:, :, None]
        return tilted

    def _count(self, spans: tuple[Ints, Ints]) -> Ints:
        """Number of images whose range holds each α: (γ, α).

        spans: start and end, (m, γ) or (m, 1) each.
        """
        shape = len(spans[0]), len(self.gammas)
        start, end = (np.broadcast_to(s, shape) for s in spans)
        return count_spans(start, end, len(self.alphas))


def _lead(values: Floats, labels: Ints) -> Floats:
    """The label's value minus the value of each class: (C, n, …) -> (C, n, …)."""
    return label_values(values, labels) - values


def _bends(
    first: tuple[Floats, Floats],
    second: tuple[Floats, Floats],
    rate: Floats,
    growth: Floats,
    step: float,
) -> Floats:
    """By how much the level votes can be below their chord between two nodes: (C, n, g).

    first, second: votes and slopes (C, n, g) at the nodes; rate: (n, 1) of the level votes; growth:
    exp(rate · step), their factor at the second node.
    """
    votes, slopes = first
    later_votes, later_slopes = second
    # d/dβ exp(rate · β) · votes = exp(rate · β) · (slopes + rate · votes)
    steeper = (later_slopes + rate * later_votes) * growth - (slopes + rate * votes)
    bends: Floats = np.maximum(steeper, 0) * (step / 4)
    return bends


def _lead_bounds(
    least: tuple[Floats, Floats],
    largest: tuple[Floats, Floats],
    bends: Floats,
    growth: Floats,
    labels: Ints,
) -> tuple[Floats, Floats]:
    """Lower and upper bound, between two nodes, of the label's votes minus those of each class.

    least, largest: bounds of it at the two nodes, (C, n) or (C, n, g); bends, growth: of
    `_bends`.
    """
    low = np.minimum(np.minimum(*least), least[1] * growth) - label_values(bends, labels)
    high = np.maximum(np.maximum(*largest), largest[1] * growth) + bends
    return low, high


def _over_gammas(pick: np.ufunc, values: Floats) -> Floats:
    """The least or largest over γ: (C, n, g) -> (C, n).

    One γ after the other: NumPy's own reduction over such a short axis is slower (APE with 1,000
    classes and five γ: 20 s instead of 17).
    """
    found: Floats = values[:, :, 0]
    for g in range(1, values.shape[2]):
        found = pick(found, values[:, :, g])
    return found
