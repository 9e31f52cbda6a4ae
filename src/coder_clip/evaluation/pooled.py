"""The mean of a difference over data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from scipy.special import ndtri, stdtr, stdtrit

from .intervals import LEVEL


class PooledDifference(TypedDict):
    """A mean over data sets with its 95 % interval and p-value."""

    value: float
    low: float
    high: float
    p_value: float


def pooled(differences: Sequence[Mapping[str, Any]]) -> PooledDifference | None:
    """The mean of the differences on several data sets; None for fewer than two.

    The interval is for other data sets, each of which counts the same, however many images it has.
    It is that of a random-effects mean by Hartung and Knapp (2001) and Sidik and Jonkman (2002),
    which with equal weights is Student's t over the n differences, with n − 1 degrees of freedom.
    Their spread holds both parts of the variance: of data sets, and of images and seeds within
    each. So no error of a single data set enters, which three seeds tell poorly.

    Effects on data sets are seldom normal, and then a mean of few is clear too often. So the
    p-value is the larger of Student's t and Wilcoxon's signed-rank test, and where it is not below
    5 % the interval holds 0. What is clear holds for the typical data set, too: effects whose
    median is 0 are called clear in at most 5 % (normal, exponential, lognormal, one set in ten
    different; `test_null.py`). A mean that a rare, very different data set makes 0 cannot be told
    from few data sets, by any test."""
    n = len(differences)
    if n < 2:
        return None
    values = np.array([d["value"] for d in differences])
    mean, deviation = float(values.mean()), float(values.std(ddof=1))
    if np.ptp(values) == 0:
        # Equal to the last bit, as of the same few images: a spread of 0 would be certain, so each
        # one's own interval counts, half of which is z standard errors.
        widths = np.array([d["high"] - d["low"] for d in differences])
        deviation = float(((widths / (2 * ndtri((1 + LEVEL) / 2))) ** 2).mean() ** 0.5)
    error = deviation / n**0.5
    half = float(stdtrit(n - 1, (1 + LEVEL) / 2)) * error
    low, high, p_value = mean - half, mean + half, 1.0
    if error > 0:
        of_ranks = signed_rank(values)
        p_value = max(float(2 * stdtr(n - 1, -abs(mean) / error)), of_ranks)
        if of_ranks >= 1 - LEVEL:
            low, high = min(low, 0.0), max(high, 0.0)
    return {"value": mean, "low": low, "high": high, "p_value": p_value}


def signed_rank(values: Sequence[float] | np.ndarray[Any, Any]) -> float:
    """The two-sided p-value of Wilcoxon's signed-rank test (1945), without values that are 0.

    Exact; of more than 12 values with ties, from 4096 permutations.
    """
    from scipy.stats import PermutationMethod, wilcoxon  # half a second

    changed = np.asarray(values)[np.asarray(values) != 0]
    if len(changed) < 2:
        return 1.0
    if len(np.unique(np.abs(changed))) == len(changed):
        return float(wilcoxon(changed, method="exact").pvalue)
    # ties share their ranks, whose distribution has no table
    permutations = PermutationMethod(n_resamples=4096, rng=np.random.RandomState(0))
    return float(wilcoxon(changed, method=permutations).pvalue)
