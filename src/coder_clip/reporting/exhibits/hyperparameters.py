"""Which hyper-parameters the few-shot methods were run with."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..parts import cells, frames
from ..parts.table import Cell, Column, Table
from ..results import Results

SECTION = "Few-shot"
ORDER = 30
PHASES = ("adapter",)

NAMES = {"alpha": "α", "beta": "β", "gamma": "γ"}
CAPTION = (
    "What each few-shot method was run with, by images a class: one value, or the lowest and the highest over seeds. "
    "α weighs the shots against CLIP, β sharpens the affinity to a shot; γ is a method's third. Every seed stands in "
    "the CSV, with the accuracy on validation that they were chosen by."
)


def table(results: Results) -> Table:
    """The chosen values of every method, seed and number of shots, in the main setting."""
    records: list[dict[str, Any]] = []
    for dataset, model, shots, document, setting in results.few_shot_runs():
        records += [
            {"dataset": dataset, "model": model, "method": r["method"], "setting": setting, "shots": shots}
            | {"seed": r["seed"], **{key: r.get(key) for key in NAMES}}
            | {"selected": r["selected"], "val_accuracy": r["val_accuracy"]}
            for r in frames.in_order(r for r in document["runs"] if r["setting"] == setting)
            if any(r.get(key) is not None for key in NAMES)
        ]
    columns = ["dataset", "model", "method", "setting", "shots", "seed", *NAMES, "selected", "val_accuracy"]
    frame = pd.DataFrame(records, columns=columns).astype(dict.fromkeys(NAMES, float))
    runs: dict[tuple[str, str, str, int], list[dict[str, Any]]] = {}
    for r in records:
        runs.setdefault((r["dataset"], r["model"], r["method"], r["shots"]), []).append(r)
    rows = cells.pivot(
        (
            ([*cells.place_cells(results, same[0]), cells.method(method)], shots, Cell(_values(same)))
            for (_, _, method, shots), same in runs.items()
        ),
        results.shots,
    )
    return Table(
        "Few-shot: chosen values",
        f"{CAPTION}{cells.only(results)}",
        frame,
        [
            *cells.place(results),
            Column("Method", numeric=False),
            *(Column(cells.shots(s), numeric=False) for s in results.shots),
        ],
        rows,
    )


def _values(runs: list[dict[str, Any]]) -> str:
    """Over seeds, such as ``α 1.3, β 4–12``."""
    found = []
    for key, sign in NAMES.items():
        values = [r[key] for r in runs if r[key] is not None]
        if values:
            ends = dict.fromkeys(f"{v:.3g}" for v in (min(values), max(values)))
            found.append(f"{sign} {'–'.join(ends)}")
    return ", ".join(found)
