"""`coder-clip find`: photos that are most like a text."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from coder_clip_photos.encoding import PhotoEncoder, PhotoRows, encoder_spec
from coder_clip_photos.find import MOST, likest, most_like
from coder_clip_photos.index import Index
from reference import grid_error

Command = Callable[..., Any]


@pytest.mark.parametrize("n_minus", [0, 1, 3])
def test_a_score_is_the_mean_cosine_with_some_texts_minus_that_with_others(n_minus: int) -> None:
    """A wrong mean or sign would show the wrong photos first. Compared with plain loops."""
    torch.manual_seed(n_minus)
    photos, plus, minus = (
        torch.nn.functional.normalize(torch.randn(n, 7), dim=1) for n in (5, 2, n_minus)
    )

    def mean_cosine(photo: list[float], texts: list[list[float]]) -> float:
        found = 0.0
        for text in texts:
            dot = math.fsum(p * t for p, t in zip(photo, text, strict=True))
            found += dot / math.hypot(*photo) / math.hypot(*text) / len(texts)
        return found

    scores = most_like(photos, plus, minus)
    assert scores.dtype == torch.float64
    for photo, score in zip(photos.tolist(), scores.tolist(), strict=True):
        expected = mean_cosine(photo, plus.tolist()) - mean_cosine(photo, minus.tolist())
        assert score == pytest.approx(expected, abs=2 * grid_error(7))


@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 2), st.integers(0, 99))
def test_a_quick_search_finds_what_all_exact_scores_find(
    n: int, top: int, n_minus: int, seed: int
) -> None:
    """A photo with long features, or with none, would come first or stop the search."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5)) * 10.0 ** rng.integers(-3, 4, size=(n, 1))
    x[rng.random(n) < 0.1] = 0
    plus, minus = rng.normal(size=(2, 5)), rng.normal(size=(n_minus, 5))
    features, *texts = (torch.from_numpy(a).float() for a in (x, plus, minus))
    names = [f"{i}.jpg" for i in range(n)]
    fresh = dict(enumerate(features))
    photos = PhotoRows(names, [], np.full(n, -1), fresh, Index(None, "key", 5))
    scores = (100 * most_like(features, *texts)).tolist()
    best = sorted(range(n), key=lambda i: (-scores[i], i))[:top]
    assert likest(photos, *texts, top) == [(names[i], scores[i]) for i in best]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four photos of one colour each."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "photos").mkdir()
    for name in ("red", "green", "blue", "white"):
        Image.new("RGB", (90, 60), name).save(tmp_path / f"photos/{name}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "photos"


@pytest.fixture
def find(command: Command, tiny_dir: Path) -> Command:
    return lambda *arguments: command("find", *arguments, "--model", tiny_dir)


def test_photos_come_by_their_scores_in_all_formats(
    find: Command, folder: Path, tiny_dir: Path
) -> None:
    """The texts are read as typed: a template would search for something else."""
    search = (folder, "red", "a rose", "--minus", "the sea")
    encoder = PhotoEncoder(encoder_spec(str(tiny_dir)), cache=False)
    paths = sorted(folder.iterdir())
    texts = encoder.texts(["red", "a rose", "the sea"])
    scores = 100 * most_like(encoder.photos(paths).features, texts[:2], texts[2:])
    expected = sorted(zip(scores.tolist(), map(str, paths), strict=True), reverse=True)
    lines = [json.loads(line) for line in find(*search, "--format", "jsonl").out.splitlines()]
    assert [line["image"] for line in lines] == [path for _, path in expected]
    numbers = [score for score, _ in expected]
    assert [line["score"] for line in lines] == pytest.approx(numbers, abs=1e-4)
    answer = find(*search, "--top", 2, "--out", "found.csv")
    assert answer.code == 0, answer.err
    rows = [f"{path},{score:.4f}" for score, path in expected[:2]]
    assert Path("found.csv").read_text().splitlines() == ["image,score", *rows]
    assert "2 of 4 photos for 'red', 'a rose', not 'the sea'; scores compare photos" in answer.err
    first = ["photo", "score", expected[0][1], f"{expected[0][0]:.1f}"]
    assert find(*search).out.split()[:4] == first


def test_a_photo_to_be_like_is_looked_at_before_the_others(
    find: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was refused after hours of encoding."""
    looked_at: list[Any] = []
    real = PhotoEncoder.look_at

    def noted(self: PhotoEncoder, paths: Any, progress: bool = False) -> Any:
        looked_at.extend(paths)
        return real(self, paths, progress)

    monkeypatch.setattr(PhotoEncoder, "look_at", noted)
    (folder.parent / "x.jpg").write_bytes(b"no photo")
    answer = find(folder, "red", "--like", "x.jpg")
    assert answer.code == 1
    assert "image cannot be used: x.jpg: not an image" in answer.err.splitlines()[-1]
    assert looked_at == [Path("x.jpg")]


def test_a_limit_of_scores_is_said_with_the_photos_that_are_above(
    find: Command, folder: Path
) -> None:
    rows = json.loads(find(folder, "red", "--format", "json").out)
    answer = find(folder, "red", "--above", rows[1]["score"], "--format", "json")
    assert json.loads(answer.out) == rows[:1]
    said = f"1 of 4 photos for 'red', with a score above {rows[1]['score']:g}; scores compare"
    assert said in answer.err


@pytest.mark.parametrize("arguments", [("duplicates", "-"), ("find", "-", "red")])
def test_a_list_with_a_name_that_is_gone_is_told_by_the_status(
    command: Command, folder: Path, tiny_dir: Path, monkeypatch: pytest.MonkeyPatch, arguments: Any
) -> None:
    """`duplicates -` said that all was well."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{folder}/red.png\n{folder}/gone.png\n"))
    model = ("--model", tiny_dir) if "find" in arguments else ()
    answer = command(*arguments, *model)
    assert answer.code == 1
    assert f"left out: {folder}/gone.png: no such file" in answer.err


def test_a_photo_that_is_named_twice_is_no_copy(command: Command, folder: Path) -> None:
    answer = command("duplicates", folder / "red.png", folder / "red.png")
    assert answer.code == 0
    assert "1 photo: 0 groups" in answer.err


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_a_sheet_shows_the_photos_in_order(find: Command, folder: Path, ending: str) -> None:
    """Each thumbnail is at its place, whole and centred; the names below are drawn, not read as
    anything.
    """
    (folder / "red.png").rename(
        folder / "<script>alert(1)<#script> 猫 and a name of many letters.png"
    )
    answer = find(folder, "red", "--format", "csv", "--sheet", f"sheet.{ending}")
    assert answer.code == 0, answer.err
    sheet = Image.open(f"sheet.{ending}").convert("RGB")
    paths = [line.partition(",")[0] for line in answer.out.splitlines()[1:]]
    names = [Path(path).stem.partition(" ")[0] for path in paths]
    colours = {"green": (0, 128, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
    for i, name in enumerate(names):
        middle = sheet.getpixel((12 + i * 252 + 120, 12 + 120))
        assert middle == pytest.approx(colours.get(name, (255, 0, 0)), abs=8), name


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["photos", " "], "a text to look for is empty"),
        (["photos/red.png", "photos/blue.png", "red"], "'photos/blue.png' is a file: give a photo"),
        (["photos", "photos", "red"], "'photos' is a folder: give one place, then the texts"),
        (["photos", "red", "--sheet", "x.gif"], "--sheet x.gif: name a file that ends in .jpg"),
        (["photos", "red", "--sheet", "taken.jpg"], "--sheet taken.jpg: name a file"),
        (["photos", "red", "--sheet", "photos/new.jpg"], "--sheet photos/new.jpg is in photos"),
        (["photos/red.png", "red", "--sheet", "photos/red.png"], "is in photos/red.png"),
        (["nowhere", "red"], "no file or folder nowhere"),
        (["photos", "red", "--above", "nan"], "--above nan: give a number"),
        (["photos", "--like", "nowhere.jpg"], "nowhere.jpg: no such file"),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(
    find: Command, folder: Path, arguments: list[str], says: str
) -> None:
    """A sheet over a photo would lose it; one in the folder would be among the next photos."""
    (folder.parent / "taken.jpg").mkdir()
    before = {p: p.read_bytes() for p in folder.iterdir()}
    answer = find(*arguments)
    assert answer.code == 1
    assert answer.out == ""
    assert says in answer.err.splitlines()[-1]
    assert {p: p.read_bytes() for p in folder.iterdir()} == before


def test_a_sheet_has_room_for_some_photos(find: Command, folder: Path) -> None:
    """A page of ten thousand photos needs gigabytes, and a JPEG cannot be so high."""
    for i in range(MOST - 3):
        (folder / f"{i}.png").symlink_to(folder / "red.png")
    answer = find(folder, "red", "--sheet", "sheet.jpg", "--top", "600")
    assert answer.code == 1
    assert f"--sheet has room for {MOST} photos, not for {MOST + 1}: lower --top" in answer.err
