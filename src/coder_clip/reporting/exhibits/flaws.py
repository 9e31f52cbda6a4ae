"""The effect of each bug and each leak of the published code."""

from __future__ import annotations

import pandas as pd

from ...protocols import FLAWS
from ..parts import cells, frames
from ..parts.table import AVERAGE, Cell, Column, Table
from ..results import Results

SECTION = "Settings"
ORDER = 20
PHASES = ("rerank", "adapter")

CAPTION = (
    "What each bug and each leak does alone: top-1 accuracy of the setting 'clean', the same with "
    "this one thing as in the published code, and the difference on the same images, with its 95 % "
    "interval; bold where it is clear. A leak lets test data decide something; its difference is "
    "how much too good the number is. Few-shot: the CODER-Adapter, over seeds and images. Not "
    "measured, because a run has one text set: two lists of class names for one data set, and "
    "texts in another order in every run; docs/deviations.md has all of them."
)


KINDS = {True: "leak", False: "bug"}


def nothing(results: Results) -> str:
    """The reason why there are no flaws to show; "" if there are.

    Only a run with the setting as_published measures flaws.
    """
    measured = any(results.rerank(*place)["flaws"] for place in results)
    if measured:
        return ""
    return "the run has no setting 'as_published'"


def table(results: Results) -> Table:
    """Single differences between the published code and the clean setting."""
    # Flaws of stage one and two are in the rerank's document, flaws of the CODER-Adapter in one
    # document per number of shots. The table shows the flaws that change some accuracy; a note
    # names the others.
    rows = []
    for dataset, model in results:
        flaws = [{**f, "shots": 0} for f in results.rerank(dataset, model)["flaws"]]
        for n in results.shots_of(dataset):
            flaws += [{**f, "shots": n} for f in results.adapter(dataset, model, n)["flaws"]]
        for f in flaws:
            row = {
                "dataset": dataset,
                "model": model,
                **f,
                **f["difference"],
                "leak": FLAWS[f["flaw"]].leak,
            }
            looked_at = f.get("looked_at", {})
            row["looked_at_clean"] = looked_at.get("clean")
            row["looked_at"] = looked_at.get("flawed")
            rows.append(row)
    group, values = ["flaw", "leak", "method", "shots"], ["clean", "accuracy", "difference"]
    numbers = ["p_value", "looked_at_clean", "looked_at"]
    frame = frames.tidy(rows, ["dataset", "model", *group, *values, *numbers], values)
    # the difference is the paired result; only its interval is kept
    frame = frame.drop(
        columns=[f"{key}_{end}" for key in ("clean", "accuracy") for end in ("low", "high")]
    )
    frame = frames.with_average(
        results, frame.astype(dict.fromkeys(numbers, float)), ["model", *group], values
    )
    frame = frame.astype({"shots": "int64", "looked_at_clean": "Int64", "looked_at": "Int64"})
    # rows whose difference, or an end of its interval, is not 0
    changes = frame[frame.filter(like="difference").fillna(0).any(axis=1)]
    idle = frame[~frame["flaw"].isin(set(changes["flaw"]))]
    said = "; ".join(dict.fromkeys(FLAWS[flaw].title for flaw in idle["flaw"]))
    return cells.table(
        results,
        "What each bug and each leak is worth",
        CAPTION,
        frame,
        [
            (
                Column("Is", numeric=False, wide=True),
                lambda r: Cell(KINDS[r["leak"]]),
            ),
            (Column("Alone", numeric=False), lambda r: Cell(FLAWS[r["flaw"]].title)),
            (Column("Method", numeric=False, wide=True), cells.method_and_shots),
            (Column("Clean (%)", wide=True), cells.share("clean")),
            (Column("With it (%)", wide=True), cells.share("accuracy")),
            (Column("Worth (points)"), cells.difference()),
            (Column("Reranked", numeric=False, wide=True), _looked_at),
        ],
        shown=changes,
        notes=[f"Without effect on accuracy in this run: {name}." for name in [said] if name],
    )


def _looked_at(r: cells.Record) -> Cell:
    """Number of reranked images, clean and with the flaw."""
    none = r["dataset"] == AVERAGE or pd.isna(r["looked_at"]) or r["method"] == "coder"
    return Cell("–" if none else f"{r['looked_at_clean']} → {r['looked_at']}")
