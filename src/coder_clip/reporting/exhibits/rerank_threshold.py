"""The gate of the rerank."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ...baselines.methods import Line
from ...protocols import SETTINGS
from ..parts import layout
from ..parts.style import DOUBLE, SINGLE, Drawing, Loader, look
from ..results import Results

SECTION = "Zero-shot"
ORDER = 60
PHASES = ("rerank",)

LINES: dict[str, Line] = {
    "clean": ("blue", "-", "o"),
    "corrected": ("green", "-.", "^"),
    "as_published": ("vermillion", "--", "s"),
}


def draw(results: Results, image: Loader) -> Figure:
    """Accuracy, and how many images are looked at, against the threshold of the rerank's gate."""
    places = list(results)
    columns = layout.columns_of(len(places), len(results.models))
    rows = -(-len(places) // columns)
    width = SINGLE if len(places) == 1 else DOUBLE
    figure = Figure(figsize=(width, 2.65 * rows + 0.5), layout="constrained")
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[1.7, 1] * rows)
    seen: dict[str, list[str]] = {}
    for i, (dataset, model) in enumerate(places):
        r, c = divmod(i, columns)
        upper = figure.add_subplot(grid[2 * r, c])
        lower = figure.add_subplot(grid[2 * r + 1, c], sharex=upper)
        document = results.rerank(dataset, model)
        for names, sweep in _sweeps(document):
            line = {k: v for k, v in look(LINES.get(names[-1])).items() if k != "marker"}
            seen.setdefault(names[-1], names)
            at = [s["threshold"] for s in sweep]
            upper.plot(at, [100 * s["accuracy"] for s in sweep], **line)
            lower.plot(at, [s["looked_at"] for s in sweep], **line)
        for m in document["methods"]:
            line = look(LINES.get(m["setting"]))
            mark = {"marker": line["marker"], "color": line["color"], "markersize": 5.5, "zorder": 4}
            at_, accuracy = [m["threshold"]], [100 * m["accuracy"]["value"]]
            upper.plot(at_, accuracy, **mark, linestyle="", markeredgecolor="white", markeredgewidth=0.7)
        layout.set_title(upper, results, dataset, model)
        upper.tick_params(labelbottom=False)
        upper.yaxis.set_major_locator(MaxNLocator(4))
        lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        lower.set_ylim(bottom=0)
        upper.set_xlim(-0.02, 1.02)
        if i + columns >= len(places):
            lower.set_xlabel(layout.narrow("Threshold of the gate", columns))
        if c == 0:
            upper.set_ylabel("Top-1 (%)")
            lower.set_ylabel("Looked at")
    order = [
        s for s in SETTINGS if any(m["setting"] == s for p in places for m in results.rerank(*p)["methods"])
    ]
    handles = []
    for s in order:
        line = look(LINES.get(s))
        dashes: Any = line["linestyle"] if s in seen else ""
        label = s if s in seen else f"{s} (line of {next(k for k, v in seen.items() if s in v)})"
        mark = {"marker": line["marker"], "color": line["color"], "markersize": 5.5}
        handles.append(
            Line2D(
                [], [], label=label, linestyle=dashes, markeredgecolor="white", markeredgewidth=0.7, **mark
            )
        )
    layout.legend_below(figure, handles, "Line: any threshold. Marker: the threshold in use.")
    return figure


FIGURE = Drawing(
    draw,
    "The rerank's gate",
    "Above: top-1 accuracy after the rerank against the threshold of its gate (0 reranks nothing, 1 nearly "
    "everything). Below: test images the gate lets through. Markers: the threshold each setting uses; "
    "settings whose texts do not differ share a line.",
    "Line charts of accuracy and of the number of images looked at against the threshold, with the "
    "thresholds in use marked.",
)


def _sweeps(document: dict[str, Any]) -> list[tuple[list[str], list[dict[str, Any]]]]:
    """Curves over thresholds with the settings that share them: corrected and clean differ in the choice only."""
    curves: dict[tuple[Any, ...], list[str]] = {}
    points: dict[str, list[dict[str, Any]]] = {}
    for p in document["sweep"]:
        points.setdefault(p["setting"], []).append(p)
    for setting, sweep in points.items():
        sweep.sort(key=lambda p: p["threshold"])
        key = tuple((p["threshold"], p["accuracy"], p["looked_at"]) for p in sweep)
        curves.setdefault(key, []).append(setting)
    return [(names, points[names[-1]]) for names in curves.values()]
