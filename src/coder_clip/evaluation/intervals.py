"""Intervals over several runs on the same images, the criterion for a clear difference, and
corrections for many tests.

Results are crossed: each run (a seed's shots, a draw of words) is evaluated on the same images, and
a claim is meant for other runs and other images. Both vary, and three runs say little about the
variation of runs; percentiles of a bootstrap over runs and images ignore that. docs/evaluation.md
says how often each interval holds the truth in simulations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtr, stdtrit

LEVEL = 0.95  # of every interval
POWER = 0.8  # chance to see a difference that is there
# Images that are added to the observed ones, so that few changes, or none, do not look certain: two
# right and two wrong ones for a share (Agresti and Coull 1998), one better and one worse for a
# difference (Bonett and Price 2012).
SHARE, DIFFERENCE = (1.0, 1.0, 0.0, 0.0), (1.0, -1.0)


class Interval(NamedTuple):
    """An interval, and the two-sided p-value of "the mean is 0".

    Of one run the p-value is below 0.05 exactly if the interval excludes 0. Of several runs that
    differ it may be larger (`crossed_interval`): below 0.05 only if the interval excludes 0.
    """

    low: float
    high: float
    p_value: float


def crossed_interval(
    values: NDArray[Any],
    added: Sequence[float],
    tests: int = 1,
    groups: NDArray[Any] | None = None,
    weights: NDArray[np.float64] | None = None,
    wider: float = 1.0,
) -> Interval:
    """Interval of the mean over runs and images: ``values`` (S, N), S runs on the same N images.

        Var = var(run means) / S + var(image means) / N − var(noise) / (S N)

    The first term estimates runs plus noise, the second images plus noise; the noise is counted
    twice and subtracted once (two-way random effects; Searle, Casella and McCulloch 1992, chapter
    4). Student's t with the degrees of freedom of this sum (Satterthwaite 1946): 2 if three runs
    dominate, many if images do. In simulations the interval holds the truth in 91 to 99 of 100
    cases, fewest with three runs that vary as much as images do (a bootstrap over both: 75 to 99).

    The p-value of runs that differ has at most S − 1 degrees of freedom. Three runs agree by chance
    now and then, and Satterthwaite's many degrees of freedom would make such a p-value tiny. A
    correction for many tests (`holm`) lives from tiny p-values, so they must not come by chance.

    groups: (N,), what varies instead of images, as near twins, or classes; default: each image is a
    group. Sums over groups take the place of images (the variance of a ratio; Cochran 1977, section
    6.4). Groups of different weight count as (Σ w)² / Σ w² groups of equal weight (Kish 1965).

    added: SHARE or DIFFERENCE, groups that are added to the observed ones and bound the interval;
    () for values without bounds. Each has the typical weight Σ w² / Σ w, because 20 near twins are
    one observation, and those of a difference have the size of a usual change of a group: 1 for
    single images that are right or wrong, less where a group of many changes by little. tests:
    number of intervals that together hold the truth in 95 of 100 cases (Bonferroni: each has the
    level 1 - 0.05 / tests, and p is multiplied by ``tests``). weights: (N,) of a weighted mean over
    images; default: all equal. wider: factor of the standard error."""
    runs = np.asarray(values, dtype=np.float64)
    s, n = runs.shape
    weights = np.full(n, 1 / n) if weights is None else weights
    numbers, group = np.unique(np.arange(n) if groups is None else groups, return_inverse=True)
    weight = np.bincount(group, weights=weights)
    observed = np.stack([np.bincount(group, weights=weights * run) for run in runs])
    typical = float((weight**2).sum() / weight.sum())
    weight = np.concatenate([weight, np.full(len(added), typical)])
    size = 1.0
    if added == DIFFERENCE:
        size = _usual_size(observed / weight[: len(numbers)])
    extra = np.tile(typical * size * np.asarray(added, dtype=np.float64), (s, 1))
    sums = np.concatenate([observed, extra], axis=1)
    total = float(weight.sum())
    run_means = sums.sum(axis=1) / total
    mean = float(run_means.mean())
    effective = total**2 / float((weight**2).sum())  # number of equal groups that say as much
    group_sums = sums.mean(axis=0)  # mean over runs
    # The terms of Var, and the degrees of freedom of each. The term of groups has ddof 0, so that
    # for shares of one run it is p (1 − p) / n, as in Agresti and Coull.
    parts = [float(((group_sums - mean * weight) ** 2).sum()) / total**2]
    free = [effective - 1]
    if s > 1:
        # residuals, what neither the run nor the group explains; they scale with a group's weight
        rest = sums - group_sums - (run_means - mean)[:, None] * weight
        noise = float((rest**2).sum()) / ((s - 1) * s * total**2) * effective / (effective - 1)
        parts += [float(run_means.var(ddof=1)) / s, -noise]
        free += [s - 1, (s - 1) * (effective - 1)]
    # sums of NumPy, because Python's own differs in the last bit from 3.12 on
    # the estimate of noise may be too large; groups alone are a lower bound
    variance = max(float(np.sum(parts)), parts[0])
    # Satterthwaite: a part with few degrees of freedom lowers the degrees of freedom of the sum
    squares = float(np.sum([p**2 / f for p, f in zip(parts, free, strict=True)]))
    # 1e-300: no division by 0 if all parts are 0
    degrees = variance**2 / max(squares, 1e-300)
    error = wider * variance**0.5
    half, p_value = 0.0, 1.0
    if error > 0:
        half = float(stdtrit(degrees, 1 - (1 - LEVEL) / (2 * tests))) * error
        # runs that are equal on every image say the same as one of them
        if bool((runs != runs[0]).any()):
            degrees = min(degrees, s - 1)
        p_value = min(1.0, tests * float(2 * stdtr(degrees, -abs(mean) / error)))
    low, high = mean - half, mean + half
    # a share stays within 0 and 1, a difference within −1 and 1
    if added:
        low, high = max(min(added), low), min(max(added), high)
    return Interval(low, high, p_value)


def _usual_size(changes: NDArray[np.float64]) -> float:
    """Root mean square of the changes that are not 0; 1 if all are."""
    changed = changes[changes != 0]
    if len(changed) == 0:
        return 1.0
    return float((changed**2).mean() ** 0.5)


def clear(difference: Mapping[str, Any]) -> Literal["better", "worse", ""]:
    """The one criterion of the report.

    A difference is clear if its 95 % interval, as printed, excludes 0.

    difference: low and high, shares. Both are rounded to a tenth of a point as in print, so that no
    interval that shows a 0 counts as clear. p-values, corrected for several tests or not, are shown
    but decide nothing. Where one of several methods is chosen, the interval is corrected for their
    number (``tests`` of `crossed_interval`).
    """
    low, high = (round(difference[end], 3) for end in ("low", "high"))
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    return ""


def images_to_settle(difference: float, changed: float) -> int:
    """Number of images that show a difference of this size as clear in 4 of 5 tries.

    difference: a share, not 0; changed: the share of images on which the two methods differ, at
    least as large. Normal approximation with variance changed − difference² per image (Connett,
    Smith and McHugh 1987).
    """
    # (z of the level + z of the power)² · variance / effect²
    z = float(ndtri((1 + LEVEL) / 2) + ndtri(POWER))
    return math.ceil(z**2 * max(changed - difference**2, 0.0) / difference**2)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust the p-values of several tests (Holm 1979).

    They bound the chance of even one false finding.

    The k-th smallest of m p-values is multiplied by m − k + 1; the adjusted values keep the order
    of the p-values. NaN stays NaN and does not count as a test.
    """
    p = np.asarray(p_values, dtype=np.float64)
    tests = np.flatnonzero(~np.isnan(p))
    order = tests[np.argsort(p[tests], kind="stable")]
    adjusted = p.copy()
    # the smallest p has the largest factor; the running maximum keeps the order
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * factors))
    return [float(v) for v in adjusted]
