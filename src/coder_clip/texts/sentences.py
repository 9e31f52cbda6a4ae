"""Sentences for the encoder: every text of a text set put into its template (paper, section 3.3).

The kinds of a sentence: name, attribute, analogous, synonym (the paper's), prompt (the CLIP ensemble), sentence
(whole ones, as CuPL's), attribute_alone (the attribute without the class name: does the encoder read descriptions?)
and random_words (the control that keeps the form of the attributes and takes away their content). Where the
published code's bugs make other sentences, these are added as "{kind}:as_published" (see `coder_clip.settings`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..settings import SYNONYM_AS_PUBLISHED

if TYPE_CHECKING:
    from ..datasets.base import Templates
    from .sets import PairSet, TextSet


@dataclass(frozen=True)
class Sentences:
    """M sentences: text, kind and class index of each."""

    text: list[str]
    kind: list[str]
    class_index: list[int]

    def rows(self, kind: str, as_published: bool = False) -> list[int]:
        """Row numbers of a kind; as published where the bug makes a difference."""
        marked = f"{kind}:as_published"
        kind = marked if as_published and marked in self.kind else kind
        return [i for i, k in enumerate(self.kind) if k == kind]


def spaces(name: str) -> str:
    return name.replace("_", " ")


def fill(template: str, name: str, **fields: str) -> str:
    """Put texts into a template, in one pass: a text may itself hold braces, so no str.format."""
    values = {"class": name, **fields}
    return re.sub(r"\{(\w+)\}", lambda m: values.get(m[1], m[0]), template)


def make_sentences(
    texts: TextSet, templates: Templates, random_words: Callable[[list[list[str]]], list[list[str]]]
) -> Sentences:
    """All sentences of a data set, in a fixed order: kind by kind, class by class.

    random_words: takes the attributes of every class, gives as many texts of random words.
    """
    rows: list[tuple[str, str, int]] = []

    def add(kind: str, index: int, sentences: list[str]) -> None:
        rows.extend((kind, s, index) for s in dict.fromkeys(sentences))

    for i, c in enumerate(texts.classes):
        add("name", i, [fill(templates.name, spaces(c.name))])
    for i, c in enumerate(texts.classes):
        add("prompt", i, [fill(p, spaces(c.name)) for p in templates.prompts])
    for i, c in enumerate(texts.classes):
        add("attribute", i, [fill(templates.attribute, spaces(c.name), attribute=t) for t in c.attribute])
    for i, c in enumerate(texts.classes):
        add("attribute_alone", i, list(c.attribute))
    for i, c in enumerate(texts.classes):
        similar = [spaces(t) for t in c.analogous]
        add("analogous", i, [fill(templates.analogous, spaces(c.name), analogous=t) for t in similar])
    for i, c in enumerate(texts.classes):
        add("synonym", i, [fill(templates.name, spaces(t)) for t in c.synonym])
    for i, c in enumerate(texts.classes):
        add("sentence", i, c.sentence)
    for i, words in enumerate(random_words([c.attribute for c in texts.classes])):
        add(
            "random_words",
            i,
            [fill(templates.attribute, spaces(texts.classes[i].name), attribute=t) for t in words],
        )

    # As published: underscores stay in attribute and analogous sentences, and every synonym reaches CLIP as "None".
    if any("_" in c.name for c in texts.classes) or any("_" in t for c in texts.classes for t in c.analogous):
        for i, c in enumerate(texts.classes):
            add(
                "attribute:as_published",
                i,
                [fill(templates.attribute, c.name, attribute=t) for t in c.attribute],
            )
        for i, c in enumerate(texts.classes):
            add(
                "analogous:as_published",
                i,
                [fill(templates.analogous, c.name, analogous=t) for t in c.analogous],
            )
    for i, c in enumerate(texts.classes):
        if c.synonym:
            add("synonym:as_published", i, [fill(templates.name, SYNONYM_AS_PUBLISHED)])
    return Sentences([r[1] for r in rows], [r[0] for r in rows], [r[2] for r in rows])


def pair_sentences(
    pairs: PairSet, templates: Templates, as_published: bool = False
) -> dict[tuple[int, int], list[str]]:
    """Sentences of every ordered pair (a, b): what a has and b has not, each text in each template.

    as_published: underscores stay in class names, and DTD's first two templates are one.
    """
    shown = (lambda name: name) if as_published else spaces
    published = templates.one_to_one_as_published if as_published else ()
    ordered: dict[tuple[int, int], list[str]] = {}
    for p in pairs.pairs:
        sides = (((p.a_index, p.b_index), p.a, p.b, p.a_not_b), ((p.b_index, p.a_index), p.b, p.a, p.b_not_a))
        for key, name, other, texts in sides:
            sentences = [
                fill(t, shown(name), one_to_one=text, other=shown(other))
                for text in texts
                for t in published or templates.one_to_one
            ]
            if sentences:
                ordered[key] = list(dict.fromkeys(sentences))
    return ordered
