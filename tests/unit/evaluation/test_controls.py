"""Controls of CODER beside plain NumPy: a control that is another one than its name says would
decide whether texts are needed.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import plain_controls as plain
from coder_clip.evaluation.controls import (
    STRENGTHS,
    Whitening,
    random_directions,
    some_rows,
    together,
)


def rows(n: int, width: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, width))).float() + 0.3


def products(features: np.ndarray) -> np.ndarray:
    """Cosines of all pairs."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(unit @ unit.T)


@given(st.sampled_from(STRENGTHS), st.integers(3, 40), st.integers(0, 99))
def test_whitening_is_the_power_of_the_shrunk_covariance(
    strength: float, n: int, seed: int
) -> None:
    val, x = rows(n, 6, seed), rows(9, 6, seed + 1)
    found = Whitening.of(val)(x, strength).numpy()
    expected = plain.whitened(x.numpy(), val.numpy(), strength)
    assert products(found) == pytest.approx(products(expected), abs=1e-5)


def test_full_whitening_leaves_no_direction_longer_than_another() -> None:
    val = rows(4000, 5, 3) * torch.tensor([9.0, 3.0, 1.0, 0.5, 0.2])
    white = Whitening.of(val)(val, 1.0).numpy()
    spread = np.linalg.eigvalsh(np.cov(white.T))
    centred = np.linalg.eigvalsh(np.cov(Whitening.of(val)(val, 0.0).numpy().T))
    assert spread.max() / spread.min() < 2
    assert centred.max() / centred.min() > 20


def test_validation_images_choose_the_strength_and_the_weakest_of_equal_ones() -> None:
    rng = np.random.default_rng(5)
    labels = np.arange(200) % 4
    # a loud direction without information hides a quiet one that tells the classes apart
    quiet = np.eye(4)[labels] + 0.15 * rng.normal(size=(200, 4))
    loud = 30 * rng.normal(size=(200, 2))
    val = torch.from_numpy(np.concatenate([quiet, loud], axis=1)).float()
    chosen = Whitening.of(val).strongest(val, labels, 5)
    assert chosen == plain.strongest(val.numpy(), labels, 5, None)
    assert chosen > 0
    apart = torch.from_numpy(np.eye(4)[labels]).float()
    assert Whitening.of(apart).strongest(apart, labels, 5) == 0, "all strengths are right"


def test_twins_do_not_choose_the_strength() -> None:
    """A burst's frames are each other's neighbours at any strength, so they say nothing."""
    rng = np.random.default_rng(6)
    scene = np.arange(120) // 2  # two frames each
    labels = scene % 4
    quiet = np.eye(4)[labels] + 0.15 * rng.normal(size=(60, 4))[scene]
    loud = 30 * rng.normal(size=(60, 2))[scene]
    frames = np.concatenate([quiet, loud], axis=1) + 1e-3 * rng.normal(size=(120, 6))
    val, groups = torch.from_numpy(frames).float(), torch.from_numpy(scene)
    whitening = Whitening.of(val)
    assert whitening.strongest(val, labels, 1) == 0, "each frame finds the other one"
    chosen = whitening.strongest(val, labels, 1, groups)
    assert chosen == plain.strongest(val.numpy(), labels, 1, groups.numpy())
    assert chosen > 0


def test_draws_are_those_of_plain_numpy_and_all_rows_if_there_are_no_more() -> None:
    some = rows(30, 4, 2)
    assert some_rows(some, 7, 5).numpy() == pytest.approx(plain.draw(some.numpy(), 7, 5))
    assert len({tuple(r) for r in some_rows(some, 7, 5).tolist()}) == 7
    assert some_rows(some, 30, 5) is some
    expected = np.random.default_rng(4).standard_normal((3, 6))
    assert random_directions(3, 6, 4).numpy() == pytest.approx(expected)
    assert together([some[:3], 9 * some[3:]]).numpy() == pytest.approx(plain.unit(some.numpy()))
