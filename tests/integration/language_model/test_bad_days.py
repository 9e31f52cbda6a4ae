"""A server that has bad days: no question paid for twice, no answer lost, no run that goes on for
nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coder_clip.errors import UserError
from llm_server import Server, named
from questions import CLASSES, KEY, PRICES, items_of, run, settings, spent, stored, until_open

pytestmark = pytest.mark.rest

# ---- bad days ---

FAULTS = ["429", "500", "408", "409", "html", "html-200", "type", "error-200", "null", "deep",
          "reset", "half-reset", "half-500", "half", "hang"]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_a_second_try_and_nothing_else(
    server: Server, tmp_path: Path, fault: str
) -> None:
    timeout = 3.0 if fault == "hang" else 60.0  # or a busy machine would be a second fault
    generator = settings(server, tmp_path, timeout=timeout)
    server.behaviours = [fault]
    items = run(generator, items_of(classes=CLASSES[:3]))
    assert all(item.texts["texts"] for item in items)
    assert len(server.asked) == 4
    assert set(server.paid.values()) == {1}
    assert stored(generator) == 3


def test_a_late_answer_is_asked_for_once_more_and_no_oftener(
    server: Server, tmp_path: Path
) -> None:
    """It may have been charged, and every further question is charged, too."""
    server.behaviours = ["hang"] * 9
    with pytest.raises(UserError, match=r"no answer within 0\.5 s"):
        run(settings(server, tmp_path, timeout=0.5, retries=4), items_of(classes=CLASSES[:1]))
    assert len(server.asked) == 2


def test_a_slow_disk_makes_no_answer_late(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy disk would stop the clocks of all requests, and what was answered would be paid for
    twice.
    """
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
        ("redirect", "redirects to"),
        ("forbidden", "403: Country not supported"),
        ("model", "has no model 'tiny'"),
        ("parameter", "Unsupported parameter: 'temperature'"),
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


# ---- keys, headers ---


def test_an_invalid_key_stops_at_once_and_is_not_shown(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A thousand refused requests get an account blocked; a key in a log is a key that has to be
    changed.
    """
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


# ---- what ends a run, and what does not
# --------------------------------------------------------------


def test_a_used_up_quota_stops_and_keeps_everything(server: Server, tmp_path: Path) -> None:
    generator = settings(server, tmp_path, max_in_flight=2)
    server.behaviours = ["ok"] * 7 + ["quota"] * 20
    with pytest.raises(UserError, match="quota is used up; every answer so far is kept"):
        run(generator)
    assert stored(generator) == sum(server.paid.values()) >= 7
    server.behaviours = []
    run(generator)
    assert set(server.paid.values()) == {1}


@contextlib.contextmanager
def nobody(how: str) -> Iterator[str]:
    """An address that no request gets to."""
    with socket.socket() as listening, contextlib.ExitStack() as waiting:
        listening.bind(("127.0.0.1", 0))
        address = listening.getsockname()
        if how == "timeout":
            # its queue is full, so that a connection is neither accepted nor refused
            listening.listen(0)
            for _ in range(3):
                other = waiting.enter_context(socket.socket())
                other.setblocking(False)
                other.connect_ex(address)
        yield f"http://{'nobody.invalid' if how == 'lookup' else '127.0.0.1'}:{address[1]}/v1"


@pytest.mark.parametrize("how", ["refused", "lookup", "timeout"])
def test_a_server_that_is_not_there_ends_the_run_and_costs_nothing(
    server: Server, tmp_path: Path, how: str
) -> None:
    generator = settings(server, tmp_path, prices=PRICES, max_cost=0.02, timeout=0.5, retries=1)
    with nobody(how) as address, pytest.raises(UserError, match="does not answer") as caught:
        run(generator.model_copy(update={"base_url": address}))
    assert "\n" not in str(caught.value)
    assert spent(generator) == 0
    patient = generator.model_copy(update={"timeout": 20.0})
    assert all(item.texts for item in run(patient, items_of("attribute", classes=CLASSES[:2])))


def test_a_server_that_only_closes_connections_is_given_up(server: Server, tmp_path: Path) -> None:
    server.behaviours = ["drop"] * 500
    with pytest.raises(UserError, match="does not answer"):
        run(settings(server, tmp_path, retries=1))
    assert len(server.asked) == 2


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
        assert [bool(i.texts) for i in run(generator, items_of("attribute"))] == [False] * 5 + [
            True
        ] * 7
    with pytest.raises(UserError, match=r"5 without texts: 'red fox' \(attribute\)"):
        run(generator.model_copy(update={"on_failure": "stop"}), items_of("attribute"))
    poisoned.clear()
    assert all(item.texts for item in run(generator, items_of("attribute")))
    assert stored(generator) == len(CLASSES)
