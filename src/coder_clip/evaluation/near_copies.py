"""Images that are copies but for their bytes: scaled, or saved anew."""

from __future__ import annotations

import torch
from torch import Tensor

from ..foundation.exact import inner
from ..neighbors import CHUNK, l2_normalize

RATIO = 0.1  # distance to the nearest image, of that to the TENTH
TENTH = 10
MOST = 20_000  # images; more are not compared with each other


def near_copies(features: Tensor) -> list[tuple[int, int]]:
    """Pairs i < j of N images that are much nearer to each other than to their neighbourhood; features: (N, d).

    How near two different photos are depends on the encoder, so distances are compared with each other (the ratio test
    of Lowe, IJCV 2004): 1 − cosine to the nearest image against that to the tenth nearest. Of photos saved again or
    scaled about nine in ten are found, and about one in a hundred of the others is named, too (CIFAR-10, a small
    encoder). None for fewer than 12 images, or more than MOST.
    """
    n = len(features)
    if not TENTH + 2 <= n <= MOST:
        return []
    x = l2_normalize(features)
    found = set()
    for start in range(0, n, rows := max(1, CHUNK // n)):
        cosines = inner(x[start : start + rows], x)
        at = torch.arange(len(cosines))
        cosines[at, start + at] = -torch.inf
        best = cosines.topk(TENTH, dim=1)
        distance = 1 - best.values
        for i in (distance[:, 0] < RATIO * distance[:, -1]).nonzero()[:, 0].tolist():
            found.add(tuple(sorted((start + i, int(best.indices[i, 0])))))
    return sorted(found)  # type: ignore[arg-type]
