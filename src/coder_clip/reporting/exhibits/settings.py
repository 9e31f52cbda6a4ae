"""The three settings side by side."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ...protocols import SETTINGS
from ..parts import cells, frames
from ..parts.table import Cell, Column, Table
from ..results import Results, in_order

SECTION = "Settings"
ORDER = 10
PHASES = ("zero_shot", "rerank", "adapter")

CAPTION = (
    "Results with the published code's bugs and selection (as_published), with the bugs fixed "
    "(corrected), and with nothing chosen on test data (clean). Accuracies with 95 % intervals; "
    "few-shot over seeds and images. Reranked images: how many the rerank's gate let through."
)


def nothing(results: Results) -> str:
    """Why there is nothing to compare; "" if there are several settings.

    The other tables show a single setting.
    """
    settings = {m["setting"] for place in results for m in results.methods(*place)} - {"any"}
    if len(settings) > 1:
        return ""
    return f"the run has one setting, '{results.main_setting}'"


def table(results: Results) -> Table:
    """The published code as it is, fixed, and fixed without choices on test data."""
    # Accuracies, thresholds and numbers of reranked images become rows of one long frame, with the
    # quantity as a column: the CSV stays tidy, and the table can put the settings side by side.
    rows: list[dict[str, Any]] = []
    for dataset, model in results:
        entries = in_order(m for m in results.methods(dataset, model) if m["setting"] != "any")
        for shots in results.shots_of(dataset):
            summary = results.adapter(dataset, model, shots)["summary"]
            entries += [{**s, "shots": shots} for s in summary if s["method"] == "coder_adapter"]
        for e in entries:
            row = {"dataset": dataset, "model": model, **e}
            # accuracies have an interval, the other numbers have none; an estimate over seeds has a
            # mean in the place of a value
            accuracy = {"value": e["accuracy"].get("mean"), **e["accuracy"]}
            rows.append({**row, "quantity": "accuracy", **accuracy})
            for quantity in ("threshold", "looked_at"):
                if quantity in e:
                    rows.append({**row, "quantity": quantity, "value": float(e[quantity])})
    columns = ["dataset", "model", "method", "shots", "setting", "quantity", "value", "low", "high"]
    frame = frames.tidy(rows, columns).astype({"shots": "Int64"})
    shown = [s for s in SETTINGS if s in set(frame["setting"])]
    return cells.pivot(
        results,
        "Settings side by side",
        CAPTION,
        frame,
        [
            (Column("Method", numeric=False), cells.method),
            (Column("What", numeric=False), lambda r: Cell(_quantity(r))),
        ],
        ("setting", {s: Column(s, wide=s == "corrected") for s in shown}),
        _value,
    )


def _value(r: cells.Record) -> Cell:
    """An accuracy with its interval, or another quantity's number."""
    if r["quantity"] == "accuracy":
        return Cell(cells.with_interval(r["value"], r["low"], r["high"]), r["value"])
    return Cell(f"{r['value']:g}", r["value"])


def _quantity(r: cells.Record) -> str:
    """What the number is, in words."""
    if r["quantity"] == "accuracy":
        if pd.isna(r["shots"]):
            return "top-1 (%)"
        return f"top-1 (%), {cells.shots(r['shots'])}"
    return str(r["quantity"]).replace("looked_at", "reranked images")
