"""Tables for a terminal: the one way to print columns."""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Collection, Sequence

PIPED = 100_000  # columns: wide enough for any row, so that none is wrapped


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Collection[int] = (),
    bold: Collection[tuple[int, int]] = (),
    indent: int = 0,
) -> list[str]:
    """Lines of aligned columns. On a terminal they fit its width, with a bold head; piped, each row is one line.

    head: empty for none. right: columns that are aligned right. bold: cells (row, column). indent: spaces before each
    line. Columns are two spaces apart. Cells are shown as they are: callers escape control characters.
    """
    from rich.console import Console  # 60 ms, and most commands print no table
    from rich.table import Table
    from rich.text import Text

    people = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns - indent if people else PIPED
    console = Console(file=io.StringIO(), width=width, force_terminal=people, highlight=False)
    found = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=bool(head), header_style="bold")
    columns = len(head) or max(map(len, rows), default=0)
    for i in range(columns):
        title = Text(head[i]) if head else ""
        found.add_column(title, justify="right" if i in right else "left", overflow="fold")
    for r, row in enumerate(rows):
        found.add_row(*(Text(cell, "bold" if (r, c) in bold else "") for c, cell in enumerate(row)))
    with console.capture() as printed:
        console.print(found)
    return [" " * indent + line.rstrip() for line in printed.get().splitlines()]
