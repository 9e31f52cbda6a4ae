"""Reasons add up: what each text adds to the winner is neither invented nor left out."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from coder_clip.errors import UserError
from coder_clip.evaluation.reasons import ScoringTexts, Term, for_and_against
from reference import grid_error


def plain_scores(
    image: list[float], texts: list[tuple[int, bool, list[float]]], n_classes: int
) -> list[float]:
    """Scores of one image in plain Python: loops over texts and numbers, in float64."""

    def cosine(a: list[float], b: list[float]) -> float:
        dot = math.fsum(p * q for p, q in zip(a, b, strict=True))
        return dot / math.sqrt(math.fsum(p * p for p in a)) / math.sqrt(math.fsum(q * q for q in b))

    scores = []
    for c in range(n_classes):
        means = [cosine(image, t) for owner, averaged, t in texts if owner == c and averaged]
        names = [cosine(image, t) for owner, averaged, t in texts if owner == c and not averaged]
        parts = means + ([max(names)] if names else [])
        scores.append(100 * math.fsum(parts) / len(parts))
    return scores


@st.composite
def problems(draw: st.DrawFn) -> tuple[ScoringTexts, torch.Tensor]:
    n_classes, width = draw(st.integers(1, 5)), draw(st.integers(2, 9))
    owner, averaged = [], []
    for c in range(n_classes):
        mean, names = draw(st.integers(0, 4)), draw(st.integers(0, 3))
        names = names or (mean == 0)  # at least one text
        owner += [c] * (mean + names)
        averaged += [True] * mean + [False] * names
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    features = torch.randn(len(owner), width, generator=generator, dtype=torch.float64)
    images = torch.randn(draw(st.integers(1, 4)), width, generator=generator, dtype=torch.float64)
    texts = ScoringTexts(features, torch.tensor(owner), torch.tensor(averaged), n_classes)
    return texts, images


@settings(max_examples=60, deadline=None)
@given(problems())
def test_terms_sum_to_the_difference_of_the_scores(
    problem: tuple[ScoringTexts, torch.Tensor],
) -> None:
    texts, images = problem
    cosines = texts.cosines(images)
    rows = list(
        zip(texts.owner.tolist(), texts.averaged.tolist(), texts.features.tolist(), strict=True)
    )
    expected = [plain_scores(image, rows, texts.n_classes) for image in images.tolist()]
    error = 100 * grid_error(texts.features.shape[1])
    assert texts.scores(cosines).tolist() == [pytest.approx(e, abs=error) for e in expected]

    expected = texts.scores(cosines).tolist()
    order = torch.tensor(expected).argsort(dim=1, descending=True)
    winners, others = order[:, 0], order[:, min(1, texts.n_classes - 1)]
    explained = texts.explain(cosines, winners, others)
    for scores, winner, other, terms in zip(
        expected, winners.tolist(), others.tolist(), explained, strict=True
    ):
        difference = scores[winner] - (scores[other] if other != winner else 0)
        assert math.fsum(t.adds for t in terms) == pytest.approx(difference, abs=1e-9)
        counted = [t.text for t in terms]
        assert len(set(counted)) == len(counted), "a text counts twice"
        assert {int(texts.owner[t]) for t in counted} == {winner, other}


def test_a_text_is_for_the_winner_where_it_fits_better_than_both_classes_do() -> None:
    """By hand: two classes of one mean text and a name each, in a plane."""
    x = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    degrees = {"cat": (10, 60), "dog": (40, 50)}  # of the attribute and the name
    features = torch.tensor(
        [
            [math.cos(math.radians(a)), math.sin(math.radians(a))]
            for of in degrees.values()
            for a in of
        ],
        dtype=torch.float64,
    )
    texts = ScoringTexts(features, torch.tensor([0, 0, 1, 1]), torch.tensor([True, False] * 2), 2)
    ((first, *_, last),) = texts.explain(texts.cosines(x), torch.tensor([0]), torch.tensor([1]))
    assert first.text == 0, "the attribute at 10 degrees speaks most for the cat"
    assert last.text == 1, "its own name, far away, speaks most against it"
    middle = sum(math.cos(math.radians(a)) for of in degrees.values() for a in of) / 4
    assert first.adds == pytest.approx(50 * (math.cos(math.radians(10)) - middle))


def test_the_strongest_come_first_on_both_sides() -> None:
    terms = [
        Term(0, 0.3, 2.0),
        Term(1, 0.3, 1.0),
        Term(2, 0.2, 0.0),
        Term(3, 0.2, -1.0),
        Term(4, 0.1, -3.0),
    ]
    assert [[t.text for t in side] for side in for_and_against(terms, 1)] == [[0], [4]]
    assert [[t.text for t in side] for side in for_and_against(terms, 9)] == [[0, 1], [4, 3]]


def test_a_class_without_a_text_is_refused() -> None:
    with pytest.raises(UserError, match="class 1 has no text"):
        ScoringTexts(torch.eye(2), torch.tensor([0, 0]), torch.tensor([True, True]), 2)
