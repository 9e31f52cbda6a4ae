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
from coder_clip.texts.importers import Mismatch, Table, list_of_texts, match_names
from coder_clip.texts.sets import ClassTexts, Pair, PairSet, TextSet

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
    """Of {class: [text]}, [[text]] in the order of the class file, or [{"syno": [text], "name": class}]."""
    value = importers.read_json(path) if path.suffix == ".json" else read_plain_pickle(path)
    if isinstance(value, dict):
        return [(name, list_of_texts(path, texts, f"'{name}'")) for name, texts in value.items()]
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


def pairs_of(
    path: Path, classes: Sequence[str], renames: dict[str, str]
) -> tuple[list[Pair], list[str], list[str]]:
    """Both sides of every pair together, in the order of the classes; names that do not fit; notes."""
    document: Any = importers.read_json(path) if path.suffix == ".json" else read_plain_pickle(path)
    if not isinstance(document, dict) or not all(isinstance(of_a, dict) for of_a in document.values()):
        raise UserError(f"{path}: not one object of other classes per class")
    names = list(dict.fromkeys([*document, *(b for of_a in document.values() for b in of_a)]))
    match = match_names(names, classes, renames)
    indices = dict(zip(names, match.indices, strict=True))
    sides: dict[tuple[int, int], list[str]] = {}
    for a, of_a in document.items():
        for b, texts in of_a.items():
            clean = importers.clean_texts(list_of_texts(path, texts, f"'{a}' against '{b}'"))[0]
            sides |= {(i, j): clean for i in indices[a] for j in indices[b] if i != j and clean}
    unordered = sorted({(min(key), max(key)) for key in sides})
    pairs = [
        Pair(
            a=classes[i],
            b=classes[j],
            a_index=i,
            b_index=j,
            a_not_b=sides.get((i, j), []),
            b_not_a=sides.get((j, i), []),
        )
        for i, j in unordered
    ]
    one_sided = sum(not pair.compares for pair in pairs)
    counted = f"{one_sided} of {len(pairs)} pairs have texts on one side, and do not count in stage two"
    return pairs, match.problems, match.notes + ([f"one_to_one: {counted}"] if one_sided else [])


def convert(
    folder: Path,
    name: str,
    dataset: str,
    classes: Sequence[str],
    theirs: Sequence[str] | None,
    renames: dict[str, str],
    partial: bool,
) -> tuple[TextSet, PairSet | None, list[str]]:
    """The authors' texts for a data set's classes, their one-to-one texts, and notes for the person."""
    files = {kind: path for sub, kind in KINDS.items() if (path := file_of(folder / sub, name))}
    pair_file = file_of(folder / PAIRS, name)
    if not files and not pair_file:
        there = sorted({p.stem for sub in (*KINDS, PAIRS) for p in (folder / sub).glob("*.*")})
        raise UserError(f"{folder}: nothing for data set '{name}'{nearest(name, there)}")
    tables = {kind: table_of(path, theirs) for kind, path in files.items()}
    entries: list[dict[str, Any]] = [{"name": c} for c in classes]
    sources: dict[str, dict[str, Any]] = {"name": {"source": "class names of the data set"}}
    problems, missing, notes = list[str](), dict[str, None](), list[str]()
    for kind, table in tables.items():
        match = match_names([n for n, _ in table], classes, renames)
        texts, changed = importers.of_classes(kind, table, match, len(classes))
        for entry, of_class in zip(entries, texts, strict=True):
            entry[kind] = of_class
        reached = {i for indices in match.indices for i in indices}
        missing |= {c: None for i, c in enumerate(classes) if i not in reached}
        problems, notes = problems + match.problems, notes + match.notes + changed
        sources[kind] = importers.provenance(SOURCE, files[kind], renames, classes, texts)
    pairs = None
    if pair_file:
        found, wrong, more = pairs_of(pair_file, classes, renames)
        problems, notes = problems + wrong, notes + more
        note = importers.provenance(SOURCE, pair_file, renames, (), ())
        pairs = PairSet(dataset=dataset, pairs=found, provenance={"one_to_one": note})
    names = [n for table in tables.values() for n, _ in table]
    problems = list(dict.fromkeys([*problems, *importers.unused(names, renames, folder)]))
    fitting = sum(len(entry) > 1 and any(entry[kind] for kind in tables) for entry in entries)
    notes += importers.refuse_mismatch(folder, dataset, fitting, classes, problems, list(missing), partial)
    if not fitting and not (pairs and pairs.pairs):
        raise UserError(f"{folder}: no usable text for any class of data set '{dataset}'")
    texts_of = [ClassTexts(**entry) for entry in entries]
    return TextSet(dataset=dataset, classes=texts_of, provenance=sources), pairs, notes


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
        texts, pairs, notes = convert(folder, name, dataset, ours, theirs, renames_of(rename or []), partial)
        written = {out / f"{dataset}.expert.json": texts, out / f"{dataset}.expert.one_to_one.json": pairs}
        for path, found in written.items():
            if found is not None:
                write_json(path, found.dump())
                print(path)
    except Mismatch as mismatch:
        sys.exit("\n".join([*mismatch.lines, f"error: {mismatch}"]))
    except UserError as error:
        sys.exit(f"error: {error}")
    print(*notes, sep="\n")


if __name__ == "__main__":
    typer.run(main)
