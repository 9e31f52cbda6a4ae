"""How many pairs of classes need one-to-one texts."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..results import Results
from . import parts
from .style import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILLION, Drawing, Loader

COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE)
MARKERS = ("o", "s", "^", "D", "v")


def draw(results: Results, image: Loader) -> Figure:
    """Share of the rerank's comparisons and decisions with texts, against the number of pairs that have them."""
    found = {}
    for dataset, model in results:
        if m := results.rerank_that_looks(results.rerank(dataset, model)):
            found[dataset, model] = m
    if not found:
        return parts.message("The rerank looks at no image in this run.")
    datasets = [d for d in results.datasets if any(d == place[0] for place in found)]
    figure, panels = parts.panels(len(datasets))
    for ax, dataset in zip(panels, datasets, strict=True):
        for i, model in enumerate(results.models):
            if (dataset, model) not in found:
                continue
            m, colour = found[dataset, model], COLOURS[i % len(COLOURS)]
            at = [p["pairs"] for p in m["coverage_curve"]]
            for key, style in (("comparisons", "-"), ("decisions", "--")):
                ax.plot(at, [100 * p[key] for p in m["coverage_curve"]], color=colour, linestyle=style)
            ax.plot(
                max(1, m["compared_pairs"]["with_text"]),
                100 * m["coverage"],
                color=colour,
                marker=MARKERS[i % len(MARKERS)],
                markersize=5.5,
                markeredgecolor="white",
                markeredgewidth=0.7,
                linestyle="",
                clip_on=False,
                zorder=4,
            )
        ax.set_title(parts.plain(dataset) if len(datasets) > 1 else parts.title(results, dataset, ""))
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        ax.xaxis.set_minor_formatter(FuncFormatter(lambda x, _: ""))
        ax.set_ylim(0, 103)
        ax.yaxis.set_major_locator(MaxNLocator(5))
    parts.outer_labels(panels, "Pairs with texts", "Covered (%)")
    handles = [
        Line2D([], [], color=GREY, linestyle="-", label="comparisons"),
        Line2D([], [], color=GREY, linestyle="--", label="decisions, every pair"),
    ]
    several = len(results.models) > 1
    handles += [
        Line2D(
            [],
            [],
            color=COLOURS[i % len(COLOURS)],
            linestyle="",
            marker=MARKERS[i % len(MARKERS)],
            label=f"{parts.plain(model)}, this run" if several else "this run",
        )
        for i, model in enumerate(results.models)
    ]
    parts.legend_below(figure, handles, columns=4)
    return figure


FIGURE = Drawing(
    draw,
    "How many pairs need texts",
    "Share of the rerank's comparisons (solid), and of its decisions with a text for every pair (dashed), if the most "
    "frequently compared pairs of classes had one-to-one texts. Marker: how many of them have texts in this run, and "
    "the share of comparisons they cover. In the setting 'clean', or the one before it where that reranks nothing.",
    "Line charts of coverage in percent against the number of class pairs with one-to-one texts, on a log scale.",
    "Texts",
    ("rerank",),
)
