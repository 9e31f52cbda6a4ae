"""How much the rules find: on real texts that a person has judged, and on bad ones made for it."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import pytest

from coder_clip.texts.authors import import_all
from coder_clip.texts.checks import Fault, Names, check_texts, fault
from coder_clip.texts.cleaning import clean
from coder_clip.texts.english import same_name
from coder_clip.texts.sets import ClassTexts, TextSet
from fixtures import SHARED

AUTHORS = SHARED / "data/authors_texts"
JUDGED = Path(__file__).with_name("judged.csv")


@pytest.mark.parametrize(
    ("plural", "singular"),
    [("ties", "tie"), ("pies", "pie"), ("wolves", "wolf"), ("buses", "bus"), ("cacti", "cactus"),
     ("glasses", "glass"), ("berries", "berry"), ("leaves", "leaf"), ("firemen", "fireman"),
     ("axes", "axe"), ("knives", "knife"), ("octopuses", "octopus"), ("irises", "iris")],
)  # fmt: skip
def test_a_plural_is_the_same_name(plural: str, singular: str) -> None:
    """A class "tie" was not found in "ties", nor "pie" in "pies"."""
    assert same_name(plural) == same_name(singular)


@pytest.mark.parametrize(
    ("text", "name", "classes", "rule"),
    [
        ("a white seabird", "Ivory Gull", ["Ivory Gull", "House Sparrow"], "itself"),
        ("a small bird with a long tail", "Bay Wren", ["Bay Wren", "House Sparrow"], "itself"),
        ("a small, round cup", "tea cup", ["tea cup", "fork"], "itself"),
        ("a bird on its back", "ox", ["ox", "fork"], None),
        ("a bird feeder", "Bay Wren", ["Bay Wren", "House Sparrow"], None),
        ("a machine with a screen", "bank", ["bank", "kitchen", "lobby", "store"], None),
        ("mounted on the front", "horn", ["horn", "fork"], "unfit"),
        ("covered in sauce", "ravioli", ["ravioli", "pie"], "unfit"),
        ("brown or grey", "ox", ["ox", "fork"], "unfit"),
        ("brightly colored", "ox", ["ox", "fork"], "unfit"),
        ("hanging ears", "ox", ["ox", "fork"], None),
        ("duckweed on a pond", "swamp", ["swamp", "bog"], None),
        ("shed snow on a roof", "hut", ["hut", "bog"], None),
        ("yellow light", "lamp", ["lamp", "bog"], None),
    ],
)
def test_what_is_no_part_of_a_thing_is_found(
    text: str, name: str, classes: list[str], rule: str | None
) -> None:
    """ "a photo of a gull which has a white seabird": the encoder sees two birds."""
    found = fault(text, "attribute", name, Names(classes))
    assert (found[0] if found else None) == rule


def checked(**texts: list[str]) -> tuple[list[Fault], list[Fault]]:
    """Faults and warnings of classes with these attributes."""
    classes = [ClassTexts(name=name, attribute=texts_of) for name, texts_of in texts.items()]
    warnings: list[Fault] = []
    return check_texts(TextSet(dataset="x", classes=classes), warnings=warnings), warnings


def test_what_only_a_reader_can_judge_is_a_warning() -> None:
    """A strainer with "a hook" is right, beside a class "hook"; nobody was told of it."""
    faults, warnings = checked(
        strainer=["a hook at the end", "a fine mesh", "a long handle"],
        hook=["a sharp point", "a bent rod", "mounted on a wall"],
    )
    assert faults == []
    assert [(w.owner, w.rule, w.text) for w in warnings] == [
        ("strainer", "everyday", "a hook at the end"),
        ("hook", "unfit", "mounted on a wall"),
    ]


def test_of_real_texts_the_rules_find_most_bad_ones_and_few_good_ones() -> None:
    """600 of GPT-3's attributes in the authors' archive, judged by one person: bad is what cannot
    follow "which has", names the thing itself or a class, compares, denies, hedges or cannot be
    seen; whether a text is true was not judged. The rules were written with the first 400 in sight
    and met the other 200 after that: precision was 0.946 there and recall 0.686.
    """
    if not AUTHORS.is_dir():
        pytest.skip(f"no authors' texts in {AUTHORS}; CODER_CLIP_SHARED names another folder")
    with JUDGED.open(encoding="utf-8") as lines:
        rows = list(csv.reader(line for line in lines if not line.startswith("#")))
    verdicts = {digest: (part, verdict) for part, digest, verdict in rows}
    counts: dict[str, dict[tuple[bool, bool], int]] = {"tuned": {}, "held out": {}}
    sets = import_all(AUTHORS / "expert_knowledge", [], AUTHORS / "classes", {}, True)
    for found in sets:
        if found.texts is None:
            continue
        names = Names(c.name for c in found.texts.classes)
        for c in found.texts.classes:
            for text in c.attribute:
                given = f"{found.dataset}|{c.name}|{text}".encode()
                digest = hashlib.sha256(given).hexdigest()[:16]
                if digest in verdicts:
                    part, verdict = verdicts.pop(digest)
                    refused = fault(clean(text), "attribute", c.name, names) is not None
                    key = (refused, verdict != "good")
                    counts[part][key] = counts[part].get(key, 0) + 1
    assert not verdicts, "the archive is another one"
    for part, (least_precision, least_recall) in {
        "tuned": (0.95, 0.75), "held out": (0.94, 0.65)
    }.items():  # fmt: skip
        n = counts[part]
        precision = n[True, True] / (n[True, True] + n[True, False])
        recall = n[True, True] / (n[True, True] + n[False, True])
        print(part, n, precision, recall)
        assert precision >= least_precision
        assert recall >= least_recall


# New bad texts of a red fox, by what is wrong with them; what a rule can and cannot know.
BAD = {
    "kingdom": [
        "green leaves on a stem", "a beak full of seeds", "feathered wings", "four rubber tires",
        "a crust of baked cheese", "a trunk with flaky bark", "gills below the cap", "a chrome grille",
        "petals around a disc", "fins along the back", "a cockpit canopy", "an exhaust pipe",
        "roots in dark soil", "a keyboard with black keys", "antennae over compound eyes",
    ],
    "swapped colours": [
        "blue fur on the back", "a green tail tip", "a violet muzzle", "turquoise eyes and paws",
        "a pink coat with white spots", "a purple chest", "teal ears with a red rim", "a lime belly",
        "a blue nose on a green face", "magenta legs", "a gold back with blue stripes", "cyan whiskers",
        "a navy coat of long fur", "a maroon bib below the chin", "a silver tail with red rings",
    ],
    "hedge": [
        "usually a white tip", "perhaps a dark stripe", "ears that are often pointed, probably black",
        "sometimes a pale belly", "may have black legs", "typically orange fur", "it can be reddish",
        "generally a slim body", "maybe a bushy tail", "fur that is usually red", "possibly a white bib",
        "might be seen in snow", "likely a narrow face", "often with a white chest",
        "could have amber eyes",
    ],
    "comparison": [
        "a longer tail", "bigger ears than most", "redder fur", "the bushiest tail of all",
        "a body smaller than usual", "thinner legs", "more white on the chest",
        "a paler belly", "a tail unlike a wolf's", "less fur on the ears", "a relatively long tail",
        "a comparatively small head", "a sharper muzzle", "darker legs than other animals",
        "too small a head",
    ],
}  # fmt: skip


def test_of_new_bad_texts_hedges_and_comparisons_are_found() -> None:
    """That a fox has no petals, and no blue fur, no rule can know: `texts weigh` and readers are
    for that.
    """
    names = Names(["red fox", "owl"])
    found = {
        what: sum(fault(text, "attribute", "red fox", names) is not None for text in texts)
        for what, texts in BAD.items()
    }
    assert found == {"kingdom": 0, "swapped colours": 0, "hedge": 14, "comparison": 15}
