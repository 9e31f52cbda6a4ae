"""Convert the authors' expert_knowledge folder to text sets, once per data set.

    python tools/expert_knowledge.py expert_knowledge/ oxford-pet --dataset oxford_pets \\
        --their-classes datasets/class_name/oxford-pet.txt

The folder has ``attribute/``, ``simile_class/`` (pickles: a list of texts per class, in the order of the authors' own
class file), ``synonym/`` and ``ovo_attribute/`` (JSON, by class name). Written are data/texts/DATASET.expert.json and,
where there are one-to-one texts, data/texts/DATASET.expert.one_to_one.json. Pickles are programs: only lists, dicts and
strings are read.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from coder_clip.cli.texts import class_names, lines_of, renames_of
from coder_clip.datasets.pickles import read_plain_pickle
from coder_clip.errors import UserError, nearest
from coder_clip.foundation.artifacts import write_json
from coder_clip.texts import importers
from coder_clip.texts.importers import Import, Mismatch, Table, clean_texts, list_of_texts
from coder_clip.texts.sets import Pair, PairSet, TextSet, read_written

KINDS = {"attribute": "attribute", "simile_class": "analogous", "synonym": "synonym"}  # folder -> kind
PAIRS = "ovo_attribute"
SOURCE = "expert knowledge published with CODER (Yi et al., CVPR 2024)"


def file_of(folder: Path, name: str) -> Path | None:
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


def table_of(path: Path, theirs: Sequence[str] | None) -> Table:
    """Read {class: [text]}, [[text]] in the order of the class file, or [{"syno": [text], "name": class}]."""
    value = read_written(path, path.stem) if path.suffix == ".json" else read_plain_pickle(path)
    if isinstance(value, dict):
        return importers.table_of(path, value)
    if not isinstance(value, list):
        raise UserError(f"{path}: neither a list nor an object of classes")
    texts, names = [], []
    for i, entry in enumerate(value):
        parts = list(entry.values()) if isinstance(entry, dict) else [entry]
        lists = [part for part in parts if isinstance(part, list)]
        if len(lists) != 1:
            raise UserError(
                f"{path}: entry {i} holds {len(lists)} lists, where its texts should be the only one"
            )
        texts.append(list_of_texts(path, lists[0], f"entry {i}"))
        names += [part for part in parts if isinstance(part, str)]
    given = names if len(names) == len(texts) else list(theirs or ())
    if not given:
        raise UserError(
            f"{path}: {len(texts)} classes without names; name the authors' class file: --their-classes"
        )
    if len(given) != len(texts):
        raise UserError(f"{path}: {len(texts)} classes, but {len(given)} names for them")
    return list(zip(given, texts, strict=True))


def pairs_of(path: Path, importing: Import) -> PairSet:
    """Both sides of each pair together, in the order of the classes."""
    document: Any = read_written(path, path.stem) if path.suffix == ".json" else read_plain_pickle(path)
    if not isinstance(document, dict) or not all(isinstance(of_a, dict) for of_a in document.values()):
        raise UserError(f"{path}: not one object of other classes per class")
    names = list(dict.fromkeys([*document, *(b for of_a in document.values() for b in of_a)]))
    indices = dict(zip(names, importing.match(names), strict=True))
    sides: dict[tuple[int, int], list[str]] = {}
    for a, of_a in document.items():
        for b, texts in of_a.items():
            clean, _ = clean_texts(list_of_texts(path, texts, f"'{a}' against '{b}'"))
            sides |= {(i, j): clean for i in indices[a] for j in indices[b] if i != j and clean}
    pairs = [
        Pair(
            a=importing.classes[i],
            b=importing.classes[j],
            a_index=i,
            b_index=j,
            a_not_b=sides.get((i, j), []),
            b_not_a=sides.get((j, i), []),
        )
        for i, j in sorted({(min(key), max(key)) for key in sides})
    ]
    if one_sided := sum(not pair.compares for pair in pairs):
        importing.notes.append(
            f"one_to_one: {one_sided} of {len(pairs)} pairs have texts on one side, and do not count in stage two"
        )
    note = importing.note(path, SOURCE)
    return PairSet(dataset=importing.dataset, pairs=pairs, provenance={"one_to_one": note})


def convert(
    folder: Path, name: str, importing: Import, theirs: Sequence[str] | None, partial: bool
) -> tuple[TextSet, PairSet | None]:
    """The authors' texts for a data set's classes, and their one-to-one texts."""
    files = {kind: path for sub, kind in KINDS.items() if (path := file_of(folder / sub, name))}
    pair_file = file_of(folder / PAIRS, name)
    if not files and not pair_file:
        there = sorted({p.stem for sub in (*KINDS, PAIRS) for p in (folder / sub).glob("*.*")})
        raise UserError(f"{folder}: nothing for data set '{name}'{nearest(name, there)}")
    for kind, path in files.items():
        importing.add(kind, path, SOURCE, table_of(path, theirs))
    pairs = pairs_of(pair_file, importing) if pair_file else None
    return importing.finish(partial, others=bool(pairs and pairs.pairs)), pairs


def main(
    folder: Annotated[Path, typer.Argument(help="The authors' expert_knowledge folder.")],
    name: Annotated[str, typer.Argument(help="What the data set is called there.")],
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="Data set the texts are for.")],
    classes: Annotated[
        Path | None, typer.Option(help="Its class names, one per line; default: as known.")
    ] = None,
    their_classes: Annotated[
        Path | None, typer.Option(help="The authors' class file: names of lists without.")
    ] = None,
    rename: Annotated[list[str] | None, typer.Option(help="THEIRS=OURS; may be repeated.")] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Take what fits, and list what does not.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("data/texts"),
) -> None:
    """Convert the authors' expert_knowledge folder to text sets, once per data set."""
    try:
        ours = class_names(dataset, classes, Path("config/reproduce.yaml"))
        theirs = lines_of(their_classes) if their_classes else None
        importing = Import(folder, dataset, ours, renames_of(rename or []))
        texts, pairs = convert(folder, name, importing, theirs, partial)
        written = {out / f"{dataset}.expert.json": texts, out / f"{dataset}.expert.one_to_one.json": pairs}
        for path, found in written.items():
            if found is not None:
                write_json(path, found.dump())
                print(path)
    except Mismatch as mismatch:
        sys.exit("\n".join([*mismatch.lines, f"error: {mismatch}"]))
    except UserError as error:
        sys.exit(f"error: {error}")
    print(*importing.notes, sep="\n")


if __name__ == "__main__":
    typer.run(main)
