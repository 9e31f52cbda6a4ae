"""Asking a server that has bad days and gives bad answers: over real sockets, and every answer counted.

What must never happen: a question paid for twice, an answer lost, a key in a file, a run that goes on for nothing, a
refusal as a text.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from coder_clip.datasets.base import Templates
from coder_clip.errors import UserError
from coder_clip.pipeline.config import GeneratorConfig
from coder_clip.texts.llm import client
from coder_clip.texts.llm.generate import Generator, provenance
from coder_clip.texts.llm.items import Item, class_items, pair_items
from coder_clip.texts.llm.review import Review
from coder_clip.texts.llm.store import Answers
from llm_server import Server, named, serving

CLASSES = [
    f"{colour} {animal}" for colour in ("red", "grey", "white") for animal in ("fox", "owl", "hare", "eel")
]
COUNTS = {"attribute": 4, "analogous": 3, "synonym": 2, "one_to_one": 2}
KEY = "sk-test-0123456789abcdef"
PRICES = {"date": "2026-11-01", "input": 1.0, "output": 2.0}
TAILS = ["a long tail", "white paws", "pointed ears", "a wet nose"]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(
        "openai._base_client.INITIAL_RETRY_DELAY", 0.02
    )  # the waits of openai itself are not tested
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.05)
    with serving() as found:
        yield found


def settings(server: Server, tmp_path: Path, **more: Any) -> GeneratorConfig:
    given = {"model": "tiny", "base_url": server.url, "timeout": 20.0, "answers": tmp_path / "answers"}
    return GeneratorConfig.model_validate({**given, **more})


def items_of(*kinds: str, classes: list[str] | None = None) -> list[Item]:
    return class_items(kinds or ("attribute", "synonym"), classes or CLASSES, Templates(), COUNTS)


def run(generator: GeneratorConfig, items: list[Item] | None = None, **more: Any) -> list[Item]:
    """What the phases do, without artefacts."""
    items = items_of() if items is None else items
    Generator(generator, "animals").run(items, **more)
    return items


def texts(items: list[Item]) -> list[dict[str, list[str]]]:
    return [item.texts for item in items]


def spent(generator: GeneratorConfig) -> float:
    return Answers(generator.answers, "animals").spent


def until_open(server: Server, n: int) -> None:
    """Wait until n requests were open at once: a busy machine takes its time. The first question is asked alone."""
    end = time.monotonic() + 20
    while len(server.asked) > 1 and server.most_open < n and time.monotonic() < end:
        time.sleep(0.01)


def stored(generator: GeneratorConfig) -> int:
    return len(Answers(generator.answers, "animals").kept)


# ---- bad days ----------------------------------------------------------------------------------------

FAULTS = ["429", "500", "502", "503", "408", "409", "retry-after", "retry-after-0", "retry-after-past", "html",
          "html-200", "type", "error-200", "null", "deep", "drop", "half", "hang", "drip"]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_a_second_try_and_nothing_else(server: Server, tmp_path: Path, fault: str) -> None:
    timeout = 3.0 if fault in ("hang", "drip") else 60.0  # or a busy machine would be a second fault
    generator = settings(server, tmp_path, timeout=timeout)
    server.behaviours = [fault]
    items = run(generator, items_of(classes=CLASSES[:3]))
    assert all(item.texts["texts"] for item in items)
    assert len(server.asked) == 4
    assert set(server.paid.values()) == {1}
    assert stored(generator) == 3


def test_a_wrong_number_of_tokens_does_not_end_the_run(server: Server, tmp_path: Path) -> None:
    server.behaviours = ["number"]
    run(settings(server, tmp_path), items_of(classes=CLASSES[:1]))
    assert len(server.asked) == 2


def test_a_whole_day_of_faults(server: Server, tmp_path: Path) -> None:
    """One after the other and at once: everything is answered, nothing is paid for twice, no flood of requests."""
    generator = settings(server, tmp_path, max_in_flight=5)
    server.behaviours = [f for fault in FAULTS if fault not in ("hang", "drip") for f in ("ok", fault)]
    server.delay = 0.01
    items = run(generator)
    assert all(item.texts["texts"] for item in items)
    assert set(server.paid.values()) == {1}
    assert len(server.paid) == len(CLASSES)
    assert server.most_open <= 5


@pytest.mark.parametrize("fault", ["retry-after-0", "retry-after-past", "429", "500"])
def test_no_wait_is_without_end(server: Server, tmp_path: Path, fault: str) -> None:
    """A server that says "again, at once" for ever was asked 110 times a second."""
    server.behaviours = [fault] * 1000
    server.down = True
    with pytest.raises(UserError, match="does not answer"):
        run(settings(server, tmp_path, retries=2))
    assert len(server.asked) <= 3 * 3 + 8 * 3


def test_a_wait_that_the_server_asks_for_holds_for_all_questions(server: Server, tmp_path: Path) -> None:
    """A server that is asked on while it says to wait locks people out."""
    server.behaviours = ["ok", "retry-after"]
    run(settings(server, tmp_path, max_in_flight=2))
    gaps = [b - a for a, b in itertools.pairwise(server.times)]
    assert max(gaps) > 0.9
    assert gaps.index(max(gaps)) <= 3, "others were asked while it said to wait"


def test_a_slow_disk_makes_no_answer_late(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy disk would stop the clocks of all requests, and what was answered would be paid for twice."""
    slow = iter([0.0, 1.5])
    monkeypatch.setattr(os, "fsync", lambda _: time.sleep(next(slow, 0.0)))
    server.delay = 0.1  # the others are in flight while the second answer is stored
    items = run(settings(server, tmp_path, timeout=1.0))
    assert all(item.texts["texts"] for item in items)
    assert len(server.asked) == len(CLASSES)


def test_no_more_requests_than_allowed_are_in_flight(server: Server, tmp_path: Path) -> None:
    server.answer = lambda body: until_open(server, 3) or server.texts_for(body)
    run(settings(server, tmp_path, max_in_flight=3))
    assert server.most_open == 3


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        ("gzip", "sends a compressed answer"),
        ("endless", "more than 4,000,000 bytes"),
        ("redirect", "redirects to"),
        ("forbidden", "403: Country not supported"),
        ("model", "has no model 'tiny'"),
        ("parameter", "Unsupported parameter: 'temperature'"),
        ("retry-after-long", "asks to wait 7200 s"),
        ("402", "quota"),
    ],
)
def test_what_no_patience_helps_ends_the_run_with_one_line(
    server: Server, tmp_path: Path, behaviour: str, says: str
) -> None:
    server.behaviours = [behaviour] * 50
    generator = settings(server, tmp_path, max_in_flight=2)
    with pytest.raises(UserError) as caught:
        run(generator)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(server.asked) == 1, "the first question is asked alone"
    assert sum(path.stat().st_size for path in generator.answers.iterdir()) < 10_000


def test_a_socks_proxy_without_its_package_is_one_line(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(UserError, match=r"cannot connect to .*(?i:socks)"):
        run(settings(server, tmp_path))


# ---- keys, headers -----------------------------------------------------------------------------------


def test_an_invalid_key_stops_at_once_and_is_not_shown(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A thousand refused requests get an account blocked; a key in a log is a key that has to be changed."""
    monkeypatch.setenv("MY_KEY", KEY)
    server.key = "another"
    caplog.set_level(logging.INFO)
    with pytest.raises(UserError) as caught:
        run(settings(server, tmp_path, key_variable="MY_KEY"))
    message = str(caught.value)
    assert "does not accept the key in MY_KEY (401)" in message
    assert "\n" not in message
    assert KEY not in message + caplog.text
    assert KEY not in "".join(p.read_text() for p in tmp_path.rglob("*") if p.is_file())


def test_a_missing_key_is_missed_before_anything_is_sent(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(UserError, match="set the environment variable MY_KEY"):
        run(settings(server, tmp_path, key_variable="MY_KEY"))
    monkeypatch.setenv("MY_KEY", "two words")
    with pytest.raises(UserError, match="has no key") as caught:
        run(settings(server, tmp_path, key_variable="MY_KEY"))
    assert "two words" not in str(caught.value)
    assert server.asked == []


def test_what_is_for_openai_is_not_sent_to_another_server(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-mine")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-mine")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Secret: hidden")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    monkeypatch.setenv("TEAM_TOKEN", "team-0123456789")
    server.key = "none"  # what is sent where no key is wanted
    generator = settings(server, tmp_path, headers={"X-Team": "$TEAM_TOKEN", "X-Plain": "birds"})
    run(generator, items_of(classes=CLASSES[:1]))
    (sent,) = server.asked_headers
    assert (sent["x-team"], sent["x-plain"]) == ("team-0123456789", "birds")
    assert not {"openai-organization", "openai-project", "x-secret"} & sent.keys()
    assert os.environ["OPENAI_ORG_ID"] == "org-mine"
    kept = (generator.answers / "animals.jsonl").read_text()
    assert not any(secret in kept for secret in (KEY, "org-mine", "hidden", "team-0123456789"))


def test_a_token_limit_by_any_name_or_none(server: Server, tmp_path: Path) -> None:
    one = items_of(classes=CLASSES[:1])
    run(settings(server, tmp_path, max_tokens=None), one)
    run(
        settings(server, tmp_path, max_tokens=None, extra={"max_completion_tokens": 70}),
        items_of(classes=CLASSES[:1]),
    )
    assert "max_tokens" not in server.asked[0]
    assert server.asked[1]["max_completion_tokens"] == 70


# ---- what ends a run, and what does not --------------------------------------------------------------


def test_a_used_up_quota_stops_and_keeps_everything(server: Server, tmp_path: Path) -> None:
    generator = settings(server, tmp_path, max_in_flight=2)
    server.behaviours = ["ok"] * 7 + ["quota"] * 20
    with pytest.raises(UserError, match="quota is used up; every answer so far is kept"):
        run(generator)
    assert stored(generator) == sum(server.paid.values()) >= 7
    server.behaviours = []
    run(generator)
    assert set(server.paid.values()) == {1}


def test_a_server_that_is_down_is_given_up(server: Server, tmp_path: Path) -> None:
    """And not asked a thousand times seven questions."""
    server.behaviours, server.down = ["500"] * 500, True
    with pytest.raises(UserError, match=r"does not answer \(.*500\)"):
        run(settings(server, tmp_path, retries=1, max_in_flight=1))
    assert len(server.asked) == 2 * client.IN_A_ROW
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(UserError, match="does not answer"):
        run(settings(server, tmp_path, base_url=url, retries=0))


def test_questions_that_always_fail_do_not_stop_the_others(server: Server, tmp_path: Path) -> None:
    """Three such questions stopped a run, and every later one, for ever."""
    poisoned = set(CLASSES[:5])
    real = server.completion

    def completion(body: dict[str, Any]) -> dict[str, Any]:
        if named(body) in poisoned:
            return {"error": "CUDA out of memory"}
        return real(body)

    server.completion = completion  # type: ignore[method-assign]
    generator = settings(server, tmp_path, retries=0, max_in_flight=2, on_failure="skip")
    items = run(generator, items_of("attribute"))
    assert [bool(i.texts) for i in items] == [False] * 5 + [True] * 7
    for _ in range(2):  # nothing but these is left
        assert [bool(i.texts) for i in run(generator, items_of("attribute"))] == [False] * 5 + [True] * 7
    with pytest.raises(UserError, match=r"5 without texts: 'red fox' \(attribute\)"):
        run(generator.model_copy(update={"on_failure": "stop"}), items_of("attribute"))
    poisoned.clear()
    assert all(item.texts for item in run(generator, items_of("attribute")))
    assert stored(generator) == len(CLASSES)


# ---- what is asked together --------------------------------------------------------------------------


def test_one_request_has_all_kinds_of_a_class_and_several_pairs(server: Server, tmp_path: Path) -> None:
    """Three requests per class and one per pair would repeat the instructions seven times."""
    generator = settings(server, tmp_path)
    items = run(generator, items_of("attribute", "analogous", "synonym", classes=CLASSES[:4]))
    assert len(server.asked) == 4
    assert all(len(i.texts["texts"]) == i.wanted for i in items)
    assert set(server.asked[0]["response_format"]["json_schema"]["schema"]["required"]) == {
        "attribute", "analogous", "synonym"
    }  # fmt: skip
    assert ", ".join(CLASSES[:4]) in server.asked[0]["messages"][0]["content"], (
        "the classes are not to be named"
    )
    assert len({body["messages"][0]["content"] for body in server.asked}) == 1, "no server can cache it"
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
    assert list(server.asked[-1]["response_format"]["json_schema"]["schema"]["properties"]) == ["synonym"]


@pytest.mark.parametrize("formats", [["json_object", None], [None]])
def test_a_server_without_json_schema_is_asked_for_a_json_object(
    server: Server, tmp_path: Path, formats: list[str | None]
) -> None:
    server.formats = formats
    generator = settings(server, tmp_path)
    first = run(generator)
    refused = [
        body for body in server.asked if (body.get("response_format") or {}).get("type") not in formats
    ]
    assert len(refused) == 3 - len(formats), "every question was sent twice"
    assert all(item.texts["texts"] for item in first)
    asked = len(server.asked)
    server.formats = ["json_schema"]
    assert texts(run(generator)) == texts(first)
    assert len(server.asked) == asked
    server.formats = formats
    with pytest.raises(UserError, match="structured: list"):
        run(settings(server, tmp_path / "other", structured="json_schema"))


def test_an_error_that_names_the_response_format_for_ever_ends(server: Server, tmp_path: Path) -> None:
    server.behaviours = ["format"] * 1000
    with pytest.raises(UserError, match="does not do structured output"):
        run(settings(server, tmp_path))
    assert len(server.asked) == 3


def test_free_text_is_asked_for_where_the_configuration_says_so(server: Server, tmp_path: Path) -> None:
    generator = settings(server, tmp_path, structured="list")
    items = run(generator, items_of("attribute", "synonym", classes=CLASSES[:2]))
    assert len(server.asked) == 4
    assert not any("response_format" in body for body in server.asked)
    assert [len(i.texts["texts"]) for i in items] == [4, 2, 4, 2]
    (pair,) = run(generator, pair_items([(0, 1)], CLASSES, Templates(), 2))
    assert [len(t) for t in pair.texts.values()] == [2, 2]


# ---- answers that are not accepted -------------------------------------------------------------------


def attributes(*given: Any) -> str:
    return json.dumps({"attribute": list(given)})


BAD = {
    "refusal in a list": attributes("I'm sorry, but I can't assist with that request."),
    "refusals all over": attributes(*["I cannot provide that"] * 4),
    "error object": json.dumps({"error": "I cannot help with that"}),
    "prose": "I would describe it as a fox with a tail.",
    "refusal": "I’m sorry, but I can’t help with that.",
    "German": attributes("Es tut mir leid, das kann ich nicht beantworten", *TAILS[:1]),
    "French": attributes("Je suis désolé, je ne peux pas", *TAILS[:1]),
    "Chinese": attributes("抱歉,我无法回答", *TAILS[:1]),
    "Japanese": attributes("申し訳ありませんが", *TAILS[:1]),
    "clarifying question": attributes("Could you clarify which fox you mean?"),
    "echoed schema": json.dumps({"type": "object", "properties": {"attribute": {"type": "array", "items": {}}}}),
    "echoed shape": attributes("4 strings"),
    "nested lists": json.dumps({"attribute": [TAILS]}),
    "objects": attributes(*({"id": str(i), "feature": t} for i, t in enumerate(TAILS))),
    "numbers": attributes(1, 2, 3, 4),
    "one of four": attributes(TAILS[0]),
    "none": attributes("none", "N/A", "null"),
    "own name": attributes("red fox", "a Red Fox", "red foxs", TAILS[0]),
    "another class's name": attributes("grey owl", "like a grey owl in flight", TAILS[0]),
    "other script": attributes("длинный хвост", "白い足", "a μακριά tail", TAILS[0]),
    "bidi": attributes("a \u202egnol tail", "white\x1b[31m paws", "ears\x00", TAILS[0]),
    "prose as a text": attributes("very " * 100 + "long", "so " * 100, "and " * 99, TAILS[0]),
    "draft": "<think>" + attributes(*TAILS) + "</think>",
    "two objects": attributes(*TAILS) + "\n" + attributes(*TAILS),
    "broken off": attributes(*TAILS)[:-20],
    "half a character": '{"attribute": ["\\ud800", "a", "b", "c"]}',
    "deep": '{"attribute": ' + "[" * 100_000,
    "huge number": '{"attribute": 1' + "0" * 10_000 + "}",
    "empty": "",
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_answer_is_asked_again_and_never_a_text(server: Server, tmp_path: Path, name: str) -> None:
    """It would be a text of every class, and the run would say that all went well."""
    said = iter([BAD[name], attributes(*TAILS)])
    server.answer = lambda body: next(said)
    (item,) = run(settings(server, tmp_path), items_of("attribute", classes=["red fox", "grey owl"])[:1])
    assert item.texts == {"texts": TAILS}
    assert len(server.asked) == 2
    again = server.asked[1]["messages"][-1]["content"]
    assert "The last answer could not be used: " in again
    assert server.asked[1]["seed"] == 1, "the same seed may give the same answer"
    server.answer = lambda body: BAD[name]
    with pytest.raises(UserError, match=r"1 without texts: 'red fox' \(attribute\)"):
        run(
            settings(server, tmp_path / "other", repeats=1),
            items_of("attribute", classes=["red fox", "grey owl"])[:1],
        )
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    "said",
    [
        "I would be happy to describe it. It is an animal of the dog family with a coat that varies a lot.",
        "Could you clarify which fox you mean?",
        "I'm sorry, but I can't help with that.",
        "Es tut mir leid, das kann ich nicht beantworten.",
        "抱歉,我无法回答",
        "none",
        "",
    ],
)
def test_free_text_that_is_not_a_list_is_asked_again(server: Server, tmp_path: Path, said: str) -> None:
    """Without a schema, only the checks keep prose out of the text set."""
    answers = iter([said, "_".join(TAILS)])
    server.answer = lambda body: next(answers)
    generator = settings(server, tmp_path, structured="list")
    (item,) = run(generator, items_of("attribute", classes=["red fox"]))
    assert item.texts == {"texts": TAILS}
    assert len(server.asked) == 2


GOOD = {
    "fence": "```json\n" + attributes(*TAILS) + "\n```",
    "reasoning": "<think>" + attributes("a draft", "b", "c", "d") + "</think>" + attributes(*TAILS),
    "words around": "Of course! " + attributes(*TAILS) + " Anything else?",
    "a key more": json.dumps({"reasoning": "foxes", "attribute": TAILS}),
    "more than asked for": attributes(*TAILS, *(f"part {i}" for i in range(5000))),
    "marks": attributes('"a long tail"', "White paws.", "has pointed ears", "a wet_nose,", "white paws"),
    "white space": attributes(" a  long\ttail", "white paws\n", "pointed ears", "a wet nose"),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_answer_is_taken_at_once(server: Server, tmp_path: Path, name: str) -> None:
    server.answer = lambda body: GOOD[name]
    (item,) = run(settings(server, tmp_path), items_of("attribute", classes=["red fox"]))
    assert [t.casefold() for t in item.texts["texts"]] == TAILS
    assert len(server.asked) == 1


def test_names_are_kept_as_they_are(server: Server, tmp_path: Path) -> None:
    """ "T. rex" is not item "T." of a list."""
    server.answer = lambda body: json.dumps({"synonym": ["T. rex", "1.5-tonne lizard"]})
    (item,) = run(settings(server, tmp_path), items_of("synonym", classes=["tyrannosaurus"]))
    assert item.texts == {"texts": ["T. rex", "1.5-tonne lizard"]}


@pytest.mark.parametrize("said", [[], ["none"], ["N/A"], ["no synonyms"]])
def test_that_there_is_no_synonym_is_an_answer(server: Server, tmp_path: Path, said: list[str]) -> None:
    server.answer = lambda body: json.dumps({"synonym": said})
    (item,) = run(settings(server, tmp_path), items_of("synonym", classes=["red fox"]))
    assert item.texts == {"texts": []}
    assert len(server.asked) == 1


def test_texts_of_a_class_in_another_script_are_in_that_script(server: Server, tmp_path: Path) -> None:
    server.answer = lambda body: attributes("длинный хвост", "белые лапы", "острые уши", "a wet nose")
    (item,) = run(settings(server, tmp_path), items_of("attribute", classes=["лиса"]))
    assert len(item.texts["texts"]) == 4


def test_sides_of_a_pair_are_those_of_their_names(server: Server, tmp_path: Path) -> None:
    """With the sides swapped, stage two prefers the wrong class of every pair."""

    def answer(body: dict[str, Any]) -> str:
        sides = {"Grey_Owl": ["a round head", "a beak"], "red fox": ["a bushy tail", "pointed ears"]}
        return json.dumps({"grey owl": sides})

    server.answer = answer
    (item,) = run(settings(server, tmp_path), pair_items([(0, 1)], ["red fox", "grey owl"], Templates(), 2))
    assert item.texts == {"first": ["a bushy tail", "pointed ears"], "second": ["a round head", "a beak"]}


@pytest.mark.parametrize(
    "sides",
    [
        {"red fox": ["a tail", "ears"], "grey owl": ["A tail.", "ears"]},  # equal
        {"first": ["a tail", "ears"], "second": ["a beak", "a round head"]},  # whose?
        {"red fox": ["a tail", "ears"]},
        {"red fox": ["a tail", "ears"], "grey owl": []},
        {"red fox": ["not like a grey owl", "unlike the grey owl"], "grey owl": ["a beak", "a round head"]},
        [["a tail", "ears"], ["a beak", "a round head"]],
    ],
)
def test_a_pair_without_two_sides_is_asked_again(server: Server, tmp_path: Path, sides: Any) -> None:
    right = {"red fox": ["a bushy tail", "pointed ears"], "grey owl": ["a beak", "a round head"]}
    said = iter([sides, right])
    server.answer = lambda body: json.dumps({"grey owl": next(said)})
    (item,) = run(settings(server, tmp_path), pair_items([(0, 1)], ["red fox", "grey owl"], Templates(), 2))
    assert item.texts == {"first": right["red fox"], "second": right["grey owl"]}
    assert len(server.asked) == 2


def test_an_answer_that_was_cut_off_is_asked_again_in_smaller_parts(server: Server, tmp_path: Path) -> None:
    """Cut off in the middle, its last text is half a text."""

    def answer(body: dict[str, Any]) -> Any:
        content = server.texts_for(body)
        many = len(json.loads(content)) > 2
        return {"role": "assistant", "content": content, "finish_reason": "length" if many else "stop"}

    server.answer = answer
    items = run(
        settings(server, tmp_path), pair_items([(0, i) for i in range(1, 5)], CLASSES, Templates(), 2)
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
    generator = settings(server, tmp_path, repeats=1, max_in_flight=1)
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
    names = iter(f"thing {i}" for i in range(100))

    def answer(body: dict[str, Any]) -> str:
        (wanted,) = body["response_format"]["json_schema"]["schema"]["$defs"].values()
        return json.dumps({"analogous": [next(names) for _ in range(wanted["maxItems"])]})

    server.answer = answer
    good = {"thing 4", "thing 9", "thing 10"}
    rule = lambda asked: [None if n in good else "too similar to owl" for _, n in asked]  # noqa: E731
    (item,) = run(settings(server, tmp_path), items_of("analogous", classes=["fox"]), rules={"texts": rule})
    assert item.texts == {"texts": ["thing 4", "thing 9", "thing 10"]}
    last = server.asked[-1]["messages"][-1]["content"]
    assert all(re.search(rf"\bthing {i}\b", last) for i in range(9)), "it may name again what was refused"
    assert len(server.asked) <= 6


def test_where_every_name_is_too_similar_the_class_is_named(server: Server, tmp_path: Path) -> None:
    """Six paid rounds for every class, no texts, and status 0."""
    number = itertools.count()
    server.answer = lambda body: json.dumps({"analogous": [f"thing {next(number)}" for _ in range(3)]})
    rule = lambda asked: ["too similar to owl (cosine 0.95)" for _ in asked]  # noqa: E731
    with pytest.raises(UserError, match=r"1 without texts: 'fox' \(analogous\): too few usable texts"):
        run(settings(server, tmp_path), items_of("analogous", classes=["fox"]), rules={"texts": rule})
    assert len(server.asked) == 2, "no second answer in a row gave a name"


def test_two_rules_choose_among_the_same_names(server: Server, tmp_path: Path) -> None:
    """The published filter is for the setting as_published alone."""
    server.answer = lambda body: json.dumps({"analogous": ["wolf", "jackal", "dingo"]})
    rules = {
        "texts": lambda asked: [None] * len(asked),
        "as_published": lambda asked: ["too similar" * (n == "wolf") or None for _, n in asked],
    }
    (item,) = run(settings(server, tmp_path), items_of("analogous", classes=["fox"]), rules=rules)
    assert item.texts == {"texts": ["wolf", "jackal", "dingo"], "as_published": ["jackal", "dingo"]}


# ---- kept for good -----------------------------------------------------------------------------------


def test_a_second_run_asks_nothing_and_gives_the_same(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = settings(server, tmp_path)
    first = run(generator)
    asked = len(server.asked)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    elsewhere = generator.model_copy(update={"base_url": None, "max_in_flight": 1})  # OpenAI, and no key
    assert texts(run(elsewhere)) == texts(first)
    assert len(server.asked) == asked


def test_another_model_prompt_or_parameter_is_another_question(server: Server, tmp_path: Path) -> None:
    """Texts of another model under this one's name: no number behind them would be true."""
    items = lambda: items_of("synonym", classes=["fox"])  # noqa: E731
    generator = settings(server, tmp_path)
    changes: list[dict[str, Any]] = [{}, {"model": "other"}, {"temperature": 0.1}, {"seed": 7}, {"max_tokens": 9},
                                     {"extra": {"top_p": 0.5}}, {"structured": "list"}]  # fmt: skip
    for n, change in enumerate(changes, 1):
        run(generator.model_copy(update=change), items())
        assert len(server.asked) == n, change
    run(generator, class_items(["synonym"], ["fox"], Templates(name="a drawing of a {class}."), COUNTS))
    assert len(server.asked) == len(changes) + 1


def test_a_text_leads_to_its_answer_and_server(server: Server, tmp_path: Path) -> None:
    """A person who doubts a text can read what the model said."""
    said = iter([attributes("none", "a tail", "ears"), attributes("a nose", "a leg")])
    server.answer = lambda body: next(said)
    generator = settings(server, tmp_path, prices=PRICES)
    (item,) = run(generator, items_of("attribute", classes=["fox"]))
    note = provenance("attribute", [item], generator)
    key = note["from"]["fox"]
    kept = Answers(generator.answers, "animals").kept
    assert all(text in (kept[key].answer.text or "") for text in item.texts["texts"])
    assert note["not_accepted"] == [["fox", "none", "says nothing", key]]
    assert note["server"] == [server.url.split("/")[2]]
    assert note["system_fingerprint"] == ["fp_1"]
    assert note["cost"]["money"] > 0


def test_a_review_rejects_and_asks_again(server: Server, tmp_path: Path) -> None:
    generator = settings(server, tmp_path)
    (first,) = run(generator, items_of("attribute", classes=["fox"]))
    review = Review.of(generator.answers, "animals")
    review.rejected.append(("attribute", "fox", first.texts["texts"][1]))
    review.write(generator.answers, "animals")
    (second,) = run(
        generator, items_of("attribute", classes=["fox"]), review=Review.of(generator.answers, "animals")
    )
    assert second.texts["texts"] == [t for i, t in enumerate(first.texts["texts"]) if i != 1]
    assert second.refused[-1].why == "rejected in a review"
    assert len(server.asked) == 1
    review.again.append(("attribute", "fox"))
    review.write(generator.answers, "animals")
    server.answer = lambda body: attributes(*TAILS)
    (third,) = run(
        generator, items_of("attribute", classes=["fox"]), review=Review.of(generator.answers, "animals")
    )
    assert third.texts["texts"] == TAILS
    assert len(server.asked) == 2


# ---- money -------------------------------------------------------------------------------------------


def bill(server: Server) -> float:
    """What the server really charges at PRICES."""
    return sum(sent * 1.0 + said * 2.0 for sent, said in server.billed) / 1e6


def test_answers_cost_what_the_server_counted(server: Server, tmp_path: Path) -> None:
    generator = settings(server, tmp_path, prices=PRICES, max_cost=1.0)
    run(generator)
    assert spent(generator) == pytest.approx(bill(server))


def test_a_run_that_would_cost_too_much_does_not_begin(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"would exceed generator.max_cost") as caught:
        run(settings(server, tmp_path, prices=PRICES, max_cost=0.001))
    assert "12 requests" in str(caught.value)
    assert server.asked == []


LONG = json.dumps({"attribute": [f"a {'very ' * 20}long tail {i}" for i in range(4)], "synonym": []})


@pytest.mark.parametrize(
    ("usage", "unknown"),
    [
        ("counted", False),
        (None, True),
        ((1, 1), True),  # cannot be true
        ((0, 0), True),
        ((-5, 3), True),
        (("many", 3), True),
        ((10**30, 3), True),
        ("seven", True),
        ({"prompt_tokens": None}, True),
    ],
)
def test_the_limit_on_money_holds_whatever_the_server_says(
    server: Server, tmp_path: Path, usage: Any, unknown: bool
) -> None:
    """0.05 was allowed and 0.36 spent."""
    server.usage, server.answer, server.delay = usage, lambda body: LONG, 0.05
    generator = settings(server, tmp_path, prices=PRICES, max_cost=0.01, max_tokens=1000, max_in_flight=8)
    with pytest.raises(UserError, match=r"next request could exceed generator\.max_cost") as caught:
        run(
            generator,
            class_items(
                ["attribute", "synonym"],
                [f"animal {i}" for i in range(16)],
                Templates(),
                {"attribute": 4, "synonym": 2},
            ),
        )
    assert "every answer is kept" in str(caught.value)
    assert 0 < bill(server) <= 0.01
    assert spent(generator) <= 0.01
    answers = Answers(generator.answers, "animals").kept.values()
    assert all((s.answer.cost is None) is unknown for s in answers)
    assert all((s.answer.at_most is not None) is unknown for s in answers)


def test_a_server_that_ignores_the_limit_on_tokens_passes_it_once(server: Server, tmp_path: Path) -> None:
    """Each answer takes seven times what may be: eight in flight would be 56 times."""
    server.usage, server.delay = (500, 7000), 0.05
    generator = settings(server, tmp_path, prices=PRICES, max_cost=0.05, max_tokens=1000, max_in_flight=8)
    with pytest.raises(UserError, match=r"max_cost"):
        run(generator)
    assert len(server.billed) == 1, "it was asked on after its first answer"


@pytest.mark.parametrize("honest", [1, 6, 30])
@pytest.mark.parametrize("limit", [0.08, 0.15, 0.4])
def test_a_server_that_begins_to_ignore_the_limit_on_tokens_passes_it_once(
    server: Server, tmp_path: Path, honest: int, limit: float
) -> None:
    """Its first answers are as they should be; then eight in flight would cost thirty times what may be."""
    bill, counting, real = list[float](), threading.Lock(), server.completion

    def completion(body: dict[str, Any]) -> dict[str, Any]:
        until_open(server, 2)
        with counting:
            server.usage = (500, 300) if len(bill) < honest else (500, 30_000)
            bill.append((server.usage[0] * 1.0 + server.usage[1] * 2.0) / 1e6)
            return real(body)

    server.completion, server.delay = completion, 0.1  # type: ignore[method-assign]
    generator = settings(server, tmp_path, prices=PRICES, max_cost=limit, max_tokens=1000, max_in_flight=8)
    with pytest.raises(UserError, match="max_cost"):
        run(generator, items_of("attribute", classes=[f"animal {i}" for i in range(60)]))
    assert sum(bill) <= limit + max(bill)
    assert sum(cost > 0.01 for cost in bill) <= 8
    assert spent(generator) == pytest.approx(sum(bill)), "an answer that was paid for is lost"
    assert 1 < server.most_open <= (2 if limit < 0.1 else 3 if limit < 0.2 else 6), (
        "how many may be in flight"
    )


def test_tries_without_an_answer_count(server: Server, tmp_path: Path) -> None:
    """Nobody knows what a server charges for what it did not deliver, in this run or in the next."""
    server.behaviours = ["half"] * 500
    generator = settings(server, tmp_path, prices=PRICES, max_cost=0.02, retries=3, max_in_flight=4)
    with pytest.raises(UserError, match=r"max_cost"):
        run(generator)
    assert len(server.asked) * 0.002 <= 0.02 + 0.003, "more was risked than allowed"
    assert 0.015 < spent(generator) <= 0.02
    server.behaviours = []
    with pytest.raises(UserError, match=r"max_cost"):
        run(generator)
    assert spent(generator) <= 0.02


def test_refused_requests_cost_nothing(server: Server, tmp_path: Path) -> None:
    server.behaviours = ["429"] * 3
    generator = settings(server, tmp_path, prices=PRICES)
    run(generator)
    assert spent(generator) == pytest.approx(bill(server))


def test_the_answers_of_a_model_that_reasons_correct_the_estimate(server: Server, tmp_path: Path) -> None:
    """It writes fifty times what is seen of it; the dry run said so only afterwards."""
    server.usage = (400, 5000)
    generator = settings(server, tmp_path, prices=PRICES, max_tokens=8000)
    before = ahead(generator)
    assert before.at_most is not None
    assert before.at_most > len(CLASSES) * 5000 * 2.0 / 1e6, "the most it can cost is missing"
    run(generator, items_of(classes=CLASSES[:5]))
    rest = ahead(generator)
    assert rest.requests == 7
    assert rest.completion_tokens == pytest.approx(7 * 5000, rel=0.1)


def ahead(generator: GeneratorConfig) -> Any:
    return Generator(generator, "animals").ahead(items_of(), set())[0]


def test_progress_says_what_was_spent(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person who watches an expensive run can still stop it."""
    server.usage = (400, 100)
    run(settings(server, tmp_path, prices=PRICES))
    last = capsys.readouterr().err.splitlines()[-1]
    assert "12/12" in last
    assert "0.0072 USD" in last
    server.usage = None
    run(settings(server, tmp_path / "other", prices=PRICES))
    assert "cost of 12 unknown" in capsys.readouterr().err.splitlines()[-1]


# ---- killed, and two at a time -----------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, repo: Path, server: Server) -> Path:
    """A folder with a configuration of `shapes` and texts from the server; the images were listed."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mini").symlink_to(repo / "data/mini")
    (tmp_path / "data/texts").mkdir()
    document = {
        "datasets": {"shapes": {"texts": {"attribute": "llm", "synonym": "llm"}}},
        "models": ["mini"],
        "generator": {"model": "tiny", "base_url": server.url, "key_variable": "MY_KEY", "max_in_flight": 3},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(document))
    for results in ("results", "other"):
        listed = {"classes": CLASSES[:10]}
        (tmp_path / results / "manifests").mkdir(parents=True)
        (tmp_path / results / "manifests/shapes.json").write_text(json.dumps(listed))
    return tmp_path


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "MY_KEY": KEY, "CODER_CLIP_CONFIG": "c.yaml"}


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "coder_clip.cli", *arguments],
        cwd=folder, env=environment(folder), capture_output=True, text=True,
    )  # fmt: skip


def start(folder: Path, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "coder_clip.cli", "generate-texts"],
        cwd=folder, env={**environment(folder), **more}, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def lines(folder: Path) -> int:
    path = folder / "data/texts/answers/shapes.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


@pytest.mark.rest
def test_kill_9_loses_at_most_what_was_under_way(project: Path, server: Server) -> None:
    server.key, server.delay = KEY, 0.15
    for kept in (3, 6):
        child = start(project)
        while lines(project) < kept:
            assert child.poll() is None, child.stderr and child.stderr.read()
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.wait()
        time.sleep(0.3)  # what was under way is counted
        assert sum(server.paid.values()) - lines(project) <= 2 * 3
    with (project / "data/texts/answers/shapes.jsonl").open("ab") as stream:
        stream.write(b'{"key": "half a li')  # a write that was cut short
    server.delay = 0
    done = command(project, "generate-texts")
    assert done.returncode == 0, done.stderr
    twice = [n for n in server.paid.values() if n > 1]
    assert len(server.paid) == 10
    assert sum(n - 1 for n in twice) <= 2 * 3, "more was paid for twice than was under way at the two kills"

    text_set = project / "results/texts/generated/shapes.json"
    first = text_set.read_bytes()
    text_set.unlink()
    asked = len(server.asked)
    assert command(project, "generate-texts").returncode == 0
    assert text_set.read_bytes() == first
    assert len(server.asked) == asked


@pytest.mark.parametrize("same_results", [False, True])
def test_two_processes_get_each_others_answers(project: Path, server: Server, same_results: bool) -> None:
    """Two data sets that share classes, or two people who start the same run."""
    server.key, server.delay = KEY, 0.03
    document = yaml.safe_load((project / "c.yaml").read_text())
    (project / "other.yaml").write_text(
        yaml.safe_dump(document | {"results": "results" if same_results else "other"})
    )
    shared = CLASSES[:10] if same_results else CLASSES[5:]
    (project / "other/manifests/shapes.json").write_text(json.dumps({"classes": shared}))
    both = [start(project), start(project, CODER_CLIP_CONFIG="other.yaml")]
    said = [child.communicate()[1] for child in both]
    assert [child.returncode for child in both] == [0, 0], said
    assert set(server.paid.values()) == {1}, "a question was paid for twice"
    assert len(server.paid) == len({*CLASSES[:10], *shared})
    made = [project / name / "texts/generated/shapes.json" for name in ("results", "other")]
    first, second = (json.loads(made[0 if same_results else i].read_text())["classes"] for i in (0, 1))
    assert [c["attribute"] for c in first[5:]] == [
        c["attribute"] for c in second if c["name"] in CLASSES[5:10]
    ]
    assert lines(project) == len(server.paid)


def test_who_has_all_answers_waits_for_nobody(project: Path, server: Server) -> None:
    """A colleague's run of hours must not hold up a run that asks nothing."""
    server.key = KEY
    assert command(project, "generate-texts").returncode == 0
    (project / "results/texts/generated/shapes.json").unlink()
    (project / "other.yaml").write_text(
        (project / "c.yaml").read_text().replace("model: tiny", "model: large") + "results: other\n"
    )
    server.behaviours = ["stuck"] * 20
    slow = start(project, CODER_CLIP_CONFIG="other.yaml")
    while not server.open:
        assert slow.poll() is None
        time.sleep(0.01)
    done = command(project, "generate-texts")
    assert done.returncode == 0, done.stderr
    assert server.open, "the other run has ended"
    slow.kill()
    slow.communicate()
    server.released.set()


def test_the_key_is_in_no_file_log_or_argument(project: Path, server: Server) -> None:
    server.key, server.delay = KEY, 0.1
    child = start(project)
    while not lines(project):
        assert child.poll() is None
        time.sleep(0.01)
    arguments = Path(f"/proc/{child.pid}/cmdline").read_bytes()
    said = child.communicate()[1]
    assert child.returncode == 0, said
    assert KEY.encode() not in arguments
    assert KEY not in said
    for path in project.rglob("*"):
        if path.is_file() and not path.is_relative_to(project / "data/mini"):
            assert KEY.encode() not in path.read_bytes(), path


def test_the_dry_run_needs_no_key_and_asks_nothing(
    project: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "MY_KEY", "")
    done = subprocess.run(
        [sys.executable, "-m", "coder_clip.cli", "generate-texts", "--dry-run"],
        cwd=project, env={**environment(project), "MY_KEY": ""}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[1][:4] == ["shapes", "classes", "0", "10"]
    assert rows[2][:3] == ["all", "0", "10"]
    assert server.asked == []


def test_check_misses_a_key_before_anything_runs(project: Path, server: Server) -> None:
    document = yaml.safe_load((project / "c.yaml").read_text())
    document["generator"]["key_variable"] = "ANOTHER_KEY"
    (project / "c.yaml").write_text(yaml.safe_dump(document))
    done = command(project, "check")
    assert done.returncode == 1
    assert "set the environment variable ANOTHER_KEY" in done.stderr
    assert server.asked == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_keeps_what_is_in_flight(project: Path, server: Server, number: int) -> None:
    """Ctrl-C paid for the answers in flight twice."""
    server.key, server.delay = KEY, 0.5
    child = start(project)
    while server.open < 3:
        assert child.poll() is None, child.stderr and child.stderr.read()
        time.sleep(0.01)
    child.send_signal(number)
    said = child.communicate()[1]
    assert child.returncode == 128 + number, said
    assert "waiting for 3 answers in flight" in said
    assert lines(project) == sum(server.paid.values()) == 4
    server.delay = 0
    assert command(project, "generate-texts").returncode == 0
    assert len(server.paid) == 10
    assert set(server.paid.values()) == {1}


def test_a_run_that_is_stopped_does_not_try_again(project: Path, server: Server) -> None:
    """What was in flight and fails would be tried six times more, minutes after Ctrl-C."""
    server.key = KEY
    server.behaviours = ["ok"] + ["hang"] * 50
    child = start(project)
    while server.open < 3:
        assert child.poll() is None, child.stderr and child.stderr.read()
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    said = child.communicate()[1]
    assert child.returncode == 130, said
    assert len(server.asked) == 4


def test_a_second_ctrl_c_waits_no_longer(project: Path, server: Server) -> None:
    server.key = KEY
    server.behaviours = ["ok"] + ["stuck"] * 9
    child = start(project)
    while server.open < 3:
        assert child.poll() is None, child.stderr and child.stderr.read()
        time.sleep(0.01)
    for _ in range(2):
        child.send_signal(signal.SIGINT)
        time.sleep(0.3)
    said = child.communicate()[1]
    assert child.returncode == 130, said
    assert server.open == 3, "it waited for the server"
    server.released.set()


def test_the_terminal_shows_progress_where_the_log_is_a_file(project: Path, server: Server) -> None:
    """Under Snakemake stderr is a log file, and nobody saw what a run had cost so far."""
    document = yaml.safe_load((project / "c.yaml").read_text())
    document["generator"]["prices"] = PRICES
    (project / "c.yaml").write_text(yaml.safe_dump(document))
    server.key = KEY
    child, terminal = pty.fork()
    if not child:
        os.chdir(project)
        run_it = f"exec {sys.executable} -m coder_clip.cli generate-texts 2> log"
        os.execve("/bin/sh", ["sh", "-c", run_it], environment(project))
    shown = b""
    try:
        while data := os.read(terminal, 1000):
            shown += data
    except OSError:
        pass  # closed by its end
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, (project / "log").read_text()
    for text in (shown.decode(), (project / "log").read_text()):
        assert re.search(r"10/10 .* USD", text), text


def test_the_dry_run_says_what_a_run_takes(project: Path, server: Server, repo: Path) -> None:
    """A budget is made from it: requests, tokens and money within a tenth, on texts and a tokenizer that are real."""
    from open_clip.tokenizer import SimpleTokenizer

    written = json.loads((repo / "data/texts/oxford_pets.json").read_text(encoding="utf-8"))["classes"]
    real = [t for kind in ("attribute", "analogous", "synonym") for c in written for t in c.get(kind, [])]
    pool = itertools.cycle(dict.fromkeys(t for t in real if len(t.split()) > 1))
    server.texts = lambda about, count: list(itertools.islice(pool, count))
    encode = SimpleTokenizer().encode
    server.count, server.key = lambda text: len(encode(text)), KEY
    document = yaml.safe_load((project / "c.yaml").read_text())
    document["generator"] |= {"prices": PRICES}
    (project / "c.yaml").write_text(yaml.safe_dump(document))
    names = {"classes": [c["name"] for c in written]}
    (project / "results/manifests/shapes.json").write_text(json.dumps(names))
    (project / "results/one_to_one/pairs").mkdir(parents=True)
    pairs = [{"a": a, "b": b} for a, b in itertools.islice(itertools.combinations(range(37), 2), 150)]
    (project / "results/one_to_one/pairs/shapes.json").write_text(json.dumps({"pairs": pairs}))
    document["datasets"]["shapes"]["texts"]["one_to_one"] = "llm"
    (project / "c.yaml").write_text(yaml.safe_dump(document))
    rows = [
        re.split(r"  +", line) for line in command(project, "generate-texts", "--dry-run").stdout.splitlines()
    ]
    for row, phase in ((rows[1], "generate-texts"), (rows[2], "generate-pairs")):
        asked, billed = len(server.asked), len(server.billed)
        done = command(project, phase)
        assert done.returncode == 0, done.stderr
        sent = sum(b[0] for b in server.billed[billed:])
        said = sum(b[1] for b in server.billed[billed:])
        requests, prompt, completion = (int(n.replace(",", "")) for n in row[3:6])
        print(row, len(server.asked) - asked, sent, said)
        assert len(server.asked) - asked == requests
        assert prompt == pytest.approx(sent, rel=0.1)
        assert completion == pytest.approx(said, rel=0.1)
        assert float(row[6]) == pytest.approx((sent * 1.0 + said * 2.0) / 1e6, rel=0.1)


def test_texts_are_reviewed_on_the_command_line(project: Path, server: Server) -> None:
    """Editing lines of answers by hand was the only way to get rid of a text."""
    server.key = KEY
    server.answer = lambda body: json.dumps(
        {
            "attribute": ["a tail", "ears", "a nose", "paws", "none", "what?"]
            + [f"mark {i}" for i in range(4)],
            "synonym": [],
        }
    )
    assert command(project, "generate-texts").returncode == 0
    said = command(project, "texts", "review", "shapes", "--class", "red fox").stdout.splitlines()
    assert len(said) == 10
    assert re.fullmatch(r"red fox  attribute  a tail  [0-9a-f]{12} \(tiny-2026, \d{4}-\d\d-\d\d\)", said[0])
    assert re.fullmatch(r"red fox  attribute  what\?  not accepted: a question  [0-9a-f]{12} .*", said[-1])
    done = command(project, "texts", "review", "shapes", "--class", "red fox", "--reject", "a tail")
    assert done.returncode == 0, done.stderr
    assert (
        "no text of 'red fox'"
        in command(project, "texts", "review", "shapes", "--class", "red fox", "--reject", "a taill").stderr
    )
    asked = len(server.asked)
    assert command(project, "generate-texts").returncode == 0
    assert len(server.asked) == asked
    made = json.loads((project / "results/texts/generated/shapes.json").read_text())
    assert [("a tail" in c["attribute"]) for c in made["classes"]] == [False] + [True] * 9
    done = command(project, "texts", "review", "shapes", "--freeze", "data/texts/mine.json")
    assert (
        "datasets: {shapes: {texts: {attribute: data/texts/mine.json, synonym: data/texts/mine.json}}}"
        in done.stdout
    )
    document = yaml.safe_load((project / "c.yaml").read_text())
    document["datasets"]["shapes"]["texts"] = "data/texts/mine.json"
    (project / "c.yaml").write_text(yaml.safe_dump(document))
    assert command(project, "texts").returncode == 0
    frozen = json.loads((project / "results/texts/shapes.json").read_text())
    assert [c.get("attribute") for c in frozen["classes"]] == [c["attribute"] for c in made["classes"]]


def test_the_report_shows_what_was_not_accepted_and_strict_fails(project: Path, server: Server) -> None:
    server.key = KEY

    def answer(body: dict[str, Any]) -> str:
        marks = [f"mark {i} of the {named(body).split()[0]}" for i in range(9)]
        return json.dumps({"attribute": [*marks, "I'm sorry, I cannot name more"], "synonym": []})

    server.answer = answer
    assert command(project, "generate-texts").returncode == 0
    assert len(server.asked) == 10, "nine good texts were asked for again"
    assert command(project, "texts").returncode == 0
    done = command(project, "texts", "report", "--strict")
    assert done.returncode == 1
    said = "shapes, attribute: 'I'm sorry, I cannot name more' of red fox was not accepted: a refusal"
    assert said in done.stdout
