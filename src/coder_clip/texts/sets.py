"""Text sets: what the Auto Text Generator gives for a data set, with provenance (paper, section 3.3).

A text set has an entry a class, in label order; classes are told apart by index, because published lists
hold the same name twice (ImageNet: "missile", "sunglasses").
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from ..errors import UserError, nearest
from ..foundation.artifacts import read_json
from ..foundation.strict import Strict
from .kinds import OF_CLASS

_Model = TypeVar("_Model", bound=BaseModel)


class _Strict(Strict, strict=True):
    def dump(self) -> dict[str, Any]:
        """As the file holds it: what is empty is left out."""
        return {"format": 1, **self.model_dump(exclude_defaults=True)}


class ClassTexts(_Strict):
    """Texts of one class; an absent kind means that the class has none."""

    name: str
    attribute: list[str] = []
    analogous: list[str] = []
    analogous_as_published: list[str] | None = Field(
        None, description="Analogous classes that the published code's filter keeps; None: the same."
    )
    synonym: list[str] = []
    sentence: list[str] = Field([], description="Whole sentences, as CuPL's; a baseline's, not CODER's.")

    def of(self, kind: str) -> list[str]:
        """Its texts of a kind; of the kind name, its name."""
        found: list[str] = [self.name] if kind == "name" else getattr(self, kind)
        return found


class TextSet(_Strict):
    """The general texts of a data set."""

    format: Literal[1] = 1
    dataset: str
    classes: list[ClassTexts]
    provenance: dict[str, dict[str, Any]] = Field({}, description="Source, author, date a kind.")


class Pair(_Strict):
    """What tells two classes apart; either side may be absent. Indices are needed where names repeat."""

    a: str
    b: str
    a_index: int = -1
    b_index: int = -1
    a_not_b: list[str] = []
    b_not_a: list[str] = []

    @property
    def compares(self) -> bool:
        """Whether both sides have texts: with one alone there is no difference to measure (`coder_clip.rerank`)."""
        return bool(self.a_not_b and self.b_not_a)


class PairSet(_Strict):
    """One-to-one texts of a data set."""

    format: Literal[1] = 1
    dataset: str
    pairs: list[Pair]
    provenance: dict[str, dict[str, Any]] = {}

    def one_sided(self) -> str | None:
        """One line about the pairs that count for nothing because a side has no text; None where there are none."""
        lacking = [p for p in self.pairs if not p.compares]
        if not lacking:
            return None
        shown = ", ".join(f"'{p.a}' and '{p.b}'" for p in lacking[:3]) + (", …" if len(lacking) > 3 else "")
        return (
            f"{len(lacking)} of {len(self.pairs)} one-to-one pairs have texts on one side only and change nothing: "
            f"{shown}; give both a_not_b and b_not_a"
        )


def names_only(dataset: str, classes: list[str]) -> TextSet:
    """A text set that holds the class names and nothing else."""
    source = {"source": "class names of the data set"}
    return TextSet(
        dataset=dataset, classes=[ClassTexts(name=_plain(c)) for c in classes], provenance={"name": source}
    )


def with_kinds(texts: TextSet, given: TextSet, kind: str) -> TextSet:
    """The texts with one kind taken from another set of the same classes, and its provenance.

    What the other set says about its file goes along.
    """
    entries = [
        mine.model_copy(
            update={k: getattr(theirs, k) for k in (kind, f"{kind}_as_published") if hasattr(theirs, k)}
        )
        for mine, theirs in zip(texts.classes, given.classes, strict=True)
    ]
    note = {**given.provenance.get(kind, {}), **({"file": f} if (f := given.provenance.get("file")) else {})}
    return texts.model_copy(update={"classes": entries, "provenance": {**texts.provenance, kind: note}})


def load_text_set(path: str | Path, dataset: str, classes: list[str], made: bool = False) -> TextSet:
    """Read a text set and hold it against the data set's classes.

    Entries may stand in any order as long as names are unique; duplicates must stand in label order. Lists
    are de-duplicated in order (published code: ``list(set())``, which depends on the hash seed).
    made: a phase wrote it, and can write it again; else it is a person's file.
    Raises UserError for a missing or unknown class, an empty list, something that is no string.
    """
    path = Path(path)
    document = read_json(path) if made else read_written(path, dataset)
    _refuse_empty(path, document, "classes", OF_CLASS, "name")
    texts = _validate(TextSet, path, document)
    given = [_plain(c.name) for c in texts.classes]
    wanted = [_plain(c) for c in classes]
    order = _match(path, given, wanted)
    entries = [
        entry.model_copy(update={kind: list(dict.fromkeys(entry.of(kind))) for kind in OF_CLASS})
        for entry in (texts.classes[index] for index in order)
    ]
    return TextSet(dataset=dataset, classes=entries, provenance=texts.provenance)


def load_pair_set(path: str | Path, dataset: str, classes: list[str], made: bool = False) -> PairSet:
    """Read one-to-one texts and hold them against the data set's classes.

    Raises UserError as `load_text_set` does, and for a pair given twice or of a class with itself.
    """
    path = Path(path)
    document = read_json(path) if made else read_written(path, dataset, PAIRS_MISSING)
    _refuse_empty(path, document, "pairs", ("a_not_b", "b_not_a"), "a")
    wanted = [_plain(c) for c in classes]
    pairs = _validate(PairSet, path, document)
    pairs = pairs.model_copy(update={"pairs": [_with_indices(path, p, wanted) for p in pairs.pairs]})
    seen: set[tuple[int, int]] = set()
    for pair in pairs.pairs:
        for name, index in ((pair.a, pair.a_index), (pair.b, pair.b_index)):
            if not 0 <= index < len(classes) or _plain(name) != wanted[index]:
                there = f"'{classes[index]}'" if 0 <= index < len(classes) else "nothing"
                raise UserError(f"{path}: '{name}' has index {index}, where the data set has {there}")
        key = (min(pair.a_index, pair.b_index), max(pair.a_index, pair.b_index))
        if key[0] == key[1] or key in seen:
            what = "with itself" if key[0] == key[1] else "twice"
            raise UserError(f"{path}: the pair '{pair.a}' and '{pair.b}' is given {what}")
        seen.add(key)
    return PairSet(dataset=dataset, pairs=pairs.pairs, provenance=pairs.provenance)


def _with_indices(path: Path, pair: Pair, classes: list[str]) -> Pair:
    """The pair with the indices that its names leave no doubt about."""
    found = {}
    for key, name in (("a_index", _plain(pair.a)), ("b_index", _plain(pair.b))):
        if key in pair.model_fields_set:
            continue
        if classes.count(name) != 1:
            what = (
                "is not in the data set" + nearest(name, classes) if name not in classes else "is there twice"
            )
            raise UserError(f"{path}: class '{name}' {what}" + (f"; give '{key}'" if name in classes else ""))
        found[key] = classes.index(name)
    return pair.model_copy(update=found)


def select_pairs(pairs: PairSet, wanted: Iterable[tuple[int, int]]) -> PairSet:
    """All pairs, those among ``wanted`` (unordered indices) first, in the order of ``wanted``.

    The others stay: stage one may confuse classes on other images than those that the order comes from.
    """
    place = {frozenset(key): i for i, key in enumerate(wanted)}
    chosen = sorted(pairs.pairs, key=lambda p: place.get(frozenset((p.a_index, p.b_index)), len(place)))
    return PairSet(dataset=pairs.dataset, pairs=chosen, provenance=pairs.provenance)


TEXTS_MISSING = (
    "no text set {path} for data set '{dataset}'; write one (data/texts/README.md), name another with 'texts:', let a "
    "language model write it (docs/texts.md), or say 'texts: names' to use the class names alone"
)
PAIRS_MISSING = (
    "no one-to-one texts {path} for data set '{dataset}'; write them (data/texts/README.md) or "
    "leave the key out"
)


def read_written(path: Path, dataset: str, missing: str = TEXTS_MISSING) -> Any:
    """A JSON document that a person wrote: a mistake is named with its place, to be put right there."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(missing.format(path=path, dataset=dataset)) from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}: {error.msg[0].lower()}{error.msg[1:]}"
        raise UserError(f"{path} is no valid JSON ({where}); correct it there") from None
    except UnicodeDecodeError as error:
        where = f"byte {error.start}"
        raise UserError(f"{path} is no valid JSON ({where} is not UTF-8); save it as UTF-8") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def _plain(name: str) -> str:
    """The name as people write it: underscores are spaces (method, section 1)."""
    return " ".join(name.replace("_", " ").split())


def _match(path: Path, given: list[str], wanted: list[str]) -> list[int]:
    """For each wanted name the position of its entry."""
    if given == wanted:
        return list(range(len(wanted)))
    missing = [w for w in wanted if w not in given]
    unknown = [g for g in given if g not in wanted]
    if unknown:
        raise UserError(f"{path}: class '{unknown[0]}' is not in the data set{nearest(unknown[0], wanted)}")
    if missing:
        raise UserError(
            f"{path}: no texts for class '{missing[0]}' ({len(missing)} missing); add an entry for it"
        )
    if len(set(given)) != len(given) or len(given) != len(wanted):
        raise UserError(f"{path}: class names repeat, so the entries must stand in label order")
    position = {name: i for i, name in enumerate(given)}
    return [position[w] for w in wanted]


def _refuse_empty(path: Path, document: Any, entries: str, lists: tuple[str, ...], name: str) -> None:
    """An empty list or text is refused by name: it is more often a failed generation than meant."""
    items = document.get(entries) if isinstance(document, dict) else None
    for entry in items if isinstance(items, list) else []:
        if not isinstance(entry, dict):
            continue
        who = f"{path}: '{entry.get(name)}'"
        for key in lists:
            if key in entry and entry[key] == []:
                raise UserError(f"{who}: the list '{key}' is empty; leave the key out if there are none")
            for text in entry[key] if isinstance(entry.get(key), list) else []:
                if not isinstance(text, str):
                    raise UserError(f"{who}: '{key}' holds {text!r}, which is no text")
                if not text.strip():
                    raise UserError(f"{who}: '{key}' holds an empty text")


def _validate(model: type[_Model], path: Path, document: Any) -> _Model:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        item = error.errors()[0]
        where = ".".join(map(str, item["loc"]))
        if item["type"] == "extra_forbidden":
            entry, key = document, item["loc"][-1]
            for part in item["loc"][:-1]:
                entry = entry[part]
            who = f"'{entry.get('name', entry.get('a'))}': " if entry is not document else ""
            known = (ClassTexts if model is TextSet else Pair) if entry is not document else model
            hint = nearest(str(key), known.model_fields)
            raise UserError(f"{path}: {who}unknown key '{key}'{hint}") from error
        raise UserError(f"{path}: {where}: {item['msg'][0].lower()}{item['msg'][1:]}") from error
