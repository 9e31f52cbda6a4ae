"""Texts that others published, as text sets: read, matched with a data set's classes by name, provenance kept.

A file holds texts per class, ``{class: [text]}``. What is in it is data from elsewhere: nothing of it is trusted.
The authors' own folder is converted once, by tools/expert_knowledge.py, with the functions below.
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
from .llm.checks import control
from .names import name_key
from .sets import ClassTexts, TextSet

MOST_CHARACTERS = 1000  # of a text; what is longer is no text for an encoder
FORMATS = {  # name -> kind of its texts, source
    "plain": ("attribute", "class names and texts of a file"),
    "descriptions": (
        "attribute",
        "Visual classification via description from large language models (Menon and Vondrick, ICLR 2023)",
    ),
    "cupl": ("sentence", "Customized prompts via language models, CuPL (Pratt et al., ICCV 2023)"),
}
SENTENCES = (
    "sentences are a baseline's, not CODER's: 'texts: {…, sentence: FILE}' puts them beside other kinds"
)
Table = Sequence[tuple[str, list[str]]]  # names and their texts; names may repeat


class Mismatch(UserError):
    """Class names that do not fit. lines: what fits, what lacks texts and what is unknown, one line each."""

    def __init__(self, message: str, lines: list[str]) -> None:
        super().__init__(message)
        self.lines = lines


@dataclass(frozen=True)
class Match:
    """For each name of a file the indices of the data set's classes of that name, and what does not fit."""

    indices: list[list[int]]
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def import_texts(
    form: str,
    source: str | Path,
    dataset: str,
    classes: Sequence[str],
    *,
    renames: Mapping[str, str] | None = None,
    partial: bool = False,
) -> tuple[TextSet, list[str]]:
    """Texts of ``source`` for the classes of a data set, in their label order, and notes for the person.

    form: a name of FORMATS. renames: name in the source -> name in the data set. partial: take what fits; what does not
    is noted, and a class without texts has its name alone. Raises Mismatch with every name that does not fit or lacks
    texts, UserError for a file that does not hold what it should, or no usable text.
    """
    if form == "expert-knowledge":
        raise UserError("the authors' folder is converted once: python tools/expert_knowledge.py FOLDER NAME")
    if form not in FORMATS:
        raise UserError(f"no format '{form}' to import from{nearest(form, FORMATS)}")
    source, (kind, published) = Path(source), FORMATS[form]
    table = _read(source)
    match = match_names([name for name, _ in table], classes, renames or {})
    texts, notes = of_classes(kind, table, match, len(classes))
    notes = match.notes + notes
    problems = match.problems + unused([name for name, _ in table], renames or {}, source)
    reached = {i for of_name in match.indices for i in of_name}
    missing = [c for i, c in enumerate(classes) if i not in reached]
    fitting = sum(map(bool, texts))
    notes += refuse_mismatch(source, dataset, fitting, classes, problems, missing, partial)
    if not fitting:
        raise UserError(f"{source}: no usable text for any class of data set '{dataset}'")
    entries = [ClassTexts(name=c, **{kind: of_class}) for c, of_class in zip(classes, texts, strict=True)]
    note = provenance(published, source, renames or {}, classes, texts)
    names = {"name": {"source": "class names of the data set"}}
    made = TextSet(dataset=dataset, classes=entries, provenance={**names, kind: note})
    return made, notes + ([SENTENCES] if kind == "sentence" else [])


def match_names(given: Sequence[str], wanted: Sequence[str], renames: Mapping[str, str]) -> Match:
    """Which class each given name is. Case, underscores, hyphens and spaces do not count, order never.

    A name that is in the label set several times (ImageNet: "missile") is matched in order where the source has
    it as often; where it has it once, all classes of that name get its texts, and a note says so.
    """
    renamed = {name_key(old): new for old, new in renames.items()}
    groups: dict[tuple[int, ...], list[int]] = {}  # classes of one name -> positions in given
    match = Match([[] for _ in given])
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


def unused(names: Sequence[str], renames: Mapping[str, str], source: Path) -> list[str]:
    """Names to rename that the source does not have: a slip of the pen would leave a class without texts."""
    keys = set(map(name_key, names))
    return [
        f"to rename: '{old}' is no class of {source.name}" for old in renames if name_key(old) not in keys
    ]


def refuse_mismatch(
    source: Path,
    dataset: str,
    fitting: int,
    classes: Sequence[str],
    problems: Sequence[str],
    missing: Sequence[str],
    partial: bool,
) -> list[str]:
    """What does not fit, as lines; none where all does. Raises it as Mismatch, unless what fits is to be taken."""
    if not problems and not missing:
        return []
    lines = [f"{fitting} of {len(classes)} classes of '{dataset}' have texts"]
    if missing:
        names = ", ".join(f"'{c}'" for c in missing)
        lines.append(f"without some kind of text ({len(missing)}): {names}")
    lines += [f"does not fit ({len(problems)}): {'; '.join(problems)}"] if problems else []
    if partial and not any(problem.startswith("to rename: ") for problem in problems):
        return lines
    raise Mismatch(
        f"{source}: not all class names fit data set '{dataset}' (see above); say what is what with --rename "
        "'THEIRS=OURS', or take what fits with --partial",
        lines,
    )


def of_classes(kind: str, table: Table, match: Match, n_classes: int) -> tuple[list[list[str]], list[str]]:
    """The clean texts of every class, in label order, and what was dropped or changed."""
    found: list[list[str]] = [[] for _ in range(n_classes)]
    changed: Counter[str] = Counter()
    for indices, (_, texts) in zip(match.indices, table, strict=True):
        clean, what = clean_texts(texts)
        changed += what
        for i in indices:
            found[i] = clean
    return found, [f"{kind}: {n} texts {what}" for what, n in changed.items()]


def clean_texts(texts: Sequence[str]) -> tuple[list[str], Counter[str]]:
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


def provenance(
    published: str,
    path: Path,
    renames: Mapping[str, str],
    classes: Sequence[str],
    texts: Sequence[Sequence[str]],
) -> dict[str, Any]:
    """Where the texts of one kind come from, and which classes have none."""
    without = [c for c, of_class in zip(classes, texts, strict=False) if not of_class]
    note = {"source": published, "file": path.name, "sha256": sha256(path)}
    return note | {k: v for k, v in (("renamed", dict(renames)), ("without", without)) if v}


def read_json(path: Path) -> Any:
    """A JSON document with every key once. UserError for anything else."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        twice = [key for key, n in Counter(key for key, _ in pairs).items() if n > 1]
        if twice:  # JSON keeps the last one and says nothing
            raise UserError(f"{path}: '{twice[0]}' is there twice")
        return dict(pairs)

    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=once)
    except FileNotFoundError:
        raise UserError(f"no file {path} to import from") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is no valid JSON ({error})") from error


def _read(path: Path) -> list[tuple[str, list[str]]]:
    document = read_json(path)
    if isinstance(document, list):
        raise UserError(
            f"{path}: a list, where each class name should have its texts; is it of another format?"
        )
    if not isinstance(document, dict):
        raise UserError(f"{path}: not an object with a list of texts for each class name")
    return [(name, list_of_texts(path, texts, f"'{name}'")) for name, texts in document.items()]


def list_of_texts(path: Path, value: Any, where: str) -> list[str]:
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return value
    raise UserError(f"{path}: {where} holds something other than a list of texts")
