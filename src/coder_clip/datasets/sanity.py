"""Check images before anything is encoded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ..errors import UserError
from .base import Dataset
from .folder import file_entry
from .shots import refuse_short

if TYPE_CHECKING:
    from .folder import FolderDataset
    from .published import PublishedDataset

SHOWN = 3  # examples in a line
COPIES = {  # what copies spoil, the worst first
    "classes": "are in several classes, so that some labels are wrong",
    "splits": "are in several splits, so images that are evaluated were seen before",
    "same": "appear twice in their class and count twice",
}


def refuse_unusable(data: Dataset, needed: Sequence[str], shots: int | None) -> None:
    """Refuse a data set that a run cannot use.

    needed: splits. shots: training images that each class needs; None if fewer will do.

    UserError, one line: a single class, a split without images, a class with too few training images.
    """
    if len(data.classes) == 1:
        (name,) = data.classes
        folders = sorted(getattr(data, "below", {}).get(name, ""))
        advice = "add another class folder"
        if len(folders) > 1:
            advice = f"if the folders {_some(folders)} below it are the classes, root has to be the folder above them"
        raise UserError(
            f"data set '{data.name}': '{name}' is the only class, so every prediction would be correct; {advice}"
        )
    if shots is not None:
        try:
            refuse_short(data.split("train").labels, data.classes, shots)
        except UserError as error:
            raise UserError(f"data set '{data.name}': {error}") from None
    for split in needed:
        if not len(data.split(split)):
            raise UserError(
                f"data set '{data.name}' has no {split} images; see docs/photos.md for how folders are split"
            )


def copies(data: FolderDataset | PublishedDataset) -> dict[str, list[list[str]]]:
    """Groups of images with the same bytes by what they spoil (`COPIES`), each in the first list that fits.

    UserError if a file cannot be read.
    """
    where = {i: (split, label) for split, pairs in data.splits.items() for i, label in pairs}
    groups: dict[tuple[int, str], list[str]] = defaultdict(list)
    listed = data.manifest() if hasattr(data, "manifest") else [file_entry(i, data.path(i)) for i in where]
    for entry in listed:
        if entry.path in where:
            groups[entry.size, entry.sha256].append(entry.path)
    found: dict[str, list[list[str]]] = {kind: [] for kind in COPIES}
    for ids in groups.values():
        if len(ids) > 1:
            splits, labels = zip(*(where[i] for i in ids), strict=True)
            kind = "classes" if len(set(labels)) > 1 else "splits" if len(set(splits)) > 1 else "same"
            found[kind].append(ids)
    return found


def warnings(data: FolderDataset) -> list[str]:
    """A line for each thing that looks like a mistake in a folder. UserError if a file cannot be read."""
    # classes made of several folders, beside classes that hold their images themselves
    mixed = any("" in folders for folders in data.below.values())
    nested = {name: f for name, f in data.below.items() if mixed and "" not in f and len(f) > 1}
    said = [
        f"class '{name}' is made of the folders {_some(sorted(folders))} below it; if these are classes, move them up "
        "beside the others"
        for name, folders in nested.items()
    ]
    by_case: dict[str, list[str]] = {}
    for name in data.classes:
        by_case.setdefault(name.casefold(), []).append(f"'{name}'")
    said += [
        f"classes {' and '.join(names)} differ only in case, which most encoders ignore; without texts of their own "
        "all of their images get the first"
        for names in by_case.values()
        if len(names) > 1
    ]
    return said + lines(copies(data))


def lines(found: Mapping[str, list[list[str]]]) -> list[str]:
    """A line for each kind of copies, the worst first."""
    return [
        f"{len(groups)} images {COPIES[kind]}: {'; '.join(' = '.join(g[:SHOWN]) for g in groups[:SHOWN])}"
        + (f" and {len(groups) - SHOWN} more" if len(groups) > SHOWN else "")
        for kind, groups in found.items()
        if groups
    ]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
