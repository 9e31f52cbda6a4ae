"""What was paid for is kept for good, and no run costs more than allowed."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coder_clip.datasets.base import Templates
from coder_clip.errors import UserError
from llm_server import Server

pytest.importorskip("coder_clip.texts.llm.source", reason="src/coder_clip/texts/llm is not here")
from coder_clip.texts.llm.generate import Generator, provenance
from coder_clip.texts.llm.requests import class_items
from coder_clip.texts.llm.review import Review
from coder_clip.texts.llm.store import Answers
from questions import (
    CLASSES,
    COUNTS,
    KEY,
    PRICES,
    TAILS,
    attributes,
    items_of,
    of_class,
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


def test_answers_cost_what_the_server_counted(server: Server, tmp_path: Path) -> None:
    generator = settings(server, tmp_path, prices=PRICES, max_cost=1.0)
    run(generator)
    assert spent(generator) == pytest.approx(bill(server))


def test_a_run_that_would_cost_too_much_does_not_begin(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"would exceed generator.max_cost") as caught:
        run(settings(server, tmp_path, prices=PRICES, max_cost=0.001))
    assert "12 requests" in str(caught.value)
    assert server.asked == []


LONG = of_class(attribute=[f"a {'very ' * 20}long tail {i}" for i in range(4)], synonym=[])


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
    generator = settings(
        server, tmp_path, prices=PRICES, max_cost=0.011, max_tokens=1000, max_in_flight=8
    )
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
    assert 0 < bill(server) <= 0.011
    assert spent(generator) <= 0.011
    answers = Answers(generator.answers, "animals").kept.values()
    assert all((s.answer.cost is None) is unknown for s in answers)
    assert all((s.answer.at_most is not None) is unknown for s in answers)


@pytest.mark.parametrize(
    ("usage", "tokens", "at_most"),
    [
        # a prompt count that cannot be true says nothing against the count of the answer
        ((1, 7000), (None, 7000), 7000 * 2e-6),
        ({"prompt_tokens": None, "completion_tokens": 7000}, (None, 7000), 7000 * 2e-6),
        ((90_000, 0), (90_000, None), 90_000 * 1e-6 + 1000 * 2e-6),
        ({"prompt_tokens": "many", "total_tokens": 9000}, None, 2 * 7000e-6),
        ((1, 1), (None, None), 1000 * 2e-6),
    ],
)
def test_each_count_of_tokens_is_judged_alone(
    server: Server, tmp_path: Path, usage: Any, tokens: Any, at_most: float
) -> None:
    """0.05 was allowed, 0.127 charged, and 0.003 counted: both counts were dropped for one."""
    server.usage = usage
    generator = settings(server, tmp_path, prices=PRICES, max_tokens=1000)
    run(generator, items_of("attribute", classes=CLASSES[:1]))
    (stored,) = Answers(generator.answers, "animals").kept.values()
    answer = stored.answer
    if tokens is not None:
        assert (answer.prompt_tokens, answer.completion_tokens) == tokens
    assert answer.cost is None
    assert answer.at_most is not None
    # with the most that its prompt can have, half of its bytes
    assert at_most <= answer.at_most <= at_most + 5000 * 1e-6
    assert spent(generator) == pytest.approx(answer.at_most)


def test_a_wrong_count_of_the_prompt_does_not_lift_the_limit_on_the_answer(
    server: Server, tmp_path: Path
) -> None:
    server.usage, server.delay = (1, 7000), 0.05
    generator = settings(
        server, tmp_path, prices=PRICES, max_cost=0.05, max_tokens=1000, max_in_flight=8
    )
    with pytest.raises(UserError, match="counts 7000 tokens in an answer where max_tokens allows"):
        run(generator)
    assert len(server.billed) == 1
    assert spent(generator) >= 7000 * 2e-6


def test_a_server_that_ignores_the_limit_on_tokens_passes_it_once(
    server: Server, tmp_path: Path
) -> None:
    """Each answer takes seven times what may be: eight in flight would be 56 times."""
    server.usage, server.delay = (500, 7000), 0.05
    generator = settings(
        server, tmp_path, prices=PRICES, max_cost=0.05, max_tokens=1000, max_in_flight=8
    )
    with pytest.raises(UserError, match=r"max_cost"):
        run(generator)
    assert len(server.billed) == 1, "it was asked on after its first answer"


def test_hidden_reasoning_counts(server: Server, tmp_path: Path) -> None:
    """xAI and Gemini's compatible endpoint count it in the total alone: 0.0024 was counted where
    0.0664 was charged.
    """
    server.usage = (400, 100, 8500)
    generator = settings(server, tmp_path, prices=PRICES, max_tokens=10_000)
    run(generator, items_of(classes=CLASSES[:2]))
    assert spent(generator) == pytest.approx(2 * (400 * 1.0 + 8100 * 2.0) / 1e6)
    limited = generator.model_copy(update={"model": "other", "max_tokens": 1000, "max_cost": 0.05})
    with pytest.raises(
        UserError, match="counts 8100 tokens in an answer where max_tokens allows 1000"
    ):
        run(limited)
    assert len(server.billed) == 3, "it was asked on after its first answer"


@pytest.mark.parametrize("honest", [1, 6])
def test_a_server_that_begins_to_ignore_the_limit_on_tokens_passes_it_with_what_is_in_flight(
    server: Server, tmp_path: Path, honest: int
) -> None:
    bill, counting, real = list[float](), threading.Lock(), server.completion

    def completion(body: dict[str, Any]) -> dict[str, Any]:
        until_open(server, 2)
        with counting:
            server.usage = (500, 300) if len(bill) < honest else (500, 30_000)
            bill.append((server.usage[0] * 1.0 + server.usage[1] * 2.0) / 1e6)
            return real(body)

    server.completion, server.delay = completion, 0.1  # type: ignore[method-assign]
    generator = settings(
        server, tmp_path, prices=PRICES, max_cost=0.4, max_tokens=1000, max_in_flight=4
    )
    with pytest.raises(UserError, match="max_cost"):
        run(generator, items_of("attribute", classes=[f"animal {i}" for i in range(60)]))
    assert sum(cost > 0.01 for cost in bill) <= 4
    assert spent(generator) == pytest.approx(sum(bill)), "an answer that was paid for is lost"


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


@contextlib.contextmanager
def nobody(how: str) -> Iterator[str]:
    """An address that no request gets to."""
    if how == "lookup":
        yield "http://nobody.invalid:1/v1"
        return
    with socket.socket() as listening, contextlib.ExitStack() as waiting:
        listening.bind(("127.0.0.1", 0))
        address = listening.getsockname()
        if (
            how == "timeout"
        ):  # its queue is full, so that a connection is neither accepted nor refused
            listening.listen(0)
            for _ in range(3):
                other = waiting.enter_context(socket.socket())
                other.setblocking(False)
                other.connect_ex(address)
        yield f"http://127.0.0.1:{address[1]}/v1"


@pytest.mark.parametrize("how", ["refused", "lookup", "timeout"])
def test_what_was_never_sent_costs_nothing(server: Server, tmp_path: Path, how: str) -> None:
    """A server that was not there used up the limit of 20 USD, for good."""
    generator = settings(server, tmp_path, prices=PRICES, max_cost=0.02, timeout=0.5, retries=1)
    with nobody(how) as address, pytest.raises(UserError, match="does not answer"):
        run(generator.model_copy(update={"base_url": address}))
    assert spent(generator) == 0
    assert not (generator.answers / "animals.jsonl").exists()
    patient = generator.model_copy(update={"timeout": 20.0})
    assert all(item.texts for item in run(patient, items_of("attribute", classes=CLASSES[:2])))


def test_a_proxy_that_is_not_there_costs_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    generator = settings(server, tmp_path, prices=PRICES, max_cost=0.02, retries=1)
    with nobody("refused") as address:
        monkeypatch.setenv("HTTPS_PROXY", address.removesuffix("/v1"))
        with pytest.raises(UserError, match="does not answer"):
            run(generator.model_copy(update={"base_url": "https://api.example.org/v1"}))
    assert spent(generator) == 0


def test_the_key_is_in_no_field_of_an_answer(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A server that repeats it, in whatever field and with whatever escapes, would put it into
    Git.
    """
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setenv("TEAM_TOKEN", "team-0123456789")
    escaped = "".join(f"\\u{ord(c):04x}" for c in KEY)
    half, rest = attributes(f"a {KEY} tail", *TAILS).split("0123")
    said: list[Any] = [
        attributes(f"a {KEY} tail", "a team-0123456789 coat", *TAILS),
        attributes("a SECRET tail", *TAILS).replace("SECRET", escaped),
        {"content": None, "refusal": f"I will not, {KEY}"},
        {"content": f"no object but {KEY}"},
        {"content": [{"text": f"{half}01"}, {"text": f"23{rest}"}]},
        {"content": attributes(*TAILS), "finish_reason": f"stop {KEY}"},
    ]
    server.served, server.fingerprint = f"tiny {KEY}", KEY
    generator = settings(
        server, tmp_path, key_variable="MY_KEY", headers={"X-Team": "$TEAM_TOKEN"}, on_failure="skip",
        max_reasks=0, max_in_flight=1,
    )  # fmt: skip
    answers = iter(said)
    server.count = lambda text: 300
    server.answer = lambda body: {"role": "assistant", **_as_message(next(answers))}
    items = run(generator, items_of("attribute", classes=CLASSES[: len(said)]))
    assert len(server.asked) == len(said)
    server.behaviours = ["key", "key-200"] * 9
    with pytest.raises(UserError) as caught:
        run(generator, items_of("synonym", classes=CLASSES[:1]))
    note = json.dumps([item.texts for item in items] + [r for item in items for r in item.refused])
    shown = caplog.text + str(caught.value) + note
    kept = b"".join(path.read_bytes() for path in generator.answers.iterdir()).decode()
    for secret in (KEY, escaped, "0123456789"):
        assert secret not in shown + kept
    assert "[key]" in kept


def _as_message(answer: Any) -> dict[str, Any]:
    return answer if isinstance(answer, dict) else {"content": answer}


def test_refused_requests_cost_nothing(server: Server, tmp_path: Path) -> None:
    server.behaviours = ["429"] * 3
    generator = settings(server, tmp_path, prices=PRICES)
    run(generator)
    assert spent(generator) == pytest.approx(bill(server))


def test_the_dry_run_says_the_most_that_answers_can_cost(server: Server, tmp_path: Path) -> None:
    """A model that reasons writes fifty times what is seen of it, and the guess does not know that."""
    generator = settings(server, tmp_path, prices=PRICES, max_tokens=8000)
    ahead = Generator(generator, "animals").ahead(items_of(), set())[0]
    assert ahead.at_most > len(CLASSES) * 5000 * 2.0 / 1e6


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
