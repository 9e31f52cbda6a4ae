"""The claims that a run cannot test, and why."""

from __future__ import annotations

from ..parts import cells, notes
from ..parts.table import Cell, Column, Table
from ..results import Results
from ..verdicts import judged, untested

SECTION = "Claims"
ORDER = 30
PHASES = ("zero_shot", "rerank", "adapter", "evaluation")
DETAIL = True

CAPTION = (
    "Claims whose two sides this run does not have on any data set, with the reasons. They are in "
    "no other table or figure; the CSV of the claims has them."
)


def nothing(results: Results) -> str:
    """Why the table would be empty; "" if it is not."""
    if untested(results):
        return ""
    return "every claim was tested"


def table(results: Results) -> Table:
    """A row for each claim that compares nothing in this run."""
    names = [claim.name for claim in untested(results)]
    frame = judged(results)
    frame = frame[frame["claim"].isin(names)]
    rows = []
    for name in names:
        of_claim = frame[frame["claim"] == name]
        # each reason once, in the order of the data sets
        parts = "; ".join(of_claim["why"]).split("; ")
        why = "; ".join(dict.fromkeys(filter(None, parts)))
        verdicts = ", ".join(dict.fromkeys(of_claim["verdict"]))
        first = of_claim.iloc[0]
        rows.append([Cell(first["statement"]), Cell(verdicts), Cell(why), Cell(first["source"])])
    columns = [
        Column("Claim", numeric=False),
        Column("Verdict", numeric=False, line=True),
        Column("Why", numeric=False, line=True),
        Column("Claimed by", numeric=False, wide=True),
    ]
    return Table(
        "Claims that this run cannot test",
        " ".join(filter(None, [CAPTION, cells.only(results)])),
        frame,
        columns,
        rows,
        tuple(filter(None, [notes.not_here(results)])),
    )
