"""From a language model to the report in the real DAG: nothing is written by hand but the server's
answers.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_server import Server, serving, words
from working_copy import Work, duplicate, few_pictures, working_copy

pytestmark = pytest.mark.rest

# What a model could send by accident or on purpose: markup for a browser, LaTeX, Markdown,
# matplotlib and a terminal.
HOSTILE = [
    "<script>document.title='broken'</script> a loop",
    "<img src=x onerror=\"document.title='broken'\"> a tail",
    "\\input{/etc/passwd} & \\write18{true} % a bar",
    "$\\frac{1}{$ a $x^{2$ corner",
    "| a | cell | ![x](http://example.org/x.png) [y](javascript:alert(1))",
    "{class} {attribute} {{ 7*7 }} {% raw %} a hook",
    "an m-dash – “quoted” é",
]
DOCUMENT: dict[str, Any] = {
    "title": "texts",
    "datasets": {
        "shapes": {
            "views": 1,
            "texts": {"name": "names", "attribute": "llm", "analogous": "llm", "synonym": "llm", "one_to_one": "llm"},
        }
    },
    "models": ["mini"],
    "adapter": {"shots": [1], "seeds": [1], "betas": [0.1, 200, 10], "alphas": [0.1, 20, 5], "rounds": 1},
    "evaluation": {"tsne_images": 40, "text_counts": [1, 2], "draws": 1},
    "generator": {
        "model": "tiny", "texts_per_class": {"attribute": 4, "analogous": 2, "synonym": 2, "one_to_one": 2}, 
        "max_pairs": 12,
        "prices": {"date": "2026-11-01", "input": 1.0, "output": 2.0}, "max_cost": 1.0, "key_variable": "TINY_KEY",
        # made-up names are nearer to other things than the names of things are to each other
        "on_failure": "skip",
    },
}  # fmt: skip
KEY = "sk-end-to-end-0123456789"


def hostile(about: str, count: int) -> list[str]:
    """Ordinary texts, with one that means harm among them."""
    texts = words(about, count)
    return [HOSTILE[len(about) % len(HOSTILE)], *texts[1:]]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(hostile, ["ok", "503", "ok", "429", "drop"]) as found:
        found.key, found.served = KEY, f"tiny {HOSTILE[0]}"
        yield found


@pytest.fixture(scope="module")
def made(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Everything run once, from the server's first answer to the page."""
    document = {**DOCUMENT, "generator": {**DOCUMENT["generator"], "base_url": server.url}}
    work = working_copy(tmp_path_factory.mktemp("texts") / "copy", document)
    few_pictures(work.folder)
    work.snakemake("results/one_to_one/shapes.json", TINY_KEY=KEY)  # all that asks the server
    work.make(TINY_KEY=KEY)
    return work


@pytest.fixture
def copied(made: Work, tmp_path: Path) -> Work:
    folder = tmp_path / "copy"
    folder.mkdir()
    return duplicate(made, folder)


def read(work: Work, name: str) -> Any:
    return json.loads((work.folder / "results" / name).read_text(encoding="utf-8"))


def test_from_a_language_model_to_the_report(made: Work, server: Server) -> None:
    texts = read(made, "texts/shapes.json")
    accepted = [c["attribute"] for c in texts["classes"]]
    assert {len(found) for found in accepted} <= {3, 4}, (
        "the text that means harm is refused, the others are taken"
    )
    assert not {t for found in accepted for t in found} & set(HOSTILE[:-1])
    note = texts["provenance"]["attribute"]
    assert (note["source"], note["model"], note["served"]) == (
        "llm",
        "tiny",
        [f"tiny {HOSTILE[0]}"],
    )
    assert note["answers"] == 20
    assert note["tokens"]["prompt"] == sum(sent for sent, _ in server.billed[: note["answers"]])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", note["date"])
    assert re.fullmatch(r"[0-9a-f]{64}", note["prompt"]["sha256"])
    confusable = read(made, "one_to_one/pairs/shapes.json")["pairs"]
    pairs = read(made, "one_to_one/shapes.json")
    assert len(pairs["pairs"]) == 12
    assert pairs["provenance"]["one_to_one"]["pairs"] == {
        "confusable": len(confusable),
        "asked": 12,
    }
    assert 0 < pairs["provenance"]["pairs"]["share_of_comparisons"] < 1
    reranked = read(made, "rerank/mini/shapes.json")["methods"]
    assert any(0 < m["comparisons"]["with_text"] < m["comparisons"]["all"] for m in reranked)
    assert (made.folder / "results/report.html").stat().st_size > 10_000
    assert set(server.paid.values()) == {1}


def test_a_second_run_asks_nothing_and_needs_no_key(made: Work, server: Server) -> None:
    asked = len(server.asked)
    assert made.planned() == {}
    made.commands("generate-texts", "generate-pairs")
    assert len(server.asked) == asked


def test_the_same_answers_give_the_same_artefacts(copied: Work, server: Server) -> None:
    """Without key and server: a colleague has the answers from Git and nothing else."""
    before, asked = copied.hashes(), len(server.asked)
    shutil.rmtree(copied.folder / "results")
    shutil.rmtree(copied.folder / ".snakemake")
    copied.snakemake("results/texts/shapes.json", "results/one_to_one/shapes.json")
    after = copied.hashes()
    same = [
        name
        for name in before
        if name.startswith(("texts/", "one_to_one/")) and name.endswith(".json")
    ]
    assert len(same) == 5
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    assert len(server.asked) == asked


def test_verify_reads_stored_answers_and_asks_nothing(copied: Work, server: Server) -> None:
    """A verification that sends requests would cost money, and get other answers."""
    asked = len(server.asked)
    before = copied.hashes()
    # the default has the same results folder
    (copied.folder / copied.config).rename(copied.folder / "config/reproduce.yaml")
    person = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for typed in (("init",), ("add", "--all"), (*person, "commit", "--message=all")):
        subprocess.run(["git", *typed], cwd=copied.folder, check=True, capture_output=True)
    command = ("verify", "generate_texts")
    said = copied.coder_clip(*command, TINY_KEY=KEY).stdout
    assert "1 of 1 jobs made the same bytes" in said
    (answers,) = (copied.folder / "data").rglob("shapes.jsonl")
    lines = answers.read_text(encoding="utf-8").splitlines(keepends=True)
    answers.write_text("".join(lines[1:]), encoding="utf-8")
    done = copied.coder_clip(*command, check=False, TINY_KEY=KEY)
    assert done.returncode == 1
    assert "1 answers of tiny are not stored, and nothing is asked here" in done.stdout
    assert answers.read_text(encoding="utf-8") == "".join(lines[1:])
    shutil.rmtree(answers.parent)
    done = copied.coder_clip(*command, check=False, TINY_KEY=KEY)
    assert "it asked a language model, whose answers are not here" in done.stdout
    assert len(server.asked) == asked
    assert copied.hashes() == before


@pytest.mark.parametrize(
    ("change", "rules"),
    [
        (
            {
                "max_in_flight": 2,
                "retries": 1,
                "max_cost": 5.0,
                "base_url": "http://127.0.0.1:9/v1",
            },
            set(),
        ),
        (
            {"model": "another"},
            {"generate_texts", "generate_pairs", "text_set", "pair_texts", "encode_texts"},
        ),
        ({"max_pairs": 5}, {"generate_pairs", "pair_texts", "encode_pairs"}),
    ],
    ids=["operation", "model", "pairs"],
)
def test_what_decides_the_texts_makes_them_again(
    copied: Work, change: dict[str, Any], rules: set[str]
) -> None:
    copied.configure(lambda c: c["generator"].update(change))
    planned = copied.planned()
    assert rules <= planned.keys()
    if not rules:
        assert planned == {}


def test_an_edited_prompt_asks_again(copied: Work) -> None:
    prompt = copied.folder / "src/coder_clip/templates/prompts/synonym.txt"
    prompt.write_text(prompt.read_text().replace("everyday English", "plain English"))
    assert {"generate_texts", "text_set", "encode_texts"} <= copied.planned().keys()


def test_the_key_is_nowhere(made: Work) -> None:
    for path in made.folder.rglob("*"):
        if path.is_file() and not path.is_relative_to(made.folder / ".cache"):
            assert KEY.encode() not in path.read_bytes(), path


def test_hostile_texts_do_no_harm_on_the_page(made: Work) -> None:
    """A text is data."""
    page = (made.folder / "results/report.html").read_text(encoding="utf-8")
    texts = json.dumps(read(made, "texts/shapes.json"), ensure_ascii=False)
    assert "<script>document.title" in texts, "the texts were to be hostile"
    for harm in ("<script>document.title", "<img src=x", 'href="javascript:'):
        assert harm not in page
    assert page.count("<script") == page.count("</script>")
    for name in (made.folder / "results/tables").glob("*.tex"):
        assert "\\input{" not in name.read_text(encoding="utf-8")
        assert "\\write18" not in name.read_text(encoding="utf-8")
    for name in (made.folder / "results/tables").glob("*.md"):
        for harm in ("<script", "![x](http", "[y](javascript"):
            assert harm not in name.read_text(encoding="utf-8")
