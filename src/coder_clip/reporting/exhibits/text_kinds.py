"""Kinds of text."""

from __future__ import annotations

from operator import attrgetter

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
nothing = attrgetter("names_alone")


def table(results: Results) -> Table:
    """Stage one with some kinds of text at a time."""
    records = [
        {"dataset": d, "model": m, "kinds": "+".join(row["kinds"]), "texts": row["texts"]}
        | frames.estimate("accuracy", row["accuracy"])
        for d, m in results
        for row in results.evaluation(d, m)["text_kinds"]
    ]
    return cells.table(
        results,
        "Kinds of text",
        CAPTION,
        pd.DataFrame(records, columns=["dataset", "model", "kinds", "texts", *frames.ends("accuracy")]),
        [
            (Column("Kinds of text", numeric=False), lambda r: Cell(r["kinds"].replace("+", " + "))),
            (Column("Texts", wide=True), cells.count("texts")),
            (Column("Top-1 (%)"), cells.accuracy()),
        ],
    )
