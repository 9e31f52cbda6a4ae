"""Phase one_to_one: texts for the pairs that stage one can confuse, and their features (section 3.4)."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from typing import TYPE_CHECKING

import torch

from ..artifacts import Paths, read_json, sha256, write_json, write_tensors
from ..datasets import load_dataset
from ..encoders import EncoderSpec, load_encoder
from ..errors import UserError
from ..rerank import OneToOne
from ..texts.sentences import pair_sentences
from ..texts.sets import PairSet, load_pair_set, select_pairs
from ..zero_shot import softmax_gap, top_k
from .coder import read_neighbors
from .common import encoder_spec, read_images, use_threads

if TYPE_CHECKING:
    from ..config import Config


def run_texts(config: Config, dataset: str) -> None:
    """Write ``one_to_one/{dataset}.json``: the texts of all pairs that stage two can compare.

    These are the unordered pairs within the top five of images inside the widest gate, over the validation
    and test images of all models, most frequent first. Labels are not read.
    """
    use_threads(config)
    classes = load_dataset(dataset, config.datasets[dataset]).classes
    widest = config.widest_threshold(dataset)
    compared: Counter[tuple[int, int]] = Counter()
    for model in config.models:
        for split in ("val", "test"):
            images = read_images(config, model, dataset, split)
            scores = read_neighbors(config, images).class_scores(images.features)
            inside = softmax_gap(scores) < widest
            _, top = top_k(scores[inside], min(config.rerank.top_k, scores.shape[1]))
            for i, j in combinations(range(top.shape[1]), 2):
                a, b = torch.minimum(top[:, i], top[:, j]), torch.maximum(top[:, i], top[:, j])
                compared.update(zip(a.tolist(), b.tolist(), strict=True))
    wanted = sorted(compared, key=lambda pair: (-compared[pair], pair))
    path = config.datasets[dataset].pair_source(dataset)
    if path is None:
        pairs = PairSet(dataset=dataset, pairs=[], provenance={"one_to_one": {"source": "none"}})
    else:
        if not path.is_file():
            raise UserError(
                f"no one-to-one texts {path} for data set '{dataset}'; write them or leave the key out"
            )
        pairs = select_pairs(load_pair_set(path, dataset, classes), wanted)
        pairs.provenance["file"] = {"path": path.as_posix(), "sha256": sha256(path)}
    pairs.provenance["pairs"] = {"compared": len(wanted), "with_texts": len(pairs.pairs)}
    write_json(Paths(config.results).one_to_one_texts(dataset), pairs.dump())


def run(config: Config, model: str, dataset: str) -> None:
    """Write ``one_to_one/{model}/{dataset}.safetensors``: one difference an unordered pair."""
    use_threads(config)
    data = load_dataset(dataset, config.datasets[dataset])
    paths = Paths(config.results)
    source = paths.one_to_one_texts(dataset)
    read_json(source)  # a missing file is named with the command that makes it
    ordered = pair_sentences(load_pair_set(source, dataset, data.classes), data.templates)
    encoder = load_encoder(EncoderSpec(**encoder_spec(config, model)))
    features = encoder.encode_texts([s for sentences in ordered.values() for s in sentences])
    parts = torch.split(features, [len(sentences) for sentences in ordered.values()])
    pairs = OneToOne(dict(zip(ordered, parts, strict=True)), n_classes=len(data.classes))
    meta = {"model": model, "dataset": dataset, "classes": data.classes, "encoder": encoder.metadata()}
    write_tensors(
        paths.one_to_one(model, dataset), pairs.state(), {**meta, "texts": sum(map(len, ordered.values()))}
    )
