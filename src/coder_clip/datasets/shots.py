"""Draw the training images that are the shots of a seed, in a module of its own, so that an edit of
a few-shot method does not encode images again.
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
    """Draw ``shots`` images per class without replacement.

    A class with too few images repeats them, in the order drawn.

    labels: (N,) of the training images. Returns (S,) row numbers: the first shot of every class
    that has an image, then the second of every class, and so on. So a draw of n shots is the
    beginning of a draw of more shots with the same seed. The shots of a class do not depend on the
    other classes.
    """
    label = np.asarray(labels, dtype=np.int64)
    rows = [np.flatnonzero(label == c) for c in range(n_classes)]
    # a generator per class: other classes do not change the shots of this one
    orders = [
        np.random.default_rng([seed, c]).permutation(of_class) for c, of_class in enumerate(rows)
    ]
    # one shot of every class before the next: fewer shots are the beginning of more
    drawn = [order[place % len(order)] for place in range(shots) for order in orders if len(order)]
    return np.array(drawn, dtype=np.int64)


def refuse_short(labels: NDArray[Any], classes: Sequence[str], shots: int) -> None:
    """UserError if a class has fewer training images than shots. labels: (N,), of these images."""
    counts = np.bincount(labels, minlength=len(classes))
    short = np.flatnonzero(counts < shots).tolist()
    if short:
        raise UserError(
            f"adapter.shots: {shots} shots, but class '{classes[short[0]]}' has {counts[short[0]]} "
            f"training images ({len(short)} such classes); ask for fewer, set "
            "adapter.repeat_shots: true, or few_shot: false for the data set"
        )
