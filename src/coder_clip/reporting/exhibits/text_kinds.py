"""Kinds of text."""

from __future__ import annotations

import pandas as pd

from ..parts import cells, frames
from ..parts.table import Cell, Column, Table
from ..results import Results

SECTION = "Texts"
ORDER = 10
PHASES = ("evaluation",)

CAPTION = (
    "Top-1 accuracy of stage one with some kinds of text at a time, with its 95 % interval, and how many texts that "
    "takes for all classes together. A class without a text of these kinds, or without a synonym where those count, "
    "has its name in its place."
)


def table(results: Results) -> Table:
    """Stage one with some kinds of text at a time."""
    records = [
        {"dataset": d, "model": m, "kinds": "+".join(row["kinds"]), "texts": row["texts"]}
        | frames.estimate("accuracy", row["accuracy"])
        for d, m in results
        for row in results.evaluation(d, m)["text_kinds"]
    ]
    columns = ["dataset", "model", "kinds", "texts", "accuracy", "accuracy_low", "accuracy_high"]
    frame = pd.DataFrame(records, columns=columns)
    best = frames.best(frame, ["dataset", "model"], "accuracy")
    rows = [
        [
            *cells.place_cells(results, r),
            Cell(r["kinds"].replace("+", " + ")),
            Cell(str(r["texts"]), r["texts"]),
            cells.interval(r, "accuracy", best=best[i]),
        ]
        for i, r in enumerate(frames.records(frame))
    ]
    return Table(
        "Kinds of text",
        f"{CAPTION} Bold: highest value.{cells.only(results)}",
        frame,
        [*cells.place(results), Column("Kinds of text", numeric=False), Column("Texts"), Column("Top-1 (%)")],
        rows,
    )
