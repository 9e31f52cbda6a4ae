"""Arithmetic whose last bit is the same on every processor.

With any BLAS, number of threads and width of vectors.

Additions, products and quotients of float64 are rounded in the same way everywhere (IEEE 754), but
libraries add in different orders. Where no addition rounds, the order does not matter. So
everything that is multiplied is first rounded to a grid of GRID_BITS bits of its length: a product
of two numbers then has 50 bits, a partial sum of them is at most the product of the two lengths
(Cauchy and Schwarz), and a float64 holds 53. A plain matrix product is exact.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# of the rows that are multiplied: products have 2 · 25, and 3 are left for their sum
GRID_BITS = 25
# Bits, of a row's length, that stored float64 features of an encoder keep. Between PyTorch with
# AVX-512 and without vector instructions, numbers of `mini`'s image features differ by 2e-17 of
# the length in the mean, 2e-16 at most. They round differently only if a boundary of the grid is
# between them: with probability 2e-17 / 2⁻²⁰ = 2e-11 per number, once in 25,000 runs with two
# million numbers. A cosine moves by less than 1e-6.
STORED_BITS = 20
SMALLEST = 1e-150  # length that rows are divided by at least: its square is not 0


def exact_matmul(a: Tensor, b: Tensor) -> Tensor:
    """Inner products of rows a (N, d) and b (K, d) on the grid: (N, K) float64, exact.

    The rows come from ``neighbors.l2_normalize`` or ``on_grid``; for others it is a plain product.
    """
    return a.double() @ b.double().T


def on_grid(rows: Tensor, bits: int = GRID_BITS) -> Tensor:
    """Round rows (N, d) to a number of bits of their length.

    float64, multiples of 2^−bits × the power of two near the length.

    This power of two is from 0.7 to 1.4 of the length; for rows of length 1 it is 1.
    """
    rows = rows.double()
    # half a power of two down: rounded up below, it is from 0.7 to 1.4 of the length
    size = lengths(rows).clamp_min(SMALLEST) * 0.5**0.5
    # a power of two, exactly: size = mantissa × 2^exponent
    scale: Tensor = size / torch.frexp(size).mantissa
    return to_bits(rows / scale, bits) * scale


def to_bits(values: Tensor, bits: int) -> Tensor:
    """Round float64 values to multiples of 2^−bits."""
    return (values * 2.0**bits).round_().mul_(2.0**-bits)


def stored(rows: Tensor) -> Tensor:
    """Features (N, d) as stored: float32.

    float64 ones are first rounded to STORED_BITS of a row's length.
    """
    if rows.dtype == torch.float64:
        rows = on_grid(rows, STORED_BITS)
    return rows.float()


def lengths(rows: Tensor) -> Tensor:
    """Lengths of rows: (N, d) -> (N, 1) float64."""
    rows = rows.double()
    squares = ordered_sum(rows * rows)[:, None]
    # NumPy uses the processor's square root, which is rounded correctly; PyTorch uses MKL's, which
    # differs between processors
    return torch.from_numpy(np.sqrt(squares.cpu().numpy())).to(squares.device)


def ordered_sum(values: Tensor) -> Tensor:
    """Sum over the last axis, (…, n) -> (…), by adding halves.

    The order of additions is always the same.

    For numbers that are on no grid, such as squares; slower than a matrix product.
    """
    while (n := values.shape[-1]) > 1:
        half = n // 2
        folded = values[..., :half] + values[..., half : 2 * half]
        # the odd value at the end waits for the next round
        values = torch.cat([folded, values[..., 2 * half :]], dim=-1) if n % 2 else folded
    # an axis of length 0 has no value at index 0; its sum is 0
    return values[..., 0] if values.shape[-1] else values.sum(dim=-1)
