"""Accuracy against shots: what the few-shot figures are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ...baselines.methods import METHODS
from ..results import Results
from . import layout
from .style import GREY, look

BAND = 0.12  # opacity: five bands lie on each other
ZERO_SHOT = "clip_ensemble"  # a level line: it sees no shots
LEVEL: dict[str, Any] = {"color": GREY, "linestyle": (0, (1, 1.5)), "linewidth": 1.3}


def curves(results: Results, shown: Callable[[str], bool]) -> Figure:
    """Accuracy against shots, a panel a data set and one for their average; of the methods that are to be shown."""
    places: list[tuple[str | None, str]] = [(d, m) for d, m in results if results.shots_of(d)]
    if not places:
        return layout.message("No few-shot runs.")
    if len(results.few_shot) > 1:
        places += [(None, model) for model in results.models]
    figure, panels = layout.panels(len(places), len(results.models))
    methods: dict[str, None] = {}
    for ax, (dataset, model) in zip(panels, places, strict=True):
        for method, (shots, mean, std) in _few_shot_curves(results, dataset, model).items():
            if not shown(method):
                continue
            methods.setdefault(method)
            if method == ZERO_SHOT:
                ax.axhline(100 * mean[0], **LEVEL)
                continue
            line = _look(method, methods)
            ax.plot(shots, 100 * mean, **line, markeredgecolor="white", markeredgewidth=0.5)
            ax.fill_between(
                shots, 100 * (mean - std), 100 * (mean + std), color=line["color"], alpha=BAND, linewidth=0
            )
        layout.set_title(ax, results, dataset or "average", model)
        ax.set_xscale("log", base=2)
        if results.shots:
            ax.set_xticks(results.shots, [str(s) for s in results.shots])
        ax.minorticks_off()
        ax.yaxis.set_major_locator(MaxNLocator(5))
    layout.outer_labels(panels, "Shots a class", "Top-1 accuracy (%)")
    handles = []
    for method in (m for m in METHODS if m in methods):
        label = METHODS[method].label
        line = LEVEL if method == ZERO_SHOT else _look(method, methods)
        handles.append(Line2D([], [], label=label, **line))
    layout.legend_below(figure, handles)
    return figure


def _look(method: str, seen: Iterable[str]) -> dict[str, Any]:
    """A method's line; a spare one where it declares none, another for each of those seen."""
    lines = {m: METHODS[m].line if m in METHODS else None for m in seen if m != ZERO_SHOT}
    spare = [m for m, line in lines.items() if line is None]
    return look(lines[method], spare.index(method) if method in spare else 0)


def _few_shot_curves(
    results: Results, dataset: str | None, model: str
) -> dict[str, tuple[Sequence[int], Any, Any]]:
    """Method -> shots, means, standard deviations; of the average over data sets where dataset is None."""
    found: dict[str, list[tuple[int, float, float]]] = {}
    for shots in results.shots:
        document = results.adapter(dataset or results.few_shot[0], model, shots)
        setting = results.few_shot_setting(document)
        for s in document["summary"]:
            if s["setting"] != setting:
                continue
            mean, std = s["accuracy"]["mean"], s["accuracy"]["std"]
            if dataset is None:
                runs = list(results.average_runs(model, s["method"], shots).values())
                if not runs:
                    continue
                mean, std = np.mean(runs), np.std(runs, ddof=1) if len(runs) > 1 else 0.0
            found.setdefault(s["method"], []).append((shots, float(mean), float(std)))
    return {
        method: (
            [p[0] for p in points],
            np.array([p[1] for p in points]),
            np.array([p[2] for p in points]),
        )
        for method, points in found.items()
    }
