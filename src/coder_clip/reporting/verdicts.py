"""The verdicts on the claims of a run, as the phase evaluation stored them."""

from __future__ import annotations

from functools import lru_cache

import pandas as pd

from ..claims import FEWEST_SETS, JUDGED, MEASURES, Claim, claims
from .parts.cells import Record
from .results import AVERAGE, Results

COLUMNS = [
    *("dataset", "model", "claim", "source", "verdict"),
    *("difference", "difference_low", "difference_high"),
    *("over_classes_low", "over_classes_high", "p_value", "p_holm", "fixed", "broke"),
    *("after", "before", "measure", "over", "exploratory", "shots", "why"),
    *("data_sets_shown", "data_sets_contradicted", "data_sets_open", "data_sets_not_judged"),
    *("data_sets_off", "statement"),
]
WHOLE = ("fixed", "broke", "shots", *(c for c in COLUMNS if c.startswith("data_sets_")))


def counted(results: Results) -> bool:
    """True if claims are shown over all data sets: where these are enough for a verdict.

    Never for drawn data sets: they are a case and its control, and a mean of the two means nothing.
    """
    return len(results.datasets) >= FEWEST_SETS and results.kind != "drawn"


@lru_cache(maxsize=1)  # several parts of a page ask for it
def records(results: Results) -> dict[tuple[str, str, str], Record]:
    """(claim, data set, model) -> its record in results/claims.json, with the claim itself.

    The data set is AVERAGE for the mean over data sets.
    """
    by_id = {claim.id: claim for claim in claims()}
    found: dict[tuple[str, str, str], Record] = {}
    for r in results.claims()["claims"]:
        found[r["claim"], r["dataset"], r["model"]] = {**r, "about": by_id[r["claim"]]}
    return found


def tested(results: Results) -> list[Claim]:
    """The claims that have a record, in the order of their table."""
    some = {claim for claim, _, _ in records(results)}
    return [claim for claim in claims() if claim.id in some]


def places(results: Results) -> list[tuple[str, str]]:
    """The (data set, model) of each column: the means over data sets, if `counted`, or each."""
    if counted(results):
        return [(AVERAGE, model) for model in results.models]
    return list(results)


def frame(results: Results) -> pd.DataFrame:
    """A row of COLUMNS for each record."""
    rows = []
    for r in records(results).values():
        claim, d, over = r["about"], r["difference"], r["over_classes"] or {}
        judged_on = r["judged_on"] if r["verdict"] in JUDGED else d
        rows.append(
            {
                **{key: r[key] for key in ("dataset", "model", "claim", "verdict", "shots", "why")},
                **{key: getattr(claim, key) for key in ("source", "after", "before", "over")},
                "statement": claim.statement,
                "measure": MEASURES[claim.measure],
                "exploratory": claim.exploratory,
                "difference": d["value"],
                "difference_low": d["low"],
                "difference_high": d["high"],
                "over_classes_low": over.get("low"),
                "over_classes_high": over.get("high"),
                "p_value": judged_on["p_value"],
                "p_holm": r["p_holm"],
                "fixed": d["fixed"],
                "broke": d["broke"],
                **{
                    f"data_sets_{verdict.replace(' ', '_')}": n
                    for verdict, n in r.get("data_sets", {}).items()
                },
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(WHOLE, "Int64"))
