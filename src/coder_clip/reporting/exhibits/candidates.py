"""The rerank with fewer or more candidates, and the gain of a rerank that never errs."""

from __future__ import annotations

from operator import attrgetter

from ..parts import cells, frames
from ..parts.table import Column, Table
from ..results import Results

SECTION = "Zero-shot"
ORDER = 50
PHASES = ("rerank",)
DETAIL = True

CAPTION = (
    "Top-1 accuracy after a rerank of the k likeliest classes, with its 95 % interval, behind the "
    "gate in use and without one. Oracle: the same with a second stage that picks the true class "
    "whenever it is among the k, which no texts can exceed; without a gate that is the top-k "
    "accuracy. With texts: share of the comparisons without a gate that had one-to-one texts; they "
    "are written for the pairs that the k in use compares. In the setting 'clean', or the one "
    "before it where that reranks nothing."
)
COLUMNS = {  # quantity and gate: label
    ("accuracy", "in_use"): "Top-1, gate in use (%)",
    ("oracle", "in_use"): "Oracle, gate in use (%)",
    ("accuracy", "open"): "Top-1, no gate (%)",
    ("oracle", "open"): "Oracle, no gate (%)",
}
nothing = attrgetter("no_pairs")


def table(results: Results) -> Table:
    """The rerank and its oracle for several numbers of candidates, with and without the gate."""
    rows = []
    for dataset, model in results:
        document = results.rerank(dataset, model)
        # the clean setting may rerank nothing; then the nearest setting that reranks is shown
        method = results.rerank_that_looks(document)
        setting = method["setting"] if method else results.setting_of(document["methods"])
        candidates = [c for c in document["candidates"] if c["setting"] == setting]
        rows += [{"dataset": dataset, "model": model, **c} for c in candidates]
    keys = ["dataset", "model", "setting", "top_k"]
    columns = [*keys, "gate", "looked_at", "accuracy", "oracle", "coverage"]
    frame = frames.tidy(rows, columns, ["accuracy", "oracle"]).astype({"coverage": "float64"})
    # The CSV has one row per gate. The table shows both gates side by side, so the two halves of
    # the frame are joined.
    gates = [
        frame[frame["gate"] == gate].set_index(keys).add_prefix(f"{gate}.")
        for gate in ("in_use", "open")
    ]
    return cells.table(
        results,
        "Candidates of the rerank",
        CAPTION,
        frame,
        [
            (Column("k"), cells.count("top_k")),
            *(
                (Column(label, wide=gate == "open"), cells.accuracy(f"{gate}.{quantity}"))
                for (quantity, gate), label in COLUMNS.items()
            ),
            (Column("With texts (%)", wide=True), cells.share("open.coverage")),
        ],
        shown=gates[0].join(gates[1]).reset_index(),
    )
