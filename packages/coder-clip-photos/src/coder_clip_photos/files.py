"""Find photos in files, folders and lists, show their paths, and copy them into folders by
class.
"""

from __future__ import annotations

import filecmp
import io
import itertools
import os
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from coder_clip.datasets.folder import image_files, is_unicode
from coder_clip.errors import UserError

from .classifier import Photo

NONE = "none of these"
FROM_STDIN = "-"


@dataclass(frozen=True)
class Places:
    """Photos in order, each once.

    named: those that were asked for by name, not found in one of the folders.
    skipped: (path, reason) of folders below that cannot be read, and of files with unusable names.
    others: ending -> number of files in the folders that are not images.
    """

    files: list[Path]
    named: set[str]
    folders: list[Path]
    skipped: list[tuple[str, str]]
    others: Counter[str]


def find(places: Sequence[str]) -> Places:
    """Find photos: files, images in folders at any depth, and for "-" the file names on standard
    input.

    These names are one per line, or have NUL between them. UserError for a place that does not
    exist, a pipe or device, a folder without images, or nothing at all.
    """
    # What the user named has to be there (UserError). What cannot be read in a folder below it is
    # only noted in `skipped`.
    files: list[Path] = []
    named: set[str] = set()
    folders: list[Path] = []
    skipped: list[tuple[str, str]] = []
    others = Counter[str]()

    def unreadable(error: OSError) -> None:
        skipped.append((str(error.filename), error.strerror or str(error)))

    def other(path: str) -> None:
        if is_unicode(path):
            others[Path(path).suffix.lower() or "without ending"] += 1
        else:
            skipped.append((path, "its name is not valid Unicode: rename it"))

    for name in (name for place in places for name in _listed(place)):
        path = Path(name)
        if path.is_dir():
            n, before = len(skipped), others.copy()
            below = list(image_files(path, unreadable, other))
            if not below:
                why = [f"cannot read {shown(p)}: {reason}" for p, reason in skipped[n : n + 1]]
                why += by_ending(others - before)
                raise UserError(f"no images in folder {'; '.join([shown(path), *why])}")
            files += below
            folders.append(path)
        elif path.is_file():
            named.add(str(path))
            if is_unicode(name):
                files.append(path)
            else:
                other(name)
        elif path.exists():
            raise UserError(
                f"{shown(path)} is a pipe or device; give files, "
                "folders, or '-' for a list of files"
            )
        elif re.match(r"\w+://", name):
            raise UserError(f"{shown(name)} is an address: download the photo, and give the file")
        else:
            raise UserError(f"no file or folder {shown(path)}")
    if not files and not skipped:
        raise UserError("no photos: the list is empty")
    return Places(list(dict.fromkeys(files)), named, folders, skipped, others)


def _listed(place: str) -> list[str]:
    """The place itself, or, for "-", the names on standard input."""
    if place != FROM_STDIN:
        return [place]
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(
            errors="surrogateescape"
        )  # as Python reads file names that are not UTF-8
    names = sys.stdin.read().removeprefix("\ufeff")
    return [n for n in (names.split("\0") if "\0" in names else names.splitlines()) if n.strip()]


def first_ten(parts: Sequence[str]) -> str:
    return ", ".join(parts[:10]) + (f" and {len(parts) - 10:,} more" if len(parts) > 10 else "")


def by_ending(others: Counter[str]) -> list[str]:
    """One line on files that were left out, if there are any: left out by ending: 3 .svg, 1
    .pdf.
    """
    counts = [f"{n:,} {shown(ending)}" for ending, n in others.most_common()]
    return [f"left out by ending: {first_ten(counts)}"] if counts else []


def shown(path: str | Path) -> str:
    """A path in one line: control characters such as a newline are escaped."""
    return re.sub(
        r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", lambda m: repr(m[0])[1:-1], str(path)
    )


def cut_middle(text: str, width: float, length: Callable[[str], float]) -> str:
    """The text, or its beginning and end with "…" between them so that its length is at most the
    width.
    """
    head, tail = text[: len(text) // 2], text[len(text) // 2 :]
    while (head or tail) and length(text) > width:
        head, tail = (head[:-1], tail) if len(head) >= len(tail) else (head, tail[1:])
        text = f"{head}…{tail}"
    return text


def refuse_within(option: str, target: Path, places: Places) -> None:
    """Refuse to write where photos are read: one would be lost, or the next call would read what
    was written.
    """
    for source in [*places.folders, *map(Path, places.named)]:
        if target.resolve().is_relative_to(source.resolve()):
            raise UserError(
                f"{option} {shown(target)} is in {shown(source)}, whose photos are read: name a "
                "place elsewhere"
            )


def copy_to(folder: Path, photos: Sequence[Photo]) -> int:
    """Copy each photo into ``folder/<class>/``, and return the number of new copies. Existing
    copies are kept.

    Photos of one name from different folders get numbers. Each copy is whole or not there.
    UserError if the folder cannot be written.
    """
    made = 0
    for photo in photos:
        source = Path(photo.image)
        target = folder / _folder_name(photo.label or NONE)
        try:
            target.mkdir(parents=True, exist_ok=True)
            made += _copy(source, target)
        except OSError as error:
            raise UserError(
                f"cannot copy {shown(source)} to {shown(target)}: {error.strerror or error}"
            ) from None
    return made


def _copy(source: Path, folder: Path) -> bool:
    for n in itertools.count(1):
        target = folder / (source.name if n == 1 else f"{source.stem}-{n}{source.suffix}")
        if not target.exists():
            break
        if filecmp.cmp(source, target, shallow=False):
            return False
    handle, name = tempfile.mkstemp(prefix=".", dir=folder)
    os.close(handle)
    try:
        shutil.copy2(source, name)
        os.replace(name, target)
    finally:
        Path(name).unlink(missing_ok=True)
    return True


def _folder_name(label: str) -> str:
    """A class as a folder that a labelled run reads back: spaces as underscores, nothing that leads
    elsewhere.
    """
    name = re.sub(r'[\\/:*?"<>|\x00-\x1f]', "-", label).strip(". ")
    return name.replace(" ", "_") or "_"
