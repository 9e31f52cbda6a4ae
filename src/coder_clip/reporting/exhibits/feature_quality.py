"""Original features and CODER."""

from __future__ import annotations

import pandas as pd

from ..parts import cells, frames
from ..parts.table import Cell, Column, Table
from ..results import Results

SECTION = "Features"
ORDER = 10
PHASES = ("evaluation",)

FEATURES = {"original": "original", "coder": "CODER"}
CAPTION = (
    "How well near images share a class, by the cosine of original image features and of CODERs: accuracy of the k "
    "nearest other test images, and the share of an image's class among its R nearest, R being the size of the class "
    "(R-precision). With 95 % intervals."
)


def table(results: Results) -> Table:
    """Neighbours and retrieval by original features and by CODER."""
    records = [
        {"dataset": d, "model": m, "features": row["features"], "k": row["k"]}
        | frames.estimate("knn_accuracy", row["knn_accuracy"])
        | frames.estimate("retrieval_precision", row["retrieval_precision"])
        for d, m in results
        for row in results.evaluation(d, m)["feature_quality"]
    ]
    values = frames.ends("knn_accuracy", "retrieval_precision")
    frame = pd.DataFrame(records, columns=["dataset", "model", "features", "k", *values])
    k = ", ".join(str(k) for k in dict.fromkeys(frame["k"]))
    return cells.table(
        results,
        "Original features and CODER",
        CAPTION,
        frame,
        [
            (Column("Features", numeric=False), lambda r: Cell(cells.label(FEATURES, r["features"]))),
            (Column(f"{k}-NN (%)"), cells.accuracy("knn_accuracy")),
            (Column("R-precision (%)"), cells.accuracy("retrieval_precision")),
        ],
    )
