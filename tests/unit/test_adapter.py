from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

import reference
from coder_clip.adapter import CoderAdapter, cache_logits
from coder_clip.errors import UserError

torch.set_num_threads(1)

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
Case = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, int]


def problem(
    seed: int, n_classes: int, shots: int, views: int, n_texts: int, dtype: torch.dtype
) -> Case:
    """Raw shots of unequal number, some equal to another, classes without one; texts, images,
    logits.
    """
    rng = np.random.default_rng(seed)
    cache = rng.normal(size=(max(views, 1), shots, 12)) * rng.choice(
        [0.3, 1, 20], size=(1, shots, 1)
    )
    if shots > 1 and rng.random() < 0.3:
        cache[:, 1] = cache[:, 0]
    if rng.random() < 0.15:
        cache[:] = cache[:, :1]
    labels = torch.tensor(rng.integers(0, n_classes, shots))
    texts = torch.tensor(rng.normal(size=(n_texts, 12)) * 2).to(dtype)
    if n_texts > 2 and rng.random() < 0.3:
        texts[1] = texts[0]
    x = torch.tensor(3 * rng.normal(size=(5, 12))).to(dtype)
    clip = torch.tensor(rng.normal(size=(5, n_classes)) * 5).float()
    features = torch.tensor(cache).to(dtype)
    return features if views else features[0], labels, texts, x, clip, n_classes


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.builds(
        problem,
        st.integers(0, 10**6),
        st.sampled_from([1, 2, 4]),
        st.sampled_from([1, 2, 9]),
        st.sampled_from([0, 1, 3]),
        st.sampled_from([1, 3, 40]),
        st.sampled_from(DTYPES),
    )
)
def test_affinity_and_logits_are_the_paper_s(case: Case) -> None:
    """Few-shot accuracy would be another method's."""
    cache, labels, texts, x, clip, n_classes = case
    a = CoderAdapter.fit(cache, labels, texts, n_classes=n_classes)
    near = a.affinity(x)
    expected, ranges = reference.affinity(
        x.double().numpy(), cache.double().numpy(), texts.double().numpy()
    )
    assert near.min() >= 0
    assert near.max() <= 1
    # scaling to [0, 1] divides the rounding of a cosine by the range of the row
    tolerance = 1e-5 + np.where(ranges < 1e-12, 0, 2e-6 / np.maximum(ranges, 1e-12))
    # the CODER of a shot that the texts hardly see is the quotient of two small numbers
    shots = cache.double().mean(dim=0) if cache.ndim == 3 else cache.double()
    seen = normalize(shots, dim=1) @ normalize(texts.double(), dim=1).T
    clear = (ranges > 1e-4) | ((ranges < 1e-12) & bool(seen.norm(dim=1).min() > 0.01))
    assert (np.abs(near.double().numpy() - expected).max(axis=1) <= tolerance)[clear].all()

    logits = a.logits(x, clip, alpha=1.7, beta=5.5).numpy()
    votes = reference.votes(near.double().numpy(), labels.tolist(), n_classes, 5.5)
    assert np.abs(logits - (clip.double().numpy() + 1.7 * votes)).max() < 1e-9


@pytest.mark.parametrize("dtype", DTYPES)
def test_constant_rows_become_ones(dtype: torch.dtype) -> None:
    """One shot, or equal shots, would give NaN or a class at random out of rounding."""
    torch.manual_seed(0)
    texts, x = torch.randn(50, 64).to(dtype), torch.randn(20, 64).to(dtype)
    shot = torch.randn(1, 64).to(dtype)
    for cache in (shot, shot.expand(7, -1)):
        a = CoderAdapter.fit(cache, torch.zeros(len(cache), dtype=torch.int64), texts, n_classes=2)
        assert (a.affinity(x) == 1).all()


def test_image_that_no_text_sees() -> None:
    """Its CODER is zero: every shot is as near as every other, whatever the rounding says."""
    torch.manual_seed(1)
    basis = torch.linalg.qr(torch.randn(16, 16)).Q
    texts = torch.randn(30, 8) @ basis[:8]
    a = CoderAdapter.fit(torch.randn(6, 16), torch.arange(6), texts, n_classes=6)
    assert (a.affinity(torch.randn(3, 8) @ basis[8:]) == 1).all()
    a = CoderAdapter.fit(
        basis[8:12], torch.arange(4), texts, n_classes=4
    )  # and shots that no text sees
    assert a.affinity(torch.randn(3, 16)).isfinite().all()


def test_close_shots_are_told_apart_in_float32() -> None:
    """CODERs of real features have cosines near 1; the published float32 form loses two digits
    there.
    """
    torch.manual_seed(2)
    common = 5 * torch.randn(64, dtype=torch.float64)
    texts = (common + torch.randn(200, 64)).float()
    cache, x = (
        (common + 0.5 * torch.randn(20, 64)).float(),
        (common + 0.5 * torch.randn(9, 64)).float(),
    )
    near = CoderAdapter.fit(cache, torch.arange(20), texts, n_classes=20).affinity(x)
    expected, ranges = reference.affinity(
        x.double().numpy(), cache.double().numpy(), texts.double().numpy()
    )
    assert ranges.min() < 0.01
    error = np.abs(near.double().numpy() - expected).max()
    assert error < 1e-5
    queries, keys = (torch.nn.functional.normalize(f @ texts.T, dim=1) for f in (x, cache))
    low, high = (cosines := queries @ keys.T).aminmax(dim=1, keepdim=True)
    published = (cosines - low) / (high - low)
    assert np.abs(published.double().numpy() - expected).max() > 20 * error, (
        "docs/method.md says how much"
    )


def test_logits_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images after the first block would get no votes."""
    cache, labels, texts, _, _, n_classes = problem(4, 4, 9, 1, 40, torch.float32)
    a = CoderAdapter.fit(cache, labels, texts, n_classes=n_classes)
    x, clip = torch.randn(23, 12), torch.randn(23, n_classes)
    whole = a.logits(x, clip, alpha=2, beta=3)
    for name, value in (("BLOCK", 40), ("FETCH", 70), ("KEEP", 0)):
        monkeypatch.setattr(f"coder_clip.search.cache_model.{name}", value)
        torch.testing.assert_close(
            cache_logits(a, x, clip, alpha=2, beta=3), whole, rtol=0, atol=1e-4
        )


def test_weights_take_no_more_room_than_shots() -> None:
    """16 shots of ImageNet with 20,000 texts would take gigabytes."""
    a = CoderAdapter.fit(torch.randn(6, 8), torch.arange(6), torch.randn(500, 8), n_classes=6)
    assert a.weights.shape == (6, 8)
    assert a.weights.dtype == torch.float32


@pytest.mark.parametrize(
    ("cache", "labels", "message"),
    [
        (torch.ones(2, 4), [0], "shot labels: shape"),
        (torch.ones(2, 4), [0, 3], "classes are 0 to 2"),
        (torch.ones(2, 4), [-1, 0], "classes are 0 to 2"),
        (torch.ones(2, 5), [0, 1], "shot features"),
        (torch.ones(2, 4) * float("nan"), [0, 1], "NaN"),
        (torch.ones(0, 4), [], "no shot"),
    ],
)
def test_bad_shots(cache: Tensor, labels: list[int], message: str) -> None:
    """Shots that do not fit their labels would give an adapter all the same."""
    with pytest.raises(UserError, match=message):
        CoderAdapter.fit(
            cache, torch.tensor(labels, dtype=torch.int64), torch.ones(3, 4), n_classes=3
        )


def test_shots_whose_labels_are_no_numbers_of_classes_and_texts_that_are_not_there() -> None:
    """0.9 would be class 0, and every affinity 1."""
    with pytest.raises(
        UserError, match=r"shot labels: torch\.float32 where whole numbers are needed"
    ):
        CoderAdapter.fit(torch.eye(2), torch.tensor([0.9, 1.0]), torch.eye(2), n_classes=2)
    with pytest.raises(UserError, match="no text; an adapter needs at least one"):
        CoderAdapter.fit(torch.eye(2), torch.arange(2), torch.ones(0, 2), n_classes=2)


def test_logits_of_other_images() -> None:
    a = CoderAdapter.fit(torch.eye(3), torch.arange(3), torch.eye(3), n_classes=3)
    with pytest.raises(UserError, match="clip_logits"):
        a.logits(torch.ones(2, 3), torch.ones(1, 3), alpha=1, beta=1)
    with pytest.raises(UserError, match="NaN"):
        a.logits(torch.ones(1, 3), torch.full((1, 3), float("nan")), alpha=1, beta=1)
