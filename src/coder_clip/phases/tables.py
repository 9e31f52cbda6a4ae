"""Phase report, tables: CSV, Markdown and LaTeX."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..artifacts import Paths
from ..errors import UserError, nearest
from ..results import Results
from ..tables import TABLES, write

if TYPE_CHECKING:
    from ..config import Config


def run(config: Config, name: str | None = None) -> None:
    """Write ``tables/{name}.csv``, ``.md`` and ``.tex``; without a name, all tables."""
    if name is not None and name not in TABLES:
        raise UserError(f"no table '{name}'{nearest(name, TABLES)}")
    results = Results.of(config)
    for each in TABLES if name is None else [name]:
        write(TABLES[each](results), Paths(config.results).table(each, ""))
