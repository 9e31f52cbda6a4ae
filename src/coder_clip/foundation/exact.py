"""Arithmetic whose last bit is the same on every processor, with any BLAS, number of threads and width of vectors.

Additions, products, quotients and square roots of float64 are rounded in one way everywhere (IEEE 754). What differs
is the order in which a library adds, and the last bit of its exp. So sums here have a fixed order, products of matrices
are cut so that no order matters, and exp is made of exact steps. The cost is a few passes.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

PLACES = 25  # binary places of a row of length 1: products of two have 50, and a float64 holds 53
LOW = 47  # places of what is left after that
# Binary places, of a row's length, that float64 features of an encoder keep. Between PyTorch with AVX-512 and without
# any vectors, numbers of `mini`'s image features differ by 2e-17 of the length in the mean, 2e-16 at most. They are
# rounded in two ways only where a boundary of the grid lies between: 2e-17 / 2⁻²⁰ = 2e-11 a number, once in 25,000
# runs with two million of them. A cosine moves by less than 1e-6.
KEPT = 20


def total(values: Tensor) -> Tensor:
    """(…, n) -> (…) sum over the last axis, halves onto halves: one order of additions, whatever adds them."""
    while (n := values.shape[-1]) > 1:
        half = n // 2
        values = torch.cat(
            [values[..., :half] + values[..., half : 2 * half], values[..., 2 * half :]], dim=-1
        )
    return values[..., 0] if values.shape[-1] else values.sum(dim=-1)


def lengths(rows: Tensor) -> Tensor:
    """(N, d) -> (N, 1) float64 lengths."""
    rows = rows.double()
    return sqrt(total(rows * rows))[:, None]


def sqrt(x: Tensor) -> Tensor:
    """Square roots of float64, by the processor's instruction: PyTorch asks MKL, whose last bit hangs on it."""
    return torch.from_numpy(np.asarray(np.sqrt(x.cpu().numpy()))).to(x.device)


def to_places(values: Tensor, places: int) -> Tensor:
    """Float64 values, rounded to so many binary places."""
    return torch.round(values * 2.0**places) * 2.0**-places


def stored(rows: Tensor) -> Tensor:
    """Features (N, d) as they are stored: float32, and float64 ones first rounded to KEPT places of a row's length."""
    if rows.dtype != torch.float64:
        return rows.float()
    scale = _scale(rows)
    return (to_places(rows / scale, KEPT) * scale).float()


def inner(a: Tensor, b: Tensor) -> Tensor:
    """Rows a (N, d) and b (K, d) -> (N, K) float64 inner products, to about 14 digits of the rows' lengths.

    Each row is cut in two, of PLACES binary places and of the next. Numbers of so few places have sums of products
    that are exact in float64: no BLAS can round them (Ozaki et al. 2012, "Error-free transformations of matrix
    multiplication"). Rows that need one part only, as those of ``neighbors.unit``, cost one product.
    """
    high_a, low_a, scale_a = _cut(a)
    high_b, low_b, scale_b = _cut(b)
    out = high_a @ high_b.T
    if low_b is not None:
        out += high_a @ low_b.T
    if low_a is not None:
        out += low_a @ high_b.T
    return out if scale_a is scale_b is None else out * _or_one(scale_a) * _or_one(scale_b).T


def exp(x: Tensor) -> Tensor:
    """e to the x, float64, to a unit or so of the last place; x at most 700, below −700 it is 0."""
    x = x.double().clamp_min(-700.0)
    n = torch.round(x * (1 / math.log(2)))
    r = x - n * LN2_HIGH - n * LN2_LOW  # |r| < 0.35, and the first product is exact
    result = torch.ones_like(r)
    for k in range(14, 0, -1):  # Horner; products and sums are apart, so that none is fused
        result = result * r
        result = result / k
        result = result + 1
    return torch.where(x <= -700, 0.0, result * _power(n))


LN2_HIGH = 6.93147180369123816490e-01  # its last 21 bits are 0 (fdlibm, e_exp.c)
LN2_LOW = 1.90821492927058770002e-10


def _scale(rows: Tensor) -> Tensor:
    """(N, d) -> (N, 1) powers of two; rows over them have a length from 0.7 to 1.4, those near 1 keep theirs."""
    square = total(rows.double() * rows.double())
    exponent = torch.frexp(square).exponent
    return _power(torch.div(exponent, 2, rounding_mode="floor"))[:, None]


def _power(n: Tensor) -> Tensor:
    """2ⁿ, whole n from −1022 to 1023, from its bits: ``torch.ldexp`` asks a library's pow."""
    return ((n.long() + 1023) << 52).view(torch.float64)


def _cut(rows: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """High and low part, and scale; None where a part is 0, or all scales are 1."""
    rows = rows.double()
    scale = _scale(rows)
    one = bool((scale == 1).all())
    rows = rows if one else rows / scale
    high = to_places(rows, PLACES)
    low = to_places(rows - high, LOW)
    return high, low if bool(low.any()) else None, None if one else scale


def _or_one(scale: Tensor | None) -> Tensor:
    return torch.ones(1, 1, dtype=torch.float64) if scale is None else scale
