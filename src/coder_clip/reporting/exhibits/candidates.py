"""How many candidates the rerank compares, and what a rerank that never errs would gain."""

from __future__ import annotations

from operator import attrgetter

import pandas as pd

from ..parts import cells, frames
from ..parts.table import Column, Table
from ..results import Results

SECTION = "Zero-shot"
ORDER = 50
PHASES = ("rerank",)
DETAIL = True

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
}
nothing = attrgetter("no_pairs")


def table(results: Results) -> Table:
    """The rerank and its oracle for several numbers of candidates: one row for each with and without the gate."""
    records = []
    for dataset, model in results:
        document = results.rerank(dataset, model)
        looks = results.rerank_that_looks(document)
        setting = looks["setting"] if looks else results.setting_of(document["methods"])
        for c in document["candidates"]:
            if c["setting"] == setting:
                record = {"dataset": dataset, "model": model, "setting": setting}
                record |= {key: c[key] for key in ("top_k", "gate", "looked_at", "coverage")}
                record |= frames.estimate("accuracy", c["accuracy"]) | frames.estimate("oracle", c["oracle"])
                records.append(record)
    values = ["looked_at", *frames.ends("accuracy", "oracle"), "coverage"]
    frame = pd.DataFrame(records, columns=["dataset", "model", "setting", "top_k", "gate", *values])
    frame = frame.astype({"coverage": "float64"})
    both = frame.pivot_table(
        index=["dataset", "model", "top_k"], columns="gate", values=values, sort=False, dropna=False
    )
    both.columns = pd.Index([f"{c[1]}.{c[0]}" for c in both.columns])
    for missing in {f"{g}.{v}" for g in ("in_use", "open") for v in values} - set(both.columns):
        both[missing] = float("nan")
    return cells.table(
        results,
        "Candidates of the rerank",
        CAPTION,
        frame,
        [
            (Column("k"), cells.count("top_k")),
            *((Column(label), cells.accuracy(f"{gate}.{q}")) for (q, gate), label in COLUMNS.items()),
            (Column("With texts (%)"), cells.share("open.coverage")),
        ],
        shown=both.reset_index(),
    )
