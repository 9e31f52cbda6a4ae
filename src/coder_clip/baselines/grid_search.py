"""Search of whole grids that are small enough for it, in the order of the authors' loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ..search.line_search import Floats, Ints, right_along

BLOCK = 2**18  # numbers in one array of a search: few calls that still fit in cache
# affinities computed at a time: a matrix product of few rows would read all shots for each of them
FETCH = 2**24


class Point(NamedTuple):
    """Hyper-parameters; None for those that a method does not have."""

    alpha: float | None = None
    beta: float | None = None
    gamma: float | None = None


def first_best(counts: Ints, *axes: Floats) -> tuple[float, ...]:
    """The first grid point with the most right images, in the order of the axes (outermost first).

    counts: number of right images, one dimension per axis.
    All zeros if no point has an image right, because the published loops start from there.
    """
    if not counts.max(initial=0):
        return (0.0,) * len(axes)
    place = np.unravel_index(int(counts.argmax()), counts.shape)
    return tuple(float(axis[i]) for axis, i in zip(axes, place, strict=True))


def blocks(rows: int, numbers: int, room: int | None = None) -> list[slice]:
    """Slices of images, each of about ``room`` (default BLOCK) numbers, at ``numbers`` per image."""
    size = max(1, (room or BLOCK) // max(1, numbers))
    return [slice(i, min(i + size, rows)) for i in range(0, rows, size)]


def best_weight(
    scores: Callable[[Tensor], Tensor],
    alphas: Sequence[float],
    x: Tensor,
    clip_logits: Tensor,
    labels: Tensor,
) -> Point:
    """The α for which clip_logits + α · scores has the best accuracy, the smallest of the best.

    scores: of images (n, d) -> (n, C) float64, all finite; alphas: rising; x: (N, d); clip_logits: (N, C); labels:
    (N,).
    """
    right = labels.cpu().numpy()
    a = np.array(alphas)
    counts = np.zeros(len(a), dtype=np.int64)
    for part in blocks(len(x), clip_logits.shape[1]):
        clip = clip_logits[part].cpu().double().numpy().T
        counts += right_along(clip, scores(x[part]).cpu().numpy().T[:, None], right[part], a)[0]
    return Point(*first_best(counts, a))


def fetched(
    rows: int, shots: int, numbers: int, make: Callable[[slice], tuple[Tensor, ...]]
) -> Iterator[tuple[slice, tuple[Floats, ...]]]:
    """Slices of images as from :func:`blocks`, each with its rows of the (n, shots) tensors that ``make`` returns.

    ``make`` is called for many images at once.
    """
    for many in blocks(rows, shots, FETCH):
        arrays = [tensor.cpu().numpy() for tensor in make(many)]
        for few in blocks(many.stop - many.start, numbers):
            whole = slice(many.start + few.start, many.start + few.stop)
            yield whole, tuple(array[few] for array in arrays)


class ByClass:
    """Shots arranged by class, so that sums over the shots of a class are small matrix products.

    places: (C, k) the shot at each place, k the largest number of shots of a class; taken: (C, k) 1 for a shot, else 0.
    """

    def __init__(self, labels: Tensor, n_classes: int) -> None:
        shots = labels.cpu().numpy()
        counts = np.bincount(shots, minlength=n_classes)
        self.places = np.zeros((n_classes, max(1, int(counts.max(initial=0)))), dtype=np.int64)
        self.taken = np.zeros(self.places.shape)
        order = np.argsort(shots, kind="stable")
        column = np.arange(len(shots)) - np.repeat(np.cumsum(counts) - counts, counts)
        self.places[shots[order], column], self.taken[shots[order], column] = order, 1.0

    def rows(self, of_shots: Floats) -> Floats:
        """Arrange values of images and shots: (n, K) -> (C, k, n)."""
        return np.ascontiguousarray(of_shots[:, self.places].transpose(1, 2, 0))

    def sums(self, rows: Floats, weights: Floats | None = None) -> Floats:
        """Sum over each class's shots: (C, k, n) from :meth:`rows` and weights (C, b, k) of the shots -> (C, b, n)."""
        taken = self.taken[:, None, :]
        total: Floats = (taken if weights is None else taken * weights) @ rows
        return total
