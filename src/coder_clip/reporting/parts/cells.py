"""Format numbers, and make tables of them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import pandas as pd

from ...baselines.methods import LABELS
from ...evaluation import intervals
from ..results import Results
from .table import AVERAGE, Cell, Column, Table

Record = dict[Hashable, Any]
PLACES = ("Data set", "Model")  # the columns that say where a row is from
Shown = tuple[Column, Callable[[Record], Cell]]  # a column, and its cell in the row of a record


# ---- numbers


def percent(value: Any) -> str:
    return "–" if pd.isna(value) else f"{100 * value:.1f}"


def points(value: Any) -> str:
    """A signed difference in percentage points; nothing that rounds to zero has a sign."""
    if pd.isna(value):
        return "–"
    text = f"{100 * value:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", "−")


def with_interval(value: Any, low: Any, high: Any, show: Callable[[Any], str] = percent) -> str:
    """A number with its interval, if there is one: where no image changed, none is known
    (`paired_test`).
    """
    return (
        show(value) if pd.isna(low) or low == high else f"{show(value)} [{show(low)}, {show(high)}]"
    )


def shots(n: int) -> str:
    return f"{n} shot{'s' * (n != 1)}"


# ---- cells of a record


def method(r: Record) -> Cell:
    return Cell(LABELS.get(r["method"], r["method"].replace("_", " ")))


def method_and_shots(r: Record) -> Cell:
    """A method, with its number of shots where that is not 0."""
    return Cell(method(r).text + (f", {shots(r['shots'])}" if r["shots"] else ""))


def words(key: str) -> Callable[[Record], Cell]:
    return lambda r: Cell(str(r[key]))


def count(key: str) -> Callable[[Record], Cell]:
    return lambda r: Cell("–") if pd.isna(r[key]) else Cell(str(r[key]), r[key])


def share(key: str) -> Callable[[Record], Cell]:
    return lambda r: Cell(percent(r[key]), r[key])


def accuracy(key: str = "accuracy") -> Callable[[Record], Cell]:
    """A share with its interval."""
    return lambda r: Cell(with_interval(r[key], r[f"{key}_low"], r[f"{key}_high"]), r[key])


def difference(key: str = "difference") -> Callable[[Record], Cell]:
    """A difference with its interval, bold where it is clear: the one criterion
    (`intervals.clear`).
    """

    def cell(r: Record) -> Cell:
        low, high = r[f"{key}_low"], r[f"{key}_high"]
        clear = intervals.clear({"low": low, "high": high})
        return Cell(with_interval(r[key], low, high, points), r[key], bold=bool(clear))

    return cell


def signed(key: str = "difference") -> Callable[[Record], Cell]:
    """A difference with its interval, which is not judged."""
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
    """One row for each record of the frame, or of ``shown``."""
    columns = [*_place(results), *columns]
    records = (frame if shown is None else shown).to_dict("records")
    rows = [[cell(r) for _, cell in columns] for r in records]
    return _table(
        results, title, caption, frame, [c for c, _ in columns], rows, notes, len(columns)
    )


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
    for r in (frame if shown is None else shown).to_dict("records"):
        first = [c(r) for _, c in start]
        # a new row is full of – at first, and its cells are filled in one by one
        row = rows.setdefault(tuple(c.text for c in first), first + [Cell("–")] * len(places))
        row[len(start) + places.index(r[key])] = cell(r)
    heads = [*(c for c, _ in start), *columns.values()]
    return _table(results, title, caption, frame, heads, list(rows.values()), notes, len(start))


def by_shots(results: Results, unit: str = "") -> tuple[str, Mapping[Hashable, Column]]:
    """A column for each number of shots; a phone shows the fewest and the most. unit: " (%)" or
    so.
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
    """Make a table without columns of –, and without leading columns of places and counts that are
    the same in every
    row: the caption has these."""
    kept, about = [], [caption]
    for i, column in enumerate(columns):
        texts = {row[i].text for row in rows}
        # a label with its unit in brackets belongs to a result, which stays a column even if it is
        # the same everywhere
        counts = column.numeric and "(" not in column.label
        about_all = i < first and (counts or column.label in PLACES)
        if len(rows) > 1 and len(texts) == 1 and (about_all or texts == {"–"}):
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
    """The data set and the model, where there is one, for captions of tables without a column for
    them.
    """
    named = zip(PLACES, (results.datasets, results.models), strict=True)
    return " ".join(f"{what}: {names[0]}." for what, names in named if len(names) == 1)


def _place(results: Results) -> list[Shown]:
    """Data set and model, where there are several."""
    dataset: Shown = (
        Column(PLACES[0], numeric=False),
        lambda r: Cell("average" if r["dataset"] == AVERAGE else r["dataset"]),
    )
    model: Shown = (Column(PLACES[1], numeric=False), words("model"))
    return [dataset] * (len(results.datasets) > 1) + [model] * (len(results.models) > 1)
