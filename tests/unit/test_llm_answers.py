"""What is read in an answer and which texts are accepted; answers over a real connection: tests/integration."""

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


# ---- what is asked for -------------------------------------------------------------------------------


def test_the_schema_is_strict_and_has_the_names_of_the_classes() -> None:
    """OpenAI refuses a schema that leaves anything open; without names as keys sides can be swapped."""
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


# ---- what comes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("Sorry.", "one JSON object"),
        ("[]", "one JSON object"),
        ('{"attribute": "a tail"}', "attribute"),
        ('{"attribute": null}', "attribute"),
        ('{"attribute": ["a", "b", 3]}', "attribute / 2"),
        ('{"texts": ["a", "b", "c", "d"]}', "attribute"),
        ("{}", "attribute"),
        ('{"attribute": ["' + "x" * 200_000 + '"]}', "far too long"),
    ],
)
def test_what_does_not_fit_is_said_in_words(said: str, wrong: str) -> None:
    """The model reads it, and a person in the log."""
    found = answers.read(said, item())
    assert isinstance(found, str)
    assert wrong in found
    assert "\n" not in found


KEYS = st.sampled_from(["attribute", "grey wolf", "red fox", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inside: st.lists(inside, max_size=5) | st.dictionaries(KEYS, inside, max_size=3),
    max_leaves=15,
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
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
