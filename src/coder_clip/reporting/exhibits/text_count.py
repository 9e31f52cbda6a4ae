"""How many texts it takes."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..parts import layout
from ..parts.style import GREY, Drawing, Loader
from ..results import Results

SECTION = "Texts"
ORDER = 30
PHASES = ("evaluation",)


def draw(results: Results, image: Loader) -> Figure:
    """Accuracy of stage one against texts a class: how densely the texts sample."""
    figure, panels = layout.panels(len(results.datasets))
    for ax, dataset in zip(panels, results.datasets, strict=True):
        for i, model in enumerate(results.models):
            draws = results.evaluation(dataset, model)["text_counts"]
            look = layout.model(i)
            at = [d["count"] for d in draws]
            ax.scatter(
                at, [100 * d["accuracy"] for d in draws], s=9, color=look["color"], alpha=0.35, linewidths=0
            )
            counts = sorted(set(at))
            means = [100 * float(np.mean([d["accuracy"] for d in draws if d["count"] == n])) for n in counts]
            ax.plot(
                counts, means, **look, label=layout.plain(model), markeredgecolor="white", markeredgewidth=0.5
            )
        ax.set_title(
            layout.plain(dataset) if len(results.datasets) > 1 else layout.title(results, dataset, "")
        )
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        ax.yaxis.set_major_locator(MaxNLocator(5))
    layout.outer_labels(panels, "Texts a class", "Top-1 accuracy (%)")
    point = Line2D(
        [], [], linestyle="", marker="o", markersize=3, color=GREY, alpha=0.6, label="one random draw"
    )
    models = [
        Line2D(
            [],
            [],
            label="mean over draws" if len(results.models) == 1 else layout.plain(m),
            **layout.model(i),
        )
        for i, m in enumerate(results.models)
    ]
    layout.legend_below(figure, [*models, point])
    return figure


FIGURE = Drawing(
    draw,
    "How many texts it takes",
    "Top-1 accuracy of stage one against texts a class besides its name, drawn at random from all kinds. "
    "Dots: one draw; line: mean over draws. A class that has fewer texts gives all it has; the last point is all texts "
    "of every class, as CODER uses them: beyond the largest class there are no more to draw.",
    "Line charts of accuracy against the number of texts a class.",
)
