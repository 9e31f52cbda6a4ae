"""Convert the authors' expert_knowledge folder to one JSON file per data set, once.

    python tools/expert_knowledge.py expert_knowledge/ oxford-pet --classes datasets/class_name/oxford-pet.txt
    coder-clip texts import expert-knowledge oxford-pet.json --dataset oxford_pets

The folder has ``attribute/``, ``simile_class/`` (pickles: a list of texts per class, in the order of the authors' own
class file), ``synonym/`` and ``ovo_attribute/`` (JSON, by class name). The file that is written has a table for each
kind of text, by class name. Pickles are programs: only lists, dicts and strings are read.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from coder_clip.datasets.pickles import read_plain_pickle
from coder_clip.errors import UserError, nearest
from coder_clip.foundation.artifacts import write_json

KINDS = {  # folder -> kind
    "attribute": "attribute",
    "simile_class": "analogous",
    "synonym": "synonym",
    "ovo_attribute": "one_to_one",
}


def convert(folder: Path, name: str, classes: list[str] | None = None) -> dict[str, Any]:
    """Kind -> [[class, texts], …]; of one-to-one texts {a: {b: texts}}.

    classes: the names behind lists that come without, in their order. UserError where there is nothing for ``name``,
    where the lists are not as many as the names, and for a file of another form.
    """
    found = {kind: _of_dataset(folder / sub, name) for sub, kind in KINDS.items()}
    if not any(found.values()):
        there = sorted({p.stem for sub in KINDS for p in (folder / sub).glob("*.*")})
        raise UserError(f"{folder}: nothing for data set '{name}'{nearest(name, there)}")
    return {
        kind: _read(path) if kind == "one_to_one" else _table(path, classes)
        for kind, path in found.items()
        if path is not None
    }


def _of_dataset(folder: Path, name: str) -> Path | None:
    """The file of a data set, whatever its case and separators: "DTD.pkl", "caltech-101.json"."""

    def letters(text: str) -> str:
        return "".join(c for c in text.casefold() if c.isalnum())

    files = sorted(p for p in folder.glob("*") if p.suffix in (".pkl", ".pickle", ".json"))
    found = [p for p in files if letters(p.stem) == letters(name)]
    if len(found) > 1:
        raise UserError(
            f"{folder}: both {found[0].name} and {found[1].name} are of data set '{name}'; keep one"
        )
    return found[0] if found else None


def _read(path: Path) -> Any:
    if path.suffix != ".json":
        return read_plain_pickle(path)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no valid JSON ({error})") from error


def _table(path: Path, classes: list[str] | None) -> list[tuple[str, list[str]]]:
    """{class: [text]}, [[text]] in the order of the classes, or [{"syno": [text], "name": class}]."""
    value = _read(path)
    if isinstance(value, dict):
        return list(value.items())
    if not isinstance(value, list):
        raise UserError(f"{path}: neither a list nor an object of classes")
    names, lists = classes, []
    for i, entry in enumerate(value):
        texts = [v for v in entry.values() if isinstance(v, list)] if isinstance(entry, dict) else [entry]
        if len(texts) != 1 or not isinstance(texts[0], list):
            raise UserError(
                f"{path}: entry {i} holds {len(texts)} lists, where its texts should be the only one"
            )
        lists.append(texts[0])
    strings = [[v for v in e.values() if isinstance(v, str)] if isinstance(e, dict) else [] for e in value]
    if strings and all(len(of_entry) == 1 for of_entry in strings):
        names = [of_entry[0] for of_entry in strings]
    if names is None:
        raise UserError(
            f"{path}: {len(lists)} classes without names; name the authors' class file with --classes"
        )
    if len(names) != len(lists):
        raise UserError(f"{path}: {len(lists)} classes, but {len(names)} names for them")
    return list(zip(names, lists, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="the authors' expert_knowledge folder")
    parser.add_argument("name", help="what the data set is called there")
    parser.add_argument(
        "--classes", type=Path, help="the authors' class file: one name per line, in their order"
    )
    parser.add_argument("--out", type=Path, help="file to write; default: NAME.json")
    given = parser.parse_args()
    try:
        names = given.classes and given.classes.read_text(encoding="utf-8").splitlines()
        tables = convert(given.folder, given.name, names and [n.strip() for n in names if n.strip()])
        write_json(given.out or Path(f"{given.name}.json"), tables)
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
