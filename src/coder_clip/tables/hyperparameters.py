"""Which hyper-parameters the few-shot methods were run with."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..results import Results
from . import cells, frames
from .base import METHODS, Cell, Column, Table

NAMES = {"alpha": "α", "beta": "β", "gamma": "γ"}
CAPTION = (
    "What each few-shot method was run with, by images a class: one value, or the lowest and the highest over seeds. "
    "α weighs the shots against CLIP, β sharpens the affinity to a shot; γ is a method's third. Every seed stands in "
    "the CSV, with the accuracy on validation that they were chosen by."
)
PHASES = ("adapter",)


def table(results: Results) -> Table:
    """The chosen values of every method, seed and number of shots, in the main setting."""
    records: list[dict[str, Any]] = []
    for dataset, model in results:
        for shots in results.shots_of(dataset):
            document = results.adapter(dataset, model, shots)
            setting = results.few_shot_setting(document)
            records += [
                {
                    "dataset": dataset,
                    "model": model,
                    "method": r["method"],
                    "setting": setting,
                    "shots": shots,
                }
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
    rows: dict[tuple[str, str, str], list[Cell]] = {}
    for (dataset, model, method, shots), same in runs.items():
        place = cells.place_cells(results, {"dataset": dataset, "model": model})
        start = [*place, Cell(cells.label(METHODS, method))]
        row = rows.setdefault((dataset, model, method), start + [Cell("–")] * len(results.shots))
        row[len(start) + results.shots.index(shots)] = Cell(_values(same))
    return Table(
        "hyperparameters",
        "Few-shot: chosen values",
        f"{CAPTION}{cells.only(results)}",
        "Few-shot",
        PHASES,
        frame,
        [
            *cells.place(results),
            Column("Method", numeric=False),
            *(Column(f"{s} shot{'s' * (s != 1)}", numeric=False) for s in results.shots),
        ],
        list(rows.values()),
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
