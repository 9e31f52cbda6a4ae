from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

import reference
from coder_clip.errors import UserError
from coder_clip.neighbors import compute_dtype, l2_normalize
from coder_clip.phases.rerank import comparisons
from coder_clip.rerank import OneToOne, rerank, rerank_scores

torch.set_num_threads(1)

Pairs = dict[tuple[int, int], Tensor]


def problem(
    seed: int, n_classes: int, images: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Pairs, float, int]:
    """Images, scores close enough to hesitate, pairs of which some miss a side or both."""
    rng = np.random.default_rng(seed)
    texts = {}
    for a in range(n_classes):
        for b in range(n_classes):
            if a != b and rng.random() < 0.8:
                texts[a, b] = torch.tensor(3 * rng.normal(size=(int(rng.integers(0, 4)), 12))).to(
                    dtype
                )
    x = torch.tensor(2 * rng.normal(size=(images, 12))).to(dtype)
    scores = torch.tensor(rng.normal(size=(images, n_classes)) * rng.choice([0.0, 0.3, 2]))
    return x, scores.float(), texts, float(rng.choice([0, 0.1, 0.6, 2])), int(rng.choice([1, 2, 5]))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.builds(
        problem,
        st.integers(0, 10**6),
        st.sampled_from([1, 2, 4, 8]),
        st.sampled_from([1, 6]),
        st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    )
)
def test_reranks_as_the_paper(problem: tuple[Tensor, Tensor, Pairs, float, int]) -> None:
    """Images would be reranked that are not to be, or to another class."""
    x, scores, texts, threshold, top = problem
    o = OneToOne(texts, n_classes=scores.shape[1])
    predictions, looked_at = rerank(x, scores, o, threshold, top)
    both = rerank_scores(x, scores, o, top)
    plain = {pair: t.double().numpy() for pair, t in texts.items()}
    for i in range(len(x)):
        row = scores[i].double().numpy()
        gap = reference.gap(row)
        if gap == 0 or abs(gap - threshold) > 1e-5:
            assert bool(looked_at[i]) == (gap < threshold)
        classes = reference.candidates(row, min(top, len(row)))
        values = reference.duel_values(x[i].double().numpy(), classes, plain)
        assert np.abs(both.values[i].double().numpy() - values).max() < 1e-5
        best = int(np.argmax(values)) if looked_at[i] else 0
        others = np.delete(values, best)
        if not len(others) or values[best] - others.max() > 1e-5 or not np.any(values):
            assert int(predictions[i]) == classes[best]


@pytest.mark.parametrize("ahead", [0.0, 1e-12, 1e-6, 1e-5, 1e-2])
@pytest.mark.parametrize("favoured", [0, 1])
def test_candidates_next_to_each_other_are_told_apart(ahead: float, favoured: int) -> None:
    """Rounding would pick a candidate that is behind; one that is not ahead on the grid ties with
    the other.
    """
    rng = np.random.default_rng(favoured)
    x, better, worse, same = torch.tensor(rng.normal(size=(4, 1, 64)))
    x *= (
        (l2_normalize(better) - l2_normalize(worse)) @ x.T
    ).sign()  # 0 and 1 are even, 2 is behind
    texts = {
        (0, 1): same,
        (1, 0): same,
        (0, 2): better,
        (1, 2): better,
        (2, 0): worse,
        (2, 1): worse,
    }
    texts[favoured, 2] = better + ahead * x
    o, scores = OneToOne(texts, n_classes=3), torch.zeros(1, 3)
    assert rerank_scores(x, scores, o).stage_two.tolist() == [favoured if ahead > 1e-9 else 0]
    assert rerank(x, scores, o)[0].tolist() == [favoured if ahead > 1e-9 else 0]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.integers(0, 10**6),
    st.sampled_from([torch.float32, torch.float64]),
    st.sampled_from([0.0, 1e-42, 1e-30, 1e-16, 1e-6, 1.0, 1e6, 1e20, 1e37, 1e200]),
)
def test_features_of_any_length_pick_the_same(seed: int, dtype: torch.dtype, length: float) -> None:
    """Squares of tiny numbers are 0, and of huge ones infinite."""
    x, _, texts, _, _ = problem(seed, 6, 20, dtype)
    o, scores = OneToOne(texts, 6), torch.rand(20, 6, generator=torch.Generator().manual_seed(seed))
    long = (x * length).clamp(-1e38, 1e38) if dtype == torch.float32 else x * length
    both, expected = rerank_scores(long, scores, o), rerank_scores(x, scores, o)
    if 1e-40 < length < 1e150:  # else float32 has few digits left, or float64 no square
        torch.testing.assert_close(
            both.values, expected.values, rtol=0, atol=2 * reference.grid_error(12)
        )
    assert both.values.isfinite().all()
    if length == 0:
        assert torch.equal(both.stage_two, both.stage_one)


@pytest.mark.parametrize(
    ("both_ways", "one_way", "classes", "expected"),
    [
        ([(0, 1), (1, 2), (0, 2)], [], [[0, 1, 2], [2, 1, 0], [4, 3, 0], [1, 0, 4]], (12, 7)),
        ([], [(0, 1)], [[0, 1, 2]], (3, 0)),
        ([(0, 1)], [], [[0], [1]], (0, 0)),
    ],
    ids=["some pairs have texts", "texts on one side decide nothing", "one class"],
)
def test_comparisons_with_texts_are_counted(
    both_ways: list[tuple[int, int]],
    one_way: list[tuple[int, int]],
    classes: list[list[int]],
    expected: tuple[int, int],
) -> None:
    """A rerank without texts for what it compares would not be told from one that works."""
    sides = [*both_ways, *((b, a) for a, b in both_ways), *one_way]
    o = OneToOne({pair: torch.ones(1, 2) for pair in sides}, n_classes=5)
    counts = comparisons(torch.tensor(classes), o)
    assert (counts["all"], counts["with_text"]) == expected


def test_one_sided_pair_counts_nothing() -> None:
    """A class would win because someone wrote a text for it."""
    x = torch.tensor([[1.0, 0.0]])
    scores = torch.tensor([[0.01, 0.0]])
    o = OneToOne({(1, 0): x}, n_classes=2)
    assert len(o) == 0
    predictions, looked_at = rerank(x, scores, o, threshold=0.5)
    assert (predictions.tolist(), looked_at.tolist()) == ([0], [True])


def test_texts_of_one_side_alone_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """The rerank would do nothing, and say that it looked at images."""
    one = torch.eye(3)[:1]
    assert len(OneToOne({(0, 1): one}, n_classes=3)) == 0
    assert "no pair has both sides" in caplog.text
    caplog.clear()
    assert len(OneToOne({(0, 1): one, (1, 0): one, (0, 2): one}, n_classes=3)) == 1
    assert len(OneToOne({}, n_classes=3)) == 0
    assert not caplog.text


def test_one_image_one_class_no_image() -> None:
    """The published code raises on a single image inside the gate and on fewer than five classes."""
    one = OneToOne({}, 1)
    assert rerank(torch.ones(1, 3), torch.zeros(1, 1), one)[0].tolist() == [0]
    assert rerank(torch.ones(0, 3), torch.zeros(0, 1), one)[0].tolist() == []


def test_pairs_are_stored_once() -> None:
    texts = {(a, b): torch.randn(2, 4) for a in range(5) for b in range(5) if a != b}
    assert OneToOne(texts, 5).differences.shape == (10, 4)


def test_blocks_of_pairs_and_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs whose texts are scaled in a later block would count as missing."""
    x, scores, texts, _, _ = problem(1, 8, 6, torch.float64)
    whole = rerank_scores(x, scores, OneToOne(texts, 8)).values
    monkeypatch.setattr("coder_clip.neighbors.BLOCK", 100)
    monkeypatch.setattr("coder_clip.rerank.CHUNK", 300)
    torch.testing.assert_close(
        rerank_scores(x, scores, OneToOne(texts, 8)).values, whole, rtol=0, atol=1e-12
    )


def test_each_text_is_looked_at_a_few_times_however_many_pairs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Time would grow with the square of the pairs: minutes for the 20,000 of ImageNet, where
    seconds are enough.
    """
    looked_at = 0

    def counted(*features: Tensor) -> torch.dtype:
        nonlocal looked_at
        looked_at += len(features)
        return compute_dtype(*features)

    monkeypatch.setattr("coder_clip.rerank.compute_dtype", counted)
    for n in (20, 80):
        looked_at = 0
        pairs = [pair for b in range(1, n + 1) for pair in ((0, b), (b, 0))]
        OneToOne({pair: torch.randn(2, 4) for pair in pairs}, n_classes=n + 1)
        assert len(pairs) <= looked_at <= 3 * len(pairs)


def test_state_survives_a_file(tmp_path: Path) -> None:
    x, scores, texts, _, _ = problem(2, 8, 6, torch.float32)
    o = OneToOne(texts, 8)
    save_file(o.state(), tmp_path / "pairs.safetensors")
    again = OneToOne.from_state(load_file(tmp_path / "pairs.safetensors"))
    assert torch.equal(rerank_scores(x, scores, again).values, rerank_scores(x, scores, o).values)
    empty = OneToOne.from_state(OneToOne({}, 3).state())
    assert rerank(torch.ones(1, 4), torch.zeros(1, 3), empty)[0].tolist() == [0]
    with pytest.raises(UserError, match="'pairs' is missing"):
        OneToOne.from_state({"differences": torch.zeros(0, 0), "n_classes": torch.tensor([3])})


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({(0, 3): torch.ones(1, 4)}, "classes are 0 to 2"),
        ({(1, 1): torch.ones(1, 4)}, "classes must differ"),
        ({(0, 1): torch.ones(1, 4), (1, 0): torch.ones(1, 5)}, "texts of 0 and 1"),
        (
            {(0, 1): torch.ones(1, 4), (1, 0): torch.ones(1, 4) * float("nan")},
            "texts of 0 and 1: NaN",
        ),
    ],
)
def test_bad_pairs(texts: Pairs, message: str) -> None:
    """Pair texts that do not fit together would rerank all the same."""
    with pytest.raises(UserError, match=message):
        OneToOne(texts, n_classes=3)


def test_scores_of_another_data_set() -> None:
    with pytest.raises(UserError, match="where"):
        rerank(torch.ones(2, 4), torch.zeros(2, 5), OneToOne({}, 3))


def test_a_threshold_that_is_not_a_number() -> None:
    """Nothing would be reranked, without a word."""
    with pytest.raises(UserError, match="the threshold is NaN"):
        rerank(torch.ones(2, 4), torch.zeros(2, 3), OneToOne({}, 3), threshold=float("nan"))
