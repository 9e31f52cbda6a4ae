"""Near twins in the numbers: an interval over images that are near twins says too much."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from coder_clip.errors import UserError
from coder_clip.evaluation.estimates import compare, estimate
from coder_clip.evaluation.intervals import DIFFERENCE, SHARE, crossed_interval
from coder_clip.evaluation.representation import (
    changed_neighbours,
    neighbourhoods,
)
from coder_clip.foundation.artifacts import (
    Paths,
    read_json,
    read_parquet,
    read_tensors,
    write_tensors,
)
from coder_clip.jobs import work
from coder_clip.phases.common import read_image_features
from toy_features import Toy

torch.set_num_threads(1)
generators = st.integers(0, 2**32 - 1).map(np.random.default_rng)


# ---- intervals


def file_of(toy: Toy, split: str) -> Path:
    return Paths(toy.config.results).image_features("m", "toy", split)


def by_hand(
    values: np.ndarray, added: tuple[float, ...], groups: list[int], tests: int = 1
) -> tuple[float, float, float]:
    """The interval over groups and its p-value, with plain loops."""
    s, n = values.shape
    numbers = sorted(set(groups))
    size = [groups.count(g) / n for g in numbers]
    typical = sum(w * w for w in size)
    scale = 1.0
    if added == DIFFERENCE:
        # added groups change by as much as is usual
        changes = []
        for run in values.tolist():
            for number, w in zip(numbers, size, strict=True):
                change = sum(v for v, g in zip(run, groups, strict=True) if g == number) / n / w
                if change:
                    changes.append(change)
        if changes:
            scale = (sum(c * c for c in changes) / len(changes)) ** 0.5
    size += [typical] * len(added)
    total = sum(size)
    sums = []
    for run in values.tolist():
        of_run = [
            sum(v for v, g in zip(run, groups, strict=True) if g == number) / n
            for number in numbers
        ]
        sums.append(of_run + [typical * scale * a for a in added])
    of_runs = [sum(row) / total for row in sums]
    mean = sum(of_runs) / s
    effective = total**2 / sum(w * w for w in size)
    images = 0.0
    for j, w in enumerate(size):
        images += (sum(sums[i][j] for i in range(s)) / s - mean * w) ** 2 / total**2
    parts, free = [images], [effective - 1]
    if s > 1:
        runs = sum((m - mean) ** 2 for m in of_runs) / (s - 1) / s
        noise = 0.0
        for i in range(s):
            for j, w in enumerate(size):
                of_group = sum(sums[k][j] for k in range(s)) / s
                noise += (sums[i][j] - of_group - (of_runs[i] - mean) * w) ** 2
        noise *= effective / (effective - 1) / ((s - 1) * s * total**2)
        parts += [runs, -noise]
        free += [s - 1, (s - 1) * (effective - 1)]
    variance = max(sum(parts), images)
    degrees = variance**2 / sum(p**2 / f for p, f in zip(parts, free, strict=True))
    error = variance**0.5
    half = student.ppf(1 - 0.05 / (2 * tests), degrees) * error
    if (values != values[0]).any():
        degrees = min(degrees, s - 1)  # the p-value of a few runs must not be tiny by chance
    p_value = min(1.0, tests * 2 * student.sf(abs(mean) / error, degrees))
    return max(min(added), mean - half), min(max(added), mean + half), p_value


@given(generators, st.integers(1, 4), st.integers(2, 30), st.integers(1, 6))
def test_the_interval_over_groups_by_hand(
    rng: np.random.Generator, s: int, n: int, tests: int
) -> None:
    """A wrong term makes a burst look like many observations again."""
    groups = rng.integers(0, n, size=n)
    for values, added in (
        (rng.integers(-1, 2, (s, n)).astype(float), DIFFERENCE),
        (rng.integers(0, 2, (s, n)).astype(float), SHARE),
    ):
        got = crossed_interval(values, added, tests, groups)
        assert got == pytest.approx(by_hand(values, added, groups.tolist(), tests), abs=1e-12)


@given(generators, st.integers(1, 4), st.integers(2, 30))
def test_groups_of_one_image_change_nothing(rng: np.random.Generator, s: int, n: int) -> None:
    """A single near twin somewhere would move all other intervals."""
    values = rng.integers(-1, 2, (s, n)).astype(float)
    got = crossed_interval(values, DIFFERENCE, 3, rng.permutation(n))
    assert got == pytest.approx(crossed_interval(values, DIFFERENCE, 3), abs=1e-12)


@given(generators, st.integers(1, 3), st.integers(3, 25), st.integers(2, 20))
def test_copies_of_all_images_change_nothing(
    rng: np.random.Generator, s: int, n: int, copies: int
) -> None:
    """Whoever saves each photo 20 times has not made one observation more."""
    before, after = rng.integers(0, 2, (2, s, n)).astype(float)
    many, groups = (x.repeat(copies, axis=-1) for x in (np.stack([before, after]), np.arange(n)))
    once = compare(before, after, tests=2, groups=np.arange(n))
    again = compare(*many, tests=2, groups=groups)
    ends = ["value", "low", "high", "std", "p_value"]
    assert [again[k] for k in ends] == pytest.approx([once[k] for k in ends], abs=1e-12)
    assert estimate(many[1], groups=groups) == pytest.approx(
        estimate(after, groups=np.arange(n)), abs=1e-12
    )
    one, single = many[:, 0], np.stack([before, after])[:, 0]
    labels = rng.integers(0, 3, n)
    pairs = (
        (estimate(one[1], groups=groups), estimate(single[1], groups=np.arange(n))),
        (
            estimate(one[1], labels.repeat(copies), groups=groups),
            estimate(single[1], labels, groups=np.arange(n)),
        ),
        (estimate(one[0], groups=groups), estimate(single[0], groups=None)),
    )
    for got, expected in pairs:
        assert got == pytest.approx(expected, abs=1e-9)


def test_twenty_shots_of_one_scene_are_one_observation() -> None:
    before, after = np.zeros(100), np.zeros(100)
    after[:20] = 1
    groups = np.repeat(np.arange(5), 20)
    plain, grouped = compare(before, after), compare(before, after, groups=groups)
    assert plain["p_value"] < 1e-5
    assert plain["low"] > 0
    assert grouped["p_value"] > 0.3
    assert grouped["low"] < 0
    assert (grouped["fixed"], grouped["broke"]) == (20, 0)
    unchanged = compare(before, before, groups=groups)
    assert unchanged["p_value"] == 1
    assert (unchanged["value"], unchanged["low"], unchanged["high"]) == (0, 0, 0)


def test_images_that_change_in_one_run_only_are_changed_images() -> None:
    """A difference that the first seed does not have would be called chance, whatever the others say."""
    before, after = np.zeros((3, 50)), np.zeros((3, 50))
    after[1, :40] = after[2, :30] = 1
    expected = crossed_interval(after - before, DIFFERENCE)
    assert compare(before, after)["p_value"] == expected.p_value < 1


def test_undefined_results_are_left_out_with_their_groups() -> None:
    """Each group would be that of another image."""
    values, groups = np.array([np.nan, 1, 1, 0, np.nan, 0]), np.array([0, 1, 1, 2, 2, 3])
    kept = ~np.isnan(values)
    assert estimate(values, groups=groups) == estimate(values[kept], groups=groups[kept])
    zeros = np.zeros(6)
    got, expected = (
        compare(zeros, values, groups=groups),
        compare(zeros[kept], values[kept], groups=groups[kept]),
    )
    assert got == expected
    with pytest.raises(ValueError, match="one label or group per image"):
        estimate([1, 0], groups=[1])


def test_one_group_alone_is_not_certain() -> None:
    """All photos of one scene, all right, are no evidence of 100 %."""
    found = estimate(np.ones(50), groups=np.zeros(50, dtype=int))
    assert found["value"] == 1
    assert found["low"] < 0.3


# ---- neighbours


@given(generators, st.integers(2, 25), st.integers(1, 8))
def test_a_near_twin_is_no_neighbour(rng: np.random.Generator, n: int, k: int) -> None:
    """The nearest neighbour of a frame is the next frame of its video, whatever the features are."""
    x, labels = torch.tensor(rng.normal(size=(n, 3))), rng.integers(0, 3, n)
    groups = rng.integers(0, max(1, n // 2), n)
    unit = (x / x.norm(dim=1, keepdim=True)).numpy()
    knn, precision = [], []
    for i in range(n):
        others = [j for j in range(n) if groups[j] != groups[i]]
        others.sort(key=lambda j: (-float(unit[i] @ unit[j]), j))
        votes: dict[int, int] = {}
        for j in others[:k]:
            votes[int(labels[j])] = votes.get(int(labels[j]), 0) + 1
        knn.append(bool(votes) and max(votes, key=lambda c: votes[c]) == labels[i])
        r = sum(labels[j] == labels[i] for j in others)
        precision.append(sum(labels[j] == labels[i] for j in others[:r]) / r if r else np.nan)
    (votes,), got = neighbourhoods(x, labels, k, groups=torch.tensor(groups))
    assert votes.tolist() == knn
    assert got == pytest.approx(np.array(precision), nan_ok=True)
    corrected, broken = changed_neighbours(x, x[:, :2], labels, n, torch.tensor(groups))
    for change in corrected + broken:
        assert groups[change["query"]] not in (groups[change["same"]], groups[change["other"]])


# ---- a whole run


def documents(toy: Toy) -> dict[str, Any]:
    work(toy.config, "build_coder", model="m", dataset="toy")
    work(toy.config, "classify", model="m", dataset="toy")
    work(toy.config, "rerank_top", model="m", dataset="toy")
    work(toy.config, "fit_adapters", model="m", dataset="toy", shots="2")
    work(toy.config, "evaluate", model="m", dataset="toy")
    paths = Paths(toy.config.results)
    files = {
        "zero_shot": paths.zero_shot("m", "toy"),
        "rerank": paths.rerank("m", "toy"),
        "adapter": paths.adapter("m", "toy", 2),
        "evaluation": paths.evaluation("m", "toy"),
    }
    return {name: read_json(path.with_suffix(".json")) for name, path in files.items()}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[Toy, Any], tuple[Toy, Any]]:
    """The same features with groups of three near twins, and without groups."""
    grouped, plain = (Toy(tmp_path_factory.mktemp("toy"), burst=burst) for burst in (3, 1))
    return (grouped, documents(grouped)), (plain, documents(plain))


def intervals(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every interval of a document, by its path."""
    if isinstance(document, dict) and "low" in document:
        yield path, document
    elif isinstance(document, dict):
        for key, value in document.items():
            yield from intervals(value, (*path, key))
    elif isinstance(document, list):
        for i, value in enumerate(document):
            yield from intervals(value, (*path, i))


def test_every_interval_of_a_run_is_over_groups(
    runs: tuple[tuple[Toy, Any], tuple[Toy, Any]],
) -> None:
    """One that is not calls a difference clear that three shots of each scene made so."""
    (_, grouped), (_, plain) = runs
    without = dict(intervals(plain))
    checked = 0
    for path, interval in intervals(grouped):
        if path[-1] == "on_test":  # only where there are groups
            continue
        if interval["low"] == interval["high"] == without[path]["low"]:  # nothing changed
            continue
        assert interval["low"] != without[path]["low"], path
        checked += 1
    assert checked > 100
    phases = {path[0] for path in without}
    assert phases == {"zero_shot", "rerank", "adapter", "evaluation"}


def test_the_rows_of_a_run_say_the_groups(
    runs: tuple[tuple[Toy, Any], tuple[Toy, Any]],
) -> None:
    """The table of claims is made from rows: without their groups a burst would show a claim."""
    (toy, _), (plain, _) = runs
    paths, without = Paths(toy.config.results), Paths(plain.config.results)
    ids = read_tensors(paths.image_features("m", "toy", "test"))[1]["ids"]
    of_image = dict(zip(ids, toy.groups("test").tolist(), strict=True))
    for path in (
        paths.zero_shot("m", "toy"),
        paths.rerank("m", "toy"),
        paths.adapter("m", "toy", 2),
    ):
        rows = read_parquet(path)
        assert [of_image[i] for i in rows["image_id"]] == rows["group"].tolist()
        assert "group" not in read_parquet(without.root / path.relative_to(paths.root))


def test_recall_over_groups_weighs_each_class_the_same() -> None:
    """With images weighed alike, the interval of mean class recall is that of accuracy."""
    labels = np.array([0] * 30 + [1] * 6)
    groups = np.concatenate([np.arange(30) // 3, 10 + np.arange(6) // 2])
    right = np.concatenate([np.arange(30) % 10 < 9, np.arange(6) % 2 == 0]).astype(float)
    weights = np.where(labels == 0, 1 / 60, 1 / 12)
    numbers = sorted(set(groups.tolist()))
    size = [float(weights[groups == g].sum()) for g in numbers]
    typical = sum(w * w for w in size)
    sums = [float((weights * right)[groups == g].sum()) for g in numbers]
    sums += [typical * a for a in SHARE]
    size += [typical] * 4
    total = sum(size)
    mean = sum(sums) / total
    variance = sum((s - mean * w) ** 2 for s, w in zip(sums, size, strict=True)) / total**2
    degrees = total**2 / sum(w * w for w in size) - 1
    half = student.ppf(0.975, degrees) * variance**0.5
    got = estimate(right, labels, groups=groups)
    assert got["value"] == pytest.approx((right[:30].mean() + right[30:].mean()) / 2)
    assert (got["low"], got["high"]) == pytest.approx((mean - half, min(1.0, mean + half)))
    assert got["low"] < estimate(right, groups=groups)["low"] - 0.05


def test_groups_of_another_number_of_images_are_refused(tmp_path: Path) -> None:
    """Each image would be in the group of another one."""
    toy = Toy(tmp_path, burst=2)
    path = Paths(toy.config.results).image_features("m", "toy", "test")
    assert torch.equal(read_image_features(file_of(toy, "test")).groups, toy.groups("test"))
    assert read_image_features(file_of(Toy(tmp_path / "plain"), "test")).groups is None
    tensors, meta = read_tensors(path)
    write_tensors(path, {**tensors, "groups": tensors["groups"][1:]}, meta)
    with pytest.raises(UserError, match="groups of 89 images, not of 90"):
        read_image_features(file_of(toy, "test"))
