"""How many candidates the rerank compares, and what a rerank that never errs would gain."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from ..parts import cells, frames
from ..parts.table import Cell, Column, Table
from ..results import Results

SECTION = "Zero-shot"
ORDER = 50
PHASES = ("rerank",)

CAPTION = (
    "Top-1 accuracy after a rerank of the k likeliest classes, with its 95 % interval, behind the gate in use and "
    "without one. Oracle: the same with a second stage that picks the true class whenever it is among the k, which no "
    "texts can exceed; without a gate that is the top-k accuracy. With texts: share of the comparisons without a gate "
    "that had one-to-one texts; they are written for the pairs that the k in use compares. In the setting 'clean', or "
    "the one before it where that reranks nothing."
)
COLUMNS = {  # quantity and gate: label
    ("accuracy", "in_use"): "Top-1, gate in use (%)",
    ("oracle", "in_use"): "Oracle, gate in use (%)",
    ("accuracy", "open"): "Top-1, no gate (%)",
    ("oracle", "open"): "Oracle, no gate (%)",
    ("coverage", "open"): "With texts (%)",
}


def table(results: Results) -> Table:
    """The rerank and its oracle for several numbers of candidates."""
    records: list[dict[str, Any]] = []
    for dataset, model in results:
        document = results.rerank(dataset, model)
        looks = results.rerank_that_looks(document)
        setting = looks["setting"] if looks else results.rerank_setting(document)
        for c in document["candidates"]:
            if c["setting"] == setting:
                record = {"dataset": dataset, "model": model, "setting": setting}
                record |= {key: c[key] for key in ("top_k", "gate", "looked_at", "coverage")}
                record |= frames.estimate("accuracy", c["accuracy"]) | frames.estimate("oracle", c["oracle"])
                records.append(record)
    ends = ("", "_low", "_high")
    values = [f"{quantity}{end}" for quantity in ("accuracy", "oracle") for end in ends]
    columns = ["dataset", "model", "setting", "top_k", "gate", "looked_at", *values, "coverage"]
    frame = pd.DataFrame(records, columns=columns).astype({"coverage": "float64"})
    best = frames.best(frame, ["dataset", "model", "gate"], "accuracy")
    rows = cells.pivot(_entries(results, frame, best), list(COLUMNS))
    return Table(
        "Candidates of the rerank",
        f"{CAPTION} Bold: highest value.{cells.only(results)}",
        frame,
        [
            *cells.place(results),
            Column("k"),
            *map(Column, COLUMNS.values()),
        ],
        rows,
    )


def _entries(
    results: Results, frame: pd.DataFrame, best: list[bool]
) -> Iterator[tuple[list[Cell], tuple[str, str], Cell]]:
    for i, r in enumerate(frames.records(frame)):
        start = [*cells.place_cells(results, r), Cell(str(r["top_k"]), r["top_k"])]
        yield start, ("accuracy", r["gate"]), cells.interval(r, "accuracy", best=best[i])
        yield start, ("oracle", r["gate"]), cells.interval(r, "oracle")
        if ("coverage", r["gate"]) in COLUMNS:
            yield start, ("coverage", r["gate"]), Cell(cells.percent(r["coverage"]), r["coverage"])
