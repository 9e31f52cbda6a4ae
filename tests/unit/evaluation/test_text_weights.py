"""The effect of each text, beside a plain computation that builds stage one again without it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from coder_clip.errors import UserError
from coder_clip.evaluation.text_ablations import StageOne
from coder_clip.evaluation.text_weights import LEAST, Weight, advised, weigh

KINDS = ["name", "attribute", "attribute", "attribute", "attribute", "analogous", "synonym"]


def made(seed: int, n_classes: int = 4, per_class: int = 5, groups: bool = False) -> StageOne:
    """A data set of random features, whose images are near the texts of their class."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_classes, 6))
    owner = np.repeat(np.arange(n_classes), len(KINDS))
    texts = centres[owner] + rng.normal(size=(len(owner), 6))
    labels = np.repeat(np.arange(n_classes), per_class)
    x = centres[labels] + 1.5 * rng.normal(size=(len(labels), 6))
    return StageOne(
        torch.from_numpy(x),
        labels,
        torch.from_numpy(texts),
        owner,
        KINDS * n_classes,
        n_classes,
        torch.from_numpy(np.arange(len(labels)) // 2) if groups else None,
    )


def plain_scores(stage: StageOne, left_out: int | None) -> np.ndarray[Any, Any]:
    """Stage one's scores (N, C) in plain loops, without one text."""
    x, t = stage.x.double().numpy(), stage.text_features.double().numpy()
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    t = t / np.linalg.norm(t, axis=1, keepdims=True)
    scores = np.zeros((len(x), stage.n_classes))
    for c in range(stage.n_classes):
        rows = [r for r in range(len(t)) if stage.owner[r] == c and r != left_out]
        averaged = [r for r in rows if stage.kind[r] in ("attribute", "analogous")]
        names = [r for r in rows if stage.kind[r] in ("name", "synonym")]
        for n in range(len(x)):
            best = max(float(x[n] @ t[r]) for r in names)
            total = sum(float(x[n] @ t[r]) for r in averaged)
            scores[n, c] = 100 * (total + best) / (len(averaged) + 1)
    return scores


def probability(scores: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> Any:
    """The softmax of the true class (N,)."""
    e = np.exp(scores - scores.max(axis=1, keepdims=True))
    return (e / e.sum(axis=1, keepdims=True))[np.arange(len(labels)), labels]


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
@example(401093)  # one text alone makes a class the first, by far
def test_each_text_is_left_out_as_if_stage_one_were_built_again(seed: int) -> None:
    """A wrong term in the product for all texts at once would advise to drop good texts."""
    stage = made(seed)
    labels = stage.labels
    with_all = plain_scores(stage, None)
    weights = weigh(stage)
    assert [weight.row for weight in weights] == np.flatnonzero(stage.kind != "name").tolist()
    for weight in weights:
        without = plain_scores(stage, weight.row)
        change = probability(with_all, labels) - probability(without, labels)
        own = labels == weight.owner
        x, t = stage.x.numpy(), stage.text_features.numpy()[weight.row]
        cosine = x @ t / np.linalg.norm(x, axis=1) / np.linalg.norm(t) - with_all.mean(axis=1) / 100
        tells = cosine[own].mean() - cosine[~own].mean()
        assert weight.tells["value"] == pytest.approx(tells, abs=1e-5)
        assert weight.own["value"] == pytest.approx(change[own].mean(), abs=1e-5)
        assert weight.others["value"] == pytest.approx(change[~own].sum() / own.sum(), abs=1e-5)
        assert weight.net["value"] == pytest.approx(change.sum() / own.sum(), abs=1e-5)
        sums = [change[labels == c].sum() if c != weight.owner else 0 for c in range(4)]
        if min(sums) < -1e-5:
            assert weight.takes_from == int(np.argmin(sums))
            assert weight.taken is not None
            assert weight.taken["value"] == pytest.approx(min(sums) / 5, abs=1e-5)
        right, right_without = (s.argmax(axis=1) == labels for s in (with_all, without))
        assert weight.fixed == (right & ~right_without).sum()
        assert weight.broke == (~right & right_without).sum()


def test_intervals_are_students_over_images_or_groups() -> None:
    """An interval that is too narrow would make advice of chance."""
    stage = made(3)
    weight = weigh(stage)[0]
    own = stage.labels == weight.owner
    change = probability(plain_scores(stage, None), stage.labels)
    change = (change - probability(plain_scores(stage, weight.row), stage.labels))[own]
    # the variance of images has ddof 0 in `crossed_interval`
    half = stats.t.ppf(0.975, len(change) - 1) * change.std() / len(change) ** 0.5
    assert weight.own["low"] == pytest.approx(change.mean() - half, abs=1e-5)
    assert weight.own["high"] == pytest.approx(change.mean() + half, abs=1e-5)
    grouped = weigh(made(3, groups=True))[0]
    assert grouped.own["value"] == weight.own["value"]
    assert grouped.own["high"] != weight.own["high"]


def test_one_image_of_a_class_decides_nothing() -> None:
    """With one shot per class every effect would look certain."""
    weights = weigh(made(5, per_class=1))
    assert all((weight.own["low"], weight.own["high"]) == (-1.0, 1.0) for weight in weights)
    assert all(weight.advice != "keep" for weight in weights if weight.tells["low"] <= 0)


def test_a_class_without_images_is_not_weighed_and_one_class_is_refused() -> None:
    stage = made(6)
    stage.labels[:] = np.where(stage.labels == 2, 1, stage.labels)
    assert {weight.owner for weight in weigh(stage)} == {0, 1, 3}
    with pytest.raises(UserError, match="at least two classes"):
        weigh(made(6, n_classes=1))


def estimate(value: float, half: float = 0.01) -> Any:
    return {"value": value, "low": value - half, "high": value + half}


def weight(row: int, net: float, kind: str = "attribute", tells: float = 0.1) -> Weight:
    """A weight whose intervals are a point wide on each side."""
    e = estimate(net)
    return Weight(row, 0, kind, estimate(tells), e, e, e, None, None, 0, 0)


def advice(*weights: Weight) -> list[str]:
    """The advice of each, in the order of the rows."""
    return [w.advice for w in sorted(advised(weights), key=lambda w: w.row)]


def test_advice_follows_the_written_rules() -> None:
    """A text within chance must stay, and one that photos of all classes share must be named."""
    keep = [weight(row, 0.05) for row in range(4)]
    assert advice(*keep) == ["keep"] * 4
    assert advice(*keep, weight(4, -0.005)) == ["keep"] * 5
    assert advice(*keep, weight(4, -0.05)) == ["keep"] * 4 + ["drop"]
    assert advice(*keep, weight(4, 0.05, tells=0.0)) == ["keep"] * 4 + ["ask again"]


def test_a_class_keeps_its_last_attributes() -> None:
    """Dropping all attributes would leave a class that is described by its name alone."""
    harmful = [weight(row, -0.1 * (row + 1)) for row in range(LEAST + 2)]
    assert advice(*harmful) == ["ask again"] * LEAST + ["drop"] * 2
    assert advice(weight(0, -0.1, "analogous")) == ["drop"]
