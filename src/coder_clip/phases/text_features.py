"""Phase text_features: encode every prompt of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..datasets import imagenet_words
from ..datasets.base import Templates
from ..datasets.entry import entry
from ..foundation.artifacts import read_classes, write_tensors
from ..foundation.reproducible import lengths, on_grid
from ..texts.sentences import fill, make_sentences, spaces
from ..texts.sets import load_text_set
from .common import use_threads
from .encoder import encoder_of, warn_cut

if TYPE_CHECKING:
    from ..encoders.encoder import Encoder
    from ..texts.sets import TextSet

SENTENCES = [f.name for f in fields(Templates) if f.name != "class_names_as_published"]
# classes whose sentences are encoded at a time for the template ensemble: 10,000 sentences
CLASSES = 128


def run(
    *,
    manifest: str,
    texts: str,
    files: list[str],
    out: str,
    model: str,
    dataset: str,
    templates: dict[str, Any],
    encoder: dict[str, Any],
    seed: int,
    random_draws: int,
    template_ensemble: bool,
    device: str,
    store: str,
    threads: int,
) -> None:
    """Encode every prompt: the text set in its templates, the prompt ensemble, and the control with
    random words. Warn of texts over the context length.

    texts: the text set. files: of the encoder. templates: fields of `Templates`. random_draws: of
    random words, by ``seed``. template_ensemble: also the mean of ImageNet's 80 templates. encoder,
    device, store: as in `encoder_of`.
    """
    # One file holds every prompt of every kind and setting, each with its kind and class: later
    # phases select rows and need no encoder. Of random words and template ensembles only the
    # means per class are kept, because nothing else is used.
    use_threads(threads)
    classes, put_into = read_classes(Path(manifest)), Templates.of(templates)
    of = {"model": model, "dataset": dataset, "classes": classes}
    text_set = load_text_set(texts, dataset, classes, made=True)
    sentences = make_sentences(text_set, put_into)
    loaded = encoder_of(encoder, device, store)
    encoded = loaded.encode_texts_report(sentences.text)
    cut = [sentences.text[i] for i in encoded.over_length]
    warn_cut(cut, len(sentences.text), loaded.context_length, Path(out))
    meta = {
        "encoder": loaded.metadata(),
        "text": sentences.text,
        "kind": sentences.kind,
        "unique_texts": encoded.n_unique,
        "over_length": cut,
        "templates": {kind: g for kind, g in asdict(put_into).items() if g and kind in SENTENCES},
    }
    tensors = {
        "features": encoded.features,
        "class_index": torch.tensor(sentences.class_index, dtype=torch.int64),
        "imagenet_names": imagenet_names(loaded),
    }
    if any(c.attribute for c in text_set.classes):
        tensors["random_words"] = random_words(loaded, text_set, put_into, seed, random_draws)
    if template_ensemble:
        tensors["template_weights"] = template_weights(
            loaded, [spaces(c.name) for c in text_set.classes]
        )
    write_tensors(out, tensors, {**of, **meta})


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
