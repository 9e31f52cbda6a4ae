"""Phase text_features: encode every prompt of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..datasets import imagenet_words, load_templates
from ..datasets.base import Templates
from ..datasets.entry import entry
from ..encoders import families
from ..foundation.artifacts import Paths, read_classes, write_tensors
from ..foundation.reproducible import lengths, on_grid
from ..texts.sentences import fill, make_sentences, spaces
from ..texts.sets import load_text_set
from .common import use_threads, warn_cut

if TYPE_CHECKING:
    from ..encoders.encoder import Encoder
    from ..encoders.text_tables import Text, TextTables
    from ..pipeline.config import Config
    from ..texts.sets import TextSet

ABOUT = (
    "Encode every sentence: the text set in its templates, prompt ensemble, random-word control."
)
SENTENCES = [f.name for f in fields(Templates) if f.name != "class_names_as_published"]
# classes whose sentences are encoded at a time for the template ensemble: 10,000 sentences
CLASSES = 128


def run(config: Config, model: str, dataset: str) -> None:
    """Write ``text_features/{model}/{dataset}.safetensors``, and warn of texts over the context
    length.
    """
    # One file holds every prompt of every kind and setting, each with its kind and class: later
    # phases select rows and need no encoder. Of random words and template ensembles only the
    # means per class are kept, because nothing else is used.
    use_threads(config.features.threads)
    paths = Paths(config.results)
    path = paths.text_features(model, dataset)
    classes = read_classes(paths.manifest(dataset))
    of = {"model": model, "dataset": dataset, "classes": classes}
    name = config.models[model].model
    if not families.encodes(name):
        tables = families.tables(name, config.data_root)
        return write_tables(path, of, tables, tables.texts(dataset, classes))
    from .encoder import encoder_of  # imports torch and the encoder's library

    templates = load_templates(dataset, config.datasets[dataset])
    texts = load_text_set(paths.texts(dataset), dataset, classes, made=True)
    sentences = make_sentences(texts, templates)
    encoder = encoder_of(config.models[model], config.features)
    encoded = encoder.encode_texts_report(sentences.text)
    cut = [sentences.text[i] for i in encoded.over_length]
    warn_cut(cut, len(sentences.text), encoder.context_length, path)
    meta = {
        "encoder": encoder.metadata(),
        "text": sentences.text,
        "kind": sentences.kind,
        "unique_texts": encoded.n_unique,
        "over_length": cut,
        "templates": {kind: g for kind, g in asdict(templates).items() if g and kind in SENTENCES},
    }
    tensors = {
        "features": encoded.features,
        "class_index": torch.tensor(sentences.class_index, dtype=torch.int64),
        "imagenet_names": imagenet_names(encoder),
    }
    if any(c.attribute for c in texts.classes):
        e = config.evaluation
        tensors["random_words"] = random_words(encoder, texts, templates, e.seed, e.random_draws)
    if config.evaluation.template_ensemble:
        tensors["template_weights"] = template_weights(
            encoder, [spaces(c.name) for c in texts.classes]
        )
    write_tensors(path, tensors, {**of, **meta})


def write_tables(path: Path, of: dict[str, Any], tables: TextTables, texts: list[Text]) -> None:
    """Write the text features of a model that brings its texts as features.

    of: model, data set and classes. texts: of the classes, and the vocabulary.
    """
    meta = {
        "encoder": tables.metadata(),
        "text": [t.text for t in texts],
        "kind": [t.kind for t in texts],
        "unique_texts": len({t.text for t in texts}),
        "over_length": [],
        "templates": {},
    }
    features = torch.zeros(0, tables.dim)
    if texts:
        features = torch.stack([t.feature for t in texts])
    tensors = {
        "features": features,
        "class_index": torch.tensor([t.owner for t in texts], dtype=torch.int64),
        "imagenet_names": tables.imagenet_names(),
    }
    write_tensors(path, tensors, {**of, **meta})


def imagenet_names(encoder: Encoder) -> Tensor:
    """Unit features of "a photo of a {name}" for ImageNet's classes, in order: (1000, d).

    These features give the main directions of the text encoder, onto which image features are
    projected. They are the same for every data set of a model; each file has a copy, so that
    few-shot methods and evaluation need no other data set.
    """
    names = entry("imagenet").class_names()
    return encoder.encode_texts_report([f"a photo of a {name}" for name in names]).features


def random_words(
    encoder: Encoder, texts: TextSet, templates: Templates, seed: int, draws: int
) -> Tensor:
    """For each draw of random words the mean of the unit features of each class's texts: (D, C, d).

    The control for the content of attribute texts: the same sentences, with the words of all
    attributes shuffled, each draw by its own seed. A class without attributes has its name. Only
    the means are kept: the features of ten draws would be most of a file."""
    means = []
    attributes = [c.attribute for c in texts.classes]
    names = [spaces(c.name) for c in texts.classes]
    for draw in range(draws):
        of_classes = []  # prompts of each class
        shuffled = random_word_texts(attributes, [seed, draw])
        for name, of_class in zip(names, shuffled, strict=True):
            prompts = [fill(templates.attribute, name, attribute=words) for words in of_class]
            if not prompts:
                prompts = [fill(templates.name, name)]
            # equal prompts of a class count once
            of_classes.append(list(dict.fromkeys(prompts)))
        features = encoder.encode_texts_report(
            [prompt for prompts in of_classes for prompt in prompts]
        ).features
        # sums of numbers on the grid are exact
        parts = torch.split(on_grid(features), [len(prompts) for prompts in of_classes])
        means.append(torch.stack([(part.sum(dim=0) / len(part)).float() for part in parts]))
    return torch.stack(means)


def random_word_texts(texts: Sequence[Sequence[str]], seed: int | Sequence[int]) -> list[list[str]]:
    """Replace descriptions by random words: as many texts per class, as many words per text.

    After WaffleCLIP (Roth et al., "Waffling around for Performance", ICCV 2023). The words of all
    texts are shuffled across texts and classes, so each word is as frequent as before and says
    nothing about a class. The same seed (or seed and draw) gives the same texts.
    """
    words = [word for of_class in texts for text in of_class for word in text.split()]
    # one shuffled stream of all words, dealt out in the lengths of the original texts
    order = np.random.default_rng(seed).permutation(len(words))
    drawn = iter([words[i] for i in order])
    return [
        [" ".join(next(drawn) for _ in text.split()) for text in of_class] for of_class in texts
    ]


def template_weights(encoder: Encoder, names: list[str]) -> Tensor:
    """CLIP's class weights (C, d) from the 80 templates of ImageNet: for each class the mean of its
    unit features, scaled to length 1.

    Only the mean is kept: ImageNet's 80,000 sentences would be the largest file of a run.
    """
    templates = imagenet_words.templates()
    weights = []
    for start in range(0, len(names), CLASSES):
        part = names[start : start + CLASSES]
        features = encoder.encode_texts_report(
            [template(name) for name in part for template in templates]
        ).features
        # the sum has the direction of the mean, and only the direction counts
        sums = on_grid(features).view(len(part), len(templates), -1).sum(dim=1)
        weights.append((sums / lengths(sums)).to(features.dtype))
    return torch.cat(weights)
