"""`coder-clip check`: what would stop a run, or spoil its numbers, is told before."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Command = Callable[..., Any]


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo: Path) -> Path:
    """Six photos of a cat and of a dog in every split."""
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(6):
                Image.new("RGB", (8, 8), (i, 0, 0)).save(folder / f"{i}.jpg")
    (tmp_path / "mini").symlink_to(repo / "data/mini")
    configure()
    return tmp_path / "photos"


def configure(**more: Any) -> None:
    document = {
        "datasets": {"pets": {"root": "photos", "texts": "names", **more.pop("pets", {})}},
        "models": {"mini": {"model": "local-dir:mini"}},
        "adapter": {"shots": [1]},
        **more,
    }
    Path("c.yaml").write_text(json.dumps(document))


def said(command: Command) -> str:
    answer = command("check", "--config", "c.yaml")
    assert answer.code == 0, answer.err
    return str(answer.out)


def refused(command: Command) -> str:
    answer = command("check", "--config", "c.yaml")
    assert answer.code == 1, answer.out
    (line,) = [x for x in answer.err.splitlines() if "error: " in x]
    return str(line)


def test_all_is_well(command: Command) -> None:
    out = said(command)
    assert "data set pets: 2 classes; train 12, val 12, test 12 images" in out
    assert "model mini: local-dir:mini" in out
    assert len(out.splitlines()) == 2, "a warning where nothing is wrong"


@pytest.mark.parametrize("content", [b"", b"no image"])
def test_a_photo_that_cannot_be_read(command: Command, photos: Path, content: bytes) -> None:
    """The run would stop in the middle, or leave it out."""
    for name in ("0.jpg", "3.jpg"):
        (photos / "test/dog" / name).write_bytes(content)
    line = refused(command)
    assert "image cannot be read: photos/test/dog/0.jpg" in line
    assert "2 such images" in line
    assert "features.on_error: skip" in line
    configure(features={"on_error": "skip"})
    assert "2 images cannot be read and will be left out: test/dog/0.jpg, test/dog/3.jpg" in said(command)


def test_a_class_without_test_images(command: Command, photos: Path) -> None:
    """Its accuracy would be missing without a word."""
    for path in (photos / "test/dog").iterdir():
        path.unlink()
    (photos / "test/dog").rmdir()
    assert "no test image of 'dog'" in said(command)


def test_pairs_with_texts_on_one_side(command: Command) -> None:
    pair = {"a": "cat", "b": "dog", "a_not_b": ["whiskers"]}
    Path("pairs.json").write_text(json.dumps({"format": 1, "dataset": "pets", "pairs": [pair]}))
    configure(pets={"one_to_one": "pairs.json"})
    assert "1 of 1 one-to-one pairs have texts on one side only" in said(command)


@pytest.mark.parametrize("key", ["texts", "one_to_one"])
def test_a_file_that_is_not_there(command: Command, key: str) -> None:
    """No rule makes a person's file; the way to write it is told."""
    configure(pets={key: "nope.json"})
    line = refused(command)
    assert "nope.json" in line
    assert "data/texts/README.md" in line
    assert "snakemake" not in line


def test_a_dictionary_that_is_not_here(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be missed after other texts were paid for, or on a node without network."""
    configure(pets={"texts": {"synonym": "wordnet"}})
    monkeypatch.setenv("WNSEARCHDIR", "nowhere")
    line = refused(command)
    assert "WordNet" in line
    assert "wordnet-base" in line or "WNSEARCHDIR" in line
