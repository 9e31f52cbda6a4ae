"""Arithmetic that no library rounds in another way: products of rows on the grid are exact,
whatever the order of sums.

The truth is integer arithmetic: a row on the grid, times 2^GRID_BITS, is whole.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coder_clip.foundation import reproducible
from coder_clip.foundation.reproducible import GRID_BITS, exact_matmul, on_grid, ordered_sum
from coder_clip.neighbors import TextNeighbors, cholesky, gram, l2_normalize
from coder_clip.rerank import OneToOne, rerank_scores
from coder_clip.zero_shot import predict, softmax_gap

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def rows(n: int, d: int, seed: int, scale: float = 1.0) -> Tensor:
    drawn = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return drawn * scale


def peaked(n: int, d: int, seed: int) -> Tensor:
    """Rows of very unequal numbers, equal numbers, and nothing but zeros: what makes sums largest
    and smallest.
    """
    drawn = rows(n, d, seed) ** 9
    drawn[::3] = torch.tensor([1.0, -1.0]).repeat(d)[:d].double()
    drawn[1::4] = 0
    return drawn


def fractions(matrix: Tensor) -> list[list[Fraction]]:
    return [[Fraction(v) for v in row] for row in matrix.tolist()]


def true_product(a: Tensor, b: Tensor) -> list[list[Fraction]]:
    """Inner products of the rows without any rounding."""
    return [
        [sum((x * y for x, y in zip(u, v, strict=True)), Fraction(0)) for v in fractions(b)]
        for u in fractions(a)
    ]


matrices = st.builds(
    lambda make, n, d, seed, scale, dtype: (make(n, d, seed) * scale).to(dtype),
    st.sampled_from([rows, peaked]),
    st.integers(1, 4),
    st.just(20),
    st.integers(0, 10**6),
    st.sampled_from([1e-44, 1e-30, 1e-3, 1.0, 1e4]),  # 1e-44: the denormal numbers of float32
    st.sampled_from(DTYPES),
)


@given(matrices, matrices)
@settings(deadline=None, max_examples=30)
def test_products_of_unit_rows_are_exact(a: Tensor, b: Tensor) -> None:
    """A rounded sum would depend on the order of additions, and so on the processor."""
    a, b = l2_normalize(a.nan_to_num(0, 1, -1)), l2_normalize(b.nan_to_num(0, 1, -1))
    assert fractions(exact_matmul(a, b)) == true_product(a, b)


@given(matrices, matrices, st.integers(1, 2000))
@settings(deadline=None, max_examples=30)
def test_products_of_rows_of_any_length_on_the_grid_are_exact(a: Tensor, b: Tensor, n: int) -> None:
    """Class means, differences and factors are shorter or longer than 1."""
    a = l2_normalize(a.nan_to_num(0, 1, -1))
    b = on_grid(l2_normalize(b.nan_to_num(0, 1, -1)) * (n / 7))
    assert fractions(exact_matmul(a, b)) == true_product(a, b)
    order = torch.randperm(a.shape[1], generator=torch.Generator().manual_seed(n))
    assert torch.equal(exact_matmul(a, b), exact_matmul(a[:, order], b[:, order]))
    assert torch.equal(exact_matmul(a, b)[:1], exact_matmul(a[:1], b))  # nor on the number of rows


def test_products_of_other_rows_would_depend_on_the_order() -> None:
    a, b = rows(40, 300, 0), rows(40, 300, 1)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(exact_matmul(a, b), exact_matmul(a[:, order], b[:, order]))


@given(matrices)
@settings(deadline=None, max_examples=30)
def test_the_grid_moves_a_row_by_its_last_bits(x: Tensor) -> None:
    x = x.nan_to_num(0, 1, -1).double()
    moved, size = on_grid(x), x.norm(dim=1, keepdim=True)
    assert ((moved - x).abs() <= size * 2.0 ** -(GRID_BITS + 1) * 2**0.5).all()
    assert torch.equal(on_grid(moved), moved) or bool(((moved.norm(dim=1) / size[:, 0]) != 1).any())
    unit = l2_normalize(x)
    assert torch.equal(unit * 2.0**GRID_BITS, (unit * 2.0**GRID_BITS).round())
    long = size[:, 0] > 1e-140
    assert ((unit.norm(dim=1)[long] - 1).abs() <= math.sqrt(x.shape[1]) * 2.0**-26).all()
    assert not unit[size[:, 0] == 0].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_classes_of_two_thousand_texts_tie_and_are_exact(dtype: torch.dtype) -> None:
    """ImageNet has two classes of the same texts: the order of the texts, or the column, must not
    decide.
    """
    texts = rows(2000, 24, 1).to(dtype)
    names = rows(3, 24, 2).to(dtype)
    shuffled = texts[torch.randperm(2000, generator=torch.Generator().manual_seed(0))]
    others = [rows(5, 24, 3).to(dtype), rows(1, 24, 4).to(dtype)]
    neighbors = TextNeighbors([texts, others[0], shuffled], [names, others[1], names.flip(0)])
    x = torch.cat([rows(50, 24, 5).to(dtype), texts[:2], torch.zeros(1, 24, dtype=dtype)])
    scores = neighbors.class_scores(x)
    assert torch.equal(scores[:, 0], scores[:, 2])
    assert not (predict(scores) == 2).any()
    unit = l2_normalize(x)
    means = [on_grid(level) for level in neighbors._levels]
    assert all(
        torch.equal(mean, level) for mean, level in zip(means, neighbors._levels, strict=True)
    )
    for level in neighbors._levels:
        assert fractions(exact_matmul(unit[:5], level)) == true_product(unit[:5], level)


def test_gram_matrices_of_many_texts_are_exact() -> None:
    """All texts in one direction make the largest sums; the last texts are in a block of their own."""
    for texts in (
        l2_normalize(rows(5000, 7, 0)),
        l2_normalize(torch.ones(5000, 7)),
        l2_normalize(peaked(4100, 5, 1)),
    ):
        whole = (texts * 2.0**GRID_BITS).long().numpy().astype(object)
        truth = whole.T @ whole
        found = gram(texts)
        size = math.log2(float(np.abs(truth).max()))
        for i, row in enumerate(found.tolist()):
            for j, value in enumerate(row):
                # exact but for the last additions of four sums and two blocks, which are always in
                # the same order
                assert abs(Fraction(value) * 2 ** (2 * GRID_BITS) - truth[i][j]) <= 2 ** max(
                    0.0, size - 50
                )
        order = torch.randperm(4096, generator=torch.Generator().manual_seed(1))
        assert torch.equal(gram(texts[:4096]), gram(texts[:4096][order]))


def test_a_factor_of_a_gram_matrix_of_any_rank() -> None:
    for texts in (
        rows(50, 12, 0),
        rows(5, 12, 1),
        torch.cat([rows(6, 12, 2)] * 3),
        torch.zeros(3, 12),
        torch.ones(50, 12) + 1e-4 * rows(50, 12, 3),  # as close as texts of one class are
    ):
        matrix = gram(l2_normalize(texts))
        factor = cholesky(matrix)
        assert factor.shape[1] == int(torch.linalg.matrix_rank(texts))
        torch.testing.assert_close(factor @ factor.T, matrix, atol=1e-12, rtol=0)


@given(st.integers(0, 10**6), st.sampled_from([3, 5]))
@settings(deadline=None, max_examples=20)
def test_the_rerank_is_exact(seed: int, k: int) -> None:
    """v of up to five candidates is a rounding away from the truth, and its order from nothing."""
    drawn, d = np.random.default_rng(seed), 40
    texts = {
        (a, b): rows(int(drawn.integers(1, 4)), d, seed + 50 * a + b)
        for a in range(7)
        for b in range(7)
        if a != b
    }
    o, x = OneToOne(texts, 7), l2_normalize(rows(4, d, seed))
    classes = torch.stack(
        [torch.randperm(7, generator=torch.Generator().manual_seed(seed + i))[:k] for i in range(4)]
    )
    values = o.compare(x, classes)
    difference = {
        pair: o.differences[i].double() for i, pair in enumerate(map(tuple, o.pairs.tolist()))
    }
    for image, candidates, row in zip(x, classes.tolist(), values.tolist(), strict=True):
        for a, value in zip(candidates, row, strict=True):
            total = sum(
                (1 if a < b else -1)
                * true_product(image[None], difference[min(a, b), max(a, b)][None])[0][0]
                for b in candidates
                if b != a
            )
            assert value == float(total) / (k - 1)
    order = torch.randperm(d, generator=torch.Generator().manual_seed(seed))
    again = OneToOne.from_state({**o.state(), "differences": o.differences[:, order].contiguous()})
    assert torch.equal(again.compare(x[:, order], classes), values)
    assert torch.equal(o.compare(x, classes.flip(1)), values.flip(1))


@given(st.integers(0, 10**6), st.integers(2, 40), st.sampled_from([torch.float32, torch.float64]))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_a_margin_does_not_depend_on_the_order_of_its_sum(
    seed: int, n_classes: int, dtype: torch.dtype
) -> None:
    """Another processor would rerank other images."""
    scores = rows(5, n_classes, seed, 2.0).to(dtype)
    scores[0, :2] = 10  # two best classes
    scores[1] *= 1e4
    margins = softmax_gap(scores)
    order = torch.randperm(n_classes, generator=torch.Generator().manual_seed(seed))
    assert torch.equal(margins, softmax_gap(scores[:, order]))
    assert margins[0] == 0
    for margin, row in zip(margins.tolist(), scores.double().tolist(), strict=True):
        best = sorted((math.exp(s - max(row)) for s in row), reverse=True)
        assert margin == pytest.approx((best[0] - best[1]) / math.fsum(best), abs=1.1e-12)


def test_equal_candidates_keep_the_order_of_stage_one() -> None:
    """Two classes with the same one-to-one texts: the order of the pairs must not decide."""
    same, theirs = rows(3, 16, 1), rows(3, 16, 2)
    texts = {(a, b): same if a < 2 else theirs for a in range(4) for b in range(4) if a != b}
    scores = torch.tensor([[1.0, 1.1, 0.9, 0.8]])
    for seed in range(20):
        both = rerank_scores(rows(1, 16, seed), scores, OneToOne(texts, 4))
        first, second = both.values[0, :2].tolist()
        assert first == second
        assert both.stage_two.item() != 0


@pytest.mark.parametrize("n", [0, 1, 2, 7, 8, 100])
def test_an_ordered_sum_is_the_sum(n: int) -> None:
    values = rows(3, n, n)
    torch.testing.assert_close(ordered_sum(values), values.sum(dim=1), atol=1e-12, rtol=1e-12)


def test_what_two_processors_make_is_stored_as_one() -> None:
    """Differences of rounding disappear, also in rows of any length; direction and length stay."""
    made = rows(2000, 192, 3) * torch.logspace(-3, 3, 2000, dtype=torch.float64)[:, None]
    other = made * (1 + 1e-15 * rows(2000, 192, 4))
    assert not torch.equal(made, other)
    kept = reproducible.stored(made)
    assert torch.equal(kept, reproducible.stored(other))
    assert kept.dtype == torch.float32
    half = 0.5 ** (
        reproducible.STORED_BITS + 1
    )  # of the grid, of a power of two at most 1 / 0.7 of the length
    assert ((kept - made).norm(dim=1) / made.norm(dim=1)).max() < half * math.sqrt(192) / 0.7
    assert torch.equal(
        reproducible.stored(made.float()), made.float()
    )  # float32 encoders keep what they made
