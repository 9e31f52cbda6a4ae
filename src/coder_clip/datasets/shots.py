"""Draw the training images that are the shots of a seed.

In a module of its own, so that an edit of a few-shot method does not encode images again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


def draw_shots(
    labels: NDArray[Any] | Tensor | Sequence[int], shots: int, seed: int, n_classes: int
) -> NDArray[np.int64]:
    """Draw ``shots`` images per class without replacement; with too few, all of them and then
    repeats.

    labels: (N,) of the training images. Returns (S,) rows, the first shot of every class that has
    an image, then the second, and so on. The draw for n shots is the beginning of the draw for more
    with the same seed, and a class's shots do not depend on the other classes. Repeats start over
    in the order drawn."""
    owner = np.asarray(labels, dtype=np.int64)
    rows = [np.flatnonzero(owner == c) for c in range(n_classes)]
    # a generator per class: other classes do not change the shots of this one
    orders = [
        np.random.default_rng([seed, c]).permutation(of_class) for c, of_class in enumerate(rows)
    ]
    # one shot of every class before the next: fewer shots are the beginning of more
    drawn = [order[place % len(order)] for place in range(shots) for order in orders if len(order)]
    return np.array(drawn, dtype=np.int64)


def refuse_short(labels: NDArray[Any], classes: Sequence[str], shots: int) -> None:
    """Refuse, with a UserError, classes with fewer training images, labels (N,), than shots."""
    counts = np.bincount(labels, minlength=len(classes))
    short = np.flatnonzero(counts < shots).tolist()
    if short:
        raise UserError(
            f"adapter.shots: {shots} shots, but class '{classes[short[0]]}' has "
            f"{counts[short[0]]} training images "
            f"({len(short)} such classes); ask for fewer or set adapter.repeat_shots: true"
        )
