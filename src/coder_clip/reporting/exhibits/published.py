"""Reproduced numbers beside published ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from ..parts import cells, frames
from ..parts.table import Cell, Column, Table
from ..published_numbers import Figure, comparable, figures
from ..results import Results

SECTION = "Published figures"
ORDER = 10
PHASES = ("zero_shot", "rerank", "adapter")

CAPTION = (
    "Reproduced numbers, each with its 95 % interval, beside what others report, with the source. Within: whether the "
    "published figure is in our interval. Targets are of the same images; bands are of another split or of other "
    "sentences, and show only that nothing is broken. Unknown: nobody could verify the figure, so none is shown."
)
WHY_NOT = (
    "no data set of this run is a published one, whole, encoded with the weights that published figures are of "
    "(OpenAI's)"
)
QUANTITIES = {"accuracy": "top-1", "top5_accuracy": "top-5", "mean_class_recall": "mean class recall"}
COLUMNS = [
    *("dataset", "model", "method", "shots", "setting", "quantity", "reproduced", "low", "high", "published"),
    *("difference", "within", "compares", "published_as", "source", "note"),
]


def nothing(results: Results) -> str:
    """Why no number is compared with a published one."""
    return "" if any(True for _ in _compared(results)) else WHY_NOT


def table(results: Results) -> Table:
    """Every number of the run that a published figure is of."""
    # Only figures of the same images ("target") can be reproduced, so the note counts these alone.
    records = list(_compared(results))
    targets = [r["within"] for r in records if r["compares"] == "target"]
    within = f"{targets.count('yes')} of {len(targets)} published figures of the same images are within our interval."
    numbers = dict.fromkeys(("reproduced", "low", "high", "published", "difference"), float)
    return cells.table(
        results,
        "Against published figures",
        CAPTION if records else f"Nothing is compared: {WHY_NOT}.",
        frames.tidy(records, COLUMNS).astype(numbers),
        [
            (Column("Method", numeric=False), cells.method_and_shots),
            (Column("What", numeric=False, wide=True), lambda r: Cell(QUANTITIES[r["quantity"]])),
            (Column("Reproduced (%)"), _reproduced_cell),
            (Column("Published (%)"), _published_cell),
            (
                Column("Difference (points)", wide=True),
                lambda r: Cell(cells.points(r["difference"]), r["difference"]),
            ),
            (Column("Within", numeric=False), cells.words("within")),
            (Column("Is a", numeric=False), cells.words("compares")),
            (Column("Published as; source", numeric=False, wide=True), _source),
        ],
        notes=[within if targets else ""],
    )


def _compared(results: Results) -> Iterator[dict[str, Any]]:
    for dataset, model in results:
        manifest = results.manifest(dataset)
        name = comparable(dataset, manifest, results.encoder(dataset, model))
        for figure in figures(dataset, name, manifest["split"]) if name else ():
            if m := _reproduced(results, dataset, model, figure):
                estimate, published = m[figure.quantity], figure.value
                low, high = estimate["low"], estimate["high"]
                reproduced = estimate.get("value", estimate.get("mean"))
                row = {"dataset": dataset, "model": model, "setting": m["setting"], **vars(figure)}
                row |= {"reproduced": reproduced, "low": low, "high": high, "published": published}
                if published is None:
                    yield {**row, "within": "unknown", "compares": "–"}
                else:
                    within = "yes" if low <= published <= high else "no"
                    compares = "target" if figure.target else "band"
                    difference = reproduced - published
                    yield {**row, "difference": difference, "within": within, "compares": compares}


def _reproduced_cell(r: cells.Record) -> Cell:
    return Cell(cells.with_interval(r["reproduced"], r["low"], r["high"]), r["reproduced"])


def _published_cell(r: cells.Record) -> Cell:
    return Cell("unknown" if pd.isna(r["published"]) else cells.percent(r["published"]), r["published"])


def _source(r: cells.Record) -> Cell:
    return Cell("; ".join(t for t in (r["published_as"], r["source"], r["note"]) if t))


def _reproduced(results: Results, dataset: str, model: str, figure: Figure) -> dict[str, Any] | None:
    """This run's method: baselines in its main setting, CODER as the published code runs it, where the run has that."""
    methods = results.methods(dataset, model)
    if figure.shots:
        run = figure.shots in results.shots_of(dataset)
        methods = results.adapter(dataset, model, figure.shots)["summary"] if run else []
    found = {m["setting"]: m for m in methods if m["method"] == figure.method and m.get(figure.quantity)}
    order = ["as_published"] if figure.method.startswith("coder") else []
    return next((found[s] for s in (*order, results.main_setting, "any") if s in found), None)
