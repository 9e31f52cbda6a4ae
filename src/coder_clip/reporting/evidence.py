"""The evidence for a claim in the results of a run: its comparison, or why there is none."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..baselines.methods import LABELS
from ..claims import CLAIMS, ONE_SEED, SETTING, Claim, Comparison, Verdict, verdict
from ..errors import UserError
from ..evaluation.estimates import paired_test_over_seeds
from .results import Results

MEASURES = {
    "nearer_neighbours": "knn",
    "better_retrieval": "r_precision",
    "corrected_neighbours": "nearest",
}
OF_TEXTS = {
    "coder_adapter",
    "coder_without_clip",
}  # few-shot methods that need texts besides the names
NO_CLASS_TEXTS = "text features of its classes are not published"
TEXT_TESTS = {"more_texts": "all_against_few", "diverse_texts": "diverse_against_alike"}


@dataclass(frozen=True)
class Judged:
    """A claim on one data set with one model. comparison: None where there was nothing to compare;
    why: the reason.

    unchanged: validation decided to change nothing, which is a true difference of 0 for a mean over
    data sets.
    fewer: the same comparison with fewer shots, of a claim about few-shot methods.
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
    """There is nothing to compare: ``off`` where the run decided so, ``not run`` where its
    configuration did.
    """

    def __init__(self, verdict: Verdict, why: str, unchanged: bool = False) -> None:
        self.verdict, self.why, self.unchanged = verdict, why, unchanged


def judge(results: Results, dataset: str, model: str) -> list[Judged]:
    """Every claim on a data set with a model."""
    return [_judge(claim, results, dataset, model) for claim in claims_of(results)]


def claims_of(results: Results) -> list[Claim]:
    """The claims that a run can test: those about a vocabulary only where a model brings one."""
    there = any(results.vocabulary(*place) for place in results)
    return [claim for claim in CLAIMS if there or not claim.vocabulary]


def _judge(claim: Claim, results: Results, dataset: str, model: str) -> Judged:
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
    """Two zero-shot methods on the same images; of random words every draw."""
    _needs_setting(results)
    if claim.after == "coder_rerank":
        off = results.rerank_off(dataset, model)
        if off:
            # with texts, validation chose to change nothing: a true difference of 0
            has_texts = bool(results.rerank(dataset, model)["pairs_with_texts"])
            raise Missing("off", off, unchanged=has_texts)
    else:
        _needs_texts(results, dataset)
    absent = Missing("off", "no class has attribute texts")
    return _paired(results, dataset, model, None, claim.before, claim.after, absent)


def _few_shot(claim: Claim, results: Results, dataset: str, model: str) -> Judged:
    """Two few-shot methods on the same images and seeds, with the largest number of shots.

    One seed says nothing about other shots, so its difference has no verdict.
    """
    _needs_setting(results)
    _needs_shots(results, dataset)
    if {claim.after, claim.before} & OF_TEXTS:
        _needs_texts(results, dataset, model)
    # all numbers of shots are compared, and the largest is judged
    found: dict[int, Comparison] = {}
    for shots in results.shots_of(dataset):
        found[shots], seeds = few_shot_difference(
            results, dataset, model, shots, claim.before, claim.after
        )
    comparison = found.pop(results.shots_of(dataset)[-1])
    if seeds == 1:
        return Judged(claim, dataset, model, "not judged", comparison, ONE_SEED, fewer=found)
    return Judged(claim, dataset, model, verdict(comparison), comparison, fewer=found)


def few_shot_difference(
    results: Results, dataset: str, model: str, shots: int, before: str, after: str
) -> tuple[Comparison, int]:
    """Two few-shot methods with a number of shots, and the number of seeds. Missing if one of them
    did not run.
    """
    absent = Missing(
        "not run", "not among adapter.methods" if dataset in results.with_texts else NO_CLASS_TEXTS
    )
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

    absent: raised, with the method's name, where one has no rows. UserError for rows of different
    images or runs."""
    sides = []
    for method in (before, after):
        side = _correct(results, dataset, model, shots, method)
        if side is None:
            raise Missing(absent.verdict, f"{LABELS.get(method, method)}: {absent.why}")
        sides.append(side)
    (was, ids, groups), (now, same, _) = sides
    # a zero-shot method without draws has one run, which fits every draw of the other
    one_run_fits_all = shots is None and 1 in (len(was), len(now))
    if ids != same or (len(was) != len(now) and not one_run_fits_all):
        raise UserError(
            f"results of {before} and {after} are of different "
            "images or runs; run their phase again"
        )
    shape = max(len(was), len(now)), was.shape[1]  # a method without draws is the same in each
    was, now = np.broadcast_to(was, shape), np.broadcast_to(now, shape)
    return _comparison(paired_test_over_seeds(was, now, groups=groups))


@lru_cache(maxsize=128)  # many claims share a method
def _correct(
    results: Results, dataset: str, model: str, shots: int | None, method: str
) -> tuple[NDArray[np.bool_], str, NDArray[np.int64] | None] | None:
    """Which images a method has right in each run: (runs, images); None if it has no rows.

    Also a hash of the ids of the images, in order, and their groups, if any.
    """
    if shots is None:
        rows, runs = results.rows_of(dataset, model), "draw"
    else:
        rows, runs = results.adapter_rows(dataset, model, shots), "seed"
    rows = rows[(rows["method"] == method) & rows["setting"].isin(("any", SETTING))]
    if rows.empty:
        return None
    # images in the same order in every run, so that results are paired
    by_run = [r.sort_values("image_id") for _, r in rows.groupby(runs, sort=True)]
    groups = by_run[0]["group"].to_numpy() if "group" in rows else None
    ids = hashlib.sha256("\0".join(by_run[0]["image_id"]).encode()).hexdigest()
    return np.stack([r["correct"].to_numpy() for r in by_run]), ids, groups


def _neighbours(claim: Claim, results: Results, dataset: str, model: str) -> Comparison:
    """Compare neighbours found with two kinds of features, by the tests of the phase evaluation."""
    measure = MEASURES.get(claim.name, "knn")
    wanted = {"before": claim.before, "after": claim.after, "measure": measure}
    _needs_texts(results, dataset, model)
    if claim.after == "discriminant":
        _needs_shots(results, dataset)
    return _stored(results, dataset, model, "neighbour_tests", wanted)


def _texts(claim: Claim, results: Results, dataset: str, model: str) -> Comparison:
    """Stage one with two choices of texts, as the phase evaluation compared them."""
    _needs_texts(results, dataset)
    named = TEXT_TESTS.get(claim.name)
    wanted = (
        {"test": named} if named else {"test": "kind", "kind": claim.name.removesuffix("_adds")}
    )
    return _stored(results, dataset, model, "text_tests", wanted)


def _needs_setting(results: Results) -> None:
    if results.main_setting != SETTING:
        raise Missing("not run", f"the run has no setting '{SETTING}'")


def _needs_texts(results: Results, dataset: str, model: str | None = None) -> None:
    """Missing without texts besides the names. model: CODER may use a vocabulary that the model
    brings instead.
    """
    if model is not None and results.vocabulary(dataset, model):
        return
    if dataset not in results.with_texts:
        raise Missing("not run", NO_CLASS_TEXTS)
    if not results.has_texts(dataset):
        raise Missing("off", "the classes have no texts besides their names")


def _needs_shots(results: Results, dataset: str) -> None:
    if not results.shots_of(dataset):
        raise Missing("not run", "the data set has no few-shot methods")


def _stored(
    results: Results, dataset: str, model: str, key: str, wanted: dict[str, str]
) -> Comparison:
    """A test that the phase evaluation stored."""
    for test in results.evaluation(dataset, model)[key]:
        if wanted.items() <= test.items():
            return _comparison(test)
    raise Missing("off", "the texts or images allow no such comparison")


def _comparison(test: Any) -> Comparison:
    d = test["difference"]
    value = d["value"] if "value" in d else d["mean"]
    return Comparison(value, d["low"], d["high"], test["p_value"], test["fixed"], test["broke"])


_EVIDENCE = {"zero_shot": _zero_shot, "neighbours": _neighbours, "texts": _texts}
