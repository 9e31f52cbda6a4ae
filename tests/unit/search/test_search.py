"""The search against the whole published grid: 75,000 points one after the other."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

import reference
from coder_clip.adapter import CoderAdapter, SearchResult, cache_logits, search
from coder_clip.errors import UserError
from coder_clip.search import cache_model

torch.set_num_threads(1)

Span = tuple[float, float, int]
WHOLE: tuple[Span, Span] = ((0.1, 200, 500), (0.1, 20, 50))
COARSE: tuple[Span, Span] = ((0.1, 200, 41), (0.1, 20, 13))
# Seed of a problem whose two classes have equal votes in exact arithmetic: the order in which three
# shots are added decides which is larger in float64, and so which point is the best.
WITHOUT_ANSWER = 11261


@dataclass
class Given:
    """A cache whose affinities are given: image i is row i."""

    near: Tensor
    labels: Tensor
    n_classes: int

    def affinity(self, x: Tensor) -> Tensor:
        return self.near[x[:, 0].long()]


def rows(n: int) -> Tensor:
    return torch.arange(n, dtype=torch.float32)[:, None]


def problem(seed: int) -> tuple[Given, Tensor, Tensor]:
    """Random sizes, and now and then what could go wrong: ties, equal shots, classes without a
    shot, rows of ones, cosines that are not scaled, logits so far apart that shots change
    nothing."""
    rng = np.random.default_rng(seed)
    n_classes, n = int(rng.choice([1, 2, 3, 5, 9])), int(rng.choice([1, 2, 10, 40]))
    shots = int(rng.choice([1, 2, 6, 20]))
    shot_labels, labels = rng.integers(0, n_classes, shots), rng.integers(0, n_classes, n)
    near = rng.random((n, shots)) ** rng.choice([0.05, 0.3, 1, 3])
    helpful = (shot_labels == labels[:, None]) & (rng.random((n, shots)) < rng.choice([0, 0.5, 1]))
    near = np.where(helpful, near ** rng.choice([0.1, 0.7]), near)
    kind = rng.integers(0, 8)
    if kind == 0:
        near = np.round(near, 1)
    elif kind == 1:
        near = np.repeat(near[:, :1], shots, axis=1)
    elif kind == 2 and shots > 1:
        near[:, shots // 2 :] = near[:, : shots - shots // 2]  # the same shots for other classes
    elif kind == 3:
        near[:: max(1, n // 3)] = 1
    elif kind == 4:
        near = 2 * near - 1
    clip = rng.normal(size=(n, n_classes)) * rng.choice([0, 0.1, 2, 20])
    if rng.random() < 0.4:
        clip = np.round(clip)
    model = Given(torch.tensor(near).float(), torch.tensor(shot_labels), n_classes)
    return model, torch.tensor(clip).float(), torch.tensor(labels)


def one_by_one(
    model: Given, clip: Tensor, labels: Tensor, spans: tuple[Span, Span], rounds: int = 3
) -> list[tuple[float, float, float]]:
    """The reference's answer: every point of the grid, in float64."""
    return reference.search(
        model.near.double().numpy(),
        clip.double().numpy(),
        model.labels.tolist(),
        labels.numpy(),
        model.n_classes,
        *spans,
        rounds=rounds,
    )


def compare(seed: int, spans: tuple[Span, Span], rounds: int = 3) -> SearchResult:
    model, clip, labels = problem(seed)
    found = search(model, rows(len(clip)), clip, labels, *spans, rounds=rounds)
    expected = one_by_one(model, clip, labels, spans, rounds)
    assert [tuple(r) for r in found.rounds] == expected, f"seed {seed}"
    assert (found.alpha, found.beta, found.accuracy) == expected[-1]
    return found


@pytest.mark.parametrize(
    "seeds", [range(s, s + 10) for s in range(0, 50, 10)], ids=lambda r: f"from {r[0]}"
)
def test_same_as_the_exhaustive_loop(seeds: range) -> None:
    """Hyper-parameters other than the published search's would be reported under its name."""
    for seed in seeds:
        compare(seed, COARSE)


@pytest.mark.parametrize("seed", [4, 13, 41])
def test_same_as_the_exhaustive_loop_on_the_published_grid(seed: int) -> None:
    compare(seed, WHOLE)


@pytest.mark.proof
def test_same_as_the_exhaustive_loop_thousands_of_times() -> None:
    for seed in {*range(50, 100), *range(10_000, 13_000)} - {WITHOUT_ANSWER}:
        compare(seed, COARSE)


def test_a_problem_without_an_answer() -> None:
    """Where the order of additions decides, neither the search nor the reference is right."""
    model, clip, labels = problem(WITHOUT_ANSWER)
    other_way = Given(model.near.flip(1), model.labels.flip(0), model.n_classes)
    one, other = (one_by_one(m, clip, labels, COARSE) for m in (model, other_way))
    assert one != other


@pytest.mark.parametrize(
    "spans", [((5, 5, 3), (1, 2, 4)), ((0, 9, 1), (0, 0, 5)), ((0, 0, 2), (0, 3, 1))]
)
def test_odd_grids(spans: tuple[Span, Span]) -> None:
    """A fixed β, or an α of 0, is a fair thing to ask."""
    for seed in range(20):
        compare(seed, spans, rounds=2)


def test_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large data set, whose affinities lie in a file, would be searched wrongly."""
    for name, value in (("BLOCK", 30), ("FETCH", 50), ("KEEP", 0)):
        monkeypatch.setattr(cache_model, name, value)
        for seed in range(200, 203):
            compare(seed, COARSE)


def test_a_large_search_decides_each_image_once_and_for_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An image near a tie would be right in one pass and wrong in the next: the last bit of a
    matrix product depends on which rows are computed together."""

    class Restless:
        """Every part of the images has its own affinity: exaggerated rounding."""

        labels, n_classes = torch.tensor([0, 1]), 2
        asked: ClassVar[list[int]] = []

        def affinity(self, x: torch.Tensor) -> torch.Tensor:
            self.asked.extend(x[:, 0].int().tolist())
            return torch.rand((len(x), 2), generator=torch.Generator().manual_seed(int(x.sum())))

    monkeypatch.setattr(cache_model, "FETCH", 20)
    monkeypatch.setattr(cache_model, "BLOCK", 20)
    x, labels = torch.arange(200.0)[:, None], torch.arange(200) % 2
    clip = torch.randn((200, 2), generator=torch.Generator().manual_seed(1))
    in_memory = search(Restless(), x, clip, labels, *COARSE)
    monkeypatch.setattr(cache_model, "KEEP", 0)
    Restless.asked.clear()
    found = search(Restless(), x, clip, labels, *COARSE)
    assert Restless.asked == list(range(200))
    assert found == in_memory
    logits = cache_logits(Restless(), x, clip, alpha=found.alpha, beta=found.beta)
    assert float((logits.argmax(dim=1) == labels).double().mean()) == found.accuracy


def test_votes_come_with_their_derivatives_and_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search skips points by them: with others, it skips the best one now and then."""
    _, clip, labels = problem(0)
    near = torch.rand(len(clip), 6, generator=torch.Generator().manual_seed(0))
    near[0] = 1.001  # as if by rounding, but far above it
    model = Given(near, torch.zeros(6, dtype=torch.int64), clip.shape[1])
    monkeypatch.setattr(cache_model, "BLOCK", 1)
    monkeypatch.setattr(cache_model, "FETCH", 1)  # an image in each part
    images = cache_model.AffinityBlocks(model, rows(len(clip)), clip, labels)
    images.keep()
    gammas, step = np.zeros(1, dtype=np.int64), 1e-6
    for block in images.blocks(np.arange(len(clip))):
        votes, slopes = block.votes(3.0, gammas, True)
        assert slopes is not None
        later, _ = block.votes(3.0 + step, gammas, False)
        np.testing.assert_allclose((later - votes) / step, slopes, rtol=1e-4, atol=1e-6)
        assert votes.max() <= images.largest_vote(3.0) * (1 + 1e-12)


def test_no_room_for_a_large_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job would be killed by the bus error of a full disk."""

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache_model, "KEEP", 0)
    monkeypatch.setattr(os, "posix_fallocate", full)
    model, clip, labels = problem(1)
    with pytest.raises(UserError, match=r"needs 0\.0 GiB in .*No space left.*set TMPDIR"):
        search(model, rows(len(clip)), clip, labels, *COARSE)


def test_a_number_has_one_power_wherever_it_stands() -> None:
    """Equal shots of two classes would differ in the last digit, and a tie would not be one: exp
    works on several numbers at a time, and on those that are left.
    """
    rng = np.random.default_rng(0)
    near = -rng.random(500)
    one_by_one = np.array([cache_model.decayed(x, 3.7, np.empty(1))[0] for x in near[:, None]])
    for _ in range(200):
        some = rng.integers(0, len(near), int(rng.integers(1, 70)))
        place = int(rng.integers(0, 8))
        room = np.empty(len(some) + 8)[place : place + len(some)]
        assert (cache_model.decayed(near[some], 3.7, room) == one_by_one[some]).all()
        assert np.allclose(room, np.exp(3.7 * near[some]), rtol=1e-15, atol=0)


def test_no_image_right_anywhere() -> None:
    """The published loop then zooms into (0, 0): plain CLIP."""
    model = Given(torch.ones(2, 1), torch.tensor([0]), 2)
    clip = torch.tensor([[0.0, 0.05]] * 2)
    found = search(model, rows(2), clip, torch.tensor([1, 1]))
    assert found.rounds[0] == (0, 0, 0)
    assert (found.alpha, found.beta, found.accuracy) == (0, 0, 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_features_on_a_gpu_give_the_same_answer() -> None:
    """The GPU computes the affinities; the search among them is the same."""
    torch.manual_seed(0)
    shots, texts, x = (torch.randn(n, 16, dtype=torch.float64) for n in (20, 30, 60))
    labels, clip, y = torch.arange(20) % 5, 100 * torch.randn(60, 5), torch.randint(5, (60,))

    def found(device: str) -> SearchResult:
        adapter = CoderAdapter.fit(
            shots.to(device), labels.to(device), texts.to(device), n_classes=5
        )
        return search(adapter, x.to(device), clip.to(device), y.to(device))

    assert found("cuda") == found("cpu")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"betas": (1, 0.5, 3)}, "betas"),
        ({"alphas": (-1, 0.5, 3)}, "alphas"),
        ({"alphas": (0, 1, 0)}, "alphas"),
        ({"rounds": 0}, "round"),
        ({"labels": torch.tensor([0, 7])}, "classes are 0 to 1"),
        ({"labels": torch.tensor([0])}, "labels: shape"),
        ({"clip_logits": torch.zeros(2, 5)}, "clip_logits"),
    ],
)
def test_bad_searches(change: dict[str, object], message: str) -> None:
    """Shots and images that do not fit together would give a number all the same."""
    given = {
        "x": rows(2),
        "clip_logits": torch.zeros(2, 2),
        "labels": torch.tensor([0, 1]),
        **change,
    }
    with pytest.raises(UserError, match=message):
        search(Given(torch.ones(2, 2), torch.tensor([0, 1]), 2), **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "point", [{"alpha": -1.0, "beta": 1.0}, {"alpha": 1.0, "beta": float("nan")}]
)
def test_logits_of_no_point_of_a_grid(point: dict[str, float]) -> None:
    with pytest.raises(UserError, match="numbers of at least 0 are needed"):
        cache_logits(
            Given(torch.ones(2, 2), torch.tensor([0, 1]), 2), rows(2), torch.zeros(2, 2), **point
        )


def test_no_image() -> None:
    """A search without images would end in a traceback."""
    model = Given(torch.ones(1, 1), torch.tensor([0]), 1)
    with pytest.raises(UserError, match="one image"):
        search(model, torch.zeros(0, 1), torch.zeros(0, 1), torch.zeros(0, dtype=torch.int64))
