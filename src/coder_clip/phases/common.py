"""Read and check the artefacts that several phases use."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..baselines.zero_shot import class_weights
from ..errors import UserError
from ..foundation.artifacts import Paths, read_tensors
from ..texts.sentences import Sentences

if TYPE_CHECKING:  # a phase depends on the values that it reads, not on the module that has them
    from ..pipeline.config import Config

log = logging.getLogger("coder_clip")

AS_PUBLISHED = "as_published."  # prefix of tensors that differ because of the published code's bugs
# not a split of the data set: training images that some seed draws, over augmented views
SHOTS = "shots"
SPLITS = (SHOTS, "val", "test")  # of image features
VOCABULARY = "vocabulary"  # kind of the texts that belong to no class


@dataclass(frozen=True)
class SplitFeatures:
    """Features of one split.

    features (N, d) float32 raw, labels (N,), ids, and the file's metadata.

    views: (N, E, d) float16 unit, the augmented views of shots one by one; None if the file has
    none.
    groups: (N,) int64, near twins share a number: a burst of one scene, frames of one video,
    copies. The numbers are the same in all splits of a data set. None: every image is its own
    group.
    """

    features: Tensor
    labels: Tensor
    ids: list[str]
    meta: dict[str, Any]
    views: Tensor | None = None
    groups: Tensor | None = None

    @property
    def classes(self) -> list[str]:
        return list(self.meta["classes"])

    @property
    def n_skipped(self) -> int:
        """Number of images of the split that could not be read (on_error: skip)."""
        return len(self.meta.get("skipped", []))


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

    def weights(self, kind: str, n_classes: int) -> Tensor:
        """CLIP's class weights (C, d) from the texts of a kind; zeros, and so logits of 0, without
        texts of the classes.
        """
        if not self.of_classes:
            return torch.zeros(n_classes, self.features.shape[1])
        return class_weights(*self.of(kind), n_classes)

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


def warn_cut(cut: Sequence[str], of: int, context_length: int, path: Path) -> None:
    """Warn, in one line, of texts that were cut.

    cut: these texts; of: number of all texts; path: the file whose metadata lists the cut texts.
    """
    if cut:
        log.warning(
            "%d of %d texts are over %d tokens and were cut; 'over_length' in the metadata of %s "
            "lists them: '%s'",
            len(cut),
            of,
            context_length,
            path,
            shorten(cut[0], 80, placeholder=" …"),
        )


def use_threads(threads: int) -> None:
    """Fix the number of threads, which can change the last bit of a sum."""
    torch.set_num_threads(threads)


def read_validation(config: Config, model: str, dataset: str) -> SplitFeatures | None:
    """Read the image features of the validation split; None for a data set without one."""
    if not config.has_val(dataset):
        return None
    return read_image_features(config, model, dataset, "val")


def read_image_features(config: Config, model: str, dataset: str, split: str) -> SplitFeatures:
    """Read the image features of a split.

    UserError if the file is of another model or data set, or holds NaN or infinity.
    """
    path = Paths(config.results).image_features(model, dataset, split)
    tensors, meta = read_tensors(path)
    _same(path, meta, model=model, dataset=dataset, split=split)
    _finite(path, tensors["features"], meta["ids"])
    groups = tensors.get("groups")
    if groups is not None and groups.shape != tensors["labels"].shape:
        raise UserError(
            f"{path}: groups of {len(groups)} images, not of {len(meta['ids'])}; delete it and run "
            "again"
        )
    views = tensors.get("views")
    return SplitFeatures(tensors["features"], tensors["labels"], meta["ids"], meta, views, groups)


def read_texts(
    config: Config, model: str, dataset: str, images: SplitFeatures | None = None
) -> Texts:
    """Read the text features of a data set.

    UserError if the file does not fit the images (encoder, dimension or class list).
    """
    path = Paths(config.results).text_features(model, dataset)
    tensors, meta = read_tensors(path)
    _same(path, meta, model=model, dataset=dataset)
    _finite(path, tensors["features"], meta["text"])
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


def belongs(path: Path, meta: dict[str, Any], images: SplitFeatures) -> None:
    """Check that a file was made with the images' encoder and classes.

    path, meta: the file and its metadata. UserError if not.
    """
    for key, what in (("encoder", "encoder"), ("classes", "class list")):
        of_file, of_images = meta.get(key), images.meta[key]
        # given features have no encoder: only the width can be compared
        if key == "encoder" and of_images.get("given"):
            of_file, of_images = of_file and of_file.get("dim"), of_images["dim"]
        if of_file != of_images:
            raise UserError(
                f"{path}: its {what} is not that of the image features ({images.meta['dataset']}, "
                f"{images.meta['split']}); delete the older of the two and run again"
            )


def _same(path: Path, meta: dict[str, Any], **wanted: str) -> None:
    """UserError unless the metadata of a file has the wanted values."""
    for key, value in wanted.items():
        if meta.get(key) != value:
            raise UserError(
                f"{path}: holds {key} '{meta.get(key)}', not '{value}'; delete it and run again"
            )


def _finite(path: Path, features: Tensor, names: list[str]) -> None:
    """UserError for NaN or infinity. features: (N, d) of a file; names: of the rows."""
    bad = (~torch.isfinite(features).all(dim=1)).nonzero()
    if len(bad):
        raise UserError(
            f"{path}: NaN or infinity in the feature of '{names[int(bad[0])]}'; delete it and run "
            "again"
        )
