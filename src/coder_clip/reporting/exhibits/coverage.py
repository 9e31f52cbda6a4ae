"""How much of the rerank's work had one-to-one texts."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ..parts import cells, frames, layout
from ..parts.style import Drawing, Loader
from ..parts.table import Cell, Column, Table
from ..results import Results

SECTION = "Texts"
ORDER = 20
PHASES = ("rerank",)
DETAIL = True

CAPTION = (
    "For how many of the images that the rerank looks at it had one-to-one texts: for every pair of their likeliest "
    "classes, for some, for none. A pair without texts decides nothing. Comparisons: share of all pairs of all images "
    "looked at. Pairs: how many different ones these are, and how many of them have texts."
)
SHARES = {"every_pair": "Every pair (%)", "some": "Some (%)", "none": "None (%)"}
SHARES |= {"comparisons": "Comparisons (%)"}


def nothing(results: Results) -> str:
    """Without a rerank nothing is compared."""
    return results.no_pairs


def table(results: Results) -> Table:
    """Share of rerank decisions and comparisons with texts, in every setting."""
    records: list[dict[str, Any]] = []
    for dataset, model in results:
        for m in frames.in_order(results.rerank(dataset, model)["methods"]):
            decisions, pairs = m["decisions"], m["compared_pairs"]
            record = {"dataset": dataset, "model": model, "setting": m["setting"]}
            record["looked_at"] = n = decisions["all"]
            record |= {k: decisions[k] / n if n else None for k in ("every_pair", "some", "none")}
            record |= {"comparisons": m["coverage"], "pairs": pairs["different"]}
            records.append({**record, "pairs_with_text": pairs["with_text"]})
    columns = ["dataset", "model", "setting", "looked_at", *SHARES, "pairs", "pairs_with_text"]
    return cells.table(
        results,
        "One-to-one texts: coverage",
        CAPTION,
        pd.DataFrame(records, columns=columns).astype(dict.fromkeys(SHARES, "float64")),
        [
            (Column("Setting", numeric=False), cells.words("setting")),
            (Column("Looked at"), cells.count("looked_at")),
            *(
                (Column(label, wide=key in ("some", "none")), cells.share(key))
                for key, label in SHARES.items()
            ),
            (
                Column("Pairs with texts"),
                lambda r: Cell(f"{r['pairs_with_text']} of {r['pairs']}", r["pairs"]),
            ),
        ],
    )


def draw(results: Results, image: Loader) -> Figure:
    """Share of the rerank's comparisons and decisions with texts, against the number of pairs that have them."""
    looks = {place: results.rerank_that_looks(results.rerank(*place)) for place in results}
    datasets = [d for d in results.datasets if any(looks[d, m] for m in results.models)]
    figure, panels = layout.panels(len(datasets))
    for ax, dataset in zip(panels, datasets, strict=True):
        for i, model in enumerate(results.models):
            if (m := looks[dataset, model]) is None:
                continue
            look = layout.model(i)
            at = [p["pairs"] for p in m["coverage_curve"]]
            for key, dashes in (("comparisons", "-"), ("decisions", "--")):
                values = [100 * p[key] for p in m["coverage_curve"]]
                ax.plot(at, values, color=look["color"], linestyle=dashes)
            layout.mark(ax, max(1, m["compared_pairs"]["with_text"]), 100 * m["coverage"], look)
        layout.set_title(ax, results, dataset)
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
        ax.xaxis.set_minor_formatter(FuncFormatter(lambda x, _: ""))
        ax.set_ylim(0, 103)
    layout.outer_labels(panels, "Pairs with texts", "Covered (%)")
    this = [
        layout.entry(f"{m}, this run", layout.model(i), dashes="") for i, m in layout.named_models(results)
    ]
    solid = [layout.entry("comparisons"), layout.entry("decisions, every pair", dashes="--")]
    layout.legend_below(figure, [*solid, *(this or [layout.entry("this run", layout.model(0), dashes="")])])
    return figure


FIGURE = Drawing(
    draw,
    "How many pairs need texts",
    "Share of the rerank's comparisons (solid), and of its decisions with a text for every pair (dashed), if the most "
    "frequently compared pairs of classes had one-to-one texts. Marker: how many of them have texts in this run, and "
    "the share of comparisons they cover. In the setting 'clean', or the one before it where that reranks nothing.",
    "Line charts of coverage in percent against the number of class pairs with one-to-one texts, on a log scale.",
)
