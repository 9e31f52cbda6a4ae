"""Tidy rows from documents: estimates, the order of methods, corrected p-values, the average."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ...baselines.methods import METHODS
from ...evaluation.intervals import holm
from ...protocols import SETTINGS
from .table import AVERAGE


def estimate(key: str, estimate: Mapping[str, Any] | None) -> dict[str, float]:
    """Value (or mean over seeds) and interval as columns; without an estimate NaN."""
    e = estimate or {}
    return {
        key: e.get("value", e.get("mean", np.nan)),
        f"{key}_low": e.get("low", np.nan),
        f"{key}_high": e.get("high", np.nan),
    }


def ends(*keys: str) -> list[str]:
    """The columns of estimates."""
    return [f"{key}{end}" for key in keys for end in ("", "_low", "_high")]


def adjusted(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with ``p_holm`` after ``p_value``: adjusted for the number of tests on a data set with a model."""
    of_group = frame.groupby(["dataset", "model"], sort=False)["p_value"]
    corrected = of_group.transform(lambda p: holm(list(p)))
    frame.insert(list(frame.columns).index("p_value") + 1, "p_holm", corrected)
    return frame


def in_order(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Methods in the order of METHODS, unknown ones last in their own order; settings in theirs."""

    def place(entry: dict[str, Any]) -> tuple[int, ...]:
        wanted = ((list(METHODS), entry["method"]), (list(SETTINGS), entry["setting"]))
        return tuple(order.index(name) if name in order else len(order) for order, name in wanted)

    return sorted(entries, key=place)


def with_average(frame: pd.DataFrame, group: Sequence[str], keys: Sequence[str]) -> pd.DataFrame:
    """The frame and, for several data sets, the mean over them of what all of them have (no interval)."""
    n = frame["dataset"].nunique()
    if n < 2:
        return frame
    groups = frame.groupby(list(group), sort=False)
    mean = groups[list(keys)].mean()
    mean = mean[groups["dataset"].nunique() == n].reset_index()
    mean.insert(0, "dataset", AVERAGE)
    models = list(dict.fromkeys(frame["model"]))
    mean = mean.sort_values("model", key=lambda column: column.map(models.index), kind="stable")
    return pd.concat([frame, mean], ignore_index=True)
