"""The three settings side by side."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ...protocols import SETTINGS
from ..parts import cells, frames
from ..parts.table import Cell, Column, Table
from ..results import Results

SECTION = "Settings"
ORDER = 10
PHASES = ("zero_shot", "rerank", "adapter")

CAPTION = (
    "Results with the published code's bugs and selection (as_published), with the bugs mended (corrected), and with "
    "nothing chosen on test data (clean). Accuracies with 95 % intervals; few-shot over seeds and images. Images "
    "looked at: how many the rerank's gate let through."
)


def table(results: Results) -> Table:
    """The published code as it is, mended, and mended with nothing chosen on test data, side by side."""
    records = []
    for dataset, model in results:
        place = {"dataset": dataset, "model": model}
        for m in frames.in_order(results.methods(dataset, model)):
            if m["setting"] == "any":
                continue
            row = {**place, "method": m["method"], "shots": None, "setting": m["setting"]}
            a = m["accuracy"]
            value = {"value": a["value"], "low": a["low"], "high": a["high"]}
            records.append({**row, "quantity": "accuracy", **value})
            for quantity in ("threshold", "looked_at"):
                if quantity in m:
                    records.append({**row, "quantity": quantity, "value": float(m[quantity])})
        for shots in results.shots_of(dataset):
            for s in results.adapter(dataset, model, shots)["summary"]:
                if s["method"] == "coder_adapter":
                    a = s["accuracy"]
                    row = {**place, "method": s["method"], "shots": shots, "setting": s["setting"]}
                    value = {"value": a["mean"], "low": a["low"], "high": a["high"]}
                    records.append({**row, "quantity": "accuracy", **value})
    columns = ["dataset", "model", "method", "shots", "setting", "quantity", "value", "low", "high"]
    frame = pd.DataFrame(records, columns=columns).astype({"shots": "Int64"})
    there = [s for s in SETTINGS if s in set(frame["setting"])]
    there += sorted(set(frame["setting"]) - set(there))
    rows = cells.pivot(
        (
            (
                [*cells.place_cells(results, r), cells.method(r["method"]), Cell(_quantity(r))],
                r["setting"],
                _value(r),
            )
            for r in frames.records(frame)
        ),
        there,
    )
    labels = [Column("Method", numeric=False), Column("What", numeric=False)]
    return Table(
        "Settings side by side",
        f"{CAPTION}{cells.only(results)}",
        frame,
        [*cells.place(results), *labels, *(Column(s) for s in there)],
        rows,
    )


def _value(record: dict[str, Any]) -> Cell:
    value = record["value"]
    if record["quantity"] == "accuracy":
        return Cell(cells.with_interval(value, record["low"], record["high"]), value)
    return Cell(f"{value:g}", value)


def _quantity(record: dict[str, Any]) -> str:
    if record["quantity"] == "accuracy":
        shots = record["shots"]
        return "top-1 (%)" if cells.missing(shots) else f"top-1 (%), {cells.shots(shots)}"
    quantity = str(record["quantity"])
    return {"looked_at": "images looked at"}.get(quantity, quantity)
