"""Corrected labels of a folder of photos: a CSV file beside the configuration.

The photos stay where they are.

    image,from,to
    red_fox/IMG_0001.jpg,red fox,arctic fox
    red_fox/IMG_0002.jpg,red fox,

image: path below the folder. from: the class whose folder holds the photo. to: the photo's true
class; empty: the photo is left out.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError
from ..foundation.artifacts import write_text
from ..foundation.terminal import counted
from .base import SPLITS

HEADER = ["image", "from", "to"]


class Correction(NamedTuple):
    """before: the class of the photo's folder.

    after: its true class; "" if the photo is left out.
    """

    before: str
    after: str


def default_file(configuration: Path, dataset: str) -> Path:
    """The file of corrections beside a configuration that names none."""
    return configuration.parent / f"{dataset}.corrections.csv"


def read_corrections(path: Path) -> dict[str, Correction]:
    """Image -> correction. UserError, with the line, for a file that is missing or invalid."""
    found: dict[str, Correction] = {}
    for where, (image, before, after) in read_cells(path, HEADER):
        if image in found:
            raise UserError(f"{where}: '{image}' is corrected twice; keep one line")
        if before == after:
            raise UserError(f"{where}: '{image}' stays '{before}'; remove the line")
        found[image] = Correction(before, after)
    return found


def read_cells(path: Path, header: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The lines of a CSV file below its header, as (where, cells).

    where: file and line, for messages.

    UserError for a file that is missing or has another header, and for a line with more or fewer
    cells.
    """
    # spreadsheet programs start a file with a byte order mark, which utf-8-sig drops
    try:
        reader = csv.reader(
            io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), strict=True
        )
        lines = [(f"{path}, line {reader.line_num}", cells) for cells in reader if cells]
    except FileNotFoundError:
        raise UserError(f"no file {path}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    if not lines or lines[0][1] != list(header):
        raise UserError(f"{path}: the first line has to be {','.join(header)}, separated by commas")
    needed = f"{', '.join(header[:-1])} and {header[-1]}"
    for where, cells in lines:
        if len(cells) != len(header):
            raise UserError(f"{where}: {len(cells)} cells; {needed} are needed")
    return lines[1:]


def write_corrections(path: Path, corrections: Mapping[str, Correction]) -> None:
    """Write the file, ordered by image, so that a change is one line of a diff."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows([image, *corrections[image]] for image in sorted(corrections))
    write_text(path, out.getvalue())


def counts(corrections: Mapping[str, Correction], split_of: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of `said` but the file: numbers of corrected labels, of photos left out, and of
    both in each split.

    split_of: image -> its split, for every image in the file.
    """
    left_out = len([c for c in corrections.values() if not c.after])
    splits = Counter(split_of[image] for image in corrections)
    return {
        "corrected": len(corrections) - left_out,
        "left_out": left_out,
        "splits": {split: splits[split] for split in SPLITS if splits[split]},
    }


def said(corrected: int, left_out: int, splits: Mapping[str, int], file: str) -> str:
    """How many labels a file corrects, and in which splits, in words."""
    # The splits are named so that a reader sees corrected test images: accuracy is too high if only
    # labels are corrected that a method got wrong.
    parts = []
    if corrected or not left_out:
        parts.append(f"{counted(corrected, 'label')} corrected")
    if left_out:
        parts.append(f"{counted(left_out, 'photo')} left out")
    where = ", ".join(f"{split} {n}" for split, n in splits.items())
    details = [text for text in (where, file) if text]
    return f"{', '.join(parts)} ({'; '.join(details)})"
