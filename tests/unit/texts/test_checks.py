"""The checks that every text passes: shipped, your own, or a language model's."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coder_clip.texts import checks
from coder_clip.texts.checks import Names, check_texts, fault
from coder_clip.texts.cleaning import clean
from coder_clip.texts.sentences import described
from coder_clip.texts.sets import ClassTexts, Pair, PairSet, TextSet
from coder_clip.texts.similar import faults as compared

CLASSES = Names(["red fox", "owl", "grey wolf"])


def rule_of(text: str, kind: str = "attribute", other: str = "") -> str | None:
    found = fault(clean(text, kind), kind, "red fox", CLASSES, other)
    return None if found is None else found[0]


def why_of(text: str, kind: str = "attribute") -> str | None:
    found = fault(clean(text, kind), kind, "red fox", CLASSES)
    return None if found is None else found[1]


# ---- one text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("I'm sorry, but I can't help with that", "a refusal"),
        ("I apologize", "a refusal"),
        ("As an AI language model", "a refusal"),
        ("cannot assist with this", "a refusal"),
        ("I cannot provide that", "a refusal"),
        ("which fox?", "a question"),
        ("哪一个？", "a question"),
        ("could you please specify the breed", "a question"),
        ("none", "says nothing"),
        ("N/A", "says nothing"),
        ("null", "says nothing"),
        ("Keine", "says nothing"),
        ("5 strings", "says nothing"),
        ("first feature", "says nothing"),
        ("like a grey wolf", "names the class grey wolf"),
        ("an owl", "names the class owl"),
        ("хвост", "in another script (cyrillic)"),
        ("長い尾", "in another script (cjk, hiragana)"),
        ("a μακριά tail", "in another script (greek)"),
        ("a tail\u202e", "control characters"),
        ("a\x1b[31m tail", "control characters"),
        ("a\x00tail", "control characters"),
        ("\ud800 tail", "control characters"),
        ("\ufeffa tail", "control characters"),
        ("…", "no letters"),
        ("long " * 41, "longer than 200 characters"),
        (
            "a tail on an animal that is seen from the side in a wide white field at noon of a day",
            "longer than 20 words",
        ),
    ],
)
def test_a_text_that_will_not_do(text: str, why: str) -> None:
    assert why_of(text) == why


NO_TEXTS = {
    "form": [
        "**a bushy tail**", "- a bushy tail", "• a bushy tail", "1. a bushy tail", "2) a tail", "<b>a tail</b>",
        "a bushy tail<|im_end|>", "[a feature]", '{"feature": "a tail"}', "a tail, paws, etc",
        "a tail; white paws",
        "a `bushy` tail", "a tail (bushy)", "tail: bushy", "a tail | paws", "a long tail…", "paws, e.g. white ones",
    ],
    "answer": [
        "Error: rate limit exceeded", "a photo of a red fox which has a tail", "Request denied", "access denied",
        "Sorry, that's not something I can help with", "internal server error", "a photo of a bushy tail",
    ],
    "wording": ["with a bushy tail", "is orange all over", "in deep snow", "it is a bushy animal"],
    "own name": [
        "a red fox tail", "the tail of red foxes", "a fox with red fur", "the tail of a red fox", "red fox", "red foxs",
    ],
    "negation": [
        "no stripes", "a tail without a tip", "a coat that lacks spots", "a body devoid of fur",
        "ears that aren't round",
        "a coat free of spots", "non-striped fur", "hardly any white", "an unmarked belly", "a spotless coat",
        "neither stripes nor spots", "a missing toe", "fur rather than feathers", "a tailless rump",
    ],
    "comparative": [
        "a longer tail", "bigger ears", "a heavier body", "more white on the tail", "a darker back", "less fur",
        "longer ears than usual", "whiter paws", "a fluffier tail", "fewer whiskers",
    ],
    "unseen": [
        "a loud bark-like noise", "a musky smell", "fragrant fur", "a melodious song", "a body 60 cm long",
        "a weight of 5 kg", "an intelligent animal", "nocturnal eyes", "fur prized for its warmth", "native to Europe",
        "a distinctive sound", "an expensive pelt", "a loud noise",
    ],
    "vague": [
        "distinctive features", "a unique look", "an elegant appearance", "a very characteristic shape",
        "various colours",
        "typical body proportions", "a recognisable overall design",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "text"), [(rule, text) for rule, texts in NO_TEXTS.items() for text in texts]
)
def test_what_is_no_text_is_refused_by_its_rule(rule: str, text: str) -> None:
    """Each of these was accepted as an attribute, and would describe images."""
    found = fault(text, "attribute", "red fox", CLASSES)
    assert found is not None
    assert found[0] == rule


@pytest.mark.parametrize(
    "text",
    ["a long tail", "a can of paint", "an unable wing", "7 petals", "a café table", "owl-like eyes", "a wolf-grey coat",
     "a sorry look", "micrometre scale", "question mark on the wing", "a seamless shell",
     "a tail longer than its body", "fur darker at the tips", "two or more toes", "a lower jaw "
"with white fur",
     "an upright lower mandible", "a corner of the mouth", "a forget-me-not blue throat", "a non-slip sole",
     "gold № 5", "a sound hole under the strings", "a Z-shaped crease", "a van with sliding doors",
     "a cheap plastic toy",
     "a greater than life statue", "sauerkraut und Wurst on a plate", "les paul guitars on a wall",
     "a bottomless basket",
     "a stainless steel rim", "an uneven edge", "flower petals", "a silver border", "smoke rising "
"from a grey "
"chimney"],
)  # fmt: skip
def test_an_ordinary_text_is_accepted(text: str) -> None:
    """Every text that is lost is paid for again."""
    assert rule_of(text) is None


NO_SYNONYMS = [
    "None known", "no common synonyms", "No known synonyms", "There is no synonym", "there are no synonyms", "none",
    "None exist", "none available", "not applicable", "N/A", "No other name", "no alternative name",
    "no direct synonym",
    "no exact equivalent", "no widely used synonym", "none found", "nothing", "it has no synonyms",
    "does not have a synonym", "Request denied", "Sorry, that's not something I can help with", "I'm unable to comply",
    "same as above", "unknown", "access denied", "content blocked", "empty", "null", "cannot be named",
    "synonym not available", "(none)", "no synonym exists", "I don't know any",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_SYNONYMS)
@pytest.mark.parametrize("kind", ["synonym", "analogous"])
def test_that_there_is_no_synonym_is_no_synonym(text: str, kind: str) -> None:
    """One sentence would be the name of hundreds of classes, and synonyms count by their maximum."""
    assert rule_of(text, kind) == "answer"


@pytest.mark.parametrize(
    "text",
    ["Vulpes vulpes", "forget-me-not", "a no-entry sign", "no entry sign", "T. rex", "1.5-tonne lizard", "St. Bernard",
     "Boeing 737 (original)", "isle of Man cat", "hash browns", "nightjar", "Ilyushin Il-76", "a mail van",
     "kids' den"],
)  # fmt: skip
def test_an_ordinary_name_is_accepted(text: str) -> None:
    assert rule_of(text, "analogous" if text.startswith("a ") else "synonym") is None


def test_names_of_classes_are_no_names_of_things_like_them() -> None:
    for text in (
        "grey wolves",
        "some grey wolf",
        "gray wolf",
        "a wolf, grey",
        "greywolf",
        "two grey wolves",
    ):
        assert rule_of(text, "analogous") == "analogous", text
    assert rule_of("a Grey-Wolf", "analogous") == "analogous"
    assert rule_of("owls", "synonym") == "synonym"
    assert rule_of("Red_Fox", "synonym") == "synonym"
    assert rule_of("a small red fox", "analogous") == "own name"


def test_of_a_pair_both_names_are_refused() -> None:
    """Each side is put into a sentence with both names."""
    assert rule_of("ears unlike a grey wolf", "one_to_one", "grey wolf") in (
        "negation",
        "other name",
    )
    assert rule_of("ears like a grey wolf", "one_to_one", "grey wolf") == "other name"
    assert rule_of("fur like an owl", "one_to_one", "grey wolf") is None


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("which is smooth", None),
        ("which is eaten without bones", "negation"),
        ("which is larger", "comparative"),
        ("which is famous", "unseen"),
        ("which is a grey wolf", "other name"),
        ("which is made of red fox fur", "own name"),
    ],
)
def test_a_clause_is_judged_by_the_other_rules(text: str, rule: str | None) -> None:
    assert rule_of(text) == rule


def test_a_clause_takes_the_place_of_which_has() -> None:
    template = "a photo of a {class} which has {attribute}."
    assert described(template, "sushi", "which is rolled in nori") == (
        "a photo of a sushi which is rolled in nori."
    )


def test_a_name_without_letters_is_in_no_text() -> None:
    assert fault("a long tail", "attribute", "???", Names(["???", "!"])) is None


def test_texts_of_a_class_in_another_script_are_in_that_script() -> None:
    assert fault("длинный хвост", "attribute", "лиса", Names(["лиса"])) is None


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("  a  long\ttail\n", "a long tail"),
        ('"a long tail".', "a long tail"),
        ("«a long tail»,", "a long tail"),
        ("a_long_tail", "a long tail"),
        ("it has a long tail", "a long tail"),
        ("- **a long tail**", "a long tail"),
        ("3) `a long tail`,", "a long tail"),
        ("which may also have a long tail", "a long tail"),
        ("with a long tail", "a long tail"),
        ("a tail (in summer) of black feathers", "a tail of black feathers"),
        ('a badge that says "Accord" at the back', "a badge that says Accord at the back"),
        ("a strap, usually made of leather", "a strap, made of leather"),
        ("Typically, four doors", "four doors"),
        ("leaves are narrow and long", "leaves that are narrow and long"),
        ("leaves that are narrow", "leaves that are narrow"),
        ("they have been cut", "they have been cut"),
        ("5'6\" of tail", "5'6\" of tail"),
        ("T. rex", "T. rex"),
        ("e\u0301toile", "étoile"),
        ("گوش‌ها", "گوش‌ها"),
    ],
)
def test_one_form_of_a_text(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


@given(st.text(max_size=60))
def test_what_is_accepted_can_be_shown_and_encoded(text: str) -> None:
    """A control character breaks a terminal, a half character breaks the file."""
    found = clean(text)
    if fault(found, "attribute", found, CLASSES) is None:
        found.encode()
        assert found.isprintable() or set(found) & set(checks.JOINERS)
        assert found == " ".join(found.split())


# ---- a text set


def of(*classes: ClassTexts, pairs: Sequence[Pair] = (), **more: Any) -> list[tuple[str, str]]:
    texts = TextSet.model_validate({"dataset": "d", "classes": list(classes), **more})
    found = check_texts(texts, PairSet(dataset="d", pairs=list(pairs)) if pairs else None)
    return [(f.rule, f.text) for f in found]


THREE = ["a long tail", "white paws", "a wet nose"]
FOX = ClassTexts(name="red_fox", attribute=THREE, synonym=["Vulpes"], analogous=["a jackal"])
OWL = ClassTexts(name="owl", attribute=["a round head", "a hooked beak", "spotted wings"])


def test_a_set_without_faults() -> None:
    assert of(FOX, OWL) == []


def test_what_two_classes_have_is_named_once_whatever_its_spelling() -> None:
    """It raises both scores alike."""
    owl = ClassTexts(name="owl", attribute=["A long-tail", *OWL.attribute], synonym=["the vulpes"])
    texts = TextSet(dataset="d", classes=[FOX, owl])
    found = check_texts(texts)
    assert [(f.rule, f.owner, f.why) for f in found] == [
        ("shared", "red fox", "also a text of owl"),
        ("synonym", "red fox", "also a text of owl"),
    ]
    assert str(found[0]) == (
        "red fox, attribute: 'a long tail': also a text of owl (shared): word what only one of "
        "the classes has, "
        "or leave "
        "it out"
    )


def test_classes_of_one_name_may_have_the_same_texts() -> None:
    """ImageNet has "missile" twice."""
    twice = [ClassTexts(name="missile", attribute=THREE)] * 2
    assert of(*twice) == []


def test_counts_and_repeats() -> None:
    """Texts that are missing or said twice would pass the check."""
    few = ClassTexts(name="owl", attribute=["a round head", "a Round Head"])
    assert of(FOX, few) == [("repeat", "a Round Head"), ("count", "")]


def test_pairs_have_three_true_texts_a_side() -> None:
    pair = Pair(
        a="red_fox",
        b="owl",
        a_index=0,
        b_index=1,
        a_not_b=THREE,
        b_not_a=["an owl face", "a wet nose"],
    )
    assert of(FOX, OWL, pairs=[pair]) == [
        ("sides", "a wet nose"),
        ("own name", "an owl face"),
        ("count", ""),
    ]


def test_an_exception_has_a_reason_and_is_needed() -> None:
    """A list of exceptions that nobody clears hides the next fault."""
    orange = ClassTexts(
        name="orange", attribute=["orange peel all over", "a round body", "tiny pores"]
    )
    wanted = {
        "class": "orange",
        "text": "orange peel all over",
        "rule": "own name",
        "why": "the colour",
    }
    assert of(FOX, orange) == [("own name", "orange peel all over")]
    assert of(FOX, orange, exceptions=[wanted]) == []
    assert of(FOX, orange, exceptions=[{"rule": "own name", "why": "colours"}]) == []
    assert of(FOX, OWL, exceptions=[wanted]) == [("exception", "orange peel all over")]
    assert of(FOX, OWL, exceptions=[{"rule": "sides", "why": "depends on the encoder"}]) == []
    with pytest.raises(ValueError, match="why"):
        of(FOX, exceptions=[{**wanted, "why": ""}])


# ---- with an encoder


class Encoder:
    """Features by words: texts that share words are near."""

    words = [
        "long",
        "tail",
        "white",
        "paws",
        "wet",
        "nose",
        "round",
        "head",
        "hooked",
        "beak",
        "spotted",
        "wings",
        "big",
        "red",
        "fox",
        "owl",
        "vulpes",
        "bird",
        "eyes",
    ]

    def encode_texts(self, texts: Sequence[str]) -> torch.Tensor:
        rows = [[float(word in text.lower().split()) for word in self.words] for text in texts]
        return torch.nn.functional.normalize(
            torch.tensor(rows).reshape(len(texts), len(self.words)) + 1e-3, dim=1
        )


def test_an_encoder_finds_texts_of_two_classes_and_swapped_sides() -> None:
    owl = OWL.model_copy(
        update={"attribute": [*OWL.attribute, "the long tail"], "synonym": ["a big red fox"]}
    )
    sides = (["a long white tail", "a wet white nose"], ["a round hooked beak", "a spotted head"])
    right = Pair(a="red_fox", b="owl", a_index=0, b_index=1, a_not_b=sides[0], b_not_a=sides[1])
    swapped = right.model_copy(update={"a_not_b": sides[1], "b_not_a": sides[0]})
    texts = TextSet(dataset="d", classes=[FOX, owl])

    def found(*pairs: Pair) -> list[tuple[str, str, str]]:
        pair_set = PairSet(dataset="d", pairs=list(pairs))
        return [(f.rule, f.owner, f.text) for f in compared(texts, pair_set, Encoder())]  # type: ignore[arg-type]

    alike = [("alike", "red fox", "a long tail"), ("alike", "owl", "the long tail")]
    assert found(right) == alike
    assert found(swapped) == [*alike, ("sides", "red fox / owl", "; ".join(sides[1]))]


# ---- the command


Command = Callable[..., Any]


def test_check_reads_files_and_folders_without_a_configuration(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sets").mkdir()
    classes = [c.model_dump(exclude_defaults=True) for c in (FOX, OWL)]
    path = tmp_path / "sets/d.json"
    path.write_text(json.dumps({"dataset": "d", "classes": classes}))
    done = command("texts", "check", "sets")
    assert (done.code, done.err) == (0, "")
    unknown = (
        "sets/d.json: class names are not compared, because nothing here names those of 'd' "
        "(--config names a configuration)"
    )
    assert done.out.splitlines() == [
        unknown,
        "sets/d.json: 2 classes, 6 attribute, 1 analogous, 1 synonym, 0 exceptions: no fault",
    ]
    pair = {
        "a": "red_fox",
        "b": "owl",
        "a_not_b": ["no beak", *THREE],
        "b_not_a": ["a longer beak"],
    }
    (tmp_path / "sets/d.one_to_one.json").write_text(json.dumps({"dataset": "d", "pairs": [pair]}))
    for given_ in (["sets"], ["sets/d.json"], ["sets/d.json", "sets/d.one_to_one.json"]):
        done = command("texts", "check", *given_)
        assert done.code == 1
        assert done.out.splitlines() == [
            (
                "sets/d.one_to_one.json: red fox / owl, one_to_one: "
                "'no beak': 'no' (negation): say "
                "what is there instead"
            ),
            "sets/d.one_to_one.json: red fox / owl, one_to_one: 'a longer beak': 'longer' "
            "(comparative): say 'long' "
            "or 'very long', or name what it is compared with",
            "sets/d.one_to_one.json: red fox / owl, one_to_one: 1 text of owl (count): give at "
            "least 3 texts; leave out a key that has none",
            unknown,
            "sets/d.json: 2 classes, 6 attribute, 1 analogous, 1 "
            "synonym, 1 pairs, 0 exceptions: 3 faults "
            "(1 negation, 1 comparative, 1 count)",
        ]
    missing = command("texts", "check", "other.json")
    assert missing.code == 1
    assert "no text set other.json" in missing.err


def test_check_reads_the_texts_of_a_configuration(
    command: Command, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repo)
    done = command("texts", "check", "--config", "config/reproduce.yaml", "--dataset", "shapes")
    assert done.code == 0, done.err
    assert done.out.startswith("data/texts/shapes.json: ")
    assert all(
        f" {said}" in done.out
        for said in ("attribute", "analogous", "synonym", "pairs", "no fault")
    )


@pytest.fixture
def foxes(tmp_path: Path, repo: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photos of three classes, their texts, and a configuration."""
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mini").symlink_to(repo / "data/mini")
    (tmp_path / "data/texts").mkdir()
    for name in ("red_fox", "owl", "stoat"):
        for part in ("train", "val", "test"):
            (tmp_path / "photos" / part / name).mkdir(parents=True)
            for i in range(2):
                picture = Image.new("RGB", (8, 8), (i, len(name), len(part)))
                picture.save(tmp_path / f"photos/{part}/{name}/{i}.png")
    (tmp_path / "c.yaml").write_text(
        "datasets: {foxes: {root: photos, texts: mine.json}}\nmodels: [mini]\n"
    )
    stoat = ClassTexts(
        name="stoat", attribute=["a black tail tip", "a brown back", "a white throat"]
    )
    classes = [c.model_dump(exclude_defaults=True) for c in (FOX, OWL, stoat)]
    (tmp_path / "mine.json").write_text(json.dumps({"dataset": "foxes", "classes": classes}))
    return tmp_path


def test_check_compares_with_the_classes_of_the_data_set(command: Command, foxes: Path) -> None:
    """A file for "stoats" had no fault, and the run refused it; nor had a file for two of a hundred
    classes.
    """
    assert command("texts", "check", "--config", "c.yaml").code == 0
    text = (foxes / "mine.json").read_text()
    (foxes / "mine.json").write_text(text.replace('"stoat"', '"stoats"'))
    for given_ in ([], ["mine.json"]):
        done = command("texts", "check", *given_, "--config", "c.yaml")
        assert done.code == 1
        assert "the data set has this class, and the file has no entry for it (classes)" in done.out
        assert (
            "stoats, name: 'stoats': the data set has no such class (did you mean 'stoat'?)"
            in done.out
        )
        assert "2 faults (2 classes)" in done.out
    two = {"dataset": "oxford_pets", "classes": json.loads(text)["classes"][:2]}
    (foxes / "two.json").write_text(json.dumps(two))
    done = command("texts", "check", "two.json")
    assert done.code == 1
    assert "39 classes" in done.out.splitlines()[-1]


def test_check_says_which_pairs_a_run_does_not_use(command: Command, foxes: Path) -> None:
    """The author believes that his pairs count."""
    pair = {
        "a": "red_fox",
        "b": "owl",
        "a_not_b": THREE,
        "b_not_a": ["no beak", "a beak", "a round face"],
    }
    (foxes / "mine.one_to_one.json").write_text(json.dumps({"dataset": "foxes", "pairs": [pair]}))
    done = command("texts", "check", "--config", "c.yaml")
    assert done.code == 0
    assert (
        "mine.one_to_one.json is not used: 'one_to_one: "
        "mine.one_to_one.json' of the data set uses it"
    ) in done.out
    assert "pairs" not in done.out.splitlines()[-1]
    (foxes / "c.yaml").write_text(
        "datasets: {foxes: {root: photos, texts: mine.json, one_to_one: "
        "mine.one_to_one.json}}\nmodels: [mini]\n"
    )
    done = command("texts", "check", "--config", "c.yaml")
    assert done.code == 1
    assert "is not used" not in done.out
    assert "1 fault (1 negation)" in done.out


def test_check_puts_the_kinds_of_several_files_together(command: Command, foxes: Path) -> None:
    """A synonym of one file is a class's analogous thing in the other."""
    document = json.loads((foxes / "mine.json").read_text())
    document["classes"] = [{"name": c["name"]} for c in document["classes"]]
    document["classes"][1]["analogous"] = ["Vulpes"]
    (foxes / "more.json").write_text(json.dumps(document))
    (foxes / "c.yaml").write_text(
        "datasets: {foxes: {root: photos, texts: {attribute: mine.json, synonym: mine.json, "
        "analogous: more.json}}}\n"
        "models: [mini]\n"
    )
    done = command("texts", "check", "--config", "c.yaml")
    assert done.code == 1
    assert "more.json: owl, analogous: 'Vulpes': a synonym of red fox" in done.out
    assert done.out.splitlines()[-1].startswith(
        "mine.json + more.json: 3 classes, 9 attribute, 1 analogous"
    )


@pytest.mark.parametrize("place", ["name", "text", "key", "pair"])
def test_half_a_character_is_one_line(command: Command, foxes: Path, place: str) -> None:
    """It was a traceback."""
    text = (foxes / "mine.json").read_text()
    before = {"name": "stoat", "text": "a long tail", "key": '"dataset"', "pair": "a long tail"}[
        place
    ]
    if place == "pair":
        pair = {
            "a": "red_fox",
            "b": "owl",
            "a_not_b": THREE,
            "b_not_a": ["a beak", "a round face", "claws"],
        }
        text, path = (
            json.dumps({"dataset": "foxes", "pairs": [pair]}),
            foxes / "mine.one_to_one.json",
        )
    else:
        path = foxes / "mine.json"
    path.write_text(text.replace(before, before[:-1] + "\\ud800" + before[-1]))
    done = command("texts", "check", "mine.json")
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert "half a character" in done.err
    assert path.name in done.err
