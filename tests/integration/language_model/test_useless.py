"""Answers that are of no use: noticed early, paid for once or twice and not fourteen times, and
never a text.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from coder_clip.datasets.base import Templates
from coder_clip.errors import UserError
from coder_clip.texts.cleaning import clean
from coder_clip.texts.llm import client
from coder_clip.texts.llm.requests import class_items, pair_items
from llm_server import SAID, Server, named
from questions import CLASSES, TAILS, attributes, items_of, of_class, run, settings, stored

pytestmark = pytest.mark.rest


def alone(server: Server, tmp_path: Path, **more: Any) -> Any:
    """Settings to ask question by question, so that counts are exact."""
    return settings(server, tmp_path, max_in_flight=1, **more)


# ---- pairs that cannot be told apart
# -----------------------------------------------------------------


@pytest.mark.parametrize("names", [["missile", "fox", "missile"], ["crane", "fox", "Crane"]])
def test_a_pair_of_equal_names_is_never_asked(
    server: Server, tmp_path: Path, names: list[str]
) -> None:
    """ImageNet has "missile" twice: one key for both sides, four paid tries, and the run stopped."""
    items = pair_items([(0, 1), (0, 2), (1, 2)], names, Templates(), 2)
    assert [item.indices for item in items] == [(0, 1), (1, 2)]
    made = run(settings(server, tmp_path), items)
    assert all(len(item.texts["first"]) == 2 for item in made)
    assert len(server.asked) == 2
    of_classes = class_items(["attribute"], names, Templates(), {"attribute": 4})
    assert [len(i.texts["texts"]) for i in run(settings(server, tmp_path), of_classes)] == [4, 4, 4]


# ---- one answer for all, or none
# ---------------------------------------------------------------------


def test_one_answer_for_every_class_is_noticed(server: Server, tmp_path: Path) -> None:
    """A semantic cache gave all classes the same list, and the run ended with status 0."""
    server.answer = lambda body: attributes(*TAILS)
    with pytest.raises(
        UserError,
        match=r"stopped: 10 questions in a row have no usable text from tiny, .*a long tail",
    ):
        run(alone(server, tmp_path), items_of("attribute"))
    assert len(server.asked) == 1 + client.USELESS


def test_what_two_classes_offer_is_refused_for_both(server: Server, tmp_path: Path) -> None:
    """The first class kept it, so the order of the classes decided what each of them had."""

    def answer(body: dict[str, Any]) -> str:
        mine = [f"a {named(body)[:2]}-coloured {part}" for part in ("ear", "paw", "eye")]
        return attributes("a long tail", *mine)

    server.answer = answer
    for item in run(settings(server, tmp_path), items_of("attribute", classes=["fox", "hare"])):
        assert len(item.texts["texts"]) == 3
        (refused,) = item.refused
        other = "hare" if item.owner == "fox" else "fox"
        assert (refused.text, refused.why) == ("a long tail", f"also a text of {other}")


def test_a_synonym_of_two_classes_is_refused_for_both(server: Server, tmp_path: Path) -> None:
    """A name that two classes have raises both."""
    server.answer = lambda body: of_class(synonym=["reynard", named(body)[:2] + "-x"])
    first, second = run(settings(server, tmp_path), items_of("synonym", classes=["fox", "hare"]))
    assert (first.texts["texts"], second.texts["texts"]) == (["fo-x"], ["ha-x"])


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("", "an empty answer"),
        ("I'm sorry, but I can't help with that.", "I'm sorry, but I can't help with that."),
        (attributes("a unique look"), '{"attribute": ["a unique look"]}'),
    ],
)
def test_a_model_that_is_of_no_use_is_asked_ten_times(
    server: Server, tmp_path: Path, said: str, shown: str
) -> None:
    """48 answers were paid for twelve classes. What it said is shown, because the cause is seldom
    the questions.
    """
    server.answer = lambda body: {"role": "assistant", "content": said}
    generator = alone(server, tmp_path)
    with pytest.raises(UserError) as caught:
        run(generator, items_of("attribute"))
    assert shown in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(server.asked) == stored(generator) == client.USELESS


def test_classes_that_a_model_refuses_do_not_stop_the_others(
    server: Server, tmp_path: Path
) -> None:
    """Asked again, they are alone, and ten in a row mean nothing."""
    classes = [f"animal {i}" for i in range(24)]
    refused = set(classes[::2])
    server.answer = lambda body: (
        "I cannot help with that" if named(body) in refused else server.texts_for(body)
    )
    generator = alone(server, tmp_path, on_failure="skip", max_reasks=1)
    items = run(generator, items_of("attribute", classes=classes))
    assert [bool(i.texts) for i in items] == [c not in refused for c in classes]
    assert len(server.asked) == 24 + 12


# ---- unreadable and late
# -----------------------------------------------------------------------------


UNREADABLE = {
    "type": "choices", "error-200": "overloaded", "sse": "data:", "html-200": "a page of HTML", "null": "null",
}  # fmt: skip


@pytest.mark.parametrize("fault", UNREADABLE)
def test_an_unreadable_answer_is_tried_once_more(
    server: Server, tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Each of fourteen tries was paid for, in silence."""
    server.behaviours = [fault] * 1000
    with pytest.raises(UserError, match=r"3 without texts") as caught:
        run(alone(server, tmp_path), items_of("attribute", classes=CLASSES[:3]))
    assert len(server.asked) == 2 * 3
    (warned, *_) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert UNREADABLE[fault] in warned
    assert "once more" in warned
    assert UNREADABLE[fault] in str(caught.value) + warned


@pytest.mark.parametrize(
    ("fault", "says", "tries"),
    [
        ("500", "answers 500", 2),
        ("429", "answers 429", 2),
        ("error-200", "overloaded", 1),
        ("hang", r"no answer within 0\.3 s \(generator\.timeout\)", 1),
    ],
)
def test_a_server_that_never_answers_stops_the_run(
    server: Server, tmp_path: Path, fault: str, says: str, tries: int
) -> None:
    """And is not asked a thousand times seven questions. A late answer may have been charged."""
    server.behaviours = [fault] * 1000
    with pytest.raises(UserError, match=rf"no usable text from tiny, the last: .*{says}"):
        run(alone(server, tmp_path, timeout=0.3 if fault == "hang" else 20.0, retries=1))
    assert len(server.asked) == tries * client.USELESS


def test_content_in_parts_is_read(server: Server, tmp_path: Path) -> None:
    parts = [
        {"type": "text", "text": attributes(*TAILS)[:20]},
        {"type": "text", "text": attributes(*TAILS)[20:]},
    ]
    server.count = lambda text: 300
    server.answer = lambda body: {"role": "assistant", "content": parts}
    (item,) = run(settings(server, tmp_path), items_of("attribute", classes=["red fox"]))
    assert item.texts == {"texts": TAILS}
    assert len(server.asked) == 1


# ---- what servers refuse
# -----------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["vllm", "llama.cpp"])
def test_a_schema_refused_in_other_words_is_left_out(
    server: Server, tmp_path: Path, fault: str
) -> None:
    server.behaviours = [fault]
    # llama.cpp says so with status 500, which openai would try again first
    items = run(settings(server, tmp_path, retries=0), items_of("attribute", classes=CLASSES[:3]))
    assert all(item.texts["texts"] for item in items)
    assert [body["response_format"]["type"] for body in server.asked] == ["json_schema"] + [
        "json_object"
    ] * 3


@pytest.mark.parametrize("fault", ["groq", "openrouter", "context"])
def test_a_question_that_a_server_refuses_does_not_end_the_run(
    server: Server, tmp_path: Path, fault: str
) -> None:
    """One generation, one moderated name or one long prompt stopped the run, also with skip and in
    every later run.
    """
    server.behaviours = [fault]
    generator = alone(server, tmp_path)
    items = run(generator, items_of("attribute", classes=CLASSES[:3]))
    assert [item.refusals for item in items] == [1, 0, 0]
    assert all(len(item.texts["texts"]) == 4 for item in items)
    assert len(server.asked) == 4
    assert all(body["response_format"]["type"] == "json_schema" for body in server.asked)
    server.behaviours = [fault] * 20
    skip = generator.model_copy(update={"on_failure": "skip", "model": "other"})
    with pytest.raises(UserError, match="no usable text from other, the last"):
        run(skip, items_of("attribute"))


def test_a_refused_parameter_is_named_although_the_server_lists_response_format(
    server: Server, tmp_path: Path
) -> None:
    server.behaviours = ["seed"] * 50
    with pytest.raises(UserError, match=r"Unsupported parameter: 'seed'.*'generator\.seed: null'"):
        run(settings(server, tmp_path))


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("Unsupported parameter: 'temperature'", "'generator.temperature: null' leaves it out"),
        (
            "Unsupported value: 'temperature' does not support 0.7 with this model. Only the "
            "default (1) value is supported.",
            "'generator.temperature: null' leaves it out",
        ),
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            "'generator.max_tokens: null' leaves it out, and generator.extra takes max_completion",
        ),
        ("top_k: Extra inputs are not permitted", "remove generator.extra.top_k"),
        ("Country not supported", ""),
    ],
)
def test_a_refused_parameter_names_the_key_of_the_configuration(
    server: Server, tmp_path: Path, said: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads "Unsupported parameter" does not know that null leaves it out."""
    monkeypatch.setitem(SAID, "said", (400, said, None, {}))
    server.behaviours = ["said"] * 50
    with pytest.raises(UserError) as caught:
        run(settings(server, tmp_path, extra={"top_k": 3}))
    assert hint in str(caught.value)
    assert bool(hint) == ("generator." in str(caught.value))


def test_an_address_without_v1_gets_a_hint(server: Server, tmp_path: Path) -> None:
    server.behaviours = ["model"]
    with pytest.raises(UserError, match=r"is it http://127\.0\.0\.1:\d+/v1\?"):
        run(settings(server, tmp_path, base_url=server.url.removesuffix("/v1")))


# ---- texts that are no texts
# -------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["<b>a bushy tail</b>", "the tail of a red fox"])
def test_what_is_no_text_is_never_a_text(server: Server, tmp_path: Path, text: str) -> None:
    server.answer = lambda body: attributes(text, *TAILS[:3])
    (item,) = run(settings(server, tmp_path), items_of("attribute", classes=["red fox"]))
    assert item.texts == {"texts": TAILS[:3]}
    assert [r.text for r in item.refused] == [clean(text)]
    assert len(server.asked) == 1


def test_what_a_class_lacks_is_no_text_of_a_pair(server: Server, tmp_path: Path) -> None:
    """ "No grey fur" as what the fox has draws foxes to grey fur."""
    sides = {
        "red fox": ["no grey fur", "a bushy tail", "red fur"],
        "grey owl": ["no ears", "a beak", "a round head"],
    }
    server.answer = lambda body: json.dumps({"grey owl": sides})
    (item,) = run(
        settings(server, tmp_path), pair_items([(0, 1)], ["red fox", "grey owl"], Templates(), 3)
    )
    assert item.texts == {
        "first": ["a bushy tail", "red fur"],
        "second": ["a beak", "a round head"],
    }
    assert [(r.side, r.text) for r in item.refused] == [
        ("red fox", "no grey fur"),
        ("grey owl", "no ears"),
    ]


@pytest.mark.parametrize("said", ["Request denied", "Sorry, that's not something I can help with"])
def test_a_refusal_is_no_synonym_and_asked_again(server: Server, tmp_path: Path, said: str) -> None:
    answers = iter([said, "reynard"])
    server.answer = lambda body: of_class(synonym=[next(answers)])
    (item,) = run(settings(server, tmp_path), items_of("synonym", classes=["red fox"]))
    assert item.texts == {"texts": ["reynard"]}
