"""What each bug and each leak of the published code is worth."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ...protocols import FLAWS
from ..parts import cells, frames
from ..parts.table import AVERAGE, Cell, Column, Table
from ..results import Results

SECTION = "Settings"
ORDER = 20
PHASES = ("rerank", "adapter")

CAPTION = (
    "What each bug and each leak does alone: top-1 accuracy of the setting 'clean', the same with this one thing as in "
    "the published code, and the difference on the same images, with its 95 % interval. A leak lets test data decide "
    "something; its difference is how much too good the number is. Few-shot: the CODER-Adapter, over seeds and images. "
    "Made where a run has the setting 'as_published'. Not measured, because a run has one text set: two lists of class "
    "names for one data set, and texts in another order in every run; docs/deviations.md has all of them."
)
ZERO_SHOT = 0  # shots of what has none


def table(results: Results) -> Table:
    """Single differences between the published code and the clean setting."""
    records: list[dict[str, Any]] = []
    for dataset, model in results:
        found = [(ZERO_SHOT, f) for f in results.rerank(dataset, model)["flaws"]]
        for shots in results.shots_of(dataset):
            found += [(shots, f) for f in results.adapter(dataset, model, shots)["flaws"]]
        for shots, f in found:
            flaw = FLAWS[f["flaw"]]
            record = {"dataset": dataset, "model": model, "flaw": f["flaw"], "leak": flaw.leak}
            record |= {"method": f["method"], "shots": shots}
            record |= {key: _value(f[key]) for key in ("clean", "accuracy")}
            record |= frames.estimate("difference", {**f["difference"], "value": _value(f["difference"])})
            record |= {"p_value": f.get("p_value"), "looked_at_clean": f.get("looked_at", {}).get("clean")}
            records.append({**record, "looked_at": f.get("looked_at", {}).get("flawed")})
    group = ["flaw", "leak", "method", "shots"]
    values = ["clean", "accuracy", "difference"]
    columns = ["dataset", "model", *group, *values, "difference_low", "difference_high"]
    frame = pd.DataFrame(records, columns=[*columns, "p_value", "looked_at_clean", "looked_at"])
    frame = frame.astype(dict.fromkeys(("p_value", "looked_at_clean", "looked_at"), "float64"))
    frame = frames.with_average(frame, ["model", *group], values)
    frame = frame.astype({"shots": "int64"}).astype(dict.fromkeys(("looked_at_clean", "looked_at"), "Int64"))
    rows = [
        [
            *cells.place_cells(results, r),
            Cell("leak" if r["leak"] else "bug"),
            Cell(FLAWS[r["flaw"]].title),
            cells.method(r["method"], f", {cells.shots(r['shots'])}" if r["shots"] != ZERO_SHOT else ""),
            Cell(cells.percent(r["clean"]), r["clean"]),
            Cell(cells.percent(r["accuracy"]), r["accuracy"]),
            cells.interval(r, "difference", sign=True),
            Cell(_looked_at(r)),
        ]
        for r in frames.records(frame)
    ]
    return Table(
        "What each bug and each leak is worth",
        f"{CAPTION}{cells.averaged(results)}{cells.only(results)}",
        frame,
        [
            *cells.place(results),
            Column("Is", numeric=False),
            Column("Alone", numeric=False),
            Column("Method", numeric=False),
            Column("Clean (%)"),
            Column("With it (%)"),
            Column("Worth (points)"),
            Column("Reranked", numeric=False),
        ],
        rows,
    )


def _value(estimate: dict[str, float]) -> float:
    """Of one run, or the mean over seeds."""
    return estimate["value"] if "value" in estimate else estimate["mean"]


def _looked_at(record: dict[str, Any]) -> str:
    """Images that the rerank looked at, clean and with the flaw."""
    if record["dataset"] == AVERAGE or cells.missing(record["looked_at"]) or record["method"] == "coder":
        return "–"
    return f"{record['looked_at_clean']} → {record['looked_at']}"
