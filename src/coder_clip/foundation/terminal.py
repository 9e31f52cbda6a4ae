"""What people see on a terminal: errors in one line, and tables."""

from __future__ import annotations

import io
import sys
from collections.abc import Collection, Sequence

ALL_DIGITS = 8  # more digits of a size in gigabytes than one: to the byte
WIDTH = 100_000  # wider than any terminal: a row is one line, to scroll, and for programs to read


def gigabytes(size: float, more_digits: int = 0) -> str:
    """A size on disk, given in gigabytes, as text: "12.3 GB", "40 MB", at least "1 MB"."""
    if size >= 0.1:
        return f"{size:,.{1 + more_digits}f} GB"
    if more_digits:
        return f"{size * 1000:.{more_digits}f} MB"
    return f"{max(1, round(size * 1000))} MB"


def two_sizes(one: float, other: float) -> tuple[str, str]:
    """Two sizes, given in gigabytes, as texts with as many digits as show which one is larger.

    "1 MB are needed, and 1 MB are free" would explain nothing.
    """
    digits = 0
    while digits < ALL_DIGITS and _shown(one, digits) == _shown(other, digits):
        digits += 1
    return gigabytes(one, digits), gigabytes(other, digits)


def _shown(size: float, more_digits: int) -> float:
    """The size in gigabytes that a reader takes from the text of `gigabytes`."""
    number, unit = gigabytes(size, more_digits).replace(",", "").split()
    if unit == "MB":
        return float(number) / 1000
    return float(number)


def counted(n: int, noun: str) -> str:
    """A number with its noun: "1 image", "1,200 images"."""
    if n == 1:
        return f"1 {noun}"
    return f"{n:,} {noun}s"


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[int] = (),
    bold: Collection[tuple[int, int]] = (),
) -> list[str]:
    """Align columns, two spaces apart: one line for the head and one for each row.

    Bold only on a terminal, not when piped.

    head: empty for none. right: columns that are aligned right. bold: cells (row, column). Wide
    characters (East Asian ones) count as two. Cells are shown as they are, on one line: callers
    escape control characters."""
    if not head and not rows:
        return []
    from rich.console import Console  # 60 ms, and most commands print no table
    from rich.table import Table
    from rich.text import Text

    console = Console(
        file=io.StringIO(), width=WIDTH, force_terminal=sys.stdout.isatty(), highlight=False
    )
    grid = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=bool(head), header_style="bold"
    )
    n_columns = len(head) or max(map(len, rows), default=0)
    for i in range(n_columns):
        title = Text(head[i]) if head else ""
        grid.add_column(title, justify="right" if i in right else "left", no_wrap=True)
    for r, row in enumerate(rows):
        grid.add_row(*(Text(cell, "bold" if (r, c) in bold else "") for c, cell in enumerate(row)))
    with console.capture() as printed:
        console.print(grid)
    # the last column is padded, too
    return [line.rstrip() for line in printed.get().splitlines()]
