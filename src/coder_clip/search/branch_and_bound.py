"""Exact search of α and β over a whole grid, without evaluating every point of it.

Between two β the votes of a class are convex in β, which bounds by how much the label can lead: only images whose
decision can still change between two β are evaluated again (docs/method.md).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ..errors import UserError
from .cache_model import AffinityBlocks, CacheModel
from .line_search import MARGIN, Floats, Ints, count_right, count_spans, leads_of, right_spans

Span = tuple[float, float, int]

RATIO = 1.25  # between neighbouring β in the first cut of a search


class Round(NamedTuple):
    """The best point of one round; accuracy is a share in [0, 1]."""

    alpha: float
    beta: float
    accuracy: float


class SearchResult(NamedTuple):
    """The best point of the last round, and of every round.

    alpha and beta are 0 if no point of a round had a single image right, as in the published code.
    """

    alpha: float
    beta: float
    accuracy: float
    rounds: tuple[Round, ...]


def grid(low: float, high: float, steps: int) -> Floats:
    """``steps`` values from ``low`` up to, not including, ``high``, as in the code of Tip-Adapter and CODER."""
    return np.array([i * (high - low) / steps + low for i in range(steps)])


def search(
    a: CacheModel,
    x: Tensor,
    clip_logits: Tensor,
    labels: Tensor,
    betas: Span = (0.1, 200, 500),
    alphas: Span = (0.1, 20, 50),
    rounds: int = 3,
) -> SearchResult:
    """The (α, β) with the best accuracy on images x (N, d) with clip_logits (N, C) and labels (N,).

    Returns the result of the published loop (classify_few_shot.search_hp): in each round β outer, α inner over
    :func:`grid`, the first strictly better accuracy wins; the next round spans 0.5 to 1.5 times the winner and
    starts from zero. An image is right at (α, β) if the arg max of :func:`cache_logits`, lowest class first, is
    its label. Branch and bound over β: only images whose decision can still change between two β are evaluated
    again.

    UserError for spans that are empty, negative or falling, labels out of range, or no image.
    """
    for name, (low, high, steps) in (("betas", betas), ("alphas", alphas)):
        if not (0 <= low <= high < np.inf and steps >= 1):
            raise UserError(
                f"{name}: ({low}, {high}, {steps}) is not a span; give (from, to, steps) with 0 <= from <= to "
                "and steps >= 1"
            )
    if rounds < 1 or not len(x):
        raise UserError(f"a search needs at least one round and one image, not {rounds} and {len(x)}")
    images = AffinityBlocks(a, x, clip_logits, labels)
    kept = images.keep()
    done: list[Round] = []
    for _ in range(rounds):
        beta_grid, alpha_grid = grid(*betas), grid(*alphas)
        count, b, a_index = _best_point(images, kept, beta_grid, alpha_grid)
        beta, alpha = (float(beta_grid[b]), float(alpha_grid[a_index])) if count else (0.0, 0.0)
        done.append(Round(alpha, beta, count / len(x)))
        betas = (beta * 0.5, beta * 1.5, betas[2])
        alphas = (alpha * 0.5, alpha * 1.5, alphas[2])
    return SearchResult(*done[-1], tuple(done))


@dataclass(order=True)
class _Interval:
    """The β indices strictly between two evaluated ones, ``first`` and ``last``.

    For each α: certain, the number of images that are right at all these β; most, the largest number at any of them.
    images: those that are in doubt. rank: most promising first, then smallest β.
    """

    rank: tuple[int, int]
    first: int
    last: int
    certain: Ints
    most: Ints
    images: Ints


def _best_point(images: AffinityBlocks, kept: Floats, betas: Floats, alphas: Floats) -> tuple[int, int, int]:
    """The first best point in the order β outer, α inner: number of right images, β index, α index."""
    none = np.zeros(len(alphas), dtype=np.int64)
    everything = np.arange(len(images._label))
    best = (0, -1, -1)
    waiting = [_Interval((0, 0), -1, len(betas), none, none + len(everything), everything)]
    while waiting:
        part = heapq.heappop(waiting)
        # An equal count wins only if it comes first; no evaluated β is inside an interval.
        needed = best[0] + (part.first >= best[1])
        hopeful = np.flatnonzero(part.most >= needed)
        if not len(hopeful):
            continue
        span = slice(int(hopeful[0]), int(hopeful[-1]) + 1)
        nodes = _nodes(betas, part.first, part.last)
        counts, intervals = _evaluate(images, kept, part, nodes, betas, alphas, span)
        for b, right in zip(nodes, counts, strict=True):
            if part.first < b < part.last:
                a = int(right.argmax())
                point = (int(right[a]), b, span.start + a)
                if (point[0], -point[1]) > (best[0], -best[1]) and point[0]:
                    best = point
        for interval in intervals:
            heapq.heappush(waiting, interval)
    return best


def _nodes(betas: Floats, first: int, last: int) -> list[int]:
    """The β indices to evaluate in an interval, with its ends; at the very start the whole range, in ratios."""
    if first >= 0:
        return sorted({first, last, *np.linspace(first, last, 5).astype(int).tolist()})
    nodes = [0]
    while nodes[-1] < len(betas) - 1:
        beyond = int(np.searchsorted(betas, betas[nodes[-1]] * RATIO, "right")) - 1
        nodes.append(min(max(beyond, nodes[-1] + 1), len(betas) - 1))
    return nodes


def _evaluate(
    images: AffinityBlocks,
    kept: Floats,
    part: _Interval,
    nodes: list[int],
    betas: Floats,
    alphas: Floats,
    span: slice,
) -> tuple[Ints, list[_Interval]]:
    """Number of right images at each node, (nodes, α in span), and the intervals between nodes.

    Between two β, S is convex: below its chord, but by at most bend = (difference of slopes) · h / 4. So
    D = S_label − S_c is between min(D1, D2) − bend of the label and max(D1, D2) + bend of c.
    """
    some = alphas[span]
    counts = np.tile(part.certain[span], (len(nodes), 1))
    certain = np.tile(part.certain[span], (len(nodes), 1))
    most = certain.copy()
    doubtful: list[list[Ints]] = [[] for _ in nodes]
    for block in images.blocks(part.images, kept):
        at = np.arange(len(block.rows))
        lead = block.clip[block.label, at] - block.clip
        lead[block.label, at] = np.inf  # the label need not beat itself
        slack = MARGIN * (
            1  # never 0, because at α = 0 equal logits are a tie, too
            + np.abs(block.clip).max(axis=0)
            + alphas[-1] * images.largest_vote * np.exp(max(0.0, block.minus_u.max(initial=0)) * betas[-1])
        )
        sure, possible = leads_of(lead - slack), leads_of(lead + slack)
        leads = _one_line(sure), _one_line(possible)
        ahead = slopes = lead  # of the node before the first: unused
        for j, b in enumerate(nodes):
            before = ahead, slopes
            votes, slopes = images.votes(block, betas[b], slopes=True)
            ahead = votes[block.label, at] - votes
            if part.first < b < part.last:
                lines = block.clip[:, :, None], votes[:, :, None]
                counts[j] += count_right(leads, ahead[:, :, None], lines, block.label, images.classes, some)[
                    0
                ]
            if j and b - nodes[j - 1] > 1:
                bend = np.maximum(slopes - before[1], 0) * ((betas[b] - betas[nodes[j - 1]]) / 4)
                outer = right_spans(possible, np.maximum(ahead, before[0]) + bend, some)
                inner = right_spans(sure, np.minimum(ahead, before[0]) - bend[block.label, at], some)
                differ = (outer[0] != inner[0]) | (outer[1] != inner[1])
                certain[j] += count_spans(outer[0][~differ], outer[1][~differ], len(some))
                most[j] += count_spans(*outer, len(some))
                doubtful[j].append(block.rows[differ & (outer[0] < outer[1])])
    intervals = []
    for j in range(1, len(nodes)):
        if nodes[j] - nodes[j - 1] > 1:
            full = np.full((2, len(alphas)), -1, dtype=np.int64)
            full[:, span] = certain[j], most[j]
            rows = np.concatenate([*doubtful[j], np.zeros(0, dtype=np.int64)])
            rank = (-int(most[j].max()), nodes[j])
            intervals.append(_Interval(rank, nodes[j - 1], nodes[j], full[0], full[1], rows))
    return counts, intervals


def _one_line(lead: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    return lead[0][:, :, None], lead[1][:, :, None]
