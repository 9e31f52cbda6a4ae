"""Text sets with provenance (paper, section 3.3: the Auto Text Generator).

A text set has one entry per class, in label order. The index identifies a class, because published
lists have the same
name twice (ImageNet: "missile", "sunglasses").
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from ..errors import UserError, nearest
from ..foundation.artifacts import read_json
from ..foundation.strict import Strict, explained
from .kinds import OF_CLASS
from .names import plain_name

_Model = TypeVar("_Model", bound=BaseModel)


class _Strict(Strict, strict=True):
    def dump(self) -> dict[str, Any]:
        """The document as written to the file: empty fields are left out."""
        return {"format": 1, **self.model_dump(exclude_defaults=True, by_alias=True)}


class Excepted(_Strict):
    """A text that breaks a rule of `checks` for a reason. class: its class, or its pair as "a / b".

    Without class or text the exception is for all classes or texts that break the rule.
    """

    owner: str = Field("", alias="class")
    text: str = ""
    rule: str
    why: str = Field(min_length=1)

    def covers(self, owner: str, text: str, rule: str) -> bool:
        """True if a fault is excepted."""
        return rule == self.rule and self.owner in ("", owner) and self.text in ("", text)


class ClassTexts(_Strict):
    """Texts of one class; an absent kind means that the class has none."""

    name: str
    attribute: list[str] = []
    analogous: list[str] = []
    synonym: list[str] = []
    sentence: list[str] = Field(
        [], description="Whole sentences, as CuPL's; a baseline's, not CODER's."
    )

    def of(self, kind: str) -> list[str]:
        """Its texts of a kind; for the kind "name", the name."""
        texts: list[str] = [self.name] if kind == "name" else getattr(self, kind)
        return texts


class TextSet(_Strict):
    """The general texts of a data set."""

    format: Literal[1] = 1
    dataset: str
    classes: list[ClassTexts]
    provenance: dict[str, dict[str, Any]] = Field({}, description="Source, author, date per kind.")
    exceptions: list[Excepted] = []


class Pair(_Strict):
    """What tells two classes apart; either side may be absent. Names that repeat need indices."""

    a: str
    b: str
    a_index: int = -1
    b_index: int = -1
    a_not_b: list[str] = []
    b_not_a: list[str] = []

    @property
    def compares(self) -> bool:
        """True if both sides have texts.

        One alone gives no difference to measure (`coder_clip.rerank`).
        """
        return bool(self.a_not_b and self.b_not_a)


class PairSet(_Strict):
    """One-to-one texts of a data set."""

    format: Literal[1] = 1
    dataset: str
    pairs: list[Pair]
    provenance: dict[str, dict[str, Any]] = {}
    exceptions: list[Excepted] = []

    def one_sided(self) -> str | None:
        """A warning about pairs that have no effect because a side has no text.

        None if there are none.
        """
        lacking = [p for p in self.pairs if not p.compares]
        if not lacking:
            return None
        shown = ", ".join(f"'{p.a}' and '{p.b}'" for p in lacking[:3]) + (
            ", …" if len(lacking) > 3 else ""
        )
        return (
            f"{len(lacking)} of {len(self.pairs)} one-to-one pairs have texts on one side only and "
            f"change nothing: {shown}; give both a_not_b and b_not_a"
        )


def names_only(dataset: str, classes: list[str]) -> TextSet:
    """A text set with the class names and nothing else."""
    source = {"source": "class names of the data set"}
    return TextSet(
        dataset=dataset,
        classes=[ClassTexts(name=plain_name(c)) for c in classes],
        provenance={"name": source},
    )


def with_kinds(texts: TextSet, given: TextSet, kind: str) -> TextSet:
    """Replace one kind of text in ``texts`` by the texts of ``given``.

    A set of the same classes; provenance and file come with them.
    """
    entries = [
        mine.model_copy(update={kind: theirs.of(kind)})
        for mine, theirs in zip(texts.classes, given.classes, strict=True)
    ]
    note = dict(given.provenance.get(kind, {}))
    file = given.provenance.get("file")
    if file:
        note["file"] = file
    return texts.model_copy(
        update={"classes": entries, "provenance": {**texts.provenance, kind: note}}
    )


def read_text_set(path: Path, unfinished: bool = False) -> TextSet:
    """Read a text set by itself: its own entries name the classes (data/texts/README.md).

    unfinished: read empty lists and texts, too. UserError: see `load_text_set`.
    """
    document = read_written(path, "photos", "no text set {path}")
    _refuse_other_kind(path, document, "pairs", "classes")
    entries = document.get("classes") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise UserError(
            f"{path} lists no classes (expected {{'format': 1, 'dataset': …, 'classes': […]}})"
        )
    names = [str(e.get("name", "")) if isinstance(e, dict) else "" for e in entries]
    if not all(names):
        raise UserError(f"{path}: class {names.index('') + 1} has no name")
    dataset = str(document.get("dataset", "photos"))
    if not unfinished:
        return load_text_set(path, dataset, names)
    return _validate(TextSet, path, {"dataset": dataset, **document})


def load_text_set(
    path: str | Path, dataset: str, classes: list[str], made: bool = False
) -> TextSet:
    """Read a text set and check it against the data set's classes.

    Entries may be in any order if names are unique, else they must be in label order. Repeated
    texts are dropped, in
    order (published code: ``list(set())``, which depends on the hash seed). made: a phase wrote the
    file and can write it again; otherwise a person did. UserError for a missing or unknown class,
    an empty list or text, anything else than a list of strings.
    """
    path = Path(path)
    document = read_json(path) if made else read_written(path, dataset)
    _refuse_other_kind(path, document, "pairs", "classes")
    texts = _validate(TextSet, path, document)
    _refuse_empty(path, ((f"'{c.name}'", c) for c in texts.classes), OF_CLASS)
    given = [plain_name(c.name) for c in texts.classes]
    order = _match(path, given, [plain_name(c) for c in classes])
    entries = []
    for index in order:
        entry = texts.classes[index]
        # each text once
        unique = {kind: list(dict.fromkeys(entry.of(kind))) for kind in OF_CLASS if entry.of(kind)}
        entries.append(entry.model_copy(update=unique))
    return texts.model_copy(update={"dataset": dataset, "classes": entries})


def load_pair_set(
    path: str | Path, dataset: str, classes: list[str], made: bool = False, unfinished: bool = False
) -> PairSet:
    """Read one-to-one texts and check them against the data set's classes.

    made: a phase wrote the file; otherwise a person did. unfinished: read empty lists and texts,
    too. UserError for an unknown class, and for a pair given twice or of a class with itself.
    """
    path = Path(path)
    document = read_json(path) if made else read_written(path, dataset, PAIRS_MISSING)
    _refuse_other_kind(path, document, "classes", "pairs")
    pair_set = _validate(PairSet, path, document)
    if not unfinished:
        entries = ((f"'{p.a}' and '{p.b}'", p) for p in pair_set.pairs)
        _refuse_empty(path, entries, ("a_not_b", "b_not_a"))
    wanted = [plain_name(c) for c in classes]
    # unordered: (a, b) and (b, a) are one pair
    pairs: dict[frozenset[int], Pair] = {}
    for pair in pair_set.pairs:
        a, b = _index(path, pair, "a", wanted), _index(path, pair, "b", wanted)
        if a == b or frozenset((a, b)) in pairs:
            what = "twice"
            if a == b:
                what = "with itself"
            raise UserError(f"{path}: the pair '{pair.a}' and '{pair.b}' is given {what}")
        pairs[frozenset((a, b))] = pair.model_copy(update={"a_index": a, "b_index": b})
    return pair_set.model_copy(update={"dataset": dataset, "pairs": list(pairs.values())})


def _index(path: Path, pair: Pair, side: Literal["a", "b"], classes: list[str]) -> int:
    """The label of one class of a pair.

    The index that the file gives, else the place of the class name.
    """
    name, key = plain_name(getattr(pair, side)), f"{side}_index"
    if key in pair.model_fields_set:
        index: int = getattr(pair, key)
        at_index = "nothing"
        if 0 <= index < len(classes):
            at_index = f"'{classes[index]}'"
        if at_index != f"'{name}'":
            raise UserError(
                f"{path}: '{name}' has index {index}, where the data set has {at_index}"
            )
        return index
    if name not in classes:
        raise UserError(f"{path}: class '{name}' is not in the data set{nearest(name, classes)}")
    if classes.count(name) > 1:
        raise UserError(f"{path}: class '{name}' is there twice; give '{key}'")
    return classes.index(name)


def select_pairs(pairs: PairSet, wanted: Iterable[tuple[int, int]]) -> PairSet:
    """All pairs, those in ``wanted`` (unordered indices) first, in its order.

    The others stay, because stage one may confuse them on other images.
    """
    # pairs that are not wanted share the last place, and the sort keeps their order
    place = {frozenset(key): i for i, key in enumerate(wanted)}
    chosen = sorted(
        pairs.pairs, key=lambda p: place.get(frozenset((p.a_index, p.b_index)), len(place))
    )
    return PairSet(dataset=pairs.dataset, pairs=chosen, provenance=pairs.provenance)


TEXTS_MISSING = (
    "no text set {path} for data set '{dataset}'; write one (data/texts/README.md), name another "
    "with 'texts:', let a language model write it (docs/texts.md), or say 'texts: names' to use "
    "the class names alone"
)
PAIRS_MISSING = (
    "no one-to-one texts {path} for data set '{dataset}'; write them (data/texts/README.md) or "
    "leave the key out"
)


def review_file(answers: Path, dataset: str) -> Path:
    """The file of decisions about a language model's texts, in the folder of its answers."""
    return answers / f"{dataset}.review.json"


def read_written(path: Path, dataset: str, missing: str = TEXTS_MISSING) -> Any:
    """Read a JSON document that a person wrote; UserError names the place of a mistake."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_unique)
    except FileNotFoundError:
        raise UserError(missing.format(path=path, dataset=dataset)) from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}: {error.msg}"
        raise UserError(f"{path} is not valid JSON ({where}); correct it there") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON ({error}); correct it there") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys are unique; Python would silently keep the last of two."""
    document = dict(pairs)
    if len(document) < len(pairs):
        counts = Counter(key for key, _ in pairs)
        repeated = next(key for key, n in counts.items() if n > 1)
        raise ValueError(f"'{repeated}' is there twice")
    return document


def _match(path: Path, given: list[str], wanted: list[str]) -> list[int]:
    """The position in ``given`` of each wanted name. UserError if the names do not fit."""
    if given == wanted:
        return list(range(len(wanted)))
    missing = [w for w in wanted if w not in given]
    unknown = [g for g in given if g not in wanted]
    if unknown:
        raise UserError(
            f"{path}: class '{unknown[0]}' is not in the data set{nearest(unknown[0], wanted)}"
        )
    if missing:
        raise UserError(
            f"{path}: no texts for class '{missing[0]}' ({len(missing)} missing); add an entry for "
            "it"
        )
    if len(set(given)) != len(given) or len(given) != len(wanted):
        raise UserError(f"{path}: class names repeat, so the entries must be in label order")
    # names are unique from here on, so each has one position
    position = {name: i for i, name in enumerate(given)}
    return [position[w] for w in wanted]


def _refuse_other_kind(path: Path, document: Any, other: str, wanted: str) -> None:
    """UserError if a file holds the other kind of texts.

    other, wanted: the keys, ``classes`` or ``pairs``, that tell the kinds apart.
    """
    kinds = {
        "classes": "texts of classes (texts: in a configuration)",
        "pairs": "one-to-one texts of pairs of classes (one_to_one: in a configuration)",
    }
    if isinstance(document, dict) and other in document and wanted not in document:
        raise UserError(f"{path} holds {kinds[other]}; needed are {kinds[wanted]}")


def _refuse_empty(
    path: Path, entries: Iterable[tuple[str, BaseModel]], lists: Sequence[str]
) -> None:
    """Refuse empty lists and texts of entries, each with the name for messages.

    More often a failed generation than intended.
    """
    for name, entry in entries:
        for key in lists:
            # an absent list is fine
            if key not in entry.model_fields_set:
                continue
            texts = getattr(entry, key)
            if not texts:
                raise UserError(
                    f"{path}: {name}: '{key}' is empty; leave the key out if there are none"
                )
            if not all(map(str.strip, texts)):
                raise UserError(f"{path}: {name}: '{key}' has an empty text")


def _validate(model: type[_Model], path: Path, document: Any) -> _Model:
    """Validate a document; UserError names the first entry that is wrong, by its class."""
    half = _half_character(document)
    if half is not None:
        shown = half.encode("ascii", "backslashreplace").decode()
        raise UserError(
            f"{path}: '{shown}' has half a character (a lone surrogate); write the text again there"
        )
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
    place = first["loc"]
    if len(place) < 3:
        raise UserError(f"{path}: {explained([first], model)}")
    # the first two parts of the place lead to the entry, whose name the message gives
    entry = document[place[0]][place[1]]
    wrong = explained([{**first, "loc": place[2:]}], ClassTexts if model is TextSet else Pair)
    raise UserError(f"{path}: '{entry.get('name', entry.get('a'))}': {wrong}")


def _half_character(value: Any) -> str | None:
    """A text or key, somewhere in a document, with a lone surrogate, which no file can hold.

    None if there is none.
    """
    if isinstance(value, str):
        if value.isascii():  # nearly all texts
            return None
        # UTF-8 has no bytes for a lone surrogate
        if not any("\ud800" <= c <= "\udfff" for c in value):
            return None
        return value
    inside = value
    if isinstance(value, dict):
        inside = [*value, *value.values()]
    if isinstance(inside, list):
        for part in inside:
            half = _half_character(part)
            if half is not None:
                return half
    return None
