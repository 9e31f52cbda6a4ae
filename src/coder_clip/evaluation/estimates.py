"""Accuracies with their intervals, and paired tests."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from ..errors import UserError
from .intervals import DIFFERENCE, LEVEL, SHARE, crossed_interval, with_zero

if TYPE_CHECKING:
    from torch import Tensor

    Values = Tensor | NDArray[Any] | Sequence[float]
    Labels = Tensor | NDArray[Any] | Sequence[int]

RESAMPLES = 2000


class Estimate(TypedDict):
    """A share in [0, 1] (a difference: in [-1, 1]) with its 95 % interval."""

    value: float
    low: float
    high: float


class PairedTest(TypedDict):
    """The difference of two methods on the same images.

    fixed: number of images that became right; broke: number of images that became wrong.
    """

    difference: Estimate
    fixed: int
    broke: int
    p_value: float


class SeedsEstimate(TypedDict):
    """Mean and sample standard deviation over seeds, and a 95 % interval over seeds and images."""

    mean: float
    std: float
    low: float
    high: float


class PairedSeedsTest(TypedDict):
    """`PairedTest` over several seeds; fixed, broke: sums over the seeds."""

    difference: SeedsEstimate
    fixed: int
    broke: int
    p_value: float


def bootstrap_interval(
    values: Values,
    labels: Labels | None = None,
    /,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    groups: Labels | None = None,
) -> tuple[float, float]:
    """95 % percentile bootstrap interval over images (Efron and Tibshirani 1993, chapter 13).

    The interval is that of the mean of ``values`` (N,), or, with ``labels`` (N,), of the mean over
    classes of the class means; a resample ignores classes that it misses. NaN values (undefined for
    an image) are ignored. Only how often each (label, value) occurs matters, so a resample is one
    multinomial draw of these counts. For the mean of zeros and ones the count is binomial, and its
    exact quantiles are the limit of infinitely many resamples. If all images are right, or all
    wrong, resampling says nothing, and the exact limits are used (Clopper and Pearson 1934): 100 %
    of 10 images is "over 69 %". UserError without an image.

    groups: (N,), near twins share a number. Then nothing is resampled, because a bootstrap of few
    groups is too narrow. The interval is Student's t over groups, around the mean of all images
    (`intervals.crossed_interval` of one run)."""
    defined_groups = _groups_of_defined(groups, values)
    values, labels = _results(values, labels)
    if defined_groups is not None:
        # each class has the same weight, and each image of a class an equal part of it
        _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
        weights = 1 / (len(counts) * counts[inverse])
        return crossed_interval(values[None], SHARE, groups=defined_groups, weights=weights)[:2]
    # a cell is one (class, value): resamples draw numbers of images per cell, not images
    cells, counts = np.unique(np.stack([labels, values], axis=1), axis=0, return_counts=True)
    starts = np.unique(cells[:, 0], return_index=True)[1]  # first cell of every class
    n = len(values)
    if len(starts) == 1 and np.isin(values, (0.0, 1.0)).all():
        right = int(values.sum())
        if right in (0, n):
            # The limit x with x^n = 2.5 %, as a decimal number: SciPy's last digits differ between
            # its versions.
            limit = Decimal((1 - LEVEL) / 2) ** (1 / Decimal(n))
            if right:
                return (float(limit), 1.0)
            return (0.0, float(1 - limit))
        from scipy.stats import binom  # half a second, and several seeds do not need it

        low, high = binom.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2], n, values.mean()) / n
        return float(low), float(high)
    # NumPy promises that RandomState draws the same in all versions; Generator.multinomial has
    # changed in 2.5
    rng = np.random.RandomState(seed)
    means = np.empty(resamples)
    for i in range(resamples):
        # cells of a class are neighbours, so reduceat sums class by class
        drawn = rng.multinomial(n, counts / n)
        images = np.add.reduceat(drawn, starts)  # number drawn of each class
        sums = np.add.reduceat(drawn * cells[:, 1], starts)
        means[i] = (sums / np.maximum(images, 1)).sum() / np.count_nonzero(images)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def estimate(
    values: Values,
    labels: Labels | None = None,
    /,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    groups: Labels | None = None,
) -> Estimate:
    """Value with interval.

    The mean of ``values`` (N,), or with ``labels`` (N,) the mean of class means.

    ``estimate(correct)`` is accuracy, ``estimate(correct, labels)`` mean class recall; NaN values
    are ignored. Interval as in `bootstrap_interval`. UserError without an image.
    """
    low, high = bootstrap_interval(values, labels, resamples=resamples, seed=seed, groups=groups)
    values, labels = _results(values, labels)
    # mean of class means; without labels all images are one class
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.bincount(inverse, weights=values) / counts
    return {"value": float(means.mean()), "low": low, "high": high}


def paired_test(
    before: Values, after: Values, tests: int = 1, groups: Labels | None = None
) -> PairedTest:
    """Test the accuracy of ``after`` minus that of ``before``, both (N,) of 0 and 1 for the same
    images.

    difference: accuracy after minus before, with the adjusted Wald interval for paired shares
    (Bonett and Price 2012; `intervals.crossed_interval` of one run), which never excludes 0
    where the exact test does not: of five changed images all five may be better by chance. fixed:
    number of images that became right; broke: number that became wrong. p_value: exact McNemar
    test, two-sided (fixed is binomial with p = 1/2 among the changed images); 1 if nothing changed.

    tests: number of comparisons that interval and p_value are corrected for (Bonferroni). groups:
    (N,), near twins share a number. Then groups vary instead of images, and p_value belongs to the
    interval, because McNemar's test takes images as independent. ValueError if the lengths differ;
    UserError without an image.
    """
    was, _ = _results(before, None)
    now, _ = _results(after, None)
    if len(was) != len(now):
        raise ValueError(f"paired results differ in length: {len(was)} and {len(now)}")
    test = paired_test_over_seeds(was[None], now[None], tests, groups)
    return {**test, "difference": as_estimate(test["difference"])}


def paired_mean_test(before: Values, after: Values, groups: Labels | None = None) -> PairedTest:
    """Test the mean of ``after`` minus the mean of ``before``, both (N,) of values in [0, 1] for
    the same images.

    For results that are not only right or wrong, such as a precision. An image whose result is NaN
    (undefined) is ignored. fixed: number of images with a higher value; broke: with a lower value.
    p_value: belongs to the interval (`intervals.crossed_interval` of one run), so that the
    two agree; both allow for few changed images (`_test_of_changes`). groups: as in
    `paired_test`. ValueError if the lengths differ; UserError without an image that has a
    result.
    """
    was, now = (np.asarray(values, dtype=np.float64) for values in (before, after))
    if was.shape != now.shape:
        raise ValueError(f"paired results differ in shape: {was.shape} and {now.shape}")
    defined_groups = _groups_of_defined(groups, now - was)
    change, _ = _results(now - was, None)
    test = _test_of_changes(change[None], groups=defined_groups)
    return {**test, "difference": as_estimate(test["difference"])}


def widened(found: Estimate, factor: float) -> Estimate:
    """An estimate whose interval is ``factor`` times as wide about its middle; within −1 and 1."""
    middle, half = (found["low"] + found["high"]) / 2, factor * (found["high"] - found["low"]) / 2
    return {
        "value": found["value"],
        "low": max(-1.0, middle - half),
        "high": min(1.0, middle + half),
    }


def widened_test(test: PairedTest, factor: float) -> PairedTest:
    """A paired test with a standard error ``factor`` times as large: a wider interval, and its
    p-value.
    """
    difference = widened(test["difference"], factor)
    # from the widened interval back to a standard error, and its normal p-value
    error = (difference["high"] - difference["low"]) / (2 * ndtri((1 + LEVEL) / 2))
    middle = abs(difference["low"] + difference["high"]) / 2
    p_value = float(2 * ndtr(-middle / error)) if error > 0 else test["p_value"]
    return {**test, "difference": difference, "p_value": p_value}


def as_estimate(over_runs: SeedsEstimate) -> Estimate:
    """The mean over seeds with its interval, as an `Estimate`."""
    return {"value": over_runs["mean"], "low": over_runs["low"], "high": over_runs["high"]}


def over_seeds(
    correct: NDArray[Any] | Tensor | Sequence[Values], groups: Labels | None = None
) -> SeedsEstimate:
    """Accuracy over several seeds of one method on the same images. ``correct``: (S, N) of 0 and 1.

    std: sample standard deviation of the S accuracies, 0 with one seed. The interval covers the
    variation of seeds and images (`intervals.crossed_interval`); with one seed, only the
    variation of images (`bootstrap_interval`). groups: (N,), near twins share a number, and
    groups vary instead of images. UserError without a seed or an image."""
    runs = _runs(correct)
    if len(runs) == 1:
        return _summary(runs, *bootstrap_interval(runs[0], groups=groups))
    numbers = None if groups is None else np.asarray(groups)
    return _summary(runs, *crossed_interval(runs, SHARE, groups=numbers)[:2])


def paired_test_over_seeds(
    before: NDArray[Any], after: NDArray[Any], tests: int = 1, groups: Labels | None = None
) -> PairedSeedsTest:
    """Test the accuracy of ``after`` minus that of ``before``, both (S, N) of 0 and 1 for the same
    seeds and images.

    Interval as in `over_seeds`; no interval if no image changed. fixed, broke: number of
    (seed, image) that became right, or wrong. p_value: belongs to the interval, so it is about
    other seeds and images; with one seed and without groups, the exact McNemar test. tests, groups:
    as in `paired_test`. UserError without a seed or an image.
    """
    change = _runs(np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64))
    test = _test_of_changes(change, tests, None if groups is None else np.asarray(groups))
    changed = test["fixed"] + test["broke"]
    if groups is None and len(change) == 1 and changed > 0:
        from scipy.stats import binomtest  # half a second, and several seeds do not need it

        # if both methods are alike, a changed image is as likely fixed as broken
        mcnemar = binomtest(test["fixed"], changed, 0.5)
        exact = min(1.0, tests * float(mcnemar.pvalue))
        return _with_p_value(test, exact, held=exact)
    return test


def _test_of_changes(
    change: NDArray[np.float64], tests: int = 1, groups: NDArray[Any] | None = None
) -> PairedSeedsTest:
    """The mean of changes (S, N), its interval and the p-value of the interval.

    Of m changed images, or groups, that are as likely better as worse, all go the same way with
    probability 2 / 2^m (the sign test). No p-value is below that, and the interval holds 0 where
    this exceeds 5 %: up to five changed images are never clear.
    """
    fixed, broke = int((change > 0).sum()), int((change < 0).sum())
    if fixed + broke == 0:
        # no interval: low equals high
        return {"difference": _summary(change, 0.0, 0.0), "fixed": 0, "broke": 0, "p_value": 1.0}
    low, high, p_value = crossed_interval(change, DIFFERENCE, tests, groups)
    test: PairedSeedsTest = {
        "difference": _summary(change, low, high),
        "fixed": fixed,
        "broke": broke,
        "p_value": p_value,
    }
    of_images = change.any(axis=0)
    n_changed = int(of_images.sum()) if groups is None else len(np.unique(groups[of_images]))
    least = min(1.0, tests * 2.0 ** (1 - n_changed))
    return _with_p_value(test, max(p_value, least), held=least)


def _with_p_value(test: PairedSeedsTest, p_value: float, held: float) -> PairedSeedsTest:
    """The test with this p-value.

    0 is in its interval if the p-value ``held`` of an exact test is not below 5 %.
    """
    difference = test["difference"]
    if held >= 1 - LEVEL:
        low, high = with_zero(difference["low"], difference["high"])
        difference = {**difference, "low": low, "high": high}
    return {**test, "difference": difference, "p_value": p_value}


def _runs(values: Any) -> NDArray[np.float64]:
    """Results as an array (S, N). UserError without a seed or an image."""
    runs = np.asarray(values, dtype=np.float64)
    if runs.ndim != 2 or runs.size == 0:
        raise UserError(
            f"no results to average over seeds (shape {runs.shape}); check seeds and test split"
        )
    return runs


def _summary(runs: NDArray[np.float64], low: float, high: float) -> SeedsEstimate:
    """Mean and standard deviation of the runs (S, N), with the ends of their interval."""
    run_means = runs.mean(axis=1)
    # exactly 0 if all are equal: the rounded mean would give a little more
    std = 0.0
    if np.ptp(run_means) > 0:
        std = float(run_means.std(ddof=1))
    return {"mean": float(run_means.mean()), "std": std, "low": low, "high": high}


def _results(
    values: Values, labels: Labels | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Values and labels as arrays, without NaN values; one class for all if there are no labels."""
    v = np.asarray(values, dtype=np.float64)
    c = np.zeros(v.shape, dtype=np.int64) if labels is None else np.asarray(labels, dtype=np.int64)
    if v.ndim != 1 or v.shape != c.shape:
        raise ValueError(
            f"one value and one label per image are needed, not {v.shape} and {c.shape}"
        )
    defined = ~np.isnan(v)
    if not defined.any():
        raise UserError(
            "no image to evaluate: the split is empty, or no image has a defined result"
        )
    return v[defined], c[defined]


def _groups_of_defined(groups: Labels | None, values: Values) -> NDArray[np.int64] | None:
    """The groups of the images whose value is not NaN; None without groups."""
    if groups is None:
        return None
    numbers, v = np.asarray(groups, dtype=np.int64), np.asarray(values, dtype=np.float64)
    if numbers.shape != v.shape:
        raise ValueError(f"one group per image is needed, not {numbers.shape} for {v.shape}")
    return numbers[~np.isnan(v)]
