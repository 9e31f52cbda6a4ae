"""Format numbers, and make tables of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from ...baselines.methods import LABELS
from ...evaluation import intervals
from ...foundation.terminal import counted
from ..results import Results
from .table import AVERAGE, Cell, Column, Table

Record = Mapping[Any, Any]
PLACES = ("Data set", "Model")  # the columns that say where a row is from
Shown = tuple[Column, Callable[[Record], Cell]]  # a column, and how a record fills its cell


# ---- numbers


def percent(value: Any) -> str:
    """A share in percent, without the sign; – for NaN."""
    if pd.isna(value):
        return "–"
    return f"{100 * value:.1f}"


def points(value: Any) -> str:
    """A signed difference in percentage points; no sign if it rounds to zero; – for NaN."""
    if pd.isna(value):
        return "–"
    text = f"{100 * value:+.1f}"
    if float(text) == 0:
        return "0.0"
    return text.replace("-", "−")


def with_interval(value: Any, low: Any, high: Any, show: Callable[[Any], str] = percent) -> str:
    """A number with its interval.

    Without an interval (low is NaN, or equals high because no image changed), only the number.
    """
    if pd.isna(low) or low == high:
        return show(value)
    return f"{show(value)} [{show(low)}, {show(high)}]"


def shots(n: int) -> str:
    return counted(n, "shot")


def dataset_name(dataset: str, average: str) -> str:
    """The name of a data set, or what the mean over all of them is called."""
    if dataset == AVERAGE:
        return average
    return dataset


# ---- cells of a record


def method(r: Record) -> Cell:
    return Cell(LABELS.get(r["method"], r["method"].replace("_", " ")))


def method_and_shots(r: Record) -> Cell:
    """A method, and its number of shots if it has any."""
    if r["shots"]:
        return Cell(f"{method(r).text}, {shots(r['shots'])}")
    return method(r)


# Each of the following makes a function from a record to the cell of one of its keys.


def words(key: str) -> Callable[[Record], Cell]:
    """Text."""
    return lambda r: Cell(str(r[key]))


def count(key: str) -> Callable[[Record], Cell]:
    """A whole number; – for NaN."""

    def cell(r: Record) -> Cell:
        if pd.isna(r[key]):
            return Cell("–")
        return Cell(str(r[key]), r[key])

    return cell


def share(key: str) -> Callable[[Record], Cell]:
    """A share in percent."""
    return lambda r: Cell(percent(r[key]), r[key])


def accuracy(key: str = "accuracy") -> Callable[[Record], Cell]:
    """A share with its interval, from the keys KEY, KEY_low and KEY_high."""
    return lambda r: Cell(with_interval(r[key], r[f"{key}_low"], r[f"{key}_high"]), r[key])


def difference(key: str = "difference") -> Callable[[Record], Cell]:
    """A difference with its interval, bold if the difference is clear (`intervals.clear`)."""

    def cell(r: Record) -> Cell:
        low, high = r[f"{key}_low"], r[f"{key}_high"]
        clear = intervals.clear({"low": low, "high": high})
        return Cell(with_interval(r[key], low, high, points), r[key], bold=bool(clear))

    return cell


def signed(key: str = "difference") -> Callable[[Record], Cell]:
    """A difference with its interval, never bold."""
    return lambda r: Cell(with_interval(r[key], r[f"{key}_low"], r[f"{key}_high"], points), r[key])


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
    """A table with one row for each record of the frame, or of ``shown`` if given.

    frame: the CSV. shown: the records that readers see, if these are others.
    """
    columns = [*place(results), *columns]
    if shown is None:
        shown = frame
    records = shown.to_dict("records")
    rows = [[cell(r) for _, cell in columns] for r in records]
    heads = [column for column, _ in columns]
    return _table(results, title, caption, frame, heads, rows, notes, len(columns))


def pivot(
    results: Results,
    title: str,
    caption: str,
    frame: pd.DataFrame,
    start: Sequence[Shown],
    across: tuple[str, Mapping[Any, Column]],
    cell: Callable[[Record], Cell],
    notes: Sequence[str] = (),
) -> Table:
    """A table with one row for all records with the same cells in the columns ``start``.

    across: a key of the records, and a column for each value of this key, which ``cell`` fills from
    the record with this value; – without such a record.
    """
    start = [*place(results), *start]
    key, columns = across
    values = list(columns)
    rows: dict[tuple[str, ...], list[Cell]] = {}  # by the text of the first cells
    for r in frame.to_dict("records"):
        first = [fill(r) for _, fill in start]
        # a new row is full of – at first, and its cells are filled in one by one
        row = rows.setdefault(tuple(c.text for c in first), first + [Cell("–")] * len(values))
        row[len(start) + values.index(r[key])] = cell(r)
    heads = [*(column for column, _ in start), *columns.values()]
    return _table(results, title, caption, frame, heads, list(rows.values()), notes, len(start))


def by_shots(results: Results, unit: str) -> tuple[str, Mapping[Any, Column]]:
    """``across`` of `pivot`: a column for each number of shots.

    A phone shows only the fewest and the most. unit: follows the number in the column's label.
    """
    ends = (results.shots[:1], results.shots[-1:])
    return "shots", {n: Column(shots(n) + unit, wide=[n] not in ends) for n in results.shots}


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
    """Make a table without columns that hold only –.

    A place or a count that is the same in every row moves from its column to the caption.

    first: number of leading columns, which say what a row is about.
    """
    kept, about = [], [caption]  # indices of columns, sentences of the caption
    for i, column in enumerate(columns):
        texts = {row[i].text for row in rows}
        # a label with a unit in brackets belongs to a result, not to a count; results stay columns
        is_count = column.numeric and "(" not in column.label
        can_move = i < first and (is_count or column.label in PLACES)
        if len(rows) > 1 and len(texts) == 1 and (can_move or texts == {"–"}):
            about += [f"{column.label}: {text}." for text in texts if text != "–"]
        else:
            kept.append(i)
    if AVERAGE in set(frame.get("dataset", ())):
        about.append("Average: plain mean over data sets.")
    about.append(only(results))
    shown = [[row[i] for i in kept] for row in rows]
    return Table(
        title,
        " ".join(filter(None, about)),
        frame,
        [columns[i] for i in kept],
        shown,
        tuple(filter(None, notes)),
    )


def only(results: Results) -> str:
    """For a caption: data set and model, each only if there is a single one."""
    named = zip(PLACES, (results.datasets, results.models), strict=True)
    return " ".join(f"{place}: {names[0]}." for place, names in named if len(names) == 1)


def place(results: Results) -> list[Shown]:
    """The first columns: data set and model, each only if there are several."""
    columns: list[Shown] = []
    if len(results.datasets) > 1:
        dataset = Column(PLACES[0], numeric=False)
        columns.append((dataset, lambda r: Cell(dataset_name(r["dataset"], "average"))))
    if len(results.models) > 1:
        columns.append((Column(PLACES[1], numeric=False), words("model")))
    return columns
