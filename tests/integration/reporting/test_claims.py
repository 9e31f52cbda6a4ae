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
    CONTROLS,
    PAPER,
    REEVALUATION,
    SOURCES,
    TWO_DATA_SETS,
    Claim,
    Comparison,
    contested,
    over_data_sets,
    verdict,
)
from coder_clip.errors import UserError
from coder_clip.evaluation.estimates import paired_test_over_seeds
from coder_clip.foundation.artifacts import read_json, read_parquet, write_json, write_parquet
from coder_clip.reporting.evidence import Judged, judge
from coder_clip.reporting.exhibits import claims, claims_not_tested, why_texts
from coder_clip.reporting.parts.table import AVERAGE
from coder_clip.reporting.results import Results
from coder_clip.texts.kinds import BESIDES_NAME
from fake_results import FEATURES, Fake


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
            assert {c.after, c.before} <= {*FEATURES, "coder_few"}
    kinds = {
        c.name.removesuffix("_adds")
        for c in CLAIMS
        if c.name.endswith("_adds") and c.evidence == "texts"
    }
    assert kinds == set(BESIDES_NAME)


# The words of a statement that stand for a side, before and after "beat" or "add".
WORDS = {
    **{
        "coder": "CODER",
        "clip": "CLIP with names alone",
        "clip_ensemble": "CLIP's prompt ensemble",
    },
    **{
        "description": "averaged attribute texts",
        "random_words": "random words",
        "coder_rerank": "The rerank",
    },
    **{
        "coder_adapter": "CODER-Adapter",
        "coder_without_clip": "CODER-Adapter",
        "tip_adapter": "Tip-Adapter",
    },
    **{
        "tip_x": "TIP-X",
        "tip_x_without_clip": "TIP-X",
        "ape": "APE",
        "gda": "GDA",
        "raw_adapter": "raw image features",
        "raw_without_clip": "raw image features",
        "coder_few": "CODER by 100",
    },
    **{"lda": "a linear discriminant", "projected_means": "projected class means"},
    "sentence": "descriptions",
    **{"projected_with_clip": "projected class means", "projected": "projected features"},
    **{"original": "raw features", "discriminant": "a linear discriminant"},
    **{
        "other_images": "as many images of other data sets",
        "own_images": "as many images of the data set (or all)",
        "rotated_texts": "the same texts rotated at random",
        "random_directions": "as many random directions",
        "centred": "centred raw features",
        "whitened": "whitened raw features",
        "projected_images": "projection on as many directions of images",
    },
    **{
        "all texts": "More texts",
        "few texts": "few",
        "diverse texts": "Diverse texts",
        "alike texts": "similar ones",
    },
}
VOCABULARY = {"many_texts_in_coder", "coder_beats_features_without_clip"}  # tested only with one
NO_CLIP = {"lda", "projected_means", "coder_without_clip", "tip_x_without_clip"}


def test_each_claim_compares_what_its_statement_says() -> None:
    """'LDA beats TIP-X' was compared with Tip-Adapter, and every test passed."""
    assert {c.name for c in CLAIMS if c.vocabulary} == VOCABULARY
    for c in CLAIMS:
        if c.name in ("corrected_neighbours", "coder_beats_features_in_adapter") or c.name.endswith(
            "_adds"
        ):
            continue
        first, _, second = c.statement.partition(" beat")
        if c.source == CONTROLS:
            # texts describe, or names are projected on
            assert first == ("Neighbours by texts" if c.after == "coder" else "Projection on names")
            label = {"knn": "(k-NN)", "nearest": "(nearest)", "r_precision": "(R-precision)"}
            measure = next(m for m in label if c.name.endswith(m))
            assert second.endswith(label[measure]), c.name
            assert c.further == (measure != "knn")
            assert WORDS[c.before] in second, c.name
            continue
        assert WORDS[c.after] in first, c.name
        assert WORDS[c.before] in second, c.name
        if c.source == REEVALUATION and c.evidence == "few_shot":
            without = {c.after, c.before} <= NO_CLIP
            assert without or not {c.after, c.before} & NO_CLIP, "CLIP's logits on one side only"
            assert c.statement.startswith(
                "Without CLIP's logits, " if without else "With CLIP's logits, "
            )
    for kind, name in (
        ("attribute", "Attributes"),
        ("analogous", "Analogous classes"),
        ("synonym", "Synonyms"),
    ):
        assert of_name(f"{kind}_adds").statement == f"{name} add to CODER's other texts"
    corrected = of_name("corrected_neighbours")
    assert corrected.statement == "CODER corrects more nearest neighbours than it breaks"
    assert (corrected.after, corrected.before) == ("coder", "original")
    in_adapter = of_name("coder_beats_features_in_adapter")
    assert in_adapter.statement == "In the adapter, CODER beats raw image features"
    assert (in_adapter.after, in_adapter.before) == ("coder_adapter", "raw_adapter")


def of_name(name: str) -> Claim:
    return next(c for c in CLAIMS if c.name == name)


def test_each_claim_is_the_difference_of_its_two_sides(tmp_path: Path) -> None:
    """Every method, feature and text has its own accuracy here, so a comparison of others has
    another difference.
    """
    results = Fake(tmp_path, datasets=("one",), shots=(1, 4), seeds=(1, 2), per_class=40).write()
    n, rank = 240, {m: i for i, m in enumerate(METHODS)}

    def right(rows: pd.DataFrame) -> pd.DataFrame:
        """The first so many images of each run, by method and setting."""
        best = {m: 5 * i + 20 for m, i in rank.items()}
        number = rows["image_id"].map({i: k for k, i in enumerate(sorted(set(rows["image_id"])))})
        extra = (rows["setting"] == "as_published") * 3 + (rows["setting"] == "corrected") * 2
        return rows.assign(correct=number < rows["method"].map(best) + extra)

    for path in (
        results.paths.zero_shot("mini", "one"),
        results.paths.rerank("mini", "one"),
        results.paths.adapter("mini", "one", 4),
    ):
        write_parquet(path, right(read_parquet(path)))
    features = {
        "original": 0.0,
        "coder": 0.1,
        "coder_few": 0.06,
        "projected": 0.4,
        "discriminant": 0.8,
        **{"other_images": 0.011, "own_images": 0.022, "rotated_texts": 0.033},
        **{"random_directions": 0.044, "centred": 0.055, "whitened": 0.066},
        "projected_images": 0.077,
    }
    measures = {"knn": 0.001, "nearest": 0.002, "r_precision": 0.003}
    texts = {
        "all_against_few": 0.31,
        "diverse_against_alike": 0.32,
        "attribute": 0.33,
        "analogous": 0.34,
        "synonym": 0.35,
    }

    def number(difference: float) -> dict[str, Any]:
        share = {"value": difference, "low": difference - 0.01, "high": difference + 0.01}
        return {"difference": share, "fixed": 1, "broke": 1, "p_value": 0.5}

    def write(document: dict[str, Any]) -> None:
        document["vocabulary"] = 3068
        document["neighbour_tests"] = [
            {"before": b, "after": a, "measure": m, **number(features[a] - features[b] + more)}
            for a in features
            for b in features
            for m, more in measures.items()
            if a != b
        ]
        document["text_tests"] = [
            {"test": t, **number(v)} if "_" in t else {"test": "kind", "kind": t, **number(v)}
            for t, v in texts.items()
        ]

    change(results.paths.evaluation("mini", "one").with_suffix(".json"), write)
    found = of(Results(results.paths.root, ["one"], ["mini"], [1, 4]))
    measure_of = {"better_retrieval": "r_precision", "corrected_neighbours": "nearest"}
    text_of = {"more_texts": "all_against_few", "diverse_texts": "diverse_against_alike"}
    for c in CLAIMS:
        name, evidence, after, before = c.name, c.evidence, c.after, c.before
        comparison = found[name].comparison
        assert comparison is not None, name
        if evidence == "neighbours":
            measure = measure_of.get(name, "knn")
            if name.startswith(("texts_beat", "names_beat")):
                measure = next(m for m in measures if name.endswith(m))
            expected = features[after] - features[before] + measures[measure]
        elif evidence == "texts":
            expected = texts[text_of.get(name, name.removesuffix("_adds"))]
        else:
            expected = 5 * (rank[after] - rank[before]) / n
        assert comparison.difference == pytest.approx(expected), name


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


def test_images_are_paired_by_their_id_and_not_by_their_row(results: Results) -> None:
    before = of(results)["coder_beats_clip"]
    path = results.paths.zero_shot("mini", "one")
    write_parquet(path, read_parquet(path).sample(frac=1, random_state=0))
    assert of(Results(results.paths.root, ["one"], ["mini"], [1, 4]))["coder_beats_clip"] == before


def test_verdicts_are_over_groups(results: Results) -> None:
    """Twenty frames of one video would count as twenty observations in every verdict."""
    paths, right = results.paths, {}
    for kind, path in (
        ("zero-shot", paths.zero_shot("mini", "one")),
        ("few-shot", paths.adapter("mini", "one", 4)),
    ):
        rows = read_parquet(path)
        # ten images after another are one scene
        scene = {image: i // 10 for i, image in enumerate(sorted(rows["image_id"].unique()))}
        rows["group"] = rows["image_id"].map(scene)
        write_parquet(path, rows)
        right[kind] = rows[rows["setting"].isin(("any", "clean"))].sort_values("image_id")
    changed = of(Results(paths.root, ["one"], ["mini"], [1, 4]))
    for kind, claim, runs, pair in (
        ("zero-shot", "coder_beats_clip", "draw", ("clip", "coder")),
        ("few-shot", "adapter_beats_tip_adapter", "seed", ("tip_adapter", "coder_adapter")),
    ):
        rows = right[kind]
        was, now = (
            np.stack([r["correct"].to_numpy() for _, r in rows[rows["method"] == m].groupby(runs)])
            for m in pair
        )
        images = rows[(rows["method"] == pair[0]) & (rows[runs] == rows[runs].min())]
        test = paired_test_over_seeds(was, now, groups=images["group"].to_numpy())
        plain = paired_test_over_seeds(was, now)
        found = changed[claim].comparison
        assert found is not None
        expected = test["difference"]["low"], test["difference"]["high"], test["p_value"]
        assert (found.low, found.high, found.p_value) == pytest.approx(expected)
        assert test["difference"]["low"] != pytest.approx(plain["difference"]["low"], abs=1e-4)


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_fewer_than_three_seeds_have_no_verdict(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    """Of equal methods whose results differ from shots to shots, one seed called 31 to 81 % clear."""
    results = Fake(tmp_path, datasets=("one",), shots=(1, 4), seeds=seeds, per_class=60).write()
    path = results.paths.adapter("mini", "one", 4)
    rows = read_parquet(path)
    rows.loc[rows["method"] == "coder_adapter", "correct"] = True  # as clear as it can be
    write_parquet(path, rows)
    results = Results(results.paths.root, ["one"], ["mini"], [1, 4])
    for judged in of(results).values():
        if judged.claim.evidence == "few_shot":
            assert judged.verdict == "not judged", judged.claim.name
            assert "one or two seeds" in judged.why
            assert not judged.fewer
    table = claims.table(results)
    cell = next(
        row[1] for row in table.rows if row[0].text == "The CODER-Adapter beats Tip-Adapter"
    )
    assert cell.text.startswith("not judged, +")
    assert not cell.bold
    assert ("for these shots (one seed)" in table.caption) == (len(seeds) == 1)
    assert any("three are needed (adapter.seeds)" in note for note in table.notes)
    assert "not judged" in claims.summary(results)[0]


def test_another_verdict_with_fewer_shots_is_said(tmp_path: Path) -> None:
    """With 4 shots TIP-X was clearly worse than the CODER-Adapter, and the page said 'open' without
    a word.
    """
    results = Fake(
        tmp_path, datasets=("one",), shots=(1, 2, 4), seeds=(1, 2, 3), per_class=60
    ).write()
    for shots, better in ((1, 0), (2, 100), (4, 0)):
        path = results.paths.adapter("mini", "one", shots)
        rows = read_parquet(path)
        number = rows["image_id"].map({i: k for k, i in enumerate(sorted(set(rows["image_id"])))})
        ours = rows["method"] == "coder_adapter"
        rows["correct"] = number < 200 + better * ours
        write_parquet(path, rows)
    results = Results(results.paths.root, ["one"], ["mini"], [1, 2, 4])
    table = claims.table(results)
    row = table.frame.set_index("claim").loc["adapter_beats_tip_x"]
    assert row["verdict"] == "open"
    assert row["other_shots"].startswith("2 shots: shown, +27.8 [")
    assert "4 shots" not in row["other_shots"]
    assert "1 shot" not in row["other_shots"].replace("2 shots", "")
    (note,) = [n for n in table.notes if n.startswith("Another verdict with fewer shots")]
    assert f"“The CODER-Adapter beats TIP-X” on one: {row['other_shots']}" in note
    assert table.frame.set_index("claim").loc["coder_beats_clip", "other_shots"] == ""


def test_what_clip_is_worth_beside_images_alone_is_printed(results: Results) -> None:
    """CLIP without a shot was better than the discriminant, so whatever held CLIP's logits
    'contradicted' them.
    """
    rows = read_parquet(results.paths.adapter("mini", "one", 4))
    mean = rows[rows["setting"] == "clean"].groupby("method")["correct"].mean()
    (note,) = [n for n in claims.table(results).notes if n.startswith("CLIP's prompt ensemble")]
    for method in ("lda", "projected_means"):
        difference = f"{100 * (mean['clip_ensemble'] - mean[method]):+.1f}".replace("-", "−")
        assert f"minus “{METHODS[method].label}”: one {difference} [" in note


def test_rows_that_used_labels_say_how_many(results: Results) -> None:
    """Neighbours by a discriminant are not free of labels, as those by CODER are."""
    stated = [row[0].text for row in claims.table(results).rows]
    assert (
        "Neighbours by a linear discriminant of 4 labelled "
        "images per class beat those by CODER (k-NN)"
    ) in stated
    assert "Neighbours by projected features beat those by CODER (k-NN)" in stated
    assert "Few-shot: 4 shots per class, over seeds and images." in claims.table(results).caption


def test_the_first_sentences_count_doubts_apart_and_name_what_is_contradicted(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    """'4 shown' counted one that the correction does not confirm, and no sentence said which claims
    failed.
    """
    frame = claims.judged(results).copy()
    frame["verdict"], frame["p_holm"] = "open", 0.001
    at = frame.set_index("claim").index.get_loc
    for name, verdict_, p in (
        ("coder_beats_clip", "shown", 0.001),
        ("rerank_adds", "shown", 0.001),
        ("more_texts", "shown", 0.2),
        ("diverse_texts", "contradicted", 0.001),
        ("synonym_adds", "contradicted", 0.3),
        ("projected_neighbours", "shown", 0.9),
    ):
        frame.loc[at(name), ["verdict", "p_holm"]] = verdict_, p
    monkeypatch.setattr(claims, "judged", lambda _: frame)
    (said,) = claims.summary(results)
    assert said == (
        "On one: of the paper's 19 claims 2 shown, 1 more shown (?), 1 contradicted, 1 more "
        "contradicted (?), 14 open "
        "(contradicted: “Diverse texts beat as many similar ones of each kind”; “Synonyms add to "
        "CODER's other "
        "texts” (?)). Of 10 by Herzog & Wang, who question its premise, 0 shown, 1 more shown "
        "(?), 0 contradicted, "
        "9 open. Of 21 controls, which ask whether anything else than texts would do, 0 shown, 0 "
        "contradicted, 21 open."
    )


def test_random_words_count_with_all_their_draws(results: Results) -> None:
    """The first draw alone would be luck."""
    path = results.paths.zero_shot("mini", "one")
    rows = read_parquet(path)
    words = rows[rows["method"] == "random_words"]
    lucky = words.assign(draw=1, correct=True, prediction=words["label"])
    write_parquet(path, pd.concat([rows, lucky]))
    coder = rows[(rows["method"] == "coder") & (rows["setting"] == "clean")]["correct"].mean()
    expected = coder - (words["correct"].mean() + 1) / 2
    found = of(Results(results.paths.root, ["one"], ["mini"], [1, 4]))[
        "coder_beats_random_words"
    ].comparison
    assert found is not None
    assert found.difference == pytest.approx(expected)


def test_a_claim_that_cannot_be_tested_says_why(tmp_path: Path) -> None:
    results = Fake(tmp_path / "a", datasets=("one",), reranked=False).write()
    assert (
        of(results)["rerank_adds"].verdict,
        "threshold 0" in of(results)["rerank_adds"].why,
    ) == (
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
    # the errors of single data sets do not enter, unless there is no spread at all
    deviation = (math.fsum((d - mean) ** 2 for d in differences) / (n - 1)) ** 0.5
    if len(set(differences)) == 1:
        deviation = 0.1 / 1.959963985  # each data set's own interval is 0.1 to either side
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


def test_one_data_set_says_nothing_about_others_and_two_give_no_verdict(tmp_path: Path) -> None:
    """Two data sets were "open" whatever came out, and no word said that they could not be else."""
    assert over_data_sets([Comparison(0.1, 0.05, 0.15, 0.01)]) is None
    results = Fake(tmp_path, datasets=("a", "b"), seeds=(1, 2, 3), split="CoOp's split").write()
    table = claims.table(results)
    means = table.frame[table.frame["dataset"] == AVERAGE]
    compared = means[means["difference"].notna()]
    assert len(compared) > 10
    assert set(compared["verdict"]) == {"not judged"}
    assert set(compared["why"]) == {TWO_DATA_SETS}
    assert compared["p_holm"].isna().all(), "what is not judged is no test"
    assert any("two data sets cannot give a verdict" in note for note in table.notes)


def test_what_is_not_judged_enters_no_mean(tmp_path: Path) -> None:
    """One seed of a fourth data set moved a mean from open to shown."""
    names = ("a", "b", "c", "d")
    fake = Fake(tmp_path, datasets=names, shots=(1, 4), seeds=(1, 2, 3), split="CoOp's split")
    results = fake.write()
    for shots in (1, 4):
        path = results.paths.adapter("mini", "d", shots)
        rows = read_parquet(path)
        write_parquet(path, rows[rows["seed"] == 1].assign(correct=rows["method"] == "lda"))
    results = Results(results.paths.root, names, ["mini"], [1, 4])
    frame = claims.table(results).frame
    name = "discriminant_beats_adapter_without_clip"
    of_claim = frame[frame["claim"] == name].set_index("dataset")
    assert of_claim.loc["d", "verdict"] == "not judged"
    assert of_claim.loc["d", "difference"] == 1.0
    judged_ones = of_claim.loc[["a", "b", "c"], "difference"]
    assert of_claim.loc[AVERAGE, "difference"] == pytest.approx(judged_ones.mean())
    assert of_claim.loc[AVERAGE, "data_sets_not_judged"] == 1
    assert of_claim.loc["d", "other_shots"] == ""
    # nor the fewer shots of that data set, nor CLIP's distance to the discriminant
    fewer = [j.fewer for j in judge(results, "d", "mini") if j.claim.name == name]
    assert fewer == [{}]


def test_a_part_of_another_data_set_counts_in_zero_shot_claims_alone(tmp_path: Path) -> None:
    """Its texts are others, so it tells about texts; its shots and neighbours would count twice."""
    whole, part = ("a", "b", "c"), "caltech101_named_clip"
    names = (*whole, part)
    fake = Fake(tmp_path, datasets=names, shots=(4,), seeds=(1, 2, 3), split="CoOp's split")
    results = fake.write()
    for path in (results.paths.adapter("mini", part, 4), results.paths.zero_shot("mini", part)):
        rows = read_parquet(path)
        write_parquet(path, rows.assign(correct=rows["method"].isin(["lda", "coder"])))
    results = Results(results.paths.root, names, ["mini"], [4])
    frame = claims.table(results).frame
    for name, counted in (
        ("discriminant_beats_adapter_without_clip", whole),
        ("coder_beats_clip", names),
    ):
        of_claim = frame[frame["claim"] == name].set_index("dataset")["difference"]
        assert of_claim[part] == 1.0
        assert of_claim[AVERAGE] == pytest.approx(of_claim[list(counted)].mean())


def test_each_verdict_says_whether_groups_are_declared_or_detected(tmp_path: Path) -> None:
    """UCF101's sign turned with its groups, and no word said that they had been guessed."""
    sources = {"a": "declared", "b": "features", "c": "pixels", "d": "names", "e": None}
    fake = Fake(tmp_path, datasets=tuple(sources), shots=(1,), seeds=(1, 2, 3), split="CoOp's")
    results = fake.write()
    for name, source in sources.items():
        if source:
            change(results.paths.manifest(name), lambda d, s=source: d.update(grouped_by=s))
    table = claims.table(Results(results.paths.root, [*sources], ["mini"], [1]))
    note = next(note for note in table.notes if note.startswith("Groups of near twins"))
    assert "declared (a)" in note
    assert "detected by features, a weak stand-in (b)" in note
    assert "detected by pixels (c)" in note
    assert "declared by image names (d)" in note
    assert "e)" not in note
    groups = table.frame.groupby("dataset")["groups"].unique()
    assert [g.tolist() for g in groups[["a", "b", "e"]]] == [
        ["declared"],
        ["detected by features, a weak stand-in"],
        [""],
    ]
    assert "declared on 1; detected by features, a weak stand-in on 1" in groups[AVERAGE][0]


def test_one_shot_without_views_says_why_discriminants_are_the_cache(tmp_path: Path) -> None:
    """The artefact showed as a verdict for and against discriminants."""
    results = Fake(tmp_path, datasets=("a", "b"), shots=(1, 4), seeds=(1, 2, 3)).write()

    def note(features: list[str], shots: list[int]) -> list[str]:
        found = Results(results.paths.root, ["a", "b"], ["mini"], shots)
        found.features = features
        return [n for n in claims.table(found).notes if n.startswith("With 1 shot per class")]

    (said,) = note(["b"], [1, 4])
    assert "no covariance to estimate" in said
    assert said.endswith("(b).")
    assert note([], [1, 4]) == note(["b"], [4]) == []


@pytest.mark.parametrize("few", ["fewer shots", "most shots"])
def test_a_number_of_shots_with_few_seeds_is_named_nowhere(tmp_path: Path, few: str) -> None:
    """With all images of a class as shots, all seeds are one: its interval says nothing."""
    results = Fake(tmp_path, datasets=("one",), shots=(1, 4), seeds=(1, 2, 3)).write()
    for shots in (1, 4):
        path = results.paths.adapter("mini", "one", shots)
        rows = read_parquet(path)
        if (shots == 1) == (few == "fewer shots"):
            rows = rows[rows["seed"] == 1]
        write_parquet(path, rows.assign(correct=(rows["method"] == "lda") == (shots == 1)))
    found = of(Results(results.paths.root, ["one"], ["mini"], [1, 4]))
    judged = found["discriminant_beats_adapter_without_clip"]
    assert judged.fewer == {}
    assert judged.verdict == ("contradicted" if few == "fewer shots" else "not judged")


def test_two_data_sets_give_no_verdict_with_fewer_shots_either(tmp_path: Path) -> None:
    names = ("a", "b", "c")
    fake = Fake(tmp_path, datasets=names, shots=(1, 4), seeds=(1, 2, 3), split="CoOp's")
    results = fake.write()
    for name, shots in [(n, s) for n in names for s in (1, 4)]:
        path = results.paths.adapter("mini", name, shots)
        rows = read_parquet(path)
        if name == "c" and shots == 1:
            rows = rows[rows["seed"] == 1]
        # 0.1 points apart from each other, and another sign with fewer shots
        wrong = sorted(rows["image_id"].unique())[: 1 + names.index(name)]
        right = (rows["method"] == "lda") == (shots == 1)
        write_parquet(path, rows.assign(correct=right & ~rows["image_id"].isin(wrong)))
    frame = claims.table(Results(results.paths.root, names, ["mini"], [1, 4])).frame
    of_claim = frame[frame["claim"] == "discriminant_beats_adapter_without_clip"]
    of_claim = of_claim.set_index("dataset")
    assert of_claim.loc["a", "other_shots"].startswith("1 shot: shown")
    assert of_claim.loc[AVERAGE, "verdict"] == "contradicted"
    assert of_claim.loc[AVERAGE, "other_shots"] == ""


def test_many_data_sets_are_counted_and_each_is_in_the_file(tmp_path: Path) -> None:
    names = tuple(f"set {i}" for i in range(5))
    fake = Fake(tmp_path, datasets=names, shots=(1,), seeds=(1, 2), split="CoOp's split")
    results = fake.write()
    table = claims.table(results)
    further = [claim for claim in CLAIMS if claim.further]
    assert len(table.rows) == len(CLAIMS) - len(VOCABULARY) - len(further)
    frame = table.frame
    assert len(frame) == 6 * (len(CLAIMS) - len(VOCABULARY))
    mean = frame[(frame["dataset"] == AVERAGE) & (frame["claim"] == "coder_beats_clip")].iloc[0]
    each = frame[(frame["dataset"] != AVERAGE) & (frame["claim"] == "coder_beats_clip")]
    assert mean["difference"] == pytest.approx(each["difference"].mean())
    tested = mean["data_sets_shown"] + mean["data_sets_contradicted"] + mean["data_sets_open"]
    assert tested + mean["data_sets_not_judged"] == 5
    assert mean["data_sets_shown"] == (each["verdict"] == "shown").sum()
    outcome, counts = claims.summary(results)
    assert counts.startswith("Over all data sets: of the paper's")
    assert outcome.startswith("Over 5 data sets, neighbours by texts are better than by as many ")
    assert "as many images of other data sets (+20.0" in outcome


def test_the_re_evaluation_is_marked_and_not_counted_among_the_papers_claims(
    results: Results,
) -> None:
    table = claims.table(results)
    sources = [row[-1].text for row in table.rows]
    paper = [s for s in sources if s.startswith(PAPER)]
    assert {s for s in sources if not s.startswith(PAPER)} == {REEVALUATION, CONTROLS}
    assert f"of the paper's {len(paper)} claims" in claims.summary(results)[0]
    assert SOURCES[REEVALUATION] in table.caption


def test_a_verdict_that_the_correction_does_not_confirm_is_marked() -> None:
    assert contested("shown", 0.2)
    assert not contested("shown", 0.01)
    assert not contested("open", 0.9)
    assert not contested("off", float("nan"))


def test_p_values_are_corrected_for_all_claims_of_a_column(tmp_path: Path) -> None:
    """Without it, (?) would never stand in the column that most people read."""
    results = Fake(tmp_path, datasets=("a", "b", "c"), shots=(1,), split="CoOp's split").write()
    frame = claims.table(results).frame
    for dataset, rows in frame[frame["p_value"].notna()].groupby("dataset"):
        tested = rows.sort_values("p_value", kind="stable")
        assert dataset != AVERAGE or len(tested) == len(CLAIMS) - len(VOCABULARY)
        largest = 0.0
        for k, (_, row) in enumerate(tested.iterrows()):
            largest = max(largest, min(1.0, row["p_value"] * (len(tested) - k)))
            assert row["p_holm"] == pytest.approx(largest)
        assert (tested["p_holm"] > tested["p_value"]).any()


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
    fake = Fake(tmp_path, datasets=names, shots=(1,), seeds=(1,), split="CoOp's split")
    results = fake.write()
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
    fake = Fake(tmp_path, datasets=("a", "b"), shots=(1,), seeds=(1,), split="CoOp's split")
    table = claims.table(fake.write())
    assert [c.label for c in table.columns] == [
        "Claim",
        "a",
        "b",
        "mean over data sets",
        "Claimed by",
    ]
    frame = table.frame.set_index(["claim", "dataset"])
    mean = frame.loc[("coder_beats_clip", AVERAGE), "difference"]
    assert mean == pytest.approx(frame.loc["coder_beats_clip"].loc[["a", "b"], "difference"].mean())
    assert table.rows[0][3].sort == pytest.approx(mean)


def test_claims_about_a_vocabulary_are_only_where_a_model_brings_one(results: Results) -> None:
    """A row that no run of this kind can test would be one more "not run" for ever."""
    assert not VOCABULARY & set(of(results))
    change(
        results.paths.evaluation("mini", "one").with_suffix(".json"),
        lambda d: d.update(vocabulary=3068),
    )
    found = of(Results(results.paths.root, ["one"], ["mini"], [1, 4]))
    assert set(found) >= VOCABULARY


def test_without_texts_of_the_classes_only_what_needs_none_is_judged(results: Results) -> None:
    """CLIP's logits of texts that are not there would be invented."""
    change(
        results.paths.evaluation("mini", "one").with_suffix(".json"),
        lambda d: d.update(vocabulary=3068),
    )
    results = Results(results.paths.root, ["one"], ["mini"], [1, 4])
    results.with_texts = []
    for path in (results.paths.zero_shot("mini", "one"), results.paths.rerank("mini", "one")):
        path.unlink()  # such a run has none
        path.with_suffix(".json").unlink()
    found = of(results)
    for claim in CLAIMS:
        judged = found[claim.name]
        if claim.evidence in ("zero_shot", "texts"):
            assert judged.verdict in ("off", "not run"), claim.name
            assert judged.comparison is None
        elif claim.evidence == "neighbours":
            assert judged.verdict != "not run" or "none of its classes" not in judged.why, (
                claim.name
            )
    assert "has none of its classes" in found["coder_beats_clip"].why
    assert claims.table(results).rows


def test_claims_that_a_run_cannot_test_are_folded_with_their_reasons(tmp_path: Path) -> None:
    """On true CLIP ten rows "not run" stood first, so readers saw what was not there."""
    results = Fake(tmp_path, datasets=("one",), shots=(1, 4)).write()
    assert claims_not_tested.nothing(results) == "every claim was tested"

    def without(document: dict[str, Any]) -> None:
        document["text_tests"] = []

    change(results.paths.evaluation("mini", "one").with_suffix(".json"), without)
    results = Results(results.paths.root, ["one"], ["mini"], [1, 4])
    stated = [row[0].text for row in claims.table(results).rows]
    folded = claims_not_tested.table(results)
    assert "Attributes add to CODER's other texts" not in stated
    row = next(r for r in folded.rows if r[0].text == "Attributes add to CODER's other texts")
    assert [cell.text for cell in row[1:]] == [
        "off",
        "the texts or images allow no such comparison",
        "paper, 3.3",
    ]
    every = {*stated, *(row[0].text for row in folded.rows)}
    frame = claims.table(results).frame
    further = {claim.name for claim in CLAIMS if claim.further}
    assert every == set(frame.loc[~frame["claim"].isin(further), "statement"])


def test_controls_have_a_row_each_and_a_column_by_measure(results: Results) -> None:
    """Three measures of one control in three rows would hide that they agree."""
    table = why_texts.table(results)
    assert [c.label for c in table.columns[1:]] == ["k-NN", "nearest", "R-precision"]
    frame = claims.table(results).frame.set_index("claim")
    assert len(table.rows) == 7
    assert {row[0].text for row in table.rows} == {WORDS[c] for c in list(FEATURES)[4:]}
    row = next(r for r in table.rows if r[0].text == WORDS["other_images"])
    for cell, measure in zip(row[1:], ("knn", "nearest", "r_precision"), strict=True):
        expected = frame.loc[f"texts_beat_other_images_{measure}"]
        assert cell.sort == pytest.approx(expected["difference"])
        assert cell.text.startswith(expected["verdict"])
    assert "own_images" not in " ".join(table.notes)
    assert "images of the data set: 30" in " ".join(table.notes)


def test_a_measure_without_a_result_keeps_its_place(tmp_path: Path) -> None:
    """The other measures moved into its column, and the figure ended the run."""
    results = Fake(tmp_path, datasets=("one",), shots=(1,)).write()
    path = results.paths.evaluation("mini", "one").with_suffix(".json")
    change(
        path,
        lambda d: d.update(
            neighbour_tests=[
                t
                for t in d["neighbour_tests"]
                if (t["before"], t["measure"]) != ("other_images", "knn")
            ]
        ),
    )
    results = Results(results.paths.root, ["one"], ["mini"], [1])
    table = why_texts.table(results)
    row = next(r for r in table.rows if r[0].text == WORDS["other_images"])
    frame = claims.table(results).frame.set_index("claim")
    assert row[1].sort is None or math.isnan(float(row[1].sort))
    assert row[3].sort == pytest.approx(
        frame.loc["texts_beat_other_images_r_precision", "difference"]
    )
    figure = why_texts.FIGURE.draw(results, Fake(tmp_path).image)
    assert len(figure.axes) == 3


def test_a_claim_on_one_data_set_of_many_is_not_judged_over_all(tmp_path: Path) -> None:
    """ "Not run" in the column of means hid that one data set shows the claim."""
    names = ("a", "b", "c", "d")
    results = Fake(tmp_path, datasets=names, shots=(1,), split="CoOp's split").write()
    for name in names[1:]:
        path = results.paths.evaluation("mini", name).with_suffix(".json")
        change(path, lambda d: d.update(text_tests=[]))
    frame = claims.table(Results(results.paths.root, names, ["mini"], [1])).frame
    row = frame[frame["claim"] == "more_texts"].set_index("dataset").loc[AVERAGE]
    assert row["verdict"] == "not judged"
    assert "three are needed" in row["why"]
    assert math.isnan(row["difference"])
