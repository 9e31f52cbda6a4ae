"""Accuracies with their intervals, and the one comparison of two methods."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .intervals import DIFFERENCE, LEVEL, SHARE, crossed_interval

if TYPE_CHECKING:
    from torch import Tensor

    Values = Tensor | NDArray[Any] | Sequence[float] | Sequence[Sequence[float]]
    Labels = Tensor | NDArray[Any] | Sequence[int]


class Estimate(TypedDict):
    """A share in [0, 1] (a difference: in [-1, 1]) with its 95 % interval.

    std: sample standard deviation over runs (seeds, draws), 0 for one; only where results came as
    runs.
    """

    value: float
    low: float
    high: float
    std: NotRequired[float]


class Difference(Estimate):
    """One method minus another on the same images (and runs).

    p_value: two-sided, belongs to the interval. fixed, broke: number of images, over all runs, that
    became better (right), or worse (wrong).
    """

    p_value: float
    fixed: int
    broke: int


def estimate(
    values: Values,
    labels: Labels | None = None,
    /,
    *,
    groups: Labels | None = None,
    wider: float = 1.0,
) -> Estimate:
    """The mean of ``values`` with its interval (`intervals.crossed_interval`).

    values: (N,) of one run, or (S, N) of S runs on the same images; then the interval covers the
    variation of runs and images. An image with NaN (undefined) is ignored. labels: (N,); given, the
    mean of class means. Its interval varies classes as well as images, so it is rather too wide.
    groups: (N,), near twins share a number, and groups vary instead of images. wider: factor of the
    standard error. UserError without an image; ValueError if lengths differ.
    """
    runs, (of_labels, of_groups) = _runs(values, labels, groups)
    weights = np.full(runs.shape[1], 1 / runs.shape[1])
    if of_labels is not None:
        # each class has the same weight, and each image of a class an equal part of it
        _, inverse, counts = np.unique(of_labels, return_inverse=True, return_counts=True)
        weights = 1 / (len(counts) * counts[inverse])
    low, high, _ = crossed_interval(runs, SHARE, groups=of_groups, weights=weights, wider=wider)
    return _estimate(values, runs @ weights, low, high)


def compare(
    before: Values,
    after: Values,
    *,
    groups: Labels | None = None,
    tests: int = 1,
    wider: float = 1.0,
) -> Difference:
    """The mean of ``after`` minus the mean of ``before`` on the same images.

    before, after: as `estimate`: (N,), or (S, N) with the same runs in the same order; right and
    wrong (1 and 0), or values in [0, 1] such as a precision. Without a change there is no interval:
    low and high are 0. groups: (N,), what varies instead of images: near twins, or the classes,
    where the comparison is meant for other classes. tests: number of comparisons that interval and
    p-value are corrected for (Bonferroni). wider: factor of the standard error.

    Of m changed images, or groups, that are as likely better as worse, all go the same way with
    probability 2 / 2^m (the sign test). No p-value is below that, and the interval holds 0 where
    this exceeds 5 %: up to five changed images are never clear.

    UserError without an image; ValueError if shapes differ.
    """
    was, now = (np.asarray(values, dtype=np.float64) for values in (before, after))
    if was.shape != now.shape:
        raise ValueError(f"paired results differ in shape: {was.shape} and {now.shape}")
    change, (of_groups,) = _runs(now - was, groups)
    fixed, broke = int((change > 0).sum()), int((change < 0).sum())
    low, high, p_value = 0.0, 0.0, 1.0
    if fixed + broke > 0:
        low, high, p_value = crossed_interval(change, DIFFERENCE, tests, of_groups, wider=wider)
        changed = change.any(axis=0)
        n_changed = changed.sum() if of_groups is None else len(np.unique(of_groups[changed]))
        least = min(1.0, tests * 2.0 ** (1 - int(n_changed)))
        p_value = max(p_value, least)
        if least >= 1 - LEVEL:
            low, high = min(low, 0.0), max(high, 0.0)
    found = _estimate(was, change.mean(axis=1), low, high)
    return {**found, "p_value": p_value, "fixed": fixed, "broke": broke}


def _estimate(values: Any, run_means: NDArray[np.float64], low: float, high: float) -> Estimate:
    """The mean of the means of runs, with its interval; std if ``values`` came as runs."""
    found: Estimate = {"value": float(run_means.mean()), "low": low, "high": high}
    if np.ndim(values) == 2:
        found["std"] = 0.0
        # exactly 0 if all are equal: the rounded mean would give a little more
        if np.ptp(run_means) > 0:
            found["std"] = float(run_means.std(ddof=1))
    return found


def _runs(
    values: Values, *numbers: Labels | None
) -> tuple[NDArray[np.float64], list[NDArray[np.int64] | None]]:
    """Values as runs (S, N), and numbers of images (N,), without the images that have a NaN."""
    runs = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if runs.ndim != 2 or runs.size == 0:
        raise UserError(f"no results to evaluate (shape {runs.shape}); check seeds and test split")
    defined = ~np.isnan(runs).any(axis=0)
    if not defined.any():
        raise UserError(
            "no image to evaluate: the split is empty, or no image has a defined result"
        )
    kept: list[NDArray[np.int64] | None] = []
    for of_images in numbers:
        if of_images is None:
            kept.append(None)
            continue
        array = np.asarray(of_images, dtype=np.int64)
        if array.shape != defined.shape:
            raise ValueError(
                f"one label or group per image is needed, not {array.shape} for {defined.shape}"
            )
        kept.append(array[defined])
    return runs[:, defined], kept
