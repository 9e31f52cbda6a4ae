"""What is read in an answer and which texts are accepted; answers over a real connection: tests/integration."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coder_clip.datasets.base import Templates
from coder_clip.texts.llm import answers, filters
from coder_clip.texts.llm.requests import Item, class_items, pair_items

COUNTS = {"attribute": 4, "analogous": 3, "synonym": 2}
CLASSES = ["red fox", "grey wolf", "owl"]
TAILS = ["a long tail", "white paws", "pointed ears", "a wet nose"]


def item(kind: str = "attribute") -> Item:
    if kind == "one_to_one":
        return pair_items([(0, 1)], CLASSES, Templates(), 2)[0]
    return class_items([kind], CLASSES, Templates(), COUNTS)[0]


def fault(text: str, **more: Any) -> str | None:
    given = {"names": {"red fox", "owl"}, "within": {"grey wolf"}, "known": {"LATIN"}, **more}
    return filters.fault(filters.clean(text), **given)


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
        assert answers.read(said, pair, "json") == {"first": ["a tail"], "second": ["an ear"]}


# ---- what comes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("Sorry.", "one JSON object"),
        ("[]", "one JSON object"),
        ('{"attribute": "a tail"}', "attribute"),
        ('{"attribute": null}', "attribute"),
        ('{"attribute": ["a tail"]}', "at least 2 items"),
        ('{"attribute": ["a", "b", 3]}', "attribute / 2"),
        ('{"texts": ["a", "b", "c", "d"]}', "attribute"),
        ("{}", "attribute"),
        ('{"attribute": ["' + "x" * 200_000 + '"]}', "far too long"),
    ],
)
def test_what_does_not_fit_is_said_in_words(said: str, wrong: str) -> None:
    """The model reads it, and a person in the log."""
    found = answers.read(said, item(), "json")
    assert isinstance(found, str)
    assert wrong in found
    assert "\n" not in found


@pytest.mark.parametrize(
    ("said", "texts"),
    [
        ("a long tail_white paws_pointed ears", TAILS[:3]),
        ("Here they are:\na long tail_white paws_pointed ears_", TAILS[:3]),
        ("1. a long tail\n2. white paws\n3) pointed ears", TAILS[:3]),
        ("- a long tail\n* white paws\n• pointed ears", TAILS[:3]),
        ("<think>a draft_of three_features</think>a long tail_white paws_pointed ears", TAILS[:3]),
    ],
)
def test_free_text_is_a_line_or_a_list(said: str, texts: list[str]) -> None:
    assert answers.read(said, item(), "list") == {"texts": texts}


def test_free_text_of_a_pair_has_labels() -> None:
    said = "First: a mane_a tuft\nsecond: stripes_whiskers"
    assert answers.read(said, item("one_to_one"), "list") == {
        "first": ["a mane", "a tuft"],
        "second": ["stripes", "whiskers"],
    }
    assert isinstance(answers.read("a mane_a tuft\nstripes_whiskers", item("one_to_one"), "list"), str)
    assert isinstance(answers.read("second: a_b", item("one_to_one"), "list"), str)


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
    st.sampled_from(["json", "list"]),
)
def test_whatever_comes_is_texts_or_what_is_wrong(document: Any, kind: str, around: str, form: str) -> None:
    """A crash ends a run with paid answers in flight; anything but strings ends up in a text set."""
    for said in (
        json.dumps(document),
        around + json.dumps(document) + around,
        json.dumps(document)[:-2],
        around,
    ):
        found = answers.read(said, item(kind), form)
        if isinstance(found, str):
            assert found
        else:
            assert list(found) == list(item(kind).sides)
            assert all(isinstance(t, str) for texts in found.values() for t in texts)


# ---- which texts are accepted ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("I'm sorry, but I can't help with that", "a refusal"),
        ("I apologize", "a refusal"),
        ("As an AI language model", "a refusal"),
        ("cannot assist with this", "a refusal"),
        ("Es tut mir leid", "a refusal"),
        ("Je suis désolé", "a refusal"),
        ("Lo siento, no puedo", "a refusal"),
        ("Mi dispiace", "a refusal"),
        ("Desculpe", "a refusal"),
        ("Het spijt me", "a refusal"),
        ("Przepraszam", "a refusal"),
        ("К сожалению, я не могу", "a refusal"),
        ("抱歉", "a refusal"),
        ("申し訳ありません", "a refusal"),
        ("죄송합니다", "a refusal"),
        ("آسف", "a refusal"),
        ("which fox?", "a question"),
        ("哪一个？", "a question"),
        ("could you please specify the breed", "a question"),
        ("none", "says nothing"),
        ("N/A", "says nothing"),
        ("Keine", "says nothing"),
        ("5 strings", "says nothing"),
        ("first feature", "says nothing"),
        ("a red fox", "the name of a class"),
        ("Red-Fox", "the name of a class"),
        ("owls", "the name of a class"),
        ("like a grey wolf", "names the class grey wolf"),
        ("хвост", "in another script (cyrillic)"),
        ("長い尾", "in another script (cjk, hiragana)"),
        ("a tail\u202e", "control characters"),
        ("a\x1b[31m tail", "control characters"),
        ("a\x00tail", "control characters"),
        ("\ud800 tail", "control characters"),
        ("\ufeffa tail", "control characters"),
        ("…", "no letters"),
        ("x" * 201, "longer than 200 characters"),
    ],
)
def test_a_text_that_will_not_do(text: str, why: str) -> None:
    assert fault(text) == why


@pytest.mark.parametrize(
    "text",
    ["a long tail", "a can of paint", "an unable bird", "7 petals", "1.5 metres of wire", "a café table",
     "owl-like eyes", "a wolf-grey coat",
     "a sorry look", "micrometre (µm) scale", "question mark on the wing", "nothing but stripes",
     "<script>alert(1)</script>", "{class} {braces}", "no visible collar", "gold № 5"],
)  # fmt: skip
def test_an_ordinary_text_is_accepted(text: str) -> None:
    """Every text that is lost is paid for again."""
    assert fault(text) is None


def test_the_shipped_texts_are_accepted(repo: Any) -> None:
    """Three thousand texts that people wrote: a check that refuses some of them would refuse a model's, too."""
    for path in sorted((repo / "data/texts").glob("*.json")):
        if path.stem.endswith("one_to_one"):
            continue
        document = json.loads(path.read_text(encoding="utf-8"))
        names = {filters.plain(c["name"]) for c in document["classes"]}
        found = [(t, why) for c in document["classes"] for t in c.get("attribute", [])
                 if (why := filters.fault(filters.clean(t), names=names, within=(), known={"LATIN"}))]  # fmt: skip
        assert found == [], path


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  a  long\ttail\n", "a long tail"),
        ('"a long tail".', "a long tail"),
        ("«a long tail»,", "a long tail"),
        ("a_long_tail", "a long tail"),
        ("it has a long tail", "a long tail"),
        ("T. rex", "T. rex"),
        ("e\u0301toile", "étoile"),
        ("گوش‌ها", "گوش‌ها"),
    ],
)
def test_one_form_of_a_text(text: str, cleaned: str) -> None:
    assert filters.clean(text) == cleaned


@given(st.text(max_size=60))
def test_what_is_accepted_can_be_shown_and_encoded(text: str) -> None:
    """A control character breaks a terminal, a half character breaks the file."""
    found = filters.clean(text)
    assert filters.clean(found) == found or filters.clean(text).casefold().startswith(
        ("has", "have", "it", "that", "which", "they")
    )
    if filters.fault(found, names=(), within=(), known=filters.scripts(found)) is None:
        found.encode()
        assert found.isprintable() or set(found) & set(filters.JOINERS)
        assert found == " ".join(found.split())
