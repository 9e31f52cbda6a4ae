"""Phase report, tables: CSV, Markdown and LaTeX."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..reporting.exhibits import exhibit
from ..reporting.formats import write
from ..reporting.results import Results


def run(*, inputs: list[str], out: dict[str, list[str]], scope: dict[str, Any]) -> None:
    """Write tables. inputs: what they show. out: name -> its files. scope: of the results."""
    results = Results(**scope)
    for name, files in out.items():
        write(exhibit(name).table(results), Path(files[0]).with_suffix(""))
