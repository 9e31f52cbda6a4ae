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

SHOWN = 10  # classes of a data set that people see; the CSV has all
CAPTION = (
    "Share of right test images of each class, the hardest classes first, and the class that most of the wrong ones "
    "were taken for."
)


def table(results: Results) -> Table:
    """Per-class accuracy of CLIP, CODER and the rerank: all classes for machines, the hardest for people."""
    records = []
    for dataset, model in results:
        names = results.zero_shot(dataset, model)["classes"]
        predictions = mistakes.predictions(results, dataset, model)
        right = pd.DataFrame({m: predictions[m] == predictions["label"] for m in mistakes.METHODS})
        accuracy = right.groupby(predictions["label"]).mean()
        images, last = predictions["label"].value_counts(), mistakes.METHODS[-1]
        taken = mistakes.mistakes(predictions)
        most = taken[taken[last] > 0].drop_duplicates("label").set_index("label")
        for label in accuracy[last].sort_values(kind="stable").index:
            wrong = most.loc[label] if label in most.index else None
            record = {"dataset": dataset, "model": model, "label": label, "class": names[label]}
            record |= {"images": images[label], **accuracy.loc[label, list(mistakes.METHODS)]}
            record["taken_for"] = None if wrong is None else names[wrong["predicted"]]
            records.append({**record, "taken_for_images": 0 if wrong is None else int(wrong[last])})
    columns = ["dataset", "model", "label", "class", "images", *mistakes.METHODS]
    frame = pd.DataFrame(records, columns=[*columns, "taken_for", "taken_for_images"])
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
    return Cell(f"{r['taken_for']} ({r['taken_for_images']})" if r["taken_for_images"] else "–")
