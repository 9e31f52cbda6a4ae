"""What is read in an answer and which texts are accepted; answers over a real connection:
tests/integration.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coder_clip.datasets.base import Templates
from coder_clip.texts.llm import answers
from coder_clip.texts.llm.requests import Item, class_items, pair_items

COUNTS = {"attribute": 4, "analogous": 3, "synonym": 2}
CLASSES = ["red fox", "grey wolf", "owl"]


def item(kind: str = "attribute") -> Item:
    if kind == "one_to_one":
        return pair_items([(0, 1)], CLASSES, Templates(), 2)[0]
    return class_items([kind], CLASSES, Templates(), COUNTS)[0]


# ---- what is asked for
# -------------------------------------------------------------------------------


def test_the_schema_is_strict_and_has_the_names_of_the_classes() -> None:
    """OpenAI refuses a schema that leaves anything open; without names as keys texts get into the
    wrong class.
    """
    pairs = pair_items([(0, 1), (0, 2)], CLASSES, Templates(), 2)
    schema = answers.schema(pairs)
    texts = {"$ref": "#/$defs/List2to2"}
    assert schema["$defs"] == {
        "List2to2": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}
    }
    sides = {"type": "object", "additionalProperties": False, "properties": {"red fox": texts, "owl": texts},
             "required": ["red fox", "owl"]}  # fmt: skip
    assert schema["properties"]["owl"] == sides
    assert schema["required"] == ["grey wolf", "owl"]
    assert schema["additionalProperties"] is False
    assert '"title"' not in json.dumps(schema)
    of_class = answers.schema(
        class_items(["attribute", "synonym"], CLASSES[:1], Templates(), COUNTS)
    )
    assert of_class["required"] == ["red fox"]
    assert of_class["properties"]["red fox"]["required"] == ["attribute", "synonym"]
    (synonym,) = answers.schema([item("synonym")])["$defs"].values()
    assert (synonym["minItems"], synonym["maxItems"]) == (0, 2)


def test_a_class_may_be_called_like_a_keyword() -> None:
    for names in (
        ["title", "properties"],
        ["$ref", "type"],
        ["f0", "alias"],
        ['a "quoted" one', "ünï"],
    ):
        (pair,) = pair_items([(0, 1)], names, Templates(), 1)
        assert answers.schema([pair])["properties"][names[1]]["required"] == names
        said = json.dumps({names[1]: {names[0]: ["a tail"], names[1]: ["an ear"]}})
        assert answers.read(said, pair) == {"first": ["a tail"], "second": ["an ear"]}


# ---- what comes ---


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("Sorry.", "one JSON object"),
        ("[]", "one JSON object"),
        ('{"red fox": {"attribute": "a tail"}}', "red fox / attribute"),
        ('{"red fox": {"attribute": null}}', "red fox / attribute"),
        ('{"red fox": {"attribute": ["a", "b", 3]}}', "red fox / attribute / 2"),
        ('{"red fox": ["a", "b", "c", "d"]}', "red fox / attribute"),
        ('{"red fox": {"synonym": ["a"]}}', "red fox / attribute"),
        ('{"attribute": ["a", "b", "c", "d"]}', "no texts under 'red fox'"),
        ("{}", "no texts under 'red fox'"),
        ('{"red fox": {"attribute": ["' + "x" * 200_000 + '"]}}', "far too long"),
        ('{"red fox": {"attribute": ["\\ud800"]}}', "half a character"),
        ("{" * 90_000, "one JSON object"),
        ('{"a":' * 20_000, "one JSON object"),
    ],
)
def test_what_does_not_fit_is_said_in_words(said: str, wrong: str) -> None:
    """The model reads it, and a person in the log."""
    found = answers.read(said, item())
    assert isinstance(found, str)
    assert wrong in found
    assert "\n" not in found


@pytest.mark.parametrize("wrong", CLASSES[:2])
def test_the_wrong_list_of_a_pair_is_named(wrong: str) -> None:
    """The model was told to correct its first list, whichever was wrong."""
    texts: dict[str, Any] = {name: ["a tail", "an ear"] for name in CLASSES[:2]}
    texts[wrong] = ["a tail", 3]
    found = answers.read(json.dumps({"grey wolf": texts}), item("one_to_one"))
    assert isinstance(found, str)
    assert found.startswith(f"grey wolf / {wrong} / 1: ")


GOOD = '{"red fox": {"attribute": ["a long tail", "white paws"]}}'


@pytest.mark.parametrize(
    "said",
    [
        '{"grey wolf": {"attribute": ["a long tail", "white paws"]}}',
        '{"grey wolf": {"attribute": ["a grey back"]}, "owl": {"attribute": ["a beak"]}}',
    ],
)
def test_an_answer_about_another_class_is_refused(said: str) -> None:
    """A server whose answers are shifted by one gave every class the texts of its neighbour."""
    assert answers.read(said, item()) == "it had no texts under 'red fox'"


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ('{"red fox": {"attribute": ["a"]}, "red fox": {"attribute": ["b"]}}', "red fox"),
        ('{"red fox": {"attribute": ["a"], "attribute": ["b"]}}', "attribute"),
        ('{"red fox": {"attribute": ["a"]}, "Red_Fox": {"attribute": ["b"]}}', "Red_Fox"),
        ('{"red fox": {"attribute": ["a"]}, "x": {"y": 1, "y": 2}}', "y"),
    ],
)
def test_equal_keys_are_refused(said: str, key: str) -> None:
    """Python keeps the last of two, and nobody knows which one the model meant."""
    assert answers.read(said, item()) == f"the key '{key}' was there twice"


@pytest.mark.parametrize(
    "before",
    [
        "The set {red, brown} and {x: 1} come to mind. ",
        'I was asked for {"red fox": {"attribute": ["4 strings"]}} and think of {colours}.\n',
        'A draft: {"red fox": {"attribute": ["a tail"]}}. Better:\n```json\n',
        "<think>{",
        '<thinking>{"red fox": </thinking>',
        "Sure {smile}, here it is: ",
    ],
)
@pytest.mark.parametrize("after", ["", " Anything else {x}?", "\n```"])
def test_reasoning_before_the_texts_is_left_out(before: str, after: str) -> None:
    """A model that thinks aloud was paid twelve times for nothing."""
    before += "</think>" if before.startswith("<think>") else ""
    assert answers.read(before + GOOD + after, item()) == {"texts": ["a long tail", "white paws"]}


@pytest.mark.parametrize(
    "said",
    [
        '{"red fox": {"attribute": ["a long tail", "white paws",],},}',
        f"[{GOOD}]",
        f"```json\n[{GOOD},]\n```",
        f'{{"answer": {GOOD}}}',
        f'[{{"texts": {GOOD}}}]',
        '{"red fox": {"attribute": [{"text": "a long tail"}, {"feature": "white paws"}]}}',
    ],
)
def test_what_says_nothing_around_the_texts_goes(said: str) -> None:
    """Small models write these; each was paid and thrown away, and asked again."""
    assert answers.read(said, item()) == {"texts": ["a long tail", "white paws"]}


def test_commas_in_texts_stay() -> None:
    said = '{"red fox": {"attribute": ["a tail (long,]", "\\"white,} paws"]}}'
    assert answers.read(said, item()) == {"texts": ["a tail (long,]", '"white,} paws']}


@pytest.mark.parametrize(
    "said",
    [
        GOOD + GOOD,
        f"[{GOOD}, {GOOD}]",
        f'{{"draft": {GOOD}, "final": {GOOD}}}',
        '{"red fox": {"attribute": [{"text": "a tail", "why": "it is long"}]}}',
        GOOD + "\n,\n" + GOOD,
        GOOD + ' More: {"red fox": {"attribute": ["a we',
        '{"answers": [' + GOOD + ", " + GOOD[:-5],
        '{"classes": ' + GOOD,
        '{"draft": ' + GOOD + ', "final": {"red fox": {"attr',
        GOOD[:-2],
    ],
)
def test_half_an_answer_or_two_are_refused(said: str) -> None:
    """The part that is there would be a draft, or cut off in the middle."""
    assert isinstance(answers.read(said, item()), str)


KEYS = st.sampled_from(["attribute", "synonym", "grey wolf", "red fox", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inside: st.lists(inside, max_size=5) | st.dictionaries(KEYS, inside, max_size=3),
    max_leaves=15,
)  # fmt: skip


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # on a busy machine
@given(
    JSON,
    st.sampled_from(["attribute", "synonym", "one_to_one"]),
    st.text(max_size=10),
)
def test_whatever_comes_is_texts_or_what_is_wrong(document: Any, kind: str, around: str) -> None:
    """A crash ends a run with paid answers in flight; anything but strings ends up in a text set."""
    for said in (
        json.dumps(document),
        around + json.dumps(document) + around,
        json.dumps(document)[:-2],
        around,
    ):
        found = answers.read(said, item(kind))
        if isinstance(found, str):
            assert found
        else:
            assert list(found) == list(item(kind).sides)
            assert all(isinstance(t, str) for texts in found.values() for t in texts)
