"""Phase rerank: stage two on the test split, for every setting (paper, section 3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..artifacts import Paths, made_by, read_parquet, read_tensors, write_json, write_parquet
from ..rerank import OneToOne, rerank
from ..settings import SETTINGS
from ..zero_shot import predict, softmax_gap, top_k
from .coder import read_neighbors, uses_published_texts
from .common import Images, belongs, read_images, use_threads
from .predictions import metrics, rows

if TYPE_CHECKING:
    from ..config import Config

METHOD = "coder_rerank"


def run(config: Config, model: str, dataset: str) -> None:
    """Write ``rerank/{model}/{dataset}.parquet`` and ``.json``."""
    use_threads(config)
    val, test = (read_images(config, model, dataset, split) for split in ("val", "test"))
    pairs = read_one_to_one(config, test)
    paths = Paths(config.results)
    stage_one = read_parquet(paths.zero_shot(model, dataset))
    clip = stage_one[stage_one["method"] == "clip"]
    top = config.rerank.top_k

    tables, documents, sweep, changes = [], [], [], []
    for setting in config.settings:
        s = SETTINGS[setting]
        neighbors = read_neighbors(config, test, uses_published_texts(setting))
        scores = neighbors.class_scores(test.features)
        before, gap = predict(scores), softmax_gap(scores)
        # Reranking every image once gives the predictions at any threshold: gap below it, or stage one.
        always, _ = rerank(test.features, scores, pairs, threshold=2.0, top_k=top)

        threshold = config.datasets[dataset].threshold
        if s.rerank_threshold == "validation":
            val_scores = neighbors.class_scores(val.features)
            val_always, _ = rerank(val.features, val_scores, pairs, threshold=2.0, top_k=top)
            threshold = best_threshold(config.rerank.thresholds, val_scores, val_always, val.labels)
        looked_at = gap < threshold
        if s.gate_reads_labels:  # as published: an image whose label is not among the top five is not counted
            _, candidates = top_k(scores, min(top, scores.shape[1]))
            looked_at &= (candidates == test.labels[:, None]).any(dim=1)
        after = torch.where(looked_at, always, before)

        table = rows(test, METHOD, setting, scores, after)
        table["looked_at"], table["stage_one"] = looked_at.numpy(), before.numpy()
        tables.append(table)
        documents.append(
            {
                **metrics(config, table, clip),
                "threshold": threshold,
                "looked_at": int(looked_at.sum()),
                "coverage": coverage(scores[looked_at], pairs, top),
            }
        )
        for t in config.rerank.thresholds:
            right = torch.where(gap < t, always, before) == test.labels
            accuracy = float(right.double().mean())
            sweep.append(
                {"setting": setting, "threshold": t, "accuracy": accuracy, "looked_at": int((gap < t).sum())}
            )
        changes += changed_pairs(table, setting)

    out = paths.rerank(model, dataset)
    write_parquet(out, pd.concat(tables, ignore_index=True))
    inputs = [
        paths.image_features(model, dataset, "val"),
        paths.image_features(model, dataset, "test"),
        paths.coder(model, dataset),
        paths.one_to_one(model, dataset),
        paths.zero_shot(model, dataset),
    ]
    write_json(
        out.with_suffix(".json"),
        {
            "dataset": dataset,
            "model": model,
            "split": "test",
            "images": len(test.ids),
            "classes": test.classes,
            "methods": documents,
            "sweep": sweep,
            "pairs": changes,
            "made_by": made_by(f"coder-clip rerank --model {model} --dataset {dataset}", inputs),
        },
    )


def best_threshold(thresholds: list[float], scores: Tensor, always: Tensor, labels: Tensor) -> float:
    """The threshold of the highest accuracy on these images; of several the smallest (fewest reranks).

    scores: (N, C) of stage one; always: (N,) predictions with every image reranked; labels: (N,).
    """
    gap, before = softmax_gap(scores), predict(scores)
    right = {t: int((torch.where(gap < t, always, before) == labels).sum()) for t in sorted(thresholds)}
    return max(right, key=lambda t: right[t])


def coverage(scores: Tensor, pairs: OneToOne, top: int) -> float | None:
    """Share of the compared pairs that have texts; None where nothing is compared. scores: (n, C) looked at."""
    _, classes = (
        top_k(scores, min(top, scores.shape[1]))
        if len(scores)
        else (None, torch.zeros(0, 2, dtype=torch.int64))
    )
    i, j = torch.triu_indices(classes.shape[1], classes.shape[1], offset=1)
    compared = classes[:, i].numpy(), classes[:, j].numpy()
    if not compared[0].size:
        return None
    have = np.zeros((pairs.n_classes, pairs.n_classes), dtype=bool)
    for a, b in pairs.pairs:
        have[a, b] = have[b, a] = True
    return float(have[compared].mean())


def changed_pairs(table: pd.DataFrame, setting: str) -> list[dict[str, Any]]:
    """For each (class before, class after) how many images the rerank put right or wrong, and which."""
    changed = table[table["prediction"] != table["stage_one"]]
    found = []
    for (a, b), group in changed.groupby(["stage_one", "prediction"], sort=True):
        fixed = group.loc[group["correct"], "image_id"].tolist()
        broke = group.loc[group["stage_one"] == group["label"], "image_id"].tolist()
        counts = {"fixed": len(fixed), "broke": len(broke)}
        found.append(
            {"setting": setting, "a": int(a), "b": int(b), **counts, "fixed_ids": fixed, "broke_ids": broke}
        )
    return sorted(found, key=lambda p: (-(p["fixed"] + p["broke"]), p["a"], p["b"]))


def read_one_to_one(config: Config, images: Images) -> OneToOne:
    """The pair differences that belong to these image features."""
    path = Paths(config.results).one_to_one(images.meta["model"], images.meta["dataset"])
    tensors, meta = read_tensors(path)
    belongs(path, meta, images)
    return OneToOne.from_state(tensors)
