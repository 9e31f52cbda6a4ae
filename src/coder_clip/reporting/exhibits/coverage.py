"""Coverage of the rerank's comparisons by one-to-one texts."""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from ..parts import cells, frames
from ..parts.table import Cell, Column, Table
from ..results import Results, in_order

SECTION = "Texts"
ORDER = 20
PHASES = ("rerank",)
DETAIL = True

CAPTION = (
    "For how many of the reranked images there were one-to-one texts: for every pair of their "
    "likeliest classes, for some, for none. A pair without texts decides nothing. Comparisons: "
    "share of all pairs of all reranked images. Pairs: how many different ones these are, how many "
    "of them have texts, and how many of the most frequent ones it would take for 90 % of the "
    "comparisons."
)
GOAL = 0.9
SHARES = {
    "every_pair": "Every pair (%)",
    "some": "Some (%)",
    "none": "None (%)",
    "comparisons": "Comparisons (%)",
}
nothing = attrgetter("no_pairs")


def table(results: Results) -> Table:
    """Share of rerank decisions and comparisons with texts, in every setting."""
    records: list[dict[str, Any]] = []
    for dataset, model in results:
        for m in in_order(results.rerank(dataset, model)["methods"]):
            reranked, pairs = m["decisions"]["all"], m["compared_pairs"]
            shares = {k: n / reranked if reranked else None for k, n in m["decisions"].items()}
            # numbers of pairs whose texts cover GOAL of all comparisons; the smallest one is shown,
            # none if all pairs are too few
            enough = [p["pairs"] for p in m["coverage_curve"] if p["comparisons"] >= GOAL]
            records.append(
                {
                    "dataset": dataset,
                    "model": model,
                    "setting": m["setting"],
                    "looked_at": reranked,
                    **shares,
                    "comparisons": m["coverage"],
                    "pairs": pairs["different"],
                    "pairs_with_text": pairs["with_text"],
                    "pairs_for_90": min(enough, default=None),
                }
            )
    counts = ["pairs", "pairs_with_text", "pairs_for_90"]
    frame = frames.tidy(records, ["dataset", "model", "setting", "looked_at", *SHARES, *counts])
    return cells.table(
        results,
        "One-to-one texts: coverage",
        CAPTION,
        frame.astype(dict.fromkeys(SHARES, "float64") | {"pairs_for_90": "Int64"}),
        [
            (Column("Setting", numeric=False), cells.words("setting")),
            (Column("Reranked"), cells.count("looked_at")),
            *(
                (Column(label, wide=key != "every_pair"), cells.share(key))
                for key, label in SHARES.items()
            ),
            (
                Column("Pairs with texts"),
                lambda r: Cell(f"{r['pairs_with_text']} of {r['pairs']}", r["pairs"]),
            ),
            (Column("Pairs for 90 %", wide=True), cells.count("pairs_for_90")),
        ],
    )
