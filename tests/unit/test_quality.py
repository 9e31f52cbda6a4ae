"""What the report says of a text set, and that the sets of this project pass it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from coder_clip.datasets.entry import entry
from coder_clip.evaluation.text_quality import Quality, findings, quality, table
from coder_clip.texts.names import name_key
from coder_clip.texts.sets import ClassTexts, Pair, PairSet, TextSet, load_pair_set, load_text_set

ROOT = Path(__file__).parent.parent.parent
OUR_OWN = ("eurosat", "oxford_pets", "dtd")


def of(*classes: ClassTexts, pairs: Sequence[Pair] = (), coverage: float | None = None) -> dict[str, Quality]:
    texts = TextSet(dataset="d", classes=list(classes))
    both = PairSet(dataset="d", pairs=list(pairs)) if pairs else None
    return {q.kind: q for q in quality(texts, both, coverage)}


FOX = ClassTexts(name="red_fox", attribute=["red fur", "a white tip of the tail"], synonym=["Vulpes"])
LAKE = ClassTexts(name="lake", attribute=["still water"])


def test_counts() -> None:
    found = of(FOX, LAKE)["attribute"]
    assert (found.texts, found.classes, found.of, found.per_class) == (3, 2, 2, (1, 1.5, 2))
    assert (of(FOX, LAKE)["synonym"].classes, of(FOX, LAKE)["synonym"].texts) == (1, 1)
    assert "analogous" not in of(FOX, LAKE)


def test_a_text_of_two_classes_is_named_whatever_its_spelling() -> None:
    """It raises both scores alike."""
    a, b = ClassTexts(name="a", attribute=["Red fur"]), ClassTexts(name="b", attribute=["red  fur"])
    assert findings(list(of(a, b).values())) == ["d, attribute: 'Red fur' is a text of a and of b"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a lake behind", ["lake"]), ("blue LAKES", ["lake"]), ("a Red-Fox nearby", []), ("a lakeside", []),
        ("flake by flake", []), ("an arctic fox", ["arctic fox"]), ("a fox", []),
    ],
)  # fmt: skip
def test_a_text_that_names_another_class_is_named(text: str, named: list[str]) -> None:
    """Its sentence is about that class too."""
    fox = ClassTexts(name="red_fox", attribute=[text])
    found = of(fox, ClassTexts(name="lake"), ClassTexts(name="arctic fox"))["attribute"]
    assert [other for _, _, other in found.names_another] == named


def test_a_name_inside_the_own_longer_name_is_its_own() -> None:
    """ "dotted" within "polka-dotted" would be reported for every text."""
    polka = ClassTexts(name="polka-dotted", synonym=["polka dotted cloth", "dotted cloth"])
    found = of(polka, ClassTexts(name="dotted"))["synonym"]
    assert [text for _, text, _ in found.names_another] == ["dotted cloth"]


def test_classes_of_one_name_do_not_name_each_other() -> None:
    twice = [ClassTexts(name="missile", attribute=["a missile's tip"]) for _ in range(2)]
    assert of(*twice)["attribute"].names_another == []


def test_pairs_are_held_against_both_classes() -> None:
    pair = Pair(a="red_fox", b="lake", a_index=0, b_index=1, a_not_b=["fur", "no lake"], b_not_a=["water"])
    found = of(FOX, LAKE, pairs=[pair], coverage=0.25)["one_to_one"]
    assert (found.texts, found.classes, found.of, found.per_class) == (3, 1, 1, (1, 1.5, 2))
    assert found.names_another == [("red fox", "no lake", "lake")]
    assert found.coverage == 0.25
    line = table([found])[1]
    assert "1/1 pairs" in line
    assert "25.0 %" in line


def test_a_repeated_finding_is_one_line() -> None:
    pair = {"a": "red_fox", "a_index": 0, "a_not_b": ["no lake"], "b_not_a": ["wet"]}
    pairs = [Pair(b="lake", b_index=1, **pair), Pair(b="sea", b_index=2, **pair)]
    found = of(FOX, LAKE, ClassTexts(name="sea"), pairs=pairs)
    assert findings(list(found.values())) == [
        "d, one_to_one: 'no lake' of red fox names the class lake (2 times)"
    ]


# ---- the sets in data/texts ------------------------------------------------------------------------


def read(name: str) -> tuple[list[str], TextSet, PairSet]:
    classes = (ROOT / f"data/classes/{name}.txt").read_text(encoding="utf-8").splitlines()
    texts = load_text_set(ROOT / f"data/texts/{name}.json", name, classes)
    return classes, texts, load_pair_set(ROOT / f"data/texts/{name}.one_to_one.json", name, classes)


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "data/classes").glob("*.txt")))
def test_every_set_fits_its_class_names(name: str) -> None:
    """A run would stop at its first phase, or describe a class with the texts of another."""
    classes, texts, pairs = read(name)
    assert [c.name for c in texts.classes] == classes
    assert texts.dataset == pairs.dataset == name


@pytest.mark.parametrize("name", sorted(p.stem for p in (ROOT / "data/classes").glob("*.txt")))
def test_every_set_says_honestly_what_it_is(name: str) -> None:
    """ "Hand-written" would be read as: by experts who looked at the images, or as the paper's own texts."""
    _, texts, pairs = read(name)
    of_kind = {**texts.provenance, **pairs.provenance}
    assert of_kind.keys() == {"name", "attribute", "analogous", "synonym", "one_to_one"}
    written = {of_kind[kind]["source"] for kind in of_kind if kind != "name"}
    wanted = "from the class names, not the images, and not" if name in OUR_OWN else "for coder-clip"
    assert len(written) == 1
    assert all(s.startswith("written for coder-clip") and wanted in s for s in written)
    assert all(s.endswith("not by the paper's language model") for s in written)


@pytest.mark.parametrize("name", OUR_OWN)
def test_our_own_sets_have_no_finding(name: str) -> None:
    """What the report warns people of, we do not ship."""
    _, texts, pairs = read(name)
    found = quality(texts, pairs)
    assert findings(found) == []
    assert [q.kind for q in found] == ["name", "attribute", "analogous", "synonym", "one_to_one"]
    by_kind = {q.kind: q for q in found}
    assert all(by_kind[k].classes == len(texts.classes) for k in ("attribute", "analogous", "synonym"))
    assert by_kind["attribute"].per_class[0] >= 8
    assert by_kind["attribute"].per_class[2] <= 12


@pytest.mark.parametrize("name", OUR_OWN)
def test_our_own_texts_are_distinct_and_of_other_classes(name: str) -> None:
    classes, texts, pairs = read(name)
    keys = {name_key(c) for c in classes}
    for c in texts.classes:
        of_class = [name_key(t) for t in (*c.attribute, *c.analogous, *c.synonym)]
        assert len(set(of_class)) == len(of_class), c.name
        similar = {
            name_key(t).removeprefix("a ").removeprefix("an ").removesuffix(" dog") for t in c.analogous
        }
        assert not similar & keys, c.name
        assert name_key(c.name) not in map(name_key, c.synonym)
        assert not [t for t in c.attribute if t.endswith(".")], "it stands inside a sentence"
    for p in pairs.pairs:
        assert not {name_key(t) for t in p.a_not_b} & {name_key(t) for t in p.b_not_a}, (p.a, p.b)
        assert min(len(p.a_not_b), len(p.b_not_a)) >= 1
    with_pairs = {p.a for p in pairs.pairs} | {p.b for p in pairs.pairs}
    assert len(with_pairs) >= 0.95 * len(classes)


@pytest.mark.parametrize("name", OUR_OWN)
def test_label_order_is_that_of_the_data_set(name: str) -> None:
    """One class off, and every number is wrong."""
    assert read(name)[0] == entry(name).class_names()


# ---- the command -----------------------------------------------------------------------------------


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped encoder and one data set, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mini").symlink_to(ROOT / "data/mini")
    (tmp_path / "data/texts").symlink_to(ROOT / "data/texts")
    path = tmp_path / "c.yaml"
    path.write_text("datasets: [shapes]\nmodels: [mini]\nfeatures: {device: cpu}\n")
    return path


def test_report_reads_a_file_that_no_configuration_names(
    command: Callable[..., Any], configuration: Path, tmp_path: Path
) -> None:
    classes = [
        {"name": "lake", "attribute": ["still water"]},
        {"name": "fox", "attribute": ["a lake", "fur"]},
    ]
    (tmp_path / "t.json").write_text(json.dumps({"format": 1, "dataset": "own", "classes": classes}))
    answer = command("texts", "report", "t.json", "--config", configuration, "--json", "r.json")
    assert answer.code == 0, answer.err
    assert "own, attribute: 'a lake' of fox names the class lake" in answer.out
    written = {q["kind"]: q for q in json.loads((tmp_path / "r.json").read_text())}
    assert written["attribute"]["texts"] == 3
    strict = command("texts", "report", "t.json", "--config", configuration, "--strict")
    assert strict.code == 1


def test_report_shows_the_texts_of_the_configuration(
    command: Callable[..., Any], configuration: Path
) -> None:
    answer = command("texts", "report", "--config", configuration)
    assert answer.code == 0, answer.err
    kinds = [line.split()[1] for line in answer.out.splitlines() if line.startswith("shapes  ")]
    assert kinds == ["name", "attribute", "analogous", "synonym", "one_to_one"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--dataset", "shape"], "did you mean 'shapes'"),
        (["nothing.json"], "nothing.json"),
    ],
)
def test_report_names_what_is_not_there(
    command: Callable[..., Any], configuration: Path, arguments: list[str], says: str
) -> None:
    answer = command("texts", "report", *arguments, "--config", configuration)
    assert answer.code == 1
    assert says in answer.err
