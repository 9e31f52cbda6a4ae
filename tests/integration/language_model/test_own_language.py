"""Prompts and rules of a project, in a language that is not English."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from coder_clip.errors import UserError
from coder_clip.texts import english
from coder_clip.texts.checks import Names, fault
from coder_clip.texts.cleaning import clean
from coder_clip.texts.llm import prompts
from coder_clip.texts.sets import load_text_set
from llm_server import Server, named
from working_copy import MARKS, SMALL, changed, working_copy

pytestmark = pytest.mark.rest

CLASSES = ["Rotfuchs", "Polarfuchs", "Dachs"]
TEXTS = {
    "Rotfuchs": ["oranges Fell", "schwarze Beine", "ein buschiger Schwanz", "ein langer Hals"],
    "Polarfuchs": ["weißes Fell", "kurze runde Ohren", "eine kurze Schnauze"],
    "Dachs": ["schwarze Streifen am Kopf", "graue Haare am Rücken", "kräftige Pfoten"],
}
MARKED = {  # the first text of each class as a model writes it
    "Rotfuchs": "- **oranges Fell** (im Sommer)",
    "Polarfuchs": "1. „weißes Fell“.",
    "Dachs": "* schwarze Streifen am Kopf;",
}
BAD = {
    "Rotfuchs": "ein Schwanz ohne Flecken",  # negation
    "Polarfuchs": "eine längere Schnauze",  # comparative
    "Dachs": "белый хвост",  # another script
}


def german() -> dict[str, Any]:
    """Rules with the sections of the shipped ones, and German in place of all of them."""
    shipped = yaml.safe_load(english.SHIPPED.read_text(encoding="utf-8"))

    def emptied(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: emptied(v) for key, v in value.items()}
        return ""

    rules: dict[str, Any] = emptied(shipped)
    rules["language"] = {"name": "German", "english_plurals": False}
    rules["forms"] |= {
        "articles": "der die das ein eine einen", "indefinite": "ein eine",
        "irregular": "schwänze:schwanz ohren:ohr pfoten:pfote",
    }  # fmt: skip
    rules["negation"]["patterns"] = "\\b(?:ohne|keine?[nrms]?|nicht)\\b\n"
    rules["comparative"]["patterns"] = "\\b(?:länger|kürzer|größer|kleiner)e?[nrs]?\\b\n"
    return rules


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """German prompts and rules, in use."""
    path = tmp_path / "deutsch"
    path.mkdir()
    (path / english.OWN).write_text(yaml.safe_dump(german(), allow_unicode=True), encoding="utf-8")
    asked = (prompts.FOLDER / "attribute.txt").read_text(encoding="utf-8")
    (path / "attribute.txt").write_text(
        asked.replace("[user]\n", "[user]\nAntworte auf Deutsch. "), encoding="utf-8"
    )
    yield path
    english.use(None)


def command(folder: Path, *given: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "coder_clip.cli", "texts", *given],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_set_in_german(server: Server, tmp_path: Path, folder: Path) -> None:
    """Prompts could be German, and every German answer was refused as not English."""
    (tmp_path / "names.txt").write_text("\n".join(CLASSES), encoding="utf-8")

    def answer(body: dict[str, Any]) -> str:
        name = named(body)
        said = [MARKED[name], *TEXTS[name][1:], BAD[name]]
        return json.dumps({name: {"attribute": said}}, ensure_ascii=False)

    server.answer = answer
    arguments = [
        "generate", "--classes", "names.txt", "--model", "tiny", "--base-url", server.url,
        "--out", "my.json", "--kind", "attribute", "--photo", "ein Foto von {class}.",
        "--set", "texts_per_class.attribute=5", "--set", "max_reasks=0",
    ]  # fmt: skip
    done = command(tmp_path, *arguments, "--set", "prompts=deutsch")
    assert done.returncode == 0, done.stdout + done.stderr
    texts = load_text_set(tmp_path / "my.json", "my", CLASSES)
    assert {c.name: c.attribute for c in texts.classes} == TEXTS
    assert "Antworte auf Deutsch." in server.asked[0]["messages"][1]["content"]
    note = texts.provenance["attribute"]
    assert note["rules"]["language"] == "German"
    why = {text: reason for _, text, reason, *_ in note["not_accepted"]}
    assert why == {
        BAD["Rotfuchs"]: "'ohne'",
        BAD["Polarfuchs"]: "'längere'",
        BAD["Dachs"]: "in another script (cyrillic)",
    }
    # the same file by other rules
    denied = "ein Bauch ohne Haare"
    (tmp_path / "my.json").write_text(
        (tmp_path / "my.json").read_text(encoding="utf-8").replace("kräftige Pfoten", denied),
        encoding="utf-8",
    )
    german_rules = command(tmp_path, "check", "my.json", "--rules", "deutsch")
    assert f"'{denied}': 'ohne' (negation)" in german_rules.stdout
    assert "'ohne'" not in command(tmp_path, "check", "my.json").stdout


def test_a_section_that_nothing_reads_is_named(tmp_path: Path, folder: Path) -> None:
    """Own rules below a misspelt section were passed over without a word."""
    rules = folder / english.OWN
    rules.write_text(
        rules.read_text(encoding="utf-8") + "negatoin: {patterns: x}\n", encoding="utf-8"
    )
    english.use(folder)
    with pytest.raises(UserError, match=r"no section 'negatoin' \(did you mean 'negation'\?\)"):
        english.english()


def test_what_is_the_same_text_follows_the_rules_in_use(folder: Path) -> None:
    """A cache would judge one configuration's texts by the language of the one before."""
    assert english.same_text("the tail") == english.same_text("a tail")
    assert english.same_text("ein Ohr") != english.same_text("die Ohren")
    english.use(folder)
    assert english.same_text("the tail") != english.same_text("a tail")
    assert english.same_text("ein Ohr") == english.same_text("die Ohren")
    assert fault("no stripes", "attribute", "Dachs", Names(CLASSES)) is None
    english.use(None)
    assert english.same_text("ein Ohr") != english.same_text("die Ohren")
    found = fault("no stripes", "attribute", "Dachs", Names(CLASSES))
    assert found is not None
    assert found[0] == "negation"


def test_words_that_look_english_stay_under_other_rules(folder: Path) -> None:
    """A Danish garden ("have") would lose its noun."""
    words = ["have med æbletræer", "often", "Beine, with", "schwarze Ohren are"]
    assert [clean(text) for text in words] != words
    english.use(folder)
    assert [clean(text) for text in words] == words
    assert clean("- **ein Glied** (hinten).") == "ein Glied"


def test_an_import_follows_the_rules_of_its_language(tmp_path: Path, folder: Path) -> None:
    """By English rules "in der Mitte ein Fleck" began as no English text may, and was left out."""
    texts = ["- **oranges Fell** (im Sommer)", "in der Mitte ein Fleck", "ein buschiger Schwanz."]
    (tmp_path / "names.txt").write_text("Rotfuchs", encoding="utf-8")
    (tmp_path / "mine.json").write_text(json.dumps({"Rotfuchs": texts}), encoding="utf-8")
    to = ["--dataset", "my", "--classes", "names.txt", "--out", "my.json", "--force"]

    def imported(*given: str) -> list[str]:
        done = command(tmp_path, "import", "plain", "mine.json", *to, *given)
        assert done.returncode == 0, done.stderr
        return load_text_set(tmp_path / "my.json", "my", ["Rotfuchs"]).classes[0].attribute

    assert imported() == ["oranges Fell", "ein buschiger Schwanz"]
    assert imported("--rules", "deutsch") == ["oranges Fell", texts[1], "ein buschiger Schwanz"]
    other = command(tmp_path, "import", "cupl", "mine.json", *to, "--rules", "deutsch")
    assert other.returncode != 0
    assert "--rules is for plain; texts of the format cupl stay as they are" in other.stderr
    assert len(other.stderr.splitlines()) == 1, other.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("language: [", "rules.yaml is not YAML"),
        ("language: {name: German}", "'english_plurals' is missing"),
        ("[]", "another form"),
    ],
)
def test_broken_rules_are_one_line(tmp_path: Path, folder: Path, text: str, said: str) -> None:
    (folder / english.OWN).write_text(text, encoding="utf-8")
    (tmp_path / "my.json").write_text(
        json.dumps({"format": 1, "dataset": "my", "classes": [{"name": "Dachs"}]})
    )
    done = command(tmp_path, "check", "my.json", "--rules", "deutsch")
    assert done.returncode != 0
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_pattern_that_is_none_is_named(tmp_path: Path, folder: Path) -> None:
    rules = german()
    rules["wording"]["patterns"] = "^(und\n"
    (folder / english.OWN).write_text(yaml.safe_dump(rules), encoding="utf-8")
    (tmp_path / "my.json").write_text(
        json.dumps({"format": 1, "dataset": "my", "classes": [{"name": "Dachs"}]})
    )
    done = command(tmp_path, "check", "my.json", "--rules", "deutsch")
    assert "'^(und' is not a pattern" in done.stderr
    missing = command(tmp_path, "check", "my.json", "--rules", "nowhere")
    assert "no nowhere/rules.yaml" in missing.stderr


def test_a_run_sees_the_rules_of_its_project(server: Server, tmp_path: Path) -> None:
    """Texts judged by other rules than those in the folder would count as this project's."""
    marks = {
        "root": "photos/marks", "views": 1,
        "texts": {"name": "names", "attribute": "llm"},
    }  # fmt: skip
    document = changed(
        SMALL, datasets={"marks": marks},
        generator={"model": "tiny", "base_url": server.url, "prompts": "asked"},
    )  # fmt: skip
    work = working_copy(tmp_path / "copy", document)
    folder = work.folder / "asked"
    folder.mkdir()
    target = "results/texts/generated/marks.json"
    work.snakemake(target)
    asked = len(server.asked)
    assert asked == len(MARKS)

    def planned() -> bool:
        done = work.snakemake(target, "--dry-run")
        return "generate_texts" in done.stdout + done.stderr

    assert not planned()
    # a file that was not there before
    shipped = english.SHIPPED.read_text(encoding="utf-8")
    (folder / english.OWN).write_text(shipped, encoding="utf-8")
    assert planned()
    work.snakemake(target)
    assert not planned()
    texts = json.loads((work.folder / target).read_text(encoding="utf-8"))
    lost = texts["classes"][0]["attribute"][0]
    # and one that refuses a text
    edited = yaml.safe_load(shipped)
    edited["negation"]["patterns"] += f"^{lost}$\n"
    (folder / english.OWN).write_text(yaml.safe_dump(edited), encoding="utf-8")
    assert planned()
    work.snakemake(target)
    assert lost not in (work.folder / target).read_text(encoding="utf-8").split('"provenance"')[0]
    assert len(server.asked) == asked, "the questions are the same, and their answers are stored"
