"""Accuracy against shots: what the few-shot figures are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..methods import METHODS
from ..results import Results
from ..tables.few_shot import average_runs
from . import parts

BAND = 0.12  # opacity: five bands lie on each other


def curves(results: Results, shown: Callable[[str], bool]) -> Figure:
    """Accuracy against shots, a panel a data set and one for their average; of the methods that are to be shown."""
    places: list[tuple[str | None, str]] = [(d, m) for d, m in results if results.shots_of(d)]
    if not places:
        return parts.message("No few-shot runs.")
    if len(results.few_shot) > 1:
        places += [(None, model) for model in results.models]
    figure, panels = parts.panels(len(places), len(results.models))
    methods: dict[str, None] = {}
    for ax, (dataset, model) in zip(panels, places, strict=True):
        for method, (shots, mean, std) in _few_shot_curves(results, dataset, model).items():
            if not shown(method):
                continue
            methods.setdefault(method)
            if method == "clip_ensemble":
                ax.axhline(100 * mean[0], **parts.LEVEL)
                continue
            look = parts.line(method, methods)
            ax.plot(shots, 100 * mean, **look, markeredgecolor="white", markeredgewidth=0.5)
            ax.fill_between(
                shots, 100 * (mean - std), 100 * (mean + std), color=look["color"], alpha=BAND, linewidth=0
            )
        parts.set_title(ax, results, dataset or "average", model)
        ax.set_xscale("log", base=2)
        if results.shots:
            ax.set_xticks(results.shots, [str(s) for s in results.shots])
        ax.minorticks_off()
        ax.yaxis.set_major_locator(MaxNLocator(5))
    parts.outer_labels(panels, "Shots a class", "Top-1 accuracy (%)")
    handles = []
    for method in (m for m in METHODS if m in methods):
        label = METHODS[method]
        look = parts.LEVEL if method == "clip_ensemble" else parts.line(method, methods)
        handles.append(Line2D([], [], label=label, **look))
    parts.legend_below(figure, handles)
    return figure


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
                runs = list(average_runs(results, model, s["method"], shots).values())
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
