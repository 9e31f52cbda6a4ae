"""A list of class names and a server: one command makes a checked set."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from coder_clip.texts.sets import load_pair_set, load_text_set
from llm_server import Server, named

pytestmark = pytest.mark.rest


@pytest.fixture
def breeds(tmp_path: Path, repo: Path) -> list[str]:
    """37 names in a file, in a folder with nothing else."""
    names = (repo / "data/classes/oxford_pets.txt").read_text(encoding="utf-8").splitlines()
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    return [name.replace("_", " ") for name in names]


def arguments(server: Server, *more: str) -> list[str]:
    return [
        "texts", "generate", "--classes", "names.txt", "--model", "tiny", "--base-url", server.url,
        "--out", "my.json", *more,
    ]  # fmt: skip


def generate(server: Server, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "coder_clip.cli", *arguments(server, *more)],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_list_of_names_and_a_server_make_a_checked_set(
    server: Server, tmp_path: Path, breeds: list[str]
) -> None:
    """It needed the photos, a configuration and an encoder."""
    estimated = generate(server, tmp_path, "--dry-run")
    assert estimated.returncode == 0, estimated.stderr
    assert estimated.stdout.splitlines()[1].split()[:4] == ["my", "classes", "0", "37"]
    assert not server.asked
    assert not (tmp_path / "my.answers").exists()

    done = generate(server, tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    texts = load_text_set(tmp_path / "my.json", "my", breeds)
    assert all(len(c.attribute) == 10 and len(c.analogous) == 5 for c in texts.classes)
    assert len(server.asked) == 37
    used = sum(map(sum, server.billed))
    assert f"cost: {used:,} tokens, no prices given; answers: my.answers" in done.stdout
    assert (
        "my.json: 37 classes, 370 attribute, 185 analogous, 185 synonym, 0 exceptions: no fault"
        in done.stdout
    )
    assert done.stdout.splitlines()[-1] == "to use them: datasets: {my: {texts: my.json}}"

    assert "my.json exists" in generate(server, tmp_path).stderr
    first = (tmp_path / "my.json").read_bytes()
    assert generate(server, tmp_path, "--force").returncode == 0
    assert (tmp_path / "my.json").read_bytes() == first
    assert len(server.asked) == 37


def test_a_killed_command_loses_no_answer_and_asks_nothing_twice(
    server: Server, tmp_path: Path, breeds: list[str]
) -> None:
    """Money for half of the list was gone."""
    server.delay = 0.02
    child = subprocess.Popen(
        [sys.executable, "-m", "coder_clip.cli", *arguments(server)],
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    stored = tmp_path / "my.answers/my.jsonl"
    while not stored.is_file() or stored.read_bytes().count(b"\n") < 12:
        assert child.poll() is None
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = stored.read_bytes()
    assert not (tmp_path / "my.json").exists()
    assert generate(server, tmp_path).returncode == 0
    assert stored.read_bytes().startswith(kept[: kept.rindex(b"\n") + 1])
    # what was in flight at the kill is asked again, at most eight questions
    assert 37 <= sum(server.paid.values()) <= 37 + 8
    answers = [json.loads(line) for line in stored.read_bytes().splitlines()]
    keys = [answer["key"] for answer in answers if "key" in answer]
    assert len(keys) == len(set(keys)) == 37


def test_pairs_of_a_file_or_all_of_a_small_set(server: Server, tmp_path: Path) -> None:
    """One-to-one texts needed stage one, and so photos."""
    names = ["red fox", "wolf", "and / or", "coyote"]
    (tmp_path / "names.txt").write_text("\n".join(names))
    (tmp_path / "pairs.txt").write_text("# look alike\nWolf / coyote\nand / or / red_fox\n")
    done = generate(server, tmp_path, "--pairs", "pairs.txt")
    assert done.returncode == 0, done.stderr
    pairs = load_pair_set(tmp_path / "my.one_to_one.json", "my", names).pairs
    assert [(p.a, p.b) for p in pairs] == [("wolf", "coyote"), ("and / or", "red fox")]
    assert all(len(p.a_not_b) == len(p.b_not_a) == 5 for p in pairs)

    prices = ("--set", "prices={input: 1, output: 2}", "--set", "max_cost=5")
    done = generate(server, tmp_path, "--pairs", "all", "--force", *prices)
    assert done.returncode == 0, done.stderr
    pairs = load_pair_set(tmp_path / "my.one_to_one.json", "my", names).pairs
    assert [(p.a, p.b) for p in pairs] == list(combinations(names, 2))
    # the first five had no prices
    assert " USD, and 5 answers of unknown cost; answers: my.answers" in done.stdout


def test_the_cost_of_answers_about_several_kinds_counts_once(
    server: Server, tmp_path: Path, breeds: list[str]
) -> None:
    """The provenance named the same money with each kind, so a sum over it was too much."""
    done = generate(
        server, tmp_path, "--set", "prices.input=1", "--set", "prices.output=2", "--pairs", "all"
    )
    assert done.returncode == 0, done.stderr
    notes: dict[str, Any] = {}
    for file in ("my.json", "my.one_to_one.json"):
        notes |= json.loads((tmp_path / file).read_text())["provenance"]
    assert {kind: note.get("asked_with") for kind, note in notes.items()} == {
        "attribute": None, "analogous": ["attribute"], "synonym": ["attribute"], "one_to_one": None
    }  # fmt: skip
    paid = sum(sent * 1e-6 + said * 2e-6 for sent, said in server.billed)
    assert sum(note["cost"]["money"] for note in notes.values()) == pytest.approx(paid, abs=1e-5)
    tokens = sum(sum(note["tokens"].values()) for note in notes.values())
    assert tokens == sum(map(sum, server.billed))
    assert f"{tokens:,} tokens, {paid:.2f} USD" in done.stdout


def test_a_class_without_texts_is_a_fault_and_the_others_have_theirs(
    server: Server, tmp_path: Path
) -> None:
    """One class that a model refuses took the answers about all others with it."""
    (tmp_path / "names.txt").write_text("red fox\nwolf\n")
    server.answer = lambda body: (
        server.texts_for(body) if named(body) == "wolf" else "I'm sorry, I can't help with that."
    )
    done = generate(server, tmp_path, "--kind", "attribute")
    assert done.returncode == 1
    assert "red fox, attribute: 0 texts (count)" in done.stdout
    document = json.loads((tmp_path / "my.json").read_text())
    assert [len(c.get("attribute", [])) for c in document["classes"]] == [0, 10]


@pytest.mark.parametrize("answer", ["", "<html>busy</html>", "I cannot help with that."])
def test_a_kind_that_no_class_has_is_a_fault(server: Server, tmp_path: Path, answer: str) -> None:
    """A server that gave nothing left a set without texts, of which the check said "no fault"."""
    (tmp_path / "names.txt").write_text("red fox\nwolf\n")
    server.answer = lambda body: answer
    done = generate(server, tmp_path, "--kind", "attribute")
    assert done.returncode == 1
    assert "all classes, attribute: 0 of them have one (count)" in done.stdout
    assert "no fault" not in done.stdout


@pytest.mark.parametrize(
    ("names", "more", "said"),
    [
        ("", (), "names.txt has no class names; write one per line"),
        ("fox\nFox\n", (), "names.txt: 'Fox' is there twice"),
        ("fox\nowl\n", ("--set", "temperature"), "--set temperature: write KEY=VALUE"),
        ("fox\nowl\n", ("--set", "temprature=1"), "--set: unknown key 'temprature' (did you mean"),
        ("fox\nowl\n", ("--set", "model.x=1"), "'model' has a value, and no keys in it"),
        ("fox\nowl\n", ("--set", "seed=[1"), "is not YAML"),
        ("fox\nowl\n", ("--set", "max_cost=1"), "generator.max_cost needs generator.prices"),
        ("fox\nowl\n", ("--kind", "name"), "--kind name: no such kind of text (known: "),
        ("fox\nowl\n", ("--photo", "{foo}"), "--photo '{foo}': write {class} where"),
        ("fox\nowl\n", ("--photo", "a {class} {foo}"), "where the name goes, and no other braces"),
        ("fox\nowl\n", ("--base-url", "localhost:1"), "error: --base-url: give an address such as"),
        ("fox\nowl\n", ("--out", "x.json", "--dry-run"), "--out x.json is a folder: name a file"),
        (
            "fox\nowl\n",
            ("--out", "names.txt/x.json", "--dry-run"),
            "names.txt is a file, not a folder",
        ),
        ("fox\nowl\n", ("--photo", "a photo"), "write {class} where the name goes"),
        ("fox\nowl\n", ("--pairs", "p.txt"), "p.txt: 'fox, owl' does not name two classes"),
        ("fox\nowl\n", ("--pairs", "q.txt"), "q.txt: no class 'oul' (did you mean 'owl'?)"),
        ("fox\nowl\n", ("--pairs", "all", "--set", "max_pairs=0"), "max_pairs"),
        ("a\nb\nc\n", ("--pairs", "all", "--set", "max_pairs=2"), "3 classes have 3 pairs"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_asked(
    server: Server, tmp_path: Path, names: str, more: tuple[str, ...], said: str,
    monkeypatch: pytest.MonkeyPatch, command: Any,
) -> None:  # fmt: skip
    """Nothing may be paid for before the command is understood."""
    monkeypatch.chdir(tmp_path)
    Path("names.txt").write_text(names)
    Path("p.txt").write_text("fox, owl\n")
    Path("q.txt").write_text("fox / oul\n")
    Path("x.json").mkdir()
    answer = command(*arguments(server, *more))
    assert answer.code != 0
    assert said in answer.err
    assert len(answer.err.splitlines()) == 1
    assert not server.asked
