"""Phase manifest: the images of a data set (path, size, hash).

Two people can check that they used the same.

The phases after image_features read these class names and the features, never the data set itself:
with pulled artefacts they run without the images.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ..datasets import load_dataset
from ..datasets.base import Dataset
from ..datasets.corrections import counts
from ..datasets.sanity import copies, lines, refuse_unusable, warnings
from ..datasets.twins import counts as counts_of_twins
from ..datasets.twins import said as twins_said
from ..foundation.artifacts import Paths, read_json, write_json

if TYPE_CHECKING:
    from ..pipeline.config import Config


def run(config: Config, dataset: str) -> None:
    """Write ``manifests/{dataset}.json``.

    For a user's folder, which may change, the manifest lists its files and copies of images (with a
    warning), and counts corrections of labels. A published data set is identified by the
    fingerprint of its split files alone: a list of a million files would say no more. UserError if
    images are missing, or too few for a run.
    """
    # A folder of the user has no published counts to compare with: its files are hashed and
    # searched for copies. A published data set is checked for missing images (`verified`) and,
    # with a warning, for other counts than the published ones (`miscounted`).
    data: Any = load_dataset(dataset, config.datasets[dataset], config.data_root)
    is_folder = config.datasets[dataset].root is not None
    if is_folder:
        refuse_unusable(data, config.encoded(dataset)[-2:], shots_needed(config, dataset))
    files: list[Any] = data.manifest() if is_folder else []
    skip = config.features.on_error == "skip"
    published: dict[str, Any] = data.verified(skip) if hasattr(data, "verified") else {}
    miscounted = data.miscounted() if published else None
    if miscounted:
        counted_images = ", ".join(f"{split} {n:,}" for split, n in data.counts.items())
        logging.getLogger("coder_clip").warning(
            "data set %s: %s, but %s", dataset, counted_images, miscounted
        )
    more: dict[str, Any] = {"grouped_by": data.grouped_by}
    corrections = config.datasets[dataset].corrections
    if corrections:
        more["corrections"] = {
            "file": corrections.as_posix(),
            **counts(data.corrections, data.split_of),
        }
    if data.twins:
        counted = twin_counts(data)
        more["near_twins"] = {"test": counted, "groups": data.twins}
        for line in twins_said(counted):
            logging.getLogger("coder_clip").warning("data set %s: %s", dataset, line)
    if is_folder:
        found_copies = copies(data, files)
        for line in [*warnings(data), *lines(found_copies)]:
            logging.getLogger("coder_clip").warning("data set %s: %s", dataset, line)
        kinds = {kind: groups for kind, groups in found_copies.items() if groups}
        if kinds:
            more["copies"] = kinds
    write_json(
        Paths(config.results).manifest(dataset),
        {
            "dataset": dataset,
            "classes": data.classes,
            "images": data.counts,
            "fingerprint": data.fingerprint(),
            "listing": config.listing(dataset),
            "files": [f._asdict() for f in files],
            **more,
            **published,
        },
    )


def twin_counts(data: Dataset) -> dict[str, int]:
    """Numbers of test images with near twins (`twins.counts`), without images that a correction
    leaves out.
    """
    split_of = {i: split for split, pairs in data.splits.items() for i, _ in pairs}
    return counts_of_twins(split_of, data.twins)


def known_twins(config: Config, dataset: str) -> list[list[str]] | None:
    """The groups of near twins, lists of image ids, in the manifest; None if there is no manifest
    of the current images.
    """
    path = Paths(config.results).manifest(dataset)
    if not path.is_file():
        return None
    # a manifest of another listing describes other images
    document = read_json(path)
    if document.get("listing") != config.listing(dataset):
        return None
    return list(document.get("near_twins", {}).get("groups", []))


def shots_needed(config: Config, dataset: str) -> int | None:
    """Number of training images that each class needs; None if images may repeat."""
    if not config.few_shot(dataset) or config.adapter.repeat_shots:
        return None
    return config.most_shots()
