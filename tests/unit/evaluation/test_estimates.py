"""Intervals and tests, against resampling and by hand. A wrong one makes people believe a
difference that is none.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from scipy.stats import t as student

from coder_clip.errors import UserError
from coder_clip.evaluation.estimates import (
    bootstrap_interval,
    estimate,
    over_seeds,
    paired_mean_test,
    paired_test,
    paired_test_over_seeds,
)
from coder_clip.evaluation.intervals import clear

# ---- intervals and tests

results = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=30)


@given(results)
def test_accuracy_and_mean_class_recall(pairs: list[tuple[int, bool]]) -> None:
    """Otherwise every table is wrong; classes without images must not count."""
    labels, correct = [c for c, _ in pairs], [r for _, r in pairs]
    assert estimate(correct)["value"] == pytest.approx(sum(correct) / len(correct))
    by_class = [[r for c, r in pairs if c == k] for k in set(labels)]
    expected = sum(sum(rs) / len(rs) for rs in by_class) / len(by_class)
    assert estimate(correct, labels, resamples=5)["value"] == pytest.approx(expected)
    for got in (estimate(correct, resamples=50), estimate(correct, labels, resamples=50)):
        assert 0 <= got["low"] <= got["high"] <= 1


def test_no_image_is_a_clear_error_and_undefined_results_are_left_out() -> None:
    """Otherwise an empty split prints NaN in a table."""
    with pytest.raises(UserError, match="no image"):
        estimate([])
    with pytest.raises(UserError, match="no image"):
        estimate([math.nan])
    with pytest.raises(ValueError, match="one value and one label"):
        estimate([1, 0], [1])
    assert estimate([0.5, math.nan, 0.5])["value"] == 0.5


def test_the_accuracy_interval_is_what_resampling_gives() -> None:
    """Otherwise the interval on every accuracy is not the bootstrap it claims to be."""
    correct = np.arange(60) < 45
    rng = np.random.default_rng(5)
    means = correct[rng.integers(60, size=(40_000, 60))].mean(axis=1)
    assert bootstrap_interval(correct) == pytest.approx(
        np.quantile(means, [0.025, 0.975]), abs=1 / 60
    )


def test_a_perfect_score_is_not_certain() -> None:
    """100 % of ten images would be reported as exactly 100 %, without an interval."""
    assert bootstrap_interval([True] * 10) == pytest.approx((0.025 ** (1 / 10), 1.0))
    assert bootstrap_interval([False] * 10) == pytest.approx((0.0, 1 - 0.025 ** (1 / 10)))
    same = paired_test([True] * 10, [True] * 10)
    assert same["difference"] == {"value": 0, "low": 0, "high": 0}


def test_other_intervals_are_what_resampling_images_gives() -> None:
    """Otherwise intervals of recall and retrieval precision are too narrow or too wide."""
    rng = np.random.default_rng(6)
    n = 50
    labels = np.repeat([0, 1, 7], [30, 19, 1])  # the last is missing from every third resample
    correct, shares = rng.random(n) < 0.7, rng.integers(0, 4, size=n) / 3
    correct[-1] = True
    recalls, means = [], []
    for _ in range(4000):
        image = rng.integers(n, size=n)
        recalls.append(
            np.mean([correct[image][labels[image] == c].mean() for c in set(labels[image])])
        )
        means.append(shares[image].mean())
    for got, reference in (
        (bootstrap_interval(correct, labels), recalls),
        (bootstrap_interval(shares), means),
    ):
        assert got == pytest.approx(np.quantile(reference, [0.025, 0.975]), abs=0.025)


def test_intervals_do_not_depend_on_the_order_of_images() -> None:
    """Otherwise the same results give another file on the next machine."""
    rng = np.random.default_rng(7)
    labels, correct = rng.integers(4, size=40), rng.random(40) < 0.5
    first = estimate(correct, labels)
    assert estimate(correct, labels) == first
    order = rng.permutation(40)
    again = estimate(correct[order], labels[order])
    assert (again["low"], again["high"]) == (first["low"], first["high"])
    assert estimate(correct, labels, seed=1) != first


def test_intervals_are_the_same_whatever_numpy_draws() -> None:
    """NumPy 2.5 draws other multinomials than 2.4: a colleague's intervals would differ, and no
    code would have.

    The values are of NumPy 2.4.6 and 2.5.5, which agree; with `Generator` the two differ for these
    images."""
    sizes = np.arange(1, 37) ** 1.5
    per_class = np.maximum(2, np.round(sizes / sizes.sum() * 5000)).astype(int)
    labels = np.repeat(np.arange(36), per_class)
    correct = np.arange(len(labels)) % 3 > 0
    interval = bootstrap_interval(correct, labels, resamples=200)
    assert interval == pytest.approx((0.6335481373491649, 0.6918623499284883), abs=1e-12)


@pytest.mark.parametrize(
    ("fixed", "broke", "p_value"),
    [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 2 / 32), (0, 6, 2 / 64), (8, 2, 112 / 1024), (4, 4, 1.0)],
)
def test_mcnemar_by_hand(fixed: int, broke: int, p_value: float) -> None:
    """Otherwise a gain by chance is printed as a finding, or the reverse. 112 = 2 · (1 + 10 + 45)."""
    same = [1, 1, 1, 0]
    before = same + [0] * fixed + [1] * broke
    after = same + [1] * fixed + [0] * broke
    got = paired_test(before, after)
    assert (got["fixed"], got["broke"]) == (fixed, broke)
    assert got["p_value"] == pytest.approx(p_value)
    assert got["difference"]["value"] == pytest.approx((fixed - broke) / len(before))
    assert got["difference"]["low"] <= got["difference"]["value"] <= got["difference"]["high"]
    assert paired_test(after, before)["difference"]["value"] == -got["difference"]["value"]


def test_the_paired_interval_uses_the_pairing() -> None:
    """Otherwise a small and certain gain drowns in how hard the images are."""
    rng = np.random.default_rng(9)
    before = rng.random(400) < 0.5
    after = before.copy()
    after[np.flatnonzero(~before)[:12]] = True
    got = paired_test(before, after)["difference"]
    draws = (after.astype(int) - before)[rng.integers(400, size=(4000, 400))].mean(axis=1)
    assert (got["low"], got["high"]) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.005)
    assert got["low"] > 0  # the unpaired interval would reach far below zero
    with pytest.raises(ValueError, match="differ in length"):
        paired_test([1], [1, 0])


def test_summary_over_seeds() -> None:
    """Otherwise the few-shot table shows a spread that is none, or NaN with one seed."""
    got = over_seeds([[1, 1, 0, 0], [1, 1, 1, 0]])
    assert got["mean"] == pytest.approx(0.625)
    assert got["std"] == pytest.approx(0.25 / math.sqrt(2))
    one = over_seeds(np.array([[True, False, True, True]]))
    assert one["std"] == 0
    alike = over_seeds(
        np.tile(np.arange(15) < 14, (3, 1))
    )  # the mean of three 14/15 is not 14/15 in float64
    assert alike["std"] == 0
    assert (one["low"], one["high"]) == bootstrap_interval([1, 0, 1, 1])
    with pytest.raises(UserError, match="no results"):
        over_seeds([])


def test_no_change_is_no_difference_and_no_results_are_refused() -> None:
    same = np.arange(12).reshape(3, 4) % 2
    unchanged = paired_test_over_seeds(same, same)
    assert unchanged["difference"] == {"mean": 0, "std": 0, "low": 0, "high": 0}
    with pytest.raises(UserError, match="no results"):
        paired_test_over_seeds(np.zeros((0, 4)), np.zeros((0, 4)))


@settings(deadline=None, max_examples=60)
@given(
    seeds=st.integers(1, 4),
    images=st.integers(2, 9),
    seed=st.integers(0, 999),
    share=st.floats(0.2, 0.9),
)
def test_a_comparison_over_seeds_says_one_thing(
    seeds: int, images: int, seed: int, share: float
) -> None:
    """Otherwise p and interval of one comparison contradict each other, or one seed is not the
    plain test.
    """
    rng = np.random.default_rng(seed)
    before, after = rng.random((seeds, images)) < 0.5, rng.random((seeds, images)) < share
    got = paired_test_over_seeds(before, after)
    change = after.astype(int) - before
    assert (got["fixed"], got["broke"]) == ((change > 0).sum(), (change < 0).sum())
    assert got["difference"]["mean"] == pytest.approx(change.mean())
    assert got["difference"]["std"] == pytest.approx(
        change.mean(axis=1).std(ddof=1) if seeds > 1 else 0
    )
    if seeds == 1:
        once = paired_test(before[0], after[0])
        assert got["p_value"] == once["p_value"]
        assert once["difference"]["low"] == got["difference"]["low"]
    elif change.any():
        low, high = got["difference"]["low"], got["difference"]["high"]
        excluded = low > 0 or high < 0
        assert excluded or got["p_value"] >= 0.05
        if (change == change[0]).all():  # equal runs: then both are about images
            assert (got["p_value"] < 0.05) == excluded


@given(st.integers(1, 5), st.integers(0, 30), st.integers(1, 12), st.booleans())
def test_up_to_five_changed_images_are_never_clear(
    changed: int, unchanged: int, tests: int, grouped: bool
) -> None:
    """Five of five that became right were called clear beside a p-value of 0.0625."""
    before = np.zeros(changed + unchanged)
    after = np.concatenate([np.ones(changed), np.zeros(unchanged)])
    copies = 4 if grouped else 1
    groups = np.arange(len(before)).repeat(copies) if grouped else None
    for was, now in ((before, after), (after, before)):
        got = paired_test(was.repeat(copies), now.repeat(copies), tests, groups)
        assert clear(got["difference"]) == ""
        assert got["p_value"] >= min(1.0, tests * 2 * 0.5**changed) - 1e-12
        over = paired_test_over_seeds(np.stack([was] * 3), np.stack([now] * 3), tests)
        assert clear(over["difference"]) == ""
    means = paired_mean_test(0.2 * before, 0.2 * after)
    assert clear(means["difference"]) == ""
    assert means["p_value"] >= 2 * 0.5**changed


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 200), st.integers(1, 6))
@example(7, 1, 0, 1)  # p = 0.07
@example(10, 2, 0, 2)
def test_no_single_run_is_clear_that_the_exact_test_leaves_open(
    fixed: int, broke: int, unchanged: int, tests: int
) -> None:
    """A bold difference beside p = 0.07 leaves readers with two answers."""
    change = np.repeat([1, -1, 0], [fixed, broke, unchanged])
    if not len(change):
        return
    got = paired_test(change < 0, change > 0, tests)
    if fixed + broke:
        exact = min(1.0, tests * binomtest(fixed, fixed + broke, 0.5).pvalue)
        assert got["p_value"] == pytest.approx(exact)
    if got["p_value"] >= 0.05:
        assert clear(got["difference"]) == ""
    # and what is clear by both stays clear
    if fixed > 20 and broke == 0 and unchanged < 100:
        assert clear(got["difference"]) == "better"


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.25, 1 / 3, 0.5, 1.0]), st.sampled_from([0.0, 0.25, 0.9, 1.0])
        ),
        min_size=1,
        max_size=12,
    ),
    st.integers(0, 3),
)
@example([(0.0, 0.9)] * 5, 0)
def test_a_difference_of_values_is_that_of_the_images_and_agrees_with_its_p(
    pairs: list[tuple[float, float]], undefined: int
) -> None:
    """Otherwise a claim about precision has the wrong sign, or an interval that denies its p."""
    before, after = [b for b, _ in pairs], [a for _, a in pairs]
    gap = [math.nan] * undefined
    got = paired_mean_test([*gap, *before], [*gap, *after])
    changes = [a - b for b, a in pairs]
    assert got["difference"]["value"] == pytest.approx(sum(changes) / len(changes))
    assert got["fixed"] == sum(c > 0 for c in changes)
    assert got["broke"] == sum(c < 0 for c in changes)
    low, high = got["difference"]["low"], got["difference"]["high"]
    if got["fixed"] + got["broke"]:
        # Student's t over the images and two more, one better and one worse (Bonett and Price), by
        # hand
        more = [*changes, 1.0, -1.0]
        mean = sum(more) / len(more)
        error = math.sqrt(sum((c - mean) ** 2 for c in more) / len(more) / len(more))
        half = float(student.ppf(0.975, len(more) - 1)) * error
        ends = [max(-1, mean - half), min(1, mean + half)]
        # of few changed images all may be better by chance, so 0 stays in the interval
        if 2 * 0.5 ** (got["fixed"] + got["broke"]) >= 0.05:
            ends = [min(0, ends[0]), max(0, ends[1])]
        assert (low, high) == pytest.approx(tuple(ends))
        assert (got["p_value"] < 0.05) == (low > 0 or high < 0)
    else:
        assert (low, high, got["p_value"]) == (0, 0, 1)
    back = paired_mean_test(after, before)
    assert back["difference"]["value"] == pytest.approx(-got["difference"]["value"])
    assert (back["fixed"], back["broke"]) == (got["broke"], got["fixed"])


def test_values_that_are_right_or_wrong_have_the_interval_of_the_plain_test() -> None:
    before, after = [0, 1, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1]
    assert paired_mean_test(before, after)["difference"] == paired_test(before, after)["difference"]
    with pytest.raises(ValueError, match="differ in shape"):
        paired_mean_test([1.0], [1.0, 0.0])
    with pytest.raises(UserError, match="no image"):
        paired_mean_test([math.nan], [math.nan])


def test_a_comparison_over_fifty_thousand_images_is_quick_and_can_be_small() -> None:
    rng = np.random.default_rng(1)
    before = rng.random((3, 50_000)) < 0.6
    after = before ^ (rng.random((3, 50_000)) < 0.1)
    assert 0 < paired_test_over_seeds(before, after)["p_value"] < 0.01
    assert 0 < paired_test_over_seeds(before[:1], after[:1])["p_value"] < 1e-4
    assert paired_test_over_seeds(before, before)["p_value"] == 1
