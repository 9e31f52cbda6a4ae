"""The CODER-Adapter against every other few-shot method, on the same seeds and images."""

from __future__ import annotations

from operator import attrgetter

import pandas as pd

from ..parts import cells, frames
from ..parts.table import Column, Table
from ..results import Results

SECTION = "Few-shot"
ORDER = 20
PHASES = ("adapter",)
DETAIL = True

CAPTION = (
    "Accuracy of the CODER-Adapter minus that of each other method on the same test images, shots and seeds, by "
    "images per class, in points with the 95 % interval over seeds and images. Bold: clear, the interval excludes 0. "
    "The CSV has the p-value of each, and p_holm, corrected for the many comparisons on a data set with a model (Holm)."
)
nothing = attrgetter("no_few_shot")


def table(results: Results) -> Table:
    """Paired tests of the CODER-Adapter against the other few-shot methods, by number of shots."""
    records = []
    setting = "clean"
    for dataset, model, shots, document, setting in results.few_shot_runs():
        for s in frames.in_order(s for s in document["summary"] if s["setting"] == setting):
            if against := s.get("coder_adapter_against"):
                record = {"dataset": dataset, "model": model, "method": s["method"], "setting": setting}
                record |= {"shots": shots, **frames.estimate("difference", against["difference"])}
                records.append({**record, **{k: against[k] for k in ("p_value", "fixed", "broke")}})
    columns = ["dataset", "model", "method", "setting", "shots", *frames.ends("difference")]
    frame = frames.adjusted(pd.DataFrame(records, columns=[*columns, "p_value", "fixed", "broke"]))
    frame = frames.with_average(frame, ["model", "method", "setting", "shots"], ["difference"])
    frame = frame.astype({"shots": "int64", "fixed": "Int64", "broke": "Int64"})
    return cells.pivot(
        results,
        "Few-shot: CODER-Adapter against each method",
        f"{CAPTION} In the setting '{setting}'.",
        frame,
        [(Column("CODER-Adapter minus", numeric=False), cells.method)],
        cells.by_shots(results),
        cells.difference(),
    )
