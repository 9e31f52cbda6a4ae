"""Stage one with the nearest names of a vocabulary as analogous classes."""

from __future__ import annotations

from ..parts import cells, frames
from ..parts.table import Column, Table
from ..results import Results

SECTION = "Texts"
ORDER = 17
PHASES = ("evaluation",)
DETAIL = True

CAPTION = (
    "Top-1 accuracy of stage one with its texts, and with analogous classes beside them, with 95 % "
    "intervals. The analogous classes of a class are the nearest names of the model's vocabulary, "
    "five of them, and never a class itself. They stand in for the paper's, which a language model "
    "names, and are bare names where the paper's sentences name the class, too. An ablation: "
    "nothing is chosen by it."
)


def nothing(results: Results) -> str:
    """Why there is nothing to show; "" if there is."""
    if any("analogous_names" in results.evaluation(*place) for place in results):
        return ""
    return "no model has a vocabulary and texts of the classes"


def table(results: Results) -> Table:
    """A row for each data set with texts of its classes."""
    rows = []
    for dataset, model in results:
        found = results.evaluation(dataset, model).get("analogous_names")
        if found is None:
            continue
        names = ("texts", "before", "after", "difference", "p_value")
        row = {name: found[name] for name in names}
        rows.append({"dataset": dataset, "model": model, **row})
    columns = ["dataset", "model", "texts", "before", "after", "difference", "p_value"]
    return cells.table(
        results,
        "Analogous classes from a vocabulary",
        CAPTION,
        frames.tidy(rows, columns, ["before", "after", "difference"]),
        [
            (Column("Analogous texts", wide=True), cells.count("texts")),
            (Column("Without (%)"), cells.accuracy("before")),
            (Column("With (%)"), cells.accuracy("after")),
            (Column("Difference (points)"), cells.difference()),
        ],
    )
