"""Accuracy of every class."""

from __future__ import annotations

import pandas as pd

from ...baselines.methods import LABELS
from ..parts import cells, mistakes
from ..parts.table import Cell, Column, Table
from ..results import Results

SECTION = "Errors"
ORDER = 20
PHASES = ("zero_shot", "rerank")
DETAIL = True

SHOWN = 10  # classes of a data set that are shown; the CSV has all
CAPTION = (
    "Share of right test images of each class, the hardest classes first, and the class that most "
    "of the wrong ones were taken for."
)


def table(results: Results) -> Table:
    """Per-class accuracy of CLIP, CODER and the rerank: all classes in the CSV, the hardest
    shown.
    """
    parts = []
    for dataset, model in results:
        names = pd.Series(results.zero_shot(dataset, model)["classes"])
        predictions = mistakes.predictions(results, dataset, model)
        label, last = predictions["label"], mistakes.METHODS[-1]
        # share of right images per class and method; the last method decides what is hardest
        right = predictions[list(mistakes.METHODS)].eq(label, axis=0).groupby(label)
        part = right.mean().assign(images=right.size()).sort_values(last, kind="stable")
        # `mistakes` has the most frequent first: the first row of a label has the class that its
        # images are mostly taken for
        wrong = mistakes.mistakes(predictions)
        most = wrong[wrong[last] > 0].drop_duplicates("label").set_index("label")
        most = most.reindex(part.index)
        part = part.assign(dataset=dataset, model=model, taken_for=most["predicted"].map(names))
        part["class"] = names[part.index]
        part["taken_for_images"] = most[last].fillna(0).astype(int)
        parts.append(part.reset_index())
    columns = ["dataset", "model", "label", "class", "images", *mistakes.METHODS]
    frame = pd.concat(parts, ignore_index=True)[[*columns, "taken_for", "taken_for_images"]]
    shown = frame.groupby(["dataset", "model"], sort=False).head(SHOWN)
    return cells.table(
        results,
        "Accuracy by class",
        f"{CAPTION} {mistakes.about(results, len(shown) < len(frame), SHOWN, 'classes')}",
        frame,
        [
            (Column("Class", numeric=False), cells.words("class")),
            (Column("Images", wide=True), cells.count("images")),
            *(
                (Column(f"{LABELS[m]} (%)", wide=m == "clip"), cells.share(m))
                for m in mistakes.shown(results)
            ),
            (Column("Taken for (images)", numeric=False), _taken_for),
        ],
        shown=shown,
    )


def _taken_for(r: cells.Record) -> Cell:
    """The class that most wrong images are taken for, and their number; – without mistakes."""
    return Cell(f"{r['taken_for']} ({r['taken_for_images']})" if r["taken_for_images"] else "–")
