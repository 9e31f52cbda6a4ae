"""Neighbours by original features, by CODER, and by two simple maps of original features."""

from __future__ import annotations

from ..parts import cells, frames
from ..parts.table import Cell, Column, Table
from ..results import Results

SECTION = "Features"
ORDER = 10
PHASES = ("evaluation",)

CAPTION = (
    "How well near images share a class, by the cosine of several kinds of features: accuracy of the k nearest other "
    "test images, and the share of an image's class among its R nearest, R being the size of the class (R-precision). "
    "With 95 % intervals. Projected: image features on the main components of ImageNet's class names; linear "
    "discriminant: centred and whitened by the shots of the first seed (both after Herzog and Wang 2026)."
)


def table(results: Results) -> Table:
    """Neighbours and retrieval by original features, by CODER, and by two simple maps of original features."""
    labels = {
        "original": "original",
        "coder": "CODER",
        "projected": "Projected on name texts",
        "discriminant": f"Linear discriminant of {cells.shots(max(results.shots, default=0))}",
    }
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
        "Neighbours by several kinds of features",
        CAPTION,
        frame,
        [
            (Column("Features", numeric=False), lambda r: Cell(labels[r["features"]])),
            (Column(f"{k}-NN (%)"), cells.accuracy("knn_accuracy")),
            (Column("R-precision (%)"), cells.accuracy("retrieval_precision")),
        ],
    )
