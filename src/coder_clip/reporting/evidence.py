"""The evidence for a claim in the results of a run: its comparison, or why there is none."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..baselines.methods import LABELS
from ..claims import (
    CLAIMS,
    FEW_SEEDS,
    FEWEST,
    NEIGHBOUR_MEASURES,
    SETTING,
    Claim,
    Comparison,
    Verdict,
    verdict,
)
from ..errors import UserError
from ..evaluation.estimates import paired_test_over_seeds
from .results import Results

NO_COMPARISON = "the texts or images allow no such comparison"
# features of a control -> why a data set has none
NO_CONTROL = {
    "other_images": "the run has no other data set with validation images",
    "projected_images": "the run has no other data set with validation images",
    "own_images": "the data set has neither validation images nor shots",
    "centred": "the data set has no validation images",
    "whitened": "the data set has no validation images",
}
# few-shot methods that need texts besides the names
OF_TEXTS = {"coder_adapter", "coder_without_clip"}
NO_CLASS_TEXTS = "the list of text features has none of its classes"
TEXT_TESTS = {"more_texts": "all_against_few", "diverse_texts": "diverse_against_alike"}


@dataclass(frozen=True)
class Judged:
    """A claim on one data set with one model.

    comparison: None if there was nothing to compare. why: the reason for no comparison or no
    verdict.

    unchanged: True if validation decided to change nothing; a mean over data sets counts this as a
    difference of 0. fewer: number of shots -> the comparison with fewer shots, of a claim about
    few-shot methods.
    """

    claim: Claim
    dataset: str
    model: str
    verdict: Verdict
    comparison: Comparison | None = None
    why: str = ""
    unchanged: bool = False
    fewer: Mapping[int, Comparison] = field(default_factory=dict)


class Missing(Exception):
    """There is nothing to compare.

    verdict: ``off`` if the run decided so, ``not run`` if its configuration did. unchanged: as in
    `Judged`.
    """

    def __init__(self, verdict: Verdict, why: str, unchanged: bool = False) -> None:
        self.verdict, self.why, self.unchanged = verdict, why, unchanged


def judge(results: Results, dataset: str, model: str) -> list[Judged]:
    """Every claim on a data set with a model."""
    return [_judge(claim, results, dataset, model) for claim in claims_of(results)]


def claims_of(results: Results) -> list[Claim]:
    """The claims that a run can test: claims about a vocabulary need a model with a vocabulary."""
    has_vocabulary = any(results.vocabulary(*place) for place in results)
    return [claim for claim in CLAIMS if has_vocabulary or not claim.vocabulary]


def _judge(claim: Claim, results: Results, dataset: str, model: str) -> Judged:
    """Judge a claim by its evidence; `Missing` becomes a verdict."""
    try:
        if claim.evidence == "few_shot":
            return _few_shot(claim, results, dataset, model)
        comparison = _EVIDENCE[claim.evidence](claim, results, dataset, model)
    except Missing as missing:
        return Judged(
            claim, dataset, model, missing.verdict, why=missing.why, unchanged=missing.unchanged
        )
    return Judged(claim, dataset, model, verdict(comparison), comparison)


def _zero_shot(claim: Claim, results: Results, dataset: str, model: str) -> Comparison:
    """Compare two zero-shot methods on the same images; random words with every draw."""
    _needs_setting(results)
    if claim.after == "coder_rerank":
        off = results.rerank_off(dataset, model)
        if off:
            # if there are texts, validation chose to change nothing: a true difference of 0
            has_texts = bool(results.rerank(dataset, model)["pairs_with_texts"])
            raise Missing("off", off, unchanged=has_texts)
    elif claim.after == "sentence":
        _needs_names(results, dataset)
    else:
        _needs_texts(results, dataset)
    # raised if one of the methods has no rows
    what = "attribute texts"
    if claim.after == "sentence":
        what = "sentences"
    absent = Missing("off", f"no class has {what}")
    return _paired(results, dataset, model, None, claim.before, claim.after, absent)


def _few_shot(claim: Claim, results: Results, dataset: str, model: str) -> Judged:
    """Compare two few-shot methods on the same images and seeds, with the largest number of shots.

    One or two seeds say too little about other shots, so their difference has no verdict.
    """
    _needs_setting(results)
    _needs_shots(results, dataset)
    if {claim.after, claim.before} & OF_TEXTS:
        _needs_texts(results, dataset, model)
    # all numbers of shots are compared, and the largest (the last one) is judged
    by_shots: dict[int, Comparison] = {}
    most = results.shots_of(dataset)[-1]
    for shots in results.shots_of(dataset):
        compared, seeds = few_shot_difference(
            results, dataset, model, shots, claim.before, claim.after
        )
        if seeds >= FEWEST or shots == most:
            by_shots[shots] = compared
    comparison = by_shots.pop(most)
    if seeds < FEWEST:
        return Judged(claim, dataset, model, "not judged", comparison, FEW_SEEDS)
    return Judged(claim, dataset, model, verdict(comparison), comparison, fewer=by_shots)


def few_shot_difference(
    results: Results, dataset: str, model: str, shots: int, before: str, after: str
) -> tuple[Comparison, int]:
    """Compare two few-shot methods with a number of shots; also return the number of seeds. Missing
    if one of the methods did not run.
    """
    why = NO_CLASS_TEXTS
    if dataset in results.with_texts:
        why = "not among adapter.methods"
    absent = Missing("not run", why)
    comparison = _paired(results, dataset, model, shots, before, after, absent)
    return comparison, results.adapter_rows(dataset, model, shots)["seed"].nunique()


def _paired(
    results: Results,
    dataset: str,
    model: str,
    shots: int | None,
    before: str,
    after: str,
    absent: Missing,
) -> Comparison:
    """The paired test of two methods in the setting clean. shots: None for zero-shot methods.

    absent: raised, with the method's name, if a method has no rows. UserError for rows of different
    images or runs."""
    sides = []
    for method in (before, after):
        side = _correct(results, dataset, model, shots, method)
        if side is None:
            raise Missing(absent.verdict, f"{LABELS.get(method, method)}: {absent.why}")
        sides.append(side)
    (was, was_ids, groups), (now, now_ids, _) = sides
    # a zero-shot method without draws has one run, which fits every draw of the other
    one_run_fits_all = shots is None and 1 in (len(was), len(now))
    same_runs = len(was) == len(now) or one_run_fits_all
    if was_ids != now_ids or not same_runs:
        raise UserError(
            f"results of {before} and {after} are of different images or runs; run their phase "
            "again"
        )
    shape = max(len(was), len(now)), was.shape[1]  # a method without draws is the same in each
    was, now = np.broadcast_to(was, shape), np.broadcast_to(now, shape)
    return _comparison(paired_test_over_seeds(was, now, groups=groups))


@lru_cache(maxsize=128)  # many claims share a method
def _correct(
    results: Results, dataset: str, model: str, shots: int | None, method: str
) -> tuple[NDArray[np.bool_], str, NDArray[np.int64] | None] | None:
    """Results of a method's runs, or None if it has no rows: which images are right (runs, images),
    a hash of the images' ids in order, and the images' groups (None without groups).
    """
    rows = _rows_by_method(results, dataset, model, shots).get(method)
    if rows is None:
        return None
    runs = "seed"
    if shots is None:
        runs = "draw"
    # images in the same order in every run, so that results are paired
    by_run = [r.sort_values("image_id") for _, r in rows.groupby(runs, sort=True)]
    groups = by_run[0]["group"].to_numpy() if "group" in rows else None
    ids = hashlib.sha256("\0".join(by_run[0]["image_id"]).encode()).hexdigest()
    return np.stack([r["correct"].to_numpy() for r in by_run]), ids, groups


@lru_cache(maxsize=8)  # the numbers of shots of one data set and model, which claims go through
def _rows_by_method(
    results: Results, dataset: str, model: str, shots: int | None
) -> dict[str, pd.DataFrame]:
    """Method -> its rows in the setting of the claims; only methods that have some."""
    if shots is None:
        rows = results.rows_of(dataset, model)
    else:
        rows = results.adapter_rows(dataset, model, shots)
    rows = rows[rows["setting"].isin(("any", SETTING))]
    return {str(method): of_method for method, of_method in rows.groupby("method", sort=False)}


def _neighbours(claim: Claim, results: Results, dataset: str, model: str) -> Comparison:
    """Compare neighbours found with two kinds of features, by the tests of the phase evaluation."""
    measure, _ = NEIGHBOUR_MEASURES[claim.measure]
    wanted = {"before": claim.before, "after": claim.after, "measure": measure}
    _needs_texts(results, dataset, model)
    if claim.after == "discriminant":
        _needs_shots(results, dataset)
    why = NO_COMPARISON
    # a part of another data set has no tests at all, whatever the run has
    if results.evaluation(dataset, model)["neighbour_tests"]:
        why = NO_CONTROL.get(claim.before, why)
    return _stored(results, dataset, model, "neighbour_tests", wanted, why)


def _texts(claim: Claim, results: Results, dataset: str, model: str) -> Comparison:
    """Stage one with two choices of texts, as the phase evaluation compared them."""
    # prompts may play the texts, where there are many of them
    if not results.evaluation(dataset, model).get("prompts"):
        _needs_texts(results, dataset)
    if claim.name in TEXT_TESTS:
        wanted = {"test": TEXT_TESTS[claim.name]}
    else:
        wanted = {"test": "kind", "kind": claim.name.removesuffix("_adds")}
    return _stored(results, dataset, model, "text_tests", wanted)


def _needs_setting(results: Results) -> None:
    """Missing without the setting of the claims."""
    if results.main_setting != SETTING:
        raise Missing("not run", f"the run has no setting '{SETTING}'")


def _needs_texts(results: Results, dataset: str, model: str | None = None) -> None:
    """Missing without texts besides the names.

    model: given if the model's own vocabulary will do instead.
    """
    if model is not None and results.vocabulary(dataset, model):
        return
    _needs_names(results, dataset)
    if not results.has_texts(dataset):
        raise Missing("off", "the classes have no texts besides their names")


def _needs_names(results: Results, dataset: str) -> None:
    """Missing without texts of the classes."""
    if dataset not in results.with_texts:
        raise Missing("not run", NO_CLASS_TEXTS)


def _needs_shots(results: Results, dataset: str) -> None:
    """Missing without few-shot methods."""
    if not results.shots_of(dataset):
        raise Missing("not run", "the data set has no few-shot methods")


def _stored(
    results: Results,
    dataset: str,
    model: str,
    key: str,
    wanted: dict[str, str],
    why: str = NO_COMPARISON,
) -> Comparison:
    """The first test below ``key`` of the phase evaluation that has all ``wanted`` values.

    Missing, with ``why``, if there is none.
    """
    for test in results.evaluation(dataset, model)[key]:
        if wanted.items() <= test.items():
            return _comparison(test)
    raise Missing("off", why)


def _comparison(test: Any) -> Comparison:
    """A `PairedTest`, or one over seeds, as a `Comparison`."""
    d = test["difference"]
    value = d["value"] if "value" in d else d["mean"]
    return Comparison(value, d["low"], d["high"], test["p_value"], test["fixed"], test["broke"])


_EVIDENCE = {"zero_shot": _zero_shot, "neighbours": _neighbours, "texts": _texts}
