"""Descriptions of the classes: one row per text, with the sentence that the encoder reads."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from coder_clip.datasets import with_articles
from coder_clip.datasets.base import Templates
from coder_clip.datasets.folder import nfc
from coder_clip.errors import UserError, nearest, printable
from coder_clip.neighbors import MAX_KINDS, MEAN_KINDS
from coder_clip.texts.names import plain_name
from coder_clip.texts.sentences import fill, sentence_of, spaces
from coder_clip.texts.sets import ClassTexts, PairSet, TextSet, names_only, read_text_set

from .decisions import PairText

TEMPLATES = with_articles(Templates())  # "a photo of an airplane."
# text sets that come with this package; in a clone a link to data/texts
SHIPPED = Path(__file__).parent / "text_sets"
DATASET = "photos"  # what a text set without a data set is called
NONE = "none of these"  # what is said of a photo that has no class
# directions of characters that turn or hide the letters beside them
TURNING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
Texts = TextSet | Sequence[str] | Mapping[str, str | Sequence[str]] | str | Path
GivenTemplates = str | Templates | Sequence[str | Templates]


@dataclass(frozen=True)
class TextRow:
    """One text of a class.

    index: of the class. sentences: the text in its template, or in several templates, whose
    features are averaged.
    """

    index: int
    kind: str
    text: str
    sentences: tuple[str, ...]

    @property
    def averaged(self) -> bool:
        """True for a text that always counts in the mean.

        Of a class's other texts only the most similar one counts.
        """
        return self.kind in MEAN_KINDS


def rows(texts: TextSet, templates: Sequence[Templates] = (TEMPLATES,)) -> list[TextRow]:
    """The texts of stage one, class by class, averaged texts before names.

    Texts of a kind and class with the same sentences count once.
    """
    found: dict[tuple[int, str, tuple[str, ...]], TextRow] = {}
    for i, c in enumerate(texts.classes):
        for kind in (*MEAN_KINDS, *MAX_KINDS):
            for text in c.of(kind):
                filled = [sentence_of(kind, c.name, text, t) for t in templates]
                sentences = tuple(dict.fromkeys(filled))  # each once
                found.setdefault((i, kind, sentences), TextRow(i, kind, text, sentences))
    return list(found.values())


def make_templates(given: GivenTemplates) -> tuple[Templates, ...]:
    """One template for class names and synonyms, or several whose features are averaged.

    "an icon of a {class}".

    ``{}`` is ``{class}``; attributes and analogous classes keep their own templates. UserError for
    other braces.
    """
    several = [given] if isinstance(given, str | Templates) else list(given)
    if not several:
        raise UserError("no template: give one at least, such as 'a photo of a {class}.'")
    return tuple(dict.fromkeys(t if isinstance(t, Templates) else _of_name(t) for t in several))


def _of_name(template: str) -> Templates:
    """Templates with this template for class names. UserError for other braces."""
    template = template.replace("{}", "{class}")
    if "{class}" not in template or re.search("[{}]", template.replace("{class}", "")):
        raise UserError(
            f"template '{template}': write {{class}} where the class name goes, and no other braces"
        )
    return with_articles(Templates(name=template))


def pair_texts(pairs: PairSet, templates: Templates) -> tuple[PairText, ...]:
    """One-to-one texts of the pairs that have texts on both sides.

    With the sentences of `pair_sentences`; each sentence of a side once.
    """
    found: dict[tuple[int, int, str], PairText] = {}
    for p in pairs.pairs:
        if not p.compares:
            continue
        sides = (
            (p.a_index, p.b_index, p.a, p.b, p.a_not_b),
            (p.b_index, p.a_index, p.b, p.a, p.b_not_a),
        )
        for of, other, name, other_name, texts in sides:
            for text in texts:
                for t in templates.one_to_one:
                    sentence = fill(t, spaces(name), one_to_one=text, other=spaces(other_name))
                    found.setdefault((of, other, sentence), PairText(of, other, text, sentence))
    return tuple(found.values())


def shipped_or_own(given: Path) -> Path:
    """A text set's file: the one at this path, or the shipped one of this name.

    UserError, with the names, for a name that is neither.
    """
    if given.suffix or len(given.parts) > 1 or given.exists():
        return given
    found = {path.stem: path for path in SHIPPED.glob("*.json")}
    found = {name: path for name, path in found.items() if "." not in name}
    if given.name not in found:
        near = nearest(given.name, found)
        raise UserError(f"--texts {given}: no file, and no text set has this name{near}")
    return found[given.name]


def text_set(given: Texts) -> TextSet:
    """A text set from class names, from names with their attributes, from a JSON file, or as it is.

    UserError if there is no class, a name is empty or two classes have one name.
    """
    # Files are validated where they are read. Names may come from the command line, so errors in
    # them are found here and reported in the user's words.
    if isinstance(given, TextSet):
        return given
    if isinstance(given, (str, Path)):
        return read_text_set(Path(given))
    names = [nfc(plain_name(str(name))) for name in given]
    if not names or not all(names):
        raise UserError("no class names" if not names else "a class name is empty")
    for name in names:
        _refuse_unusable(name)
    _refuse_repeats(names, ignore_case=not isinstance(given, Mapping))
    found = names_only(DATASET, names)
    if isinstance(given, Mapping):
        entries = [
            ClassTexts(name=name, attribute=_listed(name, texts))
            for name, texts in zip(names, given.values(), strict=True)
        ]
        found = found.model_copy(update={"classes": entries})
    return found


def _listed(name: str, given: object) -> list[str]:
    """The texts of the class ``name``, each once.

    given: a list of texts, or one text. UserError for anything but strings.
    """
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise UserError(f"texts of '{name}': give a list of strings, not {given!r}")
    texts = [given] if isinstance(given, str) else list(given)
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise UserError(f"texts of '{name}': {text!r} is not a text")
    return list(dict.fromkeys(texts))


def class_named(name: str, others: Sequence[str], new: bool = False) -> str:
    """A class name as it was typed, or the name among the others that differs only in case.

    new: True if it must not be among them. UserError for an empty name, one that is there, and as
    in `_refuse_unusable`.
    """
    name = nfc(plain_name(name))
    if not name:
        raise UserError("a class name is empty")
    _refuse_unusable(name)
    same = [other for other in others if other.casefold() == name.casefold()]
    if same and new:
        raise UserError(f"'{same[0]}' is there already: choose another name")
    if same:
        return same[0]
    return name


def label_named(name: str, classes: Sequence[str]) -> str:
    """The class that a label names, as `class_named`; "" for "none of these"."""
    if plain_name(name).casefold() in ("", NONE):
        return ""
    return class_named(name, classes)


def _refuse_unusable(name: str) -> None:
    """UserError for a name with characters that a terminal obeys, and for "none of these"."""
    for character in name:
        obeyed = unicodedata.category(character) in ("Cc", "Cs")
        if obeyed or unicodedata.bidirectional(character) in TURNING:
            shown = printable(name).replace(character, ascii(character)[1:-1])
            raise UserError(f"class name '{shown}': remove the control character")
    if name.casefold() == NONE:
        raise UserError(
            f"'{NONE}' is what a photo without a class gets: give the class another name"
        )


def _refuse_repeats(names: list[str], ignore_case: bool) -> None:
    """Raise UserError with all names that are given more than once.

    ignore_case: also with names that differ only in case.
    """
    problems = [f"'{name}' is given twice" for name, n in Counter(names).items() if n > 1]
    spellings = defaultdict[str, list[str]](list)
    for name in dict.fromkeys(names if ignore_case else ()):
        spellings[name.casefold()].append(f"'{name}'")
    problems += [
        f"{' and '.join(same)} differ only in case" for same in spellings.values() if len(same) > 1
    ]
    if problems:
        raise UserError(f"{'; '.join(problems)}: name each class once (most encoders ignore case)")
