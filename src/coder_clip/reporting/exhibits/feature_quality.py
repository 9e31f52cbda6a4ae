"""Neighbours by original features, CODER, simple maps of the features, and controls."""

from __future__ import annotations

from ..parts import cells, frames
from ..parts.table import Cell, Column, Table
from ..results import Results

SECTION = "Features"
ORDER = 10
PHASES = ("evaluation",)

CAPTION = (
    "How often near test images share a class, by the cosine of several kinds of features. k-NN: "
    "accuracy of a vote of the k nearest other images. R-precision: share of an image's class "
    "among its R nearest others, where R is the number of other images of that class. With 95 % "
    "intervals, widened as images are neighbours of each other. Projected: image features on the "
    "main components of ImageNet's class names; linear discriminant: centred and whitened by the "
    "labelled images (shots) of the first seed, so its numbers hold for these shots; the others "
    "use no label (both after Herzog and Wang 2026). The last rows are controls, explained with "
    "the claims."
)


def table(results: Results) -> Table:
    """Neighbours and retrieval by each kind of feature."""
    # All numbers are from the phase evaluation. The discriminant is fitted to shots, so its name
    # says to how many.
    labels = {
        "original": "original",
        "coder": "CODER",
        "coder_few": "CODER by 100 texts, drawn once",
        "projected": "Projected on name texts",
        "discriminant": (
            f"Linear discriminant, {cells.shots(max(results.shots, default=0))} per class"
        ),
        "other_images": "Described by images of other data sets",
        "own_images": "Described by images of the data set",
        "rotated_texts": "CODER by rotated texts",
        "random_directions": "Described by random directions",
        "centred": "Centred",
        "whitened": "Whitened",
        "projected_images": "Projected on images of other data sets",
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
