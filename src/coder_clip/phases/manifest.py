"""Phase manifest: the images of a data set (path, size, hash).

Two people can check that they used the same.

The phases after image_features read these class names and the features, never the data set itself:
with pulled artefacts they run without the images.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ..datasets import load_dataset
from ..datasets.base import Dataset, Source
from ..datasets.corrections import counts
from ..datasets.sanity import copies, lines, refuse_unusable, warnings
from ..datasets.twins import counts as counts_of_twins
from ..datasets.twins import said as twins_said
from ..foundation.artifacts import write_json


def run(
    *,
    corrections: str | None,
    out: str,
    dataset: str,
    source: dict[str, Any],
    needed: list[str],
    shots: int | None,
    on_error: str,
    listing: str | None,
    data_root: str | None,
) -> None:
    """List the images of a data set: counts, and path, size and hash of every file of a folder.

    source: fields of `Source`. needed: splits that the run encodes, but shots; shots: images that
    each class needs for them, None if images may repeat. listing: cheap fingerprint of the images,
    by which a change is noticed.

    For a user's folder, which may change, the manifest lists its files and copies of images (with a
    warning), and counts corrections of labels. A published data set is identified by the
    fingerprint of its split files alone: a list of a million files would say no more. UserError if
    images are missing, or too few for a run.
    """
    # A folder of the user has no published counts to compare with: its files are hashed and
    # searched for copies. A published data set is checked for missing images (`verified`) and,
    # with a warning, for other counts than the published ones (`miscounted`).
    described = Source.of(source)
    data: Any = load_dataset(dataset, described, Path(data_root) if data_root else None)
    is_folder = described.root is not None
    if is_folder:
        refuse_unusable(data, needed, shots)
    files: list[Any] = data.manifest() if is_folder else []
    published: dict[str, Any] = (
        data.verified(on_error == "skip") if hasattr(data, "verified") else {}
    )
    miscounted = data.miscounted() if published else None
    if miscounted:
        counted_images = ", ".join(f"{split} {n:,}" for split, n in data.counts.items())
        logging.getLogger("coder_clip").warning(
            "data set %s: %s, but %s", dataset, counted_images, miscounted
        )
    more: dict[str, Any] = {"grouped_by": data.grouped_by}
    if corrections:
        more["corrections"] = {
            "file": corrections,
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
        out,
        {
            "dataset": dataset,
            "classes": data.classes,
            "images": data.counts,
            "fingerprint": data.fingerprint(),
            "listing": listing,
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
