"""Phase pairs: the pairs of classes that stage one can confuse, most frequent first (paper, section
3.4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..foundation.artifacts import Paths, read_classes, write_json
from ..zero_shot import softmax_gap, top_k
from .coder import read_neighbors, uses_published_texts
from .common import read_image_features, use_threads

if TYPE_CHECKING:
    from ..pipeline.config import Config


def run(config: Config, dataset: str) -> None:
    """Write ``one_to_one/pairs/{dataset}.json``: all pairs that stage two can compare, and how
    often it compares each.

    These are the unordered pairs among the top candidates of validation images inside the widest
    gate of all settings and of the threshold sweep, most frequent first. If a source makes the
    texts, which can be for the first pairs only, pairs inside the data set's own gate come first.
    Test images do not decide which texts are written, unless a data set has no validation images.
    Labels are not read. Only the model that compares texts (generator.encoder, by default the
    first) decides: other models change no text and no number.
    """
    use_threads(config.features.threads)
    paths = Paths(config.results)
    classes = read_classes(paths.manifest(dataset))
    widest = config.widest_threshold(dataset)
    gate = widest
    if config.datasets[dataset].pair_text_source:
        gate = config.threshold(dataset)
    compared = []  # (n, 3) for each variant, see `counted`
    split = "test"
    if config.has_val(dataset):
        split = "val"
    variants = sorted({uses_published_texts(setting) for setting in config.settings})
    images = read_image_features(config, config.text_encoder(), dataset, split)
    for as_published in variants:
        scores = read_neighbors(config, images, as_published).class_scores(images.features)
        gap = softmax_gap(scores)
        inside = gap < widest
        _, top = top_k(scores[inside], min(config.rerank.top_k, len(classes)))
        # stage two compares every pair among the top candidates of an image
        i, j = torch.triu_indices(top.shape[1], top.shape[1], offset=1)
        # pairs are unordered: with the smaller class index first, (a, b) and (b, a) are counted
        # together
        low, high = torch.minimum(top[:, i], top[:, j]), torch.maximum(top[:, i], top[:, j])
        # an image is inside the data set's own gate or not, so all its pairs have the same mark
        in_gate = (gap[inside] < gate)[:, None].expand_as(low)
        compared.append(torch.stack([low, high, in_gate.long()], dim=-1).flatten(0, 1))
    write_json(
        paths.confusable_pairs(dataset),
        {
            "dataset": dataset,
            "split": split,
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
