"""Accuracy against the number and the diversity of texts."""

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

CHOSEN = {"diverse": "^", "alike": "v"}


def nothing(results: Results) -> str:
    """Why there is nothing to show; "" if there is."""
    if _shown(results):
        return ""
    return results.names_alone


def _shown(results: Results) -> list[str]:
    """The data sets whose classes have texts besides a name, or many prompts."""
    prompts = [d for d, m in results if results.evaluation(d, m).get("prompts")]
    return [d for d in results.datasets if results.has_texts(d) or d in prompts]


def draw(results: Results, image: Loader) -> Figure:
    """Accuracy of stage one against texts per class: how densely the texts sample."""
    # Dots are random subsets of the texts, the line is their mean. Marks are subsets chosen for
    # being diverse or alike: the distance to the line shows what the choice of texts matters
    # beside their number.
    datasets = _shown(results)
    figure, panels = layout.panels(len(datasets))
    for ax, dataset in zip(panels, datasets, strict=True):
        for i, model in enumerate(results.models):
            document, look = results.evaluation(dataset, model), layout.model(i)
            draws = document["text_counts"]
            at = [d["count"] for d in draws]
            share = 100 * np.array([d["accuracy"] for d in draws])
            ax.scatter(at, share, s=9, color=look["color"], alpha=0.35, linewidths=0)
            counts = sorted(set(at))
            means = [share[np.array(at) == count].mean() for count in counts]
            layout.line(ax, counts, means, look)
            for choice in document["text_choices"]:
                marker = {**look, "marker": CHOSEN[choice["chosen"]]}
                layout.mark(ax, choice["count"], 100 * choice["accuracy"], marker, size=5)
        layout.set_title(ax, results, dataset)
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        layout.share_axis(ax, results.images(dataset))
    layout.outer_labels(panels, "Texts per class", "Top-1 accuracy (%)")
    chosen = [
        layout.entry(f"most {name} texts", {"marker": m}, dashes="") for name, m in CHOSEN.items()
    ]
    models = [layout.entry(m, layout.model(i)) for i, m in layout.named_models(results)]
    layout.legend_below(figure, [*models, *chosen])
    return figure


FIGURE = Drawing(
    draw,
    "How many texts it takes",
    "Top-1 accuracy of stage one against texts per class besides its name, drawn at random from "
    "each kind in proportion. Dots: one draw; line: mean over draws; triangles: as many texts of "
    "each kind, the most diverse and the most alike ones by the mean cosine between two of a kind. "
    "A class that has fewer texts gives all it has; the last point is all texts of every class, as "
    "CODER uses them: no class has more.",
    "Line charts of accuracy against the number of texts per class, with marks for diverse and for "
    "alike texts.",
)
