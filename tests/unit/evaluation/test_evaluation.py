"""Numbers about numbers, against plain loops. A wrong one makes people believe a difference that is
none.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from coder_clip.errors import UserError
from coder_clip.evaluation import representation, text_ablations
from coder_clip.evaluation.estimates import compare, estimate
from coder_clip.evaluation.representation import (
    changed_neighbours,
    knn_accuracy,
    map_rows,
    neighbourhoods,
    stratified_subset,
    telling_texts,
    tsne,
)
from coder_clip.evaluation.text_ablations import (
    StageOne,
    text_choice_curve,
    text_count_curve,
    text_kind_ablation,
    text_tests,
)
from coder_clip.phases.common import SplitFeatures
from coder_clip.phases.predictions import metrics, rows
from reference import grid_error

torch.set_num_threads(1)


def features(n: int, d: int, seed: int) -> Tensor:
    """Odd seeds: random rows. Even ones: rows whose unit vectors and cosines are exact, so that
    copies and
    ties are ties whatever the order of sums: ± an axis, or four halves, times a power of two."""
    rng = np.random.default_rng(seed)
    if seed % 2:
        return torch.from_numpy(rng.normal(size=(n, d)))
    x = np.zeros((n, d))
    for row in x:
        places = rng.permutation(d)[: 4 if d >= 4 and rng.random() < 0.5 else 1]
        row[places] = rng.choice([-1, 1], size=len(places)) * 2.0 ** rng.integers(-2, 3)
    return torch.from_numpy(x)


def unit_rows(x: Tensor) -> Tensor:
    return x.double() / x.double().norm(dim=1, keepdim=True)


def ranking(x: Tensor, i: int) -> list[int]:
    """Rows by falling cosine with row i, lower index first among equals, without i itself.

    Exact sums: a matrix product may give equal rows different last bits.
    """
    cosines = [math.fsum(row) for row in (unit_rows(x)[i] * unit_rows(x)).tolist()]
    return sorted((j for j in range(len(x)) if j != i), key=lambda j: (-cosines[j], j))


# ---- quality of features

labelled = st.tuples(
    st.lists(st.integers(0, 3), min_size=1, max_size=14), st.integers(1, 5), st.integers(0, 999)
)


def vote(ranked: list[int], labels: list[int]) -> int:
    """Most votes; of equal ones the class that comes first."""
    votes = [labels[j] for j in ranked]
    return max(votes, key=lambda c: (votes.count(c), -votes.index(c)))


@settings(deadline=None)
@given(case=labelled, k=st.integers(1, 6), small=st.booleans())
def test_knn_is_a_plain_vote(case: tuple[list[int], int, int], k: int, small: bool) -> None:
    """Otherwise "CODER features are better" rests on a wrong count, with copies and ties above all."""
    labels, d, seed = case
    x = features(len(labels), d, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(representation, "CHUNK", 11 if small else 4_000_000)
        together = knn_accuracy(x, labels, k, 1, 3)
    for n, right in zip((k, 1, 3), together, strict=True):
        for i, label in enumerate(labels):
            ranked = ranking(x, i)[:n]
            assert right[i] == (bool(ranked) and vote(ranked, labels) == label)


@settings(deadline=None)
@given(case=labelled, small=st.booleans())
def test_retrieval_precision_is_a_plain_count(
    case: tuple[list[int], int, int], small: bool
) -> None:
    """Otherwise the retrieval table is wrong, or images alone in their class pull it down."""
    labels, d, seed = case
    x = features(len(labels), d, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(representation, "CHUNK", 11 if small else 4_000_000)
        got = neighbourhoods(x, labels, 1)[1]
    for i, label in enumerate(labels):
        others = labels.count(label) - 1
        if not others:
            assert math.isnan(got[i])
            continue
        ranked = ranking(x, i)[:others]
        assert got[i] == pytest.approx(sum(labels[j] == label for j in ranked) / len(ranked))


def test_perfect_and_single_class_features() -> None:
    """Otherwise the best possible features do not reach 1, or one class alone divides by zero."""
    x, labels = torch.eye(3)[[0, 0, 1, 1, 2, 2]], torch.tensor([0, 0, 1, 1, 2, 2])
    assert knn_accuracy(x, labels, 1)[0].all()
    assert neighbourhoods(x, labels, 1)[1].tolist() == [1.0] * 6
    assert neighbourhoods(x[:4], [5] * 4, 1)[1].tolist() == [1.0] * 4
    assert knn_accuracy(x[:4].half(), [5] * 4, 99)[0].all()
    (none,), nothing = neighbourhoods(x[:0], [], 3)
    assert len(none) == len(nothing) == 0
    with pytest.raises(UserError, match="row 0 holds NaN"):
        neighbourhoods(torch.full((2, 2), math.nan), [0, 0], 1)


@settings(deadline=None)
@given(case=labelled, small=st.booleans())
def test_changed_neighbours_are_all_there_is_and_true(
    case: tuple[list[int], int, int], small: bool
) -> None:
    """Otherwise the report shows an image as corrected that CODER did not correct, or hides one
    that it breaks.
    """
    labels, d, seed = case
    original, coder = features(len(labels), d, seed), features(len(labels), d + 1, seed + 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(representation, "CHUNK", 11 if small else 4_000_000)
        both = changed_neighbours(original, coder, labels, 99)
        assert changed_neighbours(original, coder, labels, 1) == (both[0][:1], both[1][:1])
    expected: tuple[set[Any], set[Any]] = (set(), set())
    for i in range(len(labels)):
        if len(labels) > 1:
            was, now = ranking(original, i)[0], ranking(coder, i)[0]
            if labels[was] != labels[i] == labels[now]:
                expected[0].add((i, now, was))
            if labels[was] == labels[i] != labels[now]:
                expected[1].add((i, was, now))
    before, after = unit_rows(original), unit_rows(coder)
    spreads = [(u @ u.T).numpy().std() for u in (before, after)]
    error = grid_error(d + 1)
    for got, wanted, sign in zip(both, expected, (1, -1), strict=True):
        assert {(c["query"], c["same"], c["other"]) for c in got} == wanted
        assert [c["size"] for c in got] == sorted((c["size"] for c in got), reverse=True)
        for c in got:
            cosines = [
                float(before[c["query"]] @ before[c["same"]]),
                float(after[c["query"]] @ after[c["other"]]),
            ]
            assert [c["original"]["same"], c["coder"]["other"]] == pytest.approx(cosines, abs=error)
            lead = (
                c["original"]["other"] - c["original"]["same"],
                c["coder"]["same"] - c["coder"]["other"],
            )
            assert min(sign * one for one in lead) >= 0
            assert c["size"] == pytest.approx(
                sum(sign * one / (s or 1) for one, s in zip(lead, spreads, strict=True)),
                abs=sum(4 * error / (s or 1) for s in spreads),
            )
    nearest = [knn_accuracy(f, labels, 1)[0] for f in (original, coder)]
    test = compare(*nearest)  # the counts that stand beside the examples
    assert (test["fixed"], test["broke"]) == (len(both[0]), len(both[1]))


def test_telling_texts_come_in_the_order_they_tell() -> None:
    """Otherwise the report explains a correction with texts that speak against it."""
    images = torch.tensor([[1.0, 1.0], [1.0, 0.5], [0.0, 2.0]])  # query, same, other
    texts = torch.tensor([[0.0, 3.0], [5.0, 0.0], [1.0, 1.0], [5.0, 0.0]])
    got = telling_texts(images, texts, 3)
    assert [row for row, _ in got] == [1, 3, 2]
    assert (got[0][1]["query"], got[0][1]["other"]) == (pytest.approx(math.sqrt(0.5)), 0.0)
    axes = torch.eye(3)  # a text of only one of the two tells less than one of both
    got = telling_texts(axes, torch.cat([axes[:2], torch.tensor([[1.0, 1.0, 0.0]])]), 9)
    assert [row for row, _ in got] == [2, 0, 1]
    # also where its cosine is far higher
    of_both = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.4, 0.4, 0.0, 1.0]])
    assert [row for row, _ in telling_texts(torch.eye(4)[:3], of_both, 9)] == [1, 0]


# ---- maps


@given(
    labels=st.lists(st.integers(0, 4), max_size=40),
    limit=st.integers(1, 45),
    seed=st.integers(0, 9),
)
def test_the_subset_keeps_the_share_of_every_class(
    labels: list[int], limit: int, seed: int
) -> None:
    """Otherwise the map shows other classes than the data set has."""
    rows = stratified_subset(labels, limit, seed).tolist()
    assert rows == sorted(set(rows)) == stratified_subset(labels, limit, seed).tolist()
    assert len(rows) == min(limit, len(labels))
    taken = {c: (sum(labels[i] == c for i in rows), labels.count(c)) for c in set(labels)}
    for (
        last,
        of,
    ) in taken.values():  # Sainte-Laguë: nobody's last image was more due to another class
        for more, of_other in taken.values():
            assert (last - 0.5) / of <= (more + 0.5) / of_other + 1e-12


def test_the_subset_rounds_shares() -> None:
    """Otherwise rare classes crowd the map."""
    labels = np.repeat([0, 1, 2], [90, 9, 1])
    assert np.bincount(labels[stratified_subset(labels, 10)], minlength=3).tolist() == [9, 1, 0]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([], []),
        ([4, 4, 2], [2, 4]),
        (range(12), list(range(12))),
        (list(range(36)) * 2, list(range(0, 36, 3))),
        (
            [2 * c for c in range(13)],
            [2 * (13 * i // 12) for i in range(12)],
        ),  # odd labels have no image
    ],
)
def test_a_map_shows_twelve_classes_by_their_place_alone(
    labels: list[int], classes: list[int]
) -> None:
    """Classes that were picked by how well they separate would flatter the method."""
    rows = map_rows(labels, 600)
    assert sorted({labels[i] for i in rows}) == classes
    assert rows.tolist() == [i for i, c in enumerate(labels) if c in classes]


def test_a_map_of_many_images_shows_all_its_classes() -> None:
    labels = np.repeat(np.arange(36), 50)
    rows = map_rows(labels, 240)
    assert np.bincount(labels[rows])[::3].tolist() == [20] * 12
    assert rows.tolist() == map_rows(labels, 240).tolist()


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(0, 3),
        torch.ones(1, 3),
        torch.eye(2),
        features(3, 4, 0),
        features(5, 1, 1),
        torch.ones(6, 2),
        features(12, 3, 2),
    ],
    ids=["none", "one", "two", "three", "one-dimension", "copies", "twelve"],
)
def test_a_map_of_few_images_is_finite_and_repeats(x: Tensor) -> None:
    """Otherwise a small folder of images stops the whole run at its last figure."""
    first = tsne(x)
    assert first.shape == (len(x), 2)
    assert np.isfinite(first).all()
    assert np.array_equal(first, tsne(x))


# ---- ablations over texts


def stage_one_by_hand(
    x: Tensor, texts: Tensor, owner: list[int], kinds: list[str], keep: list[bool], n_classes: int
) -> list[int]:
    """method.md, section 3, in loops."""
    u, t = unit_rows(x).tolist(), unit_rows(texts).tolist()
    predictions = []
    for row in u:
        scores = []
        for c in range(n_classes):
            cosines = [
                (kinds[m], sum(a * b for a, b in zip(row, t[m], strict=True)))
                for m in range(len(t))
                if owner[m] == c and keep[m]
            ]
            mean = [s for k, s in cosines if k in ("attribute", "analogous")]
            best = [s for k, s in cosines if k in ("name", "synonym")]
            parts = mean + ([max(best)] if best else [])
            scores.append(sum(parts) / len(parts))
        predictions.append(scores.index(max(scores)))
    return predictions


def text_set(seed: int) -> tuple[Tensor, Tensor, list[int], list[str], NDArray[np.int64]]:
    """Three classes: one with all kinds, one with a few texts, one with its name alone; rows
    shuffled.
    """
    of_class = [
        ["name", *["attribute"] * 5, "analogous", "synonym", "synonym", "prompt"],
        ["name", "attribute", "analogous", "prompt"],
        ["name", "prompt"],
    ]
    rows = [(c, kind) for c, kinds in enumerate(of_class) for kind in kinds]
    rng = np.random.default_rng(seed)
    rows = [rows[i] for i in rng.permutation(len(rows))]
    texts, x = (
        torch.from_numpy(rng.normal(size=(len(rows), 6))),
        torch.from_numpy(rng.normal(size=(40, 6))),
    )
    return x, texts, [c for c, _ in rows], [k for _, k in rows], rng.integers(0, 3, size=40)


def test_kinds_of_text_are_scored_as_stage_one_does() -> None:
    """Otherwise the ablation credits a kind of text with what another one does."""
    x, texts, owner, kinds, labels = text_set(0)
    rows = text_kind_ablation(StageOne(x, labels, texts, owner, kinds, 3))
    assert ["+".join(r["kinds"]) for r in rows] == [
        "name", "attribute", "analogous", "synonym", "name+attribute", "name+analogous", "name+synonym",
        "name+attribute+analogous", "name+attribute+synonym", "name+analogous+synonym",
        "name+attribute+analogous+synonym", "attribute+analogous", "attribute+synonym", "analogous+synonym",
        "attribute+analogous+synonym",
    ]  # fmt: skip
    for row in rows:
        keep = [k in row["kinds"] for k in kinds]
        # where synonyms count, the name stands in for one that is not there
        needed = {"name", "synonym"} & set(row["kinds"]) or set(row["kinds"])
        bare = set(range(3)) - {c for k, c in zip(kinds, owner, strict=True) if k in needed}
        scored = [
            kept or (k == "name" and c in bare)
            for k, c, kept in zip(kinds, owner, keep, strict=True)
        ]
        right = np.array(stage_one_by_hand(x, texts, owner, kinds, scored, 3)) == labels
        assert row["accuracy"] == estimate(right), row["kinds"]
        assert row["texts"] == sum(keep)
    present = [k if k != "synonym" else "prompt" for k in kinds]
    without = text_kind_ablation(StageOne(x, labels, texts, owner, present, 3))
    assert all("synonym" not in r["kinds"] for r in without)
    assert len(without) == 7


def test_the_curve_over_counts_draws_nested_texts() -> None:
    """Otherwise the curve mixes the number of texts with the luck of the draw, or changes between
    runs.
    """
    x, texts, owner, kinds, labels = text_set(1)
    stage_one = StageOne(x, labels, texts, owner, kinds, 3)
    rows = text_count_curve(stage_one, [0, 1, 2, 4, 99], 2)
    assert rows == text_count_curve(stage_one, [0, 1, 2, 4], 2)
    assert [(r["count"], r["draw"]) for r in rows] == [
        (0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (4, 0), (4, 1), (8, 0),
    ]  # fmt: skip
    for row, used in (
        (rows[0], {"name"}),
        (rows[-1], {"name", "attribute", "analogous", "synonym"}),
    ):
        keep = [k in used for k in kinds]
        right = np.array(stage_one_by_hand(x, texts, owner, kinds, keep, 3)) == labels
        assert row["accuracy"] == right.mean()
    few = text_count_curve(stage_one, [1], 2)
    assert few == [r for r in rows if r["count"] in (1, 8)], (
        "the curve ends at all texts, whatever is asked for"
    )
    names = [i for i, k in enumerate(kinds) if k == "name"]
    alone = text_count_curve(
        StageOne(x, labels, texts[names], [owner[i] for i in names], ["name"] * 3, 3), [1]
    )
    assert [r["count"] for r in alone] == [0]


def test_choices_are_scored_with_the_texts_that_they_take() -> None:
    """Diverse and alike texts would show the same point."""
    rng = np.random.default_rng(0)
    texts = torch.from_numpy(rng.normal(size=(33, 6)))
    owner, kinds = [c for c in range(3) for _ in range(11)], (["name"] + ["attribute"] * 10) * 3
    x, labels = torch.from_numpy(rng.normal(size=(30, 6))), rng.integers(0, 3, 30)
    stage_one = StageOne(x, labels, texts, owner, kinds, 3)
    rows = text_choice_curve(stage_one, [1, 2, 5, 10, 5])
    assert [(r["chosen"], r["count"]) for r in rows] == [
        ("diverse", 2), ("diverse", 5), ("alike", 2), ("alike", 5),
    ]  # fmt: skip
    for row in rows:
        rank = torch.from_numpy(stage_one.greedy[row["chosen"]])
        keep = [k == "name" or r < row["count"] for k, r in zip(kinds, rank, strict=True)]
        right = np.array(stage_one_by_hand(x, texts, owner, kinds, keep, 3)) == labels
        assert row["accuracy"] == right.mean()
    names = StageOne(x, labels, texts[::11], [0, 1, 2], ["name"] * 3, 3)
    assert text_choice_curve(names, [1, 2]) == []


def counted(
    keep: NDArray[np.bool_], owner: list[int], kinds: list[str]
) -> Counter[tuple[int, str]]:
    """The number of kept texts of each class and kind."""
    return Counter((c, k) for c, k, kept in zip(owner, kinds, keep.tolist(), strict=True) if kept)


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 4), st.integers(0, 3)).filter(any),
        min_size=1,
        max_size=4,
    ),
    st.integers(0, 99),
)
def test_choices_of_as_many_texts_have_as_many_of_each_kind(
    numbers: list[tuple[int, int, int]], seed: int
) -> None:
    """Diverse texts were ten attributes and fifty analogous classes, alike ones the reverse: it
    compared kinds.
    """
    kinds_of = ("attribute", "analogous", "synonym")
    rows = [(c, "name") for c in range(len(numbers))]
    rows += [
        (c, k)
        for c, of in enumerate(numbers)
        for k, n in zip(kinds_of, of, strict=True)
        for _ in range(n)
    ]
    rng = np.random.default_rng(seed)
    rows = [rows[i] for i in rng.permutation(len(rows))]
    owner, kinds = [c for c, _ in rows], [k for _, k in rows]
    x, texts = (
        torch.from_numpy(rng.normal(size=(5, 4))),
        torch.from_numpy(rng.normal(size=(len(rows), 4))),
    )
    stage_one = StageOne(x, rng.integers(0, len(numbers), 5), texts, owner, kinds, len(numbers))
    ranks = [
        *text_ablations._draws(stage_one, 2, seed),
        stage_one.greedy["diverse"],
        stage_one.greedy["alike"],
    ]
    for count in range(max(map(sum, numbers)) + 1):
        kept = [
            counted(stage_one.first(count, stage_one.in_proportion(r)), owner, kinds) for r in ranks
        ]
        assert kept[0] == kept[1] == kept[2] == kept[3]
        for c, of in enumerate(numbers):
            assert sum(
                n for (owner_, k), n in kept[0].items() if owner_ == c and k != "name"
            ) == min(count, sum(of))
            shares = [kept[0][c, k] / n for k, n in zip(kinds_of, of, strict=True) if n]
            steps = [1 / n for n in of if n]
            # no kind is more than one text ahead of another
            assert all(
                a <= b + step + 1e-9 for a, step in zip(shares, steps, strict=True) for b in shares
            )
    for chosen in ("diverse", "alike"):
        for count, keep in text_ablations._chosen(stage_one, chosen, range(20)).items():
            taken = counted(keep, owner, kinds)
            assert any(
                2 <= taken[c, k] < n
                for c, of in enumerate(numbers)
                for k, n in zip(kinds_of, of, strict=True)
            ), count


def test_greedy_choices_compare_texts_of_one_kind() -> None:
    """By a plain loop: the next text is the least, or the most, like those of its class and kind
    before it.
    """
    rng = np.random.default_rng(6)
    groups = [(c, k) for c in range(2) for k in ("attribute", "analogous", "synonym")]
    of = [*groups, *groups, *groups, *groups, (0, "name"), (1, "name")]
    of = [of[i] for i in rng.permutation(len(of))]
    texts = torch.from_numpy(rng.normal(size=(len(of), 5)))
    stage_one = StageOne(texts[:1], [0], texts, [c for c, _ in of], [k for _, k in of], 2)
    t = unit_rows(texts)
    for chosen, sign in (("diverse", 1), ("alike", -1)):
        for group in groups:
            left = [i for i, g in enumerate(of) if g == group]
            before = list(left)
            for rank in range(4):
                near = {i: sign * sum(float(t[i] @ t[j]) for j in before) for i in left}
                best = min(left, key=near.__getitem__)
                assert stage_one.greedy[chosen][best] == rank
                left.remove(best)
                before = [i for i, g in enumerate(of) if g == group and i not in left]


def by_test(rows: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(r["test"], r.get("kind", "")): r for r in rows}


def test_tests_of_texts_compare_what_they_say() -> None:
    """With before and after swapped, "more texts help" would be shown where they harm."""
    x, texts, owner, kinds, labels = text_set(3)
    stage_one = StageOne(x, labels, texts, owner, kinds, 3)
    got = by_test(text_tests(stage_one, [0, 4, 2, 9], n_subsets=3, seed=5))

    def right(keep: list[bool]) -> NDArray[np.bool_]:
        return np.array(stage_one_by_hand(x, texts, owner, kinds, keep, 3)) == labels

    used = {"name", "attribute", "analogous", "synonym"}
    every = right([k in used for k in kinds])
    for kind in ("attribute", "analogous", "synonym"):
        # a class that has none of the others is scored by its name, which is always there
        without = right([k in used - {kind} for k in kinds])
        row = got.pop(("kind", kind))
        assert {
            k: v for k, v in row.items() if k not in ("test", "kind", "over_classes")
        } == compare(without, every)
        assert row["value"] == pytest.approx(every.mean() - without.mean())

    few = got.pop(("all_against_few", ""))
    draws = []
    for draw in range(3):
        order = np.random.default_rng([5, draw]).permutation(
            [i for i, k in enumerate(kinds) if k in used - {"name"}]
        )
        kept = {i for i, k in enumerate(kinds) if k == "name"}
        for group in {(owner[i], kinds[i]) for i in order}:
            of_group = [i for i in order.tolist() if (owner[i], kinds[i]) == group]
            kept |= set(
                of_group[: math.ceil(len(of_group) / 4)]
            )  # a quarter of each kind, at least one
        assert {(owner[i], kinds[i]) for i in kept} == {
            (c, k) for c, k in zip(owner, kinds, strict=True) if k in used
        }
        draws.append(right([i in kept for i in range(len(kinds))]))
    assert few["value"] == pytest.approx(every.mean() - np.mean(draws))
    test = compare(np.array(draws), np.tile(every, (3, 1)))
    assert (few["fixed"], few["broke"], few["p_value"]) == (
        test["fixed"],
        test["broke"],
        test["p_value"],
    )
    assert (few["low"], few["high"]) == (
        test["low"], test["high"],
    )  # fmt: skip

    choice = got.pop(("diverse_against_alike", ""))
    rows = text_choice_curve(stage_one, [0, 4, 2, 9])
    # with 2, no kind has two texts, and two texts of different kinds are no choice
    assert {r["count"] for r in rows} == {4}
    mean = {
        c: np.mean([r["accuracy"] for r in rows if r["chosen"] == c]) for c in ("diverse", "alike")
    }
    assert choice["value"] == pytest.approx(mean["diverse"] - mean["alike"])
    assert choice["fixed"] + choice["broke"] > 0
    low, high = choice["low"], choice["high"]
    assert (choice["p_value"] < 0.05) == (low > 0 or high < 0)
    assert not got


def test_what_there_is_no_choice_of_is_not_tested() -> None:
    """Otherwise names alone, or one text for each class, make a claim about nothing."""
    x, texts, owner, kinds, labels = text_set(1)
    names = [i for i, k in enumerate(kinds) if k == "name"]
    alone = StageOne(x, labels, texts[names], [owner[i] for i in names], ["name"] * 3, 3)
    assert text_tests(alone, [1, 2, 4]) == []
    one = [i for i, k in enumerate(kinds) if k in ("name", "analogous")]  # at most one of a class
    few = StageOne(x, labels, texts[one], [owner[i] for i in one], [kinds[i] for i in one], 3)
    assert list(by_test(text_tests(few, [1, 2, 4]))) == [("kind", "analogous")]


def test_curves_and_tests_score_each_choice_of_texts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is a pass over all images: twice of them would be hours on ImageNet."""
    x, texts, owner, kinds, labels = text_set(1)
    stage_one, scored, real = StageOne(x, labels, texts, owner, kinds, 3), [], StageOne._scored

    def counted(self: StageOne, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
        scored.append(keep.tobytes())
        return real(self, keep)

    monkeypatch.setattr(StageOne, "_scored", counted)
    text_kind_ablation(stage_one)
    text_count_curve(stage_one, [0, 1, 2], 2)
    text_choice_curve(stage_one, [1, 2])
    before = len(scored)
    text_tests(stage_one, [1, 2], 2)
    assert len(scored) == len(set(scored)) <= before + 2, (
        "besides the curves: two draws of few texts"
    )


@pytest.mark.parametrize(("n_classes", "says"), [(4, False), (5, False), (6, True)])
def test_top5_accuracy_only_of_more_than_five_classes(n_classes: int, says: bool) -> None:
    """Five classes had a top-5 accuracy of 100 %, with an interval."""
    labels = torch.arange(12) % n_classes
    images = SplitFeatures(torch.zeros(12, 2), labels, [str(i) for i in range(12)], {})
    scores = torch.randn(12, n_classes, generator=torch.Generator().manual_seed(0))
    table = rows(images, "clip", "any", scores, scores.argmax(dim=1))
    top5 = metrics([table], table, n_classes)["top5_accuracy"]
    assert (top5 is not None) == says
