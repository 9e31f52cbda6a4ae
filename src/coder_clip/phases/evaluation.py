"""Phase evaluation: ablations over texts, and the distances between images by original features and by CODER."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..evaluation.estimates import estimate
from ..evaluation.representation import (
    corrections,
    knn_accuracy,
    map_rows,
    retrieval_precision,
    telling_texts,
    tsne,
)
from ..evaluation.text_ablations import StageOne, text_choice_curve, text_count_curve, text_kind_ablation
from ..foundation.artifacts import Paths, made_by, write_json, write_parquet
from ..neighbors import ADAPTER_KINDS
from .coder import read_neighbors
from .common import ImageFeatures, Texts, read_image_features, read_texts, use_threads

if TYPE_CHECKING:
    from ..pipeline.config import Config

ABOUT = "Ablations over texts; k-NN and retrieval with CODER and original features; t-SNE; corrections."
TEXTS_SHOWN = 5


def run(config: Config, model: str, dataset: str) -> None:
    """Write ``evaluation/{model}/{dataset}.json`` and ``.parquet``."""
    use_threads(config)
    test = read_image_features(config, model, dataset, "test")
    texts = read_texts(config, model, dataset, test)
    neighbors = read_neighbors(config, test)
    e, labels = config.evaluation, test.labels.numpy()
    kinds, owner = texts.sentences.kind, texts.sentences.class_index
    stage_one = StageOne(test.features, labels, texts.features, owner, kinds, len(test.classes))
    features = {"original": test.features, "coder": neighbors.compact(test.features)}

    paths = Paths(config.results)
    out = paths.evaluation(model, dataset)
    inputs = [
        paths.image_features(model, dataset, "test"),
        paths.text_features(model, dataset),
        paths.coder(model, dataset),
    ]
    options = {"resamples": e.bootstrap, "seed": e.seed}
    document = {
        "dataset": dataset,
        "model": model,
        "images": len(test.ids),
        "classes": test.classes,
        "text_kinds": text_kind_ablation(stage_one),
        "text_counts": text_count_curve(stage_one, [0, *e.text_counts], e.draws, e.seed),
        "text_choices": text_choice_curve(stage_one, e.text_counts),
        "feature_quality": [
            {
                "features": name,
                "k": e.neighbors,
                "knn_accuracy": estimate(knn_accuracy(f, labels, k=e.neighbors), **options),
                "retrieval_precision": _retrieval(f, labels, options),
            }
            for name, f in features.items()
        ],
        "corrections": _corrections(test, texts, features, e.corrections),
        "made_by": made_by(f"coder-clip evaluation --model {model} --dataset {dataset}", inputs),
    }
    shown = map_rows(labels, e.tsne_images, e.seed)
    write_parquet(out, pd.concat([_map(test, shown, name, f) for name, f in features.items()]))
    write_json(out.with_suffix(".json"), document)


def _retrieval(features: Tensor, labels: np.ndarray[Any, Any], options: dict[str, int]) -> Any:
    """Same-class retrieval precision; None if no class has two test images."""
    precision = retrieval_precision(features, labels)
    return None if np.isnan(precision).all() else estimate(precision, **options)


def _map(test: ImageFeatures, shown: np.ndarray[Any, Any], name: str, features: Tensor) -> pd.DataFrame:
    """t-SNE coordinates of some test images, by one kind of feature."""
    rows = torch.from_numpy(shown)
    x, y = tsne(features[rows]).T
    ids = [test.ids[i] for i in shown]
    return pd.DataFrame(
        {"image_id": ids, "label": test.labels[rows].numpy(), "features": name, "x": x, "y": y}
    )


def _corrections(
    test: ImageFeatures, texts: Texts, features: dict[str, Tensor], top: int
) -> list[dict[str, Any]]:
    """Images whose nearest neighbour CODER corrects, with the texts that tell them apart (paper, Figure 2)."""
    kinds = [i for kind in ADAPTER_KINDS for i in texts.sentences.rows(kind)]
    rows = []
    for c in corrections(features["original"], features["coder"], test.labels.numpy(), top):
        places = {who: c[who] for who in ("query", "same", "other")}
        telling = telling_texts(test.features[[*places.values()]], texts.features[kinds], TEXTS_SHOWN)
        said = [{"text": texts.sentences.text[kinds[i]], **cosines} for i, cosines in telling]
        images = {who: test.ids[i] for who, i in places.items()}
        rows.append({**images, "original": c["original"], "coder": c["coder"], "texts": said})
    return rows
