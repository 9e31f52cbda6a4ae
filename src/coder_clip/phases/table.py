"""Phase report, tables: CSV, Markdown and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors import UserError, nearest
from ..foundation.artifacts import Paths
from ..reporting.exhibits import TABLES
from ..reporting.formats import write
from ..reporting.results import Results

if TYPE_CHECKING:
    from ..pipeline.config import Config


def run(config: Config, names: Sequence[str] = ()) -> None:
    """Write ``tables/{name}.csv``, ``.md`` and ``.tex``; without names, all tables.

    UserError for an unknown name.
    """
    for name in names:
        if name not in TABLES:
            raise UserError(f"no table '{name}'{nearest(name, TABLES)}")
    results = Results.of(config)
    for name in names or TABLES:
        write(TABLES[name].table(results), Paths(config.results).table(name, ""))
