"""Copies of photos, and near twins: shots of one scene, the same photo scaled or saved again.

Copies have the same bytes. Near twins are found by the rule that keeps them together when a run
splits photos (`coder_clip.datasets.twins.near_twins`): by pixels, so no encoder is needed.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from PIL import Image

from coder_clip.datasets.images import WORKED_ON, read_image
from coder_clip.datasets.twins import near_twins


def duplicate_groups(files: Sequence[Path]) -> list[tuple[list[int], bool]]:
    """Groups of copies and near twins, by position: (photos, True if all are exact copies).

    A group begins with the photo to keep: the largest file, of equal ones one that is no link, then
    the first. Files that cannot be read have no copies.
    """
    of_name = {str(i): path for i, path in enumerate(files)}

    def small(name: str) -> Image.Image:
        return read_image(of_name[name], least=WORKED_ON)

    number = {name: int(name) for name in of_name}
    # the order of ids is that of the groups
    groups = near_twins(list(of_name), small)
    found = []
    for group in groups:
        photos = _best_first([number[name] for name in group], files)
        found.append((photos, len({_sha256(files[i]) for i in photos}) == 1))
    exact = _copies([i for i in range(len(files)) if not _in(i, found)], files)
    return sorted(found + exact, key=lambda group: min(group[0]))


def _copies(some: Sequence[int], files: Sequence[Path]) -> list[tuple[list[int], bool]]:
    """Exact copies among files that could not be compared by their pixels."""
    by_size = defaultdict(list)
    for i in some:
        by_size[_size(files[i])].append(i)
    by_content = defaultdict(list)
    for size, same in by_size.items():
        if size > 0 and len(same) > 1:
            for i in same:
                by_content[_sha256(files[i])].append(i)
    groups = [same for sha256, same in by_content.items() if sha256 and len(same) > 1]
    return [(_best_first(same, files), True) for same in groups]


def _best_first(photos: Sequence[int], files: Sequence[Path]) -> list[int]:
    """Photos of one group, the one to keep first."""

    def key(photo: int) -> tuple[int, bool, int]:
        path = files[photo]
        is_link = os.path.realpath(path) != os.path.abspath(path)
        return -_size(path), is_link, photo

    return sorted(photos, key=key)


def _in(photo: int, groups: Sequence[tuple[list[int], bool]]) -> bool:
    return any(photo in photos for photos, _ in groups)


def _size(path: Path) -> int:
    """Bytes of a file; 0 if it is gone."""
    with suppress(OSError):
        return os.stat(path).st_size
    return 0


def _sha256(path: Path) -> str:
    """The sha256 of a file; "" if it is gone."""
    with suppress(OSError), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
    return ""
