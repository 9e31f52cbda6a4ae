"""The list of exhibits, in the order of the page.

A module of its own: it reads the source of each exhibit, and a job that makes some of them must not
depend on the others.
"""

from __future__ import annotations

from pathlib import Path

from . import exhibits
from .exhibits import SECTIONS, Exhibit, exhibit


def _place(found: Exhibit) -> tuple[int, str, int, str]:
    """Sort key: the place of an exhibit on the page."""
    # a section that is not listed comes after all listed ones
    known = found.section in SECTIONS
    section = list(SECTIONS).index(found.section) if known else len(SECTIONS)
    return section, found.section, found.order, found.name


_names = (path.stem for path in Path(exhibits.__file__).parent.glob("[!_]*.py"))
EXHIBITS = sorted(map(exhibit, _names), key=_place)
TABLES = {e.name: e for e in EXHIBITS if e.has_table}
FIGURES = {e.name: e for e in EXHIBITS if e.has_figure}
