"""Which training images are the shots of a seed.

Apart from the methods that use them, so that an edit of a method does not encode images again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


class Shots(NamedTuple):
    """indices: (S,) rows of the drawn images, the first shot of every class, then the second, and so on.
    repeated: classes with fewer images than shots; missing: classes without an image, which get no shot."""

    indices: NDArray[np.int64]
    repeated: list[int]
    missing: list[int]


def draw_shots(labels: NDArray[Any] | Tensor | Sequence[int], shots: int, seed: int, n_classes: int) -> Shots:
    """Draw ``shots`` images a class without replacement; with too few, all of them and then repeats.

    labels: (N,) of the training images. The draw for n shots is the beginning of the draw for more with the
    same seed, and a class's shots do not depend on the other classes. Repeats start over in the order drawn.
    ValueError for fewer than one shot.
    """
    if shots < 1:
        raise ValueError(f"at least one shot is needed, not {shots}")
    owner = np.asarray(labels, dtype=np.int64)
    rows = [np.flatnonzero(owner == c) for c in range(n_classes)]
    orders = [np.random.default_rng([seed, c]).permutation(of_class) for c, of_class in enumerate(rows)]
    drawn = [order[place % len(order)] for place in range(shots) for order in orders if len(order)]
    return Shots(
        indices=np.array(drawn, dtype=np.int64),
        repeated=[c for c, order in enumerate(orders) if 0 < len(order) < shots],
        missing=[c for c, order in enumerate(orders) if not len(order)],
    )


def refuse_short(labels: NDArray[Any], classes: Sequence[str], shots: int) -> None:
    """UserError where a class has fewer training images, labels (N,), than shots."""
    counts = np.bincount(labels, minlength=len(classes))
    if short := np.flatnonzero(counts < shots).tolist():
        raise UserError(
            f"adapter.shots: {shots} shots, but class '{classes[short[0]]}' has {counts[short[0]]} training images "
            f"({len(short)} such classes); ask for fewer or set adapter.repeat_shots: true"
        )
