"""Phase one_to_one: features of the texts of pairs, one difference per unordered pair (paper,
section 3.4).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..datasets import load_templates
from ..encoders import families
from ..errors import UserError
from ..foundation.artifacts import Paths, read_classes, write_tensors
from ..rerank import OneToOne
from ..texts.sentences import pair_sentences
from ..texts.sets import load_pair_set
from .common import AS_PUBLISHED, use_threads, warn_cut

if TYPE_CHECKING:
    from ..pipeline.config import Config


ABOUT = "Encode the one-to-one texts: one difference vector per unordered pair."


def run(config: Config, model: str, dataset: str) -> None:
    """Write ``one_to_one/{model}/{dataset}.safetensors``: one difference per unordered pair.

    A second set, with the prefix "as_published.", is made from the published code's sentences, if
    they differ."""
    # The prompts of both sets are encoded in one call, which encodes equal prompts once. The
    # features are then split in the order in which the prompts were listed: by set, then by pair.
    use_threads(config.features.threads)
    paths = Paths(config.results)
    path = paths.one_to_one(model, dataset)
    classes = read_classes(paths.manifest(dataset))
    of = {"model": model, "dataset": dataset, "classes": classes}
    templates = load_templates(dataset, config.datasets[dataset])
    pair_set = load_pair_set(paths.one_to_one_texts(dataset), dataset, classes, made=True)
    # prefix of the tensors -> ordered pair of classes -> its prompts
    ordered = {"": pair_sentences(pair_set, templates)}
    published = pair_sentences(pair_set, templates, as_published=True)
    if published != ordered[""]:
        ordered[AS_PUBLISHED] = published
    texts = [
        s for of_pairs in ordered.values() for sentences in of_pairs.values() for s in sentences
    ]
    name = config.models[model].model
    if not families.encodes(name):
        if texts:
            raise UserError(
                f"model {model} encodes no texts, and {dataset} has one-to-one texts; leave them "
                "out"
            )
        tables = families.tables(name, config.data_root)
        return _write_none(path, {**of, "encoder": tables.metadata()})
    from .encoder import encoder_of  # imports torch and the encoder's library

    encoder = encoder_of(config.models[model], config.features)
    encoded = encoder.encode_texts_report(texts)
    cut = [texts[i] for i in encoded.over_length]
    warn_cut(cut, len(texts), encoder.context_length, path)
    # sizes cut the features back into pairs, in the order of the flat list
    sizes = [len(sentences) for of_pairs in ordered.values() for sentences in of_pairs.values()]
    parts = iter(torch.split(encoded.features, sizes))
    state: dict[str, torch.Tensor] = {}
    for prefix, of_pairs in ordered.items():
        pairs = OneToOne({pair: next(parts) for pair in of_pairs}, n_classes=len(classes))
        state |= {prefix + key: tensor for key, tensor in pairs.state().items()}
    meta = {"encoder": encoder.metadata(), "texts": len(texts), "over_length": cut}
    write_tensors(path, state, {**of, **meta})


def _write_none(path: Path, meta: dict[str, Any]) -> None:
    """Write a file without differences, for a model that brings its texts as features.

    meta: model, data set, classes and encoder.
    """
    state = OneToOne({}, n_classes=len(meta["classes"])).state()
    write_tensors(path, state, {**meta, "texts": 0, "over_length": []})
