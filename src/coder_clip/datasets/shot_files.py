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
from pathlib import Path, PurePosixPath
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
    """The file of n shots and a seed; UserError where the folder has none."""
    if not Path(folder).is_dir():
        raise UserError(f"there is no folder {folder}")
    stem = f"shot_{shots}-seed_{seed}"
    for suffix in (".pkl", ".json"):
        if (path := Path(folder) / f"{stem}{suffix}").is_file():
            return path
    there = [p.name for p in shot_files(folder)]
    raise UserError(
        f"{folder} has no {stem}.pkl or {stem}.json (there are: {', '.join(there[:4]) or 'none'}"
        f"{', …' if len(there) > 4 else ''}); change adapter.shots or adapter.seeds, or leave out shot_files"
    )


def shot_files(folder: str | Path) -> list[Path]:
    """All files of shots in a folder, by name."""
    there = Path(folder).glob("shot_*-seed_*.*")
    return sorted(p for p in there if re.fullmatch(r"shot_\d+-seed_\d+\.(pkl|json)", p.name))


def sums(paths: Iterable[Path]) -> dict[str, str]:
    """File name -> sha256."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


def drawn(folder: str | Path, ids: Sequence[str]) -> set[str]:
    """The images among ``ids`` that any file of the folder names. UserError where a file names another."""
    shots = [(path, shot) for path in shot_files(folder) for shot in read_shots(path)]
    by_name = _by_name((shot for _, shot in shots), ids)
    return {ids[_row(shot, ids, by_name, path)] for path, shot in shots}


def read_shots(path: Path) -> list[Shot]:
    """The training shots of a file, in its order; UserError where it is no such file. No code of a pickle runs."""
    if path.suffix == ".pkl":
        document = read_plain_pickle(path, DATUM)
    else:
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path} is no valid JSON: {error}") from error
    train = document.get("train") if isinstance(document, dict) else None
    if not isinstance(train, list) or not train:
        raise UserError(f"{path} must hold a list 'train' of shots")
    return [_shot(entry, i, path) for i, entry in enumerate(train)]


def _shot(entry: Any, i: int, path: Path) -> Shot:
    if isinstance(entry, Record):
        file, label, name = (getattr(entry, key, None) for key in ("_impath", "_label", "_classname"))
    else:
        file, label, name = ([*entry, None, None, None] if isinstance(entry, list) else [None] * 3)[:3]
    if not isinstance(file, str) or not isinstance(label, int):
        raise UserError(f"{path}: shot {i} has no path and label")
    return Shot(file.replace("\\", "/"), label, name if isinstance(name, str) else None)


def match(
    shots: Sequence[Shot],
    ids: Sequence[str],
    labels: Sequence[int],
    path: Path,
    most: int,
    classes: Sequence[str],
) -> list[str]:
    """The training image of every shot: the one whose id shares the most path parts with it, from the end.

    ids, labels: of the training split. UserError where there is none, or several; where the file's classes are not the
    data set's (each label of the file has to be one class, and each class one label; and of the names that it has most
    have to be those of their images' classes: a few are spelled in other ways elsewhere); and where a class has more
    than ``most`` shots.
    """
    by_name = _by_name(shots, ids)
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
    named = [(shot, classes[int(labels[row])]) for shot, row in zip(shots, rows, strict=True) if shot.name]
    other = [(shot, ours) for shot, ours in named if _words(str(shot.name)) != _words(ours)]
    if 2 * len(other) > len(named):
        shot, here = other[0]
        raise UserError(
            f"{path}: '{shot.path}' is of class '{shot.name}' there and '{here}' here, and {len(other)} of "
            f"{len(named)} shots like it: is the file of this data set?"
        )
    label, count = Counter(int(labels[row]) for row in rows).most_common(1)[0]
    if count > most:
        raise UserError(f"{path} holds {count} shots of a class, not {most}")
    return [ids[row] for row in rows]


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", name.casefold())


def _by_name(shots: Iterable[Shot], ids: Sequence[str]) -> dict[str, list[int]]:
    """File name of every shot -> rows of the images of that name."""
    names = {PurePosixPath(shot.path).name for shot in shots}
    found: dict[str, list[int]] = defaultdict(list)
    for row, image in enumerate(ids):
        if (name := image.rpartition("/")[2]) in names:
            found[name].append(row)
    return found


def _row(shot: Shot, ids: Sequence[str], by_name: dict[str, list[int]], path: Path) -> int:
    parts = PurePosixPath(shot.path).parts
    found = {
        row: _shared(parts, PurePosixPath(ids[row]).parts)
        for row in by_name.get(PurePosixPath(shot.path).name, [])
    }
    best = max(found.values(), default=0)
    rows = [row for row, n in found.items() if n == best]
    # a file name alone is enough only where neither side says more
    enough = bool(rows) and best >= min(2, len(parts), len(PurePosixPath(ids[rows[0]]).parts))
    if not enough:
        raise UserError(f"{path}: '{shot.path}' is no training image of this data set")
    if len(rows) > 1:
        raise UserError(f"{path}: '{shot.path}' could be '{ids[rows[0]]}' or '{ids[rows[1]]}'")
    return rows[0]


def _shared(a: Sequence[str], b: Sequence[str]) -> int:
    """Equal parts from the end."""
    n = 0
    while n < min(len(a), len(b)) and a[-1 - n] == b[-1 - n]:
        n += 1
    return n
