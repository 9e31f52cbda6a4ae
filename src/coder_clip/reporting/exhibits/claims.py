"""The claims of the paper, and of a later re-evaluation, each with its verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, get_args

import pandas as pd
from matplotlib.figure import Figure

from ...baselines.methods import LABELS
from ...claims import (
    REEVALUATION,
    SETTING,
    SOURCES,
    Claim,
    Comparison,
    Verdict,
    contested,
    over_data_sets,
    verdict,
)
from ...evaluation.intervals import holm
from ..evidence import Judged, Missing, claims_of, few_shot_difference, judge
from ..parts import cells, notes
from ..parts.forest import ForestRow, Mark, forest
from ..parts.style import Drawing, Loader
from ..parts.table import AVERAGE, Cell, Column, Table
from ..results import Results

SECTION = "Claims"
ORDER = 10
PHASES = ("zero_shot", "rerank", "adapter", "evaluation")

FEW = 3  # pairs of data set and model that have a column each; more are counted
CONTESTED = " (?)"
JUDGED = ("shown", "contradicted", "open")
TONES = {"shown": "good", "contradicted": "bad"}
COLUMNS = [
    *(
        "dataset",
        "model",
        "claim",
        "source",
        "verdict",
        "difference",
        "difference_low",
        "difference_high",
    ),
    *(
        "p_value",
        "p_holm",
        "fixed",
        "broke",
        "after",
        "before",
        "measure",
        "shots",
        "other_shots",
        "why",
    ),
    *("data_sets_shown", "data_sets_contradicted", "data_sets_open", "data_sets_not_judged"),
    *("statement", "contradicted_by"),
]
CAPTION = (
    "Two methods on the same test images, in the setting clean (nothing is chosen on test "
    "images): the difference in "
    "percentage points in favour of the claim, with its 95 % interval. Shown: the interval is "
    "above 0. Contradicted: "
    "below 0. Open: it includes 0. Not judged: few-shot methods with one seed. Off or not run: "
    "nothing to compare."
)
SOURCE_NOTE = (
    "; ".join(f"“{name}”: {source}" for name, source in SOURCES.items())
    + ", tested as: the simple one is better (open does not speak against them), with CLIP's "
    "logits on both sides and on neither, because they help whoever has them."
)
# The classifiers of image features alone that the re-evaluation proposes.
IMAGES_ALONE = ("lda", "projected_means")
CLIP = "clip_ensemble"
CONTESTED_NOTE = (
    f"{CONTESTED.strip()}: not confirmed when corrected for all tests of the column (Holm, p_holm)."
)


def table(results: Results) -> Table:
    """The verdict on each claim: by data set, or of many data sets over all of them."""
    frame = judged(results)
    means = [(AVERAGE, model) for model in results.models if AVERAGE in set(frame["dataset"])]
    places = [*results, *means]
    about = f"{CAPTION} {_shots(results)} {SOURCE_NOTE}"
    if counted(results):
        shown = frame[frame["dataset"] == AVERAGE]
        columns, rows = _over_all(results, shown)
    else:
        shown = frame[frame["dataset"] != AVERAGE]
        columns, rows = _by_place(results, frame, places)
    why = _reasons(shown) if not counted(results) else ""
    of_shown = places if not counted(results) else means
    marked = CONTESTED_NOTE if any(CONTESTED in cell.text for row in rows for cell in row) else ""
    return Table(
        "The claims, and whether they hold here",
        " ".join(filter(None, [about, marked, cells.only(results)])),
        frame,
        columns,
        rows,
        tuple(
            filter(
                None,
                [
                    why,
                    _elsewhere(shown),
                    _without_shots(results, of_shown),
                    notes.not_here(results),
                ],
            )
        ),
    )


def draw(results: Results, image: Loader) -> Figure:
    """The difference behind each verdict: a row for each claim, a panel for each column of the
    table.
    """
    frame = judged(results)
    of = {(r["claim"], r["dataset"], r["model"]): r for r in frame.to_dict("records")}
    means = [(AVERAGE, model) for model in results.models if AVERAGE in set(frame["dataset"])]
    many = counted(results)
    places = means if many else [*results, *means]
    groups: dict[str, list[ForestRow]] = {
        "Claims of the paper": [],
        f"Claims of {REEVALUATION}": [],
    }
    for claim in claims_of(results):
        records = [of[claim.name, *place] for place in places]
        small: list[list[Mark]] = []
        # a large mark is a mean, and the small ones are the data sets behind it
        if many:
            each = [[of[claim.name, d, model] for d in results.datasets] for _, model in places]
            small = [[m for m in map(_mark, of_model) if m] for of_model in each]
        row = ForestRow(
            records[0]["statement"],
            [_mark(r) for r in records],
            [r["verdict"] for r in records],
            small,
        )
        groups[
            f"Claims of {REEVALUATION}" if claim.source == REEVALUATION else "Claims of the paper"
        ].append(row)
    titles = [_where(results, *place).replace("mean over data sets", "mean") for place in places]
    return forest(groups, titles, "Difference (points)")


def _mark(r: Mapping[Any, Any]) -> Mark | None:
    """The difference behind a verdict in points; None if there is none."""
    if pd.isna(r["difference"]):
        return None
    value, low, high = (100 * float(r[f"difference{end}"]) for end in ("", "_low", "_high"))
    return Mark(r["verdict"], value, low, high, not contested(r["verdict"], r["p_holm"]))


FIGURE = Drawing(
    draw,
    "The claims at a glance",
    "The difference of the two methods of each claim on the same test images, in percentage "
    "points in favour of the "
    "claim, with its 95 % interval. Colour and shape give the verdict; hollow: not confirmed when "
    "corrected for all "
    "tests (?). Where many data sets are averaged, small marks are the data sets. Panels have "
    "their own scales.",
    "A row for each claim with a marker and an interval for each data set; the numbers are in the "
    "table of claims.",
)


def counted(results: Results) -> bool:
    """True if claims are judged over all data sets, because a column for each would be too many.

    Never for drawn data sets: they are a case and its control, and a mean of the two means nothing.
    """
    many = len(list(results)) > FEW and len(results.datasets) > 1
    return many and results.kind != "drawn"


@lru_cache(maxsize=1)  # two tables and the page ask for it
def judged(results: Results) -> pd.DataFrame:
    """One row for each claim, data set and model, and one over all data sets; p-values corrected by
    group.
    """
    groups = {place: judge(results, *place) for place in results}
    records = [record for found in groups.values() for record in _corrected(results, found)]
    if len(results.datasets) > 1 and results.kind != "drawn":
        for model in results.models:
            records += _overall(results, model, groups)
    frame = pd.DataFrame(records, columns=COLUMNS)
    return frame.astype({c: "Int64" for c in ("fixed", "broke", "shots", *_counts())})


def summary(results: Results) -> list[str]:
    """How many claims hold, and which are contradicted: for each data set and model, or each model
    over all data sets.

    Two sentences each: on the claims of the paper, and on those of the re-evaluation.
    """
    frame = judged(results)
    over_all = frame["dataset"] == AVERAGE
    frame = frame[over_all] if counted(results) else frame[~over_all]
    said = []
    for (dataset, model), rows in frame.groupby(["dataset", "model"], sort=False):
        where = "Over all data sets" if dataset == AVERAGE else f"On {dataset}"
        where += f" with {model}" * (len(results.models) > 1)
        theirs = rows["source"] == REEVALUATION
        said.append(
            f"{where}: of the paper's {(~theirs).sum()} claims {_counted(rows[~theirs])}. "
            f"Of {theirs.sum()} by {REEVALUATION}, who question its "
            f"premise, {_counted(rows[theirs])}."
        )
    return said


def _counted(rows: pd.DataFrame) -> str:
    """The number of claims with each verdict, those that Holm's correction does not confirm apart,
    and what failed.
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
    named = f" (contradicted: {'; '.join(against)})" if against else ""
    return ", ".join(parts) + named


# ---- records


def _record(results: Results, claim: Claim, dataset: str, model: str) -> dict[str, Any]:
    shots = (
        max(results.shots_of(dataset), default=None)
        if dataset != AVERAGE
        else max(results.shots, default=None)
    )
    return {
        "claim": claim.name,
        "source": claim.source,
        "statement": claim.stated(shots),
        "dataset": dataset,
        "model": model,
        "after": claim.after,
        "before": claim.before,
        "measure": claim.measure,
        "contradicted_by": claim.contradicted,
        "shots": shots if claim.uses_labels else None,
        "other_shots": "",
    }


def _corrected(results: Results, found: list[Judged]) -> list[dict[str, Any]]:
    """Records of a data set and model, with p-values corrected for its comparisons."""
    records = []
    for j in found:
        record = {
            **_record(results, j.claim, j.dataset, j.model),
            "verdict": j.verdict,
            "why": j.why,
        }
        record["other_shots"] = _differently(j.verdict, j.fewer)
        records.append(record | (_numbers(j.comparison) if j.comparison else {}))
    return _with_holm(records)


def _overall(
    results: Results, model: str, groups: Mapping[tuple[str, str], list[Judged]]
) -> list[dict[str, Any]]:
    """Records over all data sets of a model."""
    records = []
    for i, claim in enumerate(claims_of(results)):
        # every place has the same claims in the same order, so number i is this claim
        each = [found[i] for (_, m), found in groups.items() if m == model]
        counts: Counter[str] = Counter(j.verdict for j in each)
        none = Comparison(0.0, 0.0, 0.0, 1.0)  # of a rerank that validation switched off
        mean = over_data_sets([j.comparison or none for j in each if j.comparison or j.unchanged])
        record = {**_record(results, claim, AVERAGE, model), **(_numbers(mean) if mean else {})}
        reasons = dict.fromkeys(j.why for j in each if j.why)
        alike = {j.verdict for j in each}
        if mean:
            record["verdict"] = verdict(mean)
        elif len(alike) == 1:
            record["verdict"] = alike.pop()
        else:
            record["verdict"] = "not run"
        record["why"] = "" if mean else "; ".join(reasons) or "fewer than two data sets"
        fewer = {
            n: over_data_sets([j.fewer[n] for j in each if n in j.fewer]) for n in results.shots
        }
        record["other_shots"] = _differently(
            record["verdict"], {n: c for n, c in fewer.items() if c}
        )
        # compared ones by verdict; all other data sets count as not tested
        tested = [counts[v] for v in JUDGED]
        record |= dict(zip(_counts(), [*tested, len(each) - sum(tested)], strict=True))
        records.append(record)
    return _with_holm(records)


def _differently(found: Verdict, fewer: Mapping[int, Comparison]) -> str:
    """The verdicts with fewer shots that are not the verdict with the most; "" if there are
    none.
    """
    if found not in JUDGED:
        return ""
    return "; ".join(
        f"{cells.shots(n)}: {verdict(c)}, {_difference(c)}"
        for n, c in fewer.items()
        if verdict(c) != found
    )


def _difference(c: Comparison) -> str:
    return cells.with_interval(c.difference, c.low, c.high, cells.points)


def _counts() -> list[str]:
    return [c for c in COLUMNS if c.startswith("data_sets_")]


def _numbers(c: Any) -> dict[str, Any]:
    return {
        "difference": c.difference,
        "difference_low": c.low,
        "difference_high": c.high,
        "p_value": c.p_value,
        "fixed": c.fixed,
        "broke": c.broke,
    }


def _with_holm(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # NaN: nothing was compared, which is no test
    nan = float("nan")
    adjusted = holm([r.get("p_value", nan) for r in records])
    return [{**r, "p_holm": p} for r, p in zip(records, adjusted, strict=True)]


# ---- cells


def _by_place(
    results: Results, frame: pd.DataFrame, places: Iterable[tuple[str, str]]
) -> tuple[list[Column], list[list[Cell]]]:
    """A row for each claim; a column for each data set and model, and for the mean over data sets
    if there is one.
    """
    heads = {place: _head(results, *place) for place in places}
    columns = [
        Column("Claim", numeric=False),
        *(Column(head, line=True) for head in heads.values()),
    ]
    columns.append(Column("Claimed by", numeric=False, wide=True))
    of = {(r["claim"], r["dataset"], r["model"]): r for r in frame.to_dict("records")}
    rows = []
    for c in claims_of(results):
        of_claim = [of[c.name, *place] for place in heads]
        rows.append([Cell(of_claim[0]["statement"]), *map(verdict_cell, of_claim), Cell(c.source)])
    return columns, rows


def _over_all(results: Results, frame: pd.DataFrame) -> tuple[list[Column], list[list[Cell]]]:
    """A row for each claim and model: the mean over data sets, and on how many the claim holds."""
    several = len(results.models) > 1
    columns = [Column("Claim", numeric=False), *[Column("Model", numeric=False)] * several]
    columns.append(Column("Mean over data sets", line=True))
    columns += [
        Column(v, wide=True) for v in ("Shown on", "Contradicted on", "Open on", "Not tested on")
    ]
    columns.append(Column("Claimed by", numeric=False, wide=True))
    rows = []
    # claims in their own order; the sort keeps the models of one claim together
    for r in sorted(
        frame.to_dict("records"),
        key=lambda r: [c.name for c in claims_of(results)].index(r["claim"]),
    ):
        row = [Cell(r["statement"]), *[Cell(r["model"])] * several, verdict_cell(r)]
        rows.append([*row, *(Cell(str(r[c]), int(r[c])) for c in _counts()), Cell(r["source"])])
    return columns, rows


def _head(results: Results, dataset: str, model: str) -> str:
    several = len(results.datasets) > 1 or len(results.models) > 1
    return _where(results, dataset, model) if several else "Verdict"


def _where(results: Results, dataset: str, model: str) -> str:
    """The data set and the model, as far as there are several."""
    dataset = "mean over data sets" if dataset == AVERAGE else dataset
    one_model = len(results.models) == 1
    parts = [dataset] * (len(results.datasets) > 1 or one_model) + [model] * (not one_model)
    return ", ".join(parts)


def verdict_cell(r: Mapping[Any, Any]) -> Cell:
    """The verdict with the difference behind it; bold where it is clear."""
    if pd.isna(r["difference"]):
        return Cell(r["verdict"])
    value = cells.with_interval(
        r["difference"], r["difference_low"], r["difference_high"], cells.points
    )
    marked = CONTESTED if contested(r["verdict"], r["p_holm"]) else ""
    tone = TONES.get(r["verdict"], "")
    return Cell(f"{r['verdict']}{marked}, {value}", r["difference"], bold=bool(tone), tone=tone)


def _reasons(frame: pd.DataFrame) -> str:
    """Why claims are off, or were not run or not judged."""
    said = []
    for why, rows in frame[frame["why"] != ""].groupby("why", sort=False):
        claims = list(dict.fromkeys(rows["statement"]))
        named = f"“{claims[0]}”" if len(claims) == 1 else f"{len(claims)} claims"
        said.append(f"{named} on {', '.join(dict.fromkeys(rows['dataset']))}: {why}")
    return f"Without a verdict: {'; '.join(said)}." if said else ""


def _elsewhere(frame: pd.DataFrame) -> str:
    """The claims that have another verdict with fewer shots."""
    said = []
    for r in frame[frame["other_shots"] != ""].to_dict("records"):
        where = "" if r["dataset"] == AVERAGE else f" on {r['dataset']}"
        said.append(f"“{r['statement']}”{where}: {r['other_shots']}")
    return f"Another verdict with fewer shots: {'. '.join(said)}." if said else ""


def _without_shots(results: Results, places: Iterable[tuple[str, str]]) -> str:
    """CLIP minus the re-evaluation's classifiers of image features alone: what CLIP's logits are
    worth beside them.
    """
    said = []
    for method in IMAGES_ALONE:
        each = {place: _clip_minus(results, *place, method) for place in places}
        found = [f"{_where(results, *place)} {_difference(c)}" for place, c in each.items() if c]
        if found:
            said.append(f"minus “{LABELS[method]}”: {', '.join(found)}")
    return f"CLIP's prompt ensemble, which has no shots, {'; '.join(said)}." if said else ""


def _clip_minus(results: Results, dataset: str, model: str, method: str) -> Comparison | None:
    """CLIP minus a classifier of image features with the most shots; of AVERAGE the mean over data
    sets.
    """
    each = []
    # the same conditions as for the claims: the setting clean, and data sets with shots
    for d in [dataset] if dataset != AVERAGE else results.datasets:
        if results.main_setting != SETTING or not results.shots_of(d):
            continue
        with suppress(Missing):
            each.append(
                few_shot_difference(results, d, model, results.shots_of(d)[-1], method, CLIP)[0]
            )
    if dataset == AVERAGE:
        return over_data_sets(each)
    return each[0] if each else None


def _shots(results: Results) -> str:
    most = max((n for d in results.datasets for n in results.shots_of(d)), default=0)
    return f"Few-shot: {cells.shots(most)} per class, {notes.varied(results)}." if most else ""
