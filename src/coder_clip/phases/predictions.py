"""Rows of results per image, and their metrics, for both zero_shot and rerank (docs/artifacts.md)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from torch import Tensor

from ..evaluation.estimates import (
    Estimate,
    SeedsEstimate,
    estimate,
    over_seeds,
    paired_test,
    paired_test_over_seeds,
)
from ..zero_shot import softmax_gap, top_k
from .common import Images

if TYPE_CHECKING:
    from ..pipeline.config import Config

TOP = 5


def rows(
    images: Images, method: str, setting: str, scores: Tensor, prediction: Tensor, draw: int = 0
) -> pd.DataFrame:
    """One row per image. scores: (N, C); prediction: (N,); draw: number of the draw, for methods with random draws."""
    values, classes = top_k(scores, min(TOP, scores.shape[1]))
    table = pd.DataFrame({"setting": setting, "method": method, "draw": draw, "image_id": images.ids})
    table["label"] = images.labels.numpy()
    table["prediction"] = prediction.numpy()
    table["correct"] = table["prediction"] == table["label"]
    n, k = classes.shape
    for i in range(TOP):
        table[f"top{i + 1}"] = classes[:, i].numpy() if i < k else np.full(n, -1)
    for i in range(TOP):
        table[f"score{i + 1}"] = values[:, i].float().numpy() if i < k else np.full(n, np.nan, np.float32)
    table["gap"] = softmax_gap(scores).float().numpy()
    return table


def metrics(config: Config, table: pd.DataFrame, clip: pd.DataFrame) -> dict[str, Any]:
    """Accuracy, top-5 accuracy, mean class recall and the comparison with CLIP of one method and setting.

    A rerank picks among the same five, so its top-5 accuracy is that of stage one; None for up to five classes.
    clip: the rows of plain CLIP on the same images, in the same order.
    """
    options = {"resamples": config.evaluation.bootstrap, "seed": config.evaluation.seed}
    correct, labels = table["correct"].to_numpy(), table["label"].to_numpy()
    among = table[[f"top{i + 1}" for i in range(TOP)]].to_numpy()
    more_than_five = (among >= 0).all()  # with fewer classes the label is always among the top five
    method = table["method"].iloc[0]
    return {
        "method": method,
        "setting": table["setting"].iloc[0],
        "accuracy": estimate(correct, **options),
        "top5_accuracy": estimate((among == labels[:, None]).any(axis=1), **options)
        if more_than_five
        else None,
        "mean_class_recall": estimate(correct, labels, **options),
        "against_clip": None if method == "clip" else paired_test(clip["correct"].to_numpy(), correct),
    }


def metrics_over_draws(config: Config, tables: Sequence[pd.DataFrame], clip: pd.DataFrame) -> dict[str, Any]:
    """As `metrics`, for a method with several random draws: means over draws, intervals over draws and images.

    The intervals of mean class recall and top-5 accuracy are those of each image's mean result over the draws.
    draws: their number, and standard deviation and range of their accuracies. fixed, broke: over all draws together.
    """
    options = {"resamples": config.evaluation.bootstrap, "seed": config.evaluation.seed}
    labels = tables[0]["label"].to_numpy()
    correct = np.stack([table["correct"].to_numpy() for table in tables])
    accuracies = correct.mean(axis=1)
    among = np.stack([table[[f"top{i + 1}" for i in range(TOP)]].to_numpy() for table in tables])
    top5 = (among == labels[None, :, None]).any(axis=2).mean(axis=0)
    accuracy = over_seeds(correct)
    test = paired_test_over_seeds(np.broadcast_to(clip["correct"].to_numpy(), correct.shape), correct)
    return {
        "method": tables[0]["method"].iloc[0],
        "setting": tables[0]["setting"].iloc[0],
        "accuracy": _estimate(accuracy),
        "top5_accuracy": estimate(top5, **options) if (among >= 0).all() else None,
        "mean_class_recall": estimate(correct.mean(axis=0), labels, **options),
        "against_clip": {**test, "difference": _estimate(test["difference"])},
        "draws": {
            "count": len(tables),
            "std": accuracy["std"],
            "min": float(accuracies.min()),
            "max": float(accuracies.max()),
        },
    }


def _estimate(over_draws: SeedsEstimate) -> Estimate:
    return {"value": over_draws["mean"], "low": over_draws["low"], "high": over_draws["high"]}
