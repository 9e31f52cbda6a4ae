"""Bad answers: what is asked together, what is refused, and no refusal as a text."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from coder_clip.datasets.base import Templates
from coder_clip.errors import UserError
from coder_clip.texts.llm.generate import provenance
from coder_clip.texts.llm.requests import pair_items
from coder_clip.texts.llm.server import same_model
from llm_server import Server, named
from questions import CLASSES, TAILS, attributes, items_of, of_class, run, settings, texts

# ---- what is asked together
# --------------------------------------------------------------------------


def test_one_request_has_all_kinds_of_a_class_and_several_pairs(
    server: Server, tmp_path: Path
) -> None:
    """Three requests per class and one per pair would repeat the instructions seven times."""
    generator = settings(server, tmp_path)
    items = run(generator, items_of("attribute", "analogous", "synonym", classes=CLASSES[:4]))
    assert len(server.asked) == 4
    assert all(len(i.texts["texts"]) == i.wanted for i in items)
    schema = server.asked[0]["response_format"]["json_schema"]["schema"]
    assert set(schema["properties"][CLASSES[0]]["required"]) == {
        "attribute",
        "analogous",
        "synonym",
    }
    assert ", ".join(CLASSES[:4]) in server.asked[0]["messages"][0]["content"], (
        "the classes are not to be named"
    )
    assert len({body["messages"][0]["content"] for body in server.asked}) == 1, (
        "no server can cache it"
    )
    pairs = run(generator, pair_items([(0, 1), (0, 2), (0, 3), (1, 2)], CLASSES, Templates(), 2))
    assert len(server.asked) == 4 + 2
    assert all(len(i.texts["first"]) == len(i.texts["second"]) == 2 for i in pairs)
    assert len({tuple(t) for i in pairs for t in i.texts.values()}) == 8


def test_what_was_answered_together_is_found_alone(server: Server, tmp_path: Path) -> None:
    """One more pair or kind must not pay for all the others again."""
    generator = settings(server, tmp_path)
    first = run(generator, pair_items([(0, 1), (0, 2)], CLASSES, Templates(), 2))
    asked = len(server.asked)
    second = run(generator, pair_items([(0, 2), (0, 3)], CLASSES, Templates(), 2))
    assert len(server.asked) == asked + 1
    assert second[0].texts == first[1].texts
    attributes = run(generator, items_of("attribute", classes=CLASSES[:2]))
    both = run(generator, items_of("attribute", "synonym", classes=CLASSES[:2]))
    assert texts(both)[::2] == texts(attributes)
    schema = server.asked[-1]["response_format"]["json_schema"]["schema"]
    assert list(schema["properties"][CLASSES[1]]["properties"]) == ["synonym"]


@pytest.mark.parametrize("formats", [["json_object", None], [None]])
def test_a_server_without_json_schema_is_asked_for_a_json_object(
    server: Server, tmp_path: Path, formats: list[str | None]
) -> None:
    server.formats = formats
    generator = settings(server, tmp_path)
    first = run(generator)
    refused = [
        body
        for body in server.asked
        if (body.get("response_format") or {}).get("type") not in formats
    ]
    assert len(refused) == 3 - len(formats), "every question was sent twice"
    assert all(item.texts["texts"] for item in first)
    asked = len(server.asked)
    server.formats = ["json_schema"]
    assert texts(run(generator)) == texts(first)
    assert len(server.asked) == asked


def test_an_error_that_names_the_response_format_for_ever_ends(
    server: Server, tmp_path: Path
) -> None:
    server.behaviours = ["format"] * 1000
    with pytest.raises(UserError, match=r"response_format: this request cannot be taken"):
        run(settings(server, tmp_path))
    assert len(server.asked) == 3


# ---- answers that are not accepted
# -------------------------------------------------------------------


BAD = {  # what will not do as a text: tests/unit/texts/test_checks.py
    "refusal in a list": attributes("I'm sorry, but I can't assist with that request."),
    "error object": json.dumps({"error": "I cannot help with that"}),
    "prose": "I would describe it as a fox with a tail.",
    "refusal": "I’m sorry, but I can’t help with that.",
    "echoed schema": json.dumps({"type": "object", "properties": {"attribute": {"type": "array", "items": {}}}}),
    "nested lists": attributes(TAILS),
    "objects": attributes(*({"id": str(i), "feature": t} for i, t in enumerate(TAILS))),
    "numbers": attributes(1, 2, 3, 4),
    "draft": "<think>" + attributes(*TAILS) + "</think>",
    "two objects": attributes(*TAILS) + "\n" + attributes(*TAILS),
    "broken off": attributes(*TAILS)[:-20],
    "half a character": '{"{class}": {"attribute": ["\\ud800", "a", "b", "c"]}}',
    "deep": '{"{class}": {"attribute": ' + "[" * 100_000,
    "huge number": '{"{class}": {"attribute": 1' + "0" * 10_000 + "}}",
    "empty": "",
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_answer_is_asked_again_and_never_a_text(
    server: Server, tmp_path: Path, name: str
) -> None:
    """It would be a text of every class, and the run would say that all went well."""
    said = iter([BAD[name], attributes(*TAILS)])
    server.answer = lambda body: next(said)
    (item,) = run(
        settings(server, tmp_path), items_of("attribute", classes=["red fox", "grey owl"])[:1]
    )
    assert item.texts == {"texts": TAILS}
    assert len(server.asked) == 2
    again = server.asked[1]["messages"][-1]["content"]
    assert "The last answer could not be used: " in again
    assert server.asked[1]["seed"] == 1, "the same seed may give the same answer"
    server.answer = lambda body: BAD[name]
    with pytest.raises(UserError, match=r"1 without texts: 'red fox' \(attribute\)"):
        run(
            settings(server, tmp_path / "other", max_reasks=1),
            items_of("attribute", classes=["red fox", "grey owl"])[:1],
        )
    assert len(server.asked) == 4


def test_a_class_with_fewer_than_half_of_its_texts_is_asked_again_and_named(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Five of 102 flowers failed though their answers had a right text; what is right is kept."""
    server.answer = lambda body: attributes(TAILS[0])
    items = items_of("attribute", classes=["red fox", "grey owl"])[:1]
    generator = settings(server, tmp_path, max_reasks=1)
    (item,) = run(generator, items)
    assert len(server.asked) == 2
    assert item.texts == {"texts": TAILS[:1]}
    assert "only 1 attribute texts for 'red fox' after 2 answers" in caplog.text
    assert provenance("attribute", items, generator)["few"] == ["red fox"]


GOOD = {
    "fence": "```json\n" + attributes(*TAILS) + "\n```",
    "reasoning": "<think>" + attributes("a draft", "b", "c", "d") + "</think>" + attributes(*TAILS),
    "words around": "Of course! " + attributes(*TAILS) + " Anything else?",
    "a key more": of_class(reasoning="foxes", attribute=TAILS),
    "more than asked for": attributes(*TAILS, *(f"part {i}" for i in range(5000))),
    "marks": attributes(
        '"a long tail"', "White paws.", "has pointed ears", "a wet_nose,", "white paws"
    ),
    "white space": attributes(" a  long\ttail", "white paws\n", "pointed ears", "a wet nose"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_answer_is_taken_at_once(server: Server, tmp_path: Path, name: str) -> None:
    server.answer = lambda body: GOOD[name]
    (item,) = run(settings(server, tmp_path), items_of("attribute", classes=["red fox"]))
    assert [t.casefold() for t in item.texts["texts"]] == TAILS
    assert len(server.asked) == 1


@pytest.mark.parametrize("said", [[], ["none"], ["N/A"], ["no synonyms"], ["None known"]])
def test_that_there_is_no_synonym_is_an_answer(
    server: Server, tmp_path: Path, said: list[str]
) -> None:
    server.answer = lambda body: of_class(synonym=said)
    items = run(settings(server, tmp_path), items_of("synonym"))
    assert all(item.texts == {"texts": []} for item in items)
    assert len(server.asked) == len(CLASSES)


def test_sides_of_a_pair_are_those_of_their_names(server: Server, tmp_path: Path) -> None:
    """With the sides swapped, stage two prefers the wrong class of every pair."""

    def answer(body: dict[str, Any]) -> str:
        sides = {
            "Grey_Owl": ["a round head", "a beak"],
            "red fox": ["a bushy tail", "pointed ears"],
        }
        return json.dumps({"grey owl": sides})

    server.answer = answer
    (item,) = run(
        settings(server, tmp_path), pair_items([(0, 1)], ["red fox", "grey owl"], Templates(), 2)
    )
    assert item.texts == {
        "first": ["a bushy tail", "pointed ears"],
        "second": ["a round head", "a beak"],
    }


@pytest.mark.parametrize(
    "sides",
    [
        {"red fox": ["a tail", "ears"], "grey owl": ["A tail.", "ears"]},  # equal
        {"first": ["a tail", "ears"], "second": ["a beak", "a round head"]},  # whose?
        {"red fox": ["a tail", "ears"]},
        {"red fox": ["a bushy tail", "pointed ears"], "grey owl": []},
        {
            "red fox": ["not like a grey owl", "unlike the grey owl"],
            "grey owl": ["a beak", "a round head"],
        },
        [["a tail", "ears"], ["a beak", "a round head"]],
    ],
)
def test_a_pair_without_two_sides_is_asked_again(
    server: Server, tmp_path: Path, sides: Any
) -> None:
    right = {"red fox": ["a bushy tail", "pointed ears"], "grey owl": ["a beak", "a round head"]}
    said = iter([sides, right])
    server.answer = lambda body: json.dumps({"grey owl": next(said)})
    (item,) = run(
        settings(server, tmp_path), pair_items([(0, 1)], ["red fox", "grey owl"], Templates(), 2)
    )
    assert item.texts == {"first": right["red fox"], "second": right["grey owl"]}
    assert len(server.asked) == 2


def test_an_answer_that_was_cut_off_is_asked_again_in_smaller_parts(
    server: Server, tmp_path: Path
) -> None:
    """Cut off in the middle, its last text is half a text."""

    def answer(body: dict[str, Any]) -> Any:
        content = server.texts_for(body)
        many = len(json.loads(content)) > 2
        return {
            "role": "assistant",
            "content": content,
            "finish_reason": "length" if many else "stop",
        }

    server.answer = answer
    items = run(
        settings(server, tmp_path),
        pair_items([(0, i) for i in range(1, 5)], CLASSES, Templates(), 2),
    )
    assert all(len(i.texts["first"]) == 2 for i in items)
    assert [len(json.loads(server.texts_for(b))) for b in server.asked][:1] == [4]
    assert "cut off" in server.asked[1]["messages"][-1]["content"]


@pytest.mark.parametrize("refusal", ["text", "field", "filter", "finish"])
def test_a_class_that_is_refused_is_named(server: Server, tmp_path: Path, refusal: str) -> None:
    """Half a text set without a word would be a weaker class without a reason."""

    def answer(body: dict[str, Any]) -> Any:
        if named(body) != "red eel":
            return attributes(*TAILS)
        if refusal == "field":
            return {"role": "assistant", "content": None, "refusal": "I will not."}
        if refusal == "finish":
            return {"role": "assistant", "content": "", "finish_reason": "content_filter"}
        return "I'm sorry, but I can't help with that."

    server.answer = answer
    generator = settings(server, tmp_path, max_reasks=1, max_in_flight=1)
    if refusal == "filter":
        server.behaviours = ["filter", "ok", "filter"]
    with pytest.raises(UserError) as caught:
        run(generator, items_of("attribute", classes=CLASSES[3:5]))  # red eel is the first
    assert "'red eel' (attribute): it was refused" in str(caught.value)
    assert "on_failure: skip" in str(caught.value)
    skip = generator.model_copy(update={"on_failure": "skip"})
    skipped = run(skip, items_of("attribute", classes=CLASSES[3:5]))
    assert [bool(i.texts) for i in skipped] == [False, True]
    assert skipped[0].refusals == 2
    assert len(server.asked) == 3, "answers that were refused were asked for again"


def test_similar_names_are_refused_and_asked_for_again_at_most_five_times(
    server: Server, tmp_path: Path
) -> None:
    """And never again those that were refused."""
    names = iter(f"creature {i}" for i in range(100))

    def answer(body: dict[str, Any]) -> str:
        (wanted,) = body["response_format"]["json_schema"]["schema"]["$defs"].values()
        return of_class(analogous=[next(names) for _ in range(wanted["maxItems"])])

    server.answer = answer
    good = {"creature 4", "creature 9", "creature 10"}
    rule = lambda asked: [None if n in good else "too similar to owl" for _, n in asked]  # noqa: E731
    (item,) = run(settings(server, tmp_path), items_of("analogous", classes=["fox"]), rule=rule)
    assert item.texts == {"texts": ["creature 4", "creature 9", "creature 10"]}
    last = server.asked[-1]["messages"][-1]["content"]
    assert all(re.search(rf"\bcreature {i}\b", last) for i in range(9)), (
        "it may name again what was refused"
    )
    assert len(server.asked) <= 6


def test_where_every_name_is_too_similar_the_class_is_named(server: Server, tmp_path: Path) -> None:
    """Six paid rounds for every class, no texts, and status 0."""
    number = itertools.count()
    server.answer = lambda body: of_class(analogous=[f"creature {next(number)}" for _ in range(3)])
    rule = lambda asked: ["too similar to owl (cosine 0.95)" for _ in asked]  # noqa: E731
    with pytest.raises(
        UserError, match=r"1 without texts: 'fox' \(analogous\): too few usable texts"
    ):
        run(settings(server, tmp_path), items_of("analogous", classes=["fox"]), rule=rule)
    assert len(server.asked) == 2, "no second answer in a row gave a name"


@pytest.mark.parametrize(
    ("asked", "served", "same"),
    [
        ("tiny", "tiny-2026", True),
        ("gpt-4o", "gpt-4o-2024-08-06", True),
        ("openai/gpt-4o", "gpt-4o", True),
        ("llama3.1", "llama3.1:latest", True),
        ("claude-latest", "claude-20241022", True),
        ("gemini-2.5-flash", "models/gemini-2.5-flash-preview-05-20", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-4o", "gpt-4o-mini-2024-07-18", False),
        ("tiny", "large", False),
        ("gpt-5", "gpt-4", False),
    ],
)
def test_another_models_name_is_said(asked: str, served: str, same: bool) -> None:
    assert same_model(asked, served) is same


def test_a_model_that_was_not_asked_for_is_said_once(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy that sends questions to a cheaper model: its texts are under the other one's name."""
    server.served = "other-3b"
    (item, *_) = run(settings(server, tmp_path), items_of("attribute", classes=CLASSES[:3]))
    said = [r.getMessage() for r in caplog.records if "answers: the texts are" in r.getMessage()]
    assert said == ["tiny was asked and 'other-3b' answers: the texts are of that model"]
    (answer,) = item.answers.values()
    assert answer.served == "other-3b"


@pytest.mark.parametrize(
    "reason", ["MAX_TOKENS", "max_tokens", "length", "model_length", "FinishReason.MAX_TOKENS"]
)
def test_an_answer_at_the_limit_is_cut_off_in_every_servers_words(
    server: Server, tmp_path: Path, reason: str
) -> None:
    """Gemini's word is MAX_TOKENS; the last text of such an answer is half a text."""
    said = iter(
        [{"content": attributes(*TAILS), "finish_reason": reason}, {"content": attributes(*TAILS)}]
    )
    server.answer = lambda body: {"role": "assistant", **next(said)}
    (item,) = run(settings(server, tmp_path), items_of("attribute", classes=["red fox"]))
    assert item.texts == {"texts": TAILS}
    assert "cut off" in server.asked[1]["messages"][-1]["content"]


def test_kinds_of_one_data_set_have_no_text_in_common(server: Server, tmp_path: Path) -> None:
    """The rules of `texts check` hold for a model's texts: an analogous thing is no synonym, in any
    form.
    """

    def answer(body: dict[str, Any]) -> str:
        if named(body) == "red fox":
            return of_class(
                attribute=TAILS, analogous=["jackals", "a coyote", "dholes"], synonym=["reynard"]
            )
        tails = [t.replace("a ", "a very ") for t in TAILS] + [
            "wet noses",
            "a grey back",
            "wide ears",
        ]
        return of_class(
            attribute=tails,
            analogous=["a reynard", "white paws", "a dog"],
            synonym=["a jackal", "wolfy"],
        )

    server.answer = answer
    kinds = ("attribute", "analogous", "synonym")
    *_, attribute, analogous, synonym = run(
        settings(server, tmp_path), items_of(*kinds, classes=["red fox", "grey wolf"])
    )
    assert "white paws" not in attribute.texts["texts"]
    assert analogous.texts["texts"] == ["a dog"]
    assert synonym.texts["texts"] == ["wolfy"]
