"""What the report says of a text set, and that the sets of this project pass it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from coder_clip.datasets import PUBLISHED
from coder_clip.datasets.entry import entry
from coder_clip.encoders.encoder import Encoder
from coder_clip.evaluation.text_quality import Quality, findings, quality, table
from coder_clip.photos.texts import read_text_set
from coder_clip.texts import similar
from coder_clip.texts.checks import check
from coder_clip.texts.sets import ClassTexts, Pair, PairSet, TextSet, load_pair_set, load_text_set

ROOT = Path(__file__).parent.parent.parent
OUR_OWN = sorted({entry(name).texts or name for name in PUBLISHED} - {"cifar10", "cifar100"})
SETS = [p for p in sorted((ROOT / "data/texts").glob("*.json")) if not p.stem.endswith("one_to_one")]


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


def test_pairs_are_counted_by_side_with_their_faults() -> None:
    pair = Pair(a="red_fox", b="lake", a_index=0, b_index=1, a_not_b=["fur", "no lake"], b_not_a=["water"])
    found = of(FOX, LAKE, pairs=[pair], coverage=0.25)["one_to_one"]
    assert (found.texts, found.classes, found.of, found.per_class) == (3, 1, 1, (1, 1.5, 2))
    assert [fault.rule for fault in found.faults] == ["other name", "count", "count"]
    assert found.coverage == 0.25
    line = table([found])[1]
    assert "1/1 pairs" in line
    assert "25.0 %" in line
    assert findings([found])[0].startswith(
        "d: red_fox / lake".replace("_", " ") + ", one_to_one: 'no lake': names the class"
    )


# ---- the sets in data/texts ------------------------------------------------------------------------


def read(name: str) -> tuple[list[str], TextSet, PairSet]:
    listed = ROOT / f"data/classes/{name}.txt"
    classes = (
        listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else entry(name).class_names()
    )
    texts = load_text_set(ROOT / f"data/texts/{name}.json", name, classes)
    return classes, texts, load_pair_set(ROOT / f"data/texts/{name}.one_to_one.json", name, classes)


@pytest.mark.parametrize("name", [path.stem for path in SETS])
def test_every_set_says_honestly_what_it_is(name: str) -> None:
    """ "Hand-written" would be read as: by experts who looked at the images, or as the paper's own texts."""
    _, texts, pairs = read(name)
    assert texts.dataset == pairs.dataset == name
    of_kind = {**texts.provenance, **pairs.provenance}
    assert of_kind.keys() == {"name", "attribute", "analogous", "synonym", "one_to_one"}
    written = {of_kind[kind]["source"] for kind in of_kind if kind != "name"}
    wanted = "from the class names, not the images, and not" if name in OUR_OWN else "for coder-clip"
    assert len(written) == 1
    assert all(s.startswith("written for coder-clip") and wanted in s for s in written)
    assert all(s.endswith("not by the paper's language model") for s in written)


@pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)
def test_every_set_passes_the_checks(path: Path) -> None:
    """What we ask of a model's texts, our own keep; exceptions are listed in the set, with their reasons."""
    texts, pairs = read_set(path)
    assert [str(fault) for fault in check(texts, pairs)] == []


@pytest.mark.rest
@pytest.mark.parametrize("path", [p for p in SETS if p.stem in OUR_OWN], ids=lambda path: path.stem)
def test_every_set_passes_the_checks_with_an_encoder(path: Path, lite: Encoder) -> None:
    """No text says what another class's text says, and no pair has its sides swapped."""
    texts, pairs = read_set(path)
    assert [str(fault) for fault in check(texts, pairs, similar.faults(texts, pairs, lite))] == []


def test_all_sets_together_stay_small() -> None:
    """A clone of a project should not wait for its texts."""
    assert sum(p.stat().st_size for p in (ROOT / "data/texts").glob("*.json")) < 4_000_000


def read_set(path: Path) -> tuple[TextSet, PairSet | None]:
    texts = read_text_set(path)
    pairs = path.with_name(f"{path.stem}.one_to_one.json")
    names = [c.name for c in texts.classes]
    return texts, load_pair_set(pairs, texts.dataset, names) if pairs.is_file() else None


@pytest.mark.parametrize("name", OUR_OWN)
def test_our_own_sets_have_all_kinds_and_enough_of_each(name: str) -> None:
    classes, texts, pairs = read(name)
    found = quality(texts, pairs)
    assert [q.kind for q in found] == ["name", "attribute", "analogous", "synonym", "one_to_one"]
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
        {"name": "fox", "attribute": ["no stripes", "fur"]},
    ]
    (tmp_path / "t.json").write_text(json.dumps({"format": 1, "dataset": "own", "classes": classes}))
    answer = command("texts", "report", "t.json", "--config", configuration, "--json", "r.json")
    assert answer.code == 0, answer.err
    assert "own: fox, attribute: 'no stripes': 'no' (negation): say what is there instead" in answer.out
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
