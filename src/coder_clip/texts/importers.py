"""Texts that others published, as text sets: read, matched with a data set's classes by name, provenance kept.

A format is a function in FORMATS from a file or folder to `Found`: its texts by kind, with the class names that the
files themselves give. What is in the files is data from elsewhere: JSON, or pickles through `pickles` alone.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..datasets.pickles import read_plain_pickle
from ..errors import UserError, nearest
from ..foundation.artifacts import sha256
from .llm.checks import control
from .names import name_key
from .sets import ClassTexts, Pair, PairSet, TextSet

MOST_CHARACTERS = 1000  # of a text; what is longer is no text for an encoder


@dataclass(frozen=True)
class Entries:
    """Texts a class as a file gives them. names: None where it gives a list in some order and no names."""

    path: Path
    names: list[str] | None
    texts: list[list[str]]


@dataclass(frozen=True)
class Found:
    """What a source holds. general: kind -> entries. pairs: (what a has and b has not) by name, and its file."""

    general: dict[str, Entries]
    pairs: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    pairs_path: Path | None = None
    source: str = ""
    form: str = ""  # how its texts are used, where they are no attributes


@dataclass(frozen=True)
class Match:
    """For each name of a file the indices of the data set's classes of that name, and what does not fit."""

    indices: list[list[int]]
    problems: list[str]
    notes: list[str]
    missing: list[str] = field(default_factory=list)


class Mismatch(UserError):
    """Class names that do not fit. lines: what fits, what lacks texts and what is unknown, a line each."""

    def __init__(self, message: str, lines: list[str]) -> None:
        super().__init__(message)
        self.lines = lines


@dataclass(frozen=True)
class Imported:
    """texts: None where the source holds pairs alone; pairs: None where it has none. notes: for the person."""

    texts: TextSet | None
    pairs: PairSet | None
    notes: list[str]


def import_texts(
    form: str,
    source: str | Path,
    dataset: str,
    classes: Sequence[str],
    *,
    renames: Mapping[str, str] | None = None,
    source_classes: Sequence[str] | None = None,
    source_name: str | None = None,
    partial: bool = False,
) -> Imported:
    """Texts of ``source`` for the classes of a data set, in their label order.

    form: a name of FORMATS. renames: name in the source -> name in the data set. source_classes: the names behind
    lists that come without, in the order of the lists. source_name: what the data set is called in a folder of
    several. partial: take what fits; what does not is noted, and a class without texts has its name alone.
    Raises Mismatch with every name that does not fit or lacks texts, UserError for a file that does not hold what it
    should, or no usable text.
    """
    if form not in FORMATS:
        raise UserError(f"no format '{form}' to import from{nearest(form, FORMATS)}")
    source = Path(source)
    if not source.exists():
        raise UserError(f"no file or folder {source} to import from")
    found = FORMATS[form](source, source_name or dataset)
    renames = dict(renames or {})
    notes: list[str] = []
    problems: list[str] = []
    missing: dict[str, None] = {}
    entries: list[dict[str, list[str]]] = [{} for _ in classes]
    provenance: dict[str, dict[str, Any]] = {"name": {"source": "class names of the data set"}}
    used: set[str] = set()
    for kind, given in found.general.items():
        match = _match_entries(given, classes, source_classes, renames, used, kind)
        problems += match.problems
        missing |= dict.fromkeys(match.missing)
        notes += match.notes
        changed: Counter[str] = Counter()
        for indices, texts in zip(match.indices, given.texts, strict=True):
            clean, what = _clean(texts)
            changed += what
            for i in indices:
                if clean:
                    entries[i][kind] = clean
        without = [c for c, e in zip(classes, entries, strict=True) if kind not in e]
        notes += [f"{kind}: {n} texts {what}" for what, n in changed.items()]
        provenance[kind] = _provenance(found, given.path, {"renamed": renames, "without": without})
    pairs = None
    if found.pairs and found.pairs_path:
        pairs = _pairs(found, dataset, classes, renames, used, problems, notes)
    unused = [old for old in renames if name_key(old) not in used]
    problems += [f"to rename: '{old}' is no class of {source.name}" for old in unused]
    problems = list(dict.fromkeys(problems))
    if problems or missing:
        in_pairs = {i for p in (pairs.pairs if pairs else ()) for i in (p.a_index, p.b_index)}
        fits = sum(bool(e) or i in in_pairs for i, e in enumerate(entries))
        lines = [f"{fits} of {len(classes)} classes of '{dataset}' have texts"]
        lines += [f"without some kind of text ({len(missing)}): {', '.join(missing)}"] if missing else []
        lines += [f"does not fit ({len(problems)}): {'; '.join(problems)}"] if problems else []
        if not partial or unused:
            raise Mismatch(
                f"{source}: not all class names fit data set '{dataset}' (see above); say what is what with --rename "
                "'THEIRS=OURS', or take what fits with --partial",
                lines,
            )
        notes += lines
    if found.form:
        notes.append(found.form)
    sets = [ClassTexts(name=c, **e) for c, e in zip(classes, entries, strict=True)]
    general = TextSet(dataset=dataset, classes=sets, provenance=provenance) if found.general else None
    if not any(entries) and not (pairs and pairs.pairs):
        raise UserError(f"{source}: no usable text for any class of data set '{dataset}'")
    return Imported(general, pairs, notes)


def match_names(given: Sequence[str], wanted: Sequence[str], renames: Mapping[str, str]) -> Match:
    """Which class each given name is. Case, underscores, hyphens and spaces do not count, order never.

    A name that is in the label set several times (ImageNet: "missile") is matched in order where the source has
    it as often; where it has it once, all classes of that name get its texts, and a note says so.
    """
    renamed = {name_key(old): new for old, new in renames.items()}
    exact: dict[str, list[int]] = {}
    by_key: dict[str, list[int]] = {}
    for i, name in enumerate(wanted):
        exact.setdefault(name, []).append(i)
        by_key.setdefault(name_key(name), []).append(i)
    places: dict[int, list[int]] = {}  # position in given -> candidates
    problems, notes = [], []
    for at, name in enumerate(given):
        called = renamed.get(name_key(name), name)
        found = exact.get(called) or by_key.get(name_key(called), [])
        spellings = sorted({wanted[i] for i in found})
        if len(spellings) > 1:
            problems.append(f"'{name}' could be any of {', '.join(map(repr, spellings))}")
        elif not found:
            what = f"'{name}'" if called == name else f"'{name}' as '{called}'"
            problems.append(f"{what} is no class of the data set{_close(called, wanted)}")
        else:
            places[at] = found
    indices: list[list[int]] = [[] for _ in given]
    for found in {tuple(f): f for f in places.values()}.values():
        at_ = [at for at, f in places.items() if f == found]
        if len(at_) == len(found):
            for at, i in zip(at_, found, strict=True):
                indices[at] = [i]
        elif len(at_) == 1:
            indices[at_[0]] = found
            notes.append(f"'{given[at_[0]]}' is the name of {len(found)} classes; all get its texts")
        else:
            names = " and ".join(f"'{given[at]}'" for at in at_)
            problems.append(f"{names} are both '{wanted[found[0]]}'")
    return Match(indices, problems, notes)


def _match_entries(
    given: Entries,
    classes: Sequence[str],
    source_classes: Sequence[str] | None,
    renames: Mapping[str, str],
    used: set[str],
    kind: str,
) -> Match:
    names = given.names if given.names is not None else source_classes
    if names is None:
        if len(given.texts) != len(classes):
            raise UserError(
                f"{given.path}: {len(given.texts)} classes without names, the data set has {len(classes)}; name the "
                "file with their names, in that order, with --source-classes"
            )
        note = f"{kind}: {given.path.name} has no class names; taken to be in label order"
        return Match([[i] for i in range(len(classes))], [], [note])
    if len(names) != len(given.texts):
        raise UserError(f"{given.path}: {len(given.texts)} classes, but {len(names)} names for them")
    used.update(map(name_key, names))
    match = match_names(names, classes, renames)
    reached = {i for indices in match.indices for i in indices}
    missing = [f"'{c}'" for i, c in enumerate(classes) if i not in reached]
    return Match(match.indices, match.problems, match.notes, missing)


def _pairs(
    found: Found,
    dataset: str,
    classes: Sequence[str],
    renames: Mapping[str, str],
    used: set[str],
    problems: list[str],
    notes: list[str],
) -> PairSet:
    """Both sides of every pair together, in the order of the classes; lists in ``problems`` who is unknown."""
    assert found.pairs_path is not None
    names = list(dict.fromkeys(name for pair in found.pairs for name in pair))
    used.update(map(name_key, names))
    match = match_names(names, classes, renames)
    problems += match.problems
    of = dict(zip(names, match.indices, strict=True))
    sides: dict[tuple[int, int], list[str]] = {}
    for (a, b), texts in found.pairs.items():
        for i in of[a]:
            for j in of[b]:
                if i != j and (clean := _clean(texts)[0]):
                    sides[i, j] = clean
    keys = sorted({(min(k), max(k)) for k in sides})
    one_sided = sum((i, j) not in sides or (j, i) not in sides for i, j in keys)
    if one_sided:
        notes.append(
            f"one_to_one: {one_sided} of {len(keys)} pairs have texts on one side, and do not count in stage two"
        )
    pairs = [
        Pair(
            a=classes[i],
            b=classes[j],
            a_index=i,
            b_index=j,
            **{
                k: sides[s] for k, s in (("a_not_b", (i, j)), ("b_not_a", (j, i))) if s in sides
            },
        )
        for i, j in keys
    ]  # fmt: skip
    provenance = {"one_to_one": _provenance(found, found.pairs_path, {"renamed": renames})}
    return PairSet(dataset=dataset, pairs=pairs, provenance=provenance)


def _provenance(found: Found, path: Path, what: Mapping[str, Any]) -> dict[str, Any]:
    made = {"source": found.source, "file": path.name, "sha256": sha256(path)}
    return made | {k: dict(v) if isinstance(v, Mapping) else v for k, v in what.items() if v}


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


def _close(name: str, known: Sequence[str]) -> str:
    close = get_close_matches(name_key(name), [name_key(k) for k in known], n=1, cutoff=0.6)
    return f" (did you mean '{next(k for k in known if name_key(k) == close[0])}'?)" if close else ""


# ---- formats


def _descriptions(path: Path, name: str) -> Found:
    """Descriptors of "Visual classification via description" (Menon and Vondrick 2023): {class: [descriptor]}."""
    source = (
        "Visual classification via description from large language models (Menon and Vondrick, ICLR 2023)"
    )
    return Found({"attribute": _named(path)}, source=source)


def _plain(path: Path, name: str) -> Found:
    """A file of one's own, or another model's: {class: [text]}."""
    return Found({"attribute": _named(path)}, source="class names and texts of a file")


def _cupl(path: Path, name: str) -> Found:
    """Prompts of CuPL (Pratt et al. 2023): {class: [sentence]}."""
    return Found(
        {"sentence": _named(path)},
        source="Customized prompts via language models, CuPL (Pratt et al., ICCV 2023)",
        form="sentences are a baseline's, not CODER's: 'texts: {…, sentence: FILE}' puts them beside other kinds",
    )


EXPERT = {  # folder -> kind
    "attribute": "attribute",
    "simile_class": "analogous",
    "synonym": "synonym",
    "ovo_attribute": "one_to_one",
}


def _expert_knowledge(folder: Path, name: str) -> Found:
    """The authors' expert_knowledge folder: attribute, simile_class, synonym, ovo_attribute, a file a data set."""
    if not folder.is_dir() or not any((folder / sub).is_dir() for sub in EXPERT):
        raise UserError(
            f"{folder} is not the authors' expert_knowledge folder: none of {', '.join(EXPERT)} in it"
        )
    general: dict[str, Entries] = {}
    pairs: dict[tuple[str, str], list[str]] = {}
    pairs_path = None
    for sub, kind in EXPERT.items():
        path = _of_dataset(folder / sub, name)
        if path is None:
            continue
        if kind == "one_to_one":
            pairs, pairs_path = _pair_texts(path), path
        else:
            general[kind] = _entries(path)
    if not general and not pairs:
        there = sorted({p.stem for sub in EXPERT for p in (folder / sub).glob("*.*")})
        raise UserError(
            f"{folder}: nothing for data set '{name}'; say with --source-name which it is{nearest(name, there)}"
        )
    source = "expert knowledge published with CODER (Yi et al., CVPR 2024)"
    return Found(general, pairs, pairs_path, source=source)


FORMATS: dict[str, Callable[[Path, str], Found]] = {
    "plain": _plain,
    "descriptions": _descriptions,
    "cupl": _cupl,
    "expert-knowledge": _expert_knowledge,
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


def _load(path: Path) -> Any:
    """A JSON document with every key once, or the plain values of a pickle."""
    if path.suffix in (".pkl", ".pickle"):
        return read_plain_pickle(path)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):  # JSON keeps the last one and says nothing
            twice = next(k for i, (k, _) in enumerate(pairs) if k in [p[0] for p in pairs[:i]])
            raise UserError(f"{path}: '{twice}' is there twice")
        return found

    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=once)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no valid JSON ({error})") from error


def _named(path: Path) -> Entries:
    entries = _entries(path)
    if entries.names is None:
        raise UserError(
            f"{path}: a list, where each class name should have its texts; is it of another format?"
        )
    return entries


def _entries(path: Path) -> Entries:
    """{class: [text]}, [[text]] in label order, or [{"syno": [text], "name": class}]."""
    value = _load(path)
    if isinstance(value, dict):
        return Entries(path, list(value), [_texts(path, v, k) for k, v in value.items()])
    if not isinstance(value, list):
        raise UserError(f"{path}: neither a list nor an object of classes")
    if value and all(isinstance(entry, dict) for entry in value):
        return _records(path, value)
    return Entries(path, None, [_texts(path, v, f"entry {i}") for i, v in enumerate(value)])


def _records(path: Path, records: list[dict[str, Any]]) -> Entries:
    """An object a class: its one list is the texts, its one string, if all have it, the name."""
    texts, names = [], []
    for i, record in enumerate(records):
        lists = [v for v in record.values() if isinstance(v, list)]
        if len(lists) != 1:
            raise UserError(
                f"{path}: entry {i} holds {len(lists)} lists, where its texts should be the only one"
            )
        texts.append(_texts(path, lists[0], f"entry {i}"))
        names.append([v for v in record.values() if isinstance(v, str)])
    named = bool(names) and all(len(n) == 1 for n in names)
    return Entries(path, [n[0] for n in names] if named else None, texts)


def _texts(path: Path, value: Any, where: str) -> list[str]:
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return list(value)
    raise UserError(f"{path}: {where} holds something other than a list of texts")


def _pair_texts(path: Path) -> dict[tuple[str, str], list[str]]:
    """{a: {b: [what a has and b has not]}}"""
    value = _load(path)
    if not isinstance(value, dict) or not all(isinstance(v, dict) for v in value.values()):
        raise UserError(f"{path}: not one object of other classes a class")
    return {(a, b): _texts(path, t, f"'{a}' against '{b}'") for a, of in value.items() for b, t in of.items()}
