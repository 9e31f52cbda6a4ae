"""Search along lines: logits are linear in α, so an image is right on one range of α, found without
trying each.

    logits = base + α · slope

An image is right where no other class has more, which is an intersection of half-lines. Arrays are
float64, classes first.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]  # float64, but for kept affinities
Ints = NDArray[np.int64]

ROOM = 2**16  # numbers in one array: a few such arrays stay in cache
NOBODY = -1e300  # a logit that never wins
# a lead is in doubt below this share of the size of the logits: far above float64 rounding, far
# below any real difference
MARGIN = 1e-11


def right_spans(lead: Floats, ahead: Floats, alphas: Floats) -> tuple[Ints, Ints]:
    """Range of α on which an image is classified correctly, (C, …) -> (…), (…): first and past-last
    index of the α with lead + α · ahead >= 0 for every class.

    lead: margin of the label over each class at α = 0. ahead: growth of this margin per unit of α.
    alphas: rising, none negative.
    """
    # ahead > 0: α must be at least −lead / ahead. ahead < 0: α must be at most lead / −ahead.
    # The divisions need no masks, which cost ten times as much: a class that does not bound a side
    # has the quotient inf there, or NaN for 0/0, which fmin ignores. One exception is wanted: a
    # negative lead that does not grow gives low = inf, so no α is right.
    rise = np.maximum(ahead, 0)
    fall = rise - ahead
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        low: Floats = -np.fmin.reduce(lead / rise, axis=0)
        high: Floats = np.fmin.reduce(np.maximum(lead, 0) / fall, axis=0)
    # from bounds of α to indices on the grid; an α on either bound is inside
    start = alphas.searchsorted(low, "left")
    return start, np.maximum(start, alphas.searchsorted(high, "right"))


def count_spans(start: Ints, end: Ints, size: int) -> Ints:
    """Number of ranges that hold each index below ``size``, line by line: (m, b) -> (b, size).

    start, end: first and past-last index of each range.
    """
    several = start.shape[1]
    offset = np.arange(several) * (size + 1)  # all lines are counted as one long line
    numbers = several * (size + 1)
    # +1 where a range starts, −1 behind its end: the running sum counts the open ranges
    starts = np.bincount((start + offset).ravel(), minlength=numbers)
    ends = np.bincount((end + offset).ravel(), minlength=numbers)
    total: Ints = np.cumsum(starts - ends).reshape(several, -1)[:, :-1]
    return total


def right_along(base: Floats, slope: Floats, labels: Ints, alphas: Floats) -> Ints:
    """Number of images that the arg max of base + α · slope, of equal classes the lowest, gets
    right, for each α.

    base, slope: (C, n); labels: (n,); alphas: (V,) rising, none negative -> (V,). All finite.
    """
    # the label's lead is linear in α, so its bounds are at the ends of the grid
    lead = label_values(base, labels) - base
    ahead = label_values(slope, labels) - slope
    slack = MARGIN * (1 + np.abs(base).max(axis=0) + alphas[-1] * np.abs(slope).max(axis=0))
    ends = alphas[0] * ahead, alphas[-1] * ahead
    sure, blocks = undecided(lead + np.minimum(*ends), lead + np.maximum(*ends), labels, slack, 1)
    counts = np.full(len(alphas), sure, dtype=np.int64)
    for few in blocks:
        line = few.take(base, NOBODY)[:, :, None], few.take(slope)[:, :, None]
        counts += count_right(*line, few.labels, alphas, slack[few.images][:, None])[0]
    return counts


class Few(NamedTuple):
    """Some images, one per column, with the few classes that can win: the label and its rivals, one
    per row, lowest class first.

    images: (m,) index of each image; labels: (m,) row of the label. places: (rows, columns) that
    are filled, because images differ in their number of rivals; classes: the class at each filled
    place; rows: the largest number of rows.
    """

    images: Ints
    labels: Ints
    places: tuple[Ints, Ints]
    classes: Ints
    rows: int

    def take(self, values: Floats, fill: float = 0.0) -> Floats:
        """The values of these images and classes: (C, n, …) -> (rows, m, …).

        ``fill`` is at places without a class.
        """
        few = np.full((self.rows, len(self.images), *values.shape[2:]), fill)
        few[self.places] = values[self.classes, self.images[self.places[1]]]
        return few


def undecided(
    lowest: Floats, highest: Floats, labels: Ints, slack: Floats, lines: int
) -> tuple[int, Iterator[Few]]:
    """Number of images right on the whole grid, and blocks of those right on a part; without those
    that are wrong on all of it.

    Most classes never come near an image's label anywhere on the grid, and this decides most
    images.
    lowest, highest: (C, n) bounds, over the grid, of the label's lead on each class; slack: (n,),
    largest rounding error of a lead; lines: number of lines per image.
    """
    # a rival may catch up somewhere; the image is lost if one rival is ahead everywhere
    rivals = lowest < slack
    label_rows = labels[None]
    np.put_along_axis(rivals, label_rows, False, axis=0)
    has_rival = rivals.any(axis=0)
    lost = (rivals & (highest < -slack)).any(axis=0)
    np.put_along_axis(rivals, label_rows, True, axis=0)
    images = np.flatnonzero(has_rival & ~lost)
    numbers = rivals[:, images].sum(axis=0)
    # images with the same number of rivals share a block
    order = np.argsort(numbers, kind="stable")
    n_right = len(labels) - int(has_rival.sum())
    return n_right, _blocks(rivals, labels, images[order], numbers[order], lines)


def _blocks(
    rivals: NDArray[np.bool_], labels: Ints, images: Ints, numbers: Ints, lines: int
) -> Iterator[Few]:
    """Cut images into blocks.

    rivals: (C, n), True for the label and its rivals; numbers: classes per image of ``images``,
    rising; lines: per image.
    """
    start = 0
    while start < len(images):
        # as many images as fit in ROOM at this number of rivals; later ones have more
        size = max(1, ROOM // (lines * int(numbers[start])))
        part, n_classes = images[start : start + size], numbers[start : start + size]
        start += size
        # image by image, classes in order: ties go to the lowest
        columns, classes = np.nonzero(rivals[:, part].T)
        # row within its image: running number minus the number at which the image starts
        rows = np.arange(len(columns)) - np.repeat(np.cumsum(n_classes) - n_classes, n_classes)
        label_rows = rows[classes == labels[part[columns]]]
        yield Few(part, label_rows, (rows, columns), classes, int(n_classes[-1]))


def count_right(base: Floats, slope: Floats, labels: Ints, alphas: Floats, slack: Floats) -> Ints:
    """Number of images right on each of their lines, for each α: (b, V); of equal classes the
    lowest comes first.

    base, slope: (C, n, b), or (C, n, 1) where all lines of an image share it; labels: (n,); slack:
    (n, 1), the largest error by rounding.

    An image is right on one range of α. Where rounding could move an end of it across a grid point,
    the logits themselves are computed and compared.
    """
    # the range must be the same with the least and the largest lead; else rounding may decide
    lead, ahead = label_leads(base, labels), label_values(slope, labels) - slope
    start, end = right_spans(lead - slack, ahead, alphas)
    widest_start, widest_end = right_spans(lead + slack, ahead, alphas)
    doubtful = (start != widest_start) | (end != widest_end)
    counts = count_spans(np.where(doubtful, 0, start), np.where(doubtful, 0, end), len(alphas))
    shape = (len(base), *doubtful.shape)
    base, slope = np.broadcast_to(base, shape), np.broadcast_to(slope, shape)
    images, line = np.nonzero(doubtful)
    order = np.arange(len(base))
    # images in doubt: all logits at all α, about 2**20 numbers at a time; an earlier class wins a
    # tie against the label
    step = max(1, 2**20 // (len(base) * len(alphas)))
    for i in range(0, len(images), step):
        some, b = images[i : i + step], line[i : i + step]
        logits = base[:, some, b, None] + alphas * slope[:, some, b, None]
        label_logits = logits[labels[some], np.arange(len(some))]
        earlier = order[:, None] < labels[some]
        wins = np.where(earlier[:, :, None], label_logits > logits, label_logits >= logits)
        np.add.at(counts, b, wins.all(axis=0))
    return counts


def label_leads(base: Floats, labels: Ints) -> Floats:
    """The label's lead on each class, (C, n, …); infinite on the label, which is not a rival."""
    lead = label_values(base, labels) - base
    lead[labels, np.arange(len(labels))] = np.inf
    return lead


def label_values(values: Floats, labels: Ints) -> Floats:
    """The value of each image's label: (C, n, …) -> (n, …)."""
    of_label: Floats = values[labels, np.arange(len(labels))]
    return of_label
