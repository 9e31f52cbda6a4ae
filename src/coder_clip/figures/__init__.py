"""Figures: the paper's Figures 2, 4 and 5, and what texts and the rerank do. One module a figure.

A figure's module holds FIGURE, a `Drawing`: a function from `Results` and an image loader to a matplotlib `Figure`,
and what to say beside it. The command line, the report and the tests find it in FIGURES. Modules are imported by
name when asked for, so that an edit of one redraws that figure alone.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping

from .style import Drawing, Loader, write

__all__ = ["FIGURES", "NAMES", "Drawing", "Loader", "write"]

NAMES = (
    "name_dose",
    "few_shot",
    "few_shot_ablations",
    "tsne",
    "correction",
    "text_count",
    "text_diversity",
    "coverage",
    "rerank_threshold",
    "rerank_pairs",
)


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
