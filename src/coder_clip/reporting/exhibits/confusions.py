"""Which classes are taken for which."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ...baselines.methods import LABELS
from ..parts import cells, mistakes
from ..parts.table import Cell, Column, Table
from ..results import Results

SECTION = "Zero-shot"
ORDER = 40
PHASES = ("zero_shot", "rerank")

SHOWN, KEPT = (
    10,
    200,
)  # pairs of a data set: for people, in the CSV (the rows of all images are in the phases' files)
CAPTION = "How many test images of a class each method takes for another one, the most frequent first."


def table(results: Results) -> Table:
    """The pairs of classes that are confused most, by CLIP, CODER and the rerank."""
    columns = ["dataset", "model", "class", "taken_for", "images", *mistakes.METHODS]
    frames, rows = [pd.DataFrame(columns=columns)], []
    total = 0
    for dataset, model in results:
        names = results.zero_shot(dataset, model)["classes"]
        predictions = mistakes.predictions(results, dataset, model)
        images = predictions["label"].value_counts()
        found = mistakes.mistakes(predictions).head(KEPT)
        total += len(found)
        records: list[dict[str, Any]] = [
            {
                "dataset": dataset,
                "model": model,
                "class": names[m["label"]],
                "taken_for": names[m["predicted"]],
            }
            | {"images": images[m["label"]], **{method: m[method] for method in mistakes.METHODS}}
            for m in found.to_dict("records")
        ]
        frames.append(pd.DataFrame(records, columns=columns))
        rows += [
            [
                *cells.place_cells(results, r),
                *(Cell(r[key]) for key in ("class", "taken_for")),
                *(Cell(str(r[key]), r[key]) for key in ("images", *mistakes.METHODS)),
            ]
            for r in records[:SHOWN]
        ]
    return Table(
        "Classes taken for another",
        f"{CAPTION} {mistakes.about(results, len(rows) < total, SHOWN, 'pairs')}{cells.only(results)}",
        pd.concat([f for f in frames if len(f)] or frames, ignore_index=True),
        [
            *cells.place(results),
            Column("Images of", numeric=False),
            Column("Taken for", numeric=False),
            Column("Of"),
            *(Column(LABELS[m]) for m in mistakes.METHODS),
        ],
        rows,
    )
