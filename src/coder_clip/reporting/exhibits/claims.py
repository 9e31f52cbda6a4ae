"""The claims of the paper, and of a later re-evaluation, each with its verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, get_args

import pandas as pd
from matplotlib.figure import Figure

from ...baselines.methods import CLIP_ENSEMBLE, LABELS
from ...claims import (
    CONTROLS,
    FEWEST,
    PAPER,
    REEVALUATION,
    SETTING,
    SOURCES,
    TWO_DATA_SETS,
    Claim,
    Comparison,
    Verdict,
    contested,
    over_data_sets,
)
from ..evidence import Missing, claims_of, few_shot_difference
from ..outcome import CONTESTED, outcome
from ..parts import cells, notes
from ..parts.forest import ForestRow, Mark, forest
from ..parts.style import Drawing, Loader
from ..parts.table import AVERAGE, Cell, Column, Table
from ..results import Results
from ..verdicts import ONE_DATA_SET, counted, counts_of_data_sets, difference_text, judged, untested

SECTION = "Claims"
ORDER = 10
PHASES = ("zero_shot", "rerank", "adapter", "evaluation")

TONES = {"shown": "good", "contradicted": "bad"}
CAPTION = (
    "Two methods on the same test images, in the setting clean (nothing is chosen on test images): "
    "the difference in percentage points in favour of the claim, with its 95 % interval. Shown: "
    "the interval is above 0. Contradicted: below 0. Open: it includes 0. Not judged: few-shot "
    "methods with fewer than three seeds, or a mean of two data sets. Off or not run: nothing to "
    "compare."
)
SOURCE_NOTE = (
    "; ".join(f"“{name}”: {source}" for name, source in SOURCES.items())
    + ", tested as: the simple one is better (open does not speak against them), with CLIP's "
    "logits on both sides and on neither, because they help whoever has them."
)
# Source -> the heading of its claims; the paper's source names a section, too.
HEADINGS = {
    PAPER: "Claims of the paper",
    CONTROLS: "Would anything else than texts do? (controls)",
    REEVALUATION: f"Claims of {REEVALUATION}",
}
# The classifiers of image features alone that the re-evaluation proposes.
IMAGES_ALONE = ("lda", "projected_means")
CONTESTED_NOTE = (
    f"{CONTESTED.strip()}: not confirmed when corrected for all tests of the column (Holm, p_holm)."
)


def table(results: Results) -> Table:
    """The verdict on each claim: for each data set or, if there are many, over all data sets."""
    frame = judged(results)
    places = shown_places(results)
    here = frame[frame["claim"].isin([claim.name for claim in shown_claims(results)])]
    if counted(results):
        shown = here[here["dataset"] == AVERAGE]
        columns, rows = _over_all(results, shown)
        why = _reasons(shown[shown["why"].isin([ONE_DATA_SET, TWO_DATA_SETS])])
    else:
        shown = here[here["dataset"] != AVERAGE]
        columns, rows = _by_place(results, here, places)
        two = (here["dataset"] == AVERAGE) & (here["why"] == TWO_DATA_SETS)
        why = _reasons(pd.concat([shown, here[two]]))
    about = f"{CAPTION} {_shots(results)} {SOURCE_NOTE}"
    marked = ""
    if any(CONTESTED in cell.text for row in rows for cell in row):
        marked = CONTESTED_NOTE
    below = [
        why,
        _elsewhere(shown),
        _without_shots(results, places),
        notes.one_view(results),
        notes.grouped(results),
        notes.not_here(results),
    ]
    return Table(
        "The claims, and whether they hold here",
        " ".join(filter(None, [about, marked, cells.only(results)])),
        frame,
        columns,
        rows,
        tuple(filter(None, below)),
    )


def draw(results: Results, image: Loader) -> Figure:
    """The difference behind each verdict: a row for each claim, a panel for each column of the
    table.
    """
    frame = judged(results)
    record_of = {(r["claim"], r["dataset"], r["model"]): r for r in frame.to_dict("records")}
    places = shown_places(results)
    groups: dict[str, list[ForestRow]] = {heading: [] for heading in HEADINGS.values()}
    for claim in shown_claims(results):
        records = [record_of[claim.name, *place] for place in places]
        heading = HEADINGS[claim.source.split(",")[0]]
        groups[heading].append(forest_row(results, record_of, records))
    titles = [_where(results, *place).replace("mean over data sets", "mean") for place in places]
    return forest(
        {heading: rows for heading, rows in groups.items() if rows}, titles, "Difference (points)"
    )


def forest_row(
    results: Results,
    record_of: Mapping[tuple[str, str, str], Mapping[Any, Any]],
    records: Sequence[Mapping[Any, Any]],
) -> ForestRow:
    """The row of a figure for one record in each panel.

    record_of: (claim, data set, model) -> its record.
    """
    # a large mark is a mean, and the small marks are the data sets behind it
    small: list[list[Mark]] = []
    if counted(results):
        for r in records:
            of_sets = [record_of[r["claim"], d, r["model"]] for d in results.datasets]
            small.append([mark for mark in map(_mark, of_sets) if mark is not None])
    return ForestRow(
        records[0]["statement"],
        [_mark(r) for r in records],
        [r["verdict"] for r in records],
        small,
    )


def shown_places(results: Results) -> list[tuple[str, str]]:
    """The (data set, model) of each column and panel; the mean over data sets has the name
    AVERAGE.
    """
    frame = judged(results)
    means = [(AVERAGE, model) for model in results.models if AVERAGE in set(frame["dataset"])]
    if counted(results):
        return means
    return [*results, *means]


def _mark(r: Mapping[Any, Any]) -> Mark | None:
    """The difference behind a verdict in points; None if there is none.

    The interval of a mean of two data sets is so wide that no other row could be read beside it.
    """
    if pd.isna(r["difference"]) or (r["dataset"] == AVERAGE and r["verdict"] == "not judged"):
        return None
    value, low, high = (100 * float(r[f"difference{end}"]) for end in ("", "_low", "_high"))
    return Mark(r["verdict"], value, low, high, not contested(r["verdict"], r["p_holm"]))


FIGURE = Drawing(
    draw,
    "The claims at a glance",
    "The difference of the two methods of each claim on the same test images, in percentage points "
    "in favour of the claim, with its 95 % interval. Colour and shape give the verdict; hollow: "
    "not confirmed when corrected for all tests (?). Where many data sets are averaged, small "
    "marks are the data sets. Panels have their own scales.",
    "A row for each claim with a marker and an interval for each data set; the numbers are in the "
    "table of claims.",
)


def shown_claims(results: Results) -> list[Claim]:
    """The claims that the run tests, in the order of HEADINGS, a control by its first measure."""
    without = {claim.name for claim in untested(results)}
    claims = [c for c in claims_of(results) if not c.further and c.name not in without]
    order = list(HEADINGS)
    # the paper's sources have a section behind the comma
    return sorted(claims, key=lambda claim: order.index(claim.source.split(",")[0]))


def summary(results: Results) -> list[str]:
    """How many claims hold, and which are contradicted: a text for each data set and model, or for
    each model over all data sets.

    A text has a sentence on the claims of the paper, on the claims of the re-evaluation, and on
    the controls. Over all data sets, a sentence on what came out is the first.
    """
    frame = judged(results)
    over_all = frame["dataset"] == AVERAGE
    frame = frame[over_all == counted(results)]
    said = []
    for (dataset, model), rows in frame.groupby(["dataset", "model"], sort=False):
        where = f"On {dataset}"
        if dataset == AVERAGE:
            where = "Over all data sets"
        if len(results.models) > 1:
            where += f" with {model}"
        if dataset == AVERAGE:
            said += outcome(rows)
        later, control = rows["source"] == REEVALUATION, rows["source"] == CONTROLS
        of_paper = rows[rows["source"].str.startswith(PAPER)]
        said.append(
            f"{where}: of the paper's {len(of_paper)} claims {_counted(of_paper)}. Of "
            f"{later.sum()} by {REEVALUATION}, who question its premise, {_counted(rows[later])}. "
            f"Of {control.sum()} controls, which ask whether anything else than texts would do, "
            f"{_counted(rows[control])}."
        )
    return said


def _counted(rows: pd.DataFrame) -> str:
    """In words, the number of claims with each verdict, separately for verdicts that Holm's
    correction does not confirm; and the contradicted claims by name.
    """
    unsure = [contested(r["verdict"], r["p_holm"]) for r in rows.to_dict("records")]
    sure: Counter[str] = Counter(rows.loc[[not u for u in unsure], "verdict"])
    doubtful: Counter[str] = Counter(rows.loc[unsure, "verdict"])
    parts = []
    for v in get_args(Verdict):
        # shown and contradicted are named even if there is none
        if sure[v] or v in ("shown", "contradicted"):
            parts.append(f"{sure[v]} {v}")
        if doubtful[v]:
            parts.append(f"{doubtful[v]} more {v}{CONTESTED}")
    against = [
        f"“{r['statement']}”{CONTESTED if u else ''}"
        for r, u in zip(rows.to_dict("records"), unsure, strict=True)
        if r["verdict"] == "contradicted"
    ]
    named = ""
    if against:
        named = f" (contradicted: {'; '.join(against)})"
    return ", ".join(parts) + named


# ---- cells


def _by_place(
    results: Results, frame: pd.DataFrame, places: Iterable[tuple[str, str]]
) -> tuple[list[Column], list[list[Cell]]]:
    """A row for each claim, a column for each data set and model, and one for the mean over data
    sets, if there is one.
    """
    heads = {place: _head(results, *place) for place in places}
    columns = [
        Column("Claim", numeric=False),
        *(Column(head, line=True) for head in heads.values()),
    ]
    columns.append(Column("Claimed by", numeric=False, wide=True))
    record_of = {(r["claim"], r["dataset"], r["model"]): r for r in frame.to_dict("records")}
    rows = []
    for claim in shown_claims(results):
        records = [record_of[claim.name, *place] for place in heads]
        statement, source = Cell(records[0]["statement"]), Cell(claim.source)
        rows.append([statement, *map(verdict_cell, records), source])
    return columns, rows


def _over_all(results: Results, frame: pd.DataFrame) -> tuple[list[Column], list[list[Cell]]]:
    """A row for each claim and model: the mean over data sets, and the number of data sets with
    each verdict.
    """
    several = len(results.models) > 1
    columns = [Column("Claim", numeric=False)]
    if several:
        columns.append(Column("Model", numeric=False))
    columns.append(Column("Mean over data sets", line=True))
    columns += [
        Column(v, wide=True) for v in ("Shown on", "Contradicted on", "Open on", "Not tested on")
    ]
    columns.append(Column("Claimed by", numeric=False, wide=True))
    # claims in their own order; the sort keeps the models of one claim together
    names = [claim.name for claim in shown_claims(results)]
    rows = []
    for r in sorted(frame.to_dict("records"), key=lambda r: names.index(r["claim"])):
        row = [Cell(r["statement"])]
        if several:
            row.append(Cell(r["model"]))
        row.append(verdict_cell(r))
        row += [Cell(str(r[c]), int(r[c])) for c in counts_of_data_sets()]
        rows.append([*row, Cell(r["source"])])
    return columns, rows


def _head(results: Results, dataset: str, model: str) -> str:
    """The label of a place's column."""
    several = len(results.datasets) > 1 or len(results.models) > 1
    if several:
        return _where(results, dataset, model)
    return "Verdict"


def _where(results: Results, dataset: str, model: str) -> str:
    """The data set and the model, each only if there are several; the data set if there is one of
    both.
    """
    several_models = len(results.models) > 1
    parts = []
    if len(results.datasets) > 1 or not several_models:
        parts.append(cells.dataset_name(dataset, "mean over data sets"))
    if several_models:
        parts.append(model)
    return ", ".join(parts)


def verdict_cell(r: Mapping[Any, Any]) -> Cell:
    """The verdict with its difference; bold if the difference is clear."""
    if pd.isna(r["difference"]):
        return Cell(r["verdict"])
    value = cells.with_interval(
        r["difference"], r["difference_low"], r["difference_high"], cells.points
    )
    marked = ""
    if contested(r["verdict"], r["p_holm"]):
        marked = CONTESTED
    tone = TONES.get(r["verdict"], "")
    return Cell(f"{r['verdict']}{marked}, {value}", r["difference"], bold=bool(tone), tone=tone)


def _reasons(frame: pd.DataFrame) -> str:
    """Note on claims that are off, or were not run or not judged: the reasons."""
    said = []
    for why, rows in frame[frame["why"] != ""].groupby("why", sort=False):
        claims = list(dict.fromkeys(rows["statement"]))
        named = f"{len(claims)} claims"
        if len(claims) == 1:
            named = f"“{claims[0]}”"
        places = dict.fromkeys(rows["dataset"].replace(AVERAGE, "the mean"))
        said.append(f"{named} on {', '.join(places)}: {why}")
    if not said:
        return ""
    return f"Without a verdict: {'; '.join(said)}."


def _elsewhere(frame: pd.DataFrame) -> str:
    """Note on claims that have another verdict with fewer shots."""
    said = []
    for r in frame[frame["other_shots"] != ""].to_dict("records"):
        where = f" on {r['dataset']}"
        if r["dataset"] == AVERAGE:
            where = ""
        said.append(f"“{r['statement']}”{where}: {r['other_shots']}")
    if not said:
        return ""
    return f"Another verdict with fewer shots: {'. '.join(said)}."


def _without_shots(results: Results, places: Iterable[tuple[str, str]]) -> str:
    """Note on CLIP minus the re-evaluation's classifiers of image features, for each place.

    It says what CLIP's logits are worth beside these classifiers.
    """
    said = []
    for method in IMAGES_ALONE:
        differences = []
        for place in places:
            comparison = _clip_minus(results, *place, method)
            if comparison:
                differences.append(f"{_where(results, *place)} {difference_text(comparison)}")
        if differences:
            said.append(f"minus “{LABELS[method]}”: {', '.join(differences)}")
    if not said:
        return ""
    return f"CLIP's prompt ensemble, which has no shots, {'; '.join(said)}."


def _clip_minus(results: Results, dataset: str, model: str, method: str) -> Comparison | None:
    """CLIP minus a classifier of image features with the most shots.

    For AVERAGE the mean over data sets. None if there is nothing to compare.
    """
    each = []
    # the same conditions as for the claims: the setting clean, and data sets with shots
    for d in results.datasets if dataset == AVERAGE else [dataset]:
        if results.main_setting != SETTING or not results.shots_of(d):
            continue
        most = results.shots_of(d)[-1]
        with suppress(Missing):
            comparison, seeds = few_shot_difference(results, d, model, most, method, CLIP_ENSEMBLE)
            # in a mean only what would be judged
            if seeds >= FEWEST or dataset != AVERAGE:
                each.append(comparison)
    if dataset == AVERAGE:
        return over_data_sets(each)
    if not each:
        return None
    return each[0]


def _shots(results: Results) -> str:
    """For the caption: the number of shots that few-shot claims are judged with."""
    most = max((n for d in results.datasets for n in results.shots_of(d)), default=0)
    if not most:
        return ""
    return f"Few-shot: {cells.shots(most)} per class, {notes.varied(results)}."
