"""What can be said about the images of a data set without reading them."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..datasets import image_folder, load_dataset
from ..datasets import listing as published_listing
from ..datasets.base import Described
from ..datasets.folder import image_files
from ..foundation.artifacts import Paths, read_json

if TYPE_CHECKING:
    from .document import Document


def listing(config: Document, dataset: str) -> str | None:
    """Cheap fingerprint of the images, without reading them.

    A folder: hash over paths and sizes of its files. A published data set: hash of its split files.
    If the images are not on this machine: the fingerprint in the manifest, None without a manifest.
    """
    given = config.datasets[dataset]
    root, features = image_folder(dataset, given), given.features
    # images on this machine count before the fingerprint in a manifest
    if features is not None and features.is_dir():
        from ..datasets.features import listing as listing_of_features  # which imports torch

        return listing_of_features(features) + _files(given)
    if root is not None and root.is_dir():
        return _listing(root) + _files(given)
    if config.published(dataset):
        of_entry = published_listing(dataset, config.datasets[dataset], config.data_root)
        if of_entry:
            return of_entry + _missing(config, dataset)
    path = Paths(config.results).manifest(dataset)
    if not path.is_file():
        return None
    return str(read_json(path)["listing"])


def _files(given: Described) -> str:
    """Hashes of the files of groups and splits; "" without them, or where they are not here."""
    found = ""
    for key, path in (("groups", given.groups), ("split", given.split_file)):
        if path is not None and path.is_file():
            found += f" {key} {hashlib.sha256(path.read_bytes()).hexdigest()}"
    return found


def _missing(config: Document, dataset: str) -> str:
    """Hash of the missing images, so that features are recomputed when an image reappears.

    "" if none is missing, or missing images stop a run (on_error: fail).
    """
    if config.features.on_error != "skip":
        return ""
    data: Any = load_dataset(dataset, config.datasets[dataset], config.data_root)
    missing = data.missing()
    if not missing:
        return ""
    return f" without {hashlib.sha256(repr(missing).encode()).hexdigest()}"


@cache
def _listing(root: Path) -> str:
    """Hash over paths and sizes of the image files in a folder."""
    # a broken link has no size, and must not stop the listing
    sizes = ((p, p.stat().st_size if p.exists() else -1) for p in image_files(root))
    files = sorted((p.relative_to(root).as_posix(), size) for p, size in sizes)
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()
