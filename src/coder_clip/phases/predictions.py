"""Results per image, and their metrics, for zero_shot and rerank (docs/artifacts.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from ..evaluation.estimates import compare, estimate
from ..zero_shot import softmax_gap, top_k
from .common import SplitFeatures

TOP = 5


def rows(
    images: SplitFeatures,
    method: str,
    setting: str,
    scores: Tensor,
    prediction: Tensor,
    draw: int = 0,
) -> pd.DataFrame:
    """One row per image.

    scores: (N, C); prediction: (N,); draw: number of the draw, for methods with random draws.
    """
    values, classes = top_k(scores, min(TOP, scores.shape[1]))
    table = pd.DataFrame(
        {"setting": setting, "method": method, "draw": draw, "image_id": images.ids}
    )
    table["label"] = images.labels.numpy()
    table["prediction"] = prediction.numpy()
    table["correct"] = table["prediction"] == table["label"]
    with_groups(table, images)
    n, k = classes.shape
    # always TOP columns, so that all data sets have the same; missing ranks are −1 and NaN
    for i in range(TOP):
        table[f"top{i + 1}"] = classes[:, i].numpy() if i < k else np.full(n, -1)
    for i in range(TOP):
        table[f"score{i + 1}"] = (
            values[:, i].float().numpy() if i < k else np.full(n, np.nan, np.float32)
        )
    table["gap"] = softmax_gap(scores).float().numpy()
    return table


def with_groups(table: pd.DataFrame, images: SplitFeatures) -> None:
    """Add the column ``group`` to a table of images, if the data set has near twins."""
    if images.groups is not None:
        table["group"] = images.groups.numpy()


def metrics(
    tables: Sequence[pd.DataFrame],
    clip: pd.DataFrame,
    n_classes: int,
) -> dict[str, Any]:
    """The metrics of one method and setting: accuracy, top-5 accuracy, mean class recall and the
    comparison with CLIP.

    tables: the method's rows, one table per random draw; one table without random draws. clip: the
    rows of plain CLIP on the same images, in the same order. Where the rows have groups of near
    twins, the intervals are over groups.

    With several draws, numbers are means over draws; the intervals of accuracy and of the
    comparison cover draws and images, the other intervals cover each image's mean result. In the
    result, fixed and broke are sums over all draws; draws: number of draws, with the standard
    deviation and range of their accuracies.

    A rerank picks among the five best classes of stage one, so its top-5 accuracy equals stage
    one's. The top-5 accuracy is None for up to five classes, where the label is always in the top
    five.
    """
    groups = None
    if "group" in tables[0]:
        groups = tables[0]["group"].to_numpy()
    method, labels = tables[0]["method"].iloc[0], tables[0]["label"].to_numpy()
    correct = np.stack([table["correct"].to_numpy() for table in tables])  # (draws, N)
    # the best classes of each image: (draws, N, TOP)
    best = np.stack([table[[f"top{i + 1}" for i in range(TOP)]].to_numpy() for table in tables])
    top5 = (best == labels[None, :, None]).any(axis=2).mean(axis=0)
    accuracy = estimate(correct, groups=groups)
    document = {
        "method": method,
        "setting": tables[0]["setting"].iloc[0],
        "accuracy": accuracy,
        "top5_accuracy": None,
        "mean_class_recall": estimate(correct.mean(axis=0), labels, groups=groups),
        "against_clip": None,
    }
    if n_classes > TOP:
        document["top5_accuracy"] = estimate(top5, groups=groups)
    if method != "clip":
        # plain CLIP has one run, which every draw is compared with
        before = np.broadcast_to(clip["correct"].to_numpy(), correct.shape)
        document["against_clip"] = compare(before, correct, groups=groups)
    if len(tables) > 1:
        accuracies = correct.mean(axis=1)
        document["draws"] = {
            "count": len(tables),
            "std": accuracy["std"],
            "min": float(accuracies.min()),
            "max": float(accuracies.max()),
        }
    return document
