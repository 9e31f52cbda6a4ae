"""Phase image_features: merge the shards of all splits of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..encoders.features import ImageFeatures, merge
from ..errors import UserError
from ..foundation.artifacts import Paths, read_tensors
from .common import SPLITS
from .image_features import write

if TYPE_CHECKING:
    from ..pipeline.config import Config


def run(config: Config, model: str, dataset: str, shards: int = 2) -> None:
    """Merge the shards of all splits: the same bytes as one run.

    UserError if one is missing or of another run.
    """
    for split in SPLITS:
        _merge(Paths(config.results), model, dataset, split, shards)


def _merge(paths: Paths, model: str, dataset: str, split: str, shards: int) -> None:
    """Merge the shards of one split."""
    parts, metas, groups = [], [], []
    for i in range(shards):
        path = paths.image_shard(model, dataset, split, i, shards)
        tensors, meta = read_tensors(path)
        skipped = [tuple(s) for s in meta.pop("skipped")]
        ids, extraction = meta.pop("ids"), meta.pop("extraction")
        kept = tensors.get("views")
        if "groups" in tensors:
            groups += tensors["groups"].tolist()
        parts.append(
            ImageFeatures(tensors["features"], tensors["labels"], ids, skipped, extraction, kept)
        )
        metas.append(meta)
        # the values that differ by shard were popped above; the rest must agree
        if meta != metas[0]:
            raise UserError(
                f"{path}: made by another encoder or data set than shard 0; delete it and run again"
            )
    write(paths.image_features(model, dataset, split), merge(parts), metas[0], groups or None)
