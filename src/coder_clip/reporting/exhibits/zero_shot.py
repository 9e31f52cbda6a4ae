"""Zero-shot methods, each with its interval and the paired comparison with CLIP."""

from __future__ import annotations

import pandas as pd

from ..parts import cells, frames, notes
from ..parts.table import Cell, Column, Table
from ..results import Results, in_order

SECTION = "Zero-shot"
ORDER = 10
PHASES = ("zero_shot", "rerank")

CAPTION = (
    "Top-1 accuracy, the difference to CLIP on the same images in percentage points (points), "
    "top-5 accuracy and mean class recall on the test split, with 95 % intervals over images. "
    "Bold: a clear difference, its interval excludes 0. CLIP: names alone, one prompt with the "
    "class name; prompt ensemble: the name in several prompts, averaged. The rerank picks among "
    "the five likeliest, so it keeps stage one's top-5. Random words: mean over several draws, "
    "intervals over draws and images, ± the standard deviation over draws. The CSV has exact "
    "McNemar tests, alone and corrected for the several methods (Holm)."
)
# a setting -> its name and what sets it apart
ABOUT = {"clean": "'clean': nothing was chosen on test images"}
NUMBERS = [
    "p_value",
    "p_holm",
    "fixed",
    "broke",
    "threshold",
    "looked_at",
    "draws_count",
    "draws_std",
    "draws_min",
    "draws_max",
]


def table(results: Results) -> Table:
    """Top-1 of every zero-shot method, with intervals and the paired comparison with CLIP."""
    # p-values are corrected (Holm) before averages over data sets are added, so that averages do
    # not count as tests. A rerank that is off repeats the row of CODER: the CSV keeps it, the
    # table does not show it, nor CODER where classes have only names.
    setting = results.main_setting
    rows = []
    for dataset, model in results:
        place = {"dataset": dataset, "model": model, "split": results.split(dataset)}
        for m in in_order(results.main_methods(dataset, model).values()):
            against = m["against_clip"] or {}  # CLIP has None
            draws = {f"draws_{key}": value for key, value in m.get("draws", {}).items()}
            difference = {"difference_to_clip": against}
            rows.append({**place, **m, **against, **difference, **draws})
    shares = ["accuracy", "top5_accuracy", "mean_class_recall", "difference_to_clip"]
    frame = frames.tidy(
        rows, ["dataset", "model", "method", "setting", *shares, *NUMBERS, "split"], shares
    )
    frame = frame.astype(dict.fromkeys(NUMBERS, float))
    frame["p_holm"] = frames.adjusted(frame)
    frame = frames.with_average(results, frame, ["model", "method", "setting"], shares)
    # where the rerank is off, its row repeats the row of CODER
    off = [place for place in results if results.rerank_off(*place)]
    place_of_row = frame.set_index(["dataset", "model"]).index
    repeats = (frame["method"] == "coder_rerank") & place_of_row.isin(off)
    # with names alone, stage one is CLIP: its row would be the same number by another name
    names = [dataset for dataset in results.datasets if not results.has_texts(dataset)]
    repeats |= (frame["method"] == "coder") & frame["dataset"].isin(names)
    return cells.table(
        results,
        "Zero-shot classification",
        f"{CAPTION} CODER and its rerank in the setting {ABOUT.get(setting, repr(setting))}.",
        frame,
        [
            (Column("Method", numeric=False), cells.method),
            (Column("Top-1 (%)"), _accuracy),
            (Column("Against CLIP (points)"), cells.difference("difference_to_clip")),
            (Column("Top-5 (%)", wide=True), cells.accuracy("top5_accuracy")),
            (Column("Mean class recall (%)", wide=True), cells.accuracy("mean_class_recall")),
        ],
        shown=frame[~repeats],
        notes=[
            notes.not_here(results),
            notes.splits(results, results.datasets),
            notes.rerank_off(results),
            notes.test_left_out(results),
        ],
    )


def _accuracy(record: cells.Record) -> Cell:
    """Accuracy with its interval and, if there are several draws, their standard deviation."""
    cell = cells.accuracy()(record)
    std = record["draws_std"]
    if pd.isna(std):
        return cell
    return Cell(f"{cell.text} ± {cells.percent(std)}", cell.sort)
