"""Zero-shot methods, each with its interval and the paired comparison with CLIP."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..parts import cells, frames, notes
from ..parts.table import AVERAGE, Cell, Column, Table
from ..results import Results

SECTION = "Zero-shot"
ORDER = 10
PHASES = ("zero_shot", "rerank")

CAPTION = (
    "Top-1 accuracy, the difference to CLIP on the same images, top-5 accuracy and mean class recall on the test "
    "split, with 95 % intervals over images. Bold: a clear difference, its interval excludes 0. The CSV has exact "
    "McNemar tests, alone and corrected for the several methods (Holm). The rerank picks among the five likeliest, so "
    "it keeps stage one's top-5. Random words: mean over several draws, intervals over draws and images, ± the "
    "standard deviation over draws."
)


def table(results: Results) -> Table:
    """Top-1 of every zero-shot method, with intervals and the paired comparison with CLIP."""
    setting = results.main_setting
    records = []
    for dataset, model in results:
        for m in frames.in_order(results.main_methods(dataset, model).values()):
            against, draws = m["against_clip"] or {}, m.get("draws") or {}
            record = {"dataset": dataset, "model": model, "method": m["method"], "setting": m["setting"]}
            for key in ("accuracy", "top5_accuracy", "mean_class_recall"):
                record |= frames.estimate(key, m.get(key))
            record |= frames.estimate("difference_to_clip", against.get("difference"))
            record |= {key: against.get(key, np.nan) for key in ("p_value", "fixed", "broke")}
            record |= {key: m.get(key, np.nan) for key in ("threshold", "looked_at")}
            record |= {f"draws_{key}": draws.get(key, np.nan) for key in ("count", "std", "min", "max")}
            records.append({**record, "split": results.split(dataset)})
    shares = ["accuracy", "top5_accuracy", "mean_class_recall", "difference_to_clip"]
    frame = frames.adjusted(pd.DataFrame(records))
    frame = frames.with_average(frame, ["model", "method", "setting"], shares)
    repeats = [
        r["method"] == "coder_rerank"
        and r["dataset"] != AVERAGE
        and bool(results.rerank_off(r["dataset"], r["model"]))
        for r in cells.records(frame)
    ]  # of a rerank that is off, the row above
    return cells.table(
        results,
        "Zero-shot classification",
        f"{CAPTION} CODER and its rerank in the setting '{setting}'.",
        frame,
        [
            (Column("Method", numeric=False), cells.method),
            (Column("Top-1 (%)"), _accuracy),
            (Column("Against CLIP (points)"), cells.difference("difference_to_clip")),
            (Column("Top-5 (%)", wide=True), cells.accuracy("top5_accuracy")),
            (Column("Mean class recall (%)", wide=True), cells.accuracy("mean_class_recall")),
        ],
        shown=frame[[not r for r in repeats]],
        notes=[
            notes.not_here(results),
            notes.splits(results, results.datasets),
            notes.rerank_off(results),
            notes.test_left_out(results),
        ],
    )


def _accuracy(record: cells.Record) -> Cell:
    """Accuracy with its interval; of several draws their spread, too."""
    cell = cells.accuracy()(record)
    spread = record["draws_std"]
    return cell if cells.missing(spread) else Cell(f"{cell.text} ± {cells.percent(spread)}", cell.sort)
