"""The claims of the paper, and of a later re-evaluation, each with its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from ...claims import CONTROLS, FEWEST_SETS, JUDGED, PAPER, REEVALUATION, SOURCES, Claim, claims
from ..parts import cells, notes
from ..parts.forest import ForestRow, Mark, forest
from ..parts.style import Drawing, Loader
from ..parts.table import Cell, Column, Table
from ..results import AVERAGE, Results
from ..verdicts import counted, frame, places, records, tested

SECTION = "Claims"
ORDER = 10
PHASES = ("claims",)

TONES = {"shown": "good", "contradicted": "bad"}
DOUBTFUL = " (?)"
VERDICTS = (
    "Shown: the interval is above 0. Contradicted: below 0. Open: it includes 0. "
    "(?): not confirmed when corrected for all tests of the run (Holm). "
    "Not judged: few-shot methods with fewer than three seeds, a discriminant of one shot, "
    f"or a mean of fewer than {FEWEST_SETS} data sets. "
    "–: the run has not both sides."
)
CAPTION = (
    "Two methods on the same test images, in the setting clean (nothing is chosen on test images): "
    "the difference in percentage points in favour of the claim, with its 95 % interval. A claim "
    "about texts is judged on classes like these; behind “here” stands the interval on these "
    f"classes alone. Exploratory: the rule came after a first number. {VERDICTS} Off: validation "
    "chose to change nothing."
)
SOURCE_NOTE = (
    "; ".join(f"“{name}”: {source}" for name, source in SOURCES.items())
    + ", tested as: the simple one is better (open does not speak against them), with CLIP's "
    "logits on both sides or on neither, because they help whoever has them."
)
# Source -> the heading of its claims; the paper's source names a section, too.
HEADINGS = {
    PAPER: "Claims of the paper",
    CONTROLS: "Would anything else than texts do? (controls, exploratory)",
    REEVALUATION: f"Claims of {REEVALUATION}",
}


def table(results: Results) -> Table:
    """The verdict on each claim: on each data set, or over all data sets if these are enough."""
    found, shown = records(results), places(results)
    columns = [Column("Claim", numeric=False)]
    columns += [Column(where(results, *place, "mean over data sets"), line=True) for place in shown]
    if counted(results) and len(results.models) == 1:
        columns += [Column(f"{verdict.capitalize()} on", wide=True) for verdict in JUDGED]
    columns.append(Column("Claimed by", numeric=False, wide=True))
    rows = []
    for claim in tested(results):
        row = [Cell(claim.statement)]
        row += [verdict_cell(found.get((claim.id, *place))) for place in shown]
        if counted(results) and len(results.models) == 1:
            of_sets = found.get((claim.id, *shown[0]), {}).get("data_sets", {})
            row += [Cell(str(of_sets.get(v, 0)), of_sets.get(v, 0)) for v in JUDGED]
        by = claim.source
        if claim.exploratory:
            by += ", exploratory"
        rows.append([*row, Cell(by)])
    below = [
        _reasons(results),
        _fewer_shots(results),
        _not_tested(results),
        notes.grouped(results),
        notes.not_here(results),
    ]
    caption = " ".join(filter(None, [CAPTION, _shots(results), SOURCE_NOTE, cells.only(results)]))
    title = "The claims, and whether they hold here"
    return Table(title, caption, frame(results), columns, rows, tuple(filter(None, below)))


def draw(results: Results, image: Loader) -> Figure:
    """The difference behind each verdict: a row for each claim, a panel for each column of the
    table.
    """
    found, shown = records(results), places(results)
    groups: dict[str, list[ForestRow]] = {heading: [] for heading in HEADINGS.values()}
    for claim in tested(results):
        of_claim = [found.get((claim.id, *place)) for place in shown]
        # a large mark is a mean, and the small marks are the data sets behind it
        small: list[list[Mark]] = []
        if counted(results):
            of_sets = [
                [_mark(found.get((claim.id, d, model))) for d in results.datasets]
                for _, model in shown
            ]
            small = [[mark for mark in marks if mark] for marks in of_sets]
        absent = ["–" if r is None else r["verdict"] for r in of_claim]
        row = ForestRow(claim.statement, [_mark(r) for r in of_claim], absent, small)
        groups[HEADINGS[claim.by]].append(row)
    titles = [where(results, *place, "mean") for place in shown]
    return forest(
        {heading: rows for heading, rows in groups.items() if rows}, titles, "Difference (points)"
    )


FIGURE = Drawing(
    draw,
    "The claims at a glance",
    "The difference of the two methods of each claim on the same test images, in percentage points "
    "in favour of the claim, with its 95 % interval; of a claim about texts for classes like "
    "these. Colour and shape give the verdict; hollow: not confirmed when corrected for all tests "
    "(?). Where many data sets are averaged, small marks are the data sets. Panels have their own "
    "scales.",
    "A row for each claim with a marker and an interval for each data set; the numbers are in the "
    "table of claims.",
)


def verdict_cell(r: Mapping[str, Any] | None) -> Cell:
    """The verdict with its difference; bold if the difference is clear."""
    if r is None:
        return Cell("–")
    tone = TONES.get(r["verdict"], "")
    return Cell(said(r), r["difference"]["value"], bold=bool(tone), tone=tone)


def said(r: Mapping[str, Any], here: bool = True) -> str:
    """A record in words: "open, +1.2 [−0.3, +2.7]; here [+0.2, +2.2]".

    here: with the interval on these classes.
    """
    d, over = r["difference"], r["over_classes"]
    judged_on = over or d
    marked = DOUBTFUL if r["verdict"] in TONES and not r["certain"] else ""
    text = cells.with_interval(d["value"], judged_on["low"], judged_on["high"], cells.points)
    if here and over and d["low"] < d["high"]:
        text += f"; here [{cells.points(d['low'])}, {cells.points(d['high'])}]"
    return f"{r['verdict']}{marked}, {text}"


def where(results: Results, dataset: str, model: str, mean: str) -> str:
    """The data set and the model, each only if there are several; the data set if there is one of
    both.
    """
    several_models = len(results.models) > 1
    parts = []
    if len(results.datasets) > 1 or not several_models:
        parts.append(cells.dataset_name(dataset, mean))
    if several_models:
        parts.append(model)
    return ", ".join(parts)


def _mark(r: Mapping[str, Any] | None) -> Mark | None:
    """The difference behind a verdict in points; None if there is none to draw."""
    if r is None or r["verdict"] == "off":
        return None
    # the interval of a mean of few data sets is so wide that no other row could be read beside it
    if r["dataset"] == AVERAGE and r["verdict"] not in JUDGED:
        return None
    d = r["judged_on"]
    sure = r["verdict"] not in TONES or r["certain"]
    value, low, high = (100 * d[end] for end in ("value", "low", "high"))
    return Mark(r["verdict"], value, low, high, sure)


# ---- notes


def _statement(claim: str) -> str:
    """The statement of a claim, quoted."""
    (found,) = (c for c in claims() if c.id == claim)
    return f"“{found.statement}”"


def _reasons(results: Results) -> str:
    """Note on claims that are off or not judged: the reasons."""
    of_reason: dict[str, dict[str, list[str]]] = {}
    for r in records(results).values():
        if r["why"] and (r["dataset"], r["model"]) in places(results):
            of_claims = of_reason.setdefault(r["why"], {})
            of_claims.setdefault(r["claim"], []).append(cells.dataset_name(r["dataset"], "mean"))
    parts = []
    for why, of_claims in of_reason.items():
        named = f"{len(of_claims)} claims"
        if len(of_claims) == 1:
            named = _statement(*of_claims)
        sets = dict.fromkeys(d for of_claim in of_claims.values() for d in of_claim)
        parts.append(f"{named} on {', '.join(sets)}: {why}")
    if not parts:
        return ""
    return f"Without a verdict: {'; '.join(parts)}."


def _fewer_shots(results: Results) -> str:
    """Note on claims that have another verdict with fewer shots."""
    parts = []
    for r in records(results).values():
        if (r["dataset"], r["model"]) not in places(results) or r["verdict"] not in JUDGED:
            continue
        others = [
            f"{cells.shots(f['shots'])}: {f['verdict']}, "
            + cells.with_interval(f["value"], f["low"], f["high"], cells.points)
            for f in r["fewer"]
            if f["verdict"] != r["verdict"]
        ]
        if others:
            on = "" if r["dataset"] == AVERAGE else f" on {r['dataset']}"
            parts.append(f"{_statement(r['claim'])}{on}: {'; '.join(others)}")
    if not parts:
        return ""
    return f"Another verdict with fewer shots: {'. '.join(parts)}."


def _not_tested(results: Results) -> str:
    """Note on claims whose two sides the run does not have on any data set."""
    of_reason: dict[str, list[str]] = {}
    for claim, why in results.claims()["not_tested"].items():
        of_reason.setdefault(why, []).append(_statement(claim))
    parts = [f"{', '.join(named)} ({why})" for why, named in of_reason.items()]
    if not parts:
        return ""
    return f"Not tested here: {'; '.join(parts)}."


def _shots(results: Results) -> str:
    """For the caption: the number of shots that few-shot claims are judged with."""
    most = max((n for d in results.datasets for n in results.shots_of(d)), default=0)
    if not most:
        return ""
    return f"Few-shot: {cells.shots(most)} per class, {notes.varied(results)}."


def of_source(results: Results, source: str) -> list[Claim]:
    """The tested claims of a source, without its section."""
    return [claim for claim in tested(results) if claim.by == source]
