"""The texts that the authors publish (``expert_knowledge.zip``).

The whole archive as text sets, or one data set of it.

The archive has a folder per kind, with a file per data set: ``attribute/`` and ``simile_class/``
(pickles: a list of texts per class, in the order of the authors' own class file), ``synonym/`` and
``ovo_attribute/`` (JSON). This form follows from the authors' code, which reads it (CODER/CODER.py,
commit 1501735).
Nothing in the archive is trusted: pickles are programs, and only lists, dicts and strings are read.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from ..datasets import PUBLISHED
from ..datasets.entry import entry
from ..datasets.fetch import checksum_like, fetch
from ..datasets.pickles import read_plain_pickle
from ..datasets.unpack import unpack
from ..errors import UserError, nearest
from . import importers
from .importers import Import, Mismatch, Table, clean_texts, list_of_texts
from .names import name_key
from .sets import Pair, PairSet, TextSet, read_written

# named in the README of the authors' repository; nobody publishes a checksum
ADDRESS = "https://drive.usercontent.google.com/download?export=download&confirm=t&id=1qOjqfWgJyUWgxhVhafW7G6qDCmahamVs"
KINDS = {
    "attribute": "attribute",
    "simile_class": "analogous",
    "synonym": "synonym",
}  # folder -> kind
PAIRS = "ovo_attribute"
SOURCE = "expert knowledge published with CODER (Yi et al., CVPR 2024)"
log = logging.getLogger("coder_clip")
_VIEW = re.compile(r"https://drive\.google\.com/file/d/([\w-]+)")


class Broken(UserError):
    """A file that cannot be read, so that its kind of text is missing."""


class Imported(NamedTuple):
    """The outcome for one data set.

    texts: None if it is not imported. lines: what matched, and what did not.
    """

    dataset: str
    texts: TextSet | None
    pairs: PairSet | None
    lines: list[str]


@contextmanager
def opened(source: str) -> Iterator[Path]:
    """The archive's folder with the kinds, from an address, an archive, or a folder.

    UserError: no such file, no archive, no folder of a kind in it, or a download that failed.
    """
    with TemporaryDirectory(prefix="coder-clip-") as scratch:
        place = Path(source)
        if source.startswith(("http://", "https://")):
            place = Path(scratch, "expert_knowledge.zip")
            # an address of the page that shows a file holds the id for the download
            view = _VIEW.match(source)
            address = source
            if view:
                address = ADDRESS.rpartition("=")[0] + f"={view[1]}"
            fetch(address, place, None)
        if place.is_file():
            unpack(place, Path(scratch, "unpacked"))
            place = Path(scratch, "unpacked")
        if not place.is_dir():
            raise UserError(importers.MISSING.format(path=place))
        kinds = (*KINDS, PAIRS)
        # the folders of kinds may be below another one
        folders = [place, *sorted(p for p in place.rglob("*") if p.is_dir())]
        found = next((f for f in folders if any((f / kind).is_dir() for kind in kinds)), None)
        if found is None:
            raise UserError(f"{source}: none of the folders {', '.join(kinds)} is in it")
        yield found


def checksum(source: str) -> str | None:
    """The SHA-256 of an archive on this disk, to compare with a colleague's.

    None if the source is not a file here.
    """
    if not Path(source).is_file():
        return None
    return checksum_like(Path(source), "sha256:")


def import_all(
    folder: Path,
    wanted: Sequence[str] = (),
    theirs: Path | None = None,
    renames: Mapping[str, str] | None = None,
    partial: bool = False,
) -> Iterator[Imported]:
    """Import every data set of the folder, or those wanted; files of no data set here are logged.

    theirs: folder of the authors' class files (``datasets/class_name``), which name the classes of
    lists without names. renames: name in the archive -> name in the data set. partial: import what
    fits and note the rest. A data set that does not fit has lines and no texts. UserError for a
    wanted data set that the folder does not have.
    """
    if theirs is not None and not theirs.is_dir():
        raise UserError(f"--their-classes {theirs}: no such folder")
    stems = sorted({p.stem for kind in (*KINDS, PAIRS) for p in _files(folder / kind)})
    dataset_of_stem = {stem: dataset_of(stem) for stem in stems}
    present = set(dataset_of_stem.values())
    for name in wanted:
        if name not in present:
            raise UserError(f"{folder}: nothing for data set '{name}'{nearest(name, stems)}")
    # in the order of PUBLISHED
    for name in [n for n in PUBLISHED if n in present and (not wanted or n in wanted)]:
        try:
            yield _import(folder, name, theirs, renames or {}, partial)
        except Mismatch as mismatch:
            yield Imported(
                name, None, None, [*mismatch.lines, "nothing is imported: rename, or --partial"]
            )
        except UserError as error:
            yield Imported(name, None, None, [str(error)])
    unknown = [stem for stem, name in dataset_of_stem.items() if name is None]
    if unknown and not wanted:
        log.warning("left out, not a data set of this project: %s", ", ".join(unknown))


def dataset_of(stem: str) -> str | None:
    """The data set here that a file of the authors is named after; None if there is none.

    >>> dataset_of("caltech-101"), dataset_of("places-365"), dataset_of("oxford-pet")
    ('caltech101', 'places365', 'oxford_pets')
    """
    for name in PUBLISHED:
        if _letters(stem) in {_letters(known) for known in (name, *entry(name).also)}:
            return name
    return None


def _letters(text: str) -> str:
    """The letters and digits of a text, without case."""
    return "".join(c for c in text.casefold() if c.isalnum())


def _files(folder: Path) -> list[Path]:
    """Files of texts in a folder."""
    return sorted(p for p in folder.glob("*") if p.suffix in (".pkl", ".pickle", ".json"))


def _file_of(folder: Path, name: str) -> Path | None:
    """The file of a data set in a folder, in any spelling of the data set's name.

    None if there is none. UserError if several files differ.
    """
    files = [p for p in _files(folder) if dataset_of(p.stem) == name]
    if len({p.read_bytes() for p in files}) > 1:
        shown = " and ".join(p.name for p in files)
        raise UserError(f"{folder.name}: {shown} are both of '{name}', and differ; keep one")
    if not files:
        return None
    return files[0]


def _import(
    folder: Path, name: str, theirs: Path | None, renames: Mapping[str, str], partial: bool
) -> Imported:
    """Import the files of one data set.

    Raises Mismatch for class names that do not fit, UserError for a file that cannot be read.
    """
    files: dict[str, Path] = {}  # by kind
    for sub, kind in KINDS.items():
        file = _file_of(folder / sub, name)
        if file is not None:
            files[kind] = file
    pair_file = _file_of(folder / PAIRS, name)
    lines = []
    if pair_file is not None:
        files[PAIRS] = pair_file
    # a broken file loses its kind alone
    for kind, path in list(files.items()):
        try:
            _read(path)
        except Broken as error:
            lines.append(f"{kind} is not imported: {error}")
            del files[kind]
    if not files:
        raise UserError("; ".join(lines))
    pair_file = files.pop(PAIRS, None)
    # class names for the lists without names
    order = _class_file(theirs, name) or _names_of(files.get("synonym"))
    tables = {kind: table_of(path, order) for kind, path in files.items()}
    sides = _sides_of(pair_file) if pair_file else {}
    # every class name in the archive, to see which spelling it uses
    used = {label for table in tables.values() for label, _ in table} | set(sides)
    for others in sides.values():
        used.update(others)
    ours = entry(name).class_names()
    importing = Import(folder, name, ours, {**_published_names(name, ours, used), **renames})
    for kind, path in files.items():
        importing.add(kind, path, SOURCE, tables[kind])
    pairs = _pairs_of(pair_file, sides, importing) if pair_file else None
    texts = importing.finish(partial, others=bool(pairs and pairs.pairs))
    lacking = [kind for kind in KINDS.values() if kind not in files]
    if pair_file is None:
        lacking.append("one_to_one")
    if lacking:
        lines.append(f"the archive has no usable file of: {', '.join(lacking)}")
    return Imported(name, texts, pairs, [*lines, *importing.notes])


def _published_names(name: str, ours: Sequence[str], used: set[str]) -> dict[str, str]:
    """Spelling in the authors' lists -> our class name, only where the two differ and the archive
    uses the authors' spelling.

    used: all class names in the archive's files of this data set.
    """
    spellings = entry(name).make_templates().class_names_as_published or ours
    keys = set(map(name_key, used))
    known = set(map(name_key, ours))
    return {
        theirs: own
        for theirs, own in zip(spellings, ours, strict=True)
        if name_key(theirs) in keys and name_key(theirs) not in known
    }


def _class_file(folder: Path | None, name: str) -> list[str]:
    """Class names of the authors' class file of a data set, one per line.

    None without the folder or the file.
    """
    if folder is None:
        return []
    files = [p for p in sorted(folder.glob("*.txt")) if dataset_of(p.stem) == name]
    if not files:
        return []
    lines = files[0].read_text(encoding="utf-8-sig").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _names_of(synonyms: Path | None) -> list[str]:
    """Class names in a file of synonyms, which has the same order as the lists.

    None unless each entry has a name.
    """
    if synonyms is None:
        return []
    value = _read(synonyms)
    if not isinstance(value, list):
        return []
    names = []
    for element in value:
        if not isinstance(element, dict):
            return []
        # an entry names its class by its only string
        strings = [part for part in element.values() if isinstance(part, str)]
        if len(strings) != 1:
            return []
        names.append(strings[0])
    return names


def _read(path: Path) -> Any:
    """The document of a JSON file or a pickle. Broken if there is none in it."""
    try:
        if path.suffix == ".json":
            return read_written(path, path.stem)
        return read_plain_pickle(path)
    except UserError as error:
        raise Broken(str(error)) from error


def table_of(path: Path, order: Sequence[str]) -> Table:
    """Read the texts of classes in any of the published forms.

    {class: [text]}, [[text]] in the order of ``order``, or [{"syno": [text], "name": class}].
    """
    value = _read(path)
    if isinstance(value, dict):
        return importers.table_of(path, value)
    if not isinstance(value, list):
        raise UserError(f"{path.name}: neither a list nor an object of classes")
    texts, names = [], []
    for i, element in enumerate(value):
        # an entry is a list of texts, or an object with one such list and perhaps a name
        parts = list(element.values()) if isinstance(element, dict) else [element]
        lists = [part for part in parts if isinstance(part, list)]
        if len(lists) != 1:
            raise UserError(
                f"{path.name}: entry {i} holds {len(lists)} lists, where its texts should be the "
                "only one"
            )
        texts.append(list_of_texts(path, lists[0], f"entry {i}"))
        names += [part for part in parts if isinstance(part, str)]
    # names in the file count before the order of the class file
    given = names
    if len(names) != len(texts):
        given = list(order)
    where = f"{path.parent.name}/{path.name}"
    if not given:
        raise UserError(
            f"{where}: {len(texts)} classes without names; --their-classes names the folder of the "
            "authors' class files, datasets/class_name of their repository"
        )
    if len(given) != len(texts):
        raise UserError(f"{where}: {len(texts)} classes, but {len(given)} names for them")
    return list(zip(given, texts, strict=True))


def _sides_of(path: Path) -> dict[str, dict[str, list[str]]]:
    """Class -> other class -> what the first has and the second has not."""
    document = _read(path)
    if not isinstance(document, dict) or not all(
        isinstance(of_a, dict) for of_a in document.values()
    ):
        raise UserError(
            f"{path.parent.name}/{path.name}: not one object of other classes per class"
        )
    return {
        a: {b: list_of_texts(path, texts, f"'{a}' against '{b}'") for b, texts in of_a.items()}
        for a, of_a in document.items()
    }


def _pairs_of(
    path: Path, document: Mapping[str, Mapping[str, list[str]]], importing: Import
) -> PairSet:
    """The pairs of a file, each with both of its sides, in the order of the classes.

    document: the result of `_sides_of`.
    """
    names = list(dict.fromkeys([*document, *(b for of_a in document.values() for b in of_a)]))
    # the archive has some classes under two names in one file
    indices = dict(zip(names, importing.match(names, several=True), strict=True))
    # (i, j) -> what class i has and class j has not
    sides: dict[tuple[int, int], list[str]] = {}
    for a, of_a in document.items():
        for b, texts in of_a.items():
            cleaned, _ = clean_texts(texts)
            if not cleaned:
                continue
            # several classes may have one name: its texts go to each pair of their indices
            for i, j in product(indices[a], indices[b]):
                if i != j:
                    # two names of a class: the texts of both
                    before = sides.get((i, j), [])
                    sides[i, j] = list(dict.fromkeys([*before, *cleaned]))
    # each unordered pair once, the smaller index first
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
    one_sided = sum(not pair.compares for pair in pairs)
    if one_sided:
        importing.notes.append(
            f"one_to_one: {one_sided} of {len(pairs)} pairs have texts on one side, and do not "
            "count in stage two"
        )
    note = importing.note(path, SOURCE)
    return PairSet(dataset=importing.dataset, pairs=pairs, provenance={"one_to_one": note})
