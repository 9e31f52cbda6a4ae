"""Numbers as people read them: rounded, in percent, with their interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import pandas as pd

from ...baselines.methods import LABELS
from ..results import Results
from .table import AVERAGE, Cell, Column


def percent(value: float | None) -> str:
    return "–" if missing(value) else f"{100 * value:.1f}"  # type: ignore[operator]


def points(value: float) -> str:
    """A signed difference in percentage points; nothing that rounds to zero has a sign."""
    text = f"{100 * value:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def with_interval(value: Any, low: Any, high: Any, sign: bool = False) -> str:
    if missing(value):
        return "–"
    show: Callable[[float], str] = points if sign else percent
    return show(value) if missing(low) else f"{show(value)} [{show(low)}, {show(high)}]"


def interval(record: dict[str, Any], key: str, sign: bool = False, best: bool = False) -> Cell:
    value, low, high = record[key], record[f"{key}_low"], record[f"{key}_high"]
    return Cell(with_interval(value, low, high, sign), None if missing(value) else value, best)


def p_value(p: float) -> str:
    return "–" if missing(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def label(labels: dict[str, str], key: str) -> str:
    return labels.get(key, key.replace("_", " "))


def method(name: str, more: str = "") -> Cell:
    """A method by its label, with what is said behind it."""
    return Cell(label(LABELS, name) + more)


def shots(n: int) -> str:
    return f"{n} shot{'s' * (n != 1)}"


def pivot(
    entries: Iterable[tuple[list[Cell], Hashable, Cell]], columns: Sequence[Hashable]
) -> list[list[Cell]]:
    """Rows of a wide table from (first cells, column, cell), in the order they come.

    Entries with the same first cells share a row; – where a column has none.
    """
    rows: dict[tuple[str, ...], list[Cell]] = {}
    for start, column, cell in entries:
        row = rows.setdefault(tuple(c.text for c in start), start + [Cell("–")] * len(columns))
        row[len(start) + columns.index(column)] = cell
    return list(rows.values())


def place(results: Results) -> list[Column]:
    """Data set, and the model where there are several."""
    model = [Column("Model", numeric=False)] if len(results.models) > 1 else []
    return [Column("Data set", numeric=False), *model]


def place_cells(results: Results, record: dict[str, Any]) -> list[Cell]:
    average = record["dataset"] == AVERAGE
    dataset = Cell("average" if average else record["dataset"])
    return [dataset, Cell(record["model"])] if len(results.models) > 1 else [dataset]


def averaged(results: Results) -> str:
    return " Average: plain mean over data sets." if len(results.datasets) > 1 else ""


def only(results: Results) -> str:
    return f" Model: {results.models[0]}." if len(results.models) == 1 else ""
