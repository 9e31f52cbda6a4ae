"""How often the encoder read a class's name, and what texts make of it."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from ..datasets import named_pictures
from ..evaluation import estimate
from ..results import Results
from . import cells, frames
from .base import METHODS, Cell, Column, Table

SHOWN = ("clip", "attributes_alone", "coder", "coder_rerank")
CAPTION = (
    "Top-1 accuracy on test images of the classes whose names stood in the captions of so many training pictures of "
    "the embedded model, with its 95 % bootstrap interval over images. The name alone (CLIP) needs names that were "
    "read; attributes alone need none. For data sets that declare how often their names were read."
)
PHASES = ("zero_shot", "rerank")


def table(results: Results) -> Table:
    """Accuracy of names, of attributes and of both, by how often a class was named in training."""
    setting = results.main_setting
    records: list[dict[str, Any]] = []
    for dataset, model in results:
        named, names = named_pictures(dataset), results.zero_shot(dataset, model)["classes"]
        if named is None or not named.keys() >= set(names):  # a folder may have the name of a drawn data set
            continue
        rows = pd.concat([results.zero_shot_rows(dataset, model), results.rerank_rows(dataset, model)])
        rows = rows[rows["method"].isin(SHOWN) & rows["setting"].isin(("any", setting))]
        right = (rows["prediction"] == rows["label"]).astype(float)
        dose = rows["label"].map({label: named[name] for label, name in enumerate(names)})
        doses = [named[name] for name in names]
        levels = sorted(set(doses), key=lambda d: math.inf if d is None else d)
        for level in levels:
            here = dose.isna() if level is None else dose == level
            for method in SHOWN:
                hits = right[here & (rows["method"] == method)].to_numpy()
                record = {"dataset": dataset, "model": model, "pictures": level}
                record["classes"] = doses.count(level)
                records.append(record | {"method": method} | frames.estimate("accuracy", estimate(hits)))
    columns = ["dataset", "model", "pictures", "classes", "method"]
    columns += ["accuracy", "accuracy_low", "accuracy_high"]
    frame = pd.DataFrame(records, columns=columns)
    frame["pictures"] = frame["pictures"].map(in_words)
    rows_ = []
    for place, group in frame.groupby(["dataset", "model", "pictures"], sort=False):
        dataset, model, pictures = map(str, place)
        by_method = {r["method"]: r for r in frames.records(group)}
        first = by_method[SHOWN[0]]
        rows_.append(
            [
                *cells.place_cells(results, {"dataset": dataset, "model": model}),
                Cell(pictures),
                Cell(str(first["classes"]), first["classes"]),
                *(cells.interval(by_method[m], "accuracy") for m in SHOWN),
            ]
        )
    return Table(
        "name_dose",
        "How often a name was read",
        f"{CAPTION} CODER and its rerank in the setting '{setting}'.{cells.only(results)}",
        "Zero-shot",
        PHASES,
        frame,
        [
            *cells.place(results),
            Column("Named in … training pictures", numeric=False),
            Column("Classes"),
            *(Column(f"{METHODS[m]} (%)") for m in SHOWN),
        ],
        rows_,
        optional=True,
    )


def in_words(pictures: float | None) -> str:
    return "all" if cells.missing(pictures) else f"{pictures:g}"
