"""The command line: runs that are killed, stopped, or two at a time; no key in a file."""

from __future__ import annotations

import json
import os
import pty
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import combinations, cycle, islice
from pathlib import Path
from typing import Any

import pytest
import yaml

from llm_server import Server, named
from questions import CLASSES, KEY, PRICES, of_class

pytestmark = pytest.mark.rest


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


def in_flight(project: Path, server: Server) -> subprocess.Popen[str]:
    """A run that has asked three questions and waits for the answers."""
    server.key = KEY
    child = start(project)
    while server.open < 3:
        assert child.poll() is None, child.stderr and child.stderr.read()
        time.sleep(0.01)
    return child


def lines(folder: Path) -> int:
    path = folder / "data/texts/answers/shapes.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


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
    assert sum(n - 1 for n in twice) <= 2 * 3, (
        "more was paid for twice than was under way at the two kills"
    )

    text_set = project / "results/texts/generated/shapes.json"
    first = text_set.read_bytes()
    text_set.unlink()
    asked = len(server.asked)
    assert command(project, "generate-texts").returncode == 0
    assert text_set.read_bytes() == first
    assert len(server.asked) == asked


def priced(project: Path, **more: Any) -> None:
    document = yaml.safe_load((project / "c.yaml").read_text())
    document["generator"] |= {"prices": PRICES, **more}
    (project / "c.yaml").write_text(yaml.safe_dump(document))


@pytest.mark.parametrize("same_results", [False, True])
def test_two_processes_get_each_others_answers(
    project: Path, server: Server, same_results: bool
) -> None:
    """Two data sets that share classes, or two people who start the same run."""
    server.key, server.delay = KEY, 0.03
    document = yaml.safe_load((project / "c.yaml").read_text())
    (project / "other.yaml").write_text(
        yaml.safe_dump(document | {"results": "results" if same_results else "results/other"})
    )
    shared = CLASSES[:10] if same_results else CLASSES[5:]
    (project / "results/other/manifests/shapes.json").write_text(json.dumps({"classes": shared}))
    both = [start(project), start(project, CODER_CLIP_CONFIG="other.yaml")]
    said = [child.communicate()[1] for child in both]
    assert [child.returncode for child in both] == [0, 0], said
    assert set(server.paid.values()) == {1}, "a question was paid for twice"
    assert len(server.paid) == len({*CLASSES[:10], *shared})
    made = [project / name / "texts/generated/shapes.json" for name in ("results", "results/other")]
    first, second = (
        json.loads(made[0 if same_results else i].read_text())["classes"] for i in (0, 1)
    )
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
        (project / "c.yaml").read_text().replace("model: tiny", "model: large")
        + "results: results/other\n"
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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_keeps_what_is_in_flight(
    project: Path, server: Server, number: int
) -> None:
    """Ctrl-C paid for the answers in flight twice."""
    server.delay = 0.5
    child = in_flight(project, server)
    child.send_signal(number)
    said = child.communicate()[1]
    assert child.returncode == 128 + number, said
    assert "waiting for answers in flight" in said
    assert lines(project) == sum(server.paid.values()) == 4
    server.delay = 0
    assert command(project, "generate-texts").returncode == 0
    assert len(server.paid) == 10
    assert set(server.paid.values()) == {1}


def test_a_second_ctrl_c_waits_no_longer(project: Path, server: Server) -> None:
    server.behaviours = ["ok"] + ["stuck"] * 9
    child = in_flight(project, server)
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
    """A budget is made from it: requests, tokens and money within a tenth, on texts and a tokenizer
    that are real.
    """
    from open_clip.tokenizer import SimpleTokenizer

    def pool(part: str, *kinds: str) -> Iterator[str]:
        """Texts of all shipped sets, mixed. part: classes or pairs."""
        lists = [
            json.loads(p.read_text(encoding="utf-8"))
            for p in sorted((repo / "data/texts").glob("*.json"))
        ]
        entries = [entry for each in lists for entry in each.get(part, [])]
        real = sorted(
            {t for e in entries for kind in kinds for t in e.get(kind, []) if len(t.split()) > 1}
        )
        return cycle(random.Random(0).sample(real, len(real)))

    pools = {kind: pool("classes", kind) for kind in ("attribute", "analogous", "synonym")}
    pools["not"] = pool("pairs", "a_not_b", "b_not_a")

    def texts(about: str, count: int) -> list[str]:
        return list(islice(next(p for word, p in pools.items() if word in about.split()), count))

    server.texts = texts
    encode = SimpleTokenizer().encode
    server.count, server.key = lambda text: len(encode(text)), KEY
    document = yaml.safe_load((project / "c.yaml").read_text())
    document["generator"] |= {"prices": PRICES}
    (project / "c.yaml").write_text(yaml.safe_dump(document))
    names = {"classes": (repo / "data/classes/oxford_pets.txt").read_text().split()}
    (project / "results/manifests/shapes.json").write_text(json.dumps(names))
    (project / "results/one_to_one/pairs").mkdir(parents=True)
    pairs = [{"a": a, "b": b} for a, b in islice(combinations(range(37), 2), 150)]
    (project / "results/one_to_one/pairs/shapes.json").write_text(json.dumps({"pairs": pairs}))
    document["datasets"]["shapes"]["texts"]["one_to_one"] = "llm"
    (project / "c.yaml").write_text(yaml.safe_dump(document))
    rows = [
        re.split(r"  +", line)
        for line in command(project, "generate-texts", "--dry-run").stdout.splitlines()
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

    def answer(body: dict[str, Any]) -> str:
        # numbers above those of the marks, since other orders of the same words are the same text
        marks = [f"mark {i} of {10 + CLASSES.index(named(body))}" for i in range(8)]
        return of_class(attribute=[*marks, "none", "what?"], synonym=[])

    def review(*arguments: str) -> subprocess.CompletedProcess[str]:
        return command(project, "texts", "review", "shapes", *arguments)

    def made() -> list[list[str]]:
        assert command(project, "generate-texts").returncode == 0
        document = json.loads((project / "results/texts/generated/shapes.json").read_text())
        return [c["attribute"] for c in document["classes"]]

    server.answer = answer
    before = made()
    assert len(server.asked) == 10, "eight good texts were asked for again"
    said = review("--class", "red fox").stdout.splitlines()
    assert len(said) == 10
    assert re.fullmatch(
        r"red fox  attribute  mark 0 of 10  [0-9a-f]{12} \(tiny-2026, \d{4}-\d\d-\d\d\)", said[0]
    )
    assert re.fullmatch(
        r"red fox  attribute  what\?  not accepted: a question  [0-9a-f]{12} .*", said[-1]
    )
    done = review("--class", "red fox", "--reject", "mark 1 of 10")
    assert done.returncode == 0, done.stderr
    assert (
        "'mark 1 of' is not a text of 'red fox'"
        in review("--class", "red fox", "--reject", "mark 1 of").stderr
    )
    asked = len(server.asked)
    assert made() == [[t for t in texts if t != "mark 1 of 10"] for texts in before]
    assert len(server.asked) == asked
    (project / "data/texts/answers/shapes.review.json").unlink()
    assert made() == before
    done = review("--freeze", "data/texts/mine.json")
    assert (
        "datasets: {shapes: {texts: {attribute: "
        "data/texts/mine.json, synonym: data/texts/mine.json}}}"
    ) in done.stdout
    document = yaml.safe_load((project / "c.yaml").read_text())
    document["datasets"]["shapes"]["texts"] = "data/texts/mine.json"
    (project / "c.yaml").write_text(yaml.safe_dump(document))
    assert command(project, "texts").returncode == 0
    frozen = json.loads((project / "results/texts/shapes.json").read_text())
    assert [c.get("attribute") for c in frozen["classes"]] == before


def test_a_review_shows_whose_text_of_a_pair_it_is(project: Path) -> None:
    """Both sides in one list hid swapped ones, and 'grey wolf / red fox' was no pair."""
    pair = {
        "a": "red fox",
        "b": "grey wolf",
        "a_not_b": ["red fur", "a mask"],
        "b_not_a": ["grey fur"],
    }
    note = {
        "source": "llm",
        "from": {"red fox / grey wolf": ["0" * 64, "1" * 64, "2" * 64]},
        "not_accepted": [["red fox / grey wolf", "no grey fur", "'no'", "0" * 64, "red fox"]],
    }
    path = project / "results/one_to_one/generated/shapes.json"
    path.parent.mkdir(parents=True)
    path.write_text(
        json.dumps({"dataset": "shapes", "pairs": [pair], "provenance": {"one_to_one": note}})
    )
    for owner in ("red fox / grey wolf", "grey wolf / red fox"):
        said = command(project, "texts", "review", "shapes", "--class", owner).stdout.splitlines()
        assert [line.split("  ")[2:] for line in said] == [
            ["red fox has: red fur", "0" * 12],
            ["red fox has: a mask", "1" * 12],
            ["grey wolf has: grey fur", "2" * 12],
            ["red fox has: no grey fur", "not accepted: 'no'", "0" * 12],
        ]
    done = command(
        project, "texts", "review", "shapes", "--class", "grey wolf / red fox", "--reject", "a mask"
    )
    assert done.returncode == 0, done.stderr
    decisions = json.loads((project / "data/texts/answers/shapes.review.json").read_text())
    assert decisions["rejected"] == [["one_to_one", "red fox / grey wolf", "a mask"]]
