"""Phase one_to_one: features of the texts of pairs, as one difference per unordered pair (section
3.4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..datasets import load_templates
from ..encoders.table_list import is_list
from ..encoders.text_tables import TextTables
from ..errors import UserError
from ..foundation.artifacts import Paths, write_tensors
from ..rerank import OneToOne
from ..texts.sentences import pair_sentences
from ..texts.sets import load_pair_set
from .common import AS_PUBLISHED, use_threads, warn_cut
from .manifest import read_classes

if TYPE_CHECKING:
    from ..pipeline.config import Config


ABOUT = "Encode the one-to-one texts: one difference vector per unordered pair."


def run(config: Config, model: str, dataset: str) -> None:
    """Write ``one_to_one/{model}/{dataset}.safetensors``: one difference per unordered pair.

    A second set, with the prefix "as_published.", is made from the published code's sentences, if
    they differ."""
    # The prompts of both sets are encoded in one call, which encodes equal prompts once. The
    # features are then split in the order in which the prompts were listed: by set, then by pair.
    use_threads(config)
    classes = read_classes(config, dataset)
    templates = load_templates(dataset, config.datasets[dataset])
    paths = Paths(config.results)
    pair_set = load_pair_set(paths.one_to_one_texts(dataset), dataset, classes, made=True)
    # prefix of the tensors -> ordered pair of classes -> its prompts
    ordered = {"": pair_sentences(pair_set, templates)}
    published = pair_sentences(pair_set, templates, as_published=True)
    if published != ordered[""]:
        ordered[AS_PUBLISHED] = published
    texts = [
        s for of_pairs in ordered.values() for sentences in of_pairs.values() for s in sentences
    ]
    if is_list(config.models[model].model):
        return _write_none(config, model, dataset, classes, texts)
    from .encoder import encoder_of  # imports open_clip: three seconds

    encoder = encoder_of(config, model)
    encoded = encoder.encode_texts_report(texts)
    cut = [texts[i] for i in encoded.over_length]
    path = paths.one_to_one(model, dataset)
    warn_cut(cut, len(texts), encoder.context_length, path)
    # sizes cut the features back into pairs, in the order of the flat list
    sizes = [len(sentences) for of_pairs in ordered.values() for sentences in of_pairs.values()]
    parts = iter(torch.split(encoded.features, sizes))
    state: dict[str, torch.Tensor] = {}
    for prefix, of_pairs in ordered.items():
        pairs = OneToOne({pair: next(parts) for pair in of_pairs}, n_classes=len(classes))
        state |= {prefix + key: tensor for key, tensor in pairs.state().items()}
    meta = {"model": model, "dataset": dataset, "classes": classes, "encoder": encoder.metadata()}
    write_tensors(path, state, {**meta, "texts": len(texts), "over_length": cut})


def _write_none(
    config: Config, model: str, dataset: str, classes: list[str], texts: list[str]
) -> None:
    """Write a file without differences, for a model that brings its texts as features. UserError if
    there are texts to encode.
    """
    if texts:
        raise UserError(
            f"model {model} encodes no texts, and {dataset} has one-to-one texts; leave them out"
        )
    encoder = TextTables(config.models[model].model, config.data_root).metadata()
    meta = {"model": model, "dataset": dataset, "classes": classes, "encoder": encoder}
    state = OneToOne({}, n_classes=len(classes)).state()
    write_tensors(
        Paths(config.results).one_to_one(model, dataset),
        state,
        {**meta, "texts": 0, "over_length": []},
    )
