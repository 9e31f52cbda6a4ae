"""The three settings side by side."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..results import Results
from ..settings import SETTINGS
from . import cells, frames
from .base import METHODS, Cell, Column, Table

CAPTION = (
    "Results with the published code's bugs and selection (as_published), with the bugs mended (corrected), and with "
    "nothing chosen on test data (clean). Accuracies with 95 % intervals; few-shot over seeds and images. Images "
    "looked at: how many the rerank's gate let through."
)
PHASES = ("zero_shot", "rerank", "adapter")


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
    rows: dict[tuple[Any, ...], list[Cell]] = {}
    # accuracies of a method first, then what its rerank did
    for r in frames.records(frame):
        key = (r["dataset"], r["model"], r["method"], r["quantity"], str(r["shots"]))
        if key not in rows:
            start = [
                *cells.place_cells(results, r),
                Cell(cells.label(METHODS, r["method"])),
                Cell(_quantity(r)),
            ]
            rows[key] = start + [Cell("–")] * len(there)
        place_ = len(rows[key]) - len(there) + there.index(r["setting"])
        if r["quantity"] == "accuracy":
            cell = Cell(cells.with_interval(r["value"], r["low"], r["high"]), r["value"])
        else:
            cell = Cell(f"{r['value']:g}", r["value"])
        rows[key][place_] = cell
    labels = [Column("Method", numeric=False), Column("What", numeric=False)]
    return Table(
        "settings",
        "Settings side by side",
        f"{CAPTION}{cells.only(results)}",
        "Settings",
        PHASES,
        frame,
        [*cells.place(results), *labels, *(Column(s) for s in there)],
        list(rows.values()),
    )


def _quantity(record: dict[str, Any]) -> str:
    if record["quantity"] == "accuracy":
        shots = record["shots"]
        return "top-1 (%)" if cells.missing(shots) else f"top-1 (%), {shots} shot{'s' * (shots != 1)}"
    quantity = str(record["quantity"])
    return {"looked_at": "images looked at"}.get(quantity, quantity)
