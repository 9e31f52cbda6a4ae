"""The verdicts on each data set, where these are too many for a column each."""

from __future__ import annotations

from ..parts import cells
from ..parts.table import AVERAGE, Cell, Column, Table
from ..results import Results
from ..verdicts import counted, judged
from .claims import shown_claims, verdict_cell

SECTION = "Claims"
ORDER = 20
PHASES = ("zero_shot", "rerank", "adapter", "evaluation")
DETAIL = True

CAPTION = (
    "The verdict on each claim for each data set, with the difference behind it; as in the table "
    "above."
)


def nothing(results: Results) -> str:
    """Why the table would say nothing new; "" if it does."""
    if counted(results):
        return ""
    return "the table of claims has a column for each data set"


def table(results: Results) -> Table:
    """The verdicts by claim, data set and model."""
    frame = judged(results)
    tested = [claim.name for claim in shown_claims(results)]
    frame = frame[(frame["dataset"] != AVERAGE) & frame["claim"].isin(tested)]
    return cells.table(
        results,
        "The claims on each data set",
        CAPTION,
        frame,
        [
            (Column("Claim", numeric=False, line=True), lambda r: Cell(r["statement"])),
            (Column("Verdict", numeric=False, line=True), verdict_cell),
        ],
    )
