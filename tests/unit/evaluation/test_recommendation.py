"""What a run recommends: one rule, on validation images, corrected for the number of candidates."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from coder_clip.baselines.methods import FEW_SHOT, METHODS, ZERO_SHOT
from coder_clip.evaluation.estimates import compare, estimate
from coder_clip.evaluation.intervals import clear
from coder_clip.evaluation.recommendation import (
    CANDIDATES,
    Recommendation,
    candidates,
    of_run,
    recommend,
    rivals,
)
from coder_clip.evaluation.validation import DIAGNOSTICS, entry, n_candidates
from coder_clip.foundation.artifacts import read_json, read_parquet, write_json, write_parquet
from coder_clip.phases.rerank import cross_fitted
from coder_clip.reporting.answer import answers
from coder_clip.reporting.results import Results
from coder_clip.rerank import Reranked
from fake_results import Fake

N = 60


def entries(right: dict[str, Any]) -> list[dict[str, Any]]:
    """Entries of a run with these results, "clip" among them."""
    tests = max(1, len(candidates(right)))
    return [entry(method, "any", of, right["clip"], tests) for method, of in right.items()]


def results_of(fixed: int, broke: int) -> np.ndarray:
    """Results against names alone, which have the first half right."""
    right = np.arange(N) < N // 2
    right[N // 2 : N // 2 + fixed] = True
    right[:broke] = False
    return right


def test_diagnostics_and_few_shot_methods_are_no_candidates() -> None:
    """The report recommended "Attributes alone, no name", which only says if the encoder can read."""
    assert [
        m for m in ZERO_SHOT if m not in ("clip", "random_words", "attributes_alone")
    ] == CANDIDATES
    assert candidates(reversed([*METHODS])) == CANDIDATES
    assert n_candidates(ZERO_SHOT) == len(CANDIDATES)
    assert not set(CANDIDATES) & set(FEW_SHOT)
    right = {
        "clip": results_of(0, 0),
        "attributes_alone": results_of(30, 0),
        "coder": results_of(0, 0),
    }
    assert recommend(entries(right)) == "clip"


@given(
    st.dictionaries(
        st.sampled_from([m for m in ZERO_SHOT if m != "clip"]),
        st.tuples(st.integers(0, 30), st.integers(0, 30)),
    )
)
def test_the_rule_by_its_definition(changes: dict[str, tuple[int, int]]) -> None:
    """Method by method: clearly better than names alone with the corrected interval, then the most
    accurate.
    """
    right = {"clip": results_of(0, 0), **{m: results_of(*change) for m, change in changes.items()}}
    m = max(1, len([method for method in changes if method not in DIAGNOSTICS]))
    expected, best = "clip", -1.0
    for method in ZERO_SHOT:
        if method not in changes or method in DIAGNOSTICS:
            continue
        test = compare(right["clip"], right[method], tests=m)
        if clear(test) == "better" and right[method].mean() > best:
            expected, best = method, right[method].mean()
    assert recommend(entries(right)) == expected


def test_a_choice_among_some_stays_corrected_for_all() -> None:
    """--why would call a method clearly better that the report does not."""
    right = {"clip": results_of(0, 0), "description": results_of(25, 0), "coder": results_of(10, 2)}
    right |= {m: right["clip"] for m in CANDIDATES if m not in right}
    assert recommend(entries(right)) == "description"
    assert recommend(entries(right), ["coder", "coder_rerank"]) == "clip"
    right["coder"] = results_of(20, 0)
    assert recommend(entries(right), ["coder", "coder_rerank"]) == "coder"


def test_corrected_intervals_and_p_values() -> None:
    """Bonferroni by hand: Student's t with 99.1 % for six tests, and six times p."""
    before, after = results_of(0, 0), results_of(10, 2)
    one, six = compare(before, after), compare(before, after, tests=6)
    width = [t["high"] - t["low"] for t in (one, six)]
    assert width[1] / width[0] == pytest.approx(
        2.7292 / 2.0003, rel=2e-3
    )  # t of 1 - 0.05/12 and 0.975, 60 degrees
    assert six["value"] == one["value"]
    assert six["p_value"] == pytest.approx(6 * one["p_value"])
    assert compare(before, after, tests=100)["p_value"] == 1.0


@pytest.fixture(scope="module")
def documents_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    results = Fake(tmp_path_factory.mktemp("run"), datasets=("one",), shots=(1,)).write()
    return json.dumps(results.zero_shot("one", "mini")), json.dumps(results.rerank("one", "mini"))


@given(seed=st.integers(0, 2**32 - 1))
def test_test_images_choose_nothing(seed: int, documents_once: tuple[str, str]) -> None:
    """Whatever the methods do on test images, the recommendation is the same; only what is reported
    of it changes.
    """
    rng = np.random.default_rng(seed)
    zero_shot, rerank = map(json.loads, documents_once)
    before = of_run(zero_shot, rerank)
    tested = [m for d in (zero_shot, rerank) for m in d["methods"] if m["against_clip"]]
    numbers = [deepcopy({k: m[k] for k in ("accuracy", "against_clip")}) for m in tested]
    for m, i in zip(tested, rng.permutation(len(tested)), strict=True):
        m |= numbers[i]
        m["against_clip"] |= dict(
            zip(("low", "value", "high"), np.sort(rng.normal(0, 0.2, 3)), strict=True)
        )
    after = of_run(zero_shot, rerank)
    assert after.method == before.method == "coder_rerank"
    assert after.advice == before.advice
    assert after.on_test is not None
    assert after.confirmed.endswith(
        {
            "better": "it is clearly better, too",
            "worse": "it is clearly worse",
            "": "the difference is not clear",
        }[clear(after.on_test["against_clip"])]
    )


def test_the_same_words_everywhere(tmp_path: Path) -> None:
    results = Fake(tmp_path, datasets=("one",), shots=(1,)).write()
    recommendation = results.recommendation("one", "mini")
    said = (
        "Without labelled images, use “CODER + rerank”: "
        "clearly better than names alone on the 120 validation images."
    )
    assert recommendation.advice == said
    (answer,) = answers(results)
    assert answer.advice.startswith(said)
    nothing = Recommendation(None)
    assert nothing.advice == (
        "Nothing is recommended, because there are no validation images to choose on."
    )
    assert nothing.confirmed == ""


# ---- better methods that are not recommended


def made_right(results: Results, method: str, share: float, few_shot: bool = False) -> None:
    """The first images of a method are right in every run, all others wrong."""
    paths = results.paths
    files = (
        [paths.adapter("mini", "one", 16)]
        if few_shot
        else [paths.zero_shot("mini", "one"), paths.rerank("mini", "one")]
    )
    for path in files:
        rows = read_parquet(path)
        number = rows["image_id"].map({i: k for k, i in enumerate(sorted(set(rows["image_id"])))})
        rows.loc[rows["method"] == method, "correct"] = number < share * 120
        write_parquet(path, rows)


def validated(results: Results, accuracies: dict[str, float]) -> None:
    """Validation accuracies of zero-shot methods; all others have a half. CODER + rerank stays
    recommended.
    """
    for path in (results.paths.zero_shot("mini", "one"), results.paths.rerank("mini", "one")):
        document = read_json(path.with_suffix(".json"))
        for m in document["validation"]["methods"]:
            m["accuracy"]["value"] = accuracies.get(m["method"], 0.5)
            if m["method"] not in ("clip", "coder_rerank"):
                m["against_clip"] |= {"value": 0.0, "low": -0.1, "high": 0.1}
        write_json(path.with_suffix(".json"), document)


def few_shot_validated(results: Results, accuracies: dict[str, float]) -> None:
    path = results.paths.adapter("mini", "one", 16).with_suffix(".json")
    document = read_json(path)
    for r in document["runs"]:
        r["val_accuracy"] = accuracies.get(r["method"], 0.4) + 0.3 * (r["setting"] != "clean")
    write_json(path, document)


def again(results: Results) -> Results:
    return Results(results.paths.root, ["one"], ["mini"], [1, 16])


def test_a_better_method_that_cannot_be_recommended_is_named_with_the_advice(
    tmp_path: Path,
) -> None:
    """The page said 'use CODER + rerank' (53.8 %) while attributes alone had 62.8 %, and 16
    labelled images 80.1 %.
    """
    results = Fake(tmp_path, datasets=("one",), shots=(1, 16)).write()
    validated(results, {"attributes_alone": 0.9, "coder_rerank": 0.95})
    few_shot_validated(results, {"lda": 0.8, "ape": 0.7})
    made_right(results, "coder_rerank", 0.5)
    made_right(results, "attributes_alone", 0.75)
    made_right(results, "lda", 0.8, few_shot=True)
    one, two = again(results).rivals("one", "mini")
    assert (one.method, one.shots, one.name) == ("attributes_alone", None, "attributes_alone")
    assert (two.method, two.shots, two.name) == ("lda", 16, "lda-16")
    before, after = np.arange(120) < 60, np.arange(120) < 90
    test = compare(before, after)
    assert (one.difference["value"], one.difference["low"]) == pytest.approx((0.25, test["low"]))
    points = f"+25.0 [{100 * test['low']:+.1f}, {100 * test['high']:+.1f}] points"
    assert one.sentence.startswith(
        "“Attributes alone, no name”, a diagnostic that is never recommended, and the best other "
        "method on validation "
        "images, is clearly better on test images: 75.0 % ["
    )
    assert one.sentence.endswith(
        f"{points} (coder-clip classify PHOTOS --run RUN --method attributes_alone)."
    )
    assert two.sentence.startswith(
        "With 16 labelled images per class, “Linear discriminant, images alone”, the best "
        "few-shot method on "
        "validation images, is clearly better on test images: 80.0 % ["
    )
    assert two.sentence.endswith(" points (coder-clip classify PHOTOS --run RUN --method lda-16).")
    (answer,) = answers(again(results))
    assert answer.advice.startswith("Without labelled images, use “CODER + rerank”")
    assert answer.advice.endswith(f"{one.sentence} {two.sentence}"), (
        "in the same paragraph as the advice"
    )
    assert answer.rivals == (
        "Attributes alone, no name",
        "Linear discriminant, images alone, 16 shots",
    )


def test_validation_images_choose_what_is_named_beside_the_advice(tmp_path: Path) -> None:
    """Chosen on test images, the best of many methods would look better than it is."""
    results = Fake(tmp_path, datasets=("one",), shots=(1, 16)).write()
    validated(results, {"attributes_alone": 0.7, "description": 0.8, "coder_rerank": 0.6})
    few_shot_validated(results, {"ape": 0.8, "lda": 0.7, "coder_no_minmax": 0.99})
    made_right(results, "coder_rerank", 0.5)
    for method in ("attributes_alone", "coder"):
        made_right(results, method, 0.9)
    for method in ("lda", "coder_no_minmax", "clip_ensemble"):
        made_right(results, method, 0.9, few_shot=True)
    made_right(results, "description", 0.51)
    made_right(results, "ape", 0.51, few_shot=True)
    (only,) = again(results).rivals("one", "mini")
    assert (only.name, only.better) == ("ape-16", False), (
        "the best on validation images is not clearly better"
    )
    made_right(results, "ape", 0.7, few_shot=True)
    (only,) = again(results).rivals("one", "mini")
    assert (only.name, only.better) == ("ape-16", True)


def test_a_lucky_seed_does_not_choose_the_few_shot_method(tmp_path: Path) -> None:
    """A method that is best with one draw of shots would be advised for all draws."""
    seeds = (1, 2, 3)
    results = Fake(tmp_path, datasets=("one",), shots=(1, 16), seeds=seeds).write()
    validated(results, {"coder_rerank": 0.6})
    path = results.paths.adapter("mini", "one", 16).with_suffix(".json")
    document = read_json(path)
    accuracies = {"lda": [0.7, 0.7, 0.7], "ape": [0.95, 0.4, 0.4]}
    for r in document["runs"]:
        r["val_accuracy"] = accuracies.get(r["method"], [0.3] * 3)[r["seed"] - 1]
    write_json(path, document)
    assert again(results).rivals("one", "mini")[-1].method == "lda"


def test_labels_are_named_with_the_advice_whatever_test_images_say(tmp_path: Path) -> None:
    """ "Use names alone" stood alone, and who had labelled photos never saw what these are worth."""
    results = Fake(tmp_path, datasets=("one",), shots=(1, 16)).write()
    validated(results, {"coder_rerank": 0.6})
    few_shot_validated(results, {"lda": 0.8})
    made_right(results, "coder_rerank", 0.5)
    command = "(coder-clip classify PHOTOS --run RUN --method lda-16)."
    for share, words in (
        (0.2, "is clearly worse"),
        (0.5, "is not clearly different"),
        (0.9, "is clearly better"),
    ):
        made_right(results, "lda", share, few_shot=True)
        (answer,) = answers(again(results))
        assert f"validation images, {words} on test images: {100 * share:.1f} % [" in answer.advice
        assert answer.advice.endswith(f" {command}")
        assert answer.rivals == (
            ("Linear discriminant, images alone, 16 shots",) if share > 0.5 else ()
        )


def test_a_run_without_its_rows_still_says_what_labels_are_worth(tmp_path: Path) -> None:
    """Documents alone were pulled: they do not pair images, but have the accuracy of each method."""
    results = Fake(tmp_path, datasets=("one",), shots=(1, 16)).write()
    few_shot_validated(results, {"lda": 0.8})
    zero_shot, rerank = results.zero_shot("one", "mini"), results.rerank("one", "mini")
    document = read_json(results.paths.adapter("mini", "one", 16).with_suffix(".json"))
    (accuracy,) = [
        e["accuracy"]
        for e in document["summary"]
        if (e["method"], e["setting"]) == ("lda", "clean")
    ]
    (only,) = rivals(zero_shot, rerank, None, (document, None))
    assert (only.name, only.accuracy, only.difference) == ("lda-16", accuracy, None)
    low, high = 100 * accuracy["low"], 100 * accuracy["high"]
    assert (
        f"has {100 * accuracy['value']:.1f} % [{low:.1f}, {high:.1f}] of the test images right ("
        in only.sentence
    )


def test_without_a_recommendation_nothing_is_named_beside_it(tmp_path: Path) -> None:
    results = Fake(tmp_path, datasets=("one",), shots=(1, 16), validated=False).write()
    assert results.rivals("one", "mini") == []


def test_a_few_shot_rival_of_one_seed_is_for_its_images(tmp_path: Path) -> None:
    results = Fake(tmp_path, datasets=("one",), shots=(1, 16), seeds=(1,)).write()
    validated(results, {"coder_rerank": 0.6})
    few_shot_validated(results, {"lda": 0.8})
    made_right(results, "coder_rerank", 0.4)
    made_right(results, "lda", 0.9, few_shot=True)
    few_shot = again(results).rivals("one", "mini")[-1]
    assert " points (one seed: for these labelled images) (coder-clip classify" in few_shot.sentence


def test_methods_beside_the_recommendation_are_compared_over_groups(tmp_path: Path) -> None:
    """Of equal methods on bursts of five photos, 43 % were called clearly better or worse."""
    results = Fake(tmp_path, datasets=("one",), shots=(1, 16), seeds=(1, 2, 3)).write()
    validated(results, {"coder_rerank": 0.6})
    few_shot_validated(results, {"lda": 0.8})
    files = [
        results.paths.zero_shot("mini", "one"),
        results.paths.rerank("mini", "one"),
        results.paths.adapter("mini", "one", 16),
    ]
    # three of ten scenes turn right, whatever the order of rows is
    for path in files:
        rows = read_parquet(path)
        order = {image: i for i, image in enumerate(sorted(rows["image_id"].unique()))}
        scene = rows["image_id"].map(order) * 10 // len(order)
        rows["correct"] = (scene < 3) & (rows["method"] == "lda")
        rows["group"] = scene
        write_parquet(path, rows.sample(frac=1, random_state=1))
    rival = again(results).rivals("one", "mini")[-1]
    assert rival.method == "lda"
    ids = len(order)
    groups = np.arange(ids) * 10 // ids
    right = np.tile(groups < 3, (3, 1))
    wrong = np.zeros_like(right)
    assert rival.difference == compare(wrong, right, groups=groups)
    assert rival.accuracy == estimate(right, groups=groups)
    assert not rival.better, "three scenes of ten"
    assert clear(compare(wrong, right)) == "better", "over images"


# ---- the rerank's threshold


@given(st.data())
def test_each_half_has_the_threshold_of_the_other(data: st.DataObject) -> None:
    """A plain loop: images, or groups of near twins, by class, every other one in each half; the
    smallest threshold of the most right ones.
    """
    n = data.draw(st.integers(1, 25))
    number = st.integers(0, 3)
    labels, one, two = (data.draw(st.lists(number, min_size=n, max_size=n)) for _ in range(3))
    gap = data.draw(st.lists(st.sampled_from([0.0, 0.1, 0.3, 0.7]), min_size=n, max_size=n))
    groups = data.draw(st.none() | st.lists(st.integers(0, 9), min_size=n, max_size=n))
    grid = [0.5, 0.0, 0.2]

    def right(i: int, threshold: float) -> bool:
        return (two[i] if gap[i] < threshold else one[i]) == labels[i]

    by_class = sorted(range(n), key=lambda i: (labels[i], i))
    units = list(dict.fromkeys(i if groups is None else groups[i] for i in by_class))
    halves: list[list[int]] = [[], []]
    for i in by_class:
        halves[units.index(i if groups is None else groups[i]) % 2].append(i)
    expected = [False] * n
    for half, other in ((halves[0], halves[1]), (halves[1], halves[0])):
        best, most = 0.0, -1
        for threshold in sorted(grid):
            count = sum(right(i, threshold) for i in other)
            if count > most:
                best, most = threshold, count
        for i in half:
            expected[i] = right(i, best)
    both = Reranked(
        torch.tensor(one),
        torch.tensor(two),
        torch.tensor(gap),
        torch.zeros(n, 1),
        torch.zeros(n, 1),
    )
    of_twins = None if groups is None else torch.tensor(groups)
    assert cross_fitted(grid, both, torch.tensor(labels), of_twins).tolist() == expected
    for c in set(labels) if groups is None else ():
        of_class = [sum(labels[i] == c for i in half) for half in halves]
        assert abs(of_class[0] - of_class[1]) <= 1, "a class is in one half only"


def test_one_validation_image_is_one_image() -> None:
    assert Recommendation("clip", 1).reason.endswith("than names alone on the validation image")
    assert (
        Recommendation("coder", 1200).reason
        == "clearly better than names alone on the 1,200 validation images"
    )
