"""The CODER-Adapter against every other few-shot method, on the same seeds and images."""

from __future__ import annotations

from operator import attrgetter

from ..parts import cells, frames, notes
from ..parts.table import Column, Table
from ..results import Results

SECTION = "Few-shot"
ORDER = 20
PHASES = ("adapter",)
DETAIL = True

CAPTION = (
    "Accuracy of the CODER-Adapter minus that of each other method on the same test images, shots "
    "and seeds, by shots per class, in points with the 95 % interval {varied}. {bold} The CSV has "
    "the p-value of each, and p_holm, corrected for the many comparisons on a data set with a "
    "model (Holm)."
)
BOLD = "Bold: clear, the interval excludes 0."
NOT_BOLD = "None is called clear, because other shots may give another difference."
nothing = attrgetter("no_few_shot")


def table(results: Results) -> Table:
    """Paired tests of the CODER-Adapter against the other few-shot methods, by number of shots."""
    rows = results.few_shot_rows("summary")
    setting = "clean"
    if rows:
        setting = rows[-1]["setting"]
    rows = [{**r, **r["coder_adapter_against"]} for r in rows if r.get("coder_adapter_against")]
    columns = ["dataset", "model", "method", "setting", "shots", "difference"]
    frame = frames.tidy(rows, [*columns, "p_value", "p_holm", "fixed", "broke"], ["difference"])
    # corrected before averages are added, because an average is no test
    frame["p_holm"] = frames.adjusted(frame)
    frame = frames.with_average(
        results, frame, ["model", "method", "setting", "shots"], ["difference"]
    )
    frame = frame.astype({"shots": "int64", "fixed": "Int64", "broke": "Int64"})
    judged = notes.several_seeds(results)
    about = CAPTION.format(varied=notes.varied(results), bold=BOLD if judged else NOT_BOLD)
    return cells.pivot(
        results,
        "Few-shot: CODER-Adapter against each method",
        f"{about} In the setting '{setting}'.",
        frame,
        [(Column("CODER-Adapter minus", numeric=False), cells.method)],
        cells.by_shots(results, " (points)"),
        cells.difference() if judged else cells.signed(),
    )
