"""Pairs of photos that are nearly the same: copies, scaled or saved again, or shots of one scene."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..foundation.reproducible import exact_matmul
from ..neighbors import l2_normalize

ROWS = 1024  # photos that are compared with all others at a time


class Pair(NamedTuple):
    """Two photos, by position, and the cosine of their features."""

    first: int
    second: int
    cosine: float


def most_alike(features: Tensor, labels: Tensor | None, most: int) -> list[Pair]:
    """The ``most`` pairs with the largest cosines, and as many whose labels differ; the most alike first.

    features: (N, d). labels: (N,), None without. No limit says which cosine is "nearly the same": that depends on the
    encoder and on the photos.
    """
    photos = l2_normalize(features)
    found: set[Pair] = set()
    for only_different in (False, True)[: 1 if labels is None else 2]:
        best: list[Pair] = []
        for start in range(0, len(photos), ROWS):
            rows = torch.arange(start, min(start + ROWS, len(photos)))
            cosines = exact_matmul(photos[rows], photos)
            skipped = torch.arange(len(photos)) <= rows[:, None]  # each pair once, and none with itself
            if only_different and labels is not None:
                skipped |= labels == labels[rows, None]
            cosines[skipped] = -torch.inf
            values, places = cosines.flatten().topk(min(most, cosines.numel()))
            for value, place in zip(values.tolist(), places.tolist(), strict=True):
                if value > -torch.inf:
                    row, column = divmod(place, len(photos))
                    best.append(Pair(start + row, column, value))
        found |= set(sorted(best, key=_order)[:most])
    return sorted(found, key=_order)


def _order(pair: Pair) -> tuple[float, int, int]:
    return -pair.cosine, pair.first, pair.second
