"""Sentences for the encoder: each text of a text set in its template (paper, section 3.3).

Kinds of sentences: name, attribute, analogous, synonym (the paper's), prompt (the CLIP ensemble),
sentence (whole, as in CuPL) and attribute_alone (without the class name, to see whether the encoder
reads descriptions). Few-shot wordings, the authors' class names and the published code's bugs make
other sentences, added as "{kind}:{tags}" (TAGS; see `coder_clip.protocols`).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..protocols import SYNONYM_AS_PUBLISHED
from .kinds import KINDS

if TYPE_CHECKING:
    from ..datasets.base import Templates
    from .sets import PairSet, TextSet

# Tags, in the order of the name of a kind: the authors' few-shot wordings, the class names of their
# lists, the bugs of their code.
FEW_SHOT, NAMES, AS_PUBLISHED = TAGS = ("few_shot", "names_as_published", "as_published")

CLAUSE = "{class}, {attribute}."  # for an attribute that is a clause


@dataclass(frozen=True)
class Sentences:
    """M sentences: text, kind and class index of each."""

    text: list[str]
    kind: list[str]
    class_index: list[int]

    def rows(self, kind: str, *tags: str) -> list[int]:
        """Row numbers of the sentences of a kind with tags.

        A tag counts only if it makes a difference: if there are sentences of the kind with it.
        """
        present = set(self.kind)
        counting = [tag for tag in TAGS if tag in tags and f"{kind}:{tag}" in present]
        tagged = _tagged(kind, counting)
        return [i for i, k in enumerate(self.kind) if k == tagged]


def spaces(name: str) -> str:
    return name.replace("_", " ")


def fill(template: str, name: str, **fields: str) -> str:
    """Fill a template in one pass, because a text may have braces of its own.

    ``{a_class}`` is the name with "a" or "an".
    """
    values = {"class": name, "a_class": with_article(name), **fields}
    return re.sub(r"\{(\w+)\}", lambda m: values.get(m[1], m[0]), template)


def with_article(name: str) -> str:
    """The name with "a" or "an", chosen by its first letters, so not always by its sound."""
    # "a" for a vowel that sounds like a consonant (unicorn, one), "an" for a silent h
    vowel = re.match(
        r"(?!eu|ewe|one\b|once\b|uni|use|usu|ute|uto|ura|uku)[aeiou]|hour|honest|heir", name.lower()
    )
    return f"{'an' if vowel else 'a'} {name}"


def described(template: str, name: str, text: str) -> str:
    """An attribute in its template.

    A clause of its own ("which is a seabird") takes the place of the template's "which has"; a
    template without these words gives way to CLAUSE.
    """
    if text.startswith("which "):
        asked = "which has {attribute}"
        template = template.replace(asked, "{attribute}") if asked in template else CLAUSE
    return fill(template, name, attribute=text)


def sentence_of(kind: str, name: str, text: str, templates: Templates) -> str:
    """A text of a class in the template of its kind.

    Underscores become spaces in names, not in descriptions.
    """
    about = KINDS[kind]
    shown = text
    if about.are_names:
        shown = spaces(text)
    if not about.template:
        return text
    if about.template == "name":  # the text is the name
        return fill(templates.name, shown)
    if kind == "attribute":
        return described(templates.attribute, spaces(name), text)
    return fill(getattr(templates, about.template), spaces(name), **{kind: shown})


def make_sentences(texts: TextSet, templates: Templates) -> Sentences:
    """All sentences of a data set, in a fixed order: kind by kind, class by class."""
    rows: list[tuple[str, str, int]] = []  # kind, sentence, class index

    def add(kind: str, index: int, sentences: list[str]) -> None:
        """Add sentences of a class, each once."""
        rows.extend((kind, s, index) for s in dict.fromkeys(sentences))

    for kind in KINDS:
        if not KINDS[kind].of_pair:
            for i, c in enumerate(texts.classes):
                add(kind, i, [sentence_of(kind, c.name, text, templates) for text in c.of(kind)])
        for i, c in enumerate(texts.classes):
            if kind == "name":
                add("prompt", i, [fill(prompt, spaces(c.name)) for prompt in templates.prompts])
            if kind == "attribute":
                add("attribute_alone", i, list(c.attribute))
    _add_variants(texts, templates, add)
    # the published code writes "None" for every synonym, so one sentence is enough
    for i, c in enumerate(texts.classes):
        if c.synonym:
            add("synonym:as_published", i, [fill(templates.name, SYNONYM_AS_PUBLISHED)])
    return Sentences(
        text=[sentence for _, sentence, _ in rows],
        kind=[kind for kind, _, _ in rows],
        class_index=[index for _, _, index in rows],
    )


def _add_variants(
    texts: TextSet, templates: Templates, add: Callable[[str, int, list[str]], None]
) -> None:
    """Add names, attributes and analogous classes, with each combination of useful tags."""
    # three dicts, each tag -> its variant; the tag "" stands for the plain variant
    names = {"": [c.name for c in texts.classes]}
    if templates.class_names_as_published:
        names[NAMES] = list(templates.class_names_as_published)
        for i, name in enumerate(names[NAMES]):
            add(f"name:{NAMES}", i, [fill(templates.name, spaces(name))])
    # underscores matter only if a written name has one
    written = [
        *(n for class_names in names.values() for n in class_names),
        *(t for c in texts.classes for t in c.analogous),
    ]
    spellings: dict[str, Callable[[str], str]] = {"": spaces}
    if any("_" in name for name in written):
        spellings[AS_PUBLISHED] = str  # unchanged
    wordings = {"": (templates.attribute, templates.analogous)}
    few_shot = (
        templates.attribute_few_shot or templates.attribute,
        templates.analogous_few_shot or templates.analogous,
    )
    # an equal wording would make every sentence twice
    if few_shot != wordings[""]:
        wordings[FEW_SHOT] = few_shot
    # each combination but the plain one, which is there already
    for tags in itertools.product(wordings, names, spellings):
        if not any(tags):
            continue
        wording, naming, spelling = tags
        attribute, analogous = wordings[wording]
        class_names, show = names[naming], spellings[spelling]
        for i, c in enumerate(texts.classes):
            name = show(class_names[i])
            sentences = [described(attribute, name, t) for t in c.attribute]
            add(_tagged("attribute", tags), i, sentences)
        for i, c in enumerate(texts.classes):
            name = show(class_names[i])
            sentences = [fill(analogous, name, analogous=show(t)) for t in c.analogous]
            add(_tagged("analogous", tags), i, sentences)


def _tagged(kind: str, tags: Iterable[str]) -> str:
    """A kind with its tags, separated by colons; empty tags are left out."""
    return ":".join([kind, *(tag for tag in tags if tag)])


def pair_sentences(
    pairs: PairSet, templates: Templates, as_published: bool = False
) -> dict[tuple[int, int], list[str]]:
    """Ordered pair of class indices (a, b) -> sentences of what only a has.

    Each text in each template.

    as_published: with the class names of the authors' lists and their underscores, and DTD's first
    two templates as one.
    """
    names = templates.class_names_as_published

    def shown(name: str, index: int) -> str:
        """The name of a class as it is written in sentences."""
        if not as_published:
            return spaces(name)
        if names:
            return names[index]
        return name

    published = templates.one_to_one_as_published if as_published else ()
    # most data sets have no published templates of their own
    wordings = published or templates.one_to_one
    ordered: dict[tuple[int, int], list[str]] = {}
    for p in pairs.pairs:
        a, b = shown(p.a, p.a_index), shown(p.b, p.b_index)
        sides = (
            ((p.a_index, p.b_index), a, b, p.a_not_b),
            ((p.b_index, p.a_index), b, a, p.b_not_a),
        )
        for key, name, other, texts in sides:
            sentences = [
                fill(wording, name, one_to_one=text, other=other)
                for text in texts
                for wording in wordings
            ]
            if sentences:
                ordered[key] = list(dict.fromkeys(sentences))
    return ordered
