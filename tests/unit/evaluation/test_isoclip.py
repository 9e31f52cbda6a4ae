"""IsoCLIP beside the authors' formula on features before the projection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coder_clip.evaluation.isoclip import aligned, left_out
from tiny import local, save_tiny


def plainly(z: np.ndarray, w_i: np.ndarray, w_t: np.ndarray, first: int, last: int) -> np.ndarray:
    """Cosines of z (N, p) after the projection W_i U_k U_kᵀ, as in the paper."""
    u, s, _ = np.linalg.svd(w_i.T @ w_t, full_matrices=False)
    kept = u[:, first : len(s) - last]
    y = np.array([w_i @ (kept @ (kept.T @ row)) for row in z])
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    return np.asarray(y @ y.T)


def cosines(y: torch.Tensor) -> np.ndarray:
    unit = torch.nn.functional.normalize(y, dim=1)
    return (unit @ unit.T).numpy()


@given(st.integers(0, 10**6), st.sampled_from([(12, 20, 12), (12, 12, 30), (16, 13, 16)]))
def test_features_after_the_projection_are_enough(seed: int, sizes: tuple[int, int, int]) -> None:
    """Else the row would be of another method than the authors': theirs needs what enters it."""
    d, p, q = sizes
    rng = np.random.default_rng(seed)
    w_i, w_t, z = (rng.normal(size=size) for size in ((d, p), (d, q), (7, p)))
    first, last = left_out("mini", "", min(p, q))
    assert 0 < first < min(p, q) - last < min(p, q)
    x, *projections = (torch.from_numpy(a) for a in (z @ w_i.T, w_i, w_t))
    found = aligned(x, projections[0], projections[1], "mini", "")
    assert cosines(found) == pytest.approx(plainly(z, w_i, w_t, first, last), abs=1e-4)
    assert not np.allclose(cosines(found), cosines(x), atol=1e-3), "no direction was left out"


def test_published_numbers_of_directions() -> None:
    """README of simomagi/IsoCLIP; other settings would be another method under its name."""
    assert left_out("ViT-B-32", "openai", 512) == (150, 50)
    assert left_out("ViT-B-32-quickgelu", "openai", 512) == (150, 50)
    assert left_out("ViT-B-16", "openai", 512) == (200, 50)
    assert left_out("ViT-B-16-quickgelu", "openai", 512) == (200, 50)
    assert left_out("ViT-B-16", "datacomp_xl_s13b_b90k", 512) == (100, 100)
    assert left_out("ViT-B-32", "laion2b_s34b_b79k", 512) == (150, 50), "the share of 512"
    assert left_out("mini", "", 128) == (38, 12)


def test_an_encoder_s_own_projections(tmp_path: Path) -> None:
    """A transposed or wrong layer would give a row of some other map."""
    encoder = local(save_tiny(tmp_path / "tiny"), precision="fp64")
    projections = encoder.projections()
    assert projections is not None
    images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    x = encoder.encode_images(images)
    visual: Any = encoder.towers.model.visual
    proj, visual.proj = visual.proj, None
    z = encoder.encode_images(images)  # before the projection
    visual.proj = proj
    w_i, w_t = (w.numpy() for w in projections)
    assert (z @ projections[0].T).numpy() == pytest.approx(x.numpy(), abs=1e-9)
    found = aligned(x, *projections, "tiny", "")
    first, last = left_out("tiny", "", min(w_i.shape[1], w_t.shape[1]))
    assert cosines(found) == pytest.approx(plainly(z.numpy(), w_i, w_t, first, last), abs=1e-5)


def test_an_encoder_without_linear_projections_has_none(tmp_path: Path) -> None:
    """Its row would be of whatever parameter has the name."""
    encoder = local(save_tiny(tmp_path / "tiny"))
    encoder.towers.model.visual.proj = None  # type: ignore[union-attr,assignment]
    assert encoder.projections() is None
