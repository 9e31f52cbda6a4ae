"""Phase image_features: encode all splits of a data set, or a shard of each, with one load of the
model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..datasets import Dataset, Split, load_dataset
from ..datasets.features import FeatureDataset
from ..datasets.shots import draw_shots, refuse_short
from ..datasets.twins import numbers
from ..encoders.features import ImageFeatures, extract
from ..errors import UserError
from ..foundation.artifacts import Paths, read_json, write_tensors
from ..pipeline import environment
from ..pipeline.resources import workers
from .common import SHOTS, SPLITS, log, use_threads

if TYPE_CHECKING:
    from ..encoders.encoder import Encoder
    from ..pipeline.config import Config


def run(
    config: Config,
    model: str,
    dataset: str,
    splits: Sequence[str] | None = None,
    shard: int = 0,
    shards: int = 1,
) -> None:
    """Write ``image_features/{model}/{dataset}/{split}.safetensors`` of each split, or one of its
    shards, beside it.

    splits: default: all; the file of a split that the data set does not need has no images. A split
    that fails does not stop the others; at the end a UserError has one line per failure. Encoded
    images are in the feature store, so that the next try takes little time.
    """
    use_threads(config.features.threads)
    paths = Paths(config.results)
    # a missing manifest is reported before the work
    manifest = read_json(paths.manifest(dataset))
    twins = manifest.get("near_twins", {}).get("groups", [])
    data = load_dataset(dataset, config.datasets[dataset], config.data_root, twins)
    groups = _group_numbers(data, twins) if twins else None
    if isinstance(data, FeatureDataset):
        fingerprint = manifest["fingerprint"]
        return _write_given(config, model, dataset, data, splits or SPLITS, fingerprint, groups)
    # here, because it imports the encoder's library: seconds that given features need not wait for
    from .encoder import encoder_of

    encoder, failed = encoder_of(config.models[model], config.features), []
    for split in splits or SPLITS:
        try:
            features, meta = encode(config, encoder, data, dataset, split, (shard, shards))
        except UserError as error:
            failed.append(str(error))
            continue
        meta = {"model": model, "dataset": dataset, **meta, "fingerprint": manifest["fingerprint"]}
        # several shards wait for merge-shards
        path = paths.image_features(model, dataset, split)
        if shards > 1:
            path = paths.image_shard(model, dataset, split, shard, shards)
        write(path, features, meta, _of(groups, features.ids))
    if failed:
        raise UserError("\n".join(dict.fromkeys(failed)))
    # last: it describes the run that wrote the features
    environment.write(paths, encoder.device.type)


def _group_numbers(data: Dataset, twins: Sequence[Sequence[str]]) -> dict[str, int]:
    """Image id -> number of its group of near twins, over all splits of a data set."""
    return numbers([i for split in data.splits.values() for i, _ in split], twins)


def encode(
    config: Config,
    encoder: Encoder,
    data: Dataset,
    dataset: str,
    split: str,
    shard: tuple[int, int],
) -> tuple[ImageFeatures, dict[str, Any]]:
    """Encode a split, or shard (i, n) of it; return the features and their metadata.

    UserError as in `extract`.
    """
    # A split that this configuration does not use has a file without rows, because later phases
    # expect the file. Shots of all seeds are encoded together, as means of augmented views;
    # `draws` says which images each seed has.
    draws: dict[str, list[list[str]]] = {}  # see `shot_images`
    views = 0
    if split not in config.encoded(dataset):
        chosen = Split([], np.empty(0, np.int64))
    elif split == SHOTS:
        views = config.datasets[dataset].views
        chosen, draws = shot_images(config, data.split("train"), data.classes)
    else:
        chosen = data.split(split)
    features = extract(
        data,
        chosen.ids,
        chosen.labels,
        encoder,
        batch_size=config.features.batch_size,
        workers=workers(config, encoder.device.type != "cpu"),
        store=encoder.store,
        views=views,
        keep_views=config.views_stored(dataset) if views else 0,
        shard=shard,
        on_error=config.features.on_error,
    )
    meta: dict[str, Any] = {
        "split": split,
        "views": views,
        "classes": data.classes,
        "encoder": encoder.metadata(),
        "draws": draws,
    }
    return features, meta


def _write_given(
    config: Config,
    model: str,
    dataset: str,
    data: FeatureDataset,
    splits: Sequence[str],
    fingerprint: str,
    groups: dict[str, int] | None,
) -> None:
    """Write the features of a data set that has features instead of images.

    Only the width of their encoder is known.
    """
    for split in splits:
        draws: dict[str, list[list[str]]] = {}  # see `shot_images`
        # shots are training images, not a split of their own
        source = split
        if split == SHOTS:
            source = "train"
        chosen = data.split(source)
        if split not in config.encoded(dataset):
            chosen = Split([], np.empty(0, np.int64))
        elif split == SHOTS:
            chosen, draws = shot_images(config, chosen, data.classes)
        rows = data.features(source, chosen.ids)
        given = {
            "model": model,
            "dataset": dataset,
            "split": split,
            "views": 0,
            "classes": data.classes,
        }
        encoder = {"given": True, "dim": str(rows.shape[1])}
        meta = {**given, "encoder": encoder, "draws": draws, "fingerprint": fingerprint}
        features = ImageFeatures(rows, torch.from_numpy(chosen.labels), chosen.ids, [], {})
        path = Paths(config.results).image_features(model, dataset, split)
        write(path, features, meta, _of(groups, chosen.ids))
    environment.write(Paths(config.results), "cpu")


def _of(groups: Mapping[str, int] | None, ids: Sequence[str]) -> list[int] | None:
    """The groups of these images; None if the data set has none."""
    if groups is None:
        return None
    return [groups[i] for i in ids]


def shot_images(
    config: Config, train: Split, classes: list[str]
) -> tuple[Split, dict[str, list[list[str]]]]:
    """The training images that any seed draws, in the order of the split; and the draws.

    Draws: seed -> for each shot number a list of one image id per class. UserError if a class has
    fewer images than the largest number of shots and repeats are not allowed.
    """
    most = config.most_shots()
    if not config.adapter.repeat_shots:
        refuse_short(train.labels, classes, most)
    drawn: set[int] = set()
    draws: dict[str, list[list[str]]] = {}
    # the largest number of shots: a smaller one is the first images of each draw
    for seed in config.adapter.seeds:
        shots = draw_shots(train.labels, most, seed, len(classes))
        drawn.update(shots.tolist())
        draws[str(seed)] = [[train.ids[i] for i in shot] for shot in np.split(shots, most)]
    order = sorted(drawn)
    return Split([train.ids[i] for i in order], train.labels[order]), draws


def write(
    path: Path, features: ImageFeatures, meta: dict[str, Any], groups: Sequence[int] | None
) -> None:
    """Write features. groups: number of each image's group; None without near twins."""
    for image, reason in features.skipped:
        log.warning("skipped %s: %s", image, reason)
    of_features = {
        "ids": features.ids,
        "skipped": features.skipped,
        "extraction": features.metadata,
    }
    meta = {**meta, **of_features}
    tensors = {"features": features.features, "labels": features.labels}
    if features.kept_views is not None:
        tensors["views"] = features.kept_views
    if groups is not None:
        tensors["groups"] = torch.tensor(groups, dtype=torch.int64)
    write_tensors(path, tensors, meta)
