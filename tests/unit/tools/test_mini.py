"""The embedded model, its captions and the shipped texts."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from coder_clip.datasets.base import Dataset
from coder_clip.datasets.drawn.drawing import held_out
from coder_clip.datasets.drawn.rare import NAMED, PARTS, SPECIES, Rare
from coder_clip.datasets.drawn.shapes import THINGS, Shapes
from coder_clip.encoders.encoder import EncoderSpec, load_encoder
from fixtures import REPO
from tools.mini import __main__ as command
from tools.mini import birds, captions, model, samples
from tools.mini.things import MORE

DATA = REPO / "data"
MINI = DATA / "mini"
WEIGHTS = "cc069bd6f2c652b7bf174d8b033f1db62c858720c7812b00ff0a6534e5bb78c2"
DATASETS: tuple[Dataset, ...] = (Shapes(), Rare())
# Plain zero-shot accuracy on test: visibly above chance, visibly below saturation. Measured: see
# docs/embedded.md.
BANDS = {"shapes": (0.85, 0.98), "rare": (0.25, 0.45)}


# --- the shipped model
# --------------------------------------------------------------------------------------


def test_weights_are_the_ones_that_were_measured() -> None:
    """Other weights: measure again, then change this sum and docs/embedded.md together."""
    assert hashlib.sha256((MINI / model.WEIGHTS).read_bytes()).hexdigest() == WEIGHTS


def test_the_folder_stays_small() -> None:
    assert sum(f.stat().st_size for f in MINI.iterdir()) < 16e6


def test_configuration_and_vocabulary_are_what_the_code_writes(tmp_path: Path) -> None:
    """A word added to the captions moves token numbers, and with them the meaning of the shipped
    weights.
    """
    model.prepare(tmp_path)
    made, shipped = ((folder / model.CONFIG).read_bytes() for folder in (tmp_path, MINI))
    assert made == shipped, "train mini again"
    made, shipped = (
        gzip.decompress((folder / model.BPE).read_bytes()) for folder in (tmp_path, MINI)
    )
    assert made == shipped, "train mini again"  # the header differs by Python's version


@pytest.mark.rest
def test_zero_shot_leaves_room_on_both_sides() -> None:
    encoder = load_encoder(EncoderSpec(f"local-dir:{MINI}", device="cpu"))
    for data in DATASETS:
        split = data.split("test")
        images = torch.stack([encoder.preprocess(data.image(i)) for i in split.ids[::3]])
        texts = [data.templates.name.replace("{class}", c) for c in data.classes]
        guess = (encoder.encode_images(images) @ encoder.encode_texts(texts).T).argmax(1).numpy()
        low, high = BANDS[data.name]
        assert low < (guess == split.labels[::3]).mean() < high, data.name


def test_images_reach_the_model_at_their_own_size() -> None:
    """64 pixels in, 64 pixels read: nothing is resampled on the way."""
    preprocess = load_encoder(EncoderSpec(f"local-dir:{MINI}", device="cpu")).preprocess
    image = Shapes().image("test/clock/0000")
    raw = np.asarray(image, dtype=np.float32) / 255
    assert np.allclose(preprocess(image).permute(1, 2, 0), (raw - 0.5) / 0.25, atol=1e-5)


# --- captions and samples
# -----------------------------------------------------------------------------------


def test_every_thing_has_words() -> None:
    assert set(captions.WORDS) == {t.name for t in (*THINGS, *MORE)}


def test_no_held_out_combination_is_drawn_for_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The claim behind the test splits."""
    drawn: list[Any] = []
    for place in (samples.shapes, samples.rare):
        monkeypatch.setattr(place, "picture", lambda _, combo, *r: drawn.append(combo))
    for i in range(300):
        samples.sample(1, i)
    assert len(drawn) > 200
    assert not any(held_out(combo) for combo in drawn)
    assert {combo.thing for combo in drawn} >= {"bird", *THINGS[0].name.split("|")}


@pytest.mark.rest
def test_captions_name_a_rare_species_as_often_as_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The controlled variable of `rare`: pictures whose captions say which species it is."""
    species = {tuple(marks.items()): name for name, marks in SPECIES.items()}
    named: Counter[str] = Counter()
    drawn: Counter[str] = Counter()
    real = birds.caption

    def caption(rng: Any, marks: Any, names: tuple[str, ...] = ()) -> str:
        name = species.get(tuple(marks.items()))
        if name is not None:
            drawn[name] += 1
            named[name] += bool(names)
            assert not names or names[0] == name
        return real(rng, marks, names)

    monkeypatch.setattr(birds, "caption", caption)
    monkeypatch.setattr(samples.rare, "picture", lambda *_: None)  # nobody looks at it
    for i in range(len(samples.NAMED) + 500):
        samples.sample(1, i)
    for name, pictures in NAMED.items():
        expected = drawn[name] if pictures is None else pictures * samples.CAPTIONS
        assert named[name] == expected, name


def test_samples_repeat() -> None:
    """Training the embedded model again would give another model."""
    for i in (3, 4, 5, 6):
        (image, texts), (again, same) = samples.sample(1, i), samples.sample(1, i)
        assert image.tobytes() == again.tobytes()
        assert texts == same
        assert len(texts) == samples.CAPTIONS
    assert samples.sample(1, 3)[1] != samples.sample(2, 3)[1]


def test_every_shape_and_pattern_can_be_drawn() -> None:
    for shape in captions.SHAPES:
        looks = set()
        for pattern in captions.PATTERNS:
            pen = samples.Pen(samples.Pose(0, 0, 1, 0, 1).matrix())
            samples.draw_shape(pen, shape, pattern, (200, 0, 0), (0, 0, 200), 0, 0, 1, 0.2)
            looks.add(pen.layer.tobytes())
        assert len(looks) == len(captions.PATTERNS), f"{shape}: two patterns look the same"


def test_captions_fit_the_context_and_use_known_words_only() -> None:
    """A caption longer than the context would lose its end; an unlisted word would be spelt in
    pieces.
    """
    tokenize = load_encoder(EncoderSpec(f"local-dir:{MINI}", device="cpu")).towers.tokenizer
    known = set(model.vocabulary())
    for i in range(0, 900, 15):
        for text in samples.sample(1, i)[1]:
            words = {w for w in text.replace(",", " ").replace(".", " ").split() if w.isalpha()}
            assert all({w, w.removesuffix("s"), w.removesuffix("es")} & known for w in words), text
            assert int((tokenize([text]) != 0).sum()) < model.CONTEXT


# --- the shipped texts
# --------------------------------------------------------------------------------------


def read(name: str) -> Any:
    return json.loads((DATA / "texts" / name).read_text())


@pytest.mark.parametrize("data", DATASETS, ids=lambda d: d.name)
def test_text_sets_fit_the_label_set(data: Dataset) -> None:
    texts = read(f"{data.name}.json")
    names = [c["name"] for c in texts["classes"]]
    assert (
        names
        == data.classes
        == (DATA / "classes" / f"{data.name}.txt").read_text().split("\n")[:-1]
    )
    for c in texts["classes"]:
        assert 6 <= len(c["attribute"]) <= 12


@pytest.mark.parametrize("data", DATASETS, ids=lambda d: d.name)
def test_one_to_one_texts_cover_every_pair_on_both_sides(data: Dataset) -> None:
    texts = read(f"{data.name}.one_to_one.json")
    pairs = [(p["a_index"], p["b_index"]) for p in texts["pairs"]]
    assert pairs == list(combinations(range(len(data.classes)), 2))
    for p in texts["pairs"]:
        assert (p["a"], p["b"]) == (data.classes[p["a_index"]], data.classes[p["b_index"]])
        assert 2 <= len(p["a_not_b"]) <= 5
        assert 2 <= len(p["b_not_a"]) <= 5


def test_the_text_sets_of_rare_are_what_the_code_writes(tmp_path: Path) -> None:
    """Changed marks or wordings: run `python -m tools.mini texts`."""
    assert command.main(["texts", "--out", str(tmp_path)]) == 0
    for name in ("rare.json", "rare.one_to_one.json"):
        assert (tmp_path / name).read_bytes() == (DATA / "texts" / name).read_bytes()


def test_the_texts_of_rare_are_worded_apart_from_the_captions() -> None:
    """A text that captions hold word for word would be a second name, which CLIP does not have
    either.
    """
    said = {
        way for p, forms in PARTS.items() for f in forms for way in birds.phrase(birds.SAID, p, f)
    }
    general, one_to_one = (read(name) for name in ("rare.json", "rare.one_to_one.json"))
    texts = {t for c in general["classes"] for t in c["attribute"]}
    texts |= {t for p in one_to_one["pairs"] for side in ("a_not_b", "b_not_a") for t in p[side]}
    assert len(texts) > 100
    assert not texts & said
    assert not [t for t in texts if re.search(r"\b(no|not|without|lacks?)\b", t)], (
        "texts say what is there"
    )


def test_analogous_birds_of_rare_look_like_the_species() -> None:
    """A swan is not like a kestrel because neither has a crest: such texts would say that analogous
    classes harm.
    """
    parts = ("head", "breast", "belly", "wing")
    of = {c["name"]: c.get("analogous", []) for c in read("rare.json")["classes"]}
    for species, marks in SPECIES.items():
        same = {
            bird: sum(marks[p] == known[p] for p in parts) for bird, known in birds.KNOWN.items()
        }
        assert all(same[bird] >= 2 for bird in of[species]), species
        assert len(of[species]) == min(3, sum(n >= 2 for n in same.values())), species
    assert of["cedar waxwing"] == []  # no known bird has two of its colours
    assert "swan" not in of["northern cardinal"]
    # most alike first: the house sparrow has all four colours and the beak of a lark, and two
    # colours of a redstart
    assert of["house sparrow"] == ["lark", "redstart"]


# --- training ---


@pytest.mark.rest
def test_training_repeats(tmp_path: Path) -> None:
    """Fixed steps give the same weights."""
    from tools.mini.train import train

    sums = []
    for out in (tmp_path / "a", tmp_path / "b"):
        train(out, steps=3, images=130, threads=2, store=tmp_path / "store", half=False)
        sums.append(hashlib.sha256((out / model.WEIGHTS).read_bytes()).hexdigest())
    assert sums[0] == sums[1]


@pytest.mark.parametrize(
    ("option", "value"), [("--images", "5"), ("--steps", "-1"), ("--threads", "0")]
)
def test_impossible_options_are_refused_in_one_line(
    option: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["train", "--out", str(tmp_path / "x"), option, value]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "x").exists()


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m tools.mini --help` would not say what it makes."""
    with pytest.raises(SystemExit):
        command.main(["--help"])
    assert "the shipped model" in capsys.readouterr().out


@pytest.mark.rest
def test_the_sheets_in_the_documentation_are_what_the_code_draws(tmp_path: Path) -> None:
    """Changed drawings: run `python -m tools.mini sheet` (and measure mini again)."""
    assert command.main(["sheet", "--out", str(tmp_path)]) == 0
    for name in ("shapes.png", "rare.png"):
        new, shown = (
            Image.open(p / name).convert("RGB") for p in (tmp_path, DATA.parent / "docs/images")
        )
        assert new.tobytes() == shown.tobytes(), name
