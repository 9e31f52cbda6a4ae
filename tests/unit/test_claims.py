"""The claims of the paper: each verdict is what its rule says, and says why where there is none."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coder_clip.baselines.methods import METHODS
from coder_clip.claims import (
    CLAIMS,
    PAPER,
    REEVALUATION,
    SOURCES,
    Comparison,
    contested,
    over_data_sets,
    verdict,
)
from coder_clip.errors import UserError
from coder_clip.evaluation.estimates import paired_test, paired_test_over_seeds
from coder_clip.foundation.artifacts import read_json, read_parquet, write_json, write_parquet
from coder_clip.reporting.evidence import Judged, judge
from coder_clip.reporting.exhibits import claims
from coder_clip.reporting.parts.table import AVERAGE
from coder_clip.reporting.results import Results
from coder_clip.texts.kinds import BESIDES_NAME
from fake_results import Fake


def of(results: Results, dataset: str = "one", model: str = "mini") -> dict[str, Judged]:
    return {j.claim.name: j for j in judge(results, dataset, model)}


def change(path: Path, how: Callable[[dict[str, Any]], object]) -> None:
    document = read_json(path)
    how(document)
    write_json(path, document)


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Fake(tmp_path, datasets=("one",), shots=(1, 4)).write()


def test_a_claim_names_what_is_compared_and_what_would_contradict_it() -> None:
    """A misspelled method would make a claim 'not run' for ever."""
    assert len({c.name for c in CLAIMS}) == len(CLAIMS)
    for c in CLAIMS:
        assert c.statement
        assert c.measure
        assert c.contradicted
        assert c.source.split(",")[0] in SOURCES
        if c.evidence in ("zero_shot", "few_shot"):
            assert {c.after, c.before} <= set(METHODS), c.name
        if c.evidence == "neighbours":
            assert {c.after, c.before} <= {"original", "coder", "projected", "discriminant"}
    kinds = {
        c.name.removesuffix("_adds") for c in CLAIMS if c.name.endswith("_adds") and c.evidence == "texts"
    }
    assert kinds == set(BESIDES_NAME)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.01, 0.05, "shown"),
        (-0.05, -0.01, "contradicted"),
        (-0.01, 0.05, "open"),
        (0.0004, 0.05, "open"),  # printed as 0.0
        (0.0006, 0.05, "shown"),
        (0.0, 0.0, "open"),
    ],
)
def test_a_verdict_follows_the_interval_as_printed(low: float, high: float, expected: str) -> None:
    assert verdict(Comparison((low + high) / 2, low, high, 0.5)) == expected


def test_a_zero_shot_claim_is_the_paired_test_of_the_same_images(results: Results) -> None:
    rows = read_parquet(results.paths.zero_shot("mini", "one"))
    right = {
        m: rows[(rows["method"] == m) & rows["setting"].isin(["any", "clean"])]["correct"].tolist()
        for m in ("clip", "coder")
    }
    test = paired_test(right["clip"], right["coder"])
    found = of(results)["coder_beats_clip"].comparison
    assert found is not None
    assert (found.fixed, found.broke) == (test["fixed"], test["broke"])
    assert found.difference == pytest.approx(np.mean(right["coder"]) - np.mean(right["clip"]))
    assert (found.low, found.high) == pytest.approx((test["difference"]["low"], test["difference"]["high"]))
    assert found.p_value == pytest.approx(test["p_value"])


def test_images_are_paired_by_their_id_and_not_by_their_row(results: Results) -> None:
    before = of(results)["coder_beats_clip"]
    path = results.paths.zero_shot("mini", "one")
    write_parquet(path, read_parquet(path).sample(frac=1, random_state=0))
    assert of(Results(results.paths.root, ["one"], ["mini"], [1, 4]))["coder_beats_clip"] == before


def test_a_few_shot_claim_takes_the_most_shots_and_pairs_seeds(results: Results) -> None:
    rows = read_parquet(results.paths.adapter("mini", "one", 4))
    rows = rows[rows["setting"] == "clean"]
    was, now = (
        np.stack([r["correct"].to_numpy() for _, r in rows[rows["method"] == m].groupby("seed")])
        for m in ("tip_adapter", "coder_adapter")
    )
    test = paired_test_over_seeds(was, now)
    found = of(results)["adapter_beats_tip_adapter"].comparison
    assert found is not None
    assert (found.difference, found.low) == pytest.approx(
        (test["difference"]["mean"], test["difference"]["low"])
    )
    assert (found.fixed, found.broke) == (test["fixed"], test["broke"])


def test_random_words_count_with_all_their_draws(results: Results) -> None:
    """The first draw alone would be luck."""
    path = results.paths.zero_shot("mini", "one")
    rows = read_parquet(path)
    words = rows[rows["method"] == "random_words"]
    lucky = words.assign(draw=1, correct=True, prediction=words["label"])
    write_parquet(path, pd.concat([rows, lucky]))
    coder = rows[(rows["method"] == "coder") & (rows["setting"] == "clean")]["correct"].mean()
    expected = coder - (words["correct"].mean() + 1) / 2
    found = of(Results(results.paths.root, ["one"], ["mini"], [1, 4]))["coder_beats_random_words"].comparison
    assert found is not None
    assert found.difference == pytest.approx(expected)


def test_a_claim_that_cannot_be_tested_says_why(tmp_path: Path) -> None:
    results = Fake(tmp_path / "a", datasets=("one",), reranked=False).write()
    assert (of(results)["rerank_adds"].verdict, "threshold 0" in of(results)["rerank_adds"].why) == (
        "off",
        True,
    )

    results = Fake(tmp_path / "b", datasets=("one",), settings=("corrected",)).write()
    for name in ("coder_beats_clip", "adapter_beats_gda"):
        assert (of(results)[name].verdict, of(results)[name].why) == (
            "not run",
            "the run has no setting 'clean'",
        )

    results = Fake(tmp_path / "c", datasets=("one",)).write()
    results.few_shot = []
    assert (
        of(results)["adapter_beats_gda"].verdict
        == of(results)["discriminant_neighbours"].verdict
        == "not run"
    )
    assert of(results)["coder_beats_clip"].verdict in ("shown", "open", "contradicted")

    results = Fake(tmp_path / "d", datasets=("one",)).write()
    rows = read_parquet(results.paths.adapter("mini", "one", 16))
    write_parquet(results.paths.adapter("mini", "one", 16), rows[rows["method"] != "gda"])
    assert of(results)["adapter_beats_gda"].why == "GDA: not among adapter.methods"

    results = Fake(tmp_path / "e", datasets=("one",)).write()

    def names_only(document: dict[str, Any]) -> None:
        document["classes"] = [{"name": c["name"]} for c in document["classes"]]

    change(results.paths.texts("one"), names_only)
    results = Results(results.paths.root, ["one"], ["mini"], results.shots)
    off = {name for name, j in of(results).items() if j.verdict == "off"}
    assert {"coder_beats_clip", "more_texts", "nearer_neighbours", "adapter_beats_gda"} <= off
    assert of(results)["rerank_adds"].verdict != "off", "the rerank has its own texts"


def test_neighbours_and_texts_are_the_tests_that_evaluation_stored(results: Results) -> None:
    test = {
        "difference": {"value": -0.02, "low": -0.03, "high": -0.01},
        "fixed": 3,
        "broke": 9,
        "p_value": 0.01,
    }
    sides = {"before": "original", "after": "coder"}

    def write(document: dict[str, Any]) -> None:
        document["neighbour_tests"] = [
            {**sides, "measure": "knn", "k": 5, **test},
            {**sides, "measure": "nearest", **test, "fixed": 243, "broke": 292},
        ]
        document["text_tests"] = [
            {"test": "diverse_against_alike", "counts": [2], **test},
            {"test": "kind", "kind": "synonym", **test, "p_value": 0.5},
        ]

    change(results.paths.evaluation("mini", "one").with_suffix(".json"), write)
    found = of(Results(results.paths.root, ["one"], ["mini"], [1, 4]))
    assert found["nearer_neighbours"].verdict == found["diverse_texts"].verdict == "contradicted"
    nearest = found["corrected_neighbours"].comparison
    assert nearest is not None
    assert (nearest.fixed, nearest.broke) == (243, 292)
    synonyms = found["synonym_adds"].comparison
    assert synonyms is not None
    assert synonyms.p_value == 0.5
    assert found["better_retrieval"].verdict == found["attribute_adds"].verdict == "off"


# ---- over all data sets


@given(st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=14))
def test_the_mean_over_data_sets_has_an_interval_over_data_sets(differences: list[float]) -> None:
    found = over_data_sets([Comparison(d, d - 0.1, d + 0.1, 0.5) for d in differences])
    assert found is not None
    n = len(differences)
    mean = math.fsum(differences) / n
    between = (math.fsum((d - mean) ** 2 for d in differences) / (n - 1)) ** 0.5
    deviation = max(between, 0.1 / 1.959963985)  # each data set's own interval is 0.1 to either side
    assert found.difference == pytest.approx(mean)
    quantile = {
        2: 12.706204736,
        3: 4.302652730,
        14: 2.160368656,
    }  # Student's t, 97.5 %, n − 1 degrees of freedom
    if n in quantile:
        assert found.high - mean == pytest.approx(quantile[n] * deviation / n**0.5, abs=1e-9)
    if found.low > 1e-9 or found.high < -1e-9:
        assert found.p_value < 0.05


def test_one_data_set_says_nothing_about_others() -> None:
    assert over_data_sets([Comparison(0.1, 0.05, 0.15, 0.01)]) is None


def test_many_data_sets_are_counted_and_each_is_in_the_file(tmp_path: Path) -> None:
    names = tuple(f"set {i}" for i in range(5))
    results = Fake(tmp_path, datasets=names, shots=(1,), seeds=(1, 2)).write()
    for name in names:
        change(results.paths.manifest(name), lambda d: d.update(split="CoOp's split"))
    results = Results(results.paths.root, names, ["mini"], [1])
    table = claims.table(results)
    assert len(table.rows) == len(CLAIMS)
    frame = table.frame
    assert len(frame) == 6 * len(CLAIMS)
    mean = frame[(frame["dataset"] == AVERAGE) & (frame["claim"] == "coder_beats_clip")].iloc[0]
    each = frame[(frame["dataset"] != AVERAGE) & (frame["claim"] == "coder_beats_clip")]
    assert mean["difference"] == pytest.approx(each["difference"].mean())
    tested = mean["data_sets_shown"] + mean["data_sets_contradicted"] + mean["data_sets_open"]
    assert tested + mean["data_sets_not_judged"] == 5
    assert mean["data_sets_shown"] == (each["verdict"] == "shown").sum()
    assert claims.summary(results)[0].startswith("Over all data sets: of the paper's")


def test_the_re_evaluation_is_marked_and_not_counted_among_the_papers_claims(results: Results) -> None:
    table = claims.table(results)
    sources = [row[-1].text for row in table.rows]
    paper = [s for s in sources if s.startswith(PAPER)]
    assert {s for s in sources if not s.startswith(PAPER)} == {REEVALUATION}
    assert f"of the paper's {len(paper)} claims" in claims.summary(results)[0]
    assert SOURCES[REEVALUATION] in table.caption


def test_a_verdict_that_the_correction_does_not_confirm_is_marked() -> None:
    assert contested("shown", 0.2)
    assert not contested("shown", 0.01)
    assert not contested("open", 0.9)
    assert not contested("off", float("nan"))


def test_p_values_are_corrected_for_the_tests_of_a_data_set(results: Results) -> None:
    frame = claims.table(results).frame
    tested = frame[frame["p_value"].notna()].sort_values("p_value", kind="stable")
    m, largest = len(tested), 0.0
    for k, (_, row) in enumerate(tested.iterrows()):
        largest = max(largest, min(1.0, row["p_value"] * (m - k)))
        assert row["p_holm"] == pytest.approx(largest)


def test_results_of_other_images_are_not_paired(results: Results) -> None:
    """A sum over images that are not the same says nothing, and would look like a verdict."""
    path = results.paths.zero_shot("mini", "one")
    rows = read_parquet(path)
    rows.loc[rows["method"] == "coder", "image_id"] += "x"
    write_parquet(path, rows)
    with pytest.raises(UserError, match="different images or runs"):
        of(Results(results.paths.root, ["one"], ["mini"], [1, 4]))


def test_a_rerank_that_validation_switched_off_counts_as_no_difference(tmp_path: Path) -> None:
    """A mean over the data sets on which validation liked the rerank alone would speak for it."""
    names = tuple(f"set {i}" for i in range(4))
    results = Fake(tmp_path, datasets=names, shots=(1,), seeds=(1,)).write()
    for name in names:
        change(results.paths.manifest(name), lambda d: d.update(split="CoOp's split"))
    for name in names[:2]:

        def off(document: dict[str, Any]) -> None:
            for m in document["methods"]:
                if m["setting"] == "clean":
                    m |= {"threshold": 0.0, "looked_at": 0}

        change(results.paths.rerank("mini", name).with_suffix(".json"), off)
    frame = claims.table(Results(results.paths.root, names, ["mini"], [1])).frame
    rows = frame[frame["claim"] == "rerank_adds"].set_index("dataset")
    assert rows.loc[list(names[:2]), "verdict"].tolist() == ["off", "off"]
    expected = rows.loc[list(names[2:]), "difference"].sum() / 4
    assert rows.loc[AVERAGE, "difference"] == pytest.approx(expected)
    assert rows.loc[AVERAGE, "data_sets_not_judged"] == 2


def test_few_published_data_sets_have_a_column_each_and_one_over_all(tmp_path: Path) -> None:
    results = Fake(tmp_path, datasets=("a", "b"), shots=(1,), seeds=(1,)).write()
    for name in ("a", "b"):
        change(results.paths.manifest(name), lambda d: d.update(split="CoOp's split"))
    table = claims.table(Results(results.paths.root, ["a", "b"], ["mini"], [1]))
    assert [c.label for c in table.columns] == ["Claim", "a", "b", "mean over data sets", "Claimed by"]
    frame = table.frame.set_index(["claim", "dataset"])
    mean = frame.loc[("coder_beats_clip", AVERAGE), "difference"]
    assert mean == pytest.approx(frame.loc["coder_beats_clip"].loc[["a", "b"], "difference"].mean())
    assert table.rows[0][3].sort == pytest.approx(mean)
