"""Phase one_to_one: texts for the pairs that stage one can confuse, and their features (section 3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..artifacts import Paths, read_json, sha256, shown, write_json, write_tensors
from ..datasets import load_templates
from ..encoders import EncoderSpec, load_encoder
from ..errors import UserError
from ..rerank import OneToOne
from ..texts.sentences import pair_sentences
from ..texts.sets import PairSet, load_pair_set, select_pairs
from ..zero_shot import softmax_gap, top_k
from .coder import read_neighbors, uses_published_texts
from .common import encoder_spec, read_images, use_threads, warn_cut
from .manifest import read_classes

if TYPE_CHECKING:
    from ..config import Config


def run_texts(config: Config, dataset: str) -> None:
    """Write ``one_to_one/{dataset}.json``: the texts of all pairs that stage two can compare.

    These are the unordered pairs within the top five of images inside the widest gate that a setting or the
    threshold sweep uses, over the validation and test images of all models, most frequent first. Labels are
    not read.
    """
    use_threads(config)
    classes = read_classes(config, dataset)
    widest = config.widest_threshold(dataset)
    found = []
    variants = sorted({uses_published_texts(setting) for setting in config.settings})
    for model in config.models:
        for split in ("val", "test"):
            images = read_images(config, model, dataset, split)
            for as_published in variants:
                scores = read_neighbors(config, images, as_published).class_scores(images.features)
                inside = softmax_gap(scores) < widest
                _, top = top_k(scores[inside], min(config.rerank.top_k, len(classes)))
                i, j = torch.triu_indices(top.shape[1], top.shape[1], offset=1)
                low, high = torch.minimum(top[:, i], top[:, j]), torch.maximum(top[:, i], top[:, j])
                found.append((low * len(classes) + high).flatten())
    keys, counts = torch.unique(torch.cat(found), return_counts=True)
    order = counts.argsort(descending=True, stable=True)  # most frequent first, then by class
    wanted = [(key // len(classes), key % len(classes)) for key in keys[order].tolist()]
    path = config.datasets[dataset].pair_source(dataset)
    if path is None:
        pairs = PairSet(dataset=dataset, pairs=[], provenance={"one_to_one": {"source": "none"}})
    else:
        if not path.is_file():
            raise UserError(
                f"no one-to-one texts {path} for data set '{dataset}'; write them or leave the key out"
            )
        pairs = select_pairs(load_pair_set(path, dataset, classes), wanted)
        pairs.provenance["file"] = {"path": shown(path), "sha256": sha256(path)}
    pairs.provenance["pairs"] = {"compared": len(wanted), "with_texts": len(pairs.pairs)}
    write_json(Paths(config.results).one_to_one_texts(dataset), pairs.dump())


def run(config: Config, model: str, dataset: str) -> None:
    """Write ``one_to_one/{model}/{dataset}.safetensors``: one difference an unordered pair."""
    use_threads(config)
    classes = read_classes(config, dataset)
    templates = load_templates(dataset, config.datasets[dataset])
    paths = Paths(config.results)
    source = paths.one_to_one_texts(dataset)
    read_json(source)  # a missing file is named with the command that makes it
    ordered = pair_sentences(load_pair_set(source, dataset, classes), templates)
    encoder = load_encoder(EncoderSpec(**encoder_spec(config, model)))
    texts = [s for sentences in ordered.values() for s in sentences]
    encoded = encoder.encode_texts_report(texts)
    cut = [texts[i] for i in encoded.over_length]
    path = paths.one_to_one(model, dataset)
    warn_cut(cut, len(texts), encoder.context_length, path)
    parts = torch.split(encoded.features, [len(sentences) for sentences in ordered.values()])
    pairs = OneToOne(dict(zip(ordered, parts, strict=True)), n_classes=len(classes))
    meta = {"model": model, "dataset": dataset, "classes": classes, "encoder": encoder.metadata()}
    write_tensors(
        path, pairs.state(), {**meta, "device": encoder.device.type, "texts": len(texts), "over_length": cut}
    )
