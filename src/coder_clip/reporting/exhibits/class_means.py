"""Stage one with other means of a class's texts."""

from __future__ import annotations

from ..parts import cells, frames
from ..parts.table import Cell, Column, Table
from ..results import Results

SECTION = "Texts"
ORDER = 15
PHASES = ("evaluation",)
DETAIL = True

CAPTION = (
    "Top-1 accuracy of stage one with other means of a class's texts, and the difference to stage "
    "one on the same images, with 95 % intervals. The mean of unit texts is shorter than 1, the "
    "shorter the more diverse they are, so stage one scores classes with diverse texts lower. "
    "Renormalised: the mean of a class's texts and its best name at length 1. Mean alone: the mean "
    "of attribute and analogous texts at length 1, without the name. An ablation: nothing is "
    "chosen by it."
)
LABELS = {
    "stage_one": "Stage one",
    "renormalised": "Renormalised",
    "mean_alone": "Mean alone, renormalised",
}


def nothing(results: Results) -> str:
    """Why there is nothing to show; "" if there is."""
    some = any(results.evaluation(*place).get("class_means") for place in results)
    if some:
        return ""
    return results.names_alone or "no class has attribute or analogous texts"


def table(results: Results) -> Table:
    """A row for each mean."""
    rows = []
    for dataset, model in results:
        for row in results.evaluation(dataset, model).get("class_means", []):
            test = row.get("against_stage_one", {})
            rows.append(
                {
                    "dataset": dataset,
                    "model": model,
                    "variant": row["variant"],
                    "accuracy": row["accuracy"],
                    "difference": test.get("difference"),
                    "p_value": test.get("p_value"),
                }
            )
    names = ["dataset", "model", "variant", "accuracy", "difference", "p_value"]
    return cells.table(
        results,
        "The mean of a class's texts",
        CAPTION,
        frames.tidy(rows, names, ["accuracy", "difference"]),
        [
            (Column("Mean", numeric=False), lambda r: Cell(LABELS[r["variant"]])),
            (Column("Top-1 (%)"), cells.accuracy()),
            (Column("Against stage one (points)"), cells.difference()),
        ],
    )
