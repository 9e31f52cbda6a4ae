"""The verdicts on the claims of a run, as records: a row for each claim, data set and model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import pandas as pd

from ..claims import (
    FEWEST,
    TWO_DATA_SETS,
    Claim,
    Comparison,
    Verdict,
    over_data_sets,
    verdict,
)
from ..datasets import is_part
from ..evaluation.intervals import holm
from .evidence import Judged, claims_of, judge
from .parts import cells, notes
from .parts.table import AVERAGE
from .results import Results

FEW = 3  # pairs of data set and model that have a column each; more are averaged
ONE_DATA_SET = "one data set cannot give a verdict on others; three are needed"
JUDGED = ("shown", "contradicted", "open")
COLUMNS = [
    "dataset",
    "model",
    "claim",
    "source",
    "verdict",
    "difference",
    "difference_low",
    "difference_high",
    "p_value",
    "p_holm",
    "fixed",
    "broke",
    "after",
    "before",
    "measure",
    "shots",
    "other_shots",
    "groups",
    "why",
    "data_sets_shown",
    "data_sets_contradicted",
    "data_sets_open",
    "data_sets_not_judged",
    "statement",
    "contradicted_by",
]


def counted(results: Results) -> bool:
    """True if claims are judged over all data sets, because a column for each would be too many.

    Never for drawn data sets: they are a case and its control, and a mean of the two means nothing.
    """
    many = len(list(results)) > FEW and len(results.datasets) > 1
    return many and results.kind != "drawn"


@lru_cache(maxsize=1)  # several tables and the page ask for it
def _judgements(results: Results) -> dict[tuple[str, str], list[Judged]]:
    """(data set, model) -> every claim there."""
    return {place: judge(results, *place) for place in results}


def untested(results: Results) -> list[Claim]:
    """The claims that compare nothing anywhere in this run.

    A rerank that validation switched off is a result.
    """
    tested = {
        j.claim.name
        for of_place in _judgements(results).values()
        for j in of_place
        if j.comparison or j.unchanged
    }
    return [claim for claim in claims_of(results) if claim.name not in tested]


@lru_cache(maxsize=1)  # several tables and the page ask for it
def judged(results: Results) -> pd.DataFrame:
    """A row of COLUMNS for each claim, data set and model.

    Also for each claim and model over all data sets (AVERAGE). p-values are corrected per data set
    and model.
    """
    claims_at = _judgements(results)
    records: list[dict[str, Any]] = []
    for claims in claims_at.values():
        records += _corrected(results, claims)
    if len(results.datasets) > 1 and results.kind != "drawn":
        for model in results.models:
            records += _overall(results, model, claims_at)
    frame = pd.DataFrame(records, columns=COLUMNS)
    return frame.astype({c: "Int64" for c in ("fixed", "broke", "shots", *counts_of_data_sets())})


def _record(results: Results, claim: Claim, dataset: str, model: str) -> dict[str, Any]:
    """The columns of a record that do not depend on results."""
    all_shots: Sequence[int] = ()
    if claim.uses_labels and dataset == AVERAGE:
        all_shots = results.shots
    elif claim.uses_labels:
        all_shots = results.shots_of(dataset)
    shots = max(all_shots, default=None)
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
        "shots": shots,
        "other_shots": "",
        "groups": notes.source_of_groups(results, dataset),
    }


def _corrected(results: Results, claims: list[Judged]) -> list[dict[str, Any]]:
    """Records of the claims on one data set and model, with p-values corrected for all of them."""
    records = []
    for j in claims:
        record = _record(results, j.claim, j.dataset, j.model)
        record |= {"verdict": j.verdict, "why": j.why}
        record["other_shots"] = _other_verdicts(j.verdict, j.fewer)
        if j.comparison:
            record |= _numbers(j.comparison)
        records.append(record)
    return _with_holm(records)


def _overall(
    results: Results, model: str, claims_at: Mapping[tuple[str, str], list[Judged]]
) -> list[dict[str, Any]]:
    """Records of the claims over all data sets of a model.

    A part of another data set counts only where its texts are others, in zero-shot claims.

    claims_at: (data set, model) -> its claims.
    """
    records = []
    for i, claim in enumerate(claims_of(results)):
        # every place has the same claims in the same order, so number i is this claim
        each = [
            claims[i]
            for (dataset, m), claims in claims_at.items()
            if m == model and (claim.evidence == "zero_shot" or not is_part(dataset))
        ]
        record = _record(results, claim, AVERAGE, model) | _mean_verdict(each)
        record["other_shots"] = _other_verdicts(record["verdict"], _fewer(results, each))
        # number of data sets by verdict; without a verdict a data set counts as not tested
        verdicts: Counter[str] = Counter(j.verdict for j in each)
        tested = [verdicts[v] for v in JUDGED]
        record |= dict(zip(counts_of_data_sets(), [*tested, len(each) - sum(tested)], strict=True))
        records.append(record)
    return _with_holm(records)


def _mean_verdict(each: Sequence[Judged]) -> dict[str, Any]:
    """The verdict over data sets, why there is none, and the numbers of the mean.

    each: one claim on each data set.
    """
    no_change = Comparison(0.0, 0.0, 0.0, 1.0)  # of a rerank that validation switched off
    # a comparison that is not judged on its data set, as of one seed, is in no mean either
    compared = [j for j in each if j.verdict in JUDGED or j.unchanged]
    mean = over_data_sets([j.comparison or no_change for j in compared])
    if mean:
        if len(compared) < FEWEST:
            return {**_numbers(mean), "verdict": "not judged", "why": TWO_DATA_SETS}
        return {**_numbers(mean), "verdict": verdict(mean), "why": ""}
    if compared:
        return {"verdict": "not judged", "why": ONE_DATA_SET}
    reasons = dict.fromkeys(j.why for j in each if j.why)
    why = "; ".join(reasons) or "fewer than two data sets"
    # the verdict of all data sets, if it is the same
    if len({j.verdict for j in each}) == 1:
        return {"verdict": each[0].verdict, "why": why}
    return {"verdict": "not run", "why": why}


def _fewer(results: Results, each: Sequence[Judged]) -> dict[int, Comparison]:
    """Number of shots -> mean comparison over data sets, for the numbers below the largest."""
    fewer = {}
    for n in results.shots:
        of_shots = [j.fewer[n] for j in each if n in j.fewer]
        mean = over_data_sets(of_shots)
        if mean and len(of_shots) >= FEWEST:
            fewer[n] = mean
    return fewer


def _other_verdicts(most: Verdict, fewer: Mapping[int, Comparison]) -> str:
    """The verdicts with fewer shots that differ from ``most``, the verdict with the most shots; ""
    if there are none.
    """
    if most not in JUDGED:
        return ""
    return "; ".join(
        f"{cells.shots(n)}: {verdict(c)}, {difference_text(c)}"
        for n, c in fewer.items()
        if verdict(c) != most
    )


def difference_text(c: Comparison) -> str:
    """The difference with its interval, in points."""
    return cells.with_interval(c.difference, c.low, c.high, cells.points)


def counts_of_data_sets() -> list[str]:
    """The columns with numbers of data sets: those of JUDGED, and not tested."""
    return [c for c in COLUMNS if c.startswith("data_sets_")]


def _numbers(c: Any) -> dict[str, Any]:
    """The columns of a record that a comparison fills."""
    return {
        "difference": c.difference,
        "difference_low": c.low,
        "difference_high": c.high,
        "p_value": c.p_value,
        "fixed": c.fixed,
        "broke": c.broke,
    }


def _with_holm(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records with p_holm: p_value corrected for the tests of all records."""
    # NaN: nothing was compared or judged, which is no test
    nan = float("nan")
    adjusted = holm([r["p_value"] if r["verdict"] in JUDGED else nan for r in records])
    return [{**r, "p_holm": p} for r, p in zip(records, adjusted, strict=True)]
