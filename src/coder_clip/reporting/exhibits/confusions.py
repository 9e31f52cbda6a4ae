"""The classes that are confused, each pair with a photo and the texts that decided."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from ...baselines.methods import LABELS
from ..parts import cells, frames, mistakes
from ..parts.stage_one import StageOne
from ..parts.table import Cell, Column, Table
from ..results import Results

SECTION = "Errors"
ORDER = 10
PHASES = ("zero_shot", "rerank", "image_features", "text_features")

SHOWN, KEPT = 8, 200  # pairs of a data set: shown, in the CSV (the phases' files have all images)
CAPTION = (
    "Test images of a class that each method takes for another one, the most frequent first, with the one that stage "
    "one (CODER) takes so most surely. A sure mistake often shows a wrong label, or a text that fits another class."
)
TEXTS = (
    " On the right the strongest texts for the wrong class and for the true one, and the points of score that each "
    "adds (“not x”: a text of x that fits badly)."
)


def nothing(results: Results) -> str:
    """Why there is no error to show."""
    some = any(len(mistakes.mistakes(mistakes.predictions(results, *place))) for place in results)
    return "" if some else "every method is right on every test image"


def table(results: Results) -> Table:
    """The pairs of classes that are confused most, by CLIP, CODER and the rerank; with reasons for those shown."""
    rows: list[dict[Any, Any]] = []
    for dataset, model in results:
        names = results.zero_shot(dataset, model)["classes"]
        predictions = mistakes.predictions(results, dataset, model)
        images = predictions["label"].value_counts()
        found = mistakes.mistakes(predictions).head(KEPT).to_dict("records")
        # Explaining a confusion takes the texts and features of its images, so only the pairs that are shown
        # are explained.
        stage_one = StageOne(results, dataset, model) if found else None
        for i, m in enumerate(found):
            row: dict[Any, Any] = {"dataset": dataset, "model": model, "class": names[m["label"]], **m}
            row |= {"taken_for": names[m["predicted"]], "images": images[m["label"]]}
            if stage_one and i < SHOWN:
                wrong = predictions["label"].eq(m["label"]) & predictions["coder"].eq(m["predicted"])
                row |= stage_one.surest(list(predictions.index[wrong]), m["predicted"], m["label"])
            rows.append(row)
    columns = ["dataset", "model", "class", "taken_for", "images", *mistakes.METHODS]
    frame = frames.tidy(rows, [*columns, "example", "lead", "wrong", "right"])
    caption = CAPTION + TEXTS * int(any(frame["wrong"].dropna()))
    shown = frame.groupby(["dataset", "model"], sort=False).head(SHOWN)
    return cells.table(
        results,
        "Errors, and the texts behind them",
        f"{caption} {mistakes.about(results, len(shown) < len(frame), SHOWN, 'pairs')}",
        frame,
        [
            (Column("Is → taken for", numeric=False), lambda r: Cell(f"{r['class']} → {r['taken_for']}")),
            (Column("Image", numeric=False), _picture),
            (Column("Images per class", wide=True), cells.count("images")),
            *(
                (Column(f"{LABELS[m]} (images)", wide=m == "clip"), cells.count(m))
                for m in mistakes.shown(results)
            ),
            (Column("Speaks for the wrong class", numeric=False, line=True), _texts("wrong")),
            (Column("Speaks for the true class", numeric=False, line=True), _texts("right")),
        ],
        shown=shown,
        notes=_changed(results),
    )


def _changed(results: Results) -> list[str]:
    """A note on how many images the rerank put right and wrong, if any."""
    said = []
    for dataset, model in results:
        pairs = [p for p in results.rerank(dataset, model)["pairs"] if p["setting"] == results.main_setting]
        fixed, broke = (sum(p[key] for p in pairs) for key in ("fixed", "broke"))
        if fixed + broke:
            where = f"{dataset} with {model}" if len(results.models) > 1 else dataset
            said.append(f"{fixed} images right and {broke} wrong ({where})")
    return [f"The rerank put {'; '.join(said)}."] if said else []


def _picture(r: cells.Record) -> Cell:
    if pd.isna(r["example"]):
        return Cell("–")
    return Cell(f"{r['example']} ({r['lead']:.1f} ahead)", picture=(r["dataset"], r["example"]))


def _texts(side: str) -> Callable[[cells.Record], Cell]:
    return lambda r: Cell("–" if pd.isna(r[side]) or not r[side] else r[side])
