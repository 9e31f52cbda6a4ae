"""How much of the rerank's work had one-to-one texts."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..results import Results
from . import cells, frames
from .base import Cell, Column, Table

CAPTION = (
    "For how many of the images that the rerank looks at it had one-to-one texts: for every pair of their likeliest "
    "classes, for some, for none. A pair without texts decides nothing. Comparisons: share of all pairs of all images "
    "looked at. Pairs: how many different ones these are, and how many of them have texts."
)
PHASES = ("rerank",)


def table(results: Results) -> Table:
    """Share of rerank decisions and comparisons with texts, in every setting."""
    records: list[dict[str, Any]] = []
    for dataset, model in results:
        for m in frames.in_order(results.rerank(dataset, model)["methods"]):
            decisions, pairs = m["decisions"], m["compared_pairs"]
            records.append(
                {
                    "dataset": dataset,
                    "model": model,
                    "setting": m["setting"],
                    "looked_at": decisions["all"],
                    **{k: _share(decisions[k], decisions["all"]) for k in ("every_pair", "some", "none")},
                    "comparisons": m["coverage"],
                    "pairs": pairs["different"],
                    "pairs_with_text": pairs["with_text"],
                }
            )
    columns = ["dataset", "model", "setting", "looked_at", "every_pair", "some", "none", "comparisons"]
    frame = pd.DataFrame(records, columns=[*columns, "pairs", "pairs_with_text"])
    frame = frame.astype(dict.fromkeys(("every_pair", "some", "none", "comparisons"), "float64"))
    rows = [
        [
            *cells.place_cells(results, r),
            Cell(r["setting"]),
            Cell(str(r["looked_at"]), r["looked_at"]),
            *(Cell(cells.percent(r[k]), r[k]) for k in ("every_pair", "some", "none", "comparisons")),
            Cell(f"{r['pairs_with_text']} of {r['pairs']}", r["pairs"]),
        ]
        for r in records
    ]
    labels = ["Looked at", "Every pair (%)", "Some (%)", "None (%)", "Comparisons (%)", "Pairs with texts"]
    return Table(
        "coverage",
        "One-to-one texts: coverage",
        f"{CAPTION}{cells.only(results)}",
        "Texts",
        PHASES,
        frame,
        [*cells.place(results), Column("Setting", numeric=False), *(Column(label) for label in labels)],
        rows,
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
