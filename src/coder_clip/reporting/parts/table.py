"""A table: its data for programs, and the cells that readers see."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import pandas as pd

from ..results import AVERAGE as AVERAGE


@dataclass(frozen=True)
class Column:
    """A column as readers see it.

    numeric: aligned right. wide: a phone does not show the column. line: text that a phone shows on
    a line of its own.
    """

    label: str
    numeric: bool = True
    wide: bool = False
    line: bool = False


@dataclass(frozen=True)
class Cell:
    """A cell: its text and what it is sorted by. bold: a clear difference, nothing else.

    tone: "good" or "bad", a colour on the page that repeats what the text says. picture: (data set,
    image id) of an image that the page shows here.
    """

    text: str
    sort: float | str | None = None
    bold: bool = False
    tone: str = ""
    picture: tuple[str, str] | None = None


@dataclass(frozen=True)
class Table:
    """A table.

    frame: tidy, full precision, shares in [0, 1]. columns, rows: the same rounded, in percent, as
    readers see it.

    notes: sentences about these results that a reader must not miss, such as images that were left
    out.
    """

    title: str
    caption: str
    frame: pd.DataFrame
    columns: list[Column]
    rows: list[list[Cell]]
    notes: tuple[str, ...] = ()

    def groups(self) -> list[bool]:
        """For each row True if its data set or model differs from the row before."""
        width = sum(c.label in ("Data set", "Model") for c in self.columns)
        keys = [[c.text for c in row[:width]] for row in self.rows]
        return [i > 0 and key != keys[i - 1] for i, key in enumerate(keys)]

    def keys(self) -> list[str]:
        """For each row its words (data set, method, …) as part of an address, each once."""
        counts: Counter[str] = Counter()
        found = []
        for row in self.rows:
            words = [c.text for c, of in zip(row, self.columns, strict=True) if not of.numeric]
            key = anchor(" ".join(words or [row[0].text]))
            counts[key] += 1
            found.append(key if counts[key] == 1 else f"{key}-{counts[key]}")
        return found


def anchor(words: str) -> str:
    """Words as part of an address within a page."""
    return re.sub(r"\W+", "-", words.lower()).strip("-")


def empty(title: str, why: str) -> Table:
    """A table without rows, and why it has none."""
    return Table(title, f"{why[0].upper()}{why[1:]}.", pd.DataFrame(), [Column("")], [])
