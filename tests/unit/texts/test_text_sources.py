"""Each kind of text from its own source: files, WordNet, a language model; mixed as a configuration
says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from coder_clip.phases import generate_texts
from coder_clip.pipeline.config import Config
from coder_clip.texts.sources import table
from llm_server import Server, named, serving
from small_wordnet import write

Command = Callable[..., Any]
NAMES = ["crane", "basset hound", "harbour"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WNSEARCHDIR", str(write(tmp_path / "dict")))
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mini").symlink_to(repo / "data/mini")
    manifests = tmp_path / "results/manifests"
    manifests.mkdir(parents=True)
    (manifests / "places.json").write_text(json.dumps({"classes": NAMES}))
    (tmp_path / "results/one_to_one/pairs").mkdir(parents=True)
    listed = [
        {"a": 0, "b": 2, "compared": 9, "inside_gate": 3},
        {"a": 1, "b": 2, "compared": 1, "inside_gate": 0},
    ]
    (tmp_path / "results/one_to_one/pairs/places.json").write_text(json.dumps({"pairs": listed}))
    return tmp_path


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as found:
        yield found


def configure(texts: Any, server: Server | None = None, **more: Any) -> None:
    document: dict[str, Any] = {
        "datasets": {"places": {"root": "photos", "texts": texts}},
        "models": ["mini"],
    }
    if server is not None:
        document["generator"] = {"model": "tiny", "base_url": server.url, **more}
    Path("c.yaml").write_text(yaml.safe_dump(document))


def file(name: str, **kinds: list[list[str]]) -> None:
    classes = [
        {"name": c, **{kind: lists[i] for kind, lists in kinds.items() if lists[i]}}
        for i, c in enumerate(NAMES)
    ]
    note = {kind: {"author": f"who wrote {kind}"} for kind in kinds}
    Path(name).write_text(
        json.dumps({"format": 1, "dataset": "places", "classes": classes, "provenance": note})
    )


def made(name: str = "texts/places.json") -> Any:
    return json.loads((Path("results") / name).read_text(encoding="utf-8"))


def test_the_documentation_shows_every_source(repo: Path) -> None:
    """`python -m coder_clip.texts.sources` prints the table."""
    assert "\n".join(table()) in (repo / "docs/texts.md").read_text(encoding="utf-8")


def test_kinds_are_put_together_from_their_sources(
    here: Path, command: Command, server: Server
) -> None:
    file("mine.json", attribute=[["long neck"], ["long ears"], []], analogous=[["heron"], [], []])
    file("other.json", analogous=[["stork"], ["beagle"], []])
    configure({"attribute": "mine.json", "analogous": "other.json", "synonym": "wordnet"})
    for name in ("generate-texts", "texts"):
        done = command(name, "--config", "c.yaml")
        assert done.code == 0, done.err
    texts = made()
    assert [c.get("attribute") for c in texts["classes"]] == [["long neck"], ["long ears"], None]
    assert [c.get("analogous") for c in texts["classes"]] == [["stork"], ["beagle"], None]
    assert texts["classes"][1]["synonym"] == ["basset"]
    assert "synonym" not in texts["classes"][2]
    notes = texts["provenance"]
    assert notes["attribute"]["author"] == "who wrote attribute"
    assert notes["attribute"]["file"]["path"] == "mine.json"
    assert notes["analogous"]["file"]["path"] == "other.json"
    assert notes["synonym"]["source"] == "WordNet"
    assert notes["synonym"]["without_sense"] == ["harbour"]
    assert notes["synonym"]["encoder"]["model"] == "mini"
    assert server.asked == []


def test_a_class_without_a_noun_sense_is_named_in_the_log(
    here: Path, command: Command, caplog: Any
) -> None:
    configure({"synonym": "wordnet"})
    assert command("generate-texts", "--config", "c.yaml").code == 0
    assert "places: no noun sense in WordNet, so no synonym: harbour" in caplog.text


def test_a_missing_dictionary_is_missed_before_anything_is_paid_for(
    here: Path, command: Command, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WNSEARCHDIR", str(here / "nowhere"))
    configure({"attribute": "llm", "synonym": "wordnet"}, server)
    done = command("generate-texts", "--config", "c.yaml")
    assert done.code == 1
    assert "WordNet" in done.err
    assert done.err.strip().count("\n") == 0
    assert server.asked == []


def test_a_missing_key_is_missed_before_weights_and_questions(
    here: Path, command: Command, server: Server, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """Fetching weights takes minutes; 'round 1 …' looks as if something were asked."""

    def load(config: Config, model: str) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(generate_texts, "_encoder", load)
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    configure({"analogous": "llm", "synonym": "wordnet"}, server, key_variable="NO_SUCH_KEY")
    done = command("generate-texts", "--config", "c.yaml")
    assert done.code == 1
    assert (
        done.err.strip()
        == "coder-clip: error: no key: set the environment variable NO_SUCH_KEY (docs/texts.md)"
    )
    assert "round" not in caplog.text
    assert server.asked == []


def test_what_was_not_made_is_named_with_the_command_that_makes_it(
    here: Path, command: Command, server: Server
) -> None:
    configure({"attribute": "llm"}, server)
    done = command("texts", "--config", "c.yaml")
    assert done.code == 1
    assert "results/texts/generated/places.json is missing" in done.err


@pytest.mark.rest
def test_pairs_are_written_up_to_the_budget_most_frequent_first(
    here: Path, command: Command, server: Server
) -> None:
    configure({"one_to_one": "llm"}, server, max_pairs=1)
    for name in ("generate-texts", "texts", "generate-pairs", "pair-texts"):
        done = command(name, "--config", "c.yaml")
        assert done.code == 0, done.err
    pairs = made("one_to_one/places.json")
    assert [(p["a"], p["b"], len(p["a_not_b"])) for p in pairs["pairs"]] == [
        ("crane", "harbour", 5)
    ]
    assert pairs["provenance"]["pairs"] == {
        "compared": 2,
        "with_texts": 1,
        "share_of_comparisons": 0.9,
    }
    assert pairs["provenance"]["one_to_one"]["pairs"] == {"confusable": 2, "asked": 1}
    assert len(server.asked) == 1


def test_a_class_that_is_refused_is_left_out_where_that_is_configured(
    here: Path, command: Command, server: Server
) -> None:
    """Stopping is the default; with skip, the provenance names the classes."""
    refusal = "I'm sorry, but I can't help with that."

    def answer(body: dict[str, Any]) -> str:
        marks = [f"mark {i}{named(body)[1]}" for i in range(2)]
        return (
            refusal if named(body) == "harbour" else json.dumps({named(body): {"attribute": marks}})
        )

    server.answer = answer
    configure({"attribute": "llm"}, server, max_reasks=1, texts_per_class={"attribute": 2})
    stopped = command("generate-texts", "--config", "c.yaml")
    assert stopped.code == 1
    assert "'harbour' (attribute): it was refused" in stopped.err
    assert not Path("results/texts/generated/places.json").exists()
    configure(
        {"attribute": "llm"},
        server,
        max_reasks=1,
        on_failure="skip",
        texts_per_class={"attribute": 2},
    )
    for name in ("generate-texts", "texts"):
        assert command(name, "--config", "c.yaml").code == 0
    texts = made()
    assert [len(c.get("attribute", [])) for c in texts["classes"]] == [2, 2, 0]
    note = texts["provenance"]["attribute"]
    assert note["without"] == ["harbour"]
    assert (note["refused"], note["asked_again"], note["answers"]) == (2, 1, 4)
    assert len(server.asked) == 4


@pytest.mark.parametrize("name", [pytest.param("dtd", marks=pytest.mark.rest), "eurosat"])
def test_analogous_classes_of_our_own_sets_pass_the_rule(
    here: Path, command: Command, server: Server, repo: Path, name: str
) -> None:
    """A rule that refuses what people name would ask for names until the money is gone."""
    written = json.loads((repo / f"data/texts/{name}.json").read_text(encoding="utf-8"))["classes"]
    by_name = {c["name"]: c["analogous"] for c in written}
    server.answer = lambda body: json.dumps({named(body): {"analogous": by_name[named(body)]}})
    (here / "results/manifests/places.json").write_text(json.dumps({"classes": list(by_name)}))
    most = max(map(len, by_name.values()))
    counts = {"texts_per_class": {"analogous": most}, "on_failure": "skip", "max_reasks": 0}
    configure({"analogous": "llm"}, server, **counts)
    done = command("generate-texts", "--config", "c.yaml")
    assert done.code == 0, done.err
    texts = made("texts/generated/places.json")["classes"]
    assert sum(len(c.get("analogous", [])) for c in texts) >= 0.7 * sum(map(len, by_name.values()))


def test_analogous_classes_are_held_against_the_label_set(
    here: Path, command: Command, server: Server
) -> None:
    """'a crane similar to harbour' would pull one class to another."""
    server.answer = lambda body: json.dumps(
        {named(body): {"analogous": ["Harbour", "the crane", "aeroplane carrier"]}}
    )
    configure({"analogous": "llm"}, server, texts_per_class={"analogous": 3}, on_failure="skip")
    done = command("generate-texts", "--config", "c.yaml")
    assert done.code == 0, done.err
    note = made("texts/generated/places.json")["provenance"]["analogous"]
    assert note["too_similar"]["encoder"]["model"] == "mini"
    assert 3 <= note["asked_again"] <= 3 * 5, "at most five times more for each class"
    assert ["crane", "Harbour", "the name of a class (harbour)"] in [
        entry[:3] for entry in note["not_accepted"]
    ]
    for entry in made("texts/generated/places.json")["classes"]:
        assert not {"Harbour", "crane", "the crane"} & set(entry.get("analogous", []))
