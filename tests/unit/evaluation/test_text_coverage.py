"""How much of the rerank's work had texts."""

from __future__ import annotations

import torch

from coder_clip.evaluation.text_coverage import coverage
from coder_clip.rerank import OneToOne


def pairs(*some: tuple[int, int]) -> OneToOne:
    """Texts on both sides of these pairs of five classes."""
    return OneToOne({p: torch.ones(1, 2) for a, b in some for p in ((a, b), (b, a))}, n_classes=5)


CLASSES = torch.tensor([[0, 1, 2], [2, 1, 0], [4, 3, 0], [1, 0, 4]])


def test_decisions_and_comparisons_are_counted_apart() -> None:
    """One text among ten pairs would pass for a decision made by texts."""
    found = coverage(CLASSES, pairs((0, 1), (1, 2), (0, 2)))
    assert found["decisions"] == {"all": 4, "every_pair": 2, "some": 1, "none": 1}
    assert found["comparisons"] == {"all": 12, "with_text": 7}
    assert found["coverage"] == 7 / 12
    # 01 02 12 34 03 04 14
    assert found["compared_pairs"] == {"different": 7, "with_text": 3}


def test_curve_says_what_a_budget_of_pairs_would_cover() -> None:
    """The budget is chosen by it: most frequent pairs first, a decision covered when its last pair
    is.
    """
    curve = {p["pairs"]: p for p in coverage(CLASSES, pairs())["coverage_curve"]}
    assert curve[1]["comparisons"] == 3 / 12  # 01, in three images
    assert curve[1]["decisions"] == 0
    assert (curve[3]["comparisons"], curve[3]["decisions"]) == (
        7 / 12,
        0,
    )  # and 02 and 04, in two each
    assert (curve[4]["comparisons"], curve[4]["decisions"]) == (
        9 / 12,
        2 / 4,
    )  # and 12: the first two images
    assert curve[7] == {"pairs": 7, "comparisons": 1.0, "decisions": 1.0}


def test_a_pair_with_texts_on_one_side_has_none() -> None:
    """Stage two leaves it out, so it decides nothing."""
    one_sided = OneToOne({(0, 1): torch.ones(1, 2)}, n_classes=5)
    assert coverage(CLASSES, one_sided)["comparisons"]["with_text"] == 0


def test_nothing_looked_at_covers_nothing() -> None:
    found = coverage(torch.zeros(0, 5, dtype=torch.int64), pairs((0, 1)))
    assert found["coverage"] is None
    assert found["decisions"] == {"all": 0, "every_pair": 0, "some": 0, "none": 0}
    assert found["coverage_curve"] == []


def test_a_single_class_has_no_pair() -> None:
    found = coverage(torch.zeros(3, 1, dtype=torch.int64), pairs())
    assert found["coverage"] is None
    assert found["decisions"] == {"all": 3, "every_pair": 0, "some": 0, "none": 3}
