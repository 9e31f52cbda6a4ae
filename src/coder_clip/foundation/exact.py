"""Arithmetic whose last bit is the same on every processor, with any BLAS, number of threads and width of vectors.

Additions, products, quotients and square roots of float64 are rounded in the same way everywhere (IEEE 754). Libraries
differ in the order of additions, and in the last bit of exp. So sums here have a fixed order, matrix products are cut
so that the order does not matter, and exp consists of exactly rounded steps. The cost is a few passes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

PLACES = 25  # binary places of a row of length 1: products of two have 50, and a float64 holds 53
LOW = 47  # binary places of the rest below them
# Binary places, of a row's length, that float64 features of an encoder keep. Between PyTorch with AVX-512 and without
# vector instructions, numbers of `mini`'s image features differ by 2e-17 of the length in the mean, 2e-16 at most. They
# round differently only if a boundary of the grid is between them: with probability 2e-17 / 2⁻²⁰ = 2e-11 per number,
# once in 25,000 runs with two million numbers. A cosine moves by less than 1e-6.
KEPT = 20


def total(values: Tensor) -> Tensor:
    """Sum over the last axis, (…, n) -> (…), by adding halves: the order of additions is always the same."""
    while (n := values.shape[-1]) > 1:
        half = n // 2
        folded = values[..., :half] + values[..., half : 2 * half]
        values = torch.cat([folded, values[..., 2 * half :]], dim=-1) if n % 2 else folded
    return values[..., 0] if values.shape[-1] else values.sum(dim=-1)


def lengths(rows: Tensor) -> Tensor:
    """Lengths of rows: (N, d) -> (N, 1) float64."""
    rows = rows.double()
    return sqrt(total(rows * rows))[:, None]


def sqrt(x: Tensor) -> Tensor:
    """Square roots of float64, by the processor's instruction; PyTorch uses MKL, whose last bit depends on it."""
    return torch.from_numpy(np.asarray(np.sqrt(x.cpu().numpy()))).to(x.device)


def to_places(values: Tensor, places: int) -> Tensor:
    """Round float64 values to a number of binary places."""
    return torch.round(values * 2.0**places) * 2.0**-places


def stored(rows: Tensor) -> Tensor:
    """Features (N, d) as stored: float32; float64 ones are first rounded to KEPT places of a row's length."""
    if rows.dtype != torch.float64:
        return rows.float()
    scale = _scale(rows)
    return (to_places(rows / scale, KEPT) * scale).float()


class Cut(NamedTuple):
    """Rows as ``inner`` needs them, for those who use the same rows many times: high + low, times scale (N, 1).

    low is None if all of it would be 0, scale if all of it would be 1.
    """

    high: Tensor
    low: Tensor | None
    scale: Tensor | None


def cut(rows: Tensor) -> Cut:
    """Cut rows (N, d) for ``inner``."""
    rows = rows.double()
    scale = _scale(rows)
    one = bool((scale == 1).all())
    rows = rows if one else rows / scale
    high = to_places(rows, PLACES)
    low = None if torch.equal(high, rows) else to_places(rows - high, LOW)
    return Cut(high, low, None if one else scale)


def inner(a: Tensor | Cut, b: Tensor | Cut) -> Tensor:
    """Inner products of rows a (N, d) and b (K, d): (N, K) float64, to about 14 digits of the rows' lengths.

    Each row is cut into two parts, of PLACES binary places and of the next ones. Sums of products of such short
    numbers are exact in float64, so that no BLAS rounds them (Ozaki et al. 2012, "Error-free transformations of
    matrix multiplication"). Rows with only one part, as those of ``neighbors.l2_normalize``, cost one product.
    """
    high_a, low_a, scale_a = a if isinstance(a, Cut) else cut(a)
    high_b, low_b, scale_b = b if isinstance(b, Cut) else cut(b)
    out = high_a @ high_b.T
    if low_b is not None:
        out += high_a @ low_b.T
    if low_a is not None:
        out += low_a @ high_b.T
    for scale in (scale_a, None if scale_b is None else scale_b.T):
        if scale is not None:
            out *= scale
    return out


def exp(x: Tensor) -> Tensor:
    """Exponential, float64, to about one unit of the last place; x at most 700, and 0 below −700."""
    x = x.double().clamp_min(-700.0)
    n = torch.round(x * (1 / math.log(2)))
    r = x - n * LN2_HIGH - n * LN2_LOW  # |r| < 0.35, and the first product is exact
    result = torch.ones_like(r)
    for k in range(14, 0, -1):  # Horner; products and sums are separate statements, so that none are fused
        result = result * r
        result = result / k
        result = result + 1
    return torch.where(x <= -700, 0.0, result * _power(n))


LN2_HIGH = 6.93147180369123816490e-01  # its last 21 bits are 0 (fdlibm, e_exp.c)
LN2_LOW = 1.90821492927058770002e-10


def _scale(rows: Tensor) -> Tensor:
    """Powers of two (N, 1) that divide rows (N, d) to a length from 0.7 to 1.4; 1 for rows near length 1."""
    square = total(rows.double() * rows.double())
    exponent = torch.frexp(square).exponent
    return _power(torch.div(exponent, 2, rounding_mode="floor"))[:, None]


def _power(n: Tensor) -> Tensor:
    """2ⁿ for whole n from −1022 to 1023, from its bits; ``torch.ldexp`` would use a library's pow."""
    return ((n.long() + 1023) << 52).view(torch.float64)
