"""Tables: tidy numbers in full precision for machines, the same numbers rounded with intervals for people.

One module a table, which holds the function ``table`` from `Results` to `Table`. The command line, the report and the
tests find it in TABLES.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import partial

from ..exhibits import TABLES as NAMES
from ..results import Results
from .base import AVERAGE, METHODS, Cell, Column, Table
from .cells import percent, points
from .formats import LONG, latex, markdown, plain, write

__all__ = [
    "AVERAGE",
    "LONG",
    "METHODS",
    "NAMES",
    "TABLES",
    "Cell",
    "Column",
    "Table",
    "latex",
    "markdown",
    "percent",
    "plain",
    "points",
    "write",
]


def _make(name: str, results: Results) -> Table:
    made: Table = importlib.import_module(f".{name}", __package__).table(results)
    return made


TABLES: dict[str, Callable[[Results], Table]] = {name: partial(_make, name) for name in NAMES}
