"""Intervals over runs and images, the one criterion for a clear difference, and several tests at
once.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coder_clip.evaluation import intervals
from coder_clip.evaluation.intervals import (
    DIFFERENCE,
    SHARE,
    clear,
    crossed_interval,
    holm,
    images_to_settle,
)


def test_p_values_are_the_same_bits_on_every_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """From Python 3.12 on its own sum of floats is compensated: tables would differ in their last
    digits, and dvc.lock with them.
    """
    drawn = np.random.default_rng(0)
    values = [drawn.normal(0.3, 1, (3, n)).round(1) for n in range(20, 60)]
    before = [crossed_interval(v, DIFFERENCE) for v in values]
    monkeypatch.setattr(intervals, "sum", math.fsum, raising=False)
    assert [crossed_interval(v, DIFFERENCE) for v in values] == before


def test_one_run_has_the_adjusted_interval_of_paired_shares() -> None:
    """Bonett and Price 2012, by hand: five fixed and one broken of 98."""
    change = np.array([[1.0] * 5 + [-1.0] + [0.0] * 92])
    better, worse, n = 6 / 100, 2 / 100, 100
    half = 1.96 * math.sqrt((better + worse - (better - worse) ** 2) / n)
    got = crossed_interval(change, DIFFERENCE)
    assert got[:2] == pytest.approx((better - worse - half, better - worse + half), abs=1e-3)


def test_runs_that_differ_and_images_that_do_not_leave_student_with_two_degrees() -> None:
    """Three accuracies that all images share: the textbook interval of three numbers, which a
    bootstrap misses.
    """
    means = np.array([0.2, 0.4, 0.9])
    runs = (np.arange(100_000) / 100_000 < means[:, None]).astype(float)
    got = crossed_interval(np.where(runs == 0, 0.0, 0.1) + 0.0, SHARE)
    half = 4.303 * (0.1 * means).std(ddof=1) / math.sqrt(3)
    assert got.high - got.low == pytest.approx(min(2 * half, got.high), rel=0.05)


def test_equal_runs_say_the_same_as_one() -> None:
    """Images alone decide then, with their degrees of freedom."""
    values = np.array([[1, 1, 0, 1, 1]])
    same = crossed_interval(values.repeat(3, axis=0), DIFFERENCE)
    assert same == pytest.approx(crossed_interval(values, DIFFERENCE))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_results_are_not_certain(value: float) -> None:
    got = crossed_interval(np.full((3, 20), value), SHARE)
    assert 0.1 < got.high - got.low < 0.5
    assert 0 <= got.low <= got.high <= 1


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_by_its_definition(p_values: list[float]) -> None:
    got = holm(p_values)
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    highest = 0.0
    for k, i in enumerate(order):
        highest = max(highest, min(1.0, p_values[i] * (len(p_values) - k)))
        assert got[i] == pytest.approx(highest)


def test_what_was_not_tested_does_not_count() -> None:
    assert holm([0.01, math.nan, 0.04, 0.03]) == pytest.approx(
        [0.03, math.nan, 0.06, 0.06], nan_ok=True
    )


def test_clear_is_what_the_printed_interval_shows() -> None:
    """ "[0.0, +1.2]" in bold would contradict itself."""
    assert clear({"low": 0.0004, "high": 0.012}) == ""
    assert clear({"low": 0.0006, "high": 0.012}) == "better"
    assert clear({"low": -0.03, "high": -0.0006}) == "worse"
    assert clear({"low": math.nan, "high": math.nan}) == ""


def test_so_many_images_do_settle_a_difference() -> None:
    """Simulated: with that many images about four of five comparisons are clear."""
    rng = np.random.default_rng(5)
    for difference, changed in ((0.04, 0.1), (-0.02, 0.2)):
        n = images_to_settle(difference, changed)
        up = (changed + difference) / 2
        found = 0
        for _ in range(400):
            fixed, broke, _ = rng.multinomial(n, [up, changed - up, 1 - changed])
            change = np.repeat([1.0, -1.0, 0.0], [fixed, broke, n - fixed - broke])
            low, high, _ = crossed_interval(change[None], DIFFERENCE)
            found += low > 0 or high < 0
        assert 0.74 < found / 400 < 0.86, (difference, changed)


def test_a_large_difference_settles_with_fewer_images() -> None:
    """Connett's formula by hand: (1.9600 + 0.8416)² · (0.4 − 0.3²) / 0.3² = 27.03.

    Without the square of the difference it would be 34.9, and a page asks for a third more images.
    """
    assert images_to_settle(0.3, 0.4) == 28
    assert images_to_settle(-0.3, 0.4) == 28
    assert images_to_settle(0.3, 0.3) == math.ceil(27.03 / 0.31 * 0.21)


def test_a_p_value_is_corrected_for_the_number_of_tests() -> None:
    """Of several seeds, or of groups, nothing else corrects it: six tries would find one by luck."""
    rng = np.random.default_rng(3)
    changes = rng.choice([1.0, -1.0, 0.0], size=(4, 60), p=[0.45, 0.1, 0.45])
    groups = np.arange(60) // 2
    for members in (None, groups):
        one = crossed_interval(changes, DIFFERENCE, groups=members)
        six = crossed_interval(changes, DIFFERENCE, tests=6, groups=members)
        assert 0 < one.p_value < 1 / 6
        assert six.p_value == pytest.approx(6 * one.p_value)
        assert six.high - six.low > one.high - one.low
