from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from coder_clip.datasets import shapes
from coder_clip.datasets.shapes import BACKGROUNDS, CLUTTERS, THINGS, Shapes, combos, held_out
from coder_clip.errors import UserError
from coder_clip.mini.things import MORE

EVERY = (*THINGS, *MORE)


def test_splits_hold_the_promised_images() -> None:
    data = Shapes()
    for name, count in shapes.PER_CLASS.items():
        split = data.split(name)
        assert len(split) == len(set(split.ids)) == 20 * count
        assert np.bincount(split.labels).tolist() == [count] * 20
    assert data.split("test").ids[0] == "test/stop_sign/0000"


def test_an_image_is_the_same_in_another_process_with_another_hash_seed() -> None:
    """Features in a cache would belong to other images otherwise."""
    code = (
        "import hashlib; from coder_clip.datasets.shapes import Shapes; s = Shapes();"
        "print(hashlib.sha256(b''.join(s.image(i).tobytes() for i in s.split('test').ids[::97])).hexdigest())"
    )
    data = Shapes()
    here = hashlib.sha256(b"".join(data.image(i).tobytes() for i in data.split("test").ids[::97])).hexdigest()
    there = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "7"}
    )
    assert there.stdout.strip() == here


def test_images_are_rgb_and_differ() -> None:
    data = Shapes()
    images = [data.image(i) for i in data.split("val").ids[::10]]
    assert {(i.mode, i.size) for i in images} == {("RGB", (64, 64))}
    assert len({i.tobytes() for i in images}) == len(images)


def test_the_test_split_shows_held_out_combinations_alone() -> None:
    """What makes test accuracy one of generalisation: no combination of the test split is seen elsewhere."""
    data = Shapes()
    seen = {s: {data.combo(i) for i in data.split(s).ids} for s in shapes.PER_CLASS}
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
        pen = shapes.Pen(shapes.Pose(0, 0, 0.9, 0, 1).matrix())
        thing.draw(pen, colour, shapes.generator("test"))
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
        "test/stop_sign/0060",
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


def test_an_unknown_split_is_named_with_the_nearest() -> None:
    with pytest.raises(UserError, match="did you mean 'val'"):
        Shapes().split("vall")


def test_fingerprint_follows_the_drawing_code(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Shapes().fingerprint()
    assert before == Shapes().fingerprint()
    monkeypatch.setattr(shapes, "VERSION", shapes.VERSION + 1)
    assert Shapes().fingerprint() != before
