"""Where on a grid of α an image is right, when its logits are lines in α: one range, found without trying them all.

    logits = base + α · slope        right where no other class has more: an intersection of half-lines

Arrays hold classes first, float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[Any]  # float64, but for kept affinities
Ints = NDArray[np.int64]

ROOM = 2**14  # numbers of one array: a dozen of them stay in cache
NOBODY = -1e300  # a logit that never wins
MARGIN = 1e-11  # of the size of the logits: far above float64 rounding, far below any real difference


def right_spans(leads: tuple[Floats, Floats], ahead: Floats, alphas: Floats) -> tuple[Ints, Ints]:
    """First and past-last index of the α with lead + α · ahead >= 0 for every class: (C, …) -> (…), (…).

    leads: the lead, and its positive part. alphas: rising, none negative.
    """
    # Where ahead <= 0, rise is 0 and the quotient says "always" (inf) or, with a negative lead, "never"
    # (−inf); where ahead >= 0, fall is 0 and leads[1], the positive part, says "always". 0/0 is "always" too,
    # and fmin passes over its NaN. Arithmetic, because masks of no pattern cost ten times as much.
    rise = np.maximum(ahead, 0)
    fall = rise - ahead
    with np.errstate(divide="ignore", invalid="ignore"):
        low: Floats = -np.fmin.reduce(leads[0] / rise, axis=0)
        high: Floats = np.fmin.reduce(leads[1] / fall, axis=0)
    start = alphas.searchsorted(low, "left")
    return start, np.maximum(start, alphas.searchsorted(high, "right"))


def count_spans(start: Ints, end: Ints, size: int) -> Ints:
    """How many of the ranges start … end hold each index below ``size``."""
    steps = np.bincount(start, minlength=size + 1) - np.bincount(end, minlength=size + 1)
    total: Ints = np.cumsum(steps)[:size]
    return total


def right_on_plane(
    base: Floats, first: Floats, second: Floats, labels: Ints, alphas: Floats, gammas: Floats
) -> Ints:
    """How many images the arg max of base + α · first + γ · second gets right: (C, n) each -> (alphas, gammas).

    labels: (n,); alphas, gammas: rising, none negative. Most classes never come near an image's label anywhere on the
    plane, and most images are right or wrong on all of it: both are told from its corners, and only what is left is
    looked at α by α.
    """
    own = labels[None, :]
    lead, one, two = (np.take_along_axis(v, own, axis=0) - v for v in (base, first, second))
    slack = MARGIN * (
        1 + sum(s * np.abs(v).max(axis=0) for s, v in ((1, base), (alphas[-1], first), (gammas[-1], second)))
    )
    ends = (alphas[0] * one, alphas[-1] * one), (gammas[0] * two, gammas[-1] * two)
    lowest = lead + np.minimum(*ends[0]) + np.minimum(*ends[1])
    highest = lead + np.maximum(*ends[0]) + np.maximum(*ends[1])
    rivals = lowest < slack
    np.put_along_axis(rivals, own, False, axis=0)
    lost = (rivals & (highest < -slack)).any(axis=0)
    counts = np.zeros((len(alphas), len(gammas)), dtype=np.int64)
    counts += int((~rivals.any(axis=0)).sum())
    open_ = np.flatnonzero(rivals.any(axis=0) & ~lost)
    np.put_along_axis(rivals, own, True, axis=0)
    most = rivals[:, open_].sum(axis=0)
    open_ = open_[np.argsort(most, kind="stable")]  # images with as many rivals share a block
    start = 0
    while start < len(open_):
        size = max(1, ROOM // (len(alphas) * int(np.sort(most)[start])))
        some = open_[start : start + size]
        start += size
        columns, classes = np.nonzero(rivals[:, some].T)  # by image, classes in order: ties go to the lowest
        numbers = np.bincount(columns, minlength=len(some))
        rows = np.arange(len(columns)) - np.repeat(np.cumsum(numbers) - numbers, numbers)
        # the place of a class that is not there is never the arg max
        few = [np.full((int(numbers.max()), len(some)), fill) for fill in (NOBODY, 0.0, 0.0)]
        for part, whole in zip(few, (base, first, second), strict=True):
            part[rows, columns] = whole[classes, some[columns]]
        label = np.zeros(len(some), dtype=np.int64)
        mine = classes == labels[some[columns]]
        label[columns[mine]] = rows[mine]
        line = few[0][:, :, None] + alphas * few[1][:, :, None]
        counts += right_along(line, few[2][:, :, None], label, gammas, slack[some][:, None])
    return counts


def right_along(
    base: Floats, slope: Floats, labels: Ints, alphas: Floats, slack: Floats | None = None
) -> Ints:
    """How many images the arg max of base + α · slope gets right, lowest class first, for every α.

    base, slope: (C, n, b) or what broadcasts to it, b lines an image; labels: (n,); alphas: (V,) rising, none
    negative -> (b, V). Where rounding could move an end of a range across a grid point, the decision is made
    on the logits themselves; slack: (n, b or 1), how large it can be, from the size of the logits unless given.
    """
    shape = np.broadcast_shapes(base.shape, slope.shape)
    own = np.broadcast_to(labels[None, :, None], (1, *shape[1:]))
    lead = _of(base, own) - base
    ahead = _of(slope, own) - slope
    ahead = np.broadcast_to(ahead, shape)
    if slack is None:
        slack = MARGIN * (1 + np.abs(base).max(axis=0) + alphas[-1] * np.abs(slope).max(axis=0))
    lead = np.broadcast_to(lead, shape).copy()
    np.put_along_axis(lead, own, np.inf, axis=0)  # the label need not beat itself
    above, below = lead + slack, lead - slack
    start, end = right_spans((below, np.maximum(below, 0)), ahead, alphas)
    widest = right_spans((above, np.maximum(above, 0)), ahead, alphas)
    doubtful = (start != widest[0]) | (end != widest[1])
    counts = np.stack(
        [
            count_spans(start[~d, b], end[~d, b], len(alphas))
            for b, d in enumerate(np.moveaxis(doubtful, -1, 0))
        ]
    )
    base, slope = np.broadcast_to(base, shape), np.broadcast_to(slope, shape)
    for i, b in np.argwhere(doubtful):
        logits = base[:, i, b, None] + alphas * slope[:, i, b, None]
        counts[b] += logits.argmax(axis=0) == labels[i]
    return counts


def _of(values: Floats, own: Ints) -> Floats:
    """The value of each image's own class, (1, n, 1 or b)."""
    return np.take_along_axis(values, own[:, :, : values.shape[2]], axis=0)
