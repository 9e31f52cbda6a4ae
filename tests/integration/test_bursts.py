"""A folder of photos in bursts through the whole DAG: three shots of one scene are one observation
everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest

from bursts import save_bursts
from coder_clip.evaluation.estimates import compare, estimate
from coder_clip.foundation.artifacts import read_tensors
from working_copy import Work, working_copy

pytestmark = pytest.mark.rest
CLASSES = ("bird", "red fox", "wolf")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Twelve scenes of each class, encoded in two shards, up to the page."""
    document = {
        "datasets": {"mine": {"root": "photos/mine", "texts": "photos/mine.json", "views": 1}},
        "models": {"mini": {"model": "local-dir:data/mini", "precision": "fp64"}},
        "features": {"shards": 2},
        "adapter": {"methods": ["tip_adapter"], "shots": [1], "seeds": [1, 2], "betas": [1, 2, 2]},
        "evaluation": {"tsne_images": 20, "text_counts": [1], "draws": 1},
    }
    made = working_copy(tmp_path_factory.mktemp("bursts") / "copy", document)
    save_bursts(made.folder / "photos/mine", CLASSES, 12)
    texts = [{"name": c, "attribute": [f"{c} fur", "a tail"]} for c in CLASSES]
    file = made.folder / "photos/mine.json"
    file.write_text(json.dumps({"dataset": "mine", "classes": texts}), encoding="utf-8")
    made.snakemake()
    return made


def read(work: Work, name: str) -> Any:
    return json.loads((work.folder / "results" / name).read_text(encoding="utf-8"))


def features(work: Work) -> Iterator[tuple[str, list[str], list[int]]]:
    for split in ("shots", "val", "test"):
        path = work.folder / f"results/image_features/mini/mine/{split}.safetensors"
        tensors, meta = read_tensors(path)
        yield split, meta["ids"], tensors["groups"].tolist()


def test_shots_of_one_scene_are_in_one_split_and_one_group(work: Work) -> None:
    """In test and train at once, the photo that is evaluated was seen before."""
    splits: dict[str, set[str]] = {}
    numbers: dict[str, set[int]] = {}
    for split, ids, groups in features(work):
        for image, group in zip(ids, groups, strict=True):
            splits.setdefault(image[:-5], set()).add(split)
            numbers.setdefault(image[:-5], set()).add(group)
    assert {len(s) for s in splits.values()} == {1}
    assert {len(n) for n in numbers.values()} == {1}
    assert len(set.union(*numbers.values())) == len(numbers)
    assert read(work, "manifests/mine.json")["images"] == {"train": 54, "val": 18, "test": 36}


def test_intervals_are_over_scenes(work: Work) -> None:
    """With 36 images instead of 12 scenes, differences are clear that are chance."""
    rows = pd.read_parquet(work.folder / "results/zero_shot/mini/mine.parquet")
    right = {m: r for m, r in rows[rows["setting"].isin(["any", "clean"])].groupby("method")}
    of_test = dict(
        zip(
            *next((ids, groups) for split, ids, groups in features(work) if split == "test"),
            strict=True,
        )
    )
    for m in read(work, "zero_shot/mini/mine.json")["methods"]:
        if m["method"] not in ("clip", "coder", "description") or m["setting"] not in (
            "any",
            "clean",
        ):
            continue
        of = right[m["method"]]
        groups = [of_test[i] for i in of["image_id"]]
        assert len(set(groups)) == 12
        assert m["accuracy"] == pytest.approx(
            estimate([of["correct"].to_numpy()], groups=groups), abs=1e-8
        )
        if m["method"] != "clip":
            expected = compare(
                right["clip"]["correct"].to_numpy(), of["correct"].to_numpy(), groups=groups
            )
            assert m["against_clip"]["p_value"] == pytest.approx(expected["p_value"], abs=1e-8)


def test_check_and_the_page_say_how_many(work: Work) -> None:
    """Who does not know that photos come in bursts reads 36 test images as 36 observations."""
    line = "36 of 36 test images are near twins of each other, in 12 groups"
    page = (work.folder / "results/report.html").read_text(encoding="utf-8")
    assert line in page
    assert line in work.coder_clip("check", "--config", work.config).stdout
    (work.folder / "results/manifests/mine.json").unlink()
    assert line in work.coder_clip("check", "--config", work.config).stdout
