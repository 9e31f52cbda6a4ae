from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from coder_clip.datasets.drawn import drawing, rare, shapes
from coder_clip.datasets.drawn.drawing import BACKGROUNDS, CLUTTERS, DrawnDataset, combos, held_out
from coder_clip.datasets.drawn.rare import PARTS, SPECIES, Rare
from coder_clip.datasets.drawn.shapes import THINGS, Shapes
from coder_clip.errors import UserError
from tools.mini import birds
from tools.mini.things import MORE

EVERY = (*THINGS, *MORE)
DRAWN = (Shapes, Rare)


@pytest.mark.parametrize("kind", DRAWN)
def test_splits_hold_the_promised_images(kind: type[DrawnDataset]) -> None:
    data = kind()
    n = len(data.classes)
    for name, count in drawing.PER_CLASS.items():
        split = data.split(name)
        assert len(split) == len(set(split.ids)) == n * count
        assert np.bincount(split.labels).tolist() == [count] * n
    assert Shapes().split("test").ids[0] == "test/stop_sign/0000"


@pytest.mark.rest
@pytest.mark.parametrize("kind", DRAWN)
def test_an_image_is_the_same_in_another_process_with_another_hash_seed(
    kind: type[DrawnDataset],
) -> None:
    """Features in a cache would belong to other images otherwise."""
    code = (
        f"import hashlib; from {kind.__module__} import {kind.__name__} as D; s = D();"
        "print(hashlib.sha256(b''.join(s.image(i).tobytes() for i in "
        "s.split('test').ids[::97])).hexdigest())"
    )
    data = kind()
    here = hashlib.sha256(
        b"".join(data.image(i).tobytes() for i in data.split("test").ids[::97])
    ).hexdigest()
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONHASHSEED"} | {
        "PYTHONHASHSEED": "7"
    }
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert there.stdout.strip() == here


@pytest.mark.parametrize("kind", DRAWN)
def test_images_are_rgb_and_differ(kind: type[DrawnDataset]) -> None:
    data = kind()
    images = [data.image(i) for i in data.split("val").ids[::30]]
    assert {(i.mode, i.size) for i in images} == {("RGB", (64, 64))}
    assert len({i.tobytes() for i in images}) == len(images)


@pytest.mark.parametrize("kind", DRAWN)
def test_the_test_split_shows_held_out_combinations_alone(kind: type[DrawnDataset]) -> None:
    """What makes test accuracy one of generalisation: no combination of the test split is seen
    elsewhere.
    """
    data = kind()
    seen = {s: {data.combo(i) for i in data.split(s).ids} for s in drawing.PER_CLASS}
    assert all(held_out(c) for c in seen["test"])
    assert not any(held_out(c) for c in seen["train"] | seen["val"])


@pytest.mark.parametrize("thing", EVERY, ids=lambda t: t.name)
def test_every_part_of_a_held_out_combination_is_seen_in_training(thing: shapes.Thing) -> None:
    """Otherwise the test split would ask for colours or backgrounds that nobody could have learnt."""
    train, test = combos(thing.name, False), combos(thing.name, True)
    assert not set(train) & set(test)
    assert len(train) == 3 * len(test) == 96
    for part in ("variant", "background", "clutter"):
        assert {getattr(c, part) for c in train} == {getattr(c, part) for c in test}
    pairs = {(c.variant, c.background) for c in train}
    assert pairs == {(v, b) for v in range(4) for b in range(len(BACKGROUNDS))}
    assert {(c.background, c.clutter) for c in train} == {
        (b, k) for b in range(len(BACKGROUNDS)) for k in range(len(CLUTTERS))
    }


@pytest.mark.parametrize("thing", EVERY, ids=lambda t: t.name)
def test_every_thing_can_be_drawn_in_every_variant(thing: shapes.Thing) -> None:
    looks = set()
    for word, colour in thing.variants:
        pen = drawing.Pen(drawing.Pose(0, 0, 0.9, 0, 1).matrix())
        thing.draw(pen, colour, drawing.generator("test"))
        covered = np.asarray(pen.layer)[..., 3].mean() / 255
        assert 0.04 < covered < 0.9, f"{word} {thing.name}"
        looks.add(pen.layer.tobytes())
    assert len(looks) == len(thing.variants) == 4


def test_names_are_unique_and_shared_with_no_training_thing() -> None:
    names = [t.name for t in EVERY]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    "image_id",
    [
        "test/stop_sign/0120",
        "test/stop sign/0001",
        "tests/stop_sign/0001",
        "test/tennis_ball/0001",
        "test/stop_sign",
        "",
    ],
)
def test_an_unknown_id_is_named(image_id: str) -> None:
    with pytest.raises(UserError, match="ids look like"):
        Shapes().image(image_id)


def test_an_unknown_split_is_named() -> None:
    with pytest.raises(UserError, match=r"no vall images \(it has: train, val, test\)"):
        Shapes().split("vall")


@pytest.mark.parametrize("kind", DRAWN)
def test_fingerprint_follows_the_drawing_code(
    kind: type[DrawnDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = kind().fingerprint()
    assert before == kind().fingerprint()
    monkeypatch.setattr(kind, "version", kind.version + 1)
    assert kind().fingerprint() != before


# --- birds ---


def _look(marks: rare.Marks) -> bytes:
    pen = drawing.Pen(drawing.Pose(0, 0, 0.8, 0, 1).matrix())
    rare.draw(pen, marks, 1, False, drawing.generator("test"))
    return pen.layer.tobytes()


def test_every_form_of_every_part_is_seen() -> None:
    """A mark that changes no pixel would make its captions and texts lies."""
    for name in ("northern cardinal", "tree swallow"):
        for part, forms in PARTS.items():
            looks = {_look({**SPECIES[name], part: form}) for form in forms}
            assert len(looks) == len(forms), f"{name}: two forms of {part} look the same"


def test_species_are_told_apart_by_their_marks_and_half_have_a_look_alike() -> None:
    alike = set()
    names = list(SPECIES)
    for i, a in enumerate(names):
        for b in names[:i]:
            differ = sum(SPECIES[a][part] != SPECIES[b][part] for part in PARTS)
            assert differ > 0, f"{a} and {b} are one bird"
            alike |= {a, b} if differ <= 2 else set()
    assert len(names) >= 30
    assert len(alike) >= len(names) / 2


def test_nobody_chose_which_names_are_rare() -> None:
    """From never to always, as many species each as declared, in the order of the names' sha256."""
    assert Counter(rare.NAMED.values()) == rare.DOSES
    order = sorted(SPECIES, key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    doses = [rare.NAMED[name] for name in order]
    assert doses == sorted(doses, key=lambda dose: math.inf if dose is None else dose)
    assert not set(birds.KNOWN) & set(SPECIES)


def test_made_up_names_are_nobodys() -> None:
    """Else a species would be named beside the marks of another bird."""
    rng = np.random.default_rng(0)
    names = {birds.made_up(rng) for _ in range(3000)}
    assert len(names) > 1000
    assert not names & birds.NAMES
