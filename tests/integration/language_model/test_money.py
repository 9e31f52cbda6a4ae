"""What was paid for is kept for good, and no run costs more than allowed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from coder_clip.datasets.base import Templates
from coder_clip.errors import UserError
from coder_clip.texts.llm.generate import Generator, provenance
from coder_clip.texts.llm.requests import class_items
from coder_clip.texts.llm.review import Review
from coder_clip.texts.llm.store import Answers
from llm_server import Server, named, words
from questions import (
    CLASSES,
    COUNTS,
    KEY,
    PRICES,
    TAILS,
    attributes,
    items_of,
    run,
    settings,
    spent,
    texts,
    until_open,
)

# ---- kept for good ---


def test_a_second_run_asks_nothing_and_gives_the_same(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = settings(server, tmp_path)
    first = run(generator)
    asked = len(server.asked)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    elsewhere = generator.model_copy(
        update={"base_url": None, "max_in_flight": 1}
    )  # OpenAI, and no key
    assert texts(run(elsewhere)) == texts(first)
    assert len(server.asked) == asked


def test_another_model_prompt_or_parameter_is_another_question(
    server: Server, tmp_path: Path
) -> None:
    """Texts of another model under this one's name: no number behind them would be true."""
    items = lambda: items_of("synonym", classes=["fox"])  # noqa: E731
    generator = settings(server, tmp_path)
    changes: list[dict[str, Any]] = [{}, {"model": "other"}, {"temperature": 0.1}, {"seed": 7}, {"max_tokens": 9},
                                     {"extra": {"top_p": 0.5}}]  # fmt: skip
    for n, change in enumerate(changes, 1):
        run(generator.model_copy(update=change), items())
        assert len(server.asked) == n, change
    run(
        generator,
        class_items(["synonym"], ["fox"], Templates(name="a drawing of a {class}."), COUNTS),
    )
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
    assert note["cost"]["currency"] == "USD"
    assert kept[key].answer.currency == "USD"


def test_a_review_rejects_for_good(server: Server, tmp_path: Path) -> None:
    """A rejected text came back with the next run."""
    generator = settings(server, tmp_path)
    (first,) = run(generator, items_of("attribute", classes=["fox"]))
    kept, rejected = first.texts["texts"][:1], first.texts["texts"][1:]
    review = Review(rejected=[("attribute", "fox", text) for text in rejected])
    path = review.write(generator.answers, "animals")
    server.answer = lambda body: attributes(*TAILS[:2], *rejected)
    fox = items_of("attribute", classes=["fox"])
    (second,) = run(generator, fox, review=Review.of(generator.answers, "animals"))
    assert second.texts["texts"] == [*kept, *TAILS[:2]]
    assert second.refused[-1].why == "rejected in a review"
    assert len(server.asked) == 2, "three of four texts are gone, so others are asked for"
    path.write_text(json.dumps({**json.loads(path.read_text()), "again": []}))
    assert Review.of(generator.answers, "animals") == review
    path.write_text(json.dumps({"rejected": [], "again": [["attribute", "fox"]]}))
    with pytest.raises(UserError, match="'again' was removed: reject the texts instead"):
        Review.of(generator.answers, "animals")


# ---- money ---


def bill(server: Server) -> float:
    """What the server really charges at PRICES."""
    return sum(sent * 1.0 + said * 2.0 for sent, said in server.billed) / 1e6


def test_answers_cost_what_the_server_counted_and_refused_requests_nothing(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person who watches an expensive run can still stop it."""
    server.behaviours = ["429"] * 3
    server.count = lambda text: 200
    generator = settings(server, tmp_path, prices=PRICES)
    run(generator)
    assert spent(generator) == pytest.approx(bill(server))
    shown = capsys.readouterr().err.splitlines()[-1]
    assert "12/12" in shown
    assert f"{bill(server):.4f} USD" in shown


def test_hidden_reasoning_counts(server: Server, tmp_path: Path) -> None:
    """xAI and Gemini's compatible endpoint count it in the total alone."""
    server.usage = (400, 100, 8500)
    generator = settings(server, tmp_path, prices=PRICES)
    run(generator, items_of(classes=CLASSES[:2]))
    assert spent(generator) == pytest.approx(2 * (400 * 1.0 + 8100 * 2.0) / 1e6)


@pytest.mark.parametrize("usage", ["counted", None, (-5, 3), ("many", 3), "seven"])
def test_a_run_stops_before_a_request_that_could_pass_the_limit(
    server: Server, tmp_path: Path, usage: Any
) -> None:
    """An answer that the server does not count costs the most that it can."""
    server.usage = usage
    server.answer = lambda body: attributes(
        f"a {'very ' * 40}long tail", *words(f"attribute of {named(body)}", 3)
    )
    generator = settings(server, tmp_path, prices=PRICES, max_cost=0.011, max_in_flight=1)
    items = lambda: items_of("attribute", classes=[f"animal {i}" for i in range(16)])  # noqa: E731
    with pytest.raises(UserError, match=r"next request could exceed generator\.max_cost") as caught:
        run(generator, items())
    assert "every answer is kept" in str(caught.value)
    assert bill(server) <= spent(generator) + 1e-12 <= 0.011
    kept = Answers(generator.answers, "animals").kept.values()
    assert all((s.answer.at_most is None) is (usage == "counted") for s in kept)
    run(generator.model_copy(update={"max_cost": 1.0}), items())
    assert set(server.paid.values()) == {1}


def test_only_answers_in_flight_pass_the_limit(server: Server, tmp_path: Path) -> None:
    """A server that ignores max_tokens: each answer takes seven times what may be."""
    server.usage = (500, 7000)
    server.answer = lambda body: until_open(server, 4) or server.texts_for(body)
    generator = settings(server, tmp_path, prices=PRICES, max_cost=0.025, max_in_flight=4)
    with pytest.raises(UserError, match="max_cost"):
        run(generator)
    assert len(server.billed) == 1 + 4
    assert spent(generator) == pytest.approx(5 * (500 * 1.0 + 7000 * 2.0) / 1e6)


def test_a_run_that_would_cost_too_much_does_not_begin(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"would exceed generator.max_cost") as caught:
        run(settings(server, tmp_path, prices=PRICES, max_cost=0.001))
    assert "12 requests" in str(caught.value)
    assert server.asked == []


def test_the_key_is_in_no_field_of_an_answer(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server that repeats it, in whatever field, would put it into Git."""
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setenv("TEAM_TOKEN", "team-0123456789")
    said: list[dict[str, Any]] = [
        {"content": attributes(f"a {KEY} tail", "a team-0123456789 coat", *TAILS)},
        {"content": None, "refusal": f"I will not, {KEY}"},
        {"content": f"no object but {KEY}"},
        {"content": attributes(*TAILS), "finish_reason": f"stop {KEY}"},
    ]
    server.served, server.fingerprint = f"tiny {KEY}", KEY
    generator = settings(
        server, tmp_path, key_variable="MY_KEY", headers={"X-Team": "$TEAM_TOKEN"}, on_failure="skip",
        max_reasks=0, max_in_flight=1,
    )  # fmt: skip
    answers = iter(said)
    server.answer = lambda body: next(answers)
    items = run(generator, items_of("attribute", classes=CLASSES[: len(said)]))
    assert len(server.asked) == len(said)
    server.behaviours = ["key", "key-200"] * 9
    with pytest.raises(UserError) as caught:
        run(generator, items_of("synonym", classes=CLASSES[:1]))
    note = json.dumps([item.texts for item in items] + [r for item in items for r in item.refused])
    shown = caplog.text + str(caught.value) + note
    kept = b"".join(path.read_bytes() for path in generator.answers.iterdir()).decode()
    assert "0123456789" not in shown + kept
    assert "[key]" in kept


def test_the_dry_run_says_the_most_that_answers_can_cost(server: Server, tmp_path: Path) -> None:
    """A model that reasons writes fifty times what is seen of it, and the guess does not know that."""
    generator = settings(server, tmp_path, prices=PRICES, max_tokens=8000)
    ahead = Generator(generator, "animals").ahead(items_of(), set())[0]
    assert ahead.at_most > len(CLASSES) * 5000 * 2.0 / 1e6
