"""Which published data sets of a configuration are not here, and which of these a run downloads."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from ..datasets import load_below
from ..datasets.availability import look_at
from ..datasets.published import data_root, existing, is_here
from ..errors import UserError
from ..foundation.artifacts import Paths

if TYPE_CHECKING:
    from .document import Document


def refuse_absent(
    config: Document, file: Path, wanted: Collection[str], downloaded: Collection[str]
) -> None:
    """UserError if a published data set of ``wanted`` is missing.

    The message names all that are missing, so that you can get all at once. downloaded: data sets
    that the run downloads.
    """
    published = [n for n in config.datasets if config.published(n)]
    if not set(wanted) & set(published):
        return
    absent = [n for n in absent_data(config, opened=wanted) if n not in downloaded]
    if set(absent) & set(wanted):
        # to go without them is advice only if some data set is left
        without = (
            "; to go without them: 'make … ONLY_PRESENT=1', or CODER_CLIP_ONLY_PRESENT=1 before "
            "another command"
        )
        others = ""
        if len(absent) < len(config.datasets):
            others = without
        raise UserError(
            f"{len(absent)} of {len(published)} published data sets are not in "
            f"{data_root(config.data_root)}: {', '.join(absent)}; 'coder-clip check --config "
            f"{file}' says how to get each{others}"
        )


def to_download(config: Document) -> list[str]:
    """Published data sets that a run downloads if ``fetch`` is set: those that lack files, none of
    which the user has to download by hand.
    """
    if not config.fetch:
        return []
    downloaded = []
    for name in absent_data(config, whole=True):
        data = look_at(name, data_root(config.data_root))
        if data.get and not data.by_hand:
            downloaded.append(name)
    return downloaded


def absent_data(
    config: Document, whole: bool = False, opened: Collection[str] = (), skip: bool = False
) -> list[str]:
    """Published data sets that no run can use, because neither their images nor the features of all
    their images are here.

    whole: also data sets that lack some images. A data set with a manifest counts as whole, because
    a job has checked its images already. skip: with whole, accept missing images if each split has
    at least one image. opened: data sets whose images a job opens; for these, features are not
    enough. UserError if the folder of published data sets is not known.
    """
    paths = Paths(config.results)
    published = [n for n in config.datasets if config.published(n)]
    candidates = [n for n in published if n in opened or not _is_encoded(config, n)]
    if not candidates:
        return []
    root = data_root(config.data_root)
    # with `fetch` the root need not exist, because the run makes it
    if root.exists() or not config.fetch:
        existing(root)  # only for its error

    def unusable(name: str) -> bool:
        """True if the images of a data set are not here; with ``whole``, also if some are not."""
        if not is_here(name, root, config.datasets[name].split):
            return True
        if not whole or paths.manifest(name).is_file():
            return False
        return not _is_whole(config, name, root, skip)

    return [name for name in candidates if unusable(name)]


def _is_whole(config: Document, name: str, root: Path, skip: bool) -> bool:
    """True if no image is missing; with skip, if each split has an image that is here."""
    try:
        data = load_below(name, root, config.datasets[name].split)
    except UserError:
        return False
    missing = set(data.missing())
    if not missing:
        return True
    images_of_splits = [{image for image, _ in pairs} for pairs in data.splits.values()]
    return skip and all(images - missing for images in images_of_splits)


def _is_encoded(config: Document, name: str) -> bool:
    """True if the results have the manifest of the data set and all its features, so that its
    images are not needed.
    """
    paths = Paths(config.results)
    features = [
        paths.image_features(m, name, s) for m in config.models for s in config.encoded(name)
    ]
    return all(file.is_file() for file in (paths.manifest(name), *features))
