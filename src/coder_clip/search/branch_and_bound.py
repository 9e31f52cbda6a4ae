"""The search of α and β over a whole grid, exactly, without a look at every point of it.

Between two β the votes of a class are convex in β, which bounds by how much the label can lead: only images whose
decision can still change between two β are looked at again (docs/method.md).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ..errors import UserError
from .cache_model import CacheModel, Images
from .line_search import MARGIN, Floats, Ints, count_right, count_spans, leads_of, right_spans

Span = tuple[float, float, int]

RATIO = 1.25  # of neighbouring β in the first cut of a search


class Round(NamedTuple):
    """The best point of one round; accuracy is a share in [0, 1]."""

    alpha: float
    beta: float
    accuracy: float


class SearchResult(NamedTuple):
    """The best point of the last round, and of every round. alpha 0 and beta 0 mean that no point of a round
    had a single image right, as the published code has it."""

    alpha: float
    beta: float
    accuracy: float
    rounds: tuple[Round, ...]


def grid(low: float, high: float, steps: int) -> Floats:
    """``steps`` values from ``low`` up to, not including, ``high``, as Tip-Adapter and CODER write it."""
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

    Gives what the published loop gives: for every round β outer, α inner over :func:`grid`, the first
    strictly better accuracy wins; the next round spans 0.5 to 1.5 times the winner and starts from zero
    (published code, classify_few_shot.search_hp). An image is right at (α, β) where the arg max of
    :func:`cache_logits`, lowest class first, is its label. Branch and bound over β: only images whose
    decision can still change between two β are looked at again.

    UserError for spans that are empty, negative or falling, labels out of range, or no image.
    """
    for name, (low, high, steps) in (("betas", betas), ("alphas", alphas)):
        if not (0 <= low <= high < np.inf and steps >= 1):
            raise UserError(
                f"{name}: ({low}, {high}, {steps}) where 0 <= from <= to and steps >= 1 is needed"
            )
    if rounds < 1 or not len(x):
        raise UserError("a search needs at least one round and one image")
    images = Images(a, x, clip_logits, labels)
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
class _Gap:
    """β indices strictly between two evaluated ones. For every α: how many images are right at all these β
    for certain, and at most at one of them; images: those in doubt."""

    rank: tuple[int, int]  # most promising first, then smallest β
    first: int
    last: int
    certain: Ints
    most: Ints
    images: Ints


def _best_point(images: Images, kept: Floats, betas: Floats, alphas: Floats) -> tuple[int, int, int]:
    """(right images, β index, α index) of the first best point in the order β outer, α inner."""
    none = np.zeros(len(alphas), dtype=np.int64)
    everything = np.arange(len(images._label))
    best = (0, -1, -1)
    waiting = [_Gap((0, 0), -1, len(betas), none, none + len(everything), everything)]
    while waiting:
        part = heapq.heappop(waiting)
        # An equal count counts only where it comes first; evaluated β never lie inside a gap.
        needed = best[0] + (part.first >= best[1])
        hopeful = np.flatnonzero(part.most >= needed)
        if not len(hopeful):
            continue
        span = slice(int(hopeful[0]), int(hopeful[-1]) + 1)
        nodes = _nodes(betas, part.first, part.last)
        counts, gaps = _evaluate(images, kept, part, nodes, betas, alphas, span)
        for b, right in zip(nodes, counts, strict=True):
            if part.first < b < part.last:
                a = int(right.argmax())
                point = (int(right[a]), b, span.start + a)
                if (point[0], -point[1]) > (best[0], -best[1]) and point[0]:
                    best = point
        for gap in gaps:
            heapq.heappush(waiting, gap)
    return best


def _nodes(betas: Floats, first: int, last: int) -> list[int]:
    """The β indices to evaluate in a gap, with its ends; all of the range in ratios at the very start."""
    if first >= 0:
        return sorted({first, last, *np.linspace(first, last, 5).astype(int).tolist()})
    nodes = [0]
    while nodes[-1] < len(betas) - 1:
        beyond = int(np.searchsorted(betas, betas[nodes[-1]] * RATIO, "right")) - 1
        nodes.append(min(max(beyond, nodes[-1] + 1), len(betas) - 1))
    return nodes


def _evaluate(
    images: Images,
    kept: Floats,
    part: _Gap,
    nodes: list[int],
    betas: Floats,
    alphas: Floats,
    span: slice,
) -> tuple[Ints, list[_Gap]]:
    """Right images at every node, (nodes, α in span), and the gaps between nodes that are left.

    Between two β, S is convex: below its chord, and above it by at most (difference of slopes) · h / 4. So
    D = S_label − S_c lies between min(D1, D2) − that of the label and max(D1, D2) + that of c.
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
            1  # never 0: at α = 0 equal logits are a tie, too
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
    gaps = []
    for j in range(1, len(nodes)):
        if nodes[j] - nodes[j - 1] > 1:
            full = np.full((2, len(alphas)), -1, dtype=np.int64)
            full[:, span] = certain[j], most[j]
            rows = np.concatenate([*doubtful[j], np.zeros(0, dtype=np.int64)])
            rank = (-int(most[j].max()), nodes[j])
            gaps.append(_Gap(rank, nodes[j - 1], nodes[j], full[0], full[1], rows))
    return counts, gaps


def _one_line(lead: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
    return lead[0][:, :, None], lead[1][:, :, None]
