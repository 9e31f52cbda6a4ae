"""Tidy rows from documents: estimates, corrected p-values, the average."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ...evaluation.intervals import holm
from ..results import Results
from .table import AVERAGE


def tidy(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], intervals: Sequence[str] = ()
) -> pd.DataFrame:
    """Turn rows into a frame with these columns; values that a row lacks are NaN.

    intervals: columns that hold an estimate. Each becomes three: NAME (the value), NAME_low and
    NAME_high.
    """
    names = []
    for column in columns:
        names.append(column)
        if column in intervals:
            names += [f"{column}_low", f"{column}_high"]
    records = []
    for row in rows:
        record = dict(row)
        for key in intervals:
            estimate = row.get(key) or {}
            record[key] = estimate.get("value", np.nan)
            record[f"{key}_low"] = estimate.get("low", np.nan)
            record[f"{key}_high"] = estimate.get("high", np.nan)
        records.append(record)
    return pd.DataFrame(records, columns=names)


def adjusted(frame: pd.DataFrame) -> pd.Series[float]:
    """The p-values of a frame, adjusted for the number of tests per data set and model (`holm`)."""
    of_group = frame.groupby(["dataset", "model"], sort=False)["p_value"]
    return of_group.transform(lambda p: holm(list(p)))


def has_average(results: Results, datasets: Sequence[str]) -> bool:
    """True if a mean over these data sets says something.

    Drawn data sets are a case and its control: their mean says nothing.
    """
    return len(datasets) > 1 and results.kind != "drawn"


def with_average(
    results: Results, frame: pd.DataFrame, group: Sequence[str], keys: Sequence[str]
) -> pd.DataFrame:
    """The frame and, if `has_average`, rows with the mean over data sets, without an interval.

    group: columns whose values are equal in the rows of one mean. keys: columns to average.
    """
    datasets = frame["dataset"].unique().tolist()
    if not has_average(results, datasets):
        return frame
    groups = frame.groupby(list(group), sort=False)
    mean = groups[list(keys)].mean()
    # only groups that all data sets have: means over different data sets cannot be compared
    mean = mean[groups["dataset"].nunique() == len(datasets)].reset_index()
    mean.insert(0, "dataset", AVERAGE)
    # models in the order of the frame, not of the alphabet
    models = list(dict.fromkeys(frame["model"]))
    mean = mean.sort_values("model", key=lambda column: column.map(models.index), kind="stable")
    return pd.concat([frame, mean], ignore_index=True)
