"""Phase pairs: the pairs of classes that stage one can confuse, most frequent first (paper, section
3.4).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..foundation.artifacts import write_json
from ..zero_shot import softmax_gap
from ..zero_shot import top_k as best
from .coder import read_neighbors
from .common import read_image_features, use_threads


def run(
    *,
    images: str,
    coder: str,
    out: str,
    gate: float,
    widest: float,
    variants: list[bool],
    top_k: int,
    threads: int,
) -> None:
    """Write all pairs that stage two can compare, and how often it compares each.

    These are the unordered pairs among the top candidates of validation images inside the widest
    gate of all settings and of the threshold sweep, most frequent first. If a source makes the
    texts, which can be for the first pairs only, pairs inside the data set's own gate come first.
    Test images do not decide which texts are written, unless a data set has no validation images.
    Labels are not read. Only the model that compares texts (generator.encoder, by default the
    first) decides: other models change no text and no number.

    images: features of validation or test images. coder: the compact CODER. gate, widest:
    thresholds of the margin, of the data set and of all settings. variants: with the texts as
    published or not, of the settings in use.
    """
    use_threads(threads)
    compared = []  # (n, 3) for each variant, see `counted`
    read = read_image_features(images)
    for as_published in variants:
        scores = read_neighbors(coder, read, as_published).class_scores(read.features)
        gap = softmax_gap(scores)
        inside = gap < widest
        _, top = best(scores[inside], min(top_k, len(read.classes)))
        # stage two compares every pair among the top candidates of an image
        i, j = torch.triu_indices(top.shape[1], top.shape[1], offset=1)
        # pairs are unordered: with the smaller class index first, (a, b) and (b, a) are counted
        # together
        low, high = torch.minimum(top[:, i], top[:, j]), torch.maximum(top[:, i], top[:, j])
        # an image is inside the data set's own gate or not, so all its pairs have the same mark
        in_gate = (gap[inside] < gate)[:, None].expand_as(low)
        compared.append(torch.stack([low, high, in_gate.long()], dim=-1).flatten(0, 1))
    write_json(
        out,
        {
            "dataset": read.meta["dataset"],
            "split": read.meta["split"],
            "gate": {"own": gate, "widest": widest},
            "pairs": counted(torch.cat(compared)),
        },
    )


def counted(comparisons: Tensor) -> list[dict[str, int]]:
    """Each pair with its number of comparisons; sorted by comparisons inside the gate, then by all.

    comparisons: (n, 3) int64, the two classes a < b, and 1 inside the data set's own gate, else 0.
    """
    rows = comparisons.numpy()
    # pair_of: the row in `pairs` of each comparison
    pairs, pair_of, compared = np.unique(
        rows[:, :2], axis=0, return_inverse=True, return_counts=True
    )
    # the weights are 1 inside the gate and 0 outside: their sums count comparisons inside it
    inside = np.bincount(pair_of.ravel(), weights=rows[:, 2], minlength=len(pairs)).astype(np.int64)
    # lexsort sorts by its last key first: inside, compared, then the classes
    order = np.lexsort((pairs[:, 1], pairs[:, 0], -compared, -inside))
    table = np.column_stack([pairs, compared, inside])[order]
    columns = ("a", "b", "compared", "inside_gate")
    return [dict(zip(columns, row, strict=True)) for row in table.tolist()]
