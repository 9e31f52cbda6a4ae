"""What would spoil a run on someone's images, found before anything is encoded."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

from ..errors import UserError
from .base import SPLITS, Dataset
from .folder import file_entry
from .shots import refuse_short

if TYPE_CHECKING:
    from .folder import FolderDataset
    from .published import PublishedDataset

SHOWN = 3  # examples in a line


class Copies(TypedDict):
    """Groups of image ids with the same bytes. Each group is in the first list that fits.

    classes: in several classes, so that one of the labels is wrong. splits: in several splits, so that a test image may
    have been seen. same: in one class and split, where it counts twice.
    """

    classes: list[list[str]]
    splits: list[list[str]]
    same: list[list[str]]


def refuse_unusable(data: Dataset, needed: Sequence[str], shots: int | None) -> None:
    """needed: splits. shots: the most that a class has to give; None where fewer will do.

    UserError, one line: a single class, a split without images, a class with too few training images.
    """
    if len(data.classes) == 1:
        raise UserError(_single(data))
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


def _single(data: Dataset) -> str:
    """A folder of class folders one level too high is the most likely reason."""
    name = data.classes[0]
    found = f"data set '{data.name}': '{name}' is the only class, so every prediction would be correct"
    folders = {i.rsplit("/", 1)[0] for split in SPLITS for i in _ids(data, split)}
    if len(folders) > 1:  # all below the one class folder, with or without a split folder above it
        some = ", ".join(sorted(folders)[:SHOWN])
        return f"{found}; if {some} are the classes, root has to be the folder above them"
    return f"{found}; add another class folder"


def _ids(data: Dataset, split: str) -> list[str]:
    try:
        return data.split(split).ids
    except UserError:
        return []


def copies(data: FolderDataset | PublishedDataset) -> Copies:
    """Images with the same bytes. UserError where a file cannot be read."""
    where = {i: (split, label) for split in SPLITS for i, label in _labelled(data, split)}
    groups: dict[tuple[int, str], list[str]] = defaultdict(list)
    listed = data.manifest() if hasattr(data, "manifest") else [file_entry(i, data.path(i)) for i in where]
    for entry in listed:
        if entry.path in where:
            groups[entry.size, entry.sha256].append(entry.path)
    return by_harm((ids for ids in groups.values() if len(ids) > 1), where)


def by_harm(groups: Iterable[Sequence[str]], where: Mapping[str, tuple[str, int]]) -> Copies:
    """Groups of images that are the same, sorted by what they spoil. where: image id -> split and label."""
    found = Copies(classes=[], splits=[], same=[])
    for ids in groups:
        splits, labels = {where[i][0] for i in ids}, {where[i][1] for i in ids}
        kind = found["classes"] if len(labels) > 1 else found["splits"] if len(splits) > 1 else found["same"]
        kind.append(list(ids))
    return found


def _labelled(data: Dataset, split: str) -> Iterator[tuple[str, int]]:
    try:
        chosen = data.split(split)
    except UserError:  # a folder need not have them all
        return
    yield from zip(chosen.ids, chosen.labels.tolist(), strict=True)


def warnings(data: FolderDataset) -> list[str]:
    """What looks like a mistake in a folder but need not be one, a line each. UserError where a file cannot be read."""
    return [*_nested(data), *lines(copies(data))]


def _nested(data: FolderDataset) -> list[str]:
    """Classes made of several folders, beside classes that hold their images themselves."""
    if not any("" in folders for folders in data.below.values()):
        return []
    found = []
    for name, folders in data.below.items():
        if "" not in folders and len(folders) > 1:
            some = ", ".join(sorted(folders)[:SHOWN]) + (", …" if len(folders) > SHOWN else "")
            found.append(
                f"class '{name}' is made of the folders {some} below it; if these are classes, move them up beside the "
                "others"
            )
    return found


def lines(found: Copies) -> list[str]:
    """What to say of copies, the worst first."""
    said = {
        "classes": "are in several classes, so that some labels are wrong",
        "splits": "are in several splits, so images that are evaluated were seen before",
        "same": "appear twice in their class and count twice",
    }
    out = []
    for kind, what in said.items():
        groups: list[list[str]] = found[kind]  # type: ignore[literal-required]
        if groups:
            some = "; ".join(" = ".join(g[:SHOWN]) for g in groups[:SHOWN])
            more = f" and {len(groups) - SHOWN} more" if len(groups) > SHOWN else ""
            out.append(f"{len(groups)} images {what}: {some}{more}")
    return out
