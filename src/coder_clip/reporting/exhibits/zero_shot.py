"""Zero-shot methods, each with its interval and the paired comparison with CLIP."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ..parts import cells, frames, notes
from ..parts.table import AVERAGE, Cell, Column, Table
from ..results import Results

SECTION = "Zero-shot"
ORDER = 10
PHASES = ("zero_shot", "rerank")

CAPTION = (
    "Top-1 and top-5 accuracy and mean class recall on the test split, each with its 95 % bootstrap interval over "
    "images. The rerank picks among the five likeliest, so it keeps stage one's top-5. "
    "Against CLIP: difference in accuracy on the same images; bold where it is clear, its interval excludes 0. p: "
    "exact McNemar test; p (Holm): corrected for the several tests on the same data set and model. Random words: mean "
    "over several draws; intervals and p are over draws and images, and ± is the standard deviation over draws."
)


def table(results: Results) -> Table:
    """Top-1 of every zero-shot method, with intervals and the paired comparison with CLIP."""
    setting = results.main_setting
    records = []
    for dataset, model in results:
        documents = [m for m in results.methods(dataset, model) if m["setting"] in ("any", setting)]
        for m in frames.in_order(documents):
            against = m["against_clip"] or {}
            record = {"dataset": dataset, "model": model, "method": m["method"], "setting": m["setting"]}
            record |= frames.estimate("accuracy", m["accuracy"])
            record |= frames.estimate("top5_accuracy", m.get("top5_accuracy"))
            record |= frames.estimate("mean_class_recall", m["mean_class_recall"])
            record |= frames.estimate("difference_to_clip", against.get("difference"))
            record |= {key: against.get(key, np.nan) for key in ("p_value", "fixed", "broke")}
            record |= {key: m.get(key, np.nan) for key in ("threshold", "looked_at")}
            draws = m.get("draws") or {}
            record |= {f"draws_{key}": draws.get(key, np.nan) for key in ("count", "std", "min", "max")}
            record["split"] = results.split(dataset)
            records.append(record)
    shares = ["accuracy", "top5_accuracy", "mean_class_recall", "difference_to_clip"]
    frame = frames.adjusted(pd.DataFrame(records), ["dataset", "model"])
    frame = frames.with_average(frame, ["model", "method", "setting"], shares)
    best = frames.best(frame, ["dataset", "model"], "accuracy")
    columns = [*cells.place(results), Column("Method", numeric=False), Column("Top-1 (%)")]
    columns += [
        Column("Top-5 (%)"),
        Column("Mean class recall (%)"),
        Column("Against CLIP (points)"),
        Column("p"),
        Column("p (Holm)"),
    ]
    rows = [
        [
            *cells.place_cells(results, r),
            cells.method(r["method"], _off(results, r)),
            _accuracy(r, best[i]),
            cells.interval(r, "top5_accuracy"),
            cells.interval(r, "mean_class_recall"),
            cells.interval(r, "difference_to_clip", sign=True, best=frames.clear(r, "difference_to_clip")),
            Cell(cells.p_value(r["p_value"]), r["p_value"]),
            Cell(cells.p_value(r["p_holm"]), r["p_holm"]),
        ]
        for i, r in enumerate(frames.records(frame))
    ]
    return Table(
        "Zero-shot classification",
        f"{CAPTION} CODER and its rerank in the setting '{setting}'. Bold accuracy: highest value."
        f"{cells.averaged(results)}{cells.only(results)}",
        frame,
        columns,
        rows,
        notes.of(
            notes.not_here(results),
            notes.splits(results, results.datasets),
            notes.rerank_off(results),
            notes.test_left_out(results),
        ),
    )


def _accuracy(record: dict[str, Any], best: bool) -> Cell:
    """Accuracy with its interval; of several draws their spread, too."""
    cell = cells.interval(record, "accuracy", best=best)
    if cells.missing(record["draws_std"]):
        return cell
    return Cell(f"{cell.text} ± {cells.percent(record['draws_std'])}", cell.sort, best)


def _off(results: Results, record: dict[str, Any]) -> str:
    """Beside the rerank's name, where it left every image as it was: its row repeats the one above."""
    place = record["dataset"], record["model"]
    off = record["method"] == "coder_rerank" and place[0] != AVERAGE and results.rerank_off(*place)
    return " (off)" if off else ""
