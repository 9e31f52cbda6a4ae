"""Classifying photos in Python: the same answers by every way, each reason, and nothing kept that
is not true.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from coder_clip.datasets import load_templates
from coder_clip.encoders.encoder import Encoder, EncoderSpec, load_encoder
from coder_clip.encoders.features import extract
from coder_clip.errors import UserError
from coder_clip.foundation.artifacts import sha256, write_json
from coder_clip.neighbors import MAX_KINDS, MEAN_KINDS
from coder_clip.pipeline.config import DatasetConfig
from coder_clip.texts.sentences import make_sentences, with_article
from coder_clip.texts.sets import load_pair_set
from coder_clip_photos import Classifier, Photo
from coder_clip_photos.texts import TEMPLATES, rows, text_set
from reference import grid_error

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize("template", [None, "a drawing of a {class}", "a drawing of a {}"])
def test_sentences_are_those_of_a_run(model: Path, texts: Path, template: str | None) -> None:
    """A photo would be compared with other texts than a run with the same text set and template
    compares it with.
    """
    templates = {"name": "a drawing of a {class}"} if template else {}
    config = DatasetConfig(root=Path("x"), templates=templates)
    made = make_sentences(text_set(texts), load_templates("marks", config))
    kinds = (*MEAN_KINDS, *MAX_KINDS)
    of_run = zip(made.class_index, made.kind, made.text, strict=True)
    c = Classifier(str(model), texts, templates=template or TEMPLATES)
    found = [(r.index, r.kind, s) for r in c.rows for s in r.sentences]
    assert sorted(found) == sorted({row for row in of_run if row[1] in kinds})
    name = "a drawing of an egg" if template else "a photo of an egg."
    assert [row for row in found if row[0] == 2] == [(2, "name", name)]


@pytest.mark.parametrize(
    "said",
    [
        "an airplane",
        "an Umbrella",
        "a unicycle",
        "a one-eyed cat",
        "a European robin",
        "an hourglass",
        "a horse",
    ],
)
def test_a_and_an(said: str) -> None:
    """A prompt would read "a owl"."""
    assert with_article(said.split(maxsplit=1)[1]) == said


def test_scores_are_those_of_plain_loops(model: Path, texts: Path, photos: list[Path]) -> None:
    """100 × the mean cosine with mean texts and the best name, over features of the pipeline's own
    extraction.
    """
    encoder = load_encoder(EncoderSpec(f"local-dir:{model}", device="cpu"))

    class Files:
        as_stored = False

        def path(self, path: str) -> Path:
            return Path(path)

        def image(self, path: str) -> Image.Image:
            return Image.open(path).convert("RGB")

    ids = [str(p) for p in photos]
    x = extract(Files(), ids, [0] * len(ids), encoder, progress=False).features  # type: ignore[arg-type]
    found = Classifier(str(model), texts).scores(photos)
    given = rows(text_set(texts))
    features = encoder.encode_texts([r.sentences[0] for r in given])
    cosines = torch.cosine_similarity(x.double()[:, None], features.double()[None], dim=2)
    for i, of_photo in enumerate(cosines.tolist()):
        for c in range(3):
            means, best = [], -1.0
            for r, cosine in zip(given, of_photo, strict=True):
                if r.index == c and r.averaged:
                    means.append(cosine)
                elif r.index == c:
                    best = max(best, cosine)
            expected = 100 * (math.fsum(means) + best) / (len(means) + 1)
            # another batch: last bits of float32
            assert float(found[i, c]) == pytest.approx(expected, abs=1e-3)


def test_one_image_of_any_kind_gives_one_photo_and_a_list_a_list(
    model: Path, photos: list[Path]
) -> None:
    """As in a pipeline of transformers: who knows one need not read about the other."""
    c = Classifier(str(model), ["red disc", "blue disc"])
    expected, other = c.classify(photos[:2])
    picture, content = Image.open(photos[0]), photos[0].read_bytes()
    preprocess = c.encoder.encoder.preprocess
    pixels = preprocess(picture), preprocess.pixels(picture)
    features = c.features(photos[0])
    alone = [str(photos[0]), photos[0], picture, np.asarray(picture), *pixels, features, content]
    for image in [*alone, io.BytesIO(content)]:
        photo = c.classify(image)
        assert isinstance(photo, Photo)
        assert photo.score == pytest.approx(expected.score, abs=1e-3)
        assert photo.image == (expected.image if isinstance(image, str | Path) else "0")
    assert c.scores(content).shape == (2,)
    mixed = [*alone, photos[1]]
    for given in (mixed, iter(mixed)):
        found = c.classify(given)
        names = [str(photos[0])] * 2 + [str(i) for i in range(2, len(alone))]
        assert [p.image for p in found] == [*names, str(photos[1])]
        scores = [expected.score] * len(alone) + [other.score]
        assert [p.score for p in found] == pytest.approx(scores, abs=1e-3)
    for batch in (*(p[None] for p in pixels), features[None]):
        (photo,) = c.classify(batch)
        assert photo.score == pytest.approx(expected.score, abs=1e-3)
    assert c.scores(mixed).shape == (len(mixed), 2)
    assert c.classify([]) == []


def test_a_rotated_picture_is_turned_as_its_file_is(
    model: Path, photos: list[Path], tmp_path: Path
) -> None:
    """A photo of a phone, opened with Pillow, would be classified lying on its side."""
    c = Classifier(str(model), ["red disc", "blue disc"])
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    Image.open(photos[0]).save(tmp_path / "turned.png", exif=exif)
    turned = tmp_path / "turned.png"
    by_path = c.scores(turned)
    assert torch.allclose(by_path, c.scores(Image.open(turned)), atol=1e-3)
    assert not torch.allclose(by_path, c.scores(photos[0]), atol=1e-3)


def test_a_grey_array_is_the_grey_picture(model: Path, photos: list[Path]) -> None:
    c = Classifier(str(model), ["red disc", "blue disc"])
    grey = Image.open(photos[0]).convert("L")
    assert torch.equal(c.scores(np.asarray(grey)), c.scores(grey))


@pytest.mark.parametrize(
    ("image", "says"),
    [
        (
            np.zeros((9, 9, 3)),
            "image 1: ndarray of shape (9, 9, 3) and type float64, where a path, bytes or a file "
            "opened as 'rb'",
        ),
        (np.zeros((9, 9, 4), np.uint8), "image 1: ndarray of shape (9, 9, 4)"),
        (np.zeros((0, 9, 3), np.uint8), "image 1: ndarray of shape (0, 9, 3)"),
        (
            torch.zeros(3, 9, 9),
            "pixels of shape (1, 3, 9, 9) and type torch.float32, where (N, 3, 32, 32) from",
        ),
        (
            torch.zeros(3, 32, 32, dtype=torch.int64),
            "pixels of shape (1, 3, 32, 32) and type torch.int64",
        ),
        (torch.ones(7), "image 1: Tensor of shape (7,)"),
        (Image.new("RGB", (0, 0)), "image 1: "),
        (
            Image.new("F", (9, 9), 400.0),
            "image 1: float pixels from 400 to 400: expected 0..1 or 0..255",
        ),
        (None, "image 1: NoneType"),
        (b"no image", "image 1: not an image"),
        (io.StringIO("text"), "image 1: str, where"),
        (Path("nowhere.png"), "image cannot be used: nowhere.png: no such file"),
    ],
)
def test_what_is_no_image_is_one_line(
    model: Path, photos: list[Path], image: Any, says: str
) -> None:
    c = Classifier(str(model), ["red disc", "blue disc"])
    with pytest.raises(UserError, match=re.escape(says)):
        c.classify([photos[0], image])
    with pytest.raises(UserError, match=re.escape(says.replace("image 1", "image 0"))):
        c.classify(image)


def test_wrong_arguments_are_one_line(model: Path, photos: list[Path], tmp_path: Path) -> None:
    """They passed in silence, or were a TypeError from deep inside."""
    with pytest.raises(UserError, match=r"^model: None, where a name of a model"):
        Classifier(None, ["cat", "dog"])  # type: ignore[arg-type]
    c = Classifier(str(model), ["cat", "dog"])
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"why": -1}, "why: -1, where a whole number from 0"),
        ({"why": 1.5}, "why: 1.5, where a whole number from 0"),
        ({"top": 0}, "top: 0, where a whole number from 1"),
        ({"none_below": "a"}, "none_below: 'a', where a number"),
    ]
    for arguments, says in wrong:
        with pytest.raises(UserError, match=f"^{says}"):
            c.classify(photos, **arguments)
    with pytest.raises(UserError, match="no folder "):
        c.export(tmp_path / "nowhere/mine.safetensors")
    assert not (tmp_path / "nowhere").exists()


def test_an_image_without_features_has_no_class(
    model: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All cosines are 0, and the first class would win."""
    c = Classifier(str(model), ["cat", "dog"])
    encode = Encoder.encode_images

    def nothing(self: Encoder, batch: torch.Tensor) -> torch.Tensor:
        rows = encode(self, batch)
        rows[0] = value
        return rows

    monkeypatch.setattr(Encoder, "encode_images", nothing)
    says = "the encoder gives it no features"
    for value in (0.0, math.nan, math.inf):
        found = c.encoder.photos(photos)
        assert found.skipped == [(str(photos[0]), says)]
        assert found.kept == [str(p) for p in photos[1:]]
        bad = torch.stack([torch.ones(16), torch.full((16,), value)])
        for given, name in (
            (photos[0], str(photos[0])),
            (Image.open(photos[0]), "image 0"),
            (torch.zeros(2, 3, 32, 32), "image 0"),
            (bad, "image 1"),
        ):
            with pytest.raises(UserError, match=re.escape(f"{name}: {says}")):
                c.classify(given)
    monkeypatch.undo()
    c.encoder.store.put(c.encoder.key("image"), "image", [(sha256(photos[0]), torch.zeros(16))])
    assert c.classify(photos[0]).score != 0, "an earlier version kept features of zero"


# ---- templates


def test_several_templates_are_averaged(model: Path, photos: list[Path]) -> None:
    """Against plain NumPy: a class is the unit mean of its prompts' unit features, as in CLIP's
    ensembles.
    """
    names, templates = (
        ["cat", "red fox"],
        ["a photo of a {class}.", "art of the {class}.", "{class}"],
    )
    c = Classifier(str(model), names, templates=templates)
    encoder = load_encoder(EncoderSpec(f"local-dir:{model}", device="cpu"))
    x = c.features(photos).double().numpy()
    for i, name in enumerate(names):
        prompts = [t.replace("{class}", name) for t in templates]
        mean = encoder.encode_texts(prompts).double().numpy().mean(axis=0)
        expected = 100 * (x @ mean) / (np.linalg.norm(x, axis=1) * np.linalg.norm(mean))
        assert c.scores(photos)[:, i].numpy() == pytest.approx(expected, abs=1e-3)
    (photo,) = c.classify(photos[:1], why=9)
    assert {r.text for r in (*photo.reasons_for, *photo.reasons_against)} == set(names), (
        "a name is one reason"
    )


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("a photo", "template 'a photo': write {class} where"),
        ("", "template '': write {class}"),
        ("a {class} with {attribute}", "'a {class} with {attribute}': write {class} where"),
        ("a {class", "template 'a {class'"),
        (["a {class}.", "a {name}."], "template 'a {name}.'"),
        ([], "no template"),
    ],
)
def test_templates_that_make_no_sense(model: Path, template: Any, says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        Classifier(str(model), ["cat", "dog"], templates=template)


def test_the_command_takes_templates(
    model: Path, photos: list[Path], command: Callable[..., Any]
) -> None:
    own = ("--template", "a drawing of a {class}", "--template", "{}")
    given = (*photos, "--model", model, "--classes", "cat,red fox")
    lines = command("classify", *given, *own, "--format", "jsonl").out.splitlines()
    c = Classifier(str(model), ["cat", "red fox"], templates=["a drawing of a {class}", "{class}"])
    expected = [p.score for p in c.classify(photos)]
    assert [json.loads(line)["score"] for line in lines] == pytest.approx(expected, abs=1e-3)
    folder = photos[0].parent
    for arguments, says in (
        (("classify", folder, "--run", folder, *own), "--template and --run: a run has its own"),
        (("explore", folder, *own), "--template: a run has its own templates"),
        (("explore", *given, "--template", "a {name}"), "template 'a {name}': write {class} where"),
    ):
        answer = command(*arguments)
        assert answer.code == 1
        assert says in answer.err
        assert answer.err.count("\n") == 1


def test_reasons_of_a_photo_sum_to_its_margin(model: Path, texts: Path, photos: list[Path]) -> None:
    for photo in Classifier(str(model), texts).classify(photos, why=99):
        reasons = (*photo.reasons_for, *photo.reasons_against)
        adds = math.fsum(r.adds for r in reasons)
        assert adds == pytest.approx(photo.margin, abs=100 * grid_error(16))  # two class means
        assert photo.margin == pytest.approx(photo.top[0][1] - photo.top[1][1])
        assert {r.label for r in reasons} <= {photo.label, photo.runner_up}


# ---- what cannot be


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (None, "texts of 'cat': give a list of strings, not None"),
        (
            {"attribute": ["long whiskers"]},
            "texts of 'cat': give a list of strings, not {'attribute'",
        ),
        (["long whiskers", 3], "texts of 'cat': 3 is not a text"),
        ([["long whiskers"]], "is not a text"),
        (" ", "texts of 'cat': ' ' is not a text"),
    ],
)
def test_what_is_no_list_of_texts(model: Path, texts: Any, says: str) -> None:
    with pytest.raises(UserError, match=re.escape(says)):
        Classifier(str(model), {"cat": texts, "dog": []})


def test_a_string_is_one_text(model: Path, texts: Path) -> None:
    """Where a list belongs it was read as a list of letters: "a photo of a cat which has l."."""
    c = Classifier(str(model), {"cat": "long whiskers", "dog": ["a long snout", "a collar"]})
    assert [r.text for r in c.rows] == ["long whiskers", "cat", "a long snout", "a collar", "dog"]
    classes = [{"name": "cat", "synonym": "tomcat"}, {"name": "dog"}]
    pair = {"a": "cat", "b": "dog", "a_not_b": "long whiskers"}
    for document, says in (
        ({"classes": classes}, r"'cat': synonym: .*valid list .*'tomcat'"),
        ({"classes": "cat,dog"}, "lists no classes"),
        ({"classes": [{"name": "cat"}, {"name": ""}]}, "class 2 has no name"),
        ({"pairs": [pair]}, r"holds one-to-one texts .* needed are texts of classes"),
    ):
        write_json(texts, {"format": 1, "dataset": "pets", **document})
        with pytest.raises(UserError, match=says):
            Classifier(str(model), texts)
    with pytest.raises(UserError, match=r"a_not_b: .*valid list .*'long whiskers'"):
        load_pair_set(texts, "pets", ["cat", "dog"])
