"""The claims of the paper: each verdict is what its rule says, and says why where there is none."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coder_clip.baselines.methods import METHODS
from coder_clip.claims import (
    CONTROLS,
    FEWEST_SETS,
    JUDGED,
    MEASURES,
    PAPER,
    REEVALUATION,
    SOURCES,
    TABLE,
    Claim,
    verdict,
)
from coder_clip.claims import claims as all_claims
from coder_clip.errors import UserError
from coder_clip.evaluation.estimates import compare
from coder_clip.evaluation.intervals import holm
from coder_clip.evaluation.pooled import pooled, signed_rank
from coder_clip.foundation.artifacts import read_json, read_parquet, write_json, write_parquet
from coder_clip.phases.claims import FEW_SEEDS, ONE_SHOT
from coder_clip.reporting.exhibits import claims, why_texts
from coder_clip.reporting.first_screen import MOST, first_screen, in_words
from coder_clip.reporting.results import AVERAGE, Results
from coder_clip.texts.kinds import BESIDES_NAME
from fake_results import FEATURES, Fake, judged_again

VOCABULARY = {"many_texts_in_coder"}  # tested only where a model brings one
SETS = tuple(f"set {i}" for i in range(FEWEST_SETS))


def again(results: Results, **more: Any) -> Results:
    """The same results, judged on what the files hold now."""
    return judged_again(results.paths.root, results.datasets, results.models, results.shots, **more)


def of(results: Results, dataset: str = "one", model: str = "mini") -> dict[str, dict[str, Any]]:
    """Claim -> its record."""
    return {
        r["claim"]: r
        for r in results.claims()["claims"]
        if (r["dataset"], r["model"]) == (dataset, model)
    }


def change(path: Path, how: Callable[[dict[str, Any]], object]) -> None:
    document = read_json(path)
    how(document)
    write_json(path, document)


def rewrite(path: Path, how: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    write_parquet(path, how(read_parquet(path)))


def names_only(document: dict[str, Any]) -> None:
    document["classes"] = [{"name": c["name"]} for c in document["classes"]]


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Fake(tmp_path, datasets=("one",), shots=(1, 4)).write()


# ---- the table of claims


def test_every_kind_of_text_has_its_claim_and_controls_are_exploratory() -> None:
    kinds = {c.before.removeprefix("all but ") for c in all_claims() if "all but" in c.before}
    assert kinds == set(BESIDES_NAME)
    assert {c.by for c in all_claims()} == set(SOURCES)
    assert all(c.exploratory for c in all_claims() if c.by == CONTROLS)
    for c in all_claims():
        # texts belong to classes; neighbours and few-shot methods are compared on images
        assert (c.over == "classes") == (c.evidence in ("zero_shot", "texts")), c.id


def test_a_claim_is_added_by_one_line(results: Results, tmp_path: Path, monkeypatch: Any) -> None:
    """What CONTRIBUTING promises."""
    table = tmp_path / "claims.csv"
    line = "ape_beats_tip_x,APE beats TIP-X,this project,few_shot,ape,tip_x,accuracy,images,yes\n"
    table.write_text(TABLE.read_text(encoding="utf-8") + line, encoding="utf-8")
    monkeypatch.setattr("coder_clip.phases.claims.claims", lambda: all_claims(table))
    monkeypatch.setattr("coder_clip.reporting.verdicts.claims", lambda: all_claims(table))
    more = again(results)
    rows = read_parquet(results.paths.adapter("mini", "one", 4))
    mean = rows[rows["setting"] == "clean"].groupby("method")["correct"].mean()
    difference = of(more)["ape_beats_tip_x"]["difference"]["value"]
    assert difference == pytest.approx(mean["ape"] - mean["tip_x"])
    assert claims.table(more).rows[-1][0].text == "APE beats TIP-X"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a,A,paper,zero_shot,codr,clip,accuracy,classes,", "unknown after 'codr'; known are"),
        ("a,A,paper,zero_shot,coder,clp,accuracy,classes,", "unknown before 'clp'"),
        ("a,A,papers,zero_shot,coder,clip,accuracy,classes,", "unknown source 'papers'"),
        ("a,A,paper,zeroshot,coder,clip,accuracy,classes,", "unknown evidence 'zeroshot'"),
        ("a,A,paper,zero_shot,coder,clip,recall,classes,", "unknown measure 'recall'"),
        ("a,A,paper,zero_shot,coder,clip,accuracy,all,", "unknown over 'all'"),
        ("a,A,paper,zero_shot,coder,clip,accuracy,classes,maybe", "unknown exploratory 'maybe'"),
        ("a,A,paper,zero_shot,coder,clip", "9 values are needed"),
        ("coder_beats_clip,A,paper,texts,all texts,few texts,accuracy,images,", "there already"),
        ("a,A,paper,few_shot,gda,coder_adapter,accuracy,images,", "as 'adapter_beats_gda'"),
    ],
)
def test_a_claim_of_unknown_or_known_sides_is_refused(
    tmp_path: Path, line: str, message: str
) -> None:
    """A misspelled method would make a claim "not tested" for ever; one test stood twice, once with
    each sign.
    """
    table = tmp_path / "claims.csv"
    table.write_text(TABLE.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"claims\.csv, line \d+") as raised:
        all_claims(table)
    assert message in str(raised.value)


def test_another_column_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "claims.csv"
    table.write_text("id,statement\n", encoding="utf-8")
    with pytest.raises(UserError, match="has columns"):
        all_claims(table)


# The words of a statement that stand for a side, before and after "beat" or "add".
WORDS = {
    **{"coder": "CODER", "clip": "CLIP with names alone", "clip_ensemble": "prompt ensemble"},
    **{"description": "averaged attribute texts", "random_words": "random words"},
    **{"coder_rerank": "The rerank", "coder_adapter": "CODER-Adapter"},
    **{"coder_without_clip": "CODER-Adapter", "tip_adapter": "Tip-Adapter", "tip_x": "TIP-X"},
    **{"tip_x_without_clip": "TIP-X", "ape": "APE", "gda": "GDA"},
    **{"raw_adapter": "raw image features", "raw_without_clip": "raw image features"},
    **{"coder_few": "CODER by 100", "lda": "a linear discriminant", "sentence": "descriptions"},
    **{"projected_means": "projected class means", "projected": "projected features"},
    **{"projected_with_clip": "projected class means", "original": "raw features"},
    "discriminant": "a linear discriminant",
    "other_images": "as many images of other data sets",
    "own_images": "as many images of the data set (or all)",
    "rotated_texts": "the same texts rotated at random",
    "random_directions": "as many random directions",
    **{"centred": "centred raw features", "whitened": "whitened raw features"},
    "projected_images": "projection on as many directions of images",
    **{"all texts": "More texts", "few texts": "few", "diverse texts": "Diverse texts"},
    "alike texts": "similar ones",
}
NO_CLIP = {"lda", "projected_means", "coder_without_clip", "tip_x_without_clip"}


def test_each_claim_compares_what_its_statement_says() -> None:
    """'LDA beats TIP-X' was compared with Tip-Adapter, and every test passed."""
    of_id = {c.id: c for c in all_claims()}
    for c in all_claims():
        if c.id in ("corrected_neighbours", "coder_beats_features_in_adapter") or c.id.endswith(
            "_adds"
        ):
            continue
        first, _, second = c.statement.partition(" beat")
        assert WORDS[c.before] in second, c.id
        if c.by == CONTROLS:
            # texts describe, or names are projected on
            assert first == ("Neighbours by texts" if c.after == "coder" else "Projection on names")
            continue
        assert WORDS[c.after] in first, c.id
        if c.by == REEVALUATION and c.evidence == "few_shot":
            without = {c.after, c.before} <= NO_CLIP
            assert without or not {c.after, c.before} & NO_CLIP, "CLIP's logits on one side only"
            assert c.statement.startswith("Without CLIP's" if without else "With CLIP's")
    for kind, name in (
        ("attribute", "Attributes"),
        ("analogous", "Analogous classes"),
        ("synonym", "Synonyms"),
    ):
        claim = of_id[f"{kind}_adds"]
        assert claim.statement == f"{name} add to CODER's other texts"
        assert (claim.after, claim.before) == ("all texts", f"all but {kind}")
    rerank = of_id["rerank_adds"]
    assert (rerank.after, rerank.before) == ("coder_rerank", "coder")
    corrected, in_adapter = of_id["corrected_neighbours"], of_id["coder_beats_features_in_adapter"]
    assert (corrected.after, corrected.before, corrected.measure) == (
        "coder",
        "original",
        "nearest",
    )
    assert (in_adapter.after, in_adapter.before) == ("coder_adapter", "raw_adapter")


# ---- one data set


def test_each_claim_is_the_difference_of_its_two_sides(tmp_path: Path) -> None:
    """Every method, feature and text has its own accuracy here, so a comparison of others has
    another difference.
    """
    results = Fake(tmp_path, datasets=("one",), shots=(1, 4), seeds=(1, 2, 3), per_class=40).write()
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
        rewrite(path, right)
    features = {f: 0.011 * i for i, f in enumerate([*FEATURES, "coder_few"])}
    measures = {"knn": 0.001, "nearest": 0.002, "r_precision": 0.003}
    texts = {"all_against_few": 0.31, "diverse_against_alike": 0.32}
    texts |= {kind: 0.33 + 0.01 * i for i, kind in enumerate(BESIDES_NAME)}

    def number(difference: float) -> dict[str, Any]:
        ends = {"value": difference, "low": difference - 0.01, "high": difference + 0.01}
        found = {**ends, "fixed": 1, "broke": 1, "p_value": 0.5}
        return {**found, "over_classes": {**found, "low": -1.0}}

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
    found = of(again(results))
    assert set(found) == {c.id for c in all_claims()}
    text_of = {"more_texts": "all_against_few", "diverse_texts": "diverse_against_alike"}
    for c in all_claims():
        if c.evidence == "neighbours":
            expected = features[c.after] - features[c.before] + measures[c.measure]
        elif c.evidence == "texts":
            expected = texts[text_of.get(c.id, c.id.removesuffix("_adds"))]
            assert found[c.id]["judged_on"]["low"] == -1.0, "on classes like these"
            assert found[c.id]["verdict"] == "open"
        else:
            expected = 5 * (rank[c.after] - rank[c.before]) / n
        assert found[c.id]["difference"]["value"] == pytest.approx(expected), c.id


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
    assert verdict({"low": low, "high": high}) == expected


def test_images_are_paired_by_their_id_and_not_by_their_row(results: Results) -> None:
    before = of(results)["coder_beats_clip"]
    rewrite(results.paths.zero_shot("mini", "one"), lambda r: r.sample(frac=1, random_state=0))
    assert of(again(results))["coder_beats_clip"] == before


def test_a_claim_about_texts_is_judged_over_classes_and_says_both(results: Results) -> None:
    """The rerank's +6.8 [5.4, 8.2] was "shown": of 30 classes 17 went up and 13 down."""

    def one_class(rows: pd.DataFrame) -> pd.DataFrame:
        """CODER is right on all images of one class, and CLIP on no image."""
        right = (rows["method"] == "coder") & (rows["label"] == 0)
        return rows.assign(correct=right)

    rewrite(results.paths.zero_shot("mini", "one"), one_class)
    changed = again(results)
    found = of(changed)["coder_beats_clip"]
    before, after = np.zeros(120), np.arange(120) < 20
    assert found["difference"] == pytest.approx({**compare([before], [after])})
    over = compare([before], [after], groups=np.repeat(np.arange(6), 20))
    assert found["over_classes"] == found["judged_on"] == pytest.approx({**over})
    assert found["verdict"] == "open"
    assert verdict(found["difference"]) == "shown"
    row = next(
        r for r in claims.table(changed).rows if r[0].text.startswith("CODER beats CLIP with")
    )
    assert row[1].text.startswith("open, +16.7 [")
    assert "; here [+9" in row[1].text
    frame = claims.table(changed).frame.set_index("claim").loc["coder_beats_clip"]
    assert frame["difference_low"] > 0 > frame["over_classes_low"]


def test_verdicts_are_over_groups(results: Results) -> None:
    """Twenty frames of one video would count as twenty observations in every verdict."""
    path = results.paths.adapter("mini", "one", 4)
    rows = read_parquet(path)
    # ten images after another are one scene
    scene = {image: i // 10 for i, image in enumerate(sorted(rows["image_id"].unique()))}
    rows["group"] = rows["image_id"].map(scene)
    write_parquet(path, rows)
    found = of(again(results))["adapter_beats_tip_adapter"]["difference"]
    rows = rows[rows["setting"] == "clean"].sort_values("image_id")
    was, now = (
        np.stack([r["correct"].to_numpy() for _, r in rows[rows["method"] == m].groupby("seed")])
        for m in ("tip_adapter", "coder_adapter")
    )
    groups = np.repeat(np.arange(12), 10)
    assert found == pytest.approx({**compare(was, now, groups=groups)})
    assert found["low"] != pytest.approx(compare(was, now)["low"], abs=1e-4)


@pytest.mark.parametrize("seeds", [(1,), (1, 2)])
def test_fewer_than_three_seeds_have_no_verdict(tmp_path: Path, seeds: tuple[int, ...]) -> None:
    """Of equal methods whose results differ from shots to shots, one seed called 31 to 81 % clear."""
    results = Fake(tmp_path, datasets=("one",), shots=(1, 4), seeds=seeds, per_class=60).write()
    # as clear as it can be
    rewrite(
        results.paths.adapter("mini", "one", 4),
        lambda r: r.assign(correct=r["correct"] | (r["method"] == "coder_adapter")),
    )
    results = again(results)
    few_shot = {c.id for c in all_claims() if c.evidence == "few_shot"}
    for claim, r in of(results).items():
        if claim in few_shot:
            assert (r["verdict"], r["why"], r["fewer"]) == ("not judged", FEW_SEEDS, []), claim
            assert r["p_holm"] is None
    table = claims.table(results)
    cell = next(r[1] for r in table.rows if r[0].text == "The CODER-Adapter beats Tip-Adapter")
    assert cell.text.startswith("not judged, +")
    assert not cell.bold
    assert ("for these shots (one seed)" in table.caption) == (len(seeds) == 1)
    assert any("three are needed (adapter.seeds)" in note for note in table.notes)


def test_a_discriminant_of_one_shot_is_not_judged(tmp_path: Path) -> None:
    """ "A discriminant with one shot loses by 3.8 points" was no discriminant: it was the cache."""
    results = Fake(tmp_path, datasets=("one",), shots=(1,), seeds=(1, 2, 3)).write()
    found = of(results)
    for claim in ("adapter_beats_gda", "discriminant_beats_tip_x_without_clip"):
        assert (found[claim]["verdict"], found[claim]["why"]) == ("not judged", ONE_SHOT)
    assert found["discriminant_neighbours"]["verdict"] == "not judged"
    assert found["adapter_beats_tip_x"]["verdict"] in JUDGED
    more = of(Fake(tmp_path / "b", datasets=("one",), shots=(1, 4), seeds=(1, 2, 3)).write())
    assert more["adapter_beats_gda"]["verdict"] in JUDGED
    assert more["adapter_beats_gda"]["fewer"] == [], "one shot is named nowhere"
    assert len(more["adapter_beats_tip_x"]["fewer"]) == 1


def test_another_verdict_with_fewer_shots_is_said(tmp_path: Path) -> None:
    """With 4 shots TIP-X was clearly worse than the CODER-Adapter, and the page said 'open' without
    a word.
    """
    results = Fake(
        tmp_path, datasets=("one",), shots=(1, 2, 4), seeds=(1, 2, 3), per_class=60
    ).write()
    for shots, better in ((1, 0), (2, 100), (4, 0)):

        def right(rows: pd.DataFrame, better: int = better) -> pd.DataFrame:
            ids = {i: k for k, i in enumerate(sorted(set(rows["image_id"])))}
            ours = rows["method"] == "coder_adapter"
            return rows.assign(correct=rows["image_id"].map(ids) < 200 + better * ours)

        rewrite(results.paths.adapter("mini", "one", shots), right)
    table = claims.table(again(results))
    assert table.frame.set_index("claim").loc["adapter_beats_tip_x", "verdict"] == "open"
    (note,) = [n for n in table.notes if n.startswith("Another verdict with fewer shots")]
    start = note.index("“The CODER-Adapter beats TIP-X” on one: 2 shots: shown, +27.8 [")
    assert "shot" not in note[start + 60 : note.index("]", start)]


def test_random_words_count_with_all_their_draws(results: Results) -> None:
    """The first draw alone would be luck."""
    path = results.paths.zero_shot("mini", "one")
    rows = read_parquet(path)
    words = rows[rows["method"] == "random_words"]
    lucky = words.assign(draw=1, correct=True, prediction=words["label"])
    write_parquet(path, pd.concat([rows, lucky]))
    coder = rows[(rows["method"] == "coder") & (rows["setting"] == "clean")]["correct"].mean()
    found = of(again(results))["coder_beats_random_words"]["difference"]
    assert found["value"] == pytest.approx(coder - (words["correct"].mean() + 1) / 2)


def test_what_cannot_be_compared_has_no_row_and_a_reason(tmp_path: Path) -> None:
    """On true CLIP ten rows "not run" stood first, and "off" meant two things."""
    results = Fake(tmp_path / "a", datasets=("one",), reranked=False).write()
    rerank = of(results)["rerank_adds"]
    assert (rerank["verdict"], "threshold 0" in rerank["why"]) == ("off", True)
    assert rerank["difference"]["value"] == 0

    results = Fake(tmp_path / "b", datasets=("one",), settings=("corrected",)).write()
    assert not {"coder_beats_clip", "adapter_beats_gda"} & set(of(results))
    why = results.claims()["not_tested"]["coder_beats_clip"]
    assert why == "no results of “CODER” in the setting clean"
    assert any("Not tested here: " in note for note in claims.table(results).notes)

    results = again(Fake(tmp_path / "c", datasets=("one",)).write(), few_shot=[])
    assert not {"adapter_beats_gda", "projection_beats_tip_x_without_clip"} & set(of(results))
    assert "coder_beats_clip" in of(results)

    results = Fake(tmp_path / "d", datasets=("one",)).write()
    for shots in results.shots:
        rewrite(results.paths.adapter("mini", "one", shots), lambda r: r[r["method"] != "gda"])
    why = again(results).claims()["not_tested"]["adapter_beats_gda"]
    assert why == "no results of “GDA” in the setting clean"

    results = Fake(tmp_path / "e", datasets=("one",)).write()
    change(results.paths.texts("one"), names_only)
    results = again(results)
    assert not {"coder_beats_clip", "nearer_neighbours", "adapter_beats_gda"} & set(of(results))
    assert "texts besides their names" in results.claims()["not_tested"]["coder_beats_clip"]


def test_without_texts_of_the_classes_only_what_needs_none_is_judged(results: Results) -> None:
    """CLIP's logits of texts that are not there would be invented."""
    change(
        results.paths.evaluation("mini", "one").with_suffix(".json"),
        lambda d: d.update(vocabulary=3068),
    )
    for path in (results.paths.zero_shot("mini", "one"), results.paths.rerank("mini", "one")):
        path.unlink()  # such a run has none
        path.with_suffix(".json").unlink()
    found = set(of(again(results, with_texts=[])))
    evidence = {c.id: c.evidence for c in all_claims()}
    assert {evidence[claim] for claim in found} == {"few_shot", "neighbours", "texts"}


def test_results_of_other_images_are_not_paired(results: Results) -> None:
    """A sum over images that are not the same says nothing, and would look like a verdict."""

    def others(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(image_id=rows["image_id"] + np.where(rows["method"] == "coder", "x", ""))

    rewrite(results.paths.zero_shot("mini", "one"), others)
    with pytest.raises(UserError, match="different images or runs"):
        again(results)


# ---- over data sets


@settings(deadline=None)
@given(st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=12))
def test_the_mean_over_data_sets_has_an_interval_over_data_sets(differences: list[float]) -> None:
    found = pooled([{"value": d, "low": d - 0.1, "high": d + 0.1} for d in differences])
    assert found is not None
    n = len(differences)
    mean = math.fsum(differences) / n
    # the errors of single data sets do not enter, unless there is no spread at all
    deviation = (math.fsum((d - mean) ** 2 for d in differences) / (n - 1)) ** 0.5
    if len(set(differences)) == 1:
        deviation = 0.1 / 1.959963985  # each data set's own interval is 0.1 to either side
    assert found["value"] == pytest.approx(mean)
    # Student's t, 97.5 %, n − 1 degrees of freedom
    quantile = {2: 12.706204736, 3: 4.302652730, 12: 2.200985160}
    if n in quantile:
        half = quantile[n] * deviation / n**0.5
        assert max(found["high"] - mean, mean - found["low"]) >= half - 1e-9
    if found["low"] > 1e-9 or found["high"] < -1e-9:
        assert found["p_value"] < 0.05


@settings(deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=8))
def test_the_signed_rank_test_by_hand(values: list[int]) -> None:
    """Of all 2^n signs, those with ranks at least as unequal; ties share their ranks."""
    kept = [v for v in values if v]
    sizes = sorted(abs(v) for v in kept)
    ranks = [sizes.index(abs(v)) + (sizes.count(abs(v)) + 1) / 2 for v in kept]
    total = sum(ranks)

    def unequal(signs: list[bool]) -> float:
        return abs(2 * sum(r for r, s in zip(ranks, signs, strict=True) if s) - total)

    observed = unequal([v > 0 for v in kept])
    every = [[bool(k >> i & 1) for i in range(len(kept))] for k in range(2 ** len(kept))]
    extreme = sum(unequal(signs) >= observed - 1e-9 for signs in every)
    expected = extreme / len(every) if kept else 1.0
    assert signed_rank(np.array(values, dtype=float)) == pytest.approx(expected)


def test_one_different_data_set_makes_no_verdict_over_all() -> None:
    """Pets alone moved a mean of seven."""
    each = [{"value": v, "low": v - 0.01, "high": v + 0.01} for v in (0.3, *[-0.001, 0.002] * 3)]
    found = pooled(each)
    assert found is not None
    assert verdict(found) == "open"
    # all on one side, but five are too few for the ranks
    few = pooled([{"value": v, "low": v, "high": v} for v in (0.1, 0.11, 0.12, 0.13, 0.14)])
    assert few is not None
    assert few["p_value"] == pytest.approx(2 / 2**5)
    assert few["low"] == 0
    assert pooled(each[:1]) is None


def test_a_mean_of_few_data_sets_is_not_judged(tmp_path: Path) -> None:
    names = SETS[:-1]
    results = Fake(tmp_path, datasets=names, shots=(1,), split="CoOp's split").write()
    means = of(results, AVERAGE)
    assert len(means) > 10
    assert {r["verdict"] for r in means.values()} == {"not judged"}
    assert {r["p_holm"] for r in means.values()} == {None}, "what is not judged is no test"
    assert [c.label for c in claims.table(results).columns[1:-1]] == list(names)


def test_enough_data_sets_are_averaged_and_counts_add_up(tmp_path: Path) -> None:
    results = Fake(tmp_path, datasets=SETS, shots=(1,), split="CoOp's split").write()
    table = claims.table(results)
    assert len(table.rows) == len(all_claims()) - len(VOCABULARY)
    assert [c.label for c in table.columns[1:5]] == [
        *("mean over data sets", "Shown on", "Contradicted on", "Open on")
    ]
    frame = table.frame
    for claim, rows in frame.groupby("claim"):
        each, means = rows[rows["dataset"] != AVERAGE], rows[rows["dataset"] == AVERAGE]
        judged = each[each["verdict"].isin((*JUDGED, "off"))]
        if not len(judged):
            assert means.empty, claim
            continue
        mean = means.iloc[0]
        assert mean["difference"] == pytest.approx(judged["difference"].mean()), claim
        for v in (*JUDGED, "not judged", "off"):
            counted = mean[f"data_sets_{v.replace(' ', '_')}"]
            assert counted == (each["verdict"] == v).sum(), (claim, v)
    small = claims.FIGURE.draw(results, Fake(tmp_path).image)
    assert len(small.axes) == 1


def test_what_is_not_judged_enters_no_mean(tmp_path: Path) -> None:
    """One seed of a fourth data set moved a mean from open to shown."""
    names = (*SETS, "more")
    fake = Fake(tmp_path, datasets=names, shots=(1, 4), seeds=(1, 2, 3), split="CoOp's split")
    results = fake.write()

    def one_seed(rows: pd.DataFrame) -> pd.DataFrame:
        return rows[rows["seed"] == 1].assign(correct=rows["method"] == "projected_means")

    for shots in (1, 4):
        rewrite(results.paths.adapter("mini", "more", shots), one_seed)
    frame = claims.table(again(results)).frame
    of_claim = frame[frame["claim"] == "projection_beats_adapter_without_clip"]
    of_claim = of_claim.set_index("dataset")
    assert of_claim.loc["more", "verdict"] == "not judged"
    assert of_claim.loc["more", "difference"] == 1.0
    mean = of_claim.loc[list(SETS), "difference"].mean()
    assert of_claim.loc[AVERAGE, "difference"] == pytest.approx(mean)
    assert of_claim.loc[AVERAGE, "data_sets_not_judged"] == 1


def test_a_part_of_another_data_set_counts_in_zero_shot_claims_alone(tmp_path: Path) -> None:
    """Its texts are others, so it tells about texts; its shots and neighbours would count twice."""
    whole, part = ("a", "b", "c"), "caltech101_named_clip"
    names = (*whole, part)
    fake = Fake(tmp_path, datasets=names, shots=(4,), seeds=(1, 2, 3), split="CoOp's split")
    results = fake.write()
    for path in (results.paths.adapter("mini", part, 4), results.paths.zero_shot("mini", part)):
        rewrite(path, lambda r: r.assign(correct=r["method"].isin(["lda", "coder"])))
    frame = claims.table(again(results)).frame
    for claim, averaged in (
        ("discriminant_beats_adapter_without_clip", whole),
        ("coder_beats_clip", names),
    ):
        of_claim = frame[frame["claim"] == claim].set_index("dataset")["difference"]
        assert of_claim[part] == 1.0
        assert of_claim[AVERAGE] == pytest.approx(of_claim[list(averaged)].mean())


def test_a_rerank_that_validation_switched_off_counts_as_no_difference(tmp_path: Path) -> None:
    """A mean over the data sets on which validation liked the rerank alone would speak for it."""
    fake = Fake(tmp_path, datasets=SETS, shots=(1,), seeds=(1,), split="CoOp's split")
    results = fake.write()

    def off(document: dict[str, Any]) -> None:
        for m in document["methods"]:
            if m["setting"] == "clean":
                m |= {"threshold": 0.0, "looked_at": 0}

    for name in SETS[:2]:
        change(results.paths.rerank("mini", name).with_suffix(".json"), off)
    frame = claims.table(again(results)).frame
    rows = frame[frame["claim"] == "rerank_adds"].set_index("dataset")
    assert rows.loc[list(SETS[:2]), "verdict"].tolist() == ["off", "off"]
    assert rows.loc[list(SETS[:2]), "difference"].tolist() == [0, 0]
    expected = rows.loc[list(SETS[2:]), "difference"].sum() / len(SETS)
    assert rows.loc[AVERAGE, "difference"] == pytest.approx(expected)
    assert rows.loc[AVERAGE, "data_sets_off"] == 2


# ---- one correction


def test_p_values_are_corrected_for_all_tests_of_the_run(tmp_path: Path) -> None:
    """Corrected column by column, 17 % of runs without any difference had an unmarked verdict."""
    results = Fake(tmp_path, datasets=SETS, shots=(4,), split="CoOp's split").write()
    records = results.claims()["claims"]
    tested = [r for r in records if r["verdict"] in JUDGED]
    assert {r["dataset"] for r in tested} == {*SETS, AVERAGE}
    adjusted = holm([r["judged_on"]["p_value"] for r in tested])
    assert [r["p_holm"] for r in tested] == pytest.approx(adjusted)
    for r in records:
        assert r["certain"] == (r["verdict"] in JUDGED and r["p_holm"] < 0.05)
    doubtful = [r for r in tested if r["verdict"] != "open" and not r["certain"]]
    assert doubtful
    for r in doubtful:
        assert claims.said(r).startswith(f"{r['verdict']} (?), ")


# ---- tables, figure and first screen


def test_each_source_is_named_and_exploratory_claims_say_so(results: Results) -> None:
    table = claims.table(results)
    by = [row[-1].text for row in table.rows]
    assert {b for b in by if not b.startswith(PAPER)} == {REEVALUATION, f"{CONTROLS}, exploratory"}
    assert SOURCES[REEVALUATION] in table.caption


def test_each_verdict_says_whether_groups_are_declared_or_detected(tmp_path: Path) -> None:
    """UCF101's sign turned with its groups, and no word said that they had been guessed."""
    sources = {"a": "declared", "b": "features", "c": "pixels", "d": "names", "e": None}
    results = Fake(tmp_path, datasets=tuple(sources), shots=(1,), split="CoOp's").write()
    for name, source in sources.items():
        if source:
            change(results.paths.manifest(name), lambda d, s=source: d.update(grouped_by=s))
    table = claims.table(again(results))
    note = next(note for note in table.notes if note.startswith("Groups of near twins"))
    assert "declared (a)" in note
    assert "detected by features, a weak stand-in (b)" in note
    assert "detected by pixels (c)" in note
    assert "declared by image names (d)" in note
    assert "e)" not in note


def test_controls_have_a_row_each_and_a_column_by_measure(results: Results) -> None:
    """Three measures of one control in three rows would hide that they agree."""
    table = why_texts.table(results)
    assert [c.label for c in table.columns[1:]] == ["k-NN", "nearest image", "R-precision"]
    assert len(table.rows) == 7
    row = next(r for r in table.rows if WORDS["other_images"] in r[0].text)
    tests = results.evaluation("one", "mini")["neighbour_tests"]
    for cell, measure in zip(row[1:], ("knn", "nearest", "r_precision"), strict=True):
        (test,) = (t for t in tests if (t["before"], t["measure"]) == ("other_images", measure))
        assert f"{100 * test['value']:+.1f} [" in cell.text
    assert row[1].text.startswith("shown")
    assert "own_images" not in " ".join(table.notes)
    assert "images of the data set: 30" in " ".join(table.notes)


def test_the_first_screen_says_what_was_run_and_what_speaks_against_the_paper(
    results: Results,
) -> None:
    rewrite(
        results.paths.zero_shot("mini", "one"),
        lambda r: r.assign(correct=r["method"] == "description"),
    )
    results = again(results)
    screen = first_screen(results)
    assert screen.ran == (
        "CODER and its baselines on 1 data set (one; 120 test images) with mini: zero-shot and "
        "few-shot (1, 4 shots, 3 seeds)."
    )
    (numbers,) = [numbers for place, numbers in screen.rows if place == "one"]
    coder = results.main_methods("one", "mini")["coder"]["accuracy"]
    assert numbers[screen.methods.index("CODER")] == (
        f"{100 * coder['value']:.1f} [{100 * coder['low']:.1f}, {100 * coder['high']:.1f}]"
    )
    assert len(screen.headlines) == MOST
    # what contradicts the paper leads, and is not one of the chosen ten
    assert screen.headlines[0].statement == "CODER beats averaged attribute texts"
    assert screen.headlines[0].verdicts[0][0].startswith("contradicted")
    words = "\n".join(in_words(screen))
    for headline in screen.headlines:
        assert headline.statement in words


def test_an_accuracy_of_names_alone_is_not_shown_as_one_of_coder(results: Results) -> None:
    """On true CLIP, whose classes have only names, four equal accuracies looked like a result."""
    change(results.paths.texts("one"), names_only)
    screen = first_screen(again(results))
    assert screen.methods == ["CLIP", "CLIP, prompt ensemble"]
    assert all(len(numbers) == 2 for _, numbers in screen.rows)


def test_a_statement_of_a_measure_is_a_field_term() -> None:
    assert set(MEASURES) >= {c.measure for c in all_claims()}
    assert isinstance(all_claims()[0], Claim)
