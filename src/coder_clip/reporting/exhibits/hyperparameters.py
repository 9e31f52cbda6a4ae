"""Which hyper-parameters the few-shot methods were run with."""

from __future__ import annotations

from operator import attrgetter

import pandas as pd

from ..parts import cells, frames
from ..parts.table import Cell, Column, Table
from ..results import Results

SECTION = "Few-shot"
ORDER = 30
PHASES = ("adapter",)
DETAIL = True

NAMES = {"alpha": "α", "beta": "β", "gamma": "γ"}
CAPTION = (
    "What each few-shot method was run with, by images per class: one value, or the lowest and the highest over seeds. "
    "α weighs the shots against CLIP, β sharpens the affinity to a shot; γ is a method's third. The CSV has every "
    "seed, with the accuracy on validation that they were chosen by."
)
nothing = attrgetter("no_few_shot")


def table(results: Results) -> Table:
    """The chosen values of every method, seed and number of shots, in the main setting."""
    records = []
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

    seeds = frame.groupby(["dataset", "model", "method", "shots"], sort=False)[list(NAMES)]
    ranges = seeds.min().join(seeds.max().add_suffix("_most")).reset_index()
    by_shots = {n: Column(c.label, numeric=False, wide=c.wide) for n, c in cells.by_shots(results)[1].items()}
    return cells.pivot(
        results,
        "Few-shot: chosen values",
        CAPTION,
        frame,
        [(Column("Method", numeric=False), cells.method)],
        ("shots", by_shots),
        _values,
        shown=ranges,
    )


def _values(r: cells.Record) -> Cell:
    """Over seeds, such as ``α 1.3, β 4–12``."""
    found = []
    for key, sign in NAMES.items():
        if not cells.missing(r[key]):
            found.append(f"{sign} {'–'.join(dict.fromkeys(f'{v:.3g}' for v in (r[key], r[f'{key}_most'])))}")
    return Cell(", ".join(found))
