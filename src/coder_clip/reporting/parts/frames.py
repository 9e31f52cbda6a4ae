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

    intervals: columns that hold an estimate. Each becomes three: NAME (the value, or the mean over
    seeds), NAME_low and NAME_high.
    """
    names = [
        f"{c}{end}" for c in columns for end in (("", "_low", "_high") if c in intervals else ("",))
    ]
    records = []
    for row in rows:
        record = dict(row)
        for key in intervals:
            # an estimate has a value, or a mean over seeds, or is absent
            e = row.get(key) or {}
            record |= {key: e.get("value", e.get("mean", np.nan))}
            record |= {f"{key}_low": e.get("low", np.nan), f"{key}_high": e.get("high", np.nan)}
        records.append(record)
    return pd.DataFrame(records, columns=names)


def adjusted(frame: pd.DataFrame) -> pd.Series[float]:
    """The p-values of a frame, adjusted for the number of tests on a data set with a model."""
    of_group = frame.groupby(["dataset", "model"], sort=False)["p_value"]
    return of_group.transform(lambda p: holm(list(p)))


def has_average(results: Results, datasets: Sequence[str]) -> bool:
    """True if a mean over these data sets says something: of a drawn data set and its control it
    does not.
    """
    return len(datasets) > 1 and results.kind != "drawn"


def with_average(
    results: Results, frame: pd.DataFrame, group: Sequence[str], keys: Sequence[str]
) -> pd.DataFrame:
    """The frame and, where it says something, the mean over data sets of what all of them have (no
    interval).
    """
    n = frame["dataset"].nunique()
    if not has_average(results, frame["dataset"].unique().tolist()):
        return frame
    groups = frame.groupby(list(group), sort=False)
    mean = groups[list(keys)].mean()
    # only what all data sets have: means over different data sets cannot be compared
    mean = mean[groups["dataset"].nunique() == n].reset_index()
    mean.insert(0, "dataset", AVERAGE)
    # models in the order of the frame, not of the alphabet
    models = list(dict.fromkeys(frame["model"]))
    mean = mean.sort_values("model", key=lambda column: column.map(models.index), kind="stable")
    return pd.concat([frame, mean], ignore_index=True)
