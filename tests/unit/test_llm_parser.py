"""What models really send: a list is found in it where there is one, and nothing makes the parser fail."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coder_clip.texts.llm.parser import LONGEST, clean, distinct, parse, plain, refuses

TAILS = ["a long tail", "white paws", "pointed ears"]


@pytest.mark.parametrize(
    "answer",
    [
        "a long tail_white paws_pointed ears",
        "a long tail_white paws_pointed ears_",
        "_a long tail_ _white paws_ _pointed ears_",
        "a long tail _ white paws _ pointed ears.",
        "Here are three features:\n\na long tail_white paws_pointed ears",
        "Sure! Here you go: \na long tail_white paws_pointed ears\nLet me know if you need more.",
        "1. a long tail\n2. white paws\n3. pointed ears",
        "1) a long tail\n2) white paws\n3) pointed ears",
        "(1) a long tail\n(2) white paws\n(3) pointed ears",
        "a) a long tail\nb) white paws\nc) pointed ears",
        "- a long tail\n- white paws\n- pointed ears",
        "* a long tail\n* white paws\n* pointed ears",
        "• a long tail\n• white paws\n• pointed ears",
        "•a long tail\n•white paws\n•pointed ears",
        "– a long tail\n– white paws\n– pointed ears",
        "1. **a long tail**\n2. **white paws**\n3. **pointed ears**",
        "* **a long tail**\n* *white paws*\n* `pointed ears`",
        '1. "a long tail",\n2. “white paws”,\n3. «pointed ears».',
        "## Features\n- a long tail\n- white paws\n- pointed ears\n\nThese features are typical.",
        "a long tail\nwhite paws\npointed ears",
        "a long tail, white paws, pointed ears",
        "a long tail; white paws; pointed ears.",
        "- it has a long tail\n- has white paws\n- which has pointed ears",
        "１．a long tail\n２．white paws\n３．pointed ears",
        "1、a long tail\n2、white paws\n3、pointed ears",
        "```\na long tail_white paws_pointed ears\n```",
        "a long\u200b tail_white\u00a0paws_pointed\u2003ears",
        "<think>The user wants features. Maybe fur?</think>\na long tail_white paws_pointed ears",
        json.dumps({"texts": TAILS}),
        json.dumps({"Texts": TAILS}),
        json.dumps(TAILS),
        json.dumps({"features": TAILS}),
        json.dumps({"texts": [{"feature": t, "why": "typical"} for t in TAILS]}),
        json.dumps({"1": TAILS[0], "2": TAILS[1], "3": TAILS[2]}),
        json.dumps({"texts": dict(enumerate(TAILS))}),
        json.dumps({"texts": "_".join(TAILS)}),
        json.dumps({"reasoning": "cats", "texts": TAILS}),
        "```json\n" + json.dumps({"texts": TAILS}, indent=1) + "\n```",
        "Here is the JSON:\n```json\n" + json.dumps({"texts": TAILS}) + "\n```\nI hope this helps!",
        "Of course. " + json.dumps({"texts": TAILS}) + " Anything else?",
        "The set {cat} is fun. " + json.dumps({"texts": TAILS}),
        '{"texts": ["a long tail", "white paws", "pointed ears", "a half wri',
        '{"texts": ["a long tail", "white paws", "pointed ears"',
        json.dumps({"texts": [*TAILS, "A long tail", "white_paws", 7, None, "", " . "]}),
    ],
)
def test_the_list_is_found_in_what_stands_around_it(answer: str) -> None:
    """A class would lose its texts, or get "1. **a tail**" as one."""
    found = parse(answer)
    assert found is not None
    assert found["texts"] == TAILS


def test_the_list_is_found_whatever_the_script() -> None:
    assert parse("1. 长尾巴\n2. 白色的爪子。\n3. 「尖耳朵」") == {"texts": ["长尾巴", "白色的爪子", "尖耳朵"]}
    assert parse("длинный хвост_белые лапы") == {"texts": ["длинный хвост", "белые лапы"]}
    assert parse(json.dumps({"texts": ["ذيل طويل", "e\u0301toile"]})) == {"texts": ["ذيل طويل", "étoile"]}


@pytest.mark.parametrize(
    "answer",
    [
        None, "", "   \n\n", "```\n```", "...", "{}", "{", "[", '{"texts": [""]}', '{"texts": [1, 2]}', '{"texts": nul',
        "I'm sorry, but I can't help with that.",
        "I’m sorry, but I can’t assist with that request.",
        "As an AI language model, I cannot describe people.",
        "<think>Let me think about what this class",
        "word " * 200,
    ],
)  # fmt: skip
def test_what_holds_no_list_is_told_apart(answer: str | None) -> None:
    """It would become a text, and the encoder would compare photos with an apology."""
    assert parse(answer) is None


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I apologize, but this is not possible.", True),
        ("I cannot provide that.", True),
        ("As an AI, I have no eyes.", True),
        ("a long tail_white paws", False),
        ("a can of paint", False),
        ("an unable bird", False),
    ],
)
def test_refusals_are_known(answer: str, refusal: bool) -> None:
    assert refuses(answer) is refusal


@pytest.mark.parametrize("answer", ["none", "None.", "N/A", '{"texts": []}', "[]", "```json\n[]\n```"])
def test_that_there_is_none_is_an_answer(answer: str) -> None:
    """Many classes have no synonym; asking again would pay for the same answer."""
    assert parse(answer) == {"texts": []}


def test_an_answer_that_was_cut_off_loses_its_last_text() -> None:
    assert parse("a long tail_white paws_pointed e", cut=True) == {"texts": ["a long tail", "white paws"]}
    assert parse("a long tail_white paws_pointed e") != parse("a long tail_white paws_pointed e", cut=True)
    assert parse("- a long tail\n- white paws\n- poi", cut=True) == {"texts": ["a long tail", "white paws"]}


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps({"first": ["a mane", "a tuft"], "second": ["stripes"]}),
        json.dumps({"lion": ["a mane", "a tuft"], "tiger": ["stripes"]}),
        '{"first": ["a mane", "a tuft"], "second": ["stripes", "wh',
        "first: a mane_a tuft\nsecond: stripes",
        "First (the lion): a mane_a tuft\nSecond (the tiger): stripes_",
        "**First:**\n- a mane\n- a tuft\n\n**Second:**\n- stripes",
        "first:\n1. a mane\n2. a tuft\nsecond:\n1. stripes",
        "a mane_a tuft\nstripes_",
    ],
)
def test_both_sides_of_a_pair(answer: str) -> None:
    assert parse(answer, ("first", "second")) == {"first": ["a mane", "a tuft"], "second": ["stripes"]}


@pytest.mark.parametrize(
    "answer",
    ['{"first": ["a mane"]}', '{"first": ["a mane"], "second": []}', "first: a mane_a tuft", "a mane_a tuft", "[]"],
)  # fmt: skip
def test_half_a_pair_is_asked_for_again(answer: str) -> None:
    assert parse(answer, ("first", "second")) is None


def test_thousands_of_items_and_megabytes_are_taken_in_good_time() -> None:
    many = parse("_".join(f"feature {i}" for i in range(50_000)))
    assert many is not None
    assert len(many["texts"]) == 10_000
    for noise in ("[" * 200_000, "{" * 200_000, '{"texts": [' * 50_000, "**" * 300_000, "<think>" * 50_000):
        parse(noise)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("1.5 metres of wire", "1.5 metres of wire"),
        ("7 petals", "7 petals"),
        ("snake_case", "snake case"),
        ("گوش‌ها", "گوش‌ها"),
        ("‍a tail‌", "a tail"),
        ("x" * LONGEST, "x" * LONGEST),
        ("x" * (LONGEST + 1), None),
        ("—", None),
        ("a\x00\x1b[31mred\u202e tail", "a [31mred tail"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    ],
)
def test_one_text(text: str, cleaned: str | None) -> None:
    assert clean(text) == cleaned


def test_spellings_of_one_text_are_one() -> None:
    assert distinct(["Red Fox", "a red_fox", "red-fox", "arctic fox"]) == ["Red Fox", "arctic fox"]
    assert plain("The") == "the"


NOISE = st.text(st.sampled_from(list("ab _-*#`\"'[]{}:,.;\n1)<>\\/|éЖ中\u200b\ud800\x00")), max_size=80)


@given(st.lists(st.one_of(st.text(max_size=40), NOISE, st.sampled_from(TAILS)), max_size=8), st.booleans())
def test_noise_does_no_harm(pieces: list[str], cut: bool) -> None:
    """Whatever comes, texts are clean, different, and something the encoder can take."""
    for answer in (
        "\n".join(pieces),
        "_".join(pieces),
        json.dumps({"texts": pieces}),
        json.dumps(pieces)[:-3],
    ):
        for lists in (("texts",), ("first", "second")):
            found = parse(answer, lists, cut)
            for texts in (found or {}).values():
                assert len(set(map(plain, texts))) == len(texts)
                for text in texts:
                    assert text == text.strip()
                    assert "\n" not in text
                    assert any(c.isalnum() for c in text)
                    text.encode()


@given(
    st.lists(
        st.sampled_from(["a long tail", "white paws", "red", "7 spots", "尾巴"]), min_size=2, unique=True
    )
)
def test_a_clean_list_comes_back_as_it_was(texts: list[str]) -> None:
    assert parse(json.dumps({"texts": texts})) == {"texts": texts}
    assert parse("_".join(texts)) == {"texts": texts}
    assert parse("\n".join(f"{i}. **{t}**" for i, t in enumerate(texts, 1))) == {"texts": texts}
