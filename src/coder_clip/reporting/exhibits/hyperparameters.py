"""The hyper-parameters that the few-shot methods were run with."""

from __future__ import annotations

import math
from operator import attrgetter

from ..parts import cells, frames
from ..parts.table import Cell, Column, Table
from ..results import Results

SECTION = "Few-shot"
ORDER = 30
PHASES = ("adapter",)
DETAIL = True

NAMES = {"alpha": "α", "beta": "β", "gamma": "γ"}
CAPTION = (
    "What each few-shot method was run with, by shots per class: one value, or the lowest and the "
    "highest over seeds. α weighs the shots against CLIP, β sharpens the affinity to a shot; γ is "
    "a method's third. The CSV has every seed, with the accuracy on validation that they were "
    "chosen by."
)
nothing = attrgetter("no_few_shot")


def table(results: Results) -> Table:
    """The chosen values of every method, seed and number of shots, in the main setting."""
    columns = [
        "dataset",
        "model",
        "method",
        "setting",
        "shots",
        "seed",
        *NAMES,
        "selected",
        "val_accuracy",
    ]
    frame = frames.tidy(results.few_shot_rows("runs"), columns).astype(dict.fromkeys(NAMES, float))
    frame = frame.dropna(subset=list(NAMES), how="all")
    seeds = frame.groupby(["dataset", "model", "method", "shots"], sort=False)[list(NAMES)]
    # the lowest and the highest over seeds in one row
    ranges = seeds.min().join(seeds.max().add_suffix("_most")).reset_index()
    # the columns of `by_shots`, aligned left, because cells hold words
    by_shots = {
        n: Column(c.label, numeric=False, wide=c.wide)
        for n, c in cells.by_shots(results)[1].items()
    }
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
    """The values over seeds, such as ``α 1.3, β 4–12``."""
    values = []
    for key, sign in NAMES.items():
        # NaN: the method has no such parameter
        if not math.isnan(r[key]):
            # one number if both ends print the same
            ends = dict.fromkeys(f"{v:.3g}" for v in (r[key], r[f"{key}_most"]))
            values.append(f"{sign} {'–'.join(ends)}")
    return Cell(", ".join(values))
