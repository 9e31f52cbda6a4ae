"""How many texts, and how different they are."""

from __future__ import annotations

from typing import Any

from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..parts import layout
from ..parts.style import GREY, Drawing, Loader
from ..results import Results

SECTION = "Texts"
ORDER = 40
PHASES = ("evaluation",)
DETAIL = True

CHOSEN = {"random": ("o", "random draw"), "diverse": ("^", "most diverse"), "alike": ("v", "most alike")}


def nothing(results: Results) -> str:
    """With two texts per class there is nothing to choose."""
    some = any(_points(results, *place) for place in results)
    return "" if some else "no class of this run has more than two texts besides its name"


def draw(results: Results, image: Loader) -> Figure:
    """Accuracy of stage one against how alike a class's texts are, one colour for each number of texts."""
    places = [p for p in results if _points(results, *p)]
    counts = sorted({p["count"] for place in places for p in _points(results, *place)})
    shades = colormaps["viridis"].resampled(256)
    colour = {n: shades(0.88 * i / max(1, len(counts) - 1)) for i, n in enumerate(counts)}
    figure, panels = layout.panels(len(places), len(results.models))
    columns = layout.columns_of(len(places), len(results.models))
    for ax, (dataset, model) in zip(panels, places, strict=True):
        points = sorted(_points(results, dataset, model), key=lambda p: p["diversity"])
        for n in counts:
            of_count = [p for p in points if p["count"] == n]
            chosen = [p for p in of_count if p["chosen"] != "random"]
            ax.plot(*_xy(chosen), color=colour[n], linewidth=0.9, alpha=0.7)
            for key, (marker, _) in CHOSEN.items():
                for xy in zip(*_xy([p for p in of_count if p["chosen"] == key]), strict=True):
                    size = 4 if key == "random" else 5.5
                    layout.mark(ax, *xy, {"color": colour[n], "marker": marker}, size)
        layout.set_title(ax, results, dataset, model)
        ax.invert_xaxis()  # more diverse to the right: better texts on the same side as more of them
        ax.xaxis.set_major_locator(MaxNLocator(4 if columns < layout.PANELS else 2))
        layout.share_axis(ax, results.images(dataset))
    layout.outer_labels(panels, "Cosine within a class", "Top-1 accuracy (%)")
    markers = [layout.entry(label, {"color": GREY, "marker": m}, dashes="") for m, label in CHOSEN.values()]
    numbers = [layout.entry(f"{n} texts", {"color": colour[n], "linewidth": 3}) for n in counts]
    layout.legend_below(figure, [*markers, *numbers], columns=4)
    return figure


def _points(results: Results, dataset: str, model: str) -> list[dict[str, Any]]:
    """Every draw and choice with at least two texts per class; all texts of every class are neither."""
    document = results.evaluation(dataset, model)
    all_ = max(d["count"] for d in document["text_counts"])
    drawn = [{**d, "chosen": "random"} for d in document["text_counts"] if d["count"] < all_]
    return [p for p in [*drawn, *document["text_choices"]] if p["diversity"] is not None]


def _xy(points: list[dict[str, Any]]) -> tuple[list[float], list[float]]:
    return [p["diversity"] for p in points], [100 * p["accuracy"] for p in points]


FIGURE = Drawing(
    draw,
    "How different the texts are",
    "Top-1 accuracy of stage one against the mean cosine between two texts of a class, more diverse to the right, for "
    "several numbers of texts per class besides its name. Dots: texts drawn at random; triangles: the most diverse and "
    "the most alike texts of every class.",
    "Scatter plots of accuracy against the mean cosine between the texts of a class, coloured by their number.",
)
