"""Images without labels, classified with what a run has made."""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from working_copy import Work

from coder_clip.artifacts import read_json, read_tensors
from coder_clip.datasets.shapes import Shapes

Command = Callable[..., Any]
MARKS = ("--config", "config/test.yaml", "--dataset", "marks")


@pytest.fixture
def here(finished: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photos outside of any data set, one of them broken, beside a finished run."""
    shutil.copytree(finished.folder / "photos/marks", tmp_path / "new")
    (tmp_path / "new/broken.jpg").write_bytes(b"")
    monkeypatch.chdir(finished.folder)
    return tmp_path / "new"


def rows(out: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(out)))


def assert_as_in_the_run(found: list[dict[str, str]], dataset: str, ids: dict[str, str]) -> None:
    """All three methods decide as they did in the run, on those of the images that it classified (ids by file)."""
    classes = read_json(Path(f"results/zero_shot/mini/{dataset}.json"))["classes"]
    for phase, method, setting, column in (
        ("zero_shot", "clip", "any", "clip"),
        ("zero_shot", "coder", "clean", "coder"),
        ("rerank", "coder_rerank", "clean", "coder_rerank"),
    ):
        run = pd.read_parquet(f"results/{phase}/mini/{dataset}.parquet")
        run = run[(run["method"] == method) & (run["setting"] == setting)]
        known = dict(zip(run["image_id"], run["prediction"], strict=True))
        same = [r[column] == classes[known[i]] for r in found if (i := ids[r["image"]]) in known]
        assert len(same) >= 12
        assert sum(same) >= len(same) - 1, f"{method}: {sum(same)}"  # another batch can change a last bit


def test_new_photos_get_a_class_each(here: Path, command: Command) -> None:
    answer = command("predict", here, *MARKS, "--csv", "--top", "2")
    assert answer.code == 0, answer.err
    found = rows(answer.out)
    assert [Path(r["image"]).name for r in found] == [f"{i:02d}.png" for i in range(12)] * 3
    assert list(found[0]) == [
        *("image", "clip", "coder", "coder_rerank", "gap", "looked_at", "top1", "share1", "top2", "share2")
    ]
    for r in found:
        assert r["coder"] == r["top1"]
        assert 0 <= float(r["gap"]) == pytest.approx(float(r["share1"]) - float(r["share2"]), abs=5e-6)
    # `mini` sees red in the blue discs too: as often right as the run was on its share of these photos
    (recorded,) = (
        m["accuracy"]
        for m in read_json(Path("results/zero_shot/mini/marks.json"))["methods"]
        if (m["method"], m["setting"]) == ("coder", "clean")
    )
    right = [r["coder"].replace(" ", "_") == Path(r["image"]).parent.name for r in found]
    assert 1 / 3 < recorded["low"] <= sum(right) / len(right) <= recorded["high"]
    assert_as_in_the_run(
        found, "marks", {r["image"]: Path(r["image"]).relative_to(here).as_posix() for r in found}
    )


def test_a_broken_photo_is_told_and_the_others_are_classified(here: Path, command: Command) -> None:
    answer = command("predict", here, *MARKS)
    assert answer.code == 0
    assert f"left out: {here}/broken.jpg: " in answer.err
    *table, last = answer.out.splitlines()
    assert len(table) == 1 + 36
    assert "36 images, setting clean; the rerank changes nothing: there are no one-to-one texts" in last


def test_they_get_the_classes_that_the_run_gave_them(
    finished: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    """The test images once more, as files: all three methods decide as they did in the run."""
    shapes = Shapes()
    monkeypatch.chdir(finished.folder)
    files = {}
    _, meta = read_tensors("results/image_features/mini/shapes/test.safetensors")
    for i, image_id in enumerate(meta["ids"][::4]):
        shapes.image(image_id).save(tmp_path / f"{i}.png")
        files[str(tmp_path / f"{i}.png")] = image_id
    answer = command("predict", *files, "--config", "config/test.yaml", "--dataset", "shapes", "--csv")
    found = rows(answer.out)
    assert [r["image"] for r in found] == list(files)
    assert_as_in_the_run(found, "shapes", files)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "no file or folder nowhere"),
        (["config"], "no images in folder config"),
        (["photos", "--dataset", "mark"], "did you mean 'marks'"),
        (["photos", "--dataset", "shapes", "--config", "config/reproduce.yaml", "--model", "min"], "'mini'"),
        (["photos"], "the configuration has shapes, marks: name one with --dataset"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    finished: Work, monkeypatch: pytest.MonkeyPatch, command: Command, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(finished.folder)
    config = [] if "--config" in arguments else ["--config", "config/test.yaml"]
    if "--dataset" not in arguments and says.startswith("no "):
        config += ["--dataset", "marks"]
    answer = command("predict", *arguments, *config)
    assert answer.code == 1
    assert "Traceback" not in answer.err
    assert says in answer.err.splitlines()[-1]


def test_before_a_run_the_command_that_makes_it_is_named(work: Work, command: Command) -> None:
    shutil.rmtree(work.folder / "results/coder")
    answer = work.coder_clip("predict", "photos/marks", *MARKS, check=False)
    assert answer.returncode == 1
    assert "make reproduce CONFIG=config/test.yaml" in answer.stderr.splitlines()[-1]
    assert "results/coder/mini/marks.safetensors is missing" in answer.stderr


def test_weights_of_another_encoder_are_refused(work: Work) -> None:
    """The texts would be compared with features of another space."""
    from safetensors.torch import load_file, save_file

    path = work.folder / "data/mini/open_clip_model.safetensors"
    weights = load_file(path)
    save_file({k: v * 1.5 for k, v in weights.items()}, path)
    answer = work.coder_clip("predict", "photos/marks", *MARKS, check=False)
    assert answer.returncode == 1
    assert "another encoder" in answer.stderr.splitlines()[-1]
