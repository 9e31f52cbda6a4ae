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
    """UserError that names all published data sets that are missing, if any of ``wanted`` is, so
    that you can get all
    at once. downloaded: by the run."""
    published = [n for n in config.datasets if config.published(n)]
    if not set(wanted) & set(published):
        return
    absent = [n for n in absent_data(config, opened=wanted) if n not in downloaded]
    if set(absent) & set(wanted):
        # to go without them is advice only if some data set is left
        without = (
            "; to go without them: 'make … ONLY_PRESENT=1', "
            "'snakemake … --config only_present=true', "
            "'coder-clip check --only-present'"
        )
        others = without if len(absent) < len(config.datasets) else ""
        raise UserError(
            f"{len(absent)} of {len(published)} published data sets are not in "
            f"{data_root(config.data_root)}: "
            f"{', '.join(absent)}; 'coder-clip check --config {file}' says how to get each{others}"
        )


def to_download(config: Document) -> list[str]:
    """Published data sets that a run downloads (``fetch``): anyone may download all files that they
    need and lack.
    """
    if not config.fetch:
        return []
    found = [look_at(n, data_root(config.data_root)) for n in absent_data(config, whole=True)]
    return [each.name for each in found if each.get and not each.by_hand]


def absent_data(
    config: Document, whole: bool = False, opened: Collection[str] = (), skip: bool = False
) -> list[str]:
    """Published data sets that no run can use: neither their images nor the features of all of them
    are here.

    whole: also those of which some image is missing, unless a manifest says that all were there.
    skip: with whole, only those of which all images of a split are missing. opened: those whose
    images a job opens, so that features are not enough. UserError if the folder of published data
    sets is not known.
    """
    paths = Paths(config.results)
    published = [n for n in config.datasets if config.published(n)]
    missing = [n for n in published if n in opened or not _is_encoded(config, n)]
    if not missing:
        return []
    root = data_root(config.data_root)
    # with `fetch` the root need not exist, because the run makes it
    if root.exists() or not config.fetch:
        existing(root)

    def unusable(name: str) -> bool:
        if not is_here(name, root, config.datasets[name].split):
            return True
        # where a manifest is, a job has looked at the images already
        if not whole or paths.manifest(name).is_file():
            return False
        return not _is_whole(config, name, root, skip)

    return [name for name in missing if unusable(name)]


def _is_whole(config: Document, name: str, root: Path, skip: bool) -> bool:
    """True if no image is missing; with skip, if each split has one that is not."""
    given = config.datasets[name]
    try:
        data = load_below(name, root, given.split)
    except UserError:
        return False
    missing = set(data.missing())
    return not missing or (
        skip and all({i for i, _ in pairs} - missing for pairs in data.splits.values())
    )


def _is_encoded(config: Document, name: str) -> bool:
    """True if the results hold everything that is made from its images: after a pull they are not
    needed.
    """
    paths = Paths(config.results)
    features = [
        paths.image_features(m, name, s) for m in config.models for s in config.encoded(name)
    ]
    return all(file.is_file() for file in (paths.manifest(name), *features))
