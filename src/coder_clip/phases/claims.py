"""Phase evaluation, the claims: both sides of every claim, compared on the rows of a run."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..baselines.methods import LABELS
from ..claims import (
    DISCRIMINANTS,
    FEWEST,
    FEWEST_SETS,
    JUDGED,
    SETTING,
    Claim,
    claims,
    verdict,
)
from ..datasets import is_part
from ..errors import UserError
from ..evaluation.estimates import compare
from ..evaluation.intervals import LEVEL, holm
from ..evaluation.pooled import pooled
from ..foundation.artifacts import made_by, write_json
from ..reporting.results import AVERAGE, Results

FEW_SEEDS = (
    "one or two seeds say little about other labelled images: three are needed (adapter.seeds)"
)
ONE_SHOT = "one labelled image per class has no covariance, so a discriminant of it is none"
FEW_SETS = f"{FEWEST_SETS} data sets are needed for a verdict on others"
NO_TEXTS = "the classes have no texts besides their names"
UNCHANGED = {"value": 0.0, "low": 0.0, "high": 0.0, "p_value": 1.0, "fixed": 0, "broke": 0}
# sides that are described by texts besides the names
OF_TEXTS = {
    *("coder", "coder_rerank", "description", "random_words"),
    *("coder_adapter", "coder_without_clip"),
}
TEXT_TESTS = {"all texts": "all_against_few", "diverse texts": "diverse_against_alike"}


class Missing(Exception):
    """There is nothing to compare; the message says why."""


def run(*, inputs: list[str], out: str, scope: dict[str, Any], command: str) -> None:
    """Judge every claim. inputs: results of all phases. out: JSON. scope: of the results."""
    write_json(out, {**judged(Results(**scope)), "made_by": made_by(command, inputs)})


def judged(results: Results) -> dict[str, Any]:
    """Both sides of every claim, compared on every data set with every model, and over data sets.

    Keys: claims, the records; not_tested, claim -> why, where it has no record. A claim without
    both sides on a data set has no record there.
    """
    records: list[dict[str, Any]] = []
    missing: dict[str, list[str]] = {}
    # claims of one place after another, because they share its rows
    for (dataset, model), claim in product(results, claims()):
        try:
            records.append(_record(results, claim, dataset, model))
        except Missing as why:
            missing.setdefault(claim.id, []).append(str(why))
    if len(results.datasets) > 1 and results.kind != "drawn":
        for claim, model in product(claims(), results.models):
            each = [r for r in records if (r["claim"], r["model"]) == (claim.id, model)]
            records += _over_data_sets(results, claim, model, each)
    tested = {r["claim"] for r in records}
    not_tested = {
        claim: "; ".join(dict.fromkeys(why))
        for claim, why in missing.items()
        if claim not in tested
    }
    return {"claims": corrected(records), "not_tested": not_tested}


def corrected(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records with p_holm, corrected for all tests of the run, and certain: if a verdict
    survives this.
    """
    # NaN: not judged, which is no test
    judged = [r["verdict"] in JUDGED for r in records]
    p_values = [
        r["judged_on"]["p_value"] if j else np.nan for r, j in zip(records, judged, strict=True)
    ]
    return [
        {**r, "p_holm": p if j else None, "certain": bool(p < 1 - LEVEL)}
        for r, p, j in zip(records, holm(p_values), judged, strict=True)
    ]


# ---- one data set


def _record(results: Results, claim: Claim, dataset: str, model: str) -> dict[str, Any]:
    """A claim on a data set with a model; Missing if it has not both sides there.

    difference: on these classes. over_classes: with an interval for other classes; None where the
    claim is not about classes. judged_on: the one of both that the verdict is about. fewer: the
    comparisons with fewer shots.
    """
    _needs_texts(results, claim, dataset, model)
    shots = results.shots_of(dataset) if claim.uses_labels else []
    most = max(shots, default=None)
    record: dict[str, Any] = {
        "claim": claim.id,
        "dataset": dataset,
        "model": model,
        "shots": most,
        "fewer": [],
        "why": "",
        "over_classes": None,
    }
    if claim.evidence == "few_shot":
        if most is None:
            raise Missing("the data set has no few-shot methods")
        found = {n: _compared(results, claim, dataset, model, n) for n in shots}
        difference, seeds = found.pop(most)
        fewer = [
            {"shots": n, **d, "verdict": verdict(d)}
            for n, (d, of_seeds) in found.items()
            if of_seeds >= FEWEST and not _no_covariance(claim, n)
        ]
        record |= {"difference": difference, "judged_on": difference, "fewer": fewer}
        if seeds < FEWEST:
            return {**record, "verdict": "not judged", "why": FEW_SEEDS}
    elif claim.evidence == "zero_shot":
        off = results.rerank_off(dataset, model) if claim.after == "coder_rerank" else ""
        if off:
            if not results.rerank(dataset, model)["pairs_with_texts"]:
                raise Missing(off)
            # there are texts, and validation chose to change nothing
            unchanged = {"difference": UNCHANGED, "judged_on": UNCHANGED}
            return {**record, **unchanged, "verdict": "off", "why": off}
        difference, _ = _compared(results, claim, dataset, model, None)
        over_classes, _ = _compared(results, claim, dataset, model, None, over="classes")
        record |= {
            "difference": difference,
            "over_classes": over_classes,
            "judged_on": over_classes,
        }
    elif claim.evidence == "neighbours":
        wanted = {"before": claim.before, "after": claim.after}
        of_measures = {
            t["measure"]: t
            for t in _stored(results, claim, dataset, model, "neighbour_tests", wanted)
        }
        if claim.measure not in of_measures:
            raise Missing("no class has two test images")
        test = of_measures.pop(claim.measure)
        record |= {"difference": test, "judged_on": test, "other_measures": of_measures}
    else:
        wanted = {"test": TEXT_TESTS.get(claim.after, "")}
        if claim.before.startswith("all but "):
            wanted = {"test": "kind", "kind": claim.before.removeprefix("all but ")}
        test = _stored(results, claim, dataset, model, "text_tests", wanted)[0]
        over_classes = test["over_classes"]
        record |= {"difference": test, "over_classes": over_classes, "judged_on": over_classes}
    if _no_covariance(claim, most):
        return {**record, "verdict": "not judged", "why": ONE_SHOT}
    return {**record, "verdict": verdict(record["judged_on"])}


def _no_covariance(claim: Claim, shots: int | None) -> bool:
    """True if a side is a discriminant of one shot per class."""
    return shots == 1 and bool({claim.after, claim.before} & set(DISCRIMINANTS))


def _needs_texts(results: Results, claim: Claim, dataset: str, model: str) -> None:
    """Missing if a side is described by texts, and there are only names.

    A model's own vocabulary will do, but not where the texts of the classes are compared.
    """
    if not {claim.after, claim.before} & OF_TEXTS:
        return
    if claim.evidence != "zero_shot" and results.vocabulary(dataset, model):
        return
    if dataset not in results.with_texts or not results.has_texts(dataset):
        raise Missing(NO_TEXTS)


def _compared(
    results: Results,
    claim: Claim,
    dataset: str,
    model: str,
    shots: int | None,
    over: str = "images",
) -> tuple[dict[str, Any], int]:
    """The difference of two methods on the same images, and the number of seeds (or draws).

    over: what the interval is for, ``images`` (or groups of near twins) or ``classes``. Missing if
    a method has no rows; UserError for rows of different images or runs.
    """
    sides = []
    for method in (claim.before, claim.after):
        side = _correct(results, dataset, model, shots, method)
        if side is None:
            raise Missing(f"no results of “{LABELS.get(method, method)}” in the setting {SETTING}")
        sides.append(side)
    (was, ids, labels, groups), (now, now_ids, _, _) = sides
    # a zero-shot method without draws has one run, which fits every draw of the other
    one_run_fits_all = shots is None and 1 in (len(was), len(now))
    if ids != now_ids or not (len(was) == len(now) or one_run_fits_all):
        raise UserError(
            f"results of {claim.before} and {claim.after} are of different images or runs; run "
            "their phase again"
        )
    was, now = np.broadcast_arrays(was, now)
    varied = labels if over == "classes" else groups
    return dict(compare(was, now, groups=varied)), len(now)


@lru_cache(maxsize=128)  # many claims share a method
def _correct(
    results: Results, dataset: str, model: str, shots: int | None, method: str
) -> tuple[NDArray[np.bool_], str, NDArray[np.int64], NDArray[np.int64] | None] | None:
    """Results of a method's runs, or None if it has no rows: which images are right (runs, images);
    a hash of the images' ids in order; the images' labels, and groups (None without groups).
    """
    rows = _rows_by_method(results, dataset, model, shots).get(method)
    if rows is None:
        return None
    # images in the same order in every run, so that results are paired
    runs = "draw" if shots is None else "seed"
    by_run = [r.sort_values("image_id") for _, r in rows.groupby(runs, sort=True)]
    images = by_run[0]
    groups = images["group"].to_numpy() if "group" in rows else None
    ids = hashlib.sha256("\0".join(images["image_id"]).encode()).hexdigest()
    correct = np.stack([r["correct"].to_numpy() for r in by_run])
    return correct, ids, images["label"].to_numpy(), groups


@lru_cache(maxsize=8)  # the numbers of shots of one data set and model, which claims go through
def _rows_by_method(
    results: Results, dataset: str, model: str, shots: int | None
) -> dict[str, pd.DataFrame]:
    """Method -> its rows in the setting of the claims; only methods that have some."""
    if shots is not None:
        rows = results.adapter_rows(dataset, model, shots)
    elif dataset in results.with_texts:
        rows = results.rows_of(dataset, model)
    else:
        raise Missing("the list of text features has none of its classes")
    rows = rows[rows["setting"].isin(("any", SETTING))]
    return {str(method): of_method for method, of_method in rows.groupby("method", sort=False)}


def _stored(
    results: Results, claim: Claim, dataset: str, model: str, key: str, wanted: dict[str, str]
) -> list[dict[str, Any]]:
    """The tests below ``key`` of the phase evaluation that have all ``wanted`` values."""
    tests = results.evaluation(dataset, model)[key]
    found = [t for t in tests if wanted.items() <= t.items()]
    if not found:
        raise Missing(f"the run has no “{claim.after}” beside “{claim.before}” there")
    return found


# ---- over data sets


def _over_data_sets(
    results: Results, claim: Claim, model: str, each: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The record of a claim over data sets, in a list; empty for fewer than two data sets.

    each: its records. A part of another data set counts only where texts of its own are compared.
    """
    each = [r for r in each if claim.evidence == "zero_shot" or not is_part(r["dataset"])]
    # what is not judged on its data set, as of one seed, is in no mean either
    compared = [r for r in each if r["verdict"] in (*JUDGED, "off")]
    mean = pooled([r["difference"] for r in compared])
    if mean is None:
        return []
    fewer = []
    for n in results.shots:
        of_shots = [f for r in compared for f in r["fewer"] if f["shots"] == n]
        of_n = pooled(of_shots)
        if of_n is not None and len(of_shots) >= FEWEST_SETS:
            fewer.append({"shots": n, **of_n, "verdict": verdict(of_n)})
    counts = Counter(r["verdict"] for r in each)
    enough = len(compared) >= FEWEST_SETS
    return [
        {
            "claim": claim.id,
            "dataset": AVERAGE,
            "model": model,
            "shots": max(results.shots, default=None) if claim.uses_labels else None,
            "fewer": fewer,
            "why": "" if enough else FEW_SETS,
            "over_classes": None,
            "difference": {**mean, "fixed": None, "broke": None},
            "judged_on": mean,
            "verdict": verdict(mean) if enough else "not judged",
            "data_sets": {v: counts[v] for v in (*JUDGED, "not judged", "off")},
        }
    ]
