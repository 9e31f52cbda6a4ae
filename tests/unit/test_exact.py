"""Arithmetic that no library rounds in another way: any order of the sums gives the same bits."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coder_clip.foundation import exact
from coder_clip.neighbors import cholesky, gram, l2_normalize


def rows(n: int, d: int, seed: int, scale: float = 1.0) -> Tensor:
    drawn = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn * scale


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 300), st.integers(0, 99), st.floats(1e-6, 1e6))
@settings(deadline=None, max_examples=40)
def test_products_do_not_hang_on_the_order_of_sums(n: int, k: int, d: int, seed: int, scale: float) -> None:
    a, b = rows(n, d, seed, scale), rows(k, d, seed + 1)
    got = exact.inner(a, b)
    order = torch.randperm(d, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(got, exact.inner(a[:, order], b[:, order]))
    assert torch.equal(got[:1], exact.inner(a[:1], b))  # nor on the number of rows
    sizes = a.norm(dim=1)[:, None] * b.norm(dim=1)
    assert ((got - a @ b.T).abs() <= 1e-12 * sizes).all()


def test_plain_products_would_hang_on_it() -> None:
    a, b = rows(40, 300, 0), rows(40, 300, 1)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(a @ b.T, a[:, order] @ b[:, order].T)


def test_rows_of_float32_features_need_one_plain_product() -> None:
    x = l2_normalize(rows(30, 192, 0).float())
    assert torch.equal(exact.inner(x, x), x @ x.T)
    assert (x.norm(dim=1) - 1).abs().max() < 1e-7


@pytest.mark.parametrize("n", [0, 1, 2, 7, 8, 100])
def test_total_is_the_sum(n: int) -> None:
    values = rows(3, n, n)
    torch.testing.assert_close(exact.total(values), values.sum(dim=1), atol=1e-12, rtol=1e-12)


def test_exp_is_exp() -> None:
    x = torch.cat([-torch.logspace(-9, 2.8, 500, dtype=torch.float64), torch.linspace(0, 600, 100).double()])
    wanted = torch.tensor([math.exp(v) for v in x.tolist()], dtype=torch.float64)
    torch.testing.assert_close(exact.exp(x), wanted, atol=0, rtol=5e-16)
    assert exact.exp(torch.tensor([-1e9, -math.inf])).tolist() == [0.0, 0.0]


def test_what_two_processors_make_is_stored_as_one() -> None:
    """Differences of rounding disappear, also in rows of any length; direction and length stay."""
    made = rows(2000, 192, 3) * torch.logspace(-3, 3, 2000, dtype=torch.float64)[:, None]
    other = made * (1 + 1e-15 * rows(2000, 192, 4))
    assert not torch.equal(made, other)
    kept = exact.stored(made)
    assert torch.equal(kept, exact.stored(other))
    assert kept.dtype == torch.float32
    half = 0.5 ** (exact.KEPT + 1)  # of the grid, of a power of two at most 1 / 0.7 of the length
    assert ((kept - made).norm(dim=1) / made.norm(dim=1)).max() < half * math.sqrt(192) / 0.7
    assert torch.equal(exact.stored(made.float()), made.float())  # float32 encoders keep what they made


def test_a_factor_of_a_gram_matrix_of_any_rank() -> None:
    for texts in (rows(50, 12, 0), rows(5, 12, 1), torch.cat([rows(6, 12, 2)] * 3), torch.zeros(3, 12)):
        matrix = gram(l2_normalize(texts))
        factor = cholesky(matrix)
        assert factor.shape[1] == int(torch.linalg.matrix_rank(texts))
        torch.testing.assert_close(factor @ factor.T, matrix, atol=1e-12, rtol=0)
