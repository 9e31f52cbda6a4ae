"""Phase image_features of a data set that has features instead of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..datasets import Split, load_dataset
from ..datasets.base import Source
from ..datasets.features import FeatureDataset
from ..encoders.features import ImageFeatures
from ..foundation.artifacts import read_json
from ..pipeline import environment
from .common import SHOTS, use_threads
from .image_features import group_numbers, shot_images, write


def run(
    *,
    manifest: str,
    out: dict[str, str],
    model: str,
    dataset: str,
    source: dict[str, Any],
    encoded: list[str],
    shots: int,
    seeds: list[int],
    repeat_shots: bool,
    data_root: str | None,
    about: str,
    threads: int,
) -> None:
    """Write the features of each split. Only the width of their encoder is known.

    out: split -> file; that of a split which is not in ``encoded`` has no images. source: fields of
    `Source`. shots, seeds: as in the phase image_features.
    """
    use_threads(threads)
    listed = read_json(manifest)
    twins = listed.get("near_twins", {}).get("groups", [])
    data = load_dataset(dataset, Source.of(source), Path(data_root) if data_root else None, twins)
    assert isinstance(data, FeatureDataset)
    groups = group_numbers(data, twins)
    for split, path in out.items():
        draws: dict[str, list[list[str]]] = {}
        # shots are training images, not a split of their own
        part = split
        if split == SHOTS:
            part = "train"
        chosen = data.split(part)
        if split not in encoded:
            chosen = Split([], np.empty(0, np.int64))
        elif split == SHOTS:
            chosen, draws = shot_images(chosen, data.classes, shots, seeds, repeat_shots)
        rows = data.features(part, chosen.ids)
        meta = {
            "model": model,
            "dataset": dataset,
            "split": split,
            "views": 0,
            "classes": data.classes,
            "encoder": {"given": True, "dim": str(rows.shape[1])},
            "draws": draws,
            "fingerprint": listed["fingerprint"],
        }
        features = ImageFeatures(rows, torch.from_numpy(chosen.labels), chosen.ids, [], {})
        write(Path(path), features, meta, groups)
    environment.write(Path(about), "cpu")
