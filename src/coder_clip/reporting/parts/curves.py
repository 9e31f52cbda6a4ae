"""Accuracy against shots: what the few-shot figures are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ...baselines.methods import METHODS
from ..results import Results
from . import layout
from .style import GREY, look

BAND = 0.12  # opacity: five bands lie on each other
ZERO_SHOT = "clip_ensemble"  # a level line: it sees no shots
LEVEL: dict[str, Any] = {"color": GREY, "linestyle": (0, (1, 1.5)), "linewidth": 1.3}
Points = list[tuple[int, float, float]]  # shots, mean, standard deviation


def few_shot_curves(results: Results, shown: Callable[[str], bool]) -> Figure:
    """Accuracy against shots, a panel for each data set and one for their average; of the methods to be shown.

    Up to three panels name their lines at the right edge; more have a legend.
    """
    places: list[tuple[str | None, str]] = [(d, m) for d, m in results if results.shots_of(d)]
    if len(results.few_shot) > 1:
        places += [(None, model) for model in results.models]
    direct = len(places) <= 3
    figure, panels = layout.panels(len(places), len(results.models), wide=direct)
    methods: dict[str, None] = {}
    for ax, (dataset, model) in zip(panels, places, strict=True):
        curves = {m: c for m, c in _curves(results, dataset, model).items() if shown(m)}
        methods |= dict.fromkeys(curves)
        for method, points in curves.items():
            at, mean, std = (np.array(column) for column in zip(*points, strict=True))
            if method == ZERO_SHOT:
                ax.axhline(100 * mean[0], **LEVEL)
                continue
            line = _look(method, methods)
            layout.line(ax, at, 100 * mean, line)
            band = 100 * (mean - std), 100 * (mean + std)
            ax.fill_between(at, *band, color=line["color"], alpha=BAND, linewidth=0)
        layout.set_title(ax, results, dataset or "average", model)
        ax.set_xscale("log", base=2)
        ax.set_xticks(results.shots, [str(s) for s in results.shots])
        ax.minorticks_off()
        layout.share_axis(ax, min(results.images(d) for d in ([dataset] if dataset else results.few_shot)))
        if direct and ax is panels[-1]:
            ends = {m: (100 * points[-1][1], _look(m, methods)) for m, points in curves.items()}
            layout.name_lines(ax, {METHODS[m].label: end for m, end in ends.items()})
    layout.outer_labels(panels, "Shots per class", "Top-1 accuracy (%)")
    if not direct:
        names = [m for m in METHODS if m in methods]
        layout.legend_below(figure, [layout.entry(METHODS[m].label, _look(m, methods)) for m in names])
    return figure


def _look(method: str, seen: Iterable[str]) -> dict[str, Any]:
    """A method's line; a spare one where it declares none, another for each of those seen."""
    if method == ZERO_SHOT:
        return LEVEL
    lines = {m: METHODS[m].line if m in METHODS else None for m in seen if m != ZERO_SHOT}
    spare = [m for m, line in lines.items() if line is None]
    return look(lines[method], spare.index(method) if method in spare else 0)


def _curves(results: Results, dataset: str | None, model: str) -> dict[str, Points]:
    """Method -> its points; of the average over data sets where dataset is None."""
    found: dict[str, Points] = {}
    for shots in results.shots:
        document = results.adapter(dataset or results.few_shot[0], model, shots)
        setting = results.setting_of(document["summary"])
        for s in (s for s in document["summary"] if s["setting"] == setting):
            mean, std = s["accuracy"]["mean"], s["accuracy"]["std"]
            if dataset is None:
                runs = list(results.average_runs(model, s["method"], shots).values())
                if not runs:
                    continue
                mean, std = float(np.mean(runs)), float(np.std(runs, ddof=1)) if len(runs) > 1 else 0.0
            found.setdefault(s["method"], []).append((shots, mean, std))
    return found
