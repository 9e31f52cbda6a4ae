"""How many candidates the rerank compares, and what a rerank that never errs would gain."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..results import Results
from . import cells, frames
from .base import Cell, Column, Table

CAPTION = (
    "Top-1 accuracy after a rerank of the k likeliest classes, with its 95 % interval, behind the gate in use and "
    "without one. Oracle: the same with a second stage that picks the true class whenever it is among the k, which no "
    "texts can exceed; without a gate that is the top-k accuracy. With texts: share of the comparisons without a gate "
    "that had one-to-one texts; they are written for the pairs that the k in use compares. In the setting 'clean', or "
    "the one before it where that reranks nothing."
)
PHASES = ("rerank",)
GATES = ("in_use", "open")


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
    rows: dict[tuple[str, str, int], list[Cell]] = {}
    for i, r in enumerate(frames.records(frame)):
        row = rows.setdefault(
            (r["dataset"], r["model"], r["top_k"]),
            [*cells.place_cells(results, r), Cell(str(r["top_k"]), r["top_k"])],
        )
        row += [cells.interval(r, "accuracy", best=best[i]), cells.interval(r, "oracle")]
        if r["gate"] == GATES[-1]:
            row.append(Cell(cells.percent(r["coverage"]), r["coverage"]))
    return Table(
        "candidates",
        "Candidates of the rerank",
        f"{CAPTION} Bold: highest value.{cells.only(results)}",
        "Zero-shot",
        PHASES,
        frame,
        [
            *cells.place(results),
            Column("k"),
            Column("Top-1, gate in use (%)"),
            Column("Oracle, gate in use (%)"),
            Column("Top-1, no gate (%)"),
            Column("Oracle, no gate (%)"),
            Column("With texts (%)"),
        ],
        list(rows.values()),
    )
