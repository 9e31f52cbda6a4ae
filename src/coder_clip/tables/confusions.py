"""Which classes are taken for which."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ..results import Results
from . import cells, errors
from .base import METHODS, Cell, Column, Table

SHOWN, KEPT = (
    10,
    200,
)  # pairs of a data set: for people, in the CSV (the rows of all images are in the phases' files)
CAPTION = "How many test images of a class each method takes for another one, the most frequent first."
PHASES = ("zero_shot", "rerank")


def table(results: Results) -> Table:
    """The pairs of classes that are confused most, by CLIP, CODER and the rerank."""
    columns = ["dataset", "model", "class", "taken_for", "images", *errors.METHODS]
    frames, rows = [pd.DataFrame(columns=columns)], []
    total = 0
    for dataset, model in results:
        names = results.zero_shot(dataset, model)["classes"]
        predictions = errors.predictions(results, dataset, model)
        images = predictions["label"].value_counts()
        found = errors.mistakes(predictions).head(KEPT)
        total += len(found)
        records: list[dict[str, Any]] = [
            {
                "dataset": dataset,
                "model": model,
                "class": names[m["label"]],
                "taken_for": names[m["predicted"]],
            }
            | {"images": images[m["label"]], **{method: m[method] for method in errors.METHODS}}
            for m in found.to_dict("records")
        ]
        frames.append(pd.DataFrame(records, columns=columns))
        rows += [
            [
                *cells.place_cells(results, r),
                *(Cell(r[key]) for key in ("class", "taken_for")),
                *(Cell(str(r[key]), r[key]) for key in ("images", *errors.METHODS)),
            ]
            for r in records[:SHOWN]
        ]
    return Table(
        "confusions",
        "Classes taken for another",
        f"{CAPTION} {errors.about(results, len(rows) < total, SHOWN, 'pairs')}{cells.only(results)}",
        "Zero-shot",
        PHASES,
        pd.concat([f for f in frames if len(f)] or frames, ignore_index=True),
        [
            *cells.place(results),
            Column("Images of", numeric=False),
            Column("Taken for", numeric=False),
            Column("Of"),
            *(Column(METHODS[m]) for m in errors.METHODS),
        ],
        rows,
    )
