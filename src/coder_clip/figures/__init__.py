"""Figures: the paper's Figures 2, 4 and 5, and what texts and the rerank do. One module a figure.

A figure's module holds FIGURE, a `Drawing`: a function from `Results` and an image loader to a matplotlib `Figure`,
and what to say beside it. The command line, the report and the tests find it in FIGURES.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping

from ..exhibits import FIGURES as NAMES
from .style import Drawing, Loader, write

__all__ = ["FIGURES", "NAMES", "Drawing", "Loader", "write"]


class _Figures(Mapping[str, Drawing]):
    def __getitem__(self, name: str) -> Drawing:
        if name not in NAMES:
            raise KeyError(name)
        found: Drawing = importlib.import_module(f".{name}", __package__).FIGURE
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(NAMES)

    def __len__(self) -> int:
        return len(NAMES)


FIGURES: Mapping[str, Drawing] = _Figures()
