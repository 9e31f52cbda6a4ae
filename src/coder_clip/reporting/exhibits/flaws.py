"""What each bug and each leak of the published code is worth."""

from __future__ import annotations

import pandas as pd

from ...baselines.methods import LABELS
from ...protocols import FLAWS
from ..parts import cells, frames
from ..parts.table import AVERAGE, Cell, Column, Table
from ..results import Results

SECTION = "Settings"
ORDER = 20
PHASES = ("rerank", "adapter")

CAPTION = (
    "What each bug and each leak does alone: top-1 accuracy of the setting 'clean', the same with this one thing as in "
    "the published code, and the difference on the same images, with its 95 % interval; bold where it is clear. A leak "
    "lets test data decide something; its difference is how much too good the number is. Few-shot: the CODER-Adapter, "
    "over seeds and images. Not measured, because a run has one text set: two lists of class names for one data set, "
    "and texts in another order in every run; docs/deviations.md has all of them."
)
ZERO_SHOT = 0  # shots of what has none


def nothing(results: Results) -> str:
    """Flaws are measured where the run has the published code's setting."""
    measured = any(results.rerank(*place)["flaws"] for place in results)
    return "" if measured else "the run has no setting 'as_published'"


def table(results: Results) -> Table:
    """Single differences between the published code and the clean setting."""
    records = []
    for dataset, model in results:
        found = [(ZERO_SHOT, f) for f in results.rerank(dataset, model)["flaws"]]
        for shots in results.shots_of(dataset):
            found += [(shots, f) for f in results.adapter(dataset, model, shots)["flaws"]]
        for shots, f in found:
            record = {"dataset": dataset, "model": model, "flaw": f["flaw"], "leak": FLAWS[f["flaw"]].leak}
            record |= {"method": f["method"], "shots": shots}
            for key in ("clean", "accuracy"):
                record[key] = frames.estimate(key, f[key])[key]
            record |= frames.estimate("difference", f["difference"]) | {"p_value": f.get("p_value")}
            looked_at = f.get("looked_at", {})
            record |= {"looked_at_clean": looked_at.get("clean"), "looked_at": looked_at.get("flawed")}
            records.append(record)
    group, counts = ["flaw", "leak", "method", "shots"], ["looked_at_clean", "looked_at"]
    columns = [
        "dataset",
        "model",
        *group,
        "clean",
        "accuracy",
        *frames.ends("difference"),
        "p_value",
        *counts,
    ]
    frame = pd.DataFrame(records, columns=columns)
    frame = frame.astype(dict.fromkeys(("p_value", *counts), "float64"))
    frame = frames.with_average(frame, ["model", *group], ["clean", "accuracy", "difference"])
    frame = frame.astype({"shots": "int64"}).astype(dict.fromkeys(counts, "Int64"))
    changes = frame[[any(r[key] for key in frames.ends("difference")) for r in _measured(frame)]]
    idle = frame[~frame["flaw"].isin(set(changes["flaw"]))]
    said = "; ".join(dict.fromkeys(FLAWS[flaw].title for flaw in idle["flaw"]))
    return cells.table(
        results,
        "What each bug and each leak is worth",
        CAPTION,
        frame,
        [
            (Column("Is", numeric=False, wide=True), lambda r: Cell("leak" if r["leak"] else "bug")),
            (Column("Alone", numeric=False), lambda r: Cell(FLAWS[r["flaw"]].title)),
            (Column("Method", numeric=False, wide=True), _method),
            (Column("Clean (%)", wide=True), cells.share("clean")),
            (Column("With it (%)", wide=True), cells.share("accuracy")),
            (Column("Worth (points)"), cells.difference()),
            (Column("Reranked", numeric=False, wide=True), _looked_at),
        ],
        shown=changes,
        notes=[f"Without any effect in this run: {said}." if said else ""],
    )


def _measured(frame: pd.DataFrame) -> list[cells.Record]:
    """The records, without the interval that an average does not have."""
    return cells.records(frame.fillna({key: 0.0 for key in frames.ends("difference")}))


def _method(r: cells.Record) -> Cell:
    shots = f", {cells.shots(r['shots'])}" if r["shots"] != ZERO_SHOT else ""
    return Cell(cells.label(LABELS, r["method"]) + shots)


def _looked_at(r: cells.Record) -> Cell:
    """Images that the rerank looked at, clean and with the flaw."""
    none = r["dataset"] == AVERAGE or cells.missing(r["looked_at"]) or r["method"] == "coder"
    return Cell("–" if none else f"{r['looked_at_clean']} → {r['looked_at']}")
