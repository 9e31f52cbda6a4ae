"""Original features and CODER."""

from __future__ import annotations

from ..parts import cells, frames
from ..parts.table import Cell, Column, Table
from ..results import Results

SECTION = "Features"
ORDER = 10
PHASES = ("evaluation",)

FEATURES = {"original": "original", "coder": "CODER"}
CAPTION = (
    "How often near test images share a class, by the cosine of original image features and of CODERs. k-NN: accuracy "
    "of a vote of the k nearest other images. R-precision: share of an image's class among its R nearest others, where "
    "R is the number of other images of that class. With 95 % intervals over images."
)


def table(results: Results) -> Table:
    """Neighbours and retrieval by original features and by CODER."""
    rows = [
        {"dataset": d, "model": m, **row}
        for d, m in results
        for row in results.evaluation(d, m)["feature_quality"]
    ]
    shares = ["knn_accuracy", "retrieval_precision"]
    frame = frames.tidy(rows, ["dataset", "model", "features", "k", *shares], shares)
    k = ", ".join(str(k) for k in dict.fromkeys(frame["k"]))
    return cells.table(
        results,
        "Original features and CODER",
        CAPTION,
        frame,
        [
            (Column("Features", numeric=False), lambda r: Cell(FEATURES[r["features"]])),
            (Column(f"{k}-NN (%)"), cells.accuracy("knn_accuracy")),
            (Column("R-precision (%)"), cells.accuracy("retrieval_precision")),
        ],
    )
