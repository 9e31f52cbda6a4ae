"""Anyone's photos: a folder of class folders through the whole DAG, with a real encoder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from working_copy import PHASES, REPO, REPORT, Work, working_copy

pytestmark = pytest.mark.rest

QUICK: dict[str, Any] = {
    "adapter": {"shots": [1, 4], "seeds": [1, 2], "betas": [0.1, 200, 50], "alphas": [0.1, 20, 20]},
    "evaluation": {"tsne_images": 100, "text_counts": [1, 2], "draws": 2},
}


def link_photos(source: Path, root: Path, a_class: int) -> None:
    """The first photos of every class, as links: how people put a subset together."""
    for split in ("train", "test"):
        for folder in sorted((source / split).iterdir()):
            (root / split / folder.name).mkdir(parents=True)
            for photo in sorted(folder.iterdir())[:a_class]:
                (root / split / folder.name / photo.name).symlink_to(photo)


@pytest.fixture(scope="module")
def cifar(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Real photos and a real encoder, everything run once."""
    photos, encoder = shared / "data/cifar10", shared / "models/lite0-minilm"
    for needed in (photos / "train", encoder / "open_clip_model.safetensors"):
        if not needed.exists():
            pytest.skip(f"no {needed}")
    document = {
        "datasets": {
            "cifar10": {
                "root": "photos/cifar10",
                "texts": "photos/cifar10.json",
                "one_to_one": "photos/cifar10.one_to_one.json",
                "views": 2,
            }
        },
        "models": {"lite0": {"model": f"local-dir:{encoder}"}},
        **QUICK,
    }
    work = working_copy(tmp_path_factory.mktemp("cifar") / "copy", document)
    link_photos(photos, work.folder / "photos/cifar10", a_class=20)
    for name in ("cifar10.json", "cifar10.one_to_one.json"):
        shutil.copy(REPO / "tests/data" / name, work.folder / "photos" / name)
    work.make()
    return work


def test_a_search_finds_what_the_text_says(
    shared: Path, command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Far more ships than the tenth that chance gives; fewer if they are what is not looked for."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    photos, encoder = shared / "data/cifar10", shared / "models/lite0-minilm"
    if not (photos / "train").exists() or not encoder.exists():
        pytest.skip(f"no {photos} or {encoder}")
    link_photos(photos, tmp_path / "photos", a_class=10)
    search = (
        "find",
        tmp_path / "photos/test",
        "--model",
        encoder,
        "--format",
        "csv",
        "a photo of a ship",
    )
    answer = command(*search)
    assert answer.code == 0, answer.err
    assert answer.out.count("/ship/") >= 5, answer.out
    assert command(*search, "--minus", "a photo of a ship on the sea").out.count("/ship/") < 5


def read(work: Work, name: str) -> Any:
    return json.loads((work.folder / "results" / name).read_text(encoding="utf-8"))


def accuracies(work: Work, name: str) -> dict[str, float]:
    return {
        f"{m['method']} {m['setting']}": m["accuracy"]["value"] for m in read(work, name)["methods"]
    }


def test_zero_shot_on_real_photos_is_far_above_chance(cifar: Work) -> None:
    """Preprocessing, tokenizer or class order would be wrong. That CODER beats CLIP is not
    asserted.
    """
    found = accuracies(cifar, "zero_shot/lite0/cifar10.json")
    assert found["clip any"] > 0.3, found
    assert found["coder clean"] > 0.3, found
    assert found["description any"] > 0.2, found
    reranked = accuracies(cifar, "rerank/lite0/cifar10.json")
    assert min(reranked.values()) > 0.25, reranked


def test_few_shot_on_real_photos_is_far_above_chance(cifar: Work) -> None:
    for summary in read(cifar, "adapter/lite0/cifar10/4.json")["summary"]:
        assert summary["accuracy"]["value"] > 0.3, summary


def test_every_photo_is_told_by_its_path(cifar: Work) -> None:
    table = pd.read_parquet(cifar.folder / "results/zero_shot/lite0/cifar10.parquet")
    assert set(table["image_id"]) == {
        p.relative_to(cifar.folder / "photos/cifar10").as_posix()
        for p in (cifar.folder / "photos/cifar10/test").glob("*/*")
    }
    manifest = read(cifar, "manifests/cifar10.json")
    assert manifest["images"] == {"train": 160, "val": 40, "test": 200}
    assert len(manifest["files"]) == 400


def test_names_alone_are_enough(cifar: Work) -> None:
    """The first thing people try. CODER is then CLIP with one prompt, and nothing else fails."""
    cifar.configure(
        lambda c: c.update(
            datasets={"cifar10": {"root": "photos/cifar10", "texts": "names", "views": 2}}
        )
    )
    plan = cifar.planned()
    assert "encode_images" not in plan, "photos would be encoded again for other texts"
    cifar.commands(*PHASES, *REPORT)
    found = accuracies(cifar, "zero_shot/lite0/cifar10.json")
    assert found["coder clean"] == found["clip any"] > 0.3
    assert not [m for m in found if m.startswith("description")]
    assert accuracies(cifar, "rerank/lite0/cifar10.json")["coder_rerank clean"] == found["clip any"]
