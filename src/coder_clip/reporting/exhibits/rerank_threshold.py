"""The gate of the rerank."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...baselines.methods import Line
from ...protocols import SETTINGS
from ..parts import layout
from ..parts.style import DOUBLE, SINGLE, Drawing, Layout, Loader, look
from ..results import Results

SECTION = "Zero-shot"
ORDER = 60
PHASES = ("rerank",)
DETAIL = True

LINES: dict[str, Line] = {
    "clean": ("blue", "-", "o"),
    "corrected": ("green", "-.", "^"),
    "as_published": ("vermillion", "--", "s"),
}
nothing = attrgetter("no_pairs")


def draw(results: Results, image: Loader) -> Figure:
    """Accuracy, and how many images are reranked, against the threshold of the rerank's gate."""
    # Two axes per data set that share the threshold: accuracy above, reranked images below.
    # Settings with the same curve share one line.
    places = list(results)
    columns = layout.columns_of(len(places), len(results.models))
    rows = -(-len(places) // columns)
    size = (SINGLE if len(places) == 1 else DOUBLE, 2.65 * rows + 0.5)
    figure = Figure(figsize=size, layout=Layout())
    # two axes for each data set, the upper one taller
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[1.7, 1] * rows)
    drawn_as: dict[str, str] = {}  # setting -> the setting whose line its curve has
    for i, (dataset, model) in enumerate(places):
        r, c = divmod(i, columns)
        upper = figure.add_subplot(grid[2 * r, c])
        lower = figure.add_subplot(grid[2 * r + 1, c], sharex=upper)
        document = results.rerank(dataset, model)
        for names, sweep in _sweeps(document):
            # a shared curve has the line of its last setting
            for name in names:
                drawn_as.setdefault(name, names[-1])
            line = {k: v for k, v in look(LINES.get(names[-1])).items() if k != "marker"}
            at = [s["threshold"] for s in sweep]
            upper.plot(at, [100 * s["accuracy"] for s in sweep], **line)
            lower.plot(at, [s["looked_at"] for s in sweep], **line)
        for m in document["methods"]:
            layout.mark(
                upper, m["threshold"], 100 * m["accuracy"]["value"], look(LINES.get(m["setting"]))
            )
        layout.set_title(upper, results, dataset, model)
        layout.share_axis(upper, results.images(dataset))
        upper.tick_params(labelbottom=False)
        lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        lower.set_ylim(bottom=0)
        upper.set_xlim(-0.02, 1.02)
        if i + columns >= len(places):
            lower.set_xlabel(layout.narrow("Threshold of the gate", columns))
        if c == 0:
            upper.set_ylabel("Top-1 (%)")
            lower.set_ylabel("Reranked images")
    handles = []
    for s in SETTINGS:
        if s not in drawn_as:
            continue
        if drawn_as[s] == s:
            handles.append(layout.entry(s, look(LINES.get(s))))
        else:
            # only its marker is on the axes
            name = f"{s} (line of {drawn_as[s]})"
            handles.append(layout.entry(name, look(LINES.get(s)), dashes=""))
    layout.legend_below(figure, handles, "Line: any threshold. Marker: the threshold in use.")
    return figure


FIGURE = Drawing(
    draw,
    "The rerank's gate",
    "Above: top-1 accuracy after the rerank against the threshold of its gate (0 reranks nothing, "
    "1 nearly everything). Below: test images the gate lets through. Markers: the threshold each "
    "setting uses; settings whose texts do not differ share a line.",
    "Line charts of accuracy and of the number of reranked images against the threshold, with the "
    "thresholds in use marked.",
)


def _sweeps(document: dict[str, Any]) -> list[tuple[list[str], list[dict[str, Any]]]]:
    """(settings that share a curve, points of the curve).

    Corrected and clean often differ only in the threshold that they choose.
    """
    curves: dict[tuple[Any, ...], list[str]] = {}  # points of a curve -> settings
    points: dict[str, list[dict[str, Any]]] = {}  # setting -> points
    for p in document["sweep"]:
        points.setdefault(p["setting"], []).append(p)
    for setting, sweep in points.items():
        sweep.sort(key=lambda p: p["threshold"])
        # settings share a curve if all its points are equal
        key = tuple((p["threshold"], p["accuracy"], p["looked_at"]) for p in sweep)
        curves.setdefault(key, []).append(setting)
    return [(names, points[names[-1]]) for names in curves.values()]
