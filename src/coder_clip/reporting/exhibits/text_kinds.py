"""Exhibit: accuracy of stage one with each kind of text."""

from __future__ import annotations

from operator import attrgetter

from ..parts import cells, frames
from ..parts.table import Cell, Column, Table
from ..results import Results

SECTION = "Texts"
ORDER = 10
PHASES = ("evaluation",)

CAPTION = (
    "Top-1 accuracy of stage one with some kinds of text at a time, with its 95 % interval, and "
    "how many texts that takes for all classes together. Sentences of attributes and of analogous "
    "classes name the class, too. A class without a text of these kinds, or without a synonym "
    "where those count, has its name in its place."
)
nothing = attrgetter("names_alone")


def table(results: Results) -> Table:
    """Stage one with some kinds of text at a time."""
    rows = [
        {"dataset": d, "model": m, **row, "kinds": "+".join(row["kinds"])}
        for d, m in results
        for row in results.evaluation(d, m)["text_kinds"]
    ]
    return cells.table(
        results,
        "Kinds of text",
        CAPTION,
        frames.tidy(rows, ["dataset", "model", "kinds", "texts", "accuracy"], ["accuracy"]),
        [
            (
                Column("Kinds of text", numeric=False),
                lambda r: Cell(r["kinds"].replace("+", " + ")),
            ),
            (Column("Texts", wide=True), cells.count("texts")),
            (Column("Top-1 (%)"), cells.accuracy()),
        ],
    )
