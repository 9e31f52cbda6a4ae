"""Per-image results as rows, and their metrics, for zero_shot and rerank alike (docs/artifacts.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from torch import Tensor

from ..evaluation import estimate, paired_test
from ..zero_shot import softmax_gap, top_k
from .common import Images

if TYPE_CHECKING:
    from ..config import Config

TOP = 5


def rows(images: Images, method: str, setting: str, scores: Tensor, prediction: Tensor) -> pd.DataFrame:
    """One row an image; scores (N, C), prediction (N,)."""
    values, classes = top_k(scores, min(TOP, scores.shape[1]))
    table = pd.DataFrame({"setting": setting, "method": method, "image_id": images.ids})
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

    A rerank picks among the same five, so its top-5 accuracy is that of stage one; None for five classes and fewer.
    clip: the rows of plain CLIP on the same images, in the same order.
    """
    options = {"resamples": config.evaluation.bootstrap, "seed": config.evaluation.seed}
    correct, labels = table["correct"].to_numpy(), table["label"].to_numpy()
    among = table[[f"top{i + 1}" for i in range(TOP)]].to_numpy()
    told_apart = (among >= 0).all()  # of five classes and fewer, the label is always among them
    method = table["method"].iloc[0]
    return {
        "method": method,
        "setting": table["setting"].iloc[0],
        "accuracy": estimate(correct, **options),
        "top5_accuracy": estimate((among == labels[:, None]).any(axis=1), **options) if told_apart else None,
        "mean_class_recall": estimate(correct, labels, **options),
        "against_clip": None
        if method == "clip"
        else paired_test(clip["correct"].to_numpy(), correct, **options),
    }
