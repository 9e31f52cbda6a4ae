"""The CODER-Adapter against every other few-shot method, on the same seeds and images."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..results import Results
from . import cells, frames
from .base import METHODS, Cell, Column, Table

CAPTION = (
    "Accuracy of the CODER-Adapter minus that of each other method on the same test images, shots and seeds, by "
    "images a class, with its 95 % interval over seeds and images. Bold: clear, the interval excludes 0. The CSV has "
    "the p-value of each, and p_holm, corrected for the many comparisons on a data set with a model (Holm)."
)
PHASES = ("adapter",)


def table(results: Results) -> Table:
    """Paired tests of the CODER-Adapter against the other few-shot methods, by number of shots."""
    records: list[dict[str, Any]] = []
    setting = "clean"
    for dataset, model in results:
        for shots in results.shots_of(dataset):
            document = results.adapter(dataset, model, shots)
            setting = results.few_shot_setting(document)
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
    rows: dict[tuple[str, str, str], list[Cell]] = {}
    for r in frames.records(frame):
        start = [*cells.place_cells(results, r), Cell(cells.label(METHODS, r["method"]))]
        key = (r["dataset"], r["model"], r["method"])
        row = rows.setdefault(key, start + [Cell("–")] * len(results.shots))
        place = len(start) + results.shots.index(r["shots"])
        row[place] = cells.interval(r, "difference", sign=True, best=frames.clear(r, "difference"))
    return Table(
        "few_shot_paired",
        "Few-shot: CODER-Adapter against each method",
        f"{CAPTION} In points, in the setting '{setting}'.{cells.averaged(results)}{cells.only(results)}",
        "Few-shot",
        PHASES,
        frame,
        [
            *cells.place(results),
            Column("CODER-Adapter minus", numeric=False),
            *(Column(f"{s} shot{'s' * (s != 1)}") for s in results.shots),
        ],
        list(rows.values()),
    )
