"""How much of the rerank's work had one-to-one texts."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..parts import cells, frames, layout
from ..parts.style import GREY, Drawing, Loader
from ..parts.table import Cell, Column, Table
from ..results import Results

SECTION = "Texts"
ORDER = 20
PHASES = ("rerank",)

CAPTION = (
    "For how many of the images that the rerank looks at it had one-to-one texts: for every pair of their likeliest "
    "classes, for some, for none. A pair without texts decides nothing. Comparisons: share of all pairs of all images "
    "looked at. Pairs: how many different ones these are, and how many of them have texts."
)


def table(results: Results) -> Table:
    """Share of rerank decisions and comparisons with texts, in every setting."""
    records: list[dict[str, Any]] = []
    for dataset, model in results:
        for m in frames.in_order(results.rerank(dataset, model)["methods"]):
            decisions, pairs = m["decisions"], m["compared_pairs"]
            records.append(
                {
                    "dataset": dataset,
                    "model": model,
                    "setting": m["setting"],
                    "looked_at": decisions["all"],
                    **{k: _share(decisions[k], decisions["all"]) for k in ("every_pair", "some", "none")},
                    "comparisons": m["coverage"],
                    "pairs": pairs["different"],
                    "pairs_with_text": pairs["with_text"],
                }
            )
    columns = ["dataset", "model", "setting", "looked_at", "every_pair", "some", "none", "comparisons"]
    frame = pd.DataFrame(records, columns=[*columns, "pairs", "pairs_with_text"])
    frame = frame.astype(dict.fromkeys(("every_pair", "some", "none", "comparisons"), "float64"))
    rows = [
        [
            *cells.place_cells(results, r),
            Cell(r["setting"]),
            Cell(str(r["looked_at"]), r["looked_at"]),
            *(Cell(cells.percent(r[k]), r[k]) for k in ("every_pair", "some", "none", "comparisons")),
            Cell(f"{r['pairs_with_text']} of {r['pairs']}", r["pairs"]),
        ]
        for r in records
    ]
    labels = ["Looked at", "Every pair (%)", "Some (%)", "None (%)", "Comparisons (%)", "Pairs with texts"]
    return Table(
        "One-to-one texts: coverage",
        f"{CAPTION}{cells.only(results)}",
        frame,
        [*cells.place(results), Column("Setting", numeric=False), *(Column(label) for label in labels)],
        rows,
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


# ---- the figure


def draw(results: Results, image: Loader) -> Figure:
    """Share of the rerank's comparisons and decisions with texts, against the number of pairs that have them."""
    found = {}
    for dataset, model in results:
        if m := results.rerank_that_looks(results.rerank(dataset, model)):
            found[dataset, model] = m
    if not found:
        return layout.message("The rerank looks at no image in this run.")
    datasets = [d for d in results.datasets if any(d == place[0] for place in found)]
    figure, panels = layout.panels(len(datasets))
    for ax, dataset in zip(panels, datasets, strict=True):
        for i, model in enumerate(results.models):
            if (dataset, model) not in found:
                continue
            m, look = found[dataset, model], layout.model(i)
            at = [p["pairs"] for p in m["coverage_curve"]]
            for key, style in (("comparisons", "-"), ("decisions", "--")):
                ax.plot(at, [100 * p[key] for p in m["coverage_curve"]], color=look["color"], linestyle=style)
            ax.plot(
                max(1, m["compared_pairs"]["with_text"]),
                100 * m["coverage"],
                color=look["color"],
                marker=look["marker"],
                markersize=5.5,
                markeredgecolor="white",
                markeredgewidth=0.7,
                linestyle="",
                clip_on=False,
                zorder=4,
            )
        ax.set_title(layout.plain(dataset) if len(datasets) > 1 else layout.title(results, dataset, ""))
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        ax.xaxis.set_minor_formatter(FuncFormatter(lambda x, _: ""))
        ax.set_ylim(0, 103)
        ax.yaxis.set_major_locator(MaxNLocator(5))
    layout.outer_labels(panels, "Pairs with texts", "Covered (%)")
    handles = [
        Line2D([], [], color=GREY, linestyle="-", label="comparisons"),
        Line2D([], [], color=GREY, linestyle="--", label="decisions, every pair"),
    ]
    several = len(results.models) > 1
    handles += [
        Line2D(
            [],
            [],
            **{**layout.model(i), "linestyle": ""},
            label=f"{layout.plain(model)}, this run" if several else "this run",
        )
        for i, model in enumerate(results.models)
    ]
    layout.legend_below(figure, handles, columns=4)
    return figure


FIGURE = Drawing(
    draw,
    "How many pairs need texts",
    "Share of the rerank's comparisons (solid), and of its decisions with a text for every pair (dashed), if the most "
    "frequently compared pairs of classes had one-to-one texts. Marker: how many of them have texts in this run, and "
    "the share of comparisons they cover. In the setting 'clean', or the one before it where that reranks nothing.",
    "Line charts of coverage in percent against the number of class pairs with one-to-one texts, on a log scale.",
)
