"""Phase pairs: the pairs of classes that stage one can confuse, most frequent first (paper, section 3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import torch

from ..foundation.artifacts import Paths, read_json, write_json
from ..zero_shot import softmax_gap, top_k
from .coder import read_neighbors, uses_published_texts
from .common import read_image_features, use_threads
from .manifest import read_classes

if TYPE_CHECKING:
    from ..pipeline.config import Config


def run(config: Config, dataset: str) -> None:
    """Write ``one_to_one/pairs/{dataset}.json``: all pairs that stage two can compare, and how often it would.

    These are the unordered pairs among the top candidates of images inside the widest gate of all settings and of the
    threshold sweep, over validation images, most frequent first. If a language model writes the texts, and so only the
    first pairs get some, those inside the data set's own gate come first. Test images do not decide which texts are
    written, unless a data set has no validation images. Labels are not read.
    One model decides, that which compares texts (generator.encoder, by default the first): other models change no text
    and no number.
    """
    use_threads(config)
    classes = read_classes(config, dataset)
    widest = config.widest_threshold(dataset)
    gate = config.threshold(dataset) if config.datasets[dataset].pair_text_source else widest
    compared = []
    split = "val" if config.has_val(dataset) else "test"
    variants = sorted({uses_published_texts(setting) for setting in config.settings})
    images = read_image_features(config, config.text_encoder(), dataset, split)
    for as_published in variants:
        scores = read_neighbors(config, images, as_published).class_scores(images.features)
        gap = softmax_gap(scores)
        inside = gap < widest
        _, top = top_k(scores[inside], min(config.rerank.top_k, len(classes)))
        i, j = torch.triu_indices(top.shape[1], top.shape[1], offset=1)
        # pairs are unordered: with the smaller class index first, (a, b) and (b, a) are counted together
        low, high = torch.minimum(top[:, i], top[:, j]), torch.maximum(top[:, i], top[:, j])
        in_gate = (gap[inside] < gate)[:, None].expand_as(low)
        columns = {"a": low, "b": high, "inside_gate": in_gate}
        compared.append(pd.DataFrame({name: values.flatten().numpy() for name, values in columns.items()}))
    counts = {"compared": ("inside_gate", "size"), "inside_gate": ("inside_gate", "sum")}
    pairs = pd.concat(compared).groupby(["a", "b"], as_index=False).agg(**counts)
    pairs = pairs.sort_values(["inside_gate", "compared", "a", "b"], ascending=[False, False, True, True])
    write_json(
        Paths(config.results).confusable_pairs(dataset),
        {
            "dataset": dataset,
            "split": split,
            "gate": {"own": gate, "widest": widest},
            "pairs": pairs.to_dict("records"),
        },
    )


def read_pairs(config: Config, dataset: str) -> dict[tuple[int, int], int]:
    """Unordered pairs (a < b) in the order of the file, with how often each is compared."""
    document = read_json(Paths(config.results).confusable_pairs(dataset))
    return {(p["a"], p["b"]): p["compared"] for p in document["pairs"]}
