"""Accuracy of every class."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ...baselines.methods import LABELS
from ..parts import cells, mistakes
from ..parts.table import Cell, Column, Table
from ..results import Results

SECTION = "Zero-shot"
ORDER = 30
PHASES = ("zero_shot", "rerank")

SHOWN = 10  # classes of a data set that people see; the CSV has all
CAPTION = (
    "Share of right test images of each class, the hardest classes first, and the class that most of the wrong ones "
    "were taken for."
)


def table(results: Results) -> Table:
    """Per-class accuracy of CLIP, CODER and the rerank: all classes for machines, the hardest for people."""
    records: list[dict[str, Any]] = []
    for dataset, model in results:
        names = results.zero_shot(dataset, model)["classes"]
        predictions = mistakes.predictions(results, dataset, model)
        right = pd.DataFrame({m: predictions[m] == predictions["label"] for m in mistakes.METHODS})
        accuracy = right.groupby(predictions["label"]).mean()
        images = predictions["label"].value_counts()
        mistaken = mistakes.mistakes(predictions)
        last = accuracy[mistakes.METHODS[-1]].sort_values(kind="stable")
        for label in last.index:
            wrong = mistaken[(mistaken["label"] == label) & (mistaken[mistakes.METHODS[-1]] > 0)]
            most = None if wrong.empty else wrong.iloc[0]
            records.append(
                {
                    "dataset": dataset,
                    "model": model,
                    "label": label,
                    "class": names[label],
                    "images": images[label],
                }
                | {m: accuracy.loc[label, m] for m in mistakes.METHODS}
                | {
                    "taken_for": None if most is None else names[most["predicted"]],
                    "taken_for_images": 0 if most is None else int(most[mistakes.METHODS[-1]]),
                }
            )
    columns = [
        "dataset",
        "model",
        "label",
        "class",
        "images",
        *mistakes.METHODS,
        "taken_for",
        "taken_for_images",
    ]
    frame = pd.DataFrame(records, columns=columns)
    shown = frame.groupby(["dataset", "model"], sort=False).head(SHOWN)
    rows = [
        [
            *cells.place_cells(results, r),
            Cell(r["class"]),
            Cell(str(r["images"]), r["images"]),
            *(Cell(cells.percent(r[m]), r[m]) for m in mistakes.METHODS),
            Cell(f"{r['taken_for']} ({r['taken_for_images']})" if r["taken_for_images"] else "–"),
        ]
        for r in records
        if (r["dataset"], r["model"], r["label"])
        in set(zip(shown["dataset"], shown["model"], shown["label"], strict=True))
    ]
    return Table(
        "Accuracy by class",
        f"{CAPTION} {mistakes.about(results, len(rows) < len(frame), SHOWN, 'classes')}{cells.only(results)}",
        frame,
        [
            *cells.place(results),
            Column("Class", numeric=False),
            Column("Images"),
            *(Column(f"{LABELS[m]} (%)") for m in mistakes.METHODS),
            Column("Taken for (images)", numeric=False),
        ],
        rows,
    )
