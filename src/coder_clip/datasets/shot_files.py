"""The shots of published runs, from CoOp's files, so that samples match: `shot_{n}-seed_{s}.pkl` in `split_fewshot`.

CoOp pickles a dict of lists of its Datum objects; Tip-Adapter, CoCoOp, MaPLe and others write the same. As JSON, the
lists hold [path, label, class name], as in CoOp's split files. Paths are of the machine that made the file: what counts
is how they end.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError
from .pickles import Record, read_plain_pickle

DATUM = (
    "dassl.data.datasets.base_dataset.Datum",
    "dassl.data.datasets.Datum",
    "datasets.utils.Datum",
)


class Shot(NamedTuple):
    """Path as the file has it, label in the file's own numbering, and the class's name where the file has it."""

    path: str
    label: int
    name: str | None = None


def shot_file(folder: str | Path, shots: int, seed: int) -> Path:
    """The file of n shots and a seed; UserError if the folder has none."""
    if not Path(folder).is_dir():
        raise UserError(f"no folder {folder}")
    stem = f"shot_{shots}-seed_{seed}"
    for suffix in (".pkl", ".json"):
        if (path := Path(folder) / f"{stem}{suffix}").is_file():
            return path
    there = [p.name for p in shot_files(folder)]
    some = ", ".join([*there[:4], *["…"] * (len(there) > 4)]) or "none"
    raise UserError(
        f"{folder} has no {stem}.pkl or {stem}.json (there are: {some}); change adapter.shots or adapter.seeds, "
        "or leave out shot_files"
    )


def shot_files(folder: str | Path) -> list[Path]:
    """All files of shots in a folder, by name."""
    there = Path(folder).glob("shot_*-seed_*.*")
    return sorted(p for p in there if re.fullmatch(r"shot_\d+-seed_\d+\.(pkl|json)", p.name))


def sums(paths: Iterable[Path]) -> dict[str, str]:
    """File name -> sha256."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def drawn(folder: str | Path, ids: Sequence[str]) -> set[str]:
    """The images among ``ids`` that any file of the folder names. UserError if a file names another."""
    by_name = _by_name(ids)
    return {ids[_row(s, ids, by_name, path)] for path in shot_files(folder) for s in read_shots(path)}


def read_shots(path: Path) -> list[Shot]:
    """The training shots of a file, in its order; UserError if it is not such a file. No code of a pickle runs."""
    if path.suffix == ".pkl":
        document = read_plain_pickle(path, DATUM)
    else:
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is not valid JSON: {error}") from None
    train = document.get("train") if isinstance(document, dict) else None
    if not isinstance(train, list) or not train:
        raise UserError(f"{path} must hold a list 'train' of shots")
    return [_shot(entry, i, path) for i, entry in enumerate(train)]


def _shot(entry: Any, i: int, path: Path) -> Shot:
    if isinstance(entry, Record):
        entry = [getattr(entry, key, None) for key in ("_impath", "_label", "_classname")]
    match entry:
        case [str(file), int(label), *more]:
            return Shot(
                file.replace("\\", "/"), label, more[0] if more and isinstance(more[0], str) else None
            )
    raise UserError(f"{path}: shot {i} has no path and label")


def match(
    shots: Sequence[Shot],
    ids: Sequence[str],
    labels: Sequence[int],
    path: Path,
    most: int,
    classes: Sequence[str],
) -> list[str]:
    """The training image of every shot: the one whose id shares the most path parts with it, from the end.

    ids, labels: of the training split. UserError if there is none, or several; if the file's classes are not the data
    set's (each of its labels has to be one class, each class one label, and most of its class names those of the
    images' classes, because a few are spelled in other ways elsewhere); and if a class has more than ``most`` shots.
    """
    # Such files hold paths of other people's machines, so an image is found by the end of its path. An image of
    # another data set may match, too, hence labels and class names have to agree before the shots are used.
    by_name = _by_name(ids)
    rows = [_row(shot, ids, by_name, path) for shot in shots]
    ours: dict[int, int] = {}
    theirs: dict[int, int] = {}
    for shot, row in zip(shots, rows, strict=True):
        label = int(labels[row])
        if ours.setdefault(shot.label, label) != label or theirs.setdefault(label, shot.label) != shot.label:
            raise UserError(
                f"{path}: '{shot.path}' has label {shot.label} in the file, but its image '{ids[row]}' has another "
                "class here than other shots with that label: does the file belong to this data set?"
            )
    named = [(s, classes[int(labels[row])]) for s, row in zip(shots, rows, strict=True) if s.name]
    other = [(shot, here) for shot, here in named if _words(str(shot.name)) != _words(here)]
    if 2 * len(other) > len(named):
        shot, here = other[0]
        raise UserError(
            f"{path}: '{shot.path}' is of class '{shot.name}' there and '{here}' here, and {len(other)} of "
            f"{len(named)} shots like it: is the file of this data set?"
        )
    count = max(Counter(int(labels[row]) for row in rows).values())
    if count > most:
        raise UserError(f"{path} holds {count} shots of a class, not {most}")
    return [ids[row] for row in rows]


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", name.casefold())


def _by_name(ids: Sequence[str]) -> dict[str, list[int]]:
    """File name -> rows of the images of that name."""
    rows: dict[str, list[int]] = defaultdict(list)
    for row, image in enumerate(ids):
        rows[image.rpartition("/")[2]].append(row)
    return rows


def _row(shot: Shot, ids: Sequence[str], by_name: dict[str, list[int]], path: Path) -> int:
    """The image whose id shares the most path parts with the shot's, from the end."""
    parts = shot.path.strip("/").split("/")
    shared = {}
    for row in by_name.get(parts[-1], []):
        pairs = zip(reversed(parts), reversed(ids[row].split("/")), strict=False)
        shared[row] = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
    best = max(shared.values(), default=0)
    rows = [row for row, n in shared.items() if n == best]
    # a file name alone is enough only where neither side says more
    if not rows or best < min(2, len(parts), len(ids[rows[0]].split("/"))):
        raise UserError(f"{path}: '{shot.path}' is not a training image of this data set")
    if len(rows) > 1:
        raise UserError(f"{path}: '{shot.path}' could be '{ids[rows[0]]}' or '{ids[rows[1]]}'")
    return rows[0]
