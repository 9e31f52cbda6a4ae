"""Sentences of a model in a form that can follow the name of a class."""

from __future__ import annotations

import pytest

from coder_clip.texts.checks import Names, fault
from coder_clip.texts.clauses import other_forms
from coder_clip.texts.sentences import described

CLASSES = ["sushi", "caesar salad", "windflower", "tree poppy", "crab cakes", "Slaty_backed_Gull"]


@pytest.mark.parametrize(
    ("name", "text", "form"),
    [
        ("sushi", "sushi is rolled in nori", "which is rolled in nori"),
        ("sushi", "it is smooth and creamy", "which is smooth and creamy"),
        ("sushi", "can be served with wasabi", "which can be served with wasabi"),
        ("sushi", "contains rice and fish", "which contains rice and fish"),
        ("sushi", "made of rice", "which is made of rice"),
        ("sushi", "fried", "which is fried"),
        ("crab cakes", "each crab cake is round", "which is round"),
        ("crab cakes", "the cakes are served on a bun", "which is served on a bun"),
        (
            "caesar salad",
            "a salad made with romaine lettuce and croutons",
            "which is made with romaine lettuce and croutons",
        ),
        (
            "windflower",
            "Leaf shape: Windflower leaves are lobed, with a fern-like appearance",
            "leaves that are lobed, with a fern-like appearance",
        ),
        ("windflower", "Number: Windflowers have 5-6 thin petals", "5-6 thin petals"),
        ("tree poppy", "Color: Tree poppies have yellow flowers", "yellow flowers"),
        ("windflower", "each flower has five petals", "flowers with five petals"),
        ("Slaty_backed_Gull", "and feet are yellow", "feet that are yellow"),
        ("Slaty_backed_Gull", "the gull has a red spot", "a red spot"),
    ],
)
def test_a_sentence_about_the_class_is_kept_in_another_form(
    name: str, text: str, form: str
) -> None:
    """Of six data sets 18 classes failed, though their answers were right, because GPT-3 had
    written sentences.
    """
    names = Names(CLASSES)
    assert form in other_forms(text, name, names)
    assert fault(form, "attribute", name, names) is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("Slaty_backed_Gull", "is yellow with a red spot near the tip"),  # the bill is
        ("Slaty_backed_Gull", "are dark grey and the underparts are white"),
        ("Slaty_backed_Gull", "a long tail"),
        ("sushi", "the fish is raw"),
        ("sushi", "found in Japan"),
        ("sushi", "sushi is known for its taste"),
        ("sushi", "a soup made with fish"),  # another dish
        ("sushi", ""),
    ],
)
def test_what_is_not_said_of_the_class_stays_refused(name: str, text: str) -> None:
    """A gull that "is yellow" is a wrong text, and costs accuracy unseen."""
    assert list(other_forms(text, name, Names(CLASSES))) == []


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("which is smooth", None),
        ("which is eaten without bones", "negation"),
        ("which is larger", "comparative"),
        ("which is famous", "unseen"),
        ("which is a caesar salad", "other name"),
        ("which is made of sushi rice", "own name"),
        ("which has a smooth top", "answer"),
    ],
)
def test_a_clause_is_judged_by_the_other_rules(text: str, rule: str | None) -> None:
    found = fault(text, "attribute", "sushi", Names(CLASSES))
    assert (None if found is None else found[0]) == rule


def test_a_clause_takes_the_place_of_which_has() -> None:
    template = "a photo of a {class} which has {attribute}."
    assert described(template, "sushi", "which is rolled in nori") == (
        "a photo of a sushi which is rolled in nori."
    )
