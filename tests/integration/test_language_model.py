"""Asking a server that has bad days: over real sockets, on a schedule, and every answer counted.

What must never happen: a question paid for twice, an answer lost, a key in a file, a run that goes on for nothing.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from coder_clip.config import GeneratorConfig
from coder_clip.datasets.base import Templates
from coder_clip.errors import UserError
from coder_clip.texts.llm import client, store
from coder_clip.texts.llm.asking import asking
from coder_clip.texts.llm.cost import Budget
from coder_clip.texts.llm.generate import Generator, Item, class_items, pair_items
from llm_server import Server, serving

CLASSES = [
    f"{colour} {animal}" for colour in ("red", "grey", "white") for animal in ("fox", "owl", "hare", "eel")
]
COUNTS = {"attribute": 4, "analogous": 3, "synonym": 2, "one_to_one": 2}
KEY = "sk-test-0123456789abcdef"
PRICES = {"date": "2026-11-01", "input": 1.0, "output": 2.0}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(client, "FIRST_WAIT", 0.02)
    with serving() as found:
        yield found


def settings(server: Server, tmp_path: Path, **more: Any) -> GeneratorConfig:
    given = {
        "model": "tiny",
        "base_url": server.url,
        "timeout": 1.0,
        "poll": 0.02,
        "answers": tmp_path / "answers",
    }
    return GeneratorConfig.model_validate({**given, **more})


def run(generator: GeneratorConfig, items: list[Item] | None = None, dataset: str = "animals") -> list[Item]:
    """What the phases do, without artefacts."""
    if items is None:
        items = class_items(["attribute", "synonym"], CLASSES, Templates(), COUNTS)
    with store.opened(generator.answers, dataset) as answers:
        budget = Budget(store.spent(generator.answers), generator.max_cost, "USD")
        Generator(generator, answers, budget, asking(generator, budget, answers.path)).run(items)
    return items


def texts(items: list[Item]) -> list[dict[str, list[str]]]:
    return [item.texts for item in items]


def stored(generator: GeneratorConfig, dataset: str = "animals") -> int:
    return len(store.read(generator.answers, dataset).found)


# ---- bad days ----------------------------------------------------------------------------------------

FAULTS = ["429", "500", "502", "503", "408", "409", "retry-after", "limits", "html", "html-200", "type",
          "error-200", "null", "drop", "half", "hang", "drip"]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_costs_a_second_try_and_nothing_else(server: Server, tmp_path: Path, fault: str) -> None:
    timeout = 3.0 if fault in ("hang", "drip") else 60.0  # or a busy machine would be a second fault
    generator = settings(server, tmp_path, timeout=timeout)
    server.behaviours = [fault]
    items = run(generator)
    assert all(item.texts["texts"] for item in items)
    assert len(server.asked) == len(items) + 1
    assert set(server.paid.values()) == {1}
    assert stored(generator) == len(items)


def test_a_slow_disk_makes_no_answer_late(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy disk would stop the clocks of all requests, and what was answered would be paid for twice."""
    slow = iter([1.5])

    def sync(_: int) -> None:
        time.sleep(next(slow, 0.0))

    monkeypatch.setattr(os, "fsync", sync)
    server.delay = 0.1  # the others are under way while the first answer is stored
    generator = settings(server, tmp_path)
    items = run(generator)
    assert all(item.texts["texts"] for item in items)
    assert len(server.asked) == len(items)
    assert set(server.paid.values()) == {1}


def test_a_whole_day_of_faults(server: Server, tmp_path: Path) -> None:
    """One after the other and at once: everything is answered, nothing is paid for twice, no flood of requests."""
    generator = settings(server, tmp_path, max_in_flight=5)
    server.behaviours = [f for fault in FAULTS if fault not in ("hang", "drip") for f in ("ok", fault)]
    server.delay = 0.01
    items = run(generator)
    assert all(item.texts["texts"] for item in items)
    assert set(server.paid.values()) == {1}
    assert len(server.paid) == len(items)
    assert server.most_open <= 5


@pytest.mark.parametrize("fault", ["retry-after", "limits"])
def test_a_wait_that_the_server_asks_for_holds_for_all_questions(
    server: Server, tmp_path: Path, fault: str
) -> None:
    """A server that is asked on while it says to wait locks people out."""
    server.behaviours = ["ok", fault]
    run(settings(server, tmp_path, max_in_flight=2))
    gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
    assert max(gaps) > 0.9
    after = server.times[gaps.index(max(gaps)) + 1 :]
    assert len(after) > len(CLASSES)


def test_a_busy_server_is_waited_for_however_often_it_says_so(server: Server, tmp_path: Path) -> None:
    """With three requests a minute each question hears "later" many times; that is no failure."""
    server.behaviours = ["soon"] * 30
    run(settings(server, tmp_path, retries=0), class_items(["synonym"], CLASSES[:4], Templates(), COUNTS))
    assert len(server.asked) == 34
    assert len(server.paid) == 4


def test_limits_in_a_good_answer_are_respected(server: Server, tmp_path: Path) -> None:
    server.headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "300ms"}
    run(
        settings(server, tmp_path, max_in_flight=1),
        class_items(["synonym"], CLASSES[:3], Templates(), COUNTS),
    )
    gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
    assert min(gaps) > 0.28


def test_no_more_requests_than_allowed_are_under_way(server: Server, tmp_path: Path) -> None:
    server.delay = 0.03
    run(settings(server, tmp_path, max_in_flight=3))
    assert server.most_open == 3


# ---- what ends a run ---------------------------------------------------------------------------------


def test_an_invalid_key_stops_at_once_and_is_not_shown(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A thousand refused requests get an account blocked; a key in a log is a key that has to be changed."""
    monkeypatch.setenv("MY_KEY", KEY)
    server.key = "another"
    caplog.set_level(logging.DEBUG)
    with pytest.raises(UserError) as caught:
        run(settings(server, tmp_path, key_variable="MY_KEY", max_in_flight=2))
    message = str(caught.value)
    assert "does not accept the key in MY_KEY (401)" in message
    assert "\n" not in message
    assert len(server.asked) == 0  # refused before it was looked at, not once paid
    assert KEY not in message + caplog.text
    assert KEY not in "".join(p.read_text() for p in tmp_path.rglob("*") if p.is_file())


def test_a_missing_key_is_missed_before_anything_is_sent(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(UserError, match="set the environment variable MY_KEY"):
        run(settings(server, tmp_path, key_variable="MY_KEY"))
    monkeypatch.setenv("MY_KEY", "two words")
    with pytest.raises(UserError, match="holds no key") as caught:
        run(settings(server, tmp_path, key_variable="MY_KEY"))
    assert "two words" not in str(caught.value)


def test_the_key_of_openai_is_not_sent_to_another_server(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.key = "none"  # what is sent where no key is wanted
    run(settings(server, tmp_path))
    assert len(server.paid) == 2 * len(CLASSES)


def test_a_used_up_quota_stops_and_keeps_everything(server: Server, tmp_path: Path) -> None:
    generator = settings(server, tmp_path, max_in_flight=2)
    server.behaviours = ["ok"] * 7 + ["quota"] * 2
    with pytest.raises(UserError, match="quota is used up; every answer so far is kept"):
        run(generator)
    assert stored(generator) == sum(server.paid.values()) >= 7
    asked = len(server.asked)
    assert asked <= 10, "it went on asking"
    server.behaviours = []
    run(generator)
    assert set(server.paid.values()) == {1}
    assert len(server.asked) - asked == 2 * len(CLASSES) - 7


@pytest.mark.parametrize(
    ("behaviour", "says"),
    [
        ("model", "has no model 'tiny'"),
        ("parameter", "Unsupported parameter: 'temperature'"),
        ("retry-after-long", "asks to wait 7200 s"),
        ("402", "quota"),
        ("403", "does not accept"),
    ],
)
def test_what_no_patience_mends_ends_the_run_with_one_line(
    server: Server, tmp_path: Path, behaviour: str, says: str
) -> None:
    server.behaviours = [behaviour] * 50
    with pytest.raises(UserError) as caught:
        run(settings(server, tmp_path, max_in_flight=2))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(server.asked) <= 4


def test_a_server_that_is_down_is_given_up(server: Server, tmp_path: Path) -> None:
    """And not asked a thousand times seven questions."""
    generator = settings(server, tmp_path, retries=1, max_in_flight=1)
    server.behaviours = ["503"] * 500
    with pytest.raises(UserError, match=r"does not answer \(.*503\)"):
        run(generator)
    assert len(server.asked) == 2 * client.GIVEN_UP_IN_A_ROW
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(UserError, match="does not answer"):
        run(settings(server, tmp_path, base_url=url, retries=0))


def test_one_question_that_always_fails_is_named_and_asked_anew_next_time(
    server: Server, tmp_path: Path
) -> None:
    generator = settings(server, tmp_path, retries=1, max_in_flight=1)
    server.behaviours = ["500"] * 2
    with pytest.raises(UserError, match=r"'red fox' \(attribute\).*answers 500"):
        run(generator)
    assert len(server.paid) == 2 * len(CLASSES) - 1
    assert all(item.texts["texts"] for item in run(generator))
    assert set(server.paid.values()) == {1}
    again = run(generator.model_copy(update={"on_failure": "skip"}))
    assert len(server.paid) == 2 * len(CLASSES)
    assert all(item.texts["texts"] for item in again)


# ---- what is asked again -----------------------------------------------------------------------------


def test_what_cannot_be_used_is_asked_for_again_a_few_times(server: Server, tmp_path: Path) -> None:
    said = iter(["I'm sorry, but I can't help with that.", "", '{"texts": [', "a tail_two ears"])
    server.answer = lambda body: next(said)
    generator = settings(server, tmp_path, structured="list")
    (item,) = run(generator, class_items(["attribute"], ["fox"], Templates(), COUNTS))
    assert item.texts == {"texts": ["a tail", "two ears"]}
    assert item.refused == 1
    seeds = [body["seed"] for body in server.asked]
    assert seeds == [0, 1, 2, 3], "the same seed may give the same refusal"


@pytest.mark.parametrize("refusal", ["text", "field", "filter", "finish"])
def test_a_class_that_is_refused_is_named(server: Server, tmp_path: Path, refusal: str) -> None:
    """Half a text set without a word would be a weaker class without a reason."""

    def answer(body: dict[str, Any]) -> Any:
        if "red eel" not in body["messages"][-1]["content"]:
            return "a tail_two ears"
        if refusal == "field":
            return {"role": "assistant", "content": None, "refusal": "I will not."}
        if refusal == "finish":
            return {"role": "assistant", "content": "", "finish_reason": "content_filter"}
        return "I'm sorry, but I can't help with that."

    server.answer = answer
    generator = settings(server, tmp_path, repeats=1, max_in_flight=1)
    items = class_items(["attribute"], CLASSES[3:5], Templates(), COUNTS)  # red eel is the first
    if refusal == "filter":
        server.behaviours = ["filter", "ok", "filter"]
    with pytest.raises(UserError) as caught:
        run(generator, items)
    assert "'red eel' (attribute): refused" in str(caught.value)
    assert "on_failure: skip" in str(caught.value)
    skipped = run(
        generator.model_copy(update={"on_failure": "skip"}),
        class_items(["attribute"], CLASSES[3:5], Templates(), COUNTS),
    )
    assert [bool(i.texts) for i in skipped] == [False, True]
    assert skipped[0].failed
    assert len(server.asked) == 3, "answers that were refused were asked for again"


def test_similar_classes_are_rejected_and_asked_for_again_at_most_five_times(
    server: Server, tmp_path: Path
) -> None:
    """And never again those that were rejected."""
    names = iter(f"thing {i}" for i in range(100))

    def answer(body: dict[str, Any]) -> str:
        wanted = re.search(r"Name (\d)", body["messages"][-1]["content"])
        assert wanted is not None
        return json.dumps({"texts": [next(names) for _ in range(int(wanted[1]))]})

    server.answer = answer
    generator = settings(server, tmp_path)
    items = class_items(["analogous"], ["fox"], Templates(), COUNTS)
    with store.opened(generator.answers, "animals") as answers:
        budget = Budget(0, None, "")
        asks = Generator(generator, answers, budget, asking(generator, budget, answers.path))
        asks.run(items, lambda found: [name != "thing 7" for name in found])
    assert items[0].texts == {"texts": ["thing 7"]}
    assert len(server.asked) == 6
    last = server.asked[-1]["messages"][-1]["content"]
    assert all(re.search(rf"\bthing {i}\b", last) for i in range(12)), "it may name again what was rejected"
    assert "Name 2 things" in last


def test_a_server_without_structured_output_is_asked_for_lists(server: Server, tmp_path: Path) -> None:
    server.structured = False
    generator = settings(server, tmp_path, max_in_flight=1)
    first = run(generator)
    refused = [body for body in server.asked if "response_format" in body]
    assert len(refused) == 1, "every question was sent twice"
    assert all(item.texts["texts"] for item in first)
    asked = len(server.asked)
    assert texts(run(generator)) == texts(first)
    assert len(server.asked) == asked
    with pytest.raises(UserError, match="structured: list"):
        run(settings(server, tmp_path / "other", structured="json_schema"))


def test_both_sides_of_a_pair_come_in_one_answer(server: Server, tmp_path: Path) -> None:
    for structured in (True, False):
        server.structured = structured
        generator = settings(server, tmp_path / str(structured))
        items = run(generator, pair_items([(0, 1), (2, 1)], CLASSES, Templates(), 2))
        assert [len(i.texts["first"]) for i in items] == [2, 2]
        assert items[0].texts["first"] != items[0].texts["second"]
        assert items[1].texts["first"] != items[0].texts["second"]


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
    items = lambda: class_items(["synonym"], ["fox"], Templates(), COUNTS)  # noqa: E731
    generator = settings(server, tmp_path)
    changes: list[dict[str, Any]] = [{}, {"model": "other"}, {"temperature": 0.1}, {"seed": 7}, {"max_tokens": 9},
                                     {"extra": {"top_p": 0.5}}, {"structured": "list"}]  # fmt: skip
    for n, change in enumerate(changes, 1):
        run(generator.model_copy(update=change), items())
        assert len(server.asked) == n, change
    run(generator, class_items(["synonym"], ["fox"], Templates(name="a drawing of a {class}."), COUNTS))
    assert len(server.asked) == len(changes) + 1


def test_answers_cost_what_the_server_counted(server: Server, tmp_path: Path) -> None:
    generator = settings(server, tmp_path, prices=PRICES, max_cost=1.0)
    run(generator)
    each = (100 * 1.0 + 50 * 2.0) / 1e6
    assert store.spent(generator.answers) == pytest.approx(2 * len(CLASSES) * each)


def test_progress_says_what_was_spent(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who watches a dear run can still stop it."""
    run(settings(server, tmp_path, prices=PRICES))
    last = capsys.readouterr().err.splitlines()[-1]
    assert "24/24" in last
    assert "0.0048 USD" in last


def test_a_run_that_would_cost_too_much_does_not_begin(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"would exceed generator.max_cost") as caught:
        run(settings(server, tmp_path, prices=PRICES, max_cost=0.001))
    assert "24 requests" in str(caught.value)
    assert server.asked == []


def test_a_run_that_turns_out_dearer_than_it_seemed_stops(server: Server, tmp_path: Path) -> None:
    """The estimate is one; the limit is a limit."""
    prices = {"date": "2026-11-01", "input": 1000.0, "output": 0.0}
    server.usage = (500, 0)  # about three times what was expected
    generator = settings(server, tmp_path, prices=prices, max_cost=5.0, max_in_flight=1)
    items = class_items(["synonym"], CLASSES, Templates(), COUNTS)
    with pytest.raises(UserError, match=r"next request could exceed generator\.max_cost") as caught:
        run(generator, items)
    assert "every answer is kept" in str(caught.value)
    assert 0 < stored(generator) < len(items)
    assert store.spent(generator.answers) <= 5.0


# ---- killed, and two at a time -----------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, repo: Path, server: Server) -> Path:
    """A folder with a configuration of `shapes` and texts from the server; the images were listed."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mini").symlink_to(repo / "data/mini")
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
        cwd=folder, env={**environment(folder), **more}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def lines(folder: Path) -> int:
    path = folder / "data/texts/answers/shapes.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


@pytest.mark.rest
def test_kill_9_loses_at_most_what_was_under_way(project: Path, server: Server) -> None:
    server.key, server.delay = KEY, 0.15
    for kept in (4, 11):
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
    assert len(server.paid) == 20
    assert sum(n - 1 for n in twice) <= 2 * 3, "more was paid for twice than was under way at the two kills"

    text_set = project / "results/texts/generated/shapes.json"
    first = text_set.read_bytes()
    text_set.unlink()
    asked = len(server.asked)
    assert command(project, "generate-texts").returncode == 0
    assert text_set.read_bytes() == first
    assert len(server.asked) == asked


@pytest.mark.rest
def test_two_runs_at_once_pay_once(project: Path, server: Server) -> None:
    server.key, server.delay = KEY, 0.05
    other = yaml.safe_load((project / "c.yaml").read_text()) | {"results": "other"}
    (project / "other.yaml").write_text(yaml.safe_dump(other))
    both = [start(project), start(project, CODER_CLIP_CONFIG="other.yaml")]
    said = [child.communicate()[1] for child in both]
    assert [child.returncode for child in both] == [0, 0], said
    assert set(server.paid.values()) == {1}
    assert len(server.paid) == 20
    assert any("another run asks" in text for text in said)


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
    assert rows[1][:4] == ["shapes", "attribute", "0", "10"]
    assert rows[3][0] == "all"
    assert rows[3][2] == "20"
    assert server.asked == []


def test_check_misses_a_key_before_anything_runs(project: Path, server: Server) -> None:
    document = yaml.safe_load((project / "c.yaml").read_text())
    document["generator"]["key_variable"] = "ANOTHER_KEY"
    (project / "c.yaml").write_text(yaml.safe_dump(document))
    done = command(project, "check")
    assert done.returncode == 1
    assert "set the environment variable ANOTHER_KEY" in done.stderr
    assert "model mini" not in done.stdout, "it loaded the model first, which takes its time"
    assert server.asked == []


# ---- the Batch API -----------------------------------------------------------------------------------


def test_a_batch_is_submitted_polled_and_collected(server: Server, tmp_path: Path) -> None:
    generator = settings(server, tmp_path, batch=True, prices=PRICES)
    items = run(generator)
    assert all(item.texts["texts"] for item in items)
    assert len(server.batches) == 1
    assert server.asked == []
    assert set(server.paid.values()) == {1}
    assert store.spent(generator.answers) == pytest.approx(2 * len(CLASSES) * 0.0002 / 2), "half the price"
    live = run(settings(server, tmp_path, prices=PRICES))
    assert texts(live) == texts(items), "an answer is one, whichever way it came"


@pytest.mark.rest
def test_a_batch_that_a_killed_run_submitted_is_waited_for(server: Server, tmp_path: Path) -> None:
    """Hours of waiting, and the laptop was closed."""
    generator = settings(server, tmp_path, batch=True)
    server.polls = 10**9
    code = (
        "import sys; sys.path[:0] = sys.argv[1:3]; import test_language_model as t; from pathlib import Path\n"
        "class S: url = sys.argv[3]\n"
        "t.run(t.settings(S, Path(sys.argv[4]), batch=True))"
    )
    here = Path(__file__).parent
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(here), str(here.parent), server.url, str(tmp_path)]
    )
    while not any(b["looks"] for b in server.batches.values()):
        assert child.poll() is None
        time.sleep(0.01)
    child.kill()
    child.wait()
    server.polls = 1
    assert all(item.texts["texts"] for item in run(generator))
    assert len(server.batches) == 1
    assert set(server.paid.values()) == {1}


def test_a_batch_whose_receipt_was_lost_is_found_again(server: Server, tmp_path: Path) -> None:
    """The answer to the submission never came; submitted again, all would be paid for twice."""
    server.batch_fails = ["lost"]
    run(settings(server, tmp_path, batch=True))
    assert len(server.batches) == 1
    assert set(server.paid.values()) == {1}


def test_what_a_batch_gives_back_unanswered_is_submitted_again(server: Server, tmp_path: Path) -> None:
    server.batch_fails = ["half"]
    items = run(settings(server, tmp_path, batch=True))
    assert all(item.texts["texts"] for item in items)
    assert len(server.batches) == 2
    assert set(server.paid.values()) == {1}


def test_a_batch_that_the_server_refuses_is_told(server: Server, tmp_path: Path) -> None:
    generator = settings(server, tmp_path, batch=True)
    server.batch_fails = ["failed"]
    with pytest.raises(UserError, match=r"refused batch batch_0: too many"):
        run(generator)
    assert all(item.texts["texts"] for item in run(generator)), "a refused batch is waited for for ever"


def test_a_batch_that_is_gone_is_submitted_anew(server: Server, tmp_path: Path) -> None:
    """A colleague's, or one whose answers the server has deleted: waiting for it would never end."""
    generator = settings(server, tmp_path, batch=True)
    run(generator)
    store.read(generator.answers, "animals").path.unlink()
    server.batches["gone"] = server.batches.pop("batch_0")
    assert all(item.texts["texts"] for item in run(generator))
    assert list(server.batches) == ["gone", "batch_1"]


def test_a_wrong_key_ends_a_batch_with_one_line(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    server.key = "another"
    with pytest.raises(UserError, match=r"does not accept the key in MY_KEY") as caught:
        run(settings(server, tmp_path, batch=True, key_variable="MY_KEY"))
    assert KEY not in str(caught.value)
