"""Corrected labels: what the file may hold, what it changes about a folder of photos, and what it
does not change.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from coder_clip.datasets import load_dataset
from coder_clip.datasets.base import SPLITS
from coder_clip.datasets.corrections import Correction, read_corrections, said, write_corrections
from coder_clip.datasets.folder import FolderDataset
from coder_clip.datasets.sanity import copies
from coder_clip.errors import UserError
from coder_clip.foundation.artifacts import Paths, read_json
from coder_clip.jobs import work
from coder_clip.pipeline.config import Config

Command = Callable[..., Any]
MODELS: dict[str, Any] = {"m": {"model": "hf-hub:a/b"}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten photos of each of three classes."""
    for k, folder in enumerate(("arctic_fox", "dog", "red_fox")):
        (tmp_path / "photos" / folder).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (4, 4), (i, 50 * k, 0)).save(tmp_path / "photos" / folder / f"{i}.png")
    return tmp_path / "photos"


def labels(data: FolderDataset) -> dict[str, tuple[str, str]]:
    """Image -> (split, class)."""
    found = {}
    for name in SPLITS:
        split = data.split(name)
        assert sorted(zip(split.labels.tolist(), split.ids, strict=True)) == list(
            zip(split.labels.tolist(), split.ids, strict=True)
        ), "by label, then id"
        found |= {
            i: (name, data.classes[k])
            for i, k in zip(split.ids, split.labels.tolist(), strict=True)
        }
    return found


def corrected(root: Path, *lines: str) -> FolderDataset:
    file = root.parent / "foxes.corrections.csv"
    file.write_text("\n".join(["image,from,to", *lines, ""]), encoding="utf-8")
    return FolderDataset("foxes", root, corrections=file)


def test_only_the_named_photos_change(root: Path) -> None:
    """A correction that moved other photos to another split would change results for no reason."""
    before = FolderDataset("foxes", root)
    after = corrected(root, "red_fox/3.png,red fox,arctic fox", "dog/0.png,dog,")
    expected = labels(before)
    expected["red_fox/3.png"] = (expected["red_fox/3.png"][0], "arctic fox")
    del expected["dog/0.png"]
    assert labels(after) == expected
    assert (root / "dog/0.png").is_file()
    assert after.manifest() == before.manifest(), "the photos themselves are the same"
    assert after.image("dog/0.png").size == (4, 4), "the page still shows it"


def test_features_of_other_labels_are_others(root: Path) -> None:
    """Shards made before and after a correction must not be merged. Without corrections it stays as
    it was.
    """
    plain = FolderDataset("foxes", root).fingerprint()
    assert corrected(root).fingerprint() == plain
    one = corrected(root, "dog/0.png,dog,red fox").fingerprint()
    other = corrected(root, "dog/0.png,dog,").fingerprint()
    assert len({plain, one, other}) == 3


def test_copies_with_two_labels_can_be_corrected(root: Path) -> None:
    (root / "dog/0.png").write_bytes((root / "red_fox/0.png").read_bytes())
    assert copies(FolderDataset("foxes", root))["classes"] == [["dog/0.png", "red_fox/0.png"]]
    assert copies(corrected(root, "dog/0.png,dog,red fox"))["classes"] == []


def test_a_copy_that_is_left_out_is_no_copy_any_more(root: Path) -> None:
    """The list of a run's files still has it."""
    (root / "dog/0.png").write_bytes((root / "red_fox/0.png").read_bytes())
    data = corrected(root, "", "dog/0.png,dog,", "")
    for listed in ((), data.manifest()):
        assert not any(copies(data, listed).values())
    (root / "dog/0.png").unlink()
    (root / "dog/0.png").mkdir()
    with pytest.raises(UserError):
        copies(data)  # a run hashes it, too


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "dog/77.png,dog,red fox",
            "no image 'dog/77.png' in .*photos.*; remove or correct the line",
        ),
        ("dog/0.png,dog,red fax", "'dog/0.png': no class 'red fax' .did you mean 'red fox'"),
        ("dog/0.png,red fox,dog", "'dog/0.png' is in the folder of 'dog', not 'red fox'"),
        ("dog/0.png,dog,dog", "line 2: 'dog/0.png' stays 'dog'; remove the line"),
        ("dog/0.png,dog", "line 2: 2 cells; image, from and to are needed"),
        ("dog/0.png,dog,red fox\ndog/0.png,dog,", "line 3: 'dog/0.png' is corrected twice"),
        ("<<<<<<< ours", "line 2: 1 cells"),
        ('"dog/0.png,dog,', "cannot be read"),
    ],
)
def test_a_correction_that_cannot_be_meant_is_one_line(root: Path, line: str, said: str) -> None:
    with pytest.raises(UserError, match=f"foxes.corrections.csv.*{said}") as found:
        corrected(root, line)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("content", ["", "image;from;to\n", "dog/0.png,dog,red fox\n"])
def test_a_file_without_its_first_line_is_refused(root: Path, content: str) -> None:
    """A spreadsheet that saves with semicolons would correct nothing, silently."""
    file = root.parent / "x.csv"
    file.write_text(content)
    with pytest.raises(UserError, match="the first line has to be image,from,to"):
        FolderDataset("foxes", root, corrections=file)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    found = {
        'a "b", c/1.png': Correction("a", "b, c"),
        "z.png": Correction("é", ""),
        "a/2.png": Correction("a", "é"),
    }
    write_corrections(tmp_path / "x.csv", found)
    assert read_corrections(tmp_path / "x.csv") == found
    lines = (tmp_path / "x.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "image,from,to"
    assert lines[1:] == ['"a ""b"", c/1.png",a,"b, c"', "a/2.png,a,é", "z.png,é,"], (
        "by image: one line per diff"
    )
    (tmp_path / "excel.csv").write_text(
        (tmp_path / "x.csv").read_text(encoding="utf-8"), encoding="utf-8-sig"
    )
    assert read_corrections(tmp_path / "excel.csv") == found


def test_a_published_benchmark_keeps_its_labels(tmp_path: Path) -> None:
    """Its numbers would no longer be comparable, and nobody would see why."""
    (tmp_path / "x.csv").write_text("image,from,to\n")
    for name in ("eurosat", "shapes"):
        document = {"datasets": {name: {"corrections": str(tmp_path / "x.csv")}}, "models": MODELS}
        with pytest.raises(ValidationError, match="only for a folder of your own"):
            Config.model_validate(document)


def test_a_file_that_is_not_there_is_said_before_the_run(root: Path) -> None:
    document = {
        "datasets": {"foxes": {"root": str(root), "corrections": "gone.csv"}},
        "models": MODELS,
    }
    with pytest.raises(ValidationError, match=r"datasets\.foxes\.corrections: no file gone\.csv"):
        Config.model_validate(document)


def test_the_manifest_counts_corrections_and_is_the_same_without(
    root: Path, tmp_path: Path
) -> None:
    corrected(root, "red_fox/3.png,red fox,dog", "red_fox/4.png,red fox,dog", "dog/0.png,dog,")
    file = tmp_path / "foxes.corrections.csv"
    documents = []
    for more in ({}, {"corrections": str(file)}):
        document = {
            "results": str(tmp_path / "results"),
            "datasets": {"foxes": {"root": str(root), "few_shot": False, **more}},
            "models": MODELS,
        }
        config = Config.model_validate(document)
        work(config, "list_images", dataset="foxes")
        documents.append(read_json(Paths(config.results).manifest("foxes")))
        data = load_dataset("foxes", config.datasets["foxes"])
        assert documents[-1]["images"] == {s: len(data.split(s)) for s in SPLITS}
    assert "corrections" not in documents[0]
    splits = [
        labels(FolderDataset("foxes", root))[i][0]
        for i in ("red_fox/3.png", "red_fox/4.png", "dog/0.png")
    ]
    assert documents[1]["corrections"] == {
        "file": file.as_posix(),
        "corrected": 2,
        "left_out": 1,
        "splits": {s: splits.count(s) for s in SPLITS if s in splits},
    }


@pytest.mark.parametrize(
    ("counted", "words"),
    [
        ((1, 0, {"val": 1}), "1 label corrected (val 1; c.csv)"),
        ((3, 0, {"train": 1, "test": 2}), "3 labels corrected (train 1, test 2; c.csv)"),
        ((0, 1, {"test": 1}), "1 photo left out (test 1; c.csv)"),
        ((2, 2, {"val": 4}), "2 labels corrected, 2 photos left out (val 4; c.csv)"),
        ((0, 0, {}), "0 labels corrected (c.csv)"),
    ],
)
def test_the_number_of_corrections_in_words(
    counted: tuple[int, int, dict[str, int]], words: str
) -> None:
    """Accuracy rises by itself if only errors among test images are corrected, so a reader has to
    see where.
    """
    assert said(*counted, "c.csv") == words


def test_a_check_counts_corrections_and_warns_of_a_file_that_is_not_used(
    root: Path, tmp_path: Path, command: Command, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who corrects labels in the page and forgets the key would take the old labels for the
    corrected ones.
    """
    monkeypatch.chdir(tmp_path)
    corrected(root, "red_fox/3.png,red fox,dog", "dog/0.png,dog,")
    document: dict[str, Any] = {
        "results": "results",
        "datasets": {"foxes": {"root": "photos", "texts": "names", "few_shot": False}},
        "models": {"mini": {"model": f"local-dir:{repo / 'data/mini'}"}},
    }
    config = Path("c.yaml")
    config.write_text(json.dumps(document))
    said = (
        "warning: data set foxes: foxes.corrections.csv corrects labels, but c.yaml does not "
        "name it; add"
    )
    assert said in command("check", "--config", "c.yaml").out
    document["datasets"]["foxes"]["corrections"] = "foxes.corrections.csv"
    config.write_text(json.dumps(document))
    answer = command("check", "--config", "c.yaml")
    assert answer.code == 0, answer.err
    assert "warning" not in answer.out
    assert (
        "data set foxes: 1 label corrected, 1 photo left out (val 1, test 1; foxes.corrections.csv)"
        in answer.out
    )
    Path("foxes.corrections.csv").write_text("image,from,to\nred_fox/3.png,red fox,dgo\n")
    answer = command("check", "--config", "c.yaml")
    assert answer.code != 0
    assert "'red_fox/3.png': no class 'dgo' (did you mean 'dog'?)" in answer.err
