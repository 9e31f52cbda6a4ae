"""Texts that others published, as text sets: read, matched with a data set's classes by name, provenance kept.

A file holds texts per class, ``{class: [text]}``; a converted expert_knowledge folder (tools/expert_knowledge.py) holds
several such tables. What is in the files is data from elsewhere: JSON, and nothing of it is trusted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest
from ..foundation.artifacts import sha256
from .kinds import KINDS
from .llm.checks import control
from .names import name_key
from .sets import ClassTexts, Pair, PairSet, TextSet

MOST_CHARACTERS = 1000  # of a text; what is longer is no text for an encoder
CONVERT = "a folder or pickle of the authors is converted once: python tools/expert_knowledge.py FOLDER NAME"


@dataclass(frozen=True)
class Format:
    """kind: of all texts; None where the file names the kinds. source: for the provenance. note: how they are used."""

    kind: str | None
    source: str
    note: str = ""


FORMATS = {
    "plain": Format("attribute", "class names and texts of a file"),
    "descriptions": Format(
        "attribute",
        "Visual classification via description from large language models (Menon and Vondrick, ICLR 2023)",
    ),
    "cupl": Format(
        "sentence",
        "Customized prompts via language models, CuPL (Pratt et al., ICCV 2023)",
        "sentences are a baseline's, not CODER's: 'texts: {…, sentence: FILE}' puts them beside other kinds",
    ),
    "expert-knowledge": Format(None, "expert knowledge published with CODER (Yi et al., CVPR 2024)"),
}


class Mismatch(UserError):
    """Class names that do not fit. lines: what fits, what lacks texts and what is unknown, one line each."""

    def __init__(self, message: str, lines: list[str]) -> None:
        super().__init__(message)
        self.lines = lines


@dataclass(frozen=True)
class Imported:
    """texts: None where the source holds pairs alone; pairs: None where it has none. notes: for the person."""

    texts: TextSet | None
    pairs: PairSet | None
    notes: list[str]


@dataclass(frozen=True)
class Match:
    """For each name of a file the indices of the data set's classes of that name, and what does not fit."""

    indices: list[list[int]]
    problems: list[str]
    notes: list[str]


@dataclass
class _Import:
    """What an import has found so far. used: keys of all names in the source."""

    classes: Sequence[str]
    renames: Mapping[str, str]
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    missing: dict[str, None] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def match(self, names: Sequence[str]) -> list[list[int]]:
        found = match_names(names, self.classes, self.renames)
        self.problems += found.problems
        self.notes += found.notes
        self.used.update(map(name_key, names))
        return found.indices

    def texts(self, kind: str, table: Sequence[tuple[str, list[str]]]) -> list[list[str]]:
        """The clean texts of every class, in label order."""
        indices = self.match([name for name, _ in table])
        found: list[list[str]] = [[] for _ in self.classes]
        changed: Counter[str] = Counter()
        for of_name, (_, texts) in zip(indices, table, strict=True):
            clean, what = _clean(texts)
            changed += what
            for i in of_name:
                found[i] = clean
        reached = {i for of_name in indices for i in of_name}
        self.missing |= {f"'{c}'": None for i, c in enumerate(self.classes) if i not in reached}
        self.notes += [f"{kind}: {n} texts {what}" for what, n in changed.items()]
        return found

    def pairs(self, table: Mapping[str, Mapping[str, Sequence[str]]]) -> list[Pair]:
        """Both sides of every pair together, in the order of the classes."""
        names = list(dict.fromkeys([*table, *(b for of_a in table.values() for b in of_a)]))
        indices = dict(zip(names, self.match(names), strict=True))
        sides: dict[tuple[int, int], list[str]] = {}
        for a, of_a in table.items():
            for b, texts in of_a.items():
                clean = _clean(texts)[0]
                sides |= {(i, j): clean for i in indices[a] for j in indices[b] if i != j and clean}
        unordered = sorted({(min(key), max(key)) for key in sides})
        if one_sided := sum((i, j) not in sides or (j, i) not in sides for i, j in unordered):
            self.notes.append(
                f"one_to_one: {one_sided} of {len(unordered)} pairs have texts on one side, and do not count in "
                "stage two"
            )
        return [
            Pair(
                a=self.classes[i],
                b=self.classes[j],
                a_index=i,
                b_index=j,
                a_not_b=sides.get((i, j), []),
                b_not_a=sides.get((j, i), []),
            )
            for i, j in unordered
        ]


def import_texts(
    form: str,
    source: str | Path,
    dataset: str,
    classes: Sequence[str],
    *,
    renames: Mapping[str, str] | None = None,
    partial: bool = False,
) -> Imported:
    """Texts of ``source`` for the classes of a data set, in their label order.

    form: a name of FORMATS. renames: name in the source -> name in the data set. partial: take what fits; what does not
    is noted, and a class without texts has its name alone. Raises Mismatch with every name that does not fit or lacks
    texts, UserError for a file that does not hold what it should, or no usable text.
    """
    if form not in FORMATS:
        raise UserError(f"no format '{form}' to import from{nearest(form, FORMATS)}")
    source, about = Path(source), FORMATS[form]
    tables = _read(source, about)
    found = _Import(classes, dict(renames or {}))
    by_kind = {kind: found.texts(kind, table) for kind, table in tables.items() if not KINDS[kind].of_pair}
    pairs = found.pairs(tables["one_to_one"]) if "one_to_one" in tables else None
    unused = [old for old in found.renames if name_key(old) not in found.used]
    found.problems += [f"to rename: '{old}' is no class of {source.name}" for old in unused]
    in_pairs = {i for pair in pairs or () for i in (pair.a_index, pair.b_index)}
    fits = in_pairs | {i for texts in by_kind.values() for i, of_class in enumerate(texts) if of_class}
    if found.problems or found.missing:
        problems, missing = list(dict.fromkeys(found.problems)), list(found.missing)
        lines = [f"{len(fits)} of {len(classes)} classes of '{dataset}' have texts"]
        lines += [f"without some kind of text ({len(missing)}): {', '.join(missing)}"] if missing else []
        lines += [f"does not fit ({len(problems)}): {'; '.join(problems)}"] if problems else []
        if not partial or unused:
            raise Mismatch(
                f"{source}: not all class names fit data set '{dataset}' (see above); say what is what with --rename "
                "'THEIRS=OURS', or take what fits with --partial",
                lines,
            )
        found.notes += lines
    if not fits:
        raise UserError(f"{source}: no usable text for any class of data set '{dataset}'")
    note: dict[str, Any] = {"source": about.source, "file": source.name, "sha256": sha256(source)}
    note |= {"renamed": dict(found.renames)} if found.renames else {}
    texts = None
    if by_kind:
        provenance: dict[str, dict[str, Any]] = {"name": {"source": "class names of the data set"}}
        for kind, lists in by_kind.items():
            without = [c for c, of_class in zip(classes, lists, strict=True) if not of_class]
            provenance[kind] = note | ({"without": without} if without else {})
        entries = [{kind: lists[i] for kind, lists in by_kind.items()} for i in range(len(classes))]
        texts = TextSet(
            dataset=dataset,
            classes=[ClassTexts(name=c, **entry) for c, entry in zip(classes, entries, strict=True)],
            provenance=provenance,
        )
    of_pairs = pairs and PairSet(dataset=dataset, pairs=pairs, provenance={"one_to_one": note})
    return Imported(texts, of_pairs or None, found.notes + ([about.note] if about.note else []))


def match_names(given: Sequence[str], wanted: Sequence[str], renames: Mapping[str, str]) -> Match:
    """Which class each given name is. Case, underscores, hyphens and spaces do not count, order never.

    A name that is in the label set several times (ImageNet: "missile") is matched in order where the source has
    it as often; where it has it once, all classes of that name get its texts, and a note says so.
    """
    renamed = {name_key(old): new for old, new in renames.items()}
    groups: dict[tuple[int, ...], list[int]] = {}  # classes of one name -> positions in given
    match = Match([[] for _ in given], [], [])
    for at, name in enumerate(given):
        called = renamed.get(name_key(name), name)
        found = [i for i, c in enumerate(wanted) if c == called]
        found = found or [i for i, c in enumerate(wanted) if name_key(c) == name_key(called)]
        spellings = sorted({wanted[i] for i in found})
        if len(spellings) > 1:
            match.problems.append(f"'{name}' could be any of {', '.join(map(repr, spellings))}")
        elif not found:
            what = f"'{name}'" if called == name else f"'{name}' as '{called}'"
            match.problems.append(f"{what} is no class of the data set{_close(called, wanted)}")
        else:
            groups.setdefault(tuple(found), []).append(at)
    for same, positions in groups.items():
        names = [f"'{given[at]}'" for at in positions]
        if len(positions) == len(same):
            for at, i in zip(positions, same, strict=True):
                match.indices[at].append(i)
        elif len(positions) == 1:
            match.indices[positions[0]].extend(same)
            match.notes.append(f"{names[0]} is the name of {len(same)} classes; all get its texts")
        else:
            match.problems.append(f"{' and '.join(names)} are both '{wanted[same[0]]}'")
    return match


def _close(name: str, known: Sequence[str]) -> str:
    by_key = {name_key(k): k for k in known}
    close = get_close_matches(name_key(name), by_key, n=1, cutoff=0.6)
    return f" (did you mean '{by_key[close[0]]}'?)" if close else ""


def _clean(texts: Sequence[str]) -> tuple[list[str], Counter[str]]:
    """Each text once, in order, on one line, without control and direction marks; and what was dropped or changed."""
    kept: dict[str, None] = {}
    what: Counter[str] = Counter()
    for text in texts:
        marks = set(control(" ".join(text.split())))
        bare = " ".join("".join(" " if c in marks else c for c in text).split())
        what["without control characters"] += bool(marks)
        if len(bare) > MOST_CHARACTERS:
            what[f"left out, longer than {MOST_CHARACTERS} characters"] += 1
        elif not bare or bare in kept:
            what["left out, empty or repeated"] += 1
        else:
            kept[bare] = None
    return list(kept), what


def _read(path: Path, about: Format) -> dict[str, Any]:
    """Kind -> its table; of one-to-one texts ``{a: {b: [what a has and b has not]}}``."""
    if not path.exists():
        raise UserError(f"no file {path} to import from")
    if path.is_dir() or path.suffix in (".pkl", ".pickle"):
        raise UserError(f"{path} is no JSON file; {CONVERT}")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = [key for key, n in Counter(key for key, _ in pairs).items() if n > 1]
        if twice:  # JSON keeps the last one and says nothing
            raise UserError(f"{path}: '{twice[0]}' is there twice")
        return dict(pairs)

    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=once)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no valid JSON ({error})") from error
    tables = {about.kind: document} if about.kind else document
    if not isinstance(tables, dict) or not set(tables) <= set(KINDS):
        raise UserError(f"{path} does not hold a table for each kind of text; {CONVERT}")
    return {
        kind: {a: dict(_rows(path, of_a)) for a, of_a in table.items()}
        if KINDS[kind].of_pair and isinstance(table, dict)
        else _rows(path, table)
        for kind, table in tables.items()
    }


def _rows(path: Path, table: Any) -> list[tuple[str, list[str]]]:
    """``{class: [text]}``, or ``[[class, [text]], …]`` where names repeat."""
    rows = list(table.items()) if isinstance(table, dict) else table
    if not isinstance(rows, list) or not all(
        isinstance(row, (list, tuple)) and len(row) == 2 for row in rows
    ):
        raise UserError(f"{path}: neither an object of classes nor a list of them; is it of another format?")
    for name, texts in rows:
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise UserError(f"{path}: '{name}' holds something other than a list of texts")
    return [(str(name), texts) for name, texts in rows]
