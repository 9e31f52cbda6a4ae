"""The text sets of this project fit their data sets, and pass the checks."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import yaml

from coder_clip.datasets import PUBLISHED
from coder_clip.datasets.entry import entry
from coder_clip.encoders.encoder import Encoder
from coder_clip.texts import similar
from coder_clip.texts.checks import check_texts
from coder_clip.texts.english import english, stems
from coder_clip.texts.kinds import BESIDES_NAME
from coder_clip.texts.sets import PairSet, TextSet, load_pair_set, load_text_set, read_text_set
from fixtures import REPO

ROOT = REPO
# published data sets whose texts are here; an entry can come without texts
OUR_OWN = sorted(
    name
    for name in {entry(name).texts or name for name in PUBLISHED}
    if (ROOT / f"data/texts/{name}.json").is_file()
)
QUICK = (
    "rare",
    "shapes",
    "dtd",
    "eurosat",
    "oxford_pets",
)  # to check; the others have more classes
SETS = [
    p for p in sorted((ROOT / "data/texts").glob("*.json")) if not p.stem.endswith("one_to_one")
]


def quick(paths: list[Path]) -> list[object]:
    """The sets as parameters; most are of the rest."""
    return [
        pytest.param(p, marks=[pytest.mark.rest] * (p.stem not in QUICK), id=p.stem) for p in paths
    ]


@cache
def read(name: str) -> tuple[list[str], TextSet, PairSet]:
    listed = ROOT / f"data/classes/{name}.txt"
    classes = (
        listed.read_text(encoding="utf-8").splitlines()
        if listed.is_file()
        else entry(name).class_names()
    )
    texts = load_text_set(ROOT / f"data/texts/{name}.json", name, classes)
    return classes, texts, load_pair_set(ROOT / f"data/texts/{name}.one_to_one.json", name, classes)


@pytest.mark.parametrize("name", [path.stem for path in SETS])
def test_every_set_says_honestly_what_it_is(name: str) -> None:
    """ "Hand-written" would be read as: by experts who looked at the images, or as the paper's own
    texts.
    """
    _, texts, pairs = read(name)
    assert texts.dataset == pairs.dataset == name
    of_kind = {**texts.provenance, **pairs.provenance}
    assert of_kind.keys() == {"name", "attribute", "analogous", "synonym", "one_to_one"}
    written = {of_kind[kind]["source"] for kind in of_kind if kind != "name"}
    wanted = (
        "from the class names, not the images, and not" if name in OUR_OWN else "for coder-clip"
    )
    assert len(written) == 1
    assert all(s.startswith("written for coder-clip") and wanted in s for s in written)
    assert all(s.endswith("not by the paper's language model") for s in written)


@pytest.mark.parametrize("path", quick(SETS))
def test_every_set_passes_the_checks(path: Path) -> None:
    """What we ask of a model's texts, our own keep; exceptions are listed in the set, with their
    reasons.
    """
    texts, pairs = read_set(path)
    assert [str(fault) for fault in check_texts(texts, pairs)] == []


@pytest.mark.proof
@pytest.mark.parametrize("path", [p for p in SETS if p.stem in OUR_OWN], ids=lambda path: path.stem)
def test_every_set_passes_the_checks_with_an_encoder(path: Path, lite: Encoder) -> None:
    """No text says what another class's text says, and no pair has its sides swapped."""
    texts, pairs = read_set(path)
    assert [
        str(fault) for fault in check_texts(texts, pairs, similar.faults(texts, pairs, lite))
    ] == []


PAPER = yaml.safe_load((ROOT / "config/paper.yaml").read_text(encoding="utf-8"))["datasets"]


@pytest.mark.parametrize("name", PAPER)
def test_the_texts_of_the_paper_are_here(name: str) -> None:
    """All other tests here take the sets that they find: a lost one would be missed by a run alone,
    hours after its start.
    """
    assert PAPER[name]["texts"] is None, "the configuration names the project's own texts"
    own = entry(name).texts or name  # another data set's, where both have the same classes
    for file in (f"{own}.json", f"{own}.one_to_one.json"):
        assert (ROOT / "data/texts" / file).is_file()


def test_all_sets_together_stay_small() -> None:
    """A clone of a project should not wait for its texts."""
    assert sum(p.stat().st_size for p in (ROOT / "data/texts").glob("*.json")) < 4_000_000


# What Americans call otherwise, whatever it means; words with an American sense of their own ("boot", "torch") are absent.
BRITISH = """
aeroplane aubergine beetroot car|park candyfloss cistern courgette draught dressing|gown dustbin fairy|lights footballer
gearbox|lever hob hosepipe hoover ice|lolly kerb kennel|run ladybird letter|box loo lorry lorries mobile|phone motorway
moustache nappy nappies number|plate|holder pelican|crossing petrol pillar|box plait plaits post|box pram railway|carriage
rucksack serviette skirting|board spanner sticking|plaster tea|towel tin|opener tyre tyres wardrobe|rail washing|up
wellington|boots windscreen wing|mirror zebra|crossing baby|cot loaf|tin static|caravan grey colour colours coloured armour
""".replace("|", "[ -]").split()


@pytest.mark.parametrize("name", sorted({*OUR_OWN} - {"rare", "shapes"}))
def test_no_set_speaks_british(name: str) -> None:
    """Encoders were trained on American captions: to most of them a loo seat is noise."""
    texts, pairs = read_set(ROOT / f"data/texts/{name}.json")
    assert pairs is not None
    written = [text for c in texts.classes for kind in BESIDES_NAME for text in c.of(kind)]
    written += [text for p in pairs.pairs for text in (*p.a_not_b, *p.b_not_a)]
    british = re.compile(rf"\b({'|'.join(BRITISH)})\b", re.IGNORECASE)
    assert [text for text in written if british.search(text)] == []


def read_set(path: Path) -> tuple[TextSet, PairSet | None]:
    texts = read_text_set(path)
    pairs = path.with_name(f"{path.stem}.one_to_one.json")
    names = [c.name for c in texts.classes]
    return texts, load_pair_set(pairs, texts.dataset, names) if pairs.is_file() else None


@pytest.mark.parametrize("name", OUR_OWN)
def test_our_own_sets_have_all_kinds_and_enough_of_each(name: str) -> None:
    classes, texts, pairs = read(name)
    for kind in BESIDES_NAME:
        assert any(c.of(kind) for c in texts.classes), kind
    with_pairs = {p.a for p in pairs.pairs} | {p.b for p in pairs.pairs}
    assert len(with_pairs) >= 0.95 * len(classes)


@pytest.mark.parametrize("name", OUR_OWN)
def test_label_order_is_that_of_the_data_set(name: str) -> None:
    """One class off, and every number is wrong."""
    assert read(name)[0] == entry(name).class_names()


# Drawn worlds, which the rule below does not fit. Each of their texts names one mark of a drawing,
# and a drawing has one color or thing in several places: a summer tanager's head, chest, wings and
# underside are red, a chess board's marks are squares. So 8 birds and 2 shapes have a word of this
# kind too often, and each bird the "is" of "a head that is red". Another word would name a mark that
# is not drawn. Their bytes stay, because the embedded default is recorded with them.
DRAWN = {"rare", "shapes"}
BETWEEN = set(
    [
        "its",
        "his",
        "her",
        "their",
        "by",
        "from",
        "over",
        "under",
        "like",
        "as",
        "one",
        "two",
        "between",
        "along",
        "into",
        "near",
        "above",
        "below",
        "behind",
        "against",
        "across",
        "around",
        "up",
        "down",
        "out",
        "off",
        "that",
        "which",
        "each",
        "through",
        "beside",
        "inside",
        "all",
        "very",
        "some",
        "toward",
        "towards",
        "per",
        "both",
        "without",
    ]
)


def content_words(text: str) -> set[str]:
    """The words of a text that say something, in the singular; compounds by their parts."""
    words = set(stems(text.replace("-", " ")))
    return {w for w in words - english().small - BETWEEN if not w.isdigit()}


@pytest.mark.parametrize("path", [p for p in SETS if p.stem not in DRAWN], ids=lambda p: p.stem)
def test_no_word_is_in_most_attributes_of_a_class(path: Path) -> None:
    """Of 94 of 200 birds four or more attributes had one word ("brown"): one idea, weighed four
    times.
    """
    often = {}
    for c in read_text_set(path).classes:
        counts = Counter(word for text in c.attribute for word in content_words(text))
        often |= {(c.name, word): n for word, n in counts.items() if n > 3}
    assert not often


@pytest.mark.parametrize("name", ["cub200", "food101", "dtd"])
def test_half_of_the_attributes_have_five_words_or_fewer(name: str) -> None:
    """They had six to eight words where published descriptors have four to five: what is said at
    the end of a long sentence hardly moves its feature.
    """
    texts = read_text_set(ROOT / f"data/texts/{name}.json")
    lengths = [len(text.split()) for c in texts.classes for text in c.attribute]
    assert sum(n <= 5 for n in lengths) >= len(lengths) / 2
