"""Find photos in files, folders and lists, and copy them into folders by class."""

from __future__ import annotations

import filecmp
import itertools
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..datasets.folder import image_files
from ..errors import UserError
from .classifier import Photo

NONE = "none of these"
FROM_STDIN = "-"


@dataclass(frozen=True)
class Places:
    """Photos in order, each once.

    named: those that were asked for by name, not found in one of the folders.
    skipped: (path, reason) of the folders below that cannot be read.
    """

    files: list[Path]
    named: set[str]
    folders: list[Path]
    skipped: list[tuple[str, str]]


def find(places: Sequence[str]) -> Places:
    """Find photos: files, images in folders at any depth, and for "-" the file names on standard input.

    These names are one per line, or have NUL between them. UserError for a place that does not exist, a pipe or device,
    a folder without images, or nothing at all.
    """
    # What the user named has to be there (UserError). A folder below it that cannot be read is only noted in
    # `skipped`.
    files: list[Path] = []
    named: set[str] = set()
    folders: list[Path] = []
    skipped: list[tuple[str, str]] = []

    def unreadable(error: OSError) -> None:
        skipped.append((str(error.filename), error.strerror or str(error)))

    for path in (Path(name) for place in places for name in _listed(place)):
        if path.is_dir():
            below = list(image_files(path, unreadable))
            if not below:
                why = "".join(f"; cannot read {shown(p)}: {reason}" for p, reason in skipped[:1])
                raise UserError(f"no images in folder {shown(path)}{why}")
            files += below
            folders.append(path)
        elif path.is_file():
            files.append(path)
            named.add(str(path))
        elif path.exists():
            raise UserError(
                f"{shown(path)} is a pipe or device; give files, folders, or '-' for a list of files"
            )
        else:
            raise UserError(f"no file or folder {shown(path)}")
    if not files:
        raise UserError("no photos: the list is empty")
    return Places(list(dict.fromkeys(files)), named, folders, skipped)


def _listed(place: str) -> list[str]:
    """The place itself, or, for "-", the names on standard input."""
    if place != FROM_STDIN:
        return [place]
    names = sys.stdin.read()
    return [n for n in (names.split("\0") if "\0" in names else names.splitlines()) if n.strip()]


def shown(path: str | Path) -> str:
    """A path in one line: control characters such as a newline are escaped."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", lambda m: repr(m[0])[1:-1], str(path))


def refuse_within(folder: Path, places: Places) -> None:
    """Refuse, with a UserError, to copy into a folder that is classified: the next call would classify the copies."""
    for source in places.folders:
        if folder.resolve().is_relative_to(source.resolve()):
            raise UserError(
                f"--copy-to {shown(folder)} is in {shown(source)}, which is classified: name a folder elsewhere"
            )


def copy_to(folder: Path, photos: Sequence[Photo]) -> int:
    """Copy each photo into ``folder/<class>/``, and return the number of new copies. Existing copies are kept.

    Photos of one name from different folders get numbers. Each copy is whole or not there. UserError if the folder
    cannot be written.
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
    """A class as a folder that a labelled run reads back: spaces as underscores, nothing that leads elsewhere."""
    name = re.sub(r'[\\/:*?"<>|\x00-\x1f]', "-", label).strip(". ")
    return name.replace(" ", "_") or "_"
