"""Phase rerank: stage two on the test split, for every setting (paper, section 3.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor

from ..artifacts import Paths, made_by, read_parquet, read_tensors, write_json, write_parquet
from ..coverage import coverage
from ..evaluation import estimate
from ..rerank import OneToOne, Reranked, oracle, rerank_scores
from ..settings import DEFAULT_THRESHOLD, SETTINGS
from .coder import read_neighbors, uses_published_texts
from .common import Images, belongs, read_images, use_threads
from .predictions import metrics, rows

if TYPE_CHECKING:
    from ..config import Config

METHOD = "coder_rerank"


def run(config: Config, model: str, dataset: str) -> None:
    """Write ``rerank/{model}/{dataset}.parquet`` and ``.json``.

    A data set without validation images keeps the default threshold where one would be chosen on them.
    """
    use_threads(config)
    test = read_images(config, model, dataset, "test")
    val = read_images(config, model, dataset, "val") if config.has_val(dataset) else None
    pairs = read_one_to_one(config, test)
    paths = Paths(config.results)
    stage_one = read_parquet(paths.zero_shot(model, dataset))
    clip = stage_one[stage_one["method"] == "clip"]
    top = config.rerank.top_k

    tables, documents, sweep, candidates, changes = [], [], [], [], []
    for setting in config.settings:
        s = SETTINGS[setting]
        neighbors = read_neighbors(config, test, uses_published_texts(setting))
        scores = neighbors.class_scores(test.features)
        both = rerank_scores(test.features, scores, pairs, top)
        threshold = config.threshold(dataset)
        if s.rerank_threshold == "validation" and val is None:
            threshold = DEFAULT_THRESHOLD
        elif s.rerank_threshold == "validation" and val is not None:
            val_scores = neighbors.class_scores(val.features)
            on_val = rerank_scores(val.features, val_scores, pairs, top)
            threshold = best_threshold(config.rerank.thresholds, on_val, val.labels)
        eligible = torch.ones(len(test.ids), dtype=torch.bool)
        if s.gate_reads_labels:  # as published: an image whose label is not among the top five is not counted
            eligible = (both.classes == test.labels[:, None]).any(dim=1)
        looked_at = (both.gap < threshold) & eligible
        after = torch.where(looked_at, both.stage_two, both.stage_one)

        table = rows(test, METHOD, setting, scores, after)
        table["looked_at"], table["stage_one"] = looked_at.numpy(), both.stage_one.numpy()
        tables.append(table)
        documents.append(
            {
                **metrics(config, table, clip),
                "threshold": threshold,
                "looked_at": int(looked_at.sum()),
                **coverage(both.classes[looked_at], pairs),
            }
        )
        for t in config.rerank.thresholds:
            right = both.predictions(t) == test.labels
            point = {
                "accuracy": float(right.double().mean()),
                "looked_at": int(((both.gap < t) & eligible).sum()),
            }
            sweep.append({"setting": setting, "threshold": t, **point})
        for k in sorted({min(k, scores.shape[1]) for k in (top, *config.rerank.top_ks)}):
            of_k = rerank_scores(test.features, scores, pairs, k)
            candidates += [
                {"setting": setting, "top_k": k, **point}
                for point in gates(of_k, threshold, test.labels, pairs)
            ]
        changes += changed_pairs(table, setting)

    out = paths.rerank(model, dataset)
    write_parquet(out, pd.concat(tables, ignore_index=True))
    inputs = [
        *(paths.image_features(model, dataset, split) for split in ("val", "test") if split == "test" or val),
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
            "pairs_with_texts": len(pairs),
            "methods": documents,
            "sweep": sweep,
            "candidates": candidates,
            "pairs": changes,
            "made_by": made_by(f"coder-clip rerank --model {model} --dataset {dataset}", inputs),
        },
    )


def best_threshold(thresholds: list[float], both: Reranked, labels: Tensor) -> float:
    """The threshold of the highest accuracy on these images; of several the smallest (fewest reranks)."""
    right = {t: int((both.predictions(t) == labels).sum()) for t in sorted(thresholds)}
    return max(right, key=lambda t: right[t])


def gates(both: Reranked, threshold: float, labels: Tensor, pairs: OneToOne) -> list[dict[str, Any]]:
    """The rerank behind the gate in use and behind none: its accuracy, and what a second stage that never errs has.

    coverage: share of comparisons with texts; None where nothing is compared.
    """
    found = []
    for gate, looked_at in (
        ("in_use", both.gap < threshold),
        ("open", torch.ones_like(both.gap, dtype=torch.bool)),
    ):
        right = torch.where(looked_at, both.stage_two, both.stage_one) == labels
        found.append(
            {
                "gate": gate,
                "looked_at": int(looked_at.sum()),
                "accuracy": estimate(right),
                "oracle": estimate(oracle(both, looked_at, labels)),
                "coverage": coverage(both.classes[looked_at], pairs)["coverage"],
            }
        )
    return found


def changed_pairs(table: pd.DataFrame, setting: str) -> list[dict[str, Any]]:
    """For each (class before, class after) how many images the rerank put right or wrong, and which."""
    changed = table[table["prediction"] != table["stage_one"]]
    found = []
    for a, b in sorted(set(zip(changed["stage_one"], changed["prediction"], strict=True))):
        group = changed[(changed["stage_one"] == a) & (changed["prediction"] == b)]
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
