"""Estimates and comparisons, against plain loops and by hand. A wrong one makes people believe a
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

from coder_clip.claims import FEWEST_SETS, verdict
from coder_clip.errors import UserError
from coder_clip.evaluation.estimates import compare, estimate
from coder_clip.evaluation.intervals import clear
from coder_clip.evaluation.pooled import pooled

results = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=30)


def plain_interval(values: list[float], added: tuple[float, ...]) -> tuple[float, float]:
    """Student's t over the images and the added ones."""
    more = [*values, *added]
    mean = sum(more) / len(more)
    error = math.sqrt(sum((v - mean) ** 2 for v in more) / len(more) / len(more))
    half = float(student.ppf(0.975, len(more) - 1)) * error
    return mean - half, mean + half


@given(results)
def test_accuracy_and_mean_class_recall(pairs: list[tuple[int, bool]]) -> None:
    """Otherwise every table is wrong; classes without images must not count."""
    labels, correct = [c for c, _ in pairs], [r for _, r in pairs]
    got = estimate(correct)
    assert got["value"] == pytest.approx(sum(correct) / len(correct))
    low, high = plain_interval([float(r) for r in correct], (1, 1, 0, 0))
    assert (got["low"], got["high"]) == pytest.approx((max(0, low), min(1, high)))
    by_class = [[r for c, r in pairs if c == k] for k in set(labels)]
    expected = sum(sum(rs) / len(rs) for rs in by_class) / len(by_class)
    recall = estimate(correct, labels)
    assert recall["value"] == pytest.approx(expected)
    for each in (got, recall):
        assert 0 <= each["low"] <= each["high"] <= 1


def test_no_image_is_a_clear_error_and_undefined_results_are_left_out() -> None:
    """Otherwise an empty split prints NaN in a table."""
    for nothing in ([], np.zeros((0, 4))):
        with pytest.raises(UserError, match="no results"):
            estimate(nothing)
    with pytest.raises(UserError, match="no image"):
        estimate([math.nan])
    with pytest.raises(UserError, match="no image"):
        compare([math.nan], [math.nan])
    with pytest.raises(ValueError, match="one label or group"):
        estimate([1, 0], [1])
    with pytest.raises(ValueError, match="differ in shape"):
        compare([1], [1, 0])
    assert estimate([0.5, math.nan, 0.5])["value"] == 0.5


@pytest.mark.parametrize("right", [0.5, 0.9, 0.98])
def test_the_accuracy_interval_holds_the_truth(right: float) -> None:
    """In 19 of 20 runs of 60 images; 100 % of ten images is not certain."""
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(400):
        got = estimate(rng.random(60) < right)
        held += got["low"] <= right <= got["high"]
    assert held >= 0.93 * 400
    perfect = estimate([True] * 10)
    assert perfect["high"] == 1
    assert 0.6 < perfect["low"] < 0.75, "Clopper and Pearson: 0.69"


def test_the_interval_of_recall_is_not_narrower_than_resampling() -> None:
    rng = np.random.default_rng(6)
    labels = np.repeat([0, 1, 7], [30, 19, 3])
    correct = rng.random(52) < np.array([0.9, 0.5, 0.7]).repeat([30, 19, 3])
    recalls = []
    for _ in range(2000):
        image = rng.integers(52, size=52)
        recalls.append(
            np.mean([correct[image][labels[image] == c].mean() for c in set(labels[image])])
        )
    low, high = np.quantile(recalls, [0.025, 0.975])
    got = estimate(correct, labels)
    assert high - low < got["high"] - got["low"] < 1.8 * (high - low)


def test_intervals_do_not_depend_on_the_order_of_images() -> None:
    """Otherwise the same results give another file on the next machine."""
    rng = np.random.default_rng(7)
    labels, correct = rng.integers(4, size=40), rng.random(40) < 0.5
    order = rng.permutation(40)
    assert estimate(correct[order], labels[order]) == pytest.approx(estimate(correct, labels))


@pytest.mark.parametrize(("fixed", "broke"), [(0, 0), (1, 0), (5, 0), (0, 6), (8, 2), (4, 4)])
def test_a_comparison_by_hand(fixed: int, broke: int) -> None:
    """Otherwise a gain by chance is printed as a finding, or the reverse."""
    same = [1, 1, 1, 0]
    before = same + [0] * fixed + [1] * broke
    after = same + [1] * fixed + [0] * broke
    got = compare(before, after)
    assert (got["fixed"], got["broke"]) == (fixed, broke)
    assert got["value"] == pytest.approx((fixed - broke) / len(before))
    assert got["low"] <= got["value"] <= got["high"]
    assert compare(after, before)["value"] == -got["value"]
    low, high = 0.0, 0.0
    if fixed + broke:
        low, high = plain_interval([a - b for a, b in zip(after, before, strict=True)], (1, -1))
        if 2 * 0.5 ** (fixed + broke) >= 0.05:
            low, high = min(low, 0), max(high, 0)
    assert (got["low"], got["high"]) == pytest.approx((max(-1, low), min(1, high)))


def test_the_paired_interval_uses_the_pairing() -> None:
    """Otherwise a small and certain gain drowns in how hard the images are."""
    rng = np.random.default_rng(9)
    before = rng.random(400) < 0.5
    after = before.copy()
    after[np.flatnonzero(~before)[:12]] = True
    got = compare(before, after)
    draws = (after.astype(int) - before)[rng.integers(400, size=(4000, 400))].mean(axis=1)
    assert (got["low"], got["high"]) == pytest.approx(np.quantile(draws, [0.025, 0.975]), abs=0.005)
    assert got["low"] > 0  # the unpaired interval would reach far below zero


def test_runs_have_a_deviation_and_a_single_run_has_none() -> None:
    """Otherwise the few-shot table shows a spread that is none, or NaN with one seed."""
    got = estimate([[1, 1, 0, 0], [1, 1, 1, 0]])
    assert got["value"] == pytest.approx(0.625)
    assert got["std"] == pytest.approx(0.25 / math.sqrt(2))
    one = estimate(np.array([[True, False, True, True]]))
    assert one == {**estimate([1, 0, 1, 1]), "std": 0}
    # the mean of three 14/15 is not 14/15 in float64
    assert estimate(np.tile(np.arange(15) < 14, (3, 1)))["std"] == 0


def test_no_change_is_no_difference() -> None:
    same = np.arange(12).reshape(3, 4) % 2
    assert compare(same, same) == {
        **{"value": 0, "std": 0, "low": 0, "high": 0},
        **{"p_value": 1, "fixed": 0, "broke": 0},
    }


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
    """Otherwise p and interval of one comparison contradict each other."""
    rng = np.random.default_rng(seed)
    before, after = rng.random((seeds, images)) < 0.5, rng.random((seeds, images)) < share
    got = compare(before, after)
    change = after.astype(int) - before
    assert (got["fixed"], got["broke"]) == ((change > 0).sum(), (change < 0).sum())
    assert got["value"] == pytest.approx(change.mean())
    assert got["std"] == pytest.approx(change.mean(axis=1).std(ddof=1) if seeds > 1 else 0)
    if seeds == 1:
        assert got == {**compare(before[0], after[0]), "std": 0}
    if change.any():
        excluded = got["low"] > 0 or got["high"] < 0
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
        got = compare(was.repeat(copies), now.repeat(copies), tests=tests, groups=groups)
        assert clear(got) == ""
        assert got["p_value"] >= min(1.0, tests * 2 * 0.5**changed) - 1e-12
        assert clear(compare(np.stack([was] * 3), np.stack([now] * 3), tests=tests)) == ""
    means = compare(0.2 * before, 0.2 * after)
    assert clear(means) == ""
    assert means["p_value"] >= 2 * 0.5**changed


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 200), st.integers(1, 6))
@example(7, 1, 0, 1)
@example(10, 2, 0, 2)
def test_a_single_run_agrees_with_the_exact_test(
    fixed: int, broke: int, unchanged: int, tests: int
) -> None:
    """McNemar's exact test, which the field knows: what is clear here is at most a little above 5 %
    there, and the reverse.
    """
    change = np.repeat([1, -1, 0], [fixed, broke, unchanged])
    if not fixed + broke:
        return
    got = compare(change < 0, change > 0, tests=tests)
    exact = min(1.0, tests * binomtest(fixed, fixed + broke, 0.5).pvalue)
    if clear(got):
        assert exact < 0.08
    if exact < 0.03:
        assert clear(got) == ("better" if fixed > broke else "worse")


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
    got = compare([*gap, *before], [*gap, *after])
    changes = [a - b for b, a in pairs]
    changed = [c for c in changes if c != 0]
    assert got["value"] == pytest.approx(sum(changes) / len(changes))
    assert got["fixed"] == sum(c > 0 for c in changes)
    assert got["broke"] == sum(c < 0 for c in changes)
    low, high = got["low"], got["high"]
    if changed:
        # two more images, one better and one worse by a usual change (Bonett and Price)
        size = math.sqrt(sum(c * c for c in changed) / len(changed))
        ends = plain_interval(changes, (size, -size))
        # of few changed images all may be better by chance, so 0 stays in the interval
        if 2 * 0.5 ** len(changed) >= 0.05:
            ends = min(0, ends[0]), max(0, ends[1])
        assert (low, high) == pytest.approx((max(-1, ends[0]), min(1, ends[1])))
        assert (got["p_value"] < 0.05) == (low > 0 or high < 0)
    else:
        assert (low, high, got["p_value"]) == (0, 0, 1)
    back = compare([*gap, *after], [*gap, *before])
    assert back["value"] == pytest.approx(-got["value"])
    assert (back["fixed"], back["broke"]) == (got["broke"], got["fixed"])


def test_a_wider_error_widens_the_interval_and_its_p() -> None:
    """Neighbours share images: the interval says so, and the p-value beside it."""
    before, after = np.zeros(100), (np.arange(100) < 8).astype(float)
    plain, wide = compare(before, after), compare(before, after, wider=1.4)
    assert wide["high"] - wide["low"] == pytest.approx(1.4 * (plain["high"] - plain["low"]))
    assert plain["p_value"] < 0.05 < wide["p_value"]
    assert (clear(plain), clear(wide)) == ("better", "")
    share = estimate(after, wider=2)
    assert share["low"] == 0


def test_a_comparison_over_fifty_thousand_images_can_be_small() -> None:
    rng = np.random.default_rng(1)
    before = rng.random((3, 50_000)) < 0.6
    after = before ^ (rng.random((3, 50_000)) < 0.1)
    assert 0 < compare(before, after)["p_value"] < 0.01
    assert 0 < compare(before[:1], after[:1])["p_value"] < 1e-4


@pytest.mark.parametrize(("data_sets", "said"), [(5, "open"), (6, "shown")])
def test_six_data_sets_are_the_fewest_that_the_signed_rank_can_tell(
    data_sets: int, said: str
) -> None:
    """A mean of five would be judged, and could be "open" only."""
    mean = pooled([{"value": v, "low": v, "high": v} for v in np.linspace(0.04, 0.05, data_sets)])
    assert mean is not None
    assert (verdict(mean), data_sets >= FEWEST_SETS) == (said, said == "shown")
