"""Features instead of images: caches of true photos give the run's own results, and published ones
theirs.
"""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from coder_clip import jobs
from coder_clip.foundation.artifacts import Paths, read_tensors
from coder_clip.pipeline.config import Config

pytestmark = pytest.mark.rest

SEEDS = [1, 2]
COUNTS = {"train": 4, "val": 3, "test": 6}


@pytest.fixture(scope="module")
def photos(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirteen images of each class of EuroSAT, in train, val and test."""
    root = tmp_path_factory.mktemp("eurosat")
    splits = json.loads(
        (shared / "data/splits/split_zhou_EuroSAT.json").read_text(encoding="utf-8")
    )
    with zipfile.ZipFile(shared / "data/eurosat/EuroSAT_RGB.zip") as archive:
        for split, n in COUNTS.items():
            taken: dict[str, int] = {}
            for name, _, _ in splits[split]:
                kind = name.split("/")[0]
                taken[kind] = taken.get(kind, 0) + 1
                if taken[kind] <= n:
                    file = root / split / name
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(archive.read(f"EuroSAT_RGB/{name}"))
    return root


def run(folder: Path, shared: Path, **dataset: Any) -> Config:
    """Stage one and the few-shot methods on EuroSAT with the stand-in encoder, without
    Snakemake.
    """
    config = Config.model_validate(
        {
            "results": folder,
            "datasets": {"fields": {"texts": "names", "views": 1, **dataset}},
            "models": {"lite0": {"model": f"local-dir:{shared}/models/lite0-minilm"}},
            "settings": ["clean"],
            "features": {"cache": False},
            "adapter": {
                "shots": [2],
                "seeds": SEEDS,
                "methods": ["tip_adapter", "lda", "coder_adapter"],
            },
            "evaluation": {"template_ensemble": False},
        }
    )
    for rule in (
        "list_images",
        "text_set",
        "encode_images",
        "encode_texts",
        "build_coder",
        "classify",
    ):
        jobs.work(config, rule, model="lite0", dataset="fields")
    return config


def test_caches_of_true_photos_give_their_results(
    photos: Path, shared: Path, tmp_path: Path
) -> None:
    """Whoever has caches of his own images must get what the images would give."""
    own = run(tmp_path / "images", shared, root=photos)
    features = {
        split: read_tensors(Paths(own.results).image_features("lite0", "fields", split))
        for split in ("shots", "val", "test")
    }
    caches = tmp_path / "caches"
    caches.mkdir()
    for split in ("val", "test"):
        tensors, meta = features[split]
        torch.save(tensors["features"], caches / f"{split}_f.pt")
        torch.save(tensors["labels"], caches / f"{split}_l.pt")
    tensors, meta = features["shots"]
    # all training images, as drawn; Tip-Adapter's form has features in columns and one-hot labels
    torch.save(tensors["features"].T.contiguous(), caches / "keys_4shots.pt")
    torch.save(
        torch.nn.functional.one_hot(tensors["labels"], 10).half(), caches / "values_4shots.pt"
    )
    given = run(tmp_path / "features", shared, features=caches, classes=meta["classes"])
    for split in ("val", "test"):
        found, _ = read_tensors(Paths(given.results).image_features("lite0", "fields", split))
        assert torch.equal(found["features"], features[split][0]["features"])
        assert torch.equal(found["labels"], features[split][0]["labels"])
    columns = ["method", "label", "prediction", "gap", "score1"]
    stage_one = [
        pd.read_parquet(Paths(c.results).zero_shot("lite0", "fields"))[columns]
        for c in (own, given)
    ]
    pd.testing.assert_frame_equal(*stage_one)
    assert len(stage_one[0]["method"].unique()) >= 2
    # few-shot methods run on them, each seed on its own shots
    jobs.work(given, "fit_adapters", model="lite0", dataset="fields", shots="2")
    rows = pd.read_parquet(Paths(given.results).adapter("lite0", "fields", 2))
    assert set(rows["seed"]) == set(SEEDS)
    best = rows[rows["method"] == "lda"]
    assert best["correct"].mean() > 0.3  # chance: 0.1


def test_caches_of_another_encoder_are_refused(photos: Path, shared: Path, tmp_path: Path) -> None:
    """Features of another width cannot be compared with the texts of this model."""
    caches = tmp_path / "caches"
    caches.mkdir()
    for split in ("val", "test"):
        torch.save(torch.randn(20, 7), caches / f"{split}_f.pt")
        torch.save(torch.arange(20) % 10, caches / f"{split}_l.pt")
    with pytest.raises(Exception, match="its encoder is not that of the image features"):
        run(tmp_path / "r", shared, features=caches, classes=[f"c{i}" for i in range(10)])
    shutil.rmtree(tmp_path / "r")
