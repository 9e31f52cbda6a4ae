"""Search of whole grids that are small enough for it, in the order of the authors' loops."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from torch import Tensor

from ..search.branch_and_bound import Images
from ..search.cache_model import decayed, scratch_array
from ..search.line_search import Floats, Ints, right_along

# numbers in one array of a search: few calls, and the arrays still fit in cache (APE takes 1.4
# times as long with 2**18, 1.2 times with 2**16)
BLOCK = 2**17
# affinities computed at a time: many, because each matrix product reads all shots
FETCH = 2**24


class Point(NamedTuple):
    """Hyper-parameters; None for those that a method does not have."""

    alpha: float | None = None
    beta: float | None = None
    gamma: float | None = None


def blocks(rows: int, per_image: int, room: int | None = None) -> list[slice]:
    """Split ``rows`` images into slices whose arrays hold about ``room`` numbers (default BLOCK).

    per_image: numbers that one image needs.
    """
    size = max(1, (room or BLOCK) // max(1, per_image))
    return [slice(i, min(i + size, rows)) for i in range(0, rows, size)]


def best_weight(
    scores: Callable[[Tensor], Tensor],
    alphas: Sequence[float],
    x: Tensor,
    clip_logits: Tensor,
    labels: Tensor,
) -> Point:
    """The α for which clip_logits + α · scores has the best accuracy, the smallest of the best; 0
    if no image is right with any α.

    scores: of images (n, d) -> (n, C) float64, all finite; alphas: rising; x: (N, d); clip_logits:
    (N, C); labels: (N,).
    """
    label = labels.cpu().numpy()
    weights = np.array(alphas)
    n_right = np.zeros(len(weights), dtype=np.int64)
    for part in blocks(len(x), clip_logits.shape[1]):
        clip = clip_logits[part].cpu().double().numpy().T
        slope = scores(x[part]).cpu().numpy().T
        n_right += right_along(clip, slope, label[part], weights)
    return Point(float(weights[n_right.argmax()]) if n_right.any() else 0.0)


def fetched(
    rows: int, shots: int, numbers: int, make: Callable[[slice], tuple[Tensor, ...]]
) -> Iterator[tuple[slice, tuple[Floats, ...]]]:
    """Slices of images as from `blocks`, each with the rows of its images.

    The rows are those of the tensors (n, shots) that ``make`` returns.

    rows: number of images; numbers: per image, for the size of a slice. ``make`` is called with
    larger slices.
    """
    # the model wants many rows at a time, the search few: two sizes of block
    for many in blocks(rows, shots, FETCH):
        arrays = [tensor.cpu().numpy() for tensor in make(many)]
        for few in blocks(many.stop - many.start, numbers):
            whole = slice(many.start + few.start, many.start + few.stop)
            yield whole, tuple(array[few] for array in arrays)


class ByClass:
    """Shots arranged by class, so that sums over the shots of a class are small matrix products.

    k: largest number of shots of a class. places: (C, k) number of the shot, 0 where a class has
    fewer than k shots; taken: (C, k) 1 where there is a shot, else 0."""

    def __init__(self, labels: Tensor, n_classes: int) -> None:
        shots = labels.cpu().numpy()
        counts = np.bincount(shots, minlength=n_classes)
        self.places = np.zeros((n_classes, max(1, int(counts.max(initial=0)))), dtype=np.int64)
        self.taken = np.zeros(self.places.shape)
        order = np.argsort(shots, kind="stable")
        # column of a shot: its place in class order minus the place where its class starts
        column = np.arange(len(shots)) - np.repeat(np.cumsum(counts) - counts, counts)
        self.places[shots[order], column], self.taken[shots[order], column] = order, 1.0

    def rows(self, of_shots: Floats) -> Floats:
        """Arrange values of images and shots: (n, K) -> (C, k, n)."""
        return np.ascontiguousarray(of_shots[:, self.places].transpose(1, 2, 0))

    def sums(self, rows: Floats, weights: Floats | None = None) -> Floats:
        """Sum over each class's shots: (C, b, n).

        (C, k, n) from `rows` and weights (C, b, k) of the shots (None: all 1, b = 1).
        """
        taken = self.taken[:, None, :]
        total: Floats = (taken if weights is None else taken * weights) @ rows
        return total


class CacheLines:
    """Images whose logits are lines over α, for `first_best`.

    Votes of a class: Σ over its shots of weight · exp(β near).

    near: A − 1. weights: (C, G, k) of the shots for each γ, as for `ByClass.sums`; None: all
    1, for any γ.
    """

    def __init__(
        self,
        shots: ByClass,
        clip_logits: Tensor,
        labels: Tensor,
        parts: Iterable[tuple[slice, Floats, Floats | None]],
        weights: Floats | None = None,
    ) -> None:
        """Keep the affinities.

        parts: slices of images, each with near (C, k, n) and the tilt (C, n) of the logits, None
        without a tilt.
        """
        self.size = len(labels)
        self._shots, self._weights = shots, weights
        self._labels = labels.cpu().numpy()
        self._clip = clip_logits.cpu().double().numpy()
        # one row per image, so that a search reads the images in doubt without copying the rest
        self._near = scratch_array((self.size, shots.places.size), np.dtype(np.float64))
        self._tilt: Floats | None = None
        for part, near, tilt in parts:
            self._near[part] = near.reshape(-1, near.shape[2]).T
            # a method has a tilt for all images or for none
            if tilt is not None:
                if self._tilt is None:
                    self._tilt = np.empty(self._clip.shape)
                self._tilt[part] = tilt.T
        self._nearest = float(self._near.max(initial=0))
        # the votes of a class are at most the sum of its weights, for the γ with the largest sum
        every_weight = shots.taken[:, None, :]
        if weights is not None:
            every_weight = every_weight * weights
        self._most = float(every_weight.sum(axis=2).max())

    def largest_vote(self, beta: float) -> float:
        """Upper bound of all votes, for all β up to ``beta``."""
        # near is above 0 only by rounding
        return self._most * float(np.exp(max(0.0, self._nearest) * beta))

    def blocks(self, rows: Ints) -> Iterator[Images]:
        """The images of these numbers."""
        # with weights an image has a line per γ, and fewer images fit in a block
        lines = 1 if self._weights is None else self._weights.shape[1]
        for part in blocks(len(rows), max(self._shots.places.size, self._clip.shape[1] * lines)):
            few = rows[part]
            near = self._near[few].T.reshape(*self._shots.places.shape, len(few))
            near = np.ascontiguousarray(near)
            clip = np.ascontiguousarray(self._clip[few].T)
            tilt = None if self._tilt is None else np.ascontiguousarray(self._tilt[few].T)
            votes = partial(self._votes, near, np.empty_like(near))
            yield Images(few, self._labels[few], clip, tilt, votes)

    def _votes(
        self, near: Floats, room: Floats, beta: float, gammas: Ints, with_slopes: bool
    ) -> tuple[Floats, Floats | None]:
        """Votes (C, n, g) and their slopes, the derivatives by β.

        room: of the shape of near, overwritten.
        """
        weights = None if self._weights is None else self._weights[:, gammas]
        of_shots = decayed(near, beta, out=room)
        votes = self._shots.sums(of_shots, weights).transpose(0, 2, 1)
        if not with_slopes:
            return votes, None
        # d/dβ exp(β · near) = near · exp(β · near)
        of_shots *= near
        return votes, self._shots.sums(of_shots, weights).transpose(0, 2, 1)
