"""Search along lines: logits are linear in α, so an image is right on one range of α, found without trying each.

    logits = base + α · slope        right where no other class has more: an intersection of half-lines

Arrays are float64, classes first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]  # float64, but for kept affinities
Ints = NDArray[np.int64]

ROOM = 2**14  # numbers in one array: a dozen of them stay in cache
NOBODY = -1e300  # a logit that never wins
MARGIN = (
    1e-11  # relative to the size of the logits: far above float64 rounding, far below any real difference
)


def right_spans(leads: tuple[Floats, Floats], ahead: Floats, alphas: Floats) -> tuple[Ints, Ints]:
    """First and past-last index of the α with lead + α · ahead >= 0 for every class: (C, …) -> (…), (…).

    leads: from :func:`leads_of`. alphas: rising, none negative.
    """
    # Where ahead <= 0, rise is 0 and the quotient means "always" (inf) or, with a negative lead, "never"
    # (−inf); where ahead >= 0, fall is 0 and leads[1], the positive part, means "always". 0/0 means "always", too,
    # and fmin ignores its NaN. Arithmetic, because irregular masks cost ten times as much.
    rise = np.maximum(ahead, 0)
    fall = rise - ahead
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        low: Floats = -np.fmin.reduce(leads[0] / rise, axis=0)
        high: Floats = np.fmin.reduce(leads[1] / fall, axis=0)
    start = alphas.searchsorted(low, "left")
    return start, np.maximum(start, alphas.searchsorted(high, "right"))


def leads_of(lead: Floats) -> tuple[Floats, Floats]:
    """The lead and its positive part, which :func:`right_spans` needs for any slope."""
    return lead, np.maximum(lead, 0)


def count_spans(start: Ints, end: Ints, size: int) -> Ints:
    """Number of ranges that hold each index below ``size``; start, end: (M,) first and past-last index of each."""
    steps = np.bincount(start, minlength=size + 1) - np.bincount(end, minlength=size + 1)
    total: Ints = np.cumsum(steps)[:size]
    return total


def right_on_plane(
    base: Floats, first: Floats, second: Floats, labels: Ints, alphas: Floats, gammas: Floats
) -> Ints:
    """Number of images that the arg max of base + α · first + γ · second gets right: (C, n) each -> (alphas, gammas).

    labels: (n,); alphas, gammas: rising, none negative. All finite.
    """
    lead, one, two = (_of(v, labels) - v for v in (base, first, second))
    slack = MARGIN * (
        1 + sum(s * np.abs(v).max(axis=0) for s, v in ((1, base), (alphas[-1], first), (gammas[-1], second)))
    )
    ends = (alphas[0] * one, alphas[-1] * one), (gammas[0] * two, gammas[-1] * two)
    lowest = lead + np.minimum(*ends[0]) + np.minimum(*ends[1])
    highest = lead + np.maximum(*ends[0]) + np.maximum(*ends[1])
    sure, blocks = _undecided(lowest, highest, labels, slack, len(alphas))
    counts = np.full((len(alphas), len(gammas)), sure, dtype=np.int64)
    for block in blocks:
        line = block.take(base, NOBODY)[:, :, None] + alphas * block.take(first)[:, :, None]
        slack_of_block = slack[block.images][:, None]
        counts += _right_along(line, block.take(second)[:, :, None], block.labels, gammas, slack_of_block)
    return counts


def right_along(base: Floats, slope: Floats, labels: Ints, alphas: Floats) -> Ints:
    """Number of images that the arg max of base + α · slope gets right, lowest class first, for each α.

    base: (C, n); slope: (C, b, n), b lines per image; labels: (n,); alphas: (V,) rising, none negative -> (b, V).
    All finite.
    """
    lines = slope.transpose(0, 2, 1)
    lead, ahead = _of(base, labels) - base, _of(lines, labels).T - slope
    least, most = ahead.min(axis=1), ahead.max(axis=1)
    size = np.maximum(slope.max(axis=0), -slope.min(axis=0))
    slack = MARGIN * (1 + np.abs(base).max(axis=0) + alphas[-1] * size)
    lowest = lead + np.minimum(alphas[0] * least, alphas[-1] * least)
    highest = lead + np.maximum(alphas[0] * most, alphas[-1] * most)
    sure, blocks = _undecided(lowest, highest, labels, slack.max(axis=0), slope.shape[1])
    counts = np.full((slope.shape[1], len(alphas)), sure, dtype=np.int64)
    for block in blocks:
        line = block.take(base, NOBODY)[:, :, None]
        counts += _right_along(line, block.take(lines), block.labels, alphas, slack[:, block.images].T)
    return counts


class _Block(NamedTuple):
    """Some images with the few classes that can win for each, in rows: the label and its rivals, lowest class first.

    images: (m,) index of each; labels: (m,) row of the label. places: rows and columns that are filled, because images
    differ in their number of rivals; classes: the class at each place; rows: the largest number of rows.
    """

    images: Ints
    labels: Ints
    places: tuple[Ints, Ints]
    classes: Ints
    rows: int

    def take(self, values: Floats, fill: float = 0.0) -> Floats:
        """The values of these images and classes: (C, n, …) -> (rows, m, …), ``fill`` elsewhere."""
        few = np.full((self.rows, len(self.images), *values.shape[2:]), fill)
        few[self.places] = values[self.classes, self.images[self.places[1]]]
        return few


def _undecided(
    lowest: Floats, highest: Floats, labels: Ints, slack: Floats, lines: int
) -> tuple[int, Iterator[_Block]]:
    """Number of images that are right on the whole grid, and blocks of those that are neither right nor wrong on it.

    Most classes never come near an image's label anywhere on the grid, and this decides most images.
    lowest, highest: (C, n) bounds, over the grid, of the label's lead on each class; slack: (n,); lines: per image.
    """
    rivals = lowest < slack
    label_rows = labels[None]
    np.put_along_axis(rivals, label_rows, False, axis=0)
    some = rivals.any(axis=0)
    lost = (rivals & (highest < -slack)).any(axis=0)
    np.put_along_axis(rivals, label_rows, True, axis=0)
    images = np.flatnonzero(some & ~lost)
    numbers = rivals[:, images].sum(axis=0)
    order = np.argsort(numbers, kind="stable")  # images with as many rivals share a block
    return len(labels) - int(some.sum()), _blocks(rivals, labels, images[order], numbers[order], lines)


def _blocks(
    rivals: NDArray[np.bool_], labels: Ints, images: Ints, numbers: Ints, lines: int
) -> Iterator[_Block]:
    """Cut images into blocks. rivals: (C, n), with the labels; numbers: classes per image, rising."""
    start = 0
    while start < len(images):
        size = max(1, ROOM // (lines * int(numbers[start])))
        some, many = images[start : start + size], numbers[start : start + size]
        start += size
        # image by image, classes in order: ties go to the lowest
        columns, classes = np.nonzero(rivals[:, some].T)
        rows = np.arange(len(columns)) - np.repeat(np.cumsum(many) - many, many)
        label_rows = rows[classes == labels[some[columns]]]
        yield _Block(some, label_rows, (rows, columns), classes, int(many[-1]))


def _right_along(base: Floats, slope: Floats, labels: Ints, alphas: Floats, slack: Floats) -> Ints:
    """As :func:`right_along`, for the few classes of a block, lines last.

    base, slope: (C, n, b) or (C, n, 1); slack: (n, b) or (n, 1), the largest error by rounding.
    """
    shape = np.broadcast_shapes(base.shape, slope.shape)
    lead = np.broadcast_to(_of(base, labels) - base, shape).copy()
    lead[labels, np.arange(len(labels))] = np.inf  # the label need not beat itself
    ahead = np.broadcast_to(_of(slope, labels) - slope, shape)
    leads = leads_of(lead - slack), leads_of(lead + slack)
    lines = np.broadcast_to(base, shape), np.broadcast_to(slope, shape)
    return count_right(leads, ahead, lines, labels, np.arange(len(base)), alphas)


def count_right(
    leads: tuple[tuple[Floats, Floats], tuple[Floats, Floats]],
    ahead: Floats,
    lines: tuple[Floats, Floats],
    labels: Ints,
    order: Ints,
    alphas: Floats,
) -> Ints:
    """Number of images that are right on each of their lines, for each α: (C, n, b) each -> (b, V).

    leads: from :func:`leads_of`, the label's lead on each class, decreased and increased by the largest error of
    rounding. lines: base and slope. order: (C,) the number of the class in each row; of equal logits the lowest
    number wins.

    An image is right on one range of α. Where rounding could move an end of it across a grid point, the logits
    themselves are computed and compared.
    """
    start, end = right_spans(leads[0], ahead, alphas)
    widest = right_spans(leads[1], ahead, alphas)
    doubtful = (start != widest[0]) | (end != widest[1])
    several = ahead.shape[2]
    size = len(alphas) + 1  # all lines are counted as one long line
    offset = np.arange(several) * size
    counts = count_spans((start + offset)[~doubtful], (end + offset)[~doubtful], several * size)
    counts = np.ascontiguousarray(counts.reshape(several, size)[:, :-1])
    base, slope = lines
    images, line = np.nonzero(doubtful)
    step = max(1, 2**20 // (len(order) * len(alphas)))
    for i in range(0, len(images), step):
        some, b = images[i : i + step], line[i : i + step]
        logits = base[:, some, b, None] + alphas * slope[:, some, b, None]
        label_logits = logits[labels[some], np.arange(len(some))]
        earlier = order[:, None] < order[labels[some]]
        wins = np.where(earlier[:, :, None], label_logits > logits, label_logits >= logits)
        np.add.at(counts, b, wins.all(axis=0))
    return counts


def _of(values: Floats, labels: Ints) -> Floats:
    """The value of each image's label: (C, n, …) -> (n, …)."""
    of_label: Floats = values[labels, np.arange(len(labels))]
    return of_label
