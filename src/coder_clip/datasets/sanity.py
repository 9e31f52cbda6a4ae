"""Check images before anything is encoded."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ..errors import UserError
from ..foundation.progress import progress
from .base import Dataset
from .folder import FolderDataset, ManifestEntry, file_entry
from .shots import refuse_short

_Key = TypeVar("_Key", bound=Hashable)
SHOWN = 3  # examples in a line
MANY = 2000  # files whose opening takes long enough to show how far it is
END = 4096  # bytes at the end of a file, by which different images of one size are told apart
COPIES = {  # what copies spoil, the worst first
    "classes": "are in several classes, so that some labels are wrong",
    "splits": "are in several splits, so images that are evaluated were seen before",
    "same": "appear twice in their class and count twice",
}


def refuse_unusable(data: Dataset, needed: Sequence[str], shots: int | None) -> None:
    """Refuse a data set that a run cannot use.

    needed: splits. shots: training images that each class needs; None for no minimum.

    UserError, one line: a single class, a split without images, a class with too few training
    images.
    """
    if len(data.classes) == 1:
        (name,) = data.classes
        # the only class consists of several folders: root is probably one level too high
        folders = sorted(getattr(data, "below", {}).get(name, ""))
        advice = "add another class folder"
        if len(folders) > 1:
            advice = (
                f"if the folders {_some(folders)} below it are the classes, root has to be the "
                "folder above them"
            )
        raise UserError(
            f"data set '{data.name}': '{name}' is the only class, so every prediction would be "
            f"correct; {advice}"
        )
    if shots is not None:
        try:
            refuse_short(data.split("train").labels, data.classes, shots)
        except UserError as error:
            why = ""
            if isinstance(data, FolderDataset) and data.twins:
                why = "; photos of one scene stay in one split (docs/method.md, near twins)"
            raise UserError(f"data set '{data.name}': {error}{why}") from None
    for split in needed:
        if not len(data.split(split)):
            raise UserError(
                f"data set '{data.name}' has no {split} images; see docs/photos.md for how folders "
                "are split"
            )


def copies(data: Dataset, listed: Sequence[ManifestEntry] = ()) -> dict[str, list[list[str]]]:
    """Kind of copies (a key of `COPIES`) -> groups of images with the same bytes.

    A group is in the first kind that fits.

    listed: entries with the hashes of all images, if they are known. Else every file is opened, and
    files with the same size and end are hashed: only these can be copies.
    UserError if a file of a folder cannot be read; such a file of a published data set is left out.
    """
    where = {i: (split, label) for split, pairs in data.splits.items() for i, label in pairs}
    found: dict[str, list[list[str]]] = {kind: [] for kind in COPIES}
    # a run reads all files of a folder, also photos that a correction leaves out
    read = data.folder_class if isinstance(data, FolderDataset) else where
    entries = (e for e in listed or _candidates(data, sorted(read)) if e.path in where)
    for ids in _equal((e.path, (e.size, e.sha256)) for e in entries):
        splits, labels = zip(*(where[i] for i in ids), strict=True)
        # the worst first: a wrong label in some class, then an image that was seen before its test
        if len(set(labels)) > 1:
            kind = "classes"
        elif len(set(splits)) > 1:
            kind = "splits"
        else:
            kind = "same"
        found[kind].append(ids)
    return found


def _candidates(data: Dataset, ids: list[str]) -> Iterable[ManifestEntry]:
    """Yield the entries, with hashes, of the images that share size and end with another image."""
    with (
        progress(len(ids), "img", "looking for copies", wanted=len(ids) > MANY) as bar,
        ThreadPoolExecutor() as pool,
    ):
        ends = []
        for first in range(0, len(ids), MANY):  # a million at once would take gigabytes
            some = ids[first : first + MANY]
            ends_of_some = pool.map(lambda i: _end(data.path(i)), some)
            for image_id, end in zip(some, ends_of_some, strict=True):
                if end:
                    ends.append((image_id, end))
                elif isinstance(data, FolderDataset):
                    # the UserError of a file that cannot be read: a run hashes all files
                    file_entry(image_id, data.path(image_id))
                bar.update()
        # files that differ are rarely of one size and end, so few are hashed in full
        alike = [i for group in _equal(ends) for i in group]
        yield from pool.map(lambda i: file_entry(i, data.path(i)), alike)


def _equal(keys: Iterable[tuple[str, _Key]]) -> list[list[str]]:
    """Groups of two or more images with the same key. keys: (image id, key) pairs."""
    groups: dict[_Key, list[str]] = defaultdict(list)
    for image_id, key in keys:
        groups[key].append(image_id)
    return [ids for ids in groups.values() if len(ids) > 1]


def _end(path: Path) -> tuple[int, bytes] | None:
    """Size, and a hash of the last bytes, of a file; None if it cannot be read."""
    try:
        if not path.is_file():  # a pipe would be waited for
            return None
        with path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            stream.seek(-min(END, size), os.SEEK_END)
            return size, hashlib.blake2b(stream.read(), digest_size=16).digest()
    except OSError:
        return None


def warnings(data: FolderDataset) -> list[str]:
    """A line for each thing that looks like a mistake in a folder, other than `copies`."""
    said = []
    # "": a class folder with images directly inside
    mixed = any("" in folders for folders in data.below.values())
    for name, folders in data.below.items():
        # a class made of several folders, beside classes that hold their images themselves
        if mixed and "" not in folders and len(folders) > 1:
            said.append(
                f"class '{name}' is made of the folders {_some(sorted(folders))} below it; if "
                "these are classes, move them up beside the others"
            )
    by_case: dict[str, list[str]] = {}
    for name in data.classes:
        by_case.setdefault(name.casefold(), []).append(f"'{name}'")
    said += [
        f"classes {' and '.join(names)} differ only in case, which most encoders ignore; without "
        "texts of their own all of their images get the first"
        for names in by_case.values()
        if len(names) > 1
    ]
    return said


def lines(found: Mapping[str, list[list[str]]]) -> list[str]:
    """A line for each kind of copies, the worst first. found: from `copies`."""
    said = []
    for kind, groups in found.items():
        shown = "; ".join(" = ".join(group[:SHOWN]) for group in groups[:SHOWN])
        more = f" and {len(groups) - SHOWN} more" if len(groups) > SHOWN else ""
        if groups:
            said.append(f"{len(groups)} images {COPIES[kind]}: {shown}{more}")
    return said


def _some(names: Sequence[str]) -> str:
    """The first SHOWN names, with "…" if there are more."""
    if len(names) > SHOWN:
        return ", ".join([*names[:SHOWN], "…"])
    return ", ".join(names)
