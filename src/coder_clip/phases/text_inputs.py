"""Read and check text features, which several phases use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..foundation.artifacts import read_tensors
from ..texts.sentences import Sentences
from .common import SplitFeatures, belongs, finite, same

VOCABULARY = "vocabulary"  # kind of the texts that belong to no class


@dataclass(frozen=True)
class Texts:
    """Features of all sentences: features (M, d) float32 unit, and the sentences.

    template_weights: (C, d) CLIP's class weights from the 80 templates; None if they were
    not asked for.
    random_words: (D, C, d), for each draw the mean of each class's texts of random words; None
    without attributes.
    imagenet_names: (1000, d) unit, ImageNet's class names in one sentence, whatever the data set.

    A model that brings its texts as features can have rows of kind VOCABULARY: names of other
    things, not of classes. Then a data set may have no texts of its classes.
    """

    features: Tensor
    sentences: Sentences
    meta: dict[str, Any]
    template_weights: Tensor | None
    random_words: Tensor | None
    imagenet_names: Tensor

    def of(self, kind: str, *tags: str) -> tuple[Tensor, Tensor]:
        """Features (m, d) and class indices (m,) of the prompts of one kind, in the variant that
        the tags select.
        """
        rows = self.sentences.rows(kind, *tags)
        return self.features[rows], torch.tensor(
            [self.sentences.class_index[r] for r in rows], dtype=torch.int64
        )

    @property
    def of_classes(self) -> bool:
        """False if there are no texts of the classes."""
        return bool(self.sentences.rows("name"))

    @property
    def vocabulary(self) -> Tensor | None:
        """Features (V, d) of the vocabulary of a model that has one.

        It describes images in place of texts of their classes. None if the model has no vocabulary.
        """
        rows = self.sentences.rows(VOCABULARY)
        if not rows:
            return None
        return self.features[rows]

    def per_class(self, kinds: Sequence[str], n_classes: int, *tags: str) -> list[Tensor]:
        """For each class the features of its texts of these kinds, in the order of the kinds.

        tags: variants of the sentences (`texts.sentences`: the wording for few-shot, names as
        published, …); sentences with all of the tags are taken.
        """
        # row numbers first, so that the features of a class are gathered once
        rows: list[list[int]] = [[] for _ in range(n_classes)]
        for kind in kinds:
            for r in self.sentences.rows(kind, *tags):
                rows[self.sentences.class_index[r]].append(r)
        return [self.features[r] for r in rows]


def read_texts(file: str | Path, images: SplitFeatures | None = None) -> Texts:
    """Read the text features of a data set, from …/MODEL/DATASET.safetensors.

    UserError if the file does not fit the images (encoder, dimension or class list).
    """
    path = Path(file)
    tensors, meta = read_tensors(path)
    same(path, meta, model=path.parts[-2], dataset=path.stem)
    finite(path, tensors["features"], meta["text"])
    if images is not None:
        belongs(path, meta, images)
    sentences = Sentences(meta["text"], meta["kind"], tensors["class_index"].tolist())
    return Texts(
        tensors["features"],
        sentences,
        meta,
        tensors.get("template_weights"),
        tensors.get("random_words"),
        tensors["imagenet_names"],
    )
