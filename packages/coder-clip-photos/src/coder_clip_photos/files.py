"""Find photos in files, folders and lists, and copy them into folders by class."""

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
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from coder_clip.datasets.folder import image_files, is_unicode
from coder_clip.errors import UserError

from .classifier import Photo
from .texts import NONE as NONE

FROM_STDIN = "-"
FOLDER_NAME = 255  # bytes that file systems take
NAS_FOLDERS = {"@eaDir", ".@__thumb"}


@dataclass(frozen=True)
class Places:
    """Photos in order, each once.

    named: paths that were given by name, not found in one of the folders.
    skipped: (path, reason) of subfolders that cannot be read, and of files with unusable names.
    others: ending -> number of files in the folders that are not images.
    """

    files: list[Path]
    named: set[str]
    folders: list[Path]
    skipped: list[tuple[str, str]]
    others: Counter[str]


def find(places: Sequence[str]) -> Places:
    """Find photos: files, and images in folders at any depth.

    For "-" the file names on standard input.

    These names are one per line, or have NUL between them. UserError for a place that does not
    exist, a pipe or device, a folder without images, or nothing at all.
    """
    # A place that the user named must exist (UserError). What cannot be read below a named folder
    # is only noted in `skipped`.
    files: list[Path] = []
    named: set[str] = set()
    folders: list[Path] = []
    skipped: list[tuple[str, str]] = []
    others = Counter[str]()

    def unreadable(error: OSError) -> None:
        """Note a folder that cannot be read."""
        skipped.append((str(error.filename), error.strerror or str(error)))

    def other(path: str) -> None:
        """Count a file that is not an image by its ending, or note its unusable name."""
        if is_unicode(path):
            others[Path(path).suffix.lower() or "without ending"] += 1
        else:
            skipped.append((path, "its name is not valid Unicode: rename it"))

    # a generator, so that a wrong place is refused before standard input is read
    names = (name for place in places for name in _listed(place))
    for name in names:
        path = Path(name)
        if path.is_dir():
            n_skipped, others_before = len(skipped), others.copy()
            below = [file for file in image_files(path, unreadable, other) if not _of_a_nas(file)]
            if not below:
                # the first problem in this folder, and the files that are not images
                first = skipped[n_skipped : n_skipped + 1]
                why = [f"cannot read {shown(p)}: {reason}" for p, reason in first]
                why += by_ending(others - others_before)
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
                f"{shown(path)} is a pipe or device; give files, folders, or '-' for a list of "
                "files"
            )
        elif re.match(r"\w+://", name):
            raise UserError(f"{shown(name)} is an address: download the photo, and give the file")
        elif FROM_STDIN in places:
            # a name of a list, whose file went meanwhile: the others are still there
            skipped.append((name, "no such file"))
            named.add(name)
        else:
            raise UserError(f"no file or folder {shown(path)}")
    if not files and not skipped:
        raise UserError("no photos: the list is empty")
    return Places(_each_once(files, named, folders), named, folders, skipped, others)


def _each_once(files: list[Path], named: set[str], folders: list[Path]) -> list[Path]:
    """The files without repeats; one folder alone has none."""
    if len(folders) == 1 and not named:
        return files
    return list(dict.fromkeys(files))


def _of_a_nas(path: Path) -> bool:
    """True for the thumbnails that Synology's and QNAP's disks keep beside photos."""
    # the text first, which is quicker than the parts of each of many photos
    text = str(path)
    return any(name in text for name in NAS_FOLDERS) and not NAS_FOLDERS.isdisjoint(path.parts)


def _listed(place: str) -> list[str]:
    """The place itself, or, for "-", the names on standard input."""
    if place != FROM_STDIN:
        return [place]
    if isinstance(sys.stdin, io.TextIOWrapper):
        # as Python reads file names that are not UTF-8
        sys.stdin.reconfigure(errors="surrogateescape")
    text = sys.stdin.read().removeprefix("\ufeff")
    names = text.split("\0") if "\0" in text else text.splitlines()
    return [name for name in names if name.strip()]


def first_ten(parts: Sequence[str]) -> str:
    """The first ten parts in one line, and the number of the others."""
    line = ", ".join(parts[:10])
    if len(parts) > 10:
        return f"{line} and {len(parts) - 10:,} more"
    return line


def by_ending(others: Counter[str]) -> list[str]:
    """One line about files that were left out ("left out by ending: 3 .svg, 1 .pdf"), or no line.

    others: ending -> number of files.
    """
    counts = [f"{n:,} {shown(ending)}" for ending, n in others.most_common()]
    if not counts:
        return []
    return [f"left out by ending: {first_ten(counts)}"]


def shown(path: str | Path) -> str:
    """A path in one line: control characters such as a newline are escaped."""
    # repr escapes a character, and the slice drops its quotes
    return re.sub(
        r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", lambda m: repr(m[0])[1:-1], str(path)
    )


def cut_middle(text: str, width: float, length: Callable[[str], float]) -> str:
    """The text; if its length is above the width, its beginning and end with "…" between them.

    length: returns the length of a text, in the unit of the width.
    """
    head, tail = text[: len(text) // 2], text[len(text) // 2 :]
    while (head or tail) and length(text) > width:
        head, tail = (head[:-1], tail) if len(head) >= len(tail) else (head, tail[1:])
        text = f"{head}…{tail}"
    return text


def refuse_within(option: str, target: Path, places: Places) -> None:
    """Raise UserError for a target in a folder whose photos are read, or a photo itself: a photo
    would be lost, or the next call would read the written files.
    """
    for source in [*places.folders, *map(Path, places.named)]:
        if target.resolve().is_relative_to(source.resolve()):
            raise UserError(
                f"{option} {shown(target)} is in {shown(source)}, whose photos are read: name a "
                "place elsewhere"
            )


def copy_to(folder: Path, photos: Sequence[Photo]) -> int:
    """Copy each photo into ``folder/<class>/``, and return the number of new copies.

    Existing copies are kept.

    Photos of one name from different folders get numbers. Each copy is whole or not there.
    UserError if the folder cannot be written.
    """
    made = 0
    for photo in photos:
        made += copy_all(folder / folder_name(photo.label or NONE), [Path(photo.image)])
    return made


def copy_all(folder: Path, photos: Sequence[Path]) -> int:
    """Copy photos into one folder, and return the number of new copies. As `copy_to`."""
    made = 0
    for source in photos:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            made += _copy(source, folder)
        except OSError as error:
            raise UserError(
                f"cannot copy {shown(source)} to {shown(folder)}: {error.strerror or error}"
            ) from None
    return made


def _copy(source: Path, folder: Path) -> bool:
    """Copy a file into a folder; False if the folder has this file already.

    If another file has the name, the copy gets a number.
    """
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


def refuse_folders(classes: Iterable[str]) -> None:
    """UserError if two classes would have one folder, also where case makes no difference.

    And for a name that is too long for a folder.
    """
    class_of: dict[str, str] = {}
    for name in sorted(set(classes)):
        folder = folder_name(name)
        other = class_of.setdefault(folder.casefold(), name)
        if other != name:
            raise UserError(f"'{other}' and '{name}' would have one folder: rename one of them")
        if len(folder.encode()) > FOLDER_NAME:
            raise UserError(f"class '{name[:20]}…' is too long for the name of a folder: rename it")


def folder_name(label: str) -> str:
    """The name of a class's folder, as a labelled run reads it.

    Spaces become underscores, and no character leads to another folder.
    """
    name = re.sub(r'[\\/:*?"<>|\x00-\x1f]', "-", label).strip(". ")
    return name.replace(" ", "_") or "_"
