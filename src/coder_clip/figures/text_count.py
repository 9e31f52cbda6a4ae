"""How many texts it takes."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..results import Results
from . import parts
from .style import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILLION, Drawing, Loader

_MODEL_LINES: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "linestyle": "-", "marker": "o"},
    {"color": VERMILLION, "linestyle": "--", "marker": "s"},
    {"color": GREEN, "linestyle": "-.", "marker": "^"},
    {"color": PURPLE, "linestyle": ":", "marker": "D"},
    {"color": ORANGE, "linestyle": "-", "marker": "v"},
)


def draw(results: Results, image: Loader) -> Figure:
    """Accuracy of stage one against texts a class: how densely the texts sample."""
    figure, panels = parts.panels(len(results.datasets))
    for ax, dataset in zip(panels, results.datasets, strict=True):
        for i, model in enumerate(results.models):
            draws = results.evaluation(dataset, model)["text_counts"]
            look = _MODEL_LINES[i % len(_MODEL_LINES)]
            at = [d["count"] for d in draws]
            ax.scatter(
                at, [100 * d["accuracy"] for d in draws], s=9, color=look["color"], alpha=0.35, linewidths=0
            )
            counts = sorted(set(at))
            means = [100 * float(np.mean([d["accuracy"] for d in draws if d["count"] == n])) for n in counts]
            ax.plot(
                counts, means, **look, label=parts.plain(model), markeredgecolor="white", markeredgewidth=0.5
            )
        ax.set_title(parts.plain(dataset) if len(results.datasets) > 1 else parts.title(results, dataset, ""))
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(5))
    parts.outer_labels(panels, "Texts a class", "Top-1 accuracy (%)")
    point = Line2D(
        [], [], linestyle="", marker="o", markersize=3, color=GREY, alpha=0.6, label="one random draw"
    )
    models = [
        Line2D([], [], label="mean over draws" if len(results.models) == 1 else parts.plain(m), **s)
        for m, s in zip(results.models, parts.cycle(_MODEL_LINES), strict=False)
    ]
    parts.legend_below(figure, [*models, point])
    return figure


FIGURE = Drawing(
    draw,
    "How many texts it takes",
    "Top-1 accuracy of stage one against texts a class besides its name, drawn at random from all kinds. "
    "Dots: one draw; line: mean over draws. A class that has fewer texts gives all it has; the last point is all texts "
    "of every class, as CODER uses them: beyond the largest class there are no more to draw.",
    "Line charts of accuracy against the number of texts a class.",
    "Texts",
    ("evaluation",),
)
