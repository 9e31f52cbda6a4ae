"""Few-shot baselines against plain float64 loops, written from the papers and the authors' code.

A wrong baseline makes CODER look better or worse than it is.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from coder_clip.adapter import CoderAdapter, grid
from coder_clip.baselines import few_shot, gda, methods, tip_x
from coder_clip.baselines.ape import Ape, Constants, criterion
from coder_clip.baselines.coder_half_texts import half
from coder_clip.baselines.coder_no_minmax import PlainCoder
from coder_clip.baselines.few_shot import FewShotInputs, Fitted, method
from coder_clip.baselines.gda import Gda
from coder_clip.baselines.grid_search import Point
from coder_clip.baselines.lda import LinearDiscriminant
from coder_clip.baselines.linear_maps import ShotStatistics, principal_axes, project
from coder_clip.baselines.projected_means import ProjectedMeans
from coder_clip.baselines.tip_x import TipX
from coder_clip.search.line_search import right_along
from reference import grid_error

torch.set_num_threads(1)

Row = list[float]


class Few:
    """A small few-shot task with raw features of any length: unequal shots, classes without one,
    few images.
    """

    def __init__(
        self, seed: int, classes: int, shots: int, images: int, width: int, spread: float = 1.0
    ) -> None:
        rng = np.random.default_rng(seed)
        centres = rng.standard_normal((classes, width))
        self.n_classes, self.width = classes, width
        self.labels = torch.from_numpy(rng.integers(0, classes, size=shots))
        self.cache = self._around(rng, centres, self.labels, spread)
        self.truth = torch.from_numpy(rng.integers(0, classes, size=images))
        self.x = self._around(rng, centres, self.truth, spread)
        self.other = self._around(rng, centres, self.truth, spread)
        self.weights = torch.from_numpy(centres + 2 * rng.standard_normal(centres.shape))
        self.clip = 100 * cosines(self.x, self.weights)

    @staticmethod
    def _around(
        rng: np.random.Generator, centres: np.ndarray, labels: Tensor, spread: float
    ) -> Tensor:
        noise = spread * rng.standard_normal((len(labels), centres.shape[1]))
        lengths = rng.uniform(0.2, 5, size=(len(labels), 1))
        return torch.from_numpy((centres[labels.numpy()] + noise) * lengths)


def cosines(a: Tensor, b: Tensor) -> Tensor:
    return torch.tensor(
        [[cosine(x, y) for y in b.tolist()] for x in a.tolist()], dtype=torch.float64
    )


def cosine(a: Row, b: Row) -> float:
    return sum(x * y for x, y in zip(unit(a), unit(b), strict=True))


def unit(a: Row) -> Row:
    length = math.sqrt(sum(x * x for x in a))
    return [x / length for x in a] if length else a


def stored(a: Row) -> Row:
    """Unit features as the program has them, on the grid of 2^-25: an inverse of little spread
    shows the difference.
    """
    return [round(v * 2**25) / 2**25 for v in unit(a)]


def softmax(row: Row) -> Row:
    shares = [math.exp(v - max(row)) for v in row]
    return [s / sum(shares) for s in shares]


small = {
    "seed": st.integers(0, 9999),
    "classes": st.integers(1, 5),
    "shots": st.integers(1, 7),
    "images": st.integers(1, 6),
    "width": st.integers(2, 6),
}


# ---- TIP-X


def divergence(few: Few, v: Row, key: Row) -> float:
    """KL divergence of CLIP's predictions for an image and for a shot."""
    s, t = (softmax([cosine(row, w) / 0.5 for w in few.weights.tolist()]) for row in (v, key))
    return sum(p * (math.log(p) - math.log(q)) for p, q in zip(s, t, strict=True))


def plain_tip_x(few: Few, x: Tensor, clip: Tensor, point: Point) -> list[Row]:
    """Loops over images, shots and classes; the range of the divergence is that over few.other."""
    assert point.alpha is not None
    assert point.beta is not None
    assert point.gamma is not None
    keys, labels = few.cache.tolist(), few.labels.tolist()
    seen = few.other.tolist()
    every = [divergence(few, v, key) for v in seen for key in keys]
    near = [cosine(v, key) for v in seen for key in keys]
    span = max(every) - min(every)
    flat = span <= 1e-12
    rows = []
    for v, start in zip(x.tolist(), clip.tolist(), strict=True):
        row = list(start)
        for key, c in zip(keys, labels, strict=True):
            row[c] += point.alpha * math.exp(-point.beta * (1 - cosine(v, key)))
            share = 0.0 if flat else (divergence(few, v, key) - min(every)) / span
            row[c] -= point.gamma * (share * (max(near) - min(near)) + min(near))
        rows.append(row)
    return rows


@settings(deadline=None, max_examples=40)
@given(**small)
@example(seed=1960, classes=4, shots=1, images=2, width=6)  # far outside of a small range
def test_tip_x_is_its_equation(
    seed: int, classes: int, shots: int, images: int, width: int
) -> None:
    few = Few(seed, classes, shots, images, width)
    point = Point(1.7, 3.1, 0.9)
    got = TipX.fit(few.cache, few.labels, few.weights, few.other).logits(few.x, few.clip, point)
    # Features are rounded to 25 bits, and the scaling stretches what this changes: a divergence
    # far outside of the range that few.other gives, most of all where that range is small.
    keys = few.cache.tolist()
    every = [divergence(few, v, key) for v in few.other.tolist() for key in keys]
    span = max(every) - min(every)
    most = max(abs(divergence(few, v, key) - min(every)) for v in few.x.tolist() for key in keys)
    stretched = 0.0 if span <= 1e-12 else 2 * (1 + most / span) / span  # 2: range of cosines
    rounding = 16 * 2**-25 * shots * (1 + stretched)
    assert got.tolist() == [
        pytest.approx(r, abs=rounding) for r in plain_tip_x(few, few.x, few.clip, point)
    ]


# ---- APE


def plain_criterion(few: Few, disparity: float) -> Row:
    """Every pair of features of different classes, one by one (cal_criterion)."""
    features = [(c, unit(w)) for c, w in enumerate(few.weights.tolist())]
    features += [(c, unit(k)) for c, k in zip(few.labels.tolist(), few.cache.tolist(), strict=True)]
    scores = []
    for channel in range(few.width):
        products = [a[channel] * b[channel] for c, a in features for d, b in features if c != d]
        similarity = sum(products) / len(products) if products else 0.0
        column = [unit(w)[channel] for w in few.weights.tolist()]
        mean = sum(column) / len(column)
        variance = (
            sum((v - mean) ** 2 for v in column) / (len(column) - 1) if len(column) > 1 else 0.0
        )
        scores.append((1 - disparity) * variance - disparity * similarity)
    return scores


def plain_ape(few: Few, share: float, disparity: float, point: Point) -> list[Row]:
    assert point.alpha is not None
    assert point.beta is not None
    assert point.gamma is not None
    scores = plain_criterion(few, disparity)
    kept = sorted(range(few.width), key=lambda i: -scores[i])[: max(1, round(share * few.width))]

    def part(v: Row) -> Row:
        full = unit(v)
        return unit([full[i] for i in kept])

    rows = []
    for v, start in zip(few.x.tolist(), few.clip.tolist(), strict=True):
        row = list(start)
        for key, c in zip(few.cache.tolist(), few.labels.tolist(), strict=True):
            seen = softmax(
                [
                    sum(a * b for a, b in zip(part(key), part(w), strict=True))
                    for w in few.weights.tolist()
                ]
            )
            onehot = [float(c == other) for other in range(few.n_classes)]
            weight = sum(
                o * math.log2((o + 1e-6) / (p + 1e-6)) for o, p in zip(onehot, seen, strict=True)
            )
            near = sum(a * b for a, b in zip(part(v), part(key), strict=True))
            row[c] += (
                point.alpha * math.exp(-point.beta * (1 - near)) * math.exp(point.gamma * weight)
            )
        rows.append(row)
    return rows


@settings(deadline=None, max_examples=40)
@given(**small, share=st.floats(0.05, 1), disparity=st.floats(0, 1))
def test_ape_is_its_equations(
    seed: int, classes: int, shots: int, images: int, width: int, share: float, disparity: float
) -> None:
    few = Few(seed, classes, shots, images, width)
    scores = plain_criterion(few, disparity)
    unit_keys = torch.tensor([unit(k) for k in few.cache.tolist()], dtype=torch.float64)
    unit_weights = torch.tensor([unit(w) for w in few.weights.tolist()], dtype=torch.float64)
    got = criterion(unit_keys, few.labels, unit_weights, disparity)
    assert got.tolist() == pytest.approx(scores, abs=1e-10)
    if min(np.diff(sorted(scores)), default=1.0) < 1e-9:
        return  # equal channels: which of them stays is free
    point = Point(1.7, 3.1, 0.6)
    model = Ape.fit(few.cache, few.labels, few.weights, Constants(share, disparity))
    expected = plain_ape(few, share, disparity, point)
    # numbers on the grid, then on the grid again, of the part of a row that is kept; α β exp(γ w)
    # is below 100
    kept = torch.cat(
        [unit_keys, unit_weights, torch.tensor([unit(v) for v in few.x.tolist()]).double()]
    )
    shortest = float(kept[:, model.channels].norm(dim=1).min())
    error = 100 * shots * 2 * grid_error(width) / shortest
    assert model.logits(few.x, few.clip, point).tolist() == [
        pytest.approx(r, abs=error) for r in expected
    ]


# ---- GDA


def published_gda(few: Few, views: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """W x + b as main_few_shots.py computes it, where every class has a sample, and its largest
    terms.
    """
    samples = torch.tensor([unit(v) for v in views.flatten(0, 1).tolist()], dtype=torch.float64)
    owner = labels.repeat_interleave(views.shape[1])
    mus = torch.stack([samples[owner == c].mean(dim=0) for c in range(few.n_classes)])
    centred = torch.cat([samples[owner == c] - mus[c] for c in range(few.n_classes)])
    cov = centred.T.cov()
    d, n = few.width, len(samples)
    inverse = d * torch.linalg.pinv((n - 1) * cov + cov.trace() * torch.eye(d, dtype=torch.float64))
    w = mus @ inverse
    b = math.log(1 / few.n_classes) - torch.stack([m @ inverse @ m for m in mus]) / 2
    x = torch.tensor([unit(v) for v in few.x.tolist()], dtype=torch.float64)
    return x @ w.T + b, (x.abs() @ w.T.abs() + b.abs()).max()


@settings(deadline=None, max_examples=40)
@example(
    seed=8441, classes=1, shots=1, images=1, width=2, views=1
)  # terms of hundreds, which cancel out
@given(**small, views=st.integers(1, 4))
def test_gda_is_what_the_authors_compute(
    seed: int, classes: int, shots: int, images: int, width: int, views: int
) -> None:
    few = Few(seed, classes, shots + classes, images, width)
    labels = torch.cat([torch.arange(classes), few.labels[classes:]])  # a shot of every class
    rng = np.random.default_rng(seed)
    samples = few.cache[:, None] * torch.from_numpy(
        rng.uniform(0.5, 1.5, (len(labels), views, width))
    )
    got = Gda.fit(samples, labels, n_classes=classes).scores(few.x)
    expected, largest = published_gda(few, samples, labels)
    if expected.abs().max() > 1e9:
        return  # next to no spread: its inverse is rounding
    # Samples are on the grid of 2**-25. The inverse divides this error by their spread, which is
    # about the inverse root of the largest terms; where these cancel out, the error stays.
    grid = 2 * 2**-25 * float(largest) ** 1.5
    torch.testing.assert_close(got, expected, atol=1e-6 + grid, rtol=1e-6)


def test_gda_without_a_spread_leaves_clip_as_it_is_and_a_class_without_a_shot_keeps_its_logit() -> (
    None
):
    """Otherwise one view of one shot gives NaN, and a class nobody photographed disappears."""
    few = Few(3, 4, 4, 5, 6)
    model = Gda.fit(few.cache, torch.arange(4), n_classes=4)
    assert model.scores(few.x).tolist() == [pytest.approx([-math.log(4)] * 4)] * 5
    spread = Gda.fit(few.cache, torch.tensor([0, 0, 1, 1]), n_classes=4)
    added = spread.logits(few.x, few.clip, Point(0.1)) - few.clip
    assert added[:, 2:].tolist() == [pytest.approx([-0.1 * math.log(4)] * 2)] * 5


# ---- linear discriminant, images alone


def test_the_linear_discriminant_is_gda_s_without_clip_and_reads_no_text() -> None:
    """Otherwise the claim that CODER beats a plain classifier of images is tested against something
    else.
    """
    few = Few(3, 4, 12, 30, 6)
    labels = few.labels.clamp_max(2)  # the last class has no shot
    model = LinearDiscriminant.fit(few.cache, labels, n_classes=4)
    logits = model.logits(few.x, few.clip, Point())
    expected = Gda.fit(few.cache, labels, n_classes=4).scores(few.x)
    assert torch.equal(logits[:, :3], expected[:, :3])
    assert torch.isneginf(logits[:, 3]).all()
    assert torch.equal(logits, model.logits(few.x, torch.zeros_like(few.clip), Point()))
    assert model.search(few.x, few.clip, few.truth) == Point()


@pytest.mark.parametrize("name", ["lda", "projected_means"])
def test_one_shot_each_is_the_nearest_shot_and_a_class_without_one_is_never_predicted(
    name: str,
) -> None:
    """Otherwise a class that nobody photographed is predicted, or one view of one shot gives
    NaN.
    """
    few = Few(3, 4, 3, 30, 6)
    labels = torch.tensor([0, 1, 3])
    texts = torch.eye(6).repeat(2, 1) if name == "lda" else torch.from_numpy(ALL_AXES)
    given_ = replace(
        task(),
        cache=few.cache,
        views=None,
        labels=labels,
        weights=few.weights,
        imagenet_names=texts,
    )
    logits = method(name).fit(given_).logits(few.x, few.clip, Point())
    assert torch.isneginf(logits[:, 2]).all()
    axes = principal_axes(texts) if name == "projected_means" else torch.eye(6, dtype=torch.float64)
    shots, images = (project(f, axes) for f in (few.cache, few.x))
    nearest = labels[cosines(images, shots).argmax(dim=1)]
    assert torch.equal(logits.argmax(dim=1), nearest)


@pytest.mark.parametrize("name", ["lda", "projected_means"])
def test_features_that_are_all_the_same_give_no_nan(name: str) -> None:
    same = torch.ones(12, 8)
    given_ = replace(
        task(), cache=same, views=None, labels=torch.arange(12) % 4, imagenet_names=torch.ones(5, 8)
    )
    logits = method(name).fit(given_).logits(torch.ones(3, 8), torch.zeros(3, 4), Point())
    assert logits.isfinite().all()
    assert logits.argmax(dim=1).tolist() == [0, 0, 0]


def test_whitened_images_are_compared_as_the_discriminant_does() -> None:
    """Inner products are (x − m)ᵀ Σ⁻¹ (y − m) of unit features, up to a factor that no cosine sees."""
    few = Few(6, 3, 12, 5, 4)
    shots = ShotStatistics.of(few.cache, few.labels, n_classes=3)
    assert shots.ridge is not None
    got, ridge = shots.whiten(few.x), shots.ridge.numpy()
    centre = np.mean([unit(s) for s in few.cache.tolist()], axis=0)
    away = np.array([unit(v) for v in few.x.tolist()]) - centre
    inverse = np.linalg.inv(ridge)
    products = away @ inverse @ away.T
    # a row moves by the grid, of unit features, centred features and the map, stretched by the map
    moved = grid_error(5, rows=3) * math.sqrt(np.linalg.norm(inverse, 2))
    error = 2 * moved * math.sqrt(products.diagonal().max())
    np.testing.assert_allclose((got @ got.T).numpy(), products, rtol=0, atol=error)


# ---- class means, projected

ALL_AXES = np.concatenate(
    [np.diag([6.0, 5, 4, 3, 2, 1]), -np.diag([6.0, 5, 4, 3, 2, 1]), np.ones((1, 6))]
)


def plain_projection(texts: Tensor) -> np.ndarray:
    """The projector on the first d/2 principal components, from the singular vectors of centred
    unit texts.
    """
    rows = np.array([unit(t) for t in texts.tolist()])
    _, sizes, axes = np.linalg.svd(rows - rows.mean(axis=0))
    spanned = int((sizes**2 > 1e-12 * len(rows)).sum())
    kept = axes[: min(spanned, max(1, rows.shape[1] // 2))]
    return kept.T @ kept


def turned_by_the_grid(texts: Tensor) -> float:
    """How far the projector can move at most if unit texts are rounded to the grid (Davis and
    Kahan).

    The nearer the variance of the last kept component is to that of the next, the more it turns.
    """
    width = texts.shape[1]
    rows = np.array([unit(t) for t in texts.tolist()])
    sizes = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)
    variances = np.concatenate([sizes**2, np.zeros(width)])
    kept = max(1, width // 2)
    if variances[kept] < 1e-12 * len(rows):
        kept = int((variances > 1e-12 * len(rows)).sum())  # all that the texts span
    moved = 2 * sizes.max(initial=0) * math.sqrt(len(rows)) * grid_error(width, rows=1)
    gap = variances[kept - 1] - variances[kept] - moved if kept else 1
    return moved / gap if gap > 0 else math.inf


@settings(deadline=None, max_examples=60)
@given(**small, names=st.integers(1, 12))
@example(seed=53, classes=3, shots=2, images=1, width=4, names=7)  # two near variances
def test_projected_means_are_what_the_authors_compute(
    seed: int, classes: int, shots: int, images: int, width: int, names: int
) -> None:
    """Loops after span_projection.py and prototype_classify: project in the original space,
    average, compare.
    """
    few = Few(seed, classes, shots, images, width)
    texts = torch.from_numpy(np.random.default_rng(seed + 1).standard_normal((names, width)))
    projector = plain_projection(texts)
    expected, shortest = [], math.inf
    for x in few.x.tolist():
        row, projected = [], projector @ unit(x)
        for c in range(classes):
            shots_of = [
                projector @ unit(s)
                for s, k in zip(few.cache.tolist(), few.labels.tolist(), strict=True)
                if k == c
            ]
            mean = np.mean(shots_of, axis=0).tolist() if shots_of else None
            row.append(-math.inf if mean is None else 100 * cosine(projected.tolist(), mean))
            for vector in [projected] if mean is None else [projected, mean]:
                shortest = min(shortest, float(np.linalg.norm(vector)))
        expected.append(row)
    model = ProjectedMeans.fit(few.cache, few.labels, texts, n_classes=classes)
    logits = model.logits(few.x, few.clip, Point())
    if np.trace(projector) > 0.5:  # else everything is projected on nothing but rounding
        # image and mean each move by the grid of features and axes before they are made unit, and
        # once after; and with the components, which the grid of the texts turns
        moved = grid_error(width, rows=3) + turned_by_the_grid(texts)
        error = 100 * 2 * moved / shortest
        assert logits.tolist() == [pytest.approx(r, abs=error) for r in expected]
    assert torch.equal(logits, model.logits(few.x, torch.zeros_like(few.clip), Point()))
    assert model.search(few.x, few.clip, few.truth) == Point()


def test_the_subspace_has_half_the_dimensions_or_all_that_the_names_span() -> None:
    texts = torch.from_numpy(np.random.default_rng(0).standard_normal((40, 9)))
    for some, components in (
        (texts, 4),
        (texts[:3], 2),
        (texts[:1], 0),
        (texts[:1].repeat(7, 1), 0),
    ):
        axes = principal_axes(some)
        assert axes.shape == (components, 9)
        torch.testing.assert_close(axes @ axes.T, torch.eye(components, dtype=torch.float64))
    main = torch.eye(6)[[0, 0, 3]] + 0.01 * torch.from_numpy(ALL_AXES[:3]).float()
    assert principal_axes(main)[0].abs().topk(2).indices.sort().values.tolist() == [0, 3]


# ---- searches: what the authors' loops find


def fitted(few: Few, name: str) -> Fitted:
    if name == "tip_x":
        return TipX.fit(few.cache, few.labels, few.weights, few.other)
    if name == "ape":
        return Ape.fit(few.cache, few.labels, few.weights, Constants(0.6, 0.7))
    return Gda.fit(few.cache, few.labels, n_classes=few.n_classes)


GRIDS = {"alphas": (0.1, 30, 4), "betas": (0.0, 20, 5), "gammas": (0.0, 9, 3)}
LOOPS = {"tip_x": ("alphas", "betas", "gammas"), "ape": ("betas", "alphas", "gammas")}


@settings(deadline=None, max_examples=15)
@given(name=st.sampled_from(["tip_x", "ape", "gda"]), **{**small, "images": st.integers(1, 25)})
def test_a_search_finds_what_the_published_loop_finds(
    name: str, seed: int, classes: int, shots: int, images: int, width: int
) -> None:
    """Otherwise a baseline is tuned worse than its authors would have."""
    few = Few(seed, classes, shots, images, width, spread=2.0)
    model = fitted(few, name)
    if isinstance(model, Gda):
        points = [Point(a) for a in gda.ALPHAS]
        got = model.search(few.x, few.clip, few.truth)
    else:
        if isinstance(model, Ape):
            model = replace(model, constants=Constants(0.6, 0.7, **GRIDS))
        values = {axis: grid(*span).tolist() for axis, span in GRIDS.items()}
        order = LOOPS[name]
        points = [
            Point(**{axis[:-1]: v for axis, v in zip(order, (a, b, c), strict=True)})
            for a in values[order[0]]
            for b in values[order[1]]
            for c in values[order[2]]
        ]
        with pytest.MonkeyPatch.context() as patch:
            for axis, span in GRIDS.items():
                patch.setattr(tip_x, axis.upper(), span)
            got = model.search(few.x, few.clip, few.truth)
    best, right = Point(*(0.0 if v is not None else None for v in points[0])), 0
    for point in points:
        n = int((model.logits(few.x, few.clip, point).argmax(dim=1) == few.truth).sum())
        if n > right:
            best, right = point, n
    assert got == best


@settings(deadline=None)
@given(
    seed=st.integers(0, 999),
    classes=st.integers(1, 6),
    images=st.integers(1, 12),
    whole=st.booleans(),
    spread=st.sampled_from([0.1, 1.0, 20.0]),
    room=st.sampled_from([1, 64, 2**14]),
)
def test_images_on_lines_are_counted_as_one_by_one(
    seed: int, classes: int, images: int, whole: bool, spread: float, room: int
) -> None:
    """Whole numbers tie all the time: the lowest class has to win them, as arg max does it."""
    rng = np.random.default_rng(seed)
    draw = (
        (lambda shape: rng.integers(-2, 3, shape).astype(float)) if whole else rng.standard_normal
    )
    base, slope = spread * draw((classes, images)), draw((classes, images))
    labels, alphas = rng.integers(0, classes, images), np.array([0.0, 0.5, 1.0, 3.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("coder_clip.search.line_search.ROOM", room)
        got = right_along(base, slope, labels, alphas)
    expected = [int((np.argmax(base + a * slope, axis=0) == labels).sum()) for a in alphas]
    assert got.tolist() == expected


@pytest.mark.parametrize(
    ("dataset", "last_beta", "last_alpha"), [("dtd", 12.9355, 12.355), ("shapes", 6.9655, 2.855)]
)
@pytest.mark.parametrize("seed", range(4))
def test_tip_adapter_is_searched_as_its_authors_do(
    dataset: str, last_beta: float, last_alpha: float, seed: int
) -> None:
    """Their loop over β and α on their grid, whatever the CODER-Adapter searches."""
    few = Few(seed, 4, 9, 40, 6, spread=2.0)
    given_ = replace(
        task(), dataset=dataset, cache=few.cache, labels=few.labels, weights=few.weights
    )
    keys = np.array([unit(k) for k in few.cache.tolist()])
    images = np.array([unit(v) for v in few.x.tolist()])
    onehot = np.eye(few.n_classes)[few.labels.numpy()]
    scale = (last_beta - 0.1) / 199, (last_alpha - 0.1) / 19
    best, right = (0.0, 0.0), 0
    for beta in [i * scale[0] + 0.1 for i in range(200)]:
        votes = np.exp(-(beta - beta * (images @ keys.T))) @ onehot
        for alpha in [i * scale[1] + 0.1 for i in range(20)]:
            n = int(((few.clip.numpy() + alpha * votes).argmax(axis=1) == few.truth.numpy()).sum())
            if n > right:
                best, right = (alpha, beta), n
    got = method("tip_adapter").fit(given_).search(few.x, few.clip, few.truth)
    assert got[:2] == pytest.approx(best)


def test_large_searches_are_cut_into_blocks_without_a_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise ImageNet does not fit into memory, or gives other numbers than a small data set."""
    few = Few(5, 5, 12, 40, 6, spread=2.0)
    whole = {
        name: fitted(few, name).search(few.x, few.clip, few.truth)
        for name in ("tip_x", "ape", "gda")
    }
    monkeypatch.setattr("coder_clip.baselines.grid_search.BLOCK", 64)
    monkeypatch.setattr("coder_clip.baselines.grid_search.FETCH", 150)
    for name, point in whole.items():
        assert fitted(few, name).search(few.x, few.clip, few.truth) == point


# ---- ablations of the CODER-Adapter


@settings(deadline=None, max_examples=30)
@given(**small, texts=st.integers(1, 9))
def test_without_min_max_the_affinity_is_the_cosine_of_coders(
    seed: int, classes: int, shots: int, images: int, width: int, texts: int
) -> None:
    few = Few(seed, classes, shots, images, width)
    described = torch.from_numpy(np.random.default_rng(seed + 1).standard_normal((texts, width)))
    adapter = PlainCoder.fit(few.cache, few.labels, described, n_classes=classes)
    coder = [[cosine(v, t) for t in described.tolist()] for v in few.x.tolist()]
    keys = [[cosine(v, t) for t in described.tolist()] for v in few.cache.tolist()]
    expected = [[cosine(a, b) for b in keys] for a in coder]
    assert adapter.affinity(few.x).tolist() == [pytest.approx(r, abs=1e-6) for r in expected]


def test_half_of_the_texts_of_every_class_stay() -> None:
    """Otherwise classes with few texts lose theirs, and the ablation measures that."""
    owner = torch.tensor([0, 1, 0, 2, 0, 1, 0, 0])
    features = torch.arange(8.0)[:, None]
    kept = half(features, owner, seed=1)[:, 0].long()
    assert torch.bincount(owner[kept]).tolist() == [3, 1, 1]
    assert kept.tolist() == sorted(kept.tolist())
    draws = {tuple(half(features, owner, seed=s)[:, 0].tolist()) for s in range(6)}
    assert len(draws) > 1


def right_of(logits: Tensor, truth: Tensor) -> int:
    return int((logits.argmax(dim=1) == truth).sum())


@pytest.mark.parametrize("name", ["coder_without_clip", "tip_x_without_clip"])
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(s, marks=pytest.mark.rest) for s in (2, 3))])
def test_a_cache_without_clip_is_what_the_method_adds_to_clip(name: str, seed: int) -> None:
    """With CLIP's logits left in, the comparison with images alone would again be won by CLIP."""
    inputs, few = task(seed), Few(seed, 4, 12, 30, 8, spread=2.0)
    of = {"coder_without_clip": "coder_adapter", "tip_x_without_clip": "tip_x"}[name]
    alone, whole = method(name).fit(inputs), method(of).fit(inputs)
    none = torch.zeros(30, 4, dtype=torch.float64)
    for x, clip in ((few.x, few.clip), (few.x, -5 * few.clip)):
        point = alone.search(x, clip, few.truth)
        assert point == alone.search(x, none, few.truth)
        with_all = Point(1.0, point.beta, point.gamma)
        assert torch.equal(alone.logits(x, clip, point), alone.logits(x, none, point))
        added = whole.logits(x, clip, with_all) - clip.double()
        torch.testing.assert_close(alone.logits(x, clip, point), added, atol=1e-9, rtol=1e-9)
    if name == "tip_x_without_clip":  # the first best of the whole grid, by a plain loop
        ratios = [m * 2.0**k for k in range(-9, 9) for m in (1, 1.5)]
        points = [Point(1.0, 1 + i * 49 / 20, g) for i in range(20) for g in sorted(ratios)]
        counts = [right_of(alone.logits(few.x, none, p), few.truth) for p in points]
        assert point == points[counts.index(max(counts))]


@pytest.mark.parametrize("seed", range(4))
def test_beta_without_clip_is_the_first_best_of_the_grid(seed: int) -> None:
    """One round over the whole grid, by a plain loop."""
    inputs, few = task(seed), Few(seed, 4, 12, 30, 8, spread=2.0)
    inputs = replace(inputs, grid=((0.1, 50.0, 40), (0.1, 9.0, 5), 1))
    alone = method("coder_without_clip").fit(inputs)
    points = [Point(None, 0.1 + i * 49.9 / 40, None) for i in range(40)]
    counts = [right_of(alone.logits(few.x, few.clip, p), few.truth) for p in points]
    assert alone.search(few.x, few.clip, few.truth).beta == pytest.approx(
        points[counts.index(max(counts))].beta
    )


@pytest.mark.parametrize("seed", range(4))
def test_projected_means_with_clip_are_added_to_its_logits(seed: int) -> None:
    """A class without a shot keeps its CLIP logit, where images alone rule it out."""
    inputs, few = task(seed), Few(seed, 4, 12, 30, 8, spread=2.0)
    inputs = replace(
        inputs, labels=inputs.labels.clamp_max(2)
    )  # nobody photographed the last class
    alone, both = method("projected_means").fit(inputs), method("projected_with_clip").fit(inputs)
    images = alone.logits(few.x, few.clip, Point())
    assert images[:, 3].tolist() == [-math.inf] * 30
    added = images.masked_fill(images == -math.inf, 0.0)
    alphas = [0.0001, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0]
    for alpha in alphas:
        expected = few.clip.double() + alpha * added
        torch.testing.assert_close(
            both.logits(few.x, few.clip, Point(alpha)), expected, atol=1e-9, rtol=1e-12
        )
    counts = [right_of(few.clip.double() + alpha * added, few.truth) for alpha in alphas]
    assert both.search(few.x, few.clip, few.truth) == Point(alphas[counts.index(max(counts))])


# ---- the list of methods

METHODS = {**methods.FEW_SHOT, **methods.ABLATIONS}


def test_what_is_read_without_importing_is_what_the_modules_say() -> None:
    """The configuration and the labels read the source; the phase imports the module."""
    for name, m in METHODS.items():
        module = importlib.import_module(f"coder_clip.baselines.{name}")
        assert (m.label, m.about, m.line) == (
            module.LABEL,
            module.ABOUT,
            getattr(module, "LINE", None),
        )
        assert m.views == getattr(module, "VIEWS", 0)
    assert methods.USE_VIEWS == ("gda", "lda")


def task(seed: int = 2) -> FewShotInputs:
    few = Few(seed, 4, 12, 30, 8, spread=2.0)
    rng = np.random.default_rng(seed)
    texts = {
        kind: (torch.from_numpy(rng.standard_normal((8, 8))).float(), torch.arange(4).repeat(2))
        for kind in ("name", "attribute", "analogous", "synonym")
    }
    views = torch.from_numpy(rng.standard_normal((12, 3, 8))).half()
    spans = ((0.1, 50.0, 10), (0.1, 9.0, 5), 2)
    names = torch.from_numpy(rng.standard_normal((20, 8)))
    return FewShotInputs(
        "dtd", 1, few.cache, views, few.labels, few.weights, texts, names, few.other, spans
    )


@pytest.mark.parametrize("name", METHODS)
def test_every_method_runs_from_shots_to_logits(name: str) -> None:
    given_, few = task(), Few(2, 4, 12, 30, 8, spread=2.0)
    fitted = method(name).fit(given_)
    point = fitted.search(few.x, few.clip, few.truth)
    logits = fitted.logits(few.x, few.clip, point)
    assert logits.shape == (30, 4)
    assert logits[:, few.labels.unique()].isfinite().all()
    assert not logits.isnan().any()  # a class without a shot may be out of the question
    assert not torch.allclose(logits, few.clip.double(), atol=1e-3)  # the shots count for something


@pytest.mark.parametrize("name", ["coder_adapter", "coder_without_clip", "projected_means"])
def test_seeds_share_the_matrices_of_equal_texts_and_of_no_others(name: str) -> None:
    """A matrix of other texts would give every later seed, or setting, the numbers of the first."""
    first, few = task(), Few(2, 4, 12, 30, 8, spread=2.0)
    other_texts = {kind: (f.flip(0) * 1.5 + 0.1, c) for kind, (f, c) in first.texts.items()}
    other = replace(first, texts=other_texts, imagenet_names=first.imagenet_names.flip(1))
    # in one go, the second after the first, and the first again
    shared = few_shot.OfTexts()
    for inputs in (first, other, first):
        alone = method(name).fit(replace(inputs, of_texts=few_shot.OfTexts()))
        together = method(name).fit(replace(inputs, of_texts=shared))
        point = alone.search(few.x, few.clip, few.truth)
        expected = alone.logits(few.x, few.clip, point)
        assert torch.equal(together.logits(few.x, few.clip, point), expected)
    one, two = (
        method(name).fit(i).logits(few.x, few.clip, Point(1.0, 1.0)) for i in (first, other)
    )
    assert not torch.equal(one, two), "the texts count for nothing here"


def test_ablations_change_what_they_say() -> None:
    given_ = task()
    x = Few(2, 4, 12, 30, 8, spread=2.0).x
    affinities = {}
    for name in ("coder_adapter", "coder_synonyms", "coder_half_texts", "coder_no_minmax"):
        fit = method(name).fit(given_)
        assert isinstance(fit, few_shot.Cache)
        affinities[name] = fit.model.affinity(x)
    for name, a in affinities.items():
        if name != "coder_adapter":
            assert not torch.allclose(
                a.double(), affinities["coder_adapter"].double(), atol=1e-3
            ), name
    texts = [given_.texts[k][0] for k in ("name", "attribute", "analogous", "synonym")]
    alike = CoderAdapter.fit(given_.cache, given_.labels, torch.cat(texts), n_classes=4)
    assert torch.equal(affinities["coder_synonyms"], alike.affinity(x))
