"""Phase text_features: encode every sentence of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..artifacts import Paths, write_tensors
from ..datasets import load_templates
from ..encoders import EncoderSpec, load_encoder
from ..texts.random_words import random_word_texts
from ..texts.sentences import make_sentences
from ..texts.sets import load_text_set
from .common import encoder_spec, log, use_threads
from .manifest import read_classes

if TYPE_CHECKING:
    from ..config import Config


def run(config: Config, model: str, dataset: str) -> None:
    """Write ``text_features/{model}/{dataset}.safetensors``; texts over the context length are counted."""
    use_threads(config)
    classes = read_classes(config, dataset)
    templates = load_templates(dataset, config.datasets[dataset])
    paths = Paths(config.results)
    texts = load_text_set(paths.texts(dataset), dataset, classes)
    seed = config.evaluation.seed
    sentences = make_sentences(texts, templates, lambda attributes: random_word_texts(attributes, seed))
    encoder = load_encoder(EncoderSpec(**encoder_spec(config, model)))
    encoded = encoder.encode_texts_report(sentences.text)
    if encoded.over_length:
        first = sentences.text[encoded.over_length[0]]
        log.warning("%d of %d texts are longer than the encoder reads and were cut, the first: '%s'",
                    len(encoded.over_length), len(sentences.text), first)  # fmt: skip
    meta = {
        "model": model,
        "dataset": dataset,
        "classes": classes,
        "encoder": encoder.metadata(),
        "text": sentences.text,
        "kind": sentences.kind,
        "unique_texts": encoded.n_unique,
        "over_length": encoded.over_length,
    }
    class_index = torch.tensor(sentences.class_index, dtype=torch.int64)
    write_tensors(
        paths.text_features(model, dataset), {"features": encoded.features, "class_index": class_index}, meta
    )
