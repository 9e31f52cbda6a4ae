"""Captions for `snakemake --report`, from those of the tables and figures: `python -m coder_clip.captions`.

Writes workflow/report/{table,figure}_NAME.rst, which the rules name. A test compares them with what this writes.
"""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Sequence
from pathlib import Path

from . import figures, tables
from .artifacts import write_text

FOLDER = Path("workflow/report")
BESIDE = {
    "table": "Rounded for people in the Markdown and LaTeX files beside the CSV.",
    "figure": "The PDF beside it is for papers.",
}


def captions() -> dict[str, str]:
    """File name -> caption in reStructuredText."""
    found = {}
    for name in tables.NAMES:
        module = importlib.import_module(f"{tables.__name__}.{name}")
        found[f"table_{name}.rst"] = _caption(module.CAPTION, module.PHASES, BESIDE["table"])
    for name, drawing in figures.FIGURES.items():
        found[f"figure_{name}.rst"] = _caption(drawing.caption, drawing.phases, BESIDE["figure"])
    return found


def _caption(text: str, phases: Sequence[str], beside: str) -> str:
    *first, last = (f"``results/{phase}/``" for phase in phases)
    made = f"{', '.join(first)} and {last}" if first else last
    return "\n\n".join(textwrap.fill(t, 100) for t in (text, f"Made from {made}. {beside}")) + "\n"


if __name__ == "__main__":
    for file, caption in captions().items():
        write_text(FOLDER / file, caption)
