"""Phase image_features: merge the shards of all splits of a data set."""

from __future__ import annotations

from pathlib import Path

from ..encoders.features import ImageFeatures, merge
from ..errors import UserError
from ..foundation.artifacts import read_tensors
from .image_features import write


def run(*, parts: dict[str, list[str]], out: dict[str, str]) -> None:
    """Merge the shards of all splits: the same bytes as one run.

    parts, out: split -> files of its shards in order, and the merged file. UserError if one is
    missing or of another run.
    """
    for split, files in parts.items():
        _merge(files, Path(out[split]))


def _merge(files: list[str], out: Path) -> None:
    """Merge the shards of one split."""
    parts, metas, groups = [], [], []
    for path in files:
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
    write(out, merge(parts), metas[0], groups or None)
