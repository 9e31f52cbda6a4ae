"""Groups of images that a user declares, such as frames of one video.

They replace the near twins that would be looked for (``twins``).

A CSV file names images by their ids; an image that it does not name is a group of its own:

    image,group
    Archery/v_Archery_g01_c01.jpg,v_Archery_g01

A JSON file, for a folder of features, has a group for each row, as a name or a number:

    {"val": [0, 0, 1, …], "test": ["v_Archery_g02", …]}
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest
from .corrections import read_cells

Groups = list[list[str]]  # two or more image ids each
HEADER = ["image", "group"]
EVALUATED = ("val", "test")


def of_images(path: Path, ids: Collection[str]) -> Groups:
    """The groups of two or more images of a CSV file, in the order of the file.

    ids: the images of the data set. UserError, with the line, for an image that is not among them
    or is there twice, and for a file that is missing or invalid.
    """
    group_of: dict[str, str] = {}
    known = frozenset(ids)
    for where, (image, group) in read_cells(path, HEADER):
        if image not in known:
            raise UserError(f"{where}: the data set has no image '{image}'{nearest(image, known)}")
        if image in group_of:
            raise UserError(f"{where}: '{image}' is there twice; keep one line")
        if not group:
            raise UserError(f"{where}: '{image}' has no group; remove the line")
        group_of[image] = group
    return _gathered(group_of)


def of_rows(path: Path, splits: Mapping[str, Sequence[str]]) -> Groups:
    """The groups of two or more images, from a JSON file of a group per row or from a CSV file.

    A file whose name ends in .csv is read by `of_images`. The JSON file has a list for each split.

    splits: split -> ids of its rows in their order. Groups of the same name in several splits are
    one group. Rows of train may be left out: shots are compared with nothing. UserError for a file
    that is missing or invalid, for a split without groups, and for another number of rows.
    """
    if path.suffix.lower() == ".csv":
        return of_images(path, {image for ids in splits.values() for image in ids})
    lists = _read(path)
    unknown = [name for name in lists if name not in splits]
    if unknown:
        raise UserError(f"{path}: '{unknown[0]}' is not a split ({', '.join(splits)})")
    absent = [split for split in EVALUATED if split not in lists]
    if absent:
        raise UserError(f"{path}: no groups of {absent[0]}; add a list with one for each row")
    group_of: dict[str, str] = {}
    for split, groups in lists.items():
        ids = splits[split]
        if len(groups) != len(ids):
            raise UserError(
                f"{path}: {len(groups):,} groups of {split}, which has {len(ids):,} rows"
            )
        for image, group in zip(ids, groups, strict=True):
            # train and val can be the same images
            if group_of.setdefault(image, group) != group:
                raise UserError(f"{path}: {image} is in two groups, '{group_of[image]}', '{group}'")
    return _gathered(group_of)


def _read(path: Path) -> dict[str, list[str]]:
    """Split -> the groups of its rows, as text."""
    try:
        document: Any = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise UserError(f"no file of groups {path}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not isinstance(document, dict):
        raise UserError(f'{path}: not a table of split and groups, such as {{"test": [0, 0, 1]}}')
    lists = {}
    for split, groups in document.items():
        if not isinstance(groups, list) or not all(map(_is_group, groups)):
            raise UserError(f"{path}: the groups of {split} are not a list of names or numbers")
        lists[split] = [str(group) for group in groups]
    return lists


def _is_group(group: Any) -> bool:
    """True for a name or a whole number."""
    if isinstance(group, bool):
        return False
    return isinstance(group, int) or (isinstance(group, str) and bool(group))


def _gathered(group_of: Mapping[str, str]) -> Groups:
    """Groups of two or more images. group_of: image -> name of its group."""
    found: dict[str, list[str]] = {}
    for image, group in group_of.items():
        found.setdefault(group, []).append(image)
    return [members for members in found.values() if len(members) > 1]
