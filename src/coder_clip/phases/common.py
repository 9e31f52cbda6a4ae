"""Read and check image features, which several phases use."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError
from ..foundation.artifacts import read_tensors

log = logging.getLogger("coder_clip")

AS_PUBLISHED = "as_published."  # prefix of tensors that differ because of the published code's bugs
# not a split of the data set: training images that some seed draws, over augmented views
SHOTS = "shots"
SPLITS = (SHOTS, "val", "test")  # of image features


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


def use_threads(threads: int) -> None:
    """Fix the number of threads, which can change the last bit of a sum."""
    torch.set_num_threads(threads)


def read_image_features(file: str | Path) -> SplitFeatures:
    """Read the image features of a split, from …/MODEL/DATASET/SPLIT.safetensors.

    UserError if the file is of another model or data set, or holds NaN or infinity.
    """
    path = Path(file)
    tensors, meta = read_tensors(path)
    same(path, meta, model=path.parts[-3], dataset=path.parts[-2], split=path.stem)
    finite(path, tensors["features"], meta["ids"])
    groups = tensors.get("groups")
    if groups is not None and groups.shape != tensors["labels"].shape:
        raise UserError(
            f"{path}: groups of {len(groups)} images, not of {len(meta['ids'])}; delete it and run "
            "again"
        )
    views = tensors.get("views")
    return SplitFeatures(tensors["features"], tensors["labels"], meta["ids"], meta, views, groups)


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


def same(path: Path, meta: dict[str, Any], **wanted: str) -> None:
    """UserError unless the metadata of a file has the wanted values."""
    for key, value in wanted.items():
        if meta.get(key) != value:
            raise UserError(
                f"{path}: holds {key} '{meta.get(key)}', not '{value}'; delete it and run again"
            )


def finite(path: Path, features: Tensor, names: list[str]) -> None:
    """UserError for NaN or infinity. features: (N, d) of a file; names: of the rows."""
    bad = (~torch.isfinite(features).all(dim=1)).nonzero()
    if len(bad):
        raise UserError(
            f"{path}: NaN or infinity in the feature of '{names[int(bad[0])]}'; delete it and run "
            "again"
        )
