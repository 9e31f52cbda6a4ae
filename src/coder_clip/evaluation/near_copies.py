"""Find images that are copies of each other with other bytes: scaled, or saved again."""

from __future__ import annotations

import torch
from torch import Tensor

from ..foundation.reproducible import exact_matmul
from ..neighbors import CHUNK, l2_normalize

RATIO = 0.1  # of the distances to the nearest image and to the TENTH
TENTH = 10
MOST = 20_000  # images; more would take too long to compare


def near_copies(features: Tensor) -> list[tuple[int, int]]:
    """Pairs i < j of N images that are much nearer to each other than to their neighbourhood; features: (N, d).

    The distance of two different photos depends on the encoder, so distances are compared with each other (the ratio
    test of Lowe, IJCV 2004): 1 − cosine to the nearest image, and to the tenth nearest. This finds about nine in ten
    photos that were saved again or scaled, and also about one in a hundred others (CIFAR-10, a small encoder). No pairs
    for fewer than 12 images, or more than MOST.
    """
    n = len(features)
    if not TENTH + 2 <= n <= MOST:
        return []
    x = l2_normalize(features)
    pairs = set()
    for start in range(0, n, rows := max(1, CHUNK // n)):
        cosines = exact_matmul(x[start : start + rows], x)
        at = torch.arange(len(cosines))
        cosines[at, start + at] = -torch.inf
        best = cosines.topk(TENTH, dim=1)
        distance = 1 - best.values
        for i in (distance[:, 0] < RATIO * distance[:, -1]).nonzero()[:, 0].tolist():
            pairs.add(tuple(sorted((start + i, int(best.indices[i, 0])))))
    return sorted(pairs)  # type: ignore[arg-type]
