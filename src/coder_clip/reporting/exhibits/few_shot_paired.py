"""The CODER-Adapter against every other few-shot method, on the same seeds and images."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..parts import cells, frames
from ..parts.table import Column, Table
from ..results import Results

SECTION = "Few-shot"
ORDER = 20
PHASES = ("adapter",)

CAPTION = (
    "Accuracy of the CODER-Adapter minus that of each other method on the same test images, shots and seeds, by "
    "images a class, with its 95 % interval over seeds and images. Bold: clear, the interval excludes 0. The CSV has "
    "the p-value of each, and p_holm, corrected for the many comparisons on a data set with a model (Holm)."
)


def table(results: Results) -> Table:
    """Paired tests of the CODER-Adapter against the other few-shot methods, by number of shots."""
    records: list[dict[str, Any]] = []
    setting = "clean"
    for dataset, model, shots, document, setting in results.few_shot_runs():
        for s in frames.in_order(s for s in document["summary"] if s["setting"] == setting):
            if against := s.get("coder_adapter_against"):
                d = against["difference"]
                record = {"dataset": dataset, "model": model, "method": s["method"], "setting": setting}
                record |= {"shots": shots, **frames.estimate("difference", {**d, "value": d["mean"]})}
                records.append({**record, **{k: against[k] for k in ("p_value", "fixed", "broke")}})
    columns = ["dataset", "model", "method", "setting", "shots", "difference", "difference_low"]
    frame = pd.DataFrame(records, columns=[*columns, "difference_high", "p_value", "fixed", "broke"])
    frame = frames.adjusted(frame, ["dataset", "model"])
    frame = frames.with_average(frame, ["model", "method", "setting", "shots"], ["difference"])
    frame = frame.astype({"shots": "int64", "fixed": "Int64", "broke": "Int64"})
    rows = cells.pivot(
        (
            (
                [*cells.place_cells(results, r), cells.method(r["method"])],
                r["shots"],
                cells.interval(r, "difference", sign=True, best=frames.clear(r, "difference")),
            )
            for r in frames.records(frame)
        ),
        results.shots,
    )
    return Table(
        "Few-shot: CODER-Adapter against each method",
        f"{CAPTION} In points, in the setting '{setting}'.{cells.averaged(results)}{cells.only(results)}",
        frame,
        [
            *cells.place(results),
            Column("CODER-Adapter minus", numeric=False),
            *map(Column, map(cells.shots, results.shots)),
        ],
        rows,
    )
