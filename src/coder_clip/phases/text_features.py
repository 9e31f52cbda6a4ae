"""Phase text_features: encode every sentence of a data set."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import torch

from ..artifacts import Paths, write_tensors
from ..datasets import load_templates
from ..texts.random_words import random_word_texts
from ..texts.sentences import make_sentences
from ..texts.sets import load_text_set
from .common import use_threads, warn_cut
from .encoder import encoder_of
from .manifest import read_classes

if TYPE_CHECKING:
    from ..config import Config


def run(config: Config, model: str, dataset: str) -> None:
    """Write ``text_features/{model}/{dataset}.safetensors``; texts over the context length are counted."""
    use_threads(config)
    classes = read_classes(config, dataset)
    templates = load_templates(dataset, config.datasets[dataset])
    paths = Paths(config.results)
    texts = load_text_set(paths.texts(dataset), dataset, classes, made=True)
    seed = config.evaluation.seed
    sentences = make_sentences(texts, templates, lambda attributes: random_word_texts(attributes, seed))
    encoder = encoder_of(config, model)
    encoded = encoder.encode_texts_report(sentences.text)
    path = paths.text_features(model, dataset)
    cut = [sentences.text[i] for i in encoded.over_length]
    warn_cut(cut, len(sentences.text), encoder.context_length, path)
    meta = {
        "model": model,
        "dataset": dataset,
        "classes": classes,
        "encoder": encoder.metadata(),
        "device": encoder.device.type,
        "text": sentences.text,
        "kind": sentences.kind,
        "unique_texts": encoded.n_unique,
        "over_length": cut,
        "templates": asdict(templates),
    }
    class_index = torch.tensor(sentences.class_index, dtype=torch.int64)
    write_tensors(path, {"features": encoded.features, "class_index": class_index}, meta)
