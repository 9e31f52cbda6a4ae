"""Tidy rows from documents: estimates, the order of methods, the best of a group, the average."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ...baselines.methods import METHODS
from ...evaluation import intervals
from ...evaluation.intervals import holm
from ...protocols import SETTINGS
from .table import AVERAGE


def estimate(key: str, estimate: Mapping[str, Any] | None) -> dict[str, float]:
    e = estimate or {}
    return {
        key: e.get("value", np.nan),
        f"{key}_low": e.get("low", np.nan),
        f"{key}_high": e.get("high", np.nan),
    }


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in r.items()} for r in frame.to_dict("records")]


def adjusted(frame: pd.DataFrame, group: Sequence[str]) -> pd.DataFrame:
    """The frame with ``p_holm`` after ``p_value``: its p-values adjusted for the number of tests in their group."""
    of_group = frame.groupby(list(group), sort=False)["p_value"]
    frame.insert(
        list(frame.columns).index("p_value") + 1, "p_holm", of_group.transform(lambda p: holm(list(p)))
    )
    return frame


def clear(record: dict[str, Any], key: str) -> bool:
    """Whether the difference under this key is clear (`intervals.clear`); an average has no interval."""
    return bool(intervals.clear({end: record[f"{key}_{end}"] for end in ("low", "high")}))


def in_order(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Methods in the order of METHODS, unknown ones last in their own order; settings in theirs."""
    order, settings_ = list(METHODS), list(SETTINGS)

    def place(entry: dict[str, Any]) -> tuple[int, int]:
        m, s = entry["method"], entry["setting"]
        return (
            order.index(m) if m in order else len(order),
            settings_.index(s) if s in settings_ else len(settings_),
        )

    return sorted(entries, key=place)


def best(frame: pd.DataFrame, group: Sequence[str], key: str) -> list[bool]:
    """Whether each row holds the highest value of its group, as printed: who reads 88.3 four times sees no winner.

    Where a whole group prints the same, or is one row, nothing is best.
    """
    if frame.empty:
        return []
    printed = frame[key].map(lambda v: round(100 * v, 1))  # as `cells.percent`
    values = printed.groupby([frame[g] for g in group], sort=False)
    highest = values.transform("max")
    return list((printed == highest) & (values.transform("min") < highest))


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
