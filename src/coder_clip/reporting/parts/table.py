"""What a table is."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

AVERAGE = "(average)"  # over data sets; no data set can have this name


@dataclass(frozen=True)
class Column:
    """A column as people see it."""

    label: str
    numeric: bool = True


@dataclass(frozen=True)
class Cell:
    """What stands in a cell, what it is sorted by, and whether it is the best of its group."""

    text: str
    sort: float | str | None = None
    best: bool = False


@dataclass(frozen=True)
class Table:
    """frame: tidy, full precision, shares in [0, 1]. columns, rows: the same rounded, in percent, for people.

    notes: sentences about these results that a reader must not miss, such as images that were left out. optional: the
    report leaves the exhibit out where it has no rows; other empty tables say why they are.
    """

    title: str
    caption: str
    frame: pd.DataFrame
    columns: list[Column]
    rows: list[list[Cell]]
    notes: tuple[str, ...] = ()
    optional: bool = False

    def groups(self) -> list[bool]:
        """For each row, whether a new group (another data set or model) starts with it."""
        width = max(1, sum(c.label in ("Data set", "Model") for c in self.columns))
        keys = [[c.text for c in row[:width]] for row in self.rows]
        return [i > 0 and key != keys[i - 1] for i, key in enumerate(keys)]
