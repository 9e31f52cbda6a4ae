"""Right and wrong predictions class by class, from the rows of zero_shot and rerank."""

from __future__ import annotations

import pandas as pd

from ..results import Results

METHODS = ("clip", "coder", "coder_rerank")  # the last one decides what is hardest


def shown(results: Results) -> tuple[str, ...]:
    """The methods to show: all but a rerank that changes nothing."""
    if results.no_rerank:
        return METHODS[:2]
    return METHODS


def predictions(results: Results, dataset: str, model: str) -> pd.DataFrame:
    """One row for each test image: label, and the class by each method in the main setting."""
    rows = results.main_rows(dataset, model)
    rows = rows[rows["method"].isin(METHODS)]
    by_image = rows.pivot(index="image_id", columns="method", values="prediction")
    return by_image.assign(label=rows.groupby("image_id")["label"].first())


def mistakes(predictions: pd.DataFrame) -> pd.DataFrame:
    """A row for each label and wrong prediction, with the number of such images by each method,
    most frequent by the last method first.

    predictions: from `predictions`. Columns: label, predicted, and METHODS.
    """
    counts = {}
    for method in METHODS:
        wrong = predictions[predictions[method] != predictions["label"]]
        counts[method] = wrong.groupby(["label", method]).size().rename_axis(["label", "predicted"])
    table = pd.DataFrame(counts).fillna(0).astype(int).reset_index()
    # the last method decides, earlier ones break ties
    order = [*reversed(METHODS), "label", "predicted"]
    return table.sort_values(
        order, ascending=[False] * len(METHODS) + [True, True], ignore_index=True
    )


def about(results: Results, cut: bool, shown: int, what: str) -> str:
    """The end of a caption: the setting, and whether the CSV has more rows.

    cut: True if it has; shown, what: number and noun of the shown rows per data set.
    """
    more = ""
    if cut:
        more = f" The first {shown} {what} per data set; the CSV has more."
    return f"CODER and its rerank in the setting '{results.main_setting}'.{more}"
