"""How many texts it takes."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..parts import layout
from ..parts.style import Drawing, Loader
from ..results import Results

SECTION = "Texts"
ORDER = 30
PHASES = ("evaluation",)


def nothing(results: Results) -> str:
    """Why there is nothing to draw."""
    return results.names_alone


def draw(results: Results, image: Loader) -> Figure:
    """Accuracy of stage one against texts per class: how densely the texts sample."""
    figure, panels = layout.panels(len(results.datasets))
    for ax, dataset in zip(panels, results.datasets, strict=True):
        for i, model in enumerate(results.models):
            draws = results.evaluation(dataset, model)["text_counts"]
            look, at = layout.model(i), [d["count"] for d in draws]
            share = 100 * np.array([d["accuracy"] for d in draws])
            ax.scatter(at, share, s=9, color=look["color"], alpha=0.35, linewidths=0)
            counts = sorted(set(at))
            layout.line(ax, counts, [share[np.array(at) == n].mean() for n in counts], look)
        layout.set_title(ax, results, dataset)
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        layout.share_axis(ax, results.images(dataset))
    layout.outer_labels(panels, "Texts per class", "Top-1 accuracy (%)")
    layout.legend_below(figure, [layout.entry(m, layout.model(i)) for i, m in layout.named_models(results)])
    return figure


FIGURE = Drawing(
    draw,
    "How many texts it takes",
    "Top-1 accuracy of stage one against texts per class besides its name, drawn at random from all kinds. "
    "Dots: one draw; line: mean over draws. A class that has fewer texts gives all it has; the last point is all texts "
    "of every class, as CODER uses them: beyond the largest class there are no more to draw.",
    "Line charts of accuracy against the number of texts per class.",
)
