"""Baselines against plain float64 loops. A wrong baseline makes CODER look better or worse than it
is.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from coder_clip.adapter import cache_logits
from coder_clip.baselines.raw_adapter import RawAdapter
from coder_clip.baselines.tip_adapter import TipAdapter
from coder_clip.baselines.zero_shot import class_weights, clip_scores, description_scores
from coder_clip.datasets.shots import draw_shots
from coder_clip.errors import UserError
from coder_clip.phases import text_features as phases_text_features
from coder_clip.phases.text_features import random_word_texts
from reference import grid_error

torch.set_num_threads(1)

sizes = st.integers(1, 5)


def features(n: int, d: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Raw features of any length, negative cosines included."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(n, d, generator=generator, dtype=torch.float64) * 3).to(dtype)


def cosine(a: list[float], b: list[float]) -> float:
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def unit(a: list[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in a))
    return [x / length for x in a]


@settings(deadline=None, max_examples=25)
@given(
    n=sizes,
    d=sizes,
    per_class=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
def test_clip_scores_are_cosines_with_the_unit_mean_prompt(
    n: int, d: int, per_class: list[int], seed: int
) -> None:
    """Otherwise the zero-shot column of every table is not CLIP's."""
    owner = [c for c, count in enumerate(per_class) for _ in range(count)]
    texts, x = features(len(owner), d, seed), features(n, d, seed + 1000)
    order = torch.from_numpy(
        np.random.default_rng(seed).permutation(len(owner))
    )  # rows in any order
    weights = class_weights(texts[order], torch.tensor(owner)[order], len(per_class))
    scores = clip_scores(x, weights)
    for c in range(len(per_class)):
        units = [unit(texts[i].tolist()) for i in range(len(owner)) if owner[i] == c]
        mean = [sum(column) / len(units) for column in zip(*units, strict=True)]
        if math.hypot(*mean) < 1e-6:
            continue  # opposite texts: the mean has no direction
        moved = (
            2 * grid_error(d) / math.hypot(*mean)
        )  # of the mean, by its texts and itself on the grid
        assert weights[c].tolist() == pytest.approx(unit(mean), abs=moved)
        for i in range(n):
            wanted = 100 * cosine(x[i].tolist(), mean)
            assert scores[i, c].item() == pytest.approx(wanted, abs=100 * (moved + grid_error(d)))


def test_a_class_without_a_text_is_named() -> None:
    """Otherwise the class silently gets score 0, which beats every negative cosine."""
    with pytest.raises(UserError, match="class 1 has no text"):
        class_weights(features(2, 3, 0), torch.tensor([0, 2]), 3)


def test_the_ensemble_of_80_templates_is_class_weights_of_its_sentences(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise "CLIP, 80 templates" is the ensemble of other classes' sentences, from the second
    block on.
    """
    names = ["fox", "red wolf", "dog"]
    made: dict[str, torch.Tensor] = {}

    class Recorder:
        def encode_texts_report(self, texts: list[str]) -> SimpleNamespace:
            for text in texts:
                made.setdefault(
                    text,
                    torch.tensor(
                        unit(features(1, 5, len(made) + 1)[0].tolist()), dtype=torch.float64
                    ),
                )
            return SimpleNamespace(features=torch.stack([made[t] for t in texts]))

    monkeypatch.setattr(phases_text_features, "CLASSES", 2)
    weights = phases_text_features.template_weights(Recorder(), names)  # type: ignore[arg-type]
    sentences = {n: [t for t in made if f" {n}" in t] for n in names}
    assert [len(s) for s in sentences.values()] == [80, 80, 80]
    for c, name in enumerate(names):
        mean = [sum(float(made[t][j]) for t in sentences[name]) / 80 for j in range(5)]
        assert weights[c].tolist() == pytest.approx(
            unit(mean), abs=2 * grid_error(5) / math.hypot(*mean)
        )


def test_a_class_without_sentences_is_known_by_its_name() -> None:
    """Otherwise a text set that lacks one class stops the run, or the names water down the
    sentences of others.
    """
    sentences, names = features(3, 4, 1), features(2, 4, 2)
    owner = torch.zeros(3, dtype=torch.int64)
    weights = class_weights(sentences, owner, 2, fallback=(names, torch.arange(2)))
    mean = [sum(unit(t.tolist())[j] for t in sentences) / 3 for j in range(4)]
    assert weights[0].tolist() == pytest.approx(
        unit(mean), abs=2 * grid_error(4) / math.hypot(*mean)
    )
    assert weights[1].tolist() == pytest.approx(unit(names[1].tolist()), abs=grid_error(4))


@settings(deadline=None, max_examples=25)
@given(
    n=sizes,
    d=sizes,
    per_class=st.lists(st.integers(0, 4), min_size=1, max_size=4),
    seed=st.integers(0, 99),
)
def test_description_scores_are_mean_cosines_and_fall_back_to_the_name(
    n: int, d: int, per_class: list[int], seed: int
) -> None:
    """Otherwise classes with many descriptions win by their number, or those without never do."""
    owner = [c for c, count in enumerate(per_class) for _ in range(count)]
    texts, x = features(len(owner), d, seed), features(n, d, seed + 1000)
    names = features(len(per_class), d, seed + 2000)
    index = torch.tensor(owner, dtype=torch.int64)
    classes = torch.arange(len(per_class))
    scores = description_scores(x, texts, index, len(per_class), (names, classes))
    assert scores.shape == (n, len(per_class))
    for i in range(n):
        for c in range(len(per_class)):
            mine = [texts[j].tolist() for j in range(len(owner)) if owner[j] == c] or [
                names[c].tolist()
            ]
            expected = 100 * sum(cosine(x[i].tolist(), t) for t in mine) / len(mine)
            assert scores[i, c].item() == pytest.approx(expected, abs=100 * grid_error(d, rows=3))
    if 0 in per_class:
        with pytest.raises(UserError, match=f"class {per_class.index(0)} has no text"):
            description_scores(x, texts, index, len(per_class))
        others = classes != per_class.index(0)
        with pytest.raises(UserError, match=f"class {per_class.index(0)} has no text"):
            description_scores(x, texts, index, len(per_class), (names[others], classes[others]))


def test_half_precision_features_are_scored_in_float64() -> None:
    """Otherwise a half-precision cache changes the ranking of near classes, or fails on a CPU."""
    x, texts = features(4, 8, 1, torch.float16), features(6, 8, 2, torch.float16)
    index = torch.tensor([0, 0, 1, 1, 2, 2])
    for scores, exact in (
        (
            clip_scores(x, class_weights(texts, index, 3)),
            clip_scores(x.double(), class_weights(texts.double(), index, 3)),
        ),
        (
            description_scores(x, texts, index, 3),
            description_scores(x.double(), texts.double(), index, 3),
        ),
    ):
        assert scores.dtype == torch.float64
        torch.testing.assert_close(scores.double(), exact, atol=1e-4, rtol=0)


words = st.lists(
    st.sampled_from(["red", "four", "legs", "a", "wing-tip", "tail,"]), max_size=4
).map(" ".join)
text_sets = st.lists(st.lists(words, max_size=3), max_size=4)


@settings(deadline=None)
@given(texts=text_sets, seed=st.integers(0, 999))
def test_random_words_keep_the_shape_of_the_texts(texts: list[list[str]], seed: int) -> None:
    """Otherwise the control differs from descriptions in more than their content."""
    random = random_word_texts(texts, seed)
    assert random == random_word_texts(texts, seed)
    assert [[len(t.split()) for t in c] for c in random] == [
        [len(t.split()) for t in c] for c in texts
    ]
    flat = sorted(w for c in random for t in c for w in t.split())
    assert flat == sorted(w for c in texts for t in c for w in t.split()), (
        "only their places change"
    )


def test_random_words_differ_by_seed_and_leave_their_class() -> None:
    """Otherwise the control is the treatment."""
    texts = [[f"w{c}{i} v{c}{i}" for i in range(5)] for c in range(4)]
    first, second = random_word_texts(texts, 0), random_word_texts(texts, 1)
    assert first != second
    stayed = sum(w[1] == str(c) for c, mine in enumerate(first) for t in mine for w in t.split())
    assert stayed < 25  # of 40; a shuffle leaves about 10


def test_features_of_another_width_or_with_nan_are_refused_and_precisions_mix() -> None:
    """Otherwise features of two models, or a broken extraction, give scores that look like scores."""
    x, weights = features(2, 4, 1), features(3, 4, 2)
    torch.testing.assert_close(
        clip_scores(x.half(), weights), clip_scores(x, weights), atol=0.1, rtol=0
    )
    adapter = TipAdapter.fit(weights.float(), torch.arange(3), n_classes=3)
    torch.testing.assert_close(
        adapter.affinity(x), adapter.affinity(x.half()).double(), atol=1e-3, rtol=0
    )
    with pytest.raises(UserError, match="same model"):
        adapter.affinity(features(2, 5, 1))
    with pytest.raises(UserError, match="row 1 holds NaN"):
        clip_scores(torch.tensor([[1.0, 0.0], [math.nan, 0.0]]), torch.eye(2))


labels_and_classes = st.integers(1, 5).flatmap(
    lambda c: st.tuples(st.lists(st.integers(0, c - 1), max_size=25), st.just(c))
)


@settings(deadline=None)
@given(drawn=labels_and_classes, shots=st.integers(1, 9), seed=st.integers(0, 99))
def test_shots_without_replacement_then_repeats(
    drawn: tuple[list[int], int], shots: int, seed: int
) -> None:
    """Otherwise a shot count means something else than it says, or a small class stops the run."""
    labels, n_classes = drawn
    got = draw_shots(np.array(labels, dtype=np.int64), shots, seed, n_classes)
    for c in range(n_classes):
        available = [i for i, label in enumerate(labels) if label == c]
        mine = [int(i) for i in got if labels[i] == c]
        assert len(mine) == (shots if available else 0)
        assert len(set(mine)) == min(shots, len(available))
        times = [mine.count(i) for i in set(mine)]
        assert (
            max(times, default=0) - min(times, default=0) <= 1
        )  # repeats start after all were used
    longer = draw_shots(labels, shots + 3, seed, n_classes)
    assert longer[: len(got)].tolist() == got.tolist()


def test_shots_depend_on_the_seed_and_not_on_other_classes() -> None:
    """Otherwise seeds measure nothing, or adding a class changes every published draw."""
    labels = np.repeat([0, 1], 50)
    draws = {tuple(draw_shots(labels, 4, seed, 2)) for seed in range(5)}
    assert len(draws) == 5
    alone = draw_shots(labels[:50], 4, 3, 1).tolist()
    both = draw_shots(labels, 4, 3, 2).tolist()
    assert [i for i in both if i < 50] == alone
    # nor are they at the same places of each class, which often is the order of a burst
    assert [i - 50 for i in both if i >= 50] != alone


@settings(deadline=None, max_examples=25)
@given(
    n=sizes,
    k=sizes,
    d=sizes,
    views=st.integers(0, 3),
    n_classes=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_adapters_are_the_written_equations(
    n: int, k: int, d: int, views: int, n_classes: int, seed: int
) -> None:
    """Otherwise what CODER-Adapter adds over its baselines is not what the table says."""
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(rng.integers(0, n_classes, size=k))  # some classes without a shot
    cache = features(max(views, 1) * k, d, seed).view(max(views, 1), k, d)
    x, clip = features(n, d, seed + 1000), features(n, n_classes, seed + 2000)
    alpha, beta = 1.7, 3.1
    for kind in (TipAdapter, RawAdapter):
        adapter = kind.fit(cache if views else cache[0], labels, n_classes=n_classes)
        affinity, logits = (
            adapter.affinity(x),
            cache_logits(adapter, x, clip, alpha=alpha, beta=beta),
        )
        for i in range(n):
            keys = [
                [sum(v) / len(v) for v in zip(*cache[:, j].tolist(), strict=True)] for j in range(k)
            ]
            row, moved = [cosine(x[i].tolist(), key) for key in keys], grid_error(d)
            if kind is RawAdapter:
                low, high = min(row), max(row)
                if 0 < high - low < 1e-9:
                    continue  # equal up to rounding: either side of the constant row
                row = [1.0 if high == low else (a - low) / (high - low) for a in row]
                # the grid moves each of the two differences twice
                moved *= 1.0 if high == low else 4 / (high - low)
            assert affinity[i].tolist() == pytest.approx(row, abs=moved)
            for c in range(n_classes):
                votes = sum(math.exp(-beta * (1 - row[j])) for j in range(k) if labels[j] == c)
                assert logits[i, c].item() == pytest.approx(
                    clip[i, c].item() + alpha * votes, abs=1e-6 + alpha * beta * k * moved
                )
