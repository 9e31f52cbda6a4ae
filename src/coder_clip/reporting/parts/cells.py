"""Numbers as people read them, and tables of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from ...baselines.methods import LABELS
from ...evaluation import intervals
from ..results import Results
from .table import AVERAGE, Cell, Column, Table

Record = dict[str, Any]
Shown = tuple[Column, Callable[[Record], Cell]]  # a column, and its cell in the row of a record


# ---- numbers


def percent(value: Any) -> str:
    return "–" if missing(value) else f"{100 * value:.1f}"


def points(value: Any) -> str:
    """A signed difference in percentage points; nothing that rounds to zero has a sign."""
    if missing(value):
        return "–"
    text = f"{100 * value:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def with_interval(value: Any, low: Any, high: Any, show: Callable[[Any], str] = percent) -> str:
    return show(value) if missing(low) else f"{show(value)} [{show(low)}, {show(high)}]"


def missing(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value))


def label(labels: Mapping[str, str], key: str) -> str:
    return labels.get(key, key.replace("_", " "))


def shots(n: int) -> str:
    return f"{n} shot{'s' * (n != 1)}"


# ---- cells of a record


def method(r: Record) -> Cell:
    return Cell(label(LABELS, r["method"]))


def words(key: str) -> Callable[[Record], Cell]:
    return lambda r: Cell(str(r[key]))


def count(key: str) -> Callable[[Record], Cell]:
    return lambda r: Cell("–") if missing(r[key]) else Cell(str(r[key]), r[key])


def share(key: str) -> Callable[[Record], Cell]:
    return lambda r: Cell(percent(r[key]), r[key])


def accuracy(key: str = "accuracy") -> Callable[[Record], Cell]:
    """A share with its interval."""
    return lambda r: Cell(
        with_interval(r[key], r[f"{key}_low"], r[f"{key}_high"]), None if missing(r[key]) else r[key]
    )


def difference(key: str = "difference") -> Callable[[Record], Cell]:
    """A difference with its interval, bold where it is clear: the one criterion (`intervals.clear`)."""

    def cell(r: Record) -> Cell:
        low, high = r[f"{key}_low"], r[f"{key}_high"]
        text = with_interval(r[key], low, high, points)
        return Cell(
            text, None if missing(r[key]) else r[key], bool(intervals.clear({"low": low, "high": high}))
        )

    return cell


# ---- tables


def table(
    results: Results,
    title: str,
    caption: str,
    frame: pd.DataFrame,
    columns: Sequence[Shown],
    *,
    shown: pd.DataFrame | None = None,
    notes: Sequence[str] = (),
) -> Table:
    """One row for each record of the frame, or of ``shown``."""
    columns = [*_place(results), *columns]
    rows = [[cell(r) for _, cell in columns] for r in records(frame if shown is None else shown)]
    return _table(results, title, caption, frame, [c for c, _ in columns], rows, notes, len(columns))


def pivot(
    results: Results,
    title: str,
    caption: str,
    frame: pd.DataFrame,
    start: Sequence[Shown],
    across: tuple[str, Mapping[Hashable, Column]],
    cell: Callable[[Record], Cell],
    *,
    shown: pd.DataFrame | None = None,
    notes: Sequence[str] = (),
) -> Table:
    """Records of the frame (or of ``shown``) with the same first cells share a row.

    across: a key, and the column of each of its values; – where a column has no record.
    """
    start, (key, columns) = [*_place(results), *start], across
    places = list(columns)
    rows: dict[tuple[str, ...], list[Cell]] = {}
    for r in records(frame if shown is None else shown):
        first = [c(r) for _, c in start]
        row = rows.setdefault(tuple(c.text for c in first), first + [Cell("–")] * len(places))
        row[len(start) + places.index(r[key])] = cell(r)
    heads = [*(c for c, _ in start), *columns.values()]
    return _table(results, title, caption, frame, heads, list(rows.values()), notes, len(start))


def by_shots(results: Results) -> tuple[str, Mapping[Hashable, Column]]:
    """A column for each number of shots; a phone shows the fewest and the most."""
    ends = (results.shots[:1], results.shots[-1:])
    return "shots", {n: Column(shots(n), wide=[n] not in ends) for n in results.shots}


def records(frame: pd.DataFrame) -> list[Record]:
    return [{str(k): v for k, v in r.items()} for r in frame.to_dict("records")]


def _table(
    results: Results,
    title: str,
    caption: str,
    frame: pd.DataFrame,
    columns: list[Column],
    rows: list[list[Cell]],
    notes: Sequence[str],
    first: int,
) -> Table:
    """Without columns that say nothing: those of –, and, of the first, counts that are the same in every row."""
    kept, same = [], []
    for i, column in enumerate(columns):
        texts = {row[i].text for row in rows}
        a_count = i < first and column.numeric and "(" not in column.label
        if len(rows) > 1 and (texts == {"–"} or (len(texts) == 1 and a_count)):
            same += [f"{column.label}: {rows[0][i].text}."] * (texts != {"–"})
        else:
            kept.append(i)
    one = [f"Data set: {results.datasets[0]}."] if len(results.datasets) == 1 else []
    one += [f"Model: {results.models[0]}."] if len(results.models) == 1 else []
    several = {r for r in frame.get("dataset", ()) if r == AVERAGE}
    average = ["Average: plain mean over data sets."] if several else []
    return Table(
        title,
        " ".join([caption, *same, *average, *one]),
        frame,
        [columns[i] for i in kept],
        [[row[i] for i in kept] for row in rows],
        tuple(note for note in notes if note),
    )


def _place(results: Results) -> list[Shown]:
    """Data set and model, where there are several."""

    def dataset(r: Record) -> Cell:
        return Cell("average" if r["dataset"] == AVERAGE else r["dataset"])

    several: list[Shown] = []
    if len(results.datasets) > 1:
        several.append((Column("Data set", numeric=False), dataset))
    if len(results.models) > 1:
        several.append((Column("Model", numeric=False), words("model")))
    return several
