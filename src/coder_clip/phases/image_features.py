"""Phase image_features: encode all splits of a data set, or a shard of each, with one load of the
model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..datasets import Dataset, Split, load_dataset
from ..datasets.base import Source, numbers
from ..datasets.shots import draw_shots, refuse_short
from ..encoders.features import ImageFeatures, extract
from ..errors import UserError
from ..foundation.artifacts import read_json, write_tensors
from ..pipeline import environment
from .common import SHOTS, log, use_threads
from .encoder import encoder_of


def run(
    *,
    manifest: str,
    files: list[str],
    out: dict[str, str],
    model: str,
    dataset: str,
    source: dict[str, Any],
    encoded: list[str],
    views: int,
    keep_views: int,
    shots: int,
    seeds: list[int],
    repeat_shots: bool,
    encoder: dict[str, Any],
    batch_size: int,
    on_error: str,
    data_root: str | None,
    about: str,
    workers: int,
    device: str,
    store: str,
    threads: int,
    corrections: str | None = None,
    shard: int = 0,
    shards: int = 1,
) -> None:
    """Encode the images of each split, or of one of its shards: val, test, and the shots of all
    seeds averaged over augmented views.

    files: of the encoder. out: split -> file; that of a split which is not in ``encoded`` has no
    images. source: fields of `Source`. views: of each shot; keep_views: how many are kept one by
    one. shots, seeds: most shots per class, and the seeds that draw them. encoder, device, store:
    as in `encoder_of`. about: file on the software and machine of this run.

    A split that fails does not stop the others; at the end a UserError has one line per failure.
    Encoded images are in the feature store, so that the next try takes little time.
    """
    use_threads(threads)
    listed = read_json(manifest)
    twins = listed.get("near_twins", {}).get("groups", [])
    data = load_dataset(dataset, Source.of(source), Path(data_root) if data_root else None, twins)
    groups = group_numbers(data, twins)
    loaded, failed = encoder_of(encoder, device, store), []
    for split, path in out.items():
        # Shots of all seeds are encoded together, as means of augmented views; `draws` says which
        # images each seed has.
        draws: dict[str, list[list[str]]] = {}
        views_here = 0
        try:
            if split not in encoded:
                chosen = Split([], np.empty(0, np.int64))
            elif split == SHOTS:
                views_here = views
                train = data.split("train")
                chosen, draws = shot_images(train, data.classes, shots, seeds, repeat_shots)
            else:
                chosen = data.split(split)
            features = extract(
                data,
                chosen.ids,
                chosen.labels,
                loaded,
                batch_size=batch_size,
                workers=workers,
                store=loaded.store,
                views=views_here,
                keep_views=keep_views if views_here else 0,
                shard=(shard, shards),
                on_error="skip" if on_error == "skip" else "fail",
            )
        except UserError as error:
            failed.append(str(error))
            continue
        meta = {
            "model": model,
            "dataset": dataset,
            "split": split,
            "views": views_here,
            "classes": data.classes,
            "encoder": loaded.metadata(),
            "draws": draws,
            "fingerprint": listed["fingerprint"],
        }
        write(Path(path), features, meta, groups)
    if failed:
        raise UserError("\n".join(dict.fromkeys(failed)))
    # last: it describes the run that wrote the features
    environment.write(Path(about), loaded.device.type)


def group_numbers(data: Dataset, twins: Sequence[Sequence[str]]) -> dict[str, int] | None:
    """Image id -> number of its group of near twins, over all splits of a data set; None without
    near twins.
    """
    if not twins:
        return None
    return numbers([i for split in data.splits.values() for i, _ in split], twins)


def shot_images(
    train: Split, classes: list[str], most: int, seeds: Sequence[int], repeat: bool
) -> tuple[Split, dict[str, list[list[str]]]]:
    """The training images that any seed draws, in the order of the split; and the draws.

    most: largest number of shots. Draws: seed -> for each shot number a list of one image id per
    class. UserError if a class has fewer images and they may not repeat.
    """
    if not repeat:
        refuse_short(train.labels, classes, most)
    drawn: set[int] = set()
    draws: dict[str, list[list[str]]] = {}
    # the largest number of shots: a smaller one is the first images of each draw
    for seed in seeds:
        shots = draw_shots(train.labels, most, seed, len(classes))
        drawn.update(shots.tolist())
        draws[str(seed)] = [[train.ids[i] for i in shot] for shot in np.split(shots, most)]
    order = sorted(drawn)
    return Split([train.ids[i] for i in order], train.labels[order]), draws


def write(
    path: Path,
    features: ImageFeatures,
    meta: dict[str, Any],
    groups: Mapping[str, int] | Sequence[int] | None,
) -> None:
    """Write features. groups: the number of each image's group, by its id or in the order of the
    features; None without near twins.
    """
    for image, reason in features.skipped:
        log.warning("skipped %s: %s", image, reason)
    of_features = {
        "ids": features.ids,
        "skipped": features.skipped,
        "extraction": features.metadata,
    }
    tensors = {"features": features.features, "labels": features.labels}
    if features.kept_views is not None:
        tensors["views"] = features.kept_views
    if groups is not None:
        of_images = groups
        if isinstance(groups, Mapping):
            of_images = [groups[i] for i in features.ids]
        tensors["groups"] = torch.tensor(of_images, dtype=torch.int64)
    write_tensors(path, tensors, {**meta, **of_features})
