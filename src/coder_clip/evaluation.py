"""What the numbers are worth: intervals, paired tests, ablations over texts, and the quality of features.

Results come per image ((N,), 1 right and 0 wrong, or a share), so that every number gets its interval from
the same images. Labels and results are NumPy arrays (or what NumPy takes, CPU tensors too); features are
torch tensors. Features are compared by cosine in float64: cosines of CODERs lie so close to 1 that float32
would reorder neighbours. No function holds a similarity for every pair of images at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binom, binomtest
from torch import Tensor

from .baselines.zero_shot import description_scores
from .errors import UserError
from .exact import inner, lengths, sqrt, total
from .intervals import DIFFERENCE, LEVEL, SHARE, crossed_interval
from .neighbors import MAX_KINDS, MEAN_KINDS, TextNeighbors, unit

Values = Tensor | NDArray[Any] | Sequence[float]
Labels = Tensor | NDArray[Any] | Sequence[int]

RESAMPLES = 2000
CHUNK = 4_000_000  # numbers held at once: similarities, resampled counts

OTHER_KINDS = (*MEAN_KINDS, "synonym")
# one by one, then together: with the name, without it
KIND_COMBINATIONS: tuple[tuple[str, ...], ...] = (
    ("name",),
    *((kind,) for kind in OTHER_KINDS),
    *(("name", *others) for n in (1, 2, 3) for others in combinations(OTHER_KINDS, n)),
    *(others for n in (2, 3) for others in combinations(OTHER_KINDS, n)),
)


class Estimate(TypedDict):
    """A share in [0, 1] (a difference: in [-1, 1]) with its 95 % interval."""

    value: float
    low: float
    high: float


class PairedTest(TypedDict):
    """What changed between two methods on the same images."""

    difference: Estimate
    fixed: int
    broke: int
    p_value: float


class SeedsEstimate(TypedDict):
    """Mean and sample standard deviation over seeds, and a 95 % interval over seeds and images."""

    mean: float
    std: float
    low: float
    high: float


class PairedSeedsTest(TypedDict):
    """What changed between two methods on the same seeds and images."""

    difference: SeedsEstimate
    fixed: int
    broke: int
    p_value: float


class KindsRow(TypedDict):
    """Accuracy of stage one with some kinds of text."""

    kinds: list[str]
    accuracy: Estimate
    texts: int


class CountRow(TypedDict):
    """Accuracy of stage one with some number of texts a class besides its name.

    diversity: mean cosine between two of a class's drawn texts, over classes; lower is more diverse; None where
    no class has two.
    """

    count: int
    draw: int
    accuracy: float
    texts: int
    diversity: float | None


class ChoiceRow(TypedDict):
    """As `CountRow`, with the texts of a class chosen to be ``diverse`` or ``alike``."""

    count: int
    chosen: str
    accuracy: float
    texts: int
    diversity: float | None


@dataclass(frozen=True)
class Correction:
    """An image whose nearest neighbour CODER corrects. query, same, other are rows of the feature matrices.

    other: nearest by the original features, of another class. same: nearest by CODER, of the query's class.
    The four cosines are between the query and that image; size as in :func:`corrections`.
    """

    query: int
    same: int
    other: int
    original_same: float
    original_other: float
    coder_same: float
    coder_other: float
    size: float


@dataclass(frozen=True)
class TellingText:
    """A text (its row) and the cosines of three images with it."""

    text: int
    query: float
    same: float
    other: float


# ---- intervals and tests


def accuracy(correct: Values) -> float:
    """Share of right images. ``correct``: (N,) of 0 and 1. UserError without an image."""
    return _mean_over_classes(*_results(correct, None))


def mean_class_recall(correct: Values, labels: Labels) -> float:
    """Mean over the classes that have images of the share of right images in the class.

    correct: (N,) of 0 and 1; labels: (N,). UserError without an image.
    """
    return _mean_over_classes(*_results(correct, labels))


def bootstrap_interval(
    values: Values, labels: Labels | None = None, /, *, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """95 % percentile bootstrap interval over images (Efron and Tibshirani 1993, chapter 13).

    Of the mean of ``values`` (N,), or, given ``labels`` (N,), of the mean over classes of the class means;
    a class that a resample misses is left out of it. NaN values (undefined for an image) are left out.
    Images enter only through how often each (label, value) occurs, so a resample is one multinomial draw of
    those counts. For the mean of zeros and ones that count is binomial, and its quantiles are taken exactly:
    the limit of infinitely many resamples. Where all images are right, or all wrong, resampling says nothing
    and the exact limits stand instead (Clopper and Pearson 1934): 100 % of 10 images is "over 69 %".
    UserError without an image.
    """
    values, labels = _results(values, labels)
    cells, counts = np.unique(np.stack([labels, values], axis=1), axis=0, return_counts=True)
    starts = np.unique(cells[:, 0], return_index=True)[1]  # first cell of every class
    if len(starts) == 1 and np.isin(values, (0.0, 1.0)).all():
        n, right = len(values), int(values.sum())
        if right in (0, n):
            exact = binomtest(right, n).proportion_ci(LEVEL, method="exact")
            return float(exact.low), float(exact.high)
        low, high = binom.ppf([(1 - LEVEL) / 2, (1 + LEVEL) / 2], n, values.mean()) / n
        return float(low), float(high)
    means = np.empty(resamples)
    for rows, drawn in _resampled_counts(counts, resamples, np.random.default_rng(seed)):
        images = np.add.reduceat(drawn, starts, axis=1)  # (rows, classes)
        sums = np.add.reduceat(drawn * cells[:, 1], starts, axis=1)
        seen = images > 0
        means[rows] = (sums / np.where(seen, images, 1)).sum(axis=1) / seen.sum(axis=1)
    return _quantiles(means)


def estimate(
    values: Values, labels: Labels | None = None, /, *, resamples: int = RESAMPLES, seed: int = 0
) -> Estimate:
    """Value with interval: the mean of ``values`` (N,), or with ``labels`` (N,) the mean of class means.

    ``estimate(correct)`` is accuracy, ``estimate(correct, labels)`` mean class recall; NaN values are left
    out. Interval as in :func:`bootstrap_interval`. UserError without an image.
    """
    low, high = bootstrap_interval(values, labels, resamples=resamples, seed=seed)
    return {"value": _mean_over_classes(*_results(values, labels)), "low": low, "high": high}


def paired_test(before: Values, after: Values) -> PairedTest:
    """Whether ``after`` is better than ``before``; both (N,) of 0 and 1 for the same images.

    difference: accuracy after minus before, with the adjusted Wald interval for paired shares (Bonett and Price 2012;
    :func:`~coder_clip.intervals.crossed_interval` of one run). fixed: images that became right; broke: that became
    wrong. p_value: exact McNemar test, two-sided (fixed is binomial with p = 1/2 among the changed images); 1 where
    nothing changed. ValueError where the lengths differ; UserError without an image.
    """
    was, _ = _results(before, None)
    now, _ = _results(after, None)
    if len(was) != len(now):
        raise ValueError(f"paired results differ in length: {len(was)} and {len(now)}")
    found = paired_test_over_seeds(was[None], now[None])
    d = found["difference"]
    return {**found, "difference": {"value": d["mean"], "low": d["low"], "high": d["high"]}}


def over_seeds(correct: NDArray[Any] | Tensor | Sequence[Values]) -> SeedsEstimate:
    """Accuracy over several seeds of one method on the same images. ``correct``: (S, N) of 0 and 1.

    std: sample standard deviation of the S accuracies, 0 with one seed. The interval holds what seeds and images
    contribute (:func:`~coder_clip.intervals.crossed_interval`); with one seed, what the images do
    (:func:`bootstrap_interval`). UserError without a seed or an image.
    """
    runs = _runs(correct)
    interval = bootstrap_interval(runs[0]) if len(runs) == 1 else crossed_interval(runs, SHARE)[:2]
    return _summary(runs, *interval)


def paired_over_seeds(before: NDArray[Any], after: NDArray[Any]) -> SeedsEstimate:
    """Accuracy of ``after`` minus that of ``before``, both (S, N) of 0 and 1 for the same seeds and images.

    Interval as in :func:`over_seeds`; zero without an interval where no image changed. UserError without a seed or an
    image.
    """
    return paired_test_over_seeds(before, after)["difference"]


def paired_test_over_seeds(before: NDArray[Any], after: NDArray[Any]) -> PairedSeedsTest:
    """Whether ``after`` is better than ``before``; both (S, N) of 0 and 1 for the same seeds and images.

    fixed, broke: how often an image of a seed became right, or wrong. p_value: that of the interval of the difference,
    so over other seeds and images; with one seed the exact McNemar test. UserError without a seed or an image.
    """
    change = _runs(np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64))
    fixed, broke = int((change > 0).sum()), int((change < 0).sum())
    if not fixed + broke:
        return {"difference": _summary(change, 0.0, 0.0), "fixed": 0, "broke": 0, "p_value": 1.0}
    low, high, p_value = crossed_interval(change, DIFFERENCE)
    if len(change) == 1:
        p_value = float(binomtest(fixed, fixed + broke, 0.5).pvalue)
    return {"difference": _summary(change, low, high), "fixed": fixed, "broke": broke, "p_value": p_value}


def _runs(values: Any) -> NDArray[np.float64]:
    """(S, N) results. UserError without a seed or an image."""
    runs = np.asarray(values, dtype=np.float64)
    if runs.ndim != 2 or runs.size == 0:
        raise UserError(f"no results to average over seeds (shape {runs.shape}): check seeds and test split")
    return runs


def _summary(runs: NDArray[np.float64], low: float, high: float) -> SeedsEstimate:
    of_runs = runs.mean(axis=1)
    std = float(of_runs.std(ddof=1)) if len(runs) > 1 else 0.0
    return {"mean": float(of_runs.mean()), "std": std, "low": low, "high": high}


def _results(values: Values, labels: Labels | None) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Values and labels as arrays without the NaN values; one class for all where there are no labels."""
    v = np.asarray(values, dtype=np.float64)
    c = np.zeros(v.shape, dtype=np.int64) if labels is None else np.asarray(labels, dtype=np.int64)
    if v.ndim != 1 or v.shape != c.shape:
        raise ValueError(f"one value and one label an image are needed, not {v.shape} and {c.shape}")
    defined = ~np.isnan(v)
    if not defined.any():
        raise UserError("no image to evaluate: the split is empty, or no image has a defined result")
    return v[defined], c[defined]


def _mean_over_classes(values: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return float((np.bincount(inverse, weights=values) / counts).mean())


def _resampled_counts(
    counts: NDArray[np.int64], resamples: int, rng: np.random.Generator
) -> Iterator[tuple[slice, NDArray[np.int64]]]:
    """How often each of U cells occurs in each resample: chunks (rows, U)."""
    step = max(1, CHUNK // len(counts))
    for start in range(0, resamples, step):
        rows = slice(start, min(start + step, resamples))
        yield rows, rng.multinomial(counts.sum(), counts / counts.sum(), size=rows.stop - rows.start)


def _quantiles(means: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


# ---- quality of features


def knn_accuracy(
    features: Tensor,
    labels: Labels,
    k: int,
    *,
    train_features: Tensor | None = None,
    train_labels: Labels | None = None,
) -> NDArray[np.bool_]:
    """Per image, whether its k nearest neighbours by cosine vote for its class; the mean is the accuracy.

    features: (N, d), any length; labels: (N,). Neighbours come from ``train_features`` (K, d), else from the
    other images (leave one out). With fewer than k, all vote; without any, the image is wrong. Of classes
    with equally many votes the one with the nearest neighbour wins; of equally near images the lower index.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    own, leave_one_out = _class_numbers(labels), train_features is None
    if (train_features is None) != (train_labels is None):
        raise ValueError("train_features and train_labels go together")
    keys = features if train_features is None else train_features
    classes = own if train_labels is None else _class_numbers(train_labels)
    k = min(k, len(keys) - leave_one_out)
    right = torch.zeros(len(features), dtype=torch.bool)
    if k < 1:
        return right.numpy()
    width = int(classes.max()) + 1
    for rows, similarity in _similarities(features, keys, leave_one_out):
        count = torch.full((len(similarity),), k)
        near = _nearest(similarity, count).nonzero()[:, 1].view(-1, k)  # lower index first
        nearness = similarity.gather(1, near).argsort(dim=1, descending=True, stable=True)
        voted = classes[near.gather(1, nearness)]  # (n, k), nearest first
        votes = torch.zeros(len(voted), width, dtype=torch.int64)
        votes.scatter_add_(1, voted, torch.ones_like(voted))
        winner = voted.gather(1, votes.gather(1, voted).argmax(dim=1, keepdim=True))[:, 0]
        right[rows] = winner == own[rows]
    return right.numpy()


def retrieval_precision(features: Tensor, labels: Labels, k: int | None = None) -> NDArray[np.float64]:
    """Per image, the share of its nearest other images by cosine that are of its class.

    features: (N, d), any length; labels: (N,). Looks at the R nearest, R being the number of other images of
    the class (R-precision: 1 where all of the class come first, whatever its size), or at the k nearest
    (precision at k; at most N - 1). NaN for an image without another of its class, for which no answer is
    right: ``estimate`` leaves it out. Of equally near images the lower index comes first.
    """
    if k is not None and k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    own = _class_numbers(labels)
    others = torch.bincount(own)[own] - 1 if len(own) else own  # (N,) others of the class
    looked_at = others if k is None else torch.where(others > 0, min(k, len(own) - 1), 0)
    found = torch.zeros(len(own), dtype=torch.float64)
    for rows, similarity in _similarities(features, features, leave_one_out=True):
        near = _nearest(similarity, looked_at[rows])
        found[rows] = (near & (own[rows, None] == own)).sum(dim=1).double()
    return (found / looked_at).numpy()  # 0 / 0 = NaN


def corrections(original: Tensor, coder: Tensor, labels: Labels, top: int) -> list[Correction]:
    """The images whose nearest neighbour is of another class by ``original`` and of their own by ``coder``.

    original: (N, d), coder: (N, r), rows of the same images; labels: (N,). At most ``top``, largest first:
    size is by how much ``other`` leads by original features plus by how much ``same`` leads by CODER, each in
    standard deviations of that feature's cosines over all pairs (CODER's cosines spread far less, raw leads
    would not compare). Equal sizes: lower query first.
    """
    if len(original) != len(coder):
        raise ValueError(f"features of different images: {len(original)} and {len(coder)} rows")
    if len(original) < 2:
        return []
    own = _class_numbers(labels)
    spread = _spread(original), _spread(coder)
    found: list[Correction] = []
    pairs = zip(_similarities(original, original, True), _similarities(coder, coder, True), strict=True)
    for (rows, by_original), (_, by_coder) in pairs:
        other, same = by_original.argmax(dim=1), by_coder.argmax(dim=1)
        corrected = (own[other] != own[rows]) & (own[same] == own[rows])
        for i in corrected.nonzero()[:, 0].tolist():
            s, o = int(same[i]), int(other[i])
            before, after = by_original[i], by_coder[i]
            size = (before[o] - before[s]) / spread[0] + (after[s] - after[o]) / spread[1]
            cosines = (float(before[s]), float(before[o]), float(after[s]), float(after[o]))
            found.append(Correction(rows.start + i, s, o, *cosines, size=float(size)))
    return sorted(found, key=lambda c: (-c.size, c.query))[:top]


def telling_texts(query: Tensor, same: Tensor, other: Tensor, texts: Tensor, top: int) -> list[TellingText]:
    """The texts that bring ``query`` and ``same`` together and leave ``other`` out, most telling first.

    query, same, other: (d,) image features; texts: (M, d). Sorted by how far the lower of the two cosines
    lies above that of ``other``; equal ones by row. At most ``top``.
    """
    images = torch.stack([query, same, other])
    q, s, o = inner(unit(images), unit(texts, "text features"))
    order = (torch.minimum(q, s) - o).argsort(descending=True, stable=True)[:top].tolist()
    return [TellingText(i, float(q[i]), float(s[i]), float(o[i])) for i in order]


def _class_numbers(labels: Labels) -> Tensor:
    """Labels as (N,) numbers. ValueError for negative ones."""
    numbers = torch.as_tensor(np.asarray(labels, dtype=np.int64))
    if len(numbers) and int(numbers.min()) < 0:
        raise ValueError("a label is negative")
    return numbers


def _similarities(queries: Tensor, keys: Tensor, leave_one_out: bool) -> Iterator[tuple[slice, Tensor]]:
    """Cosines of some queries with all K keys: chunks (n, K), float64; -inf with itself if left out."""
    keys = unit(keys)
    step = max(1, CHUNK // max(1, len(keys)))
    for start in range(0, len(queries), step):
        rows = slice(start, min(start + step, len(queries)))
        similarity = inner(unit(queries[rows]), keys)
        if leave_one_out:
            similarity[torch.arange(len(similarity)), torch.arange(rows.start, rows.stop)] = -torch.inf
        yield rows, similarity


def _nearest(similarity: Tensor, count: Tensor) -> Tensor:
    """(n, K) bool: the ``count[i]`` largest of row i, exactly; of equal ones the lower index."""
    best = similarity.topk(max(1, int(count.max())), dim=1).values
    last = best.gather(1, (count - 1).clamp_min(0)[:, None])
    above, level = similarity > last, similarity == last
    room = count[:, None] - above.sum(dim=1, keepdim=True)
    return above | (level & (level.cumsum(dim=1, dtype=torch.int32) <= room))


def _spread(features: Tensor) -> float:
    """Standard deviation of the cosines over all pairs of rows, from two sums; 1 where all are equal."""
    rows = unit(features)
    pairs = len(rows) ** 2
    mean = float(rows.sum(dim=0).square().sum()) / pairs
    square = float((rows.T @ rows).square().sum()) / pairs  # sum over pairs (u·v)² = ‖UᵀU‖²
    variance = square - mean**2
    return float(variance**0.5) if variance > 1e-14 else 1.0


# ---- maps


def stratified_subset(labels: Labels, limit: int, seed: int = 0) -> NDArray[np.int64]:
    """At most ``limit`` rows, ascending, each class with its share of them; labels: (N,). Deterministic.

    Shares are rounded by Sainte-Laguë's rule, so that no class gains by its size.
    """
    classes = np.asarray(labels, dtype=np.int64)
    if len(classes) <= limit:
        return np.arange(len(classes))
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(classes))
    grouped = shuffled[np.argsort(classes[shuffled], kind="stable")]
    _, starts, counts = np.unique(classes[grouped], return_index=True, return_counts=True)
    place = np.arange(len(grouped)) - np.repeat(starts, counts)  # within its class
    first = np.lexsort((rng.random(len(grouped)), (place + 0.5) / np.repeat(counts, counts)))
    return np.sort(grouped[first[:limit]])


def tsne(features: Tensor, *, perplexity: float = 30.0) -> NDArray[np.float64]:
    """(N, d) features -> (N, 2) coordinates of a t-SNE map of the unit features (van der Maaten and Hinton).

    The perplexity is cut to a third of the other images; images that cannot be told apart, and a single one, lie at
    the origin. Take a few thousand images at most (:func:`stratified_subset`).

    Steps are chaotic: one last bit moves every point of the map. So the distances are exact, the start, the first two
    principal components, is too, and scikit-learn's steps are C that is compiled once, on one thread. What is left is
    the C library's exp in the affinities, whose last bit goes where they are rounded to float32.
    """
    from sklearn.manifold import TSNE  # slow to import, and only this function needs it
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    rows = unit(features.double()).cpu()
    n = len(rows)
    if n < 2 or float((rows.amax(dim=0) - rows.amin(dim=0)).max()) < 1e-12:
        return np.zeros((n, 2))
    distances = sqrt((2 - 2 * inner(rows, rows)).clamp_min(0).fill_diagonal_(0))
    start = _components(rows)
    start = start * (1e-4 / sqrt(total(start[:, 0] * start[:, 0]) / n))  # what init="pca" does
    model = TSNE(
        metric="precomputed", init=start.float().numpy(), perplexity=min(perplexity, (n - 1) / 3), n_jobs=1
    )
    with threadpool_limits(limits=1):
        return np.asarray(model.fit_transform(distances.float().numpy()), dtype=np.float64)


def _components(rows: Tensor) -> Tensor:
    """(N, d) -> (N, 2) the first two principal components, by powers of the covariance in exact steps."""
    rows = rows - total(rows.T) / len(rows)
    spread = inner(rows.T, rows.T)
    found = []
    for _ in range(2):
        axis = spread[spread.diagonal().argmax()][None]
        for _ in range(100):
            axis = inner(axis / lengths(axis).clamp_min(1e-150), spread)
        size = lengths(axis)
        axis = axis / size.clamp_min(1e-150)
        spread = spread - size * axis.T * axis
        found.append(inner(rows, axis))
    return torch.cat(found, dim=1)


# ---- ablations over texts


def text_kind_ablation(
    x: Tensor,
    labels: Labels,
    text_features: Tensor,
    class_index: Labels,
    kinds: Sequence[str],
    n_classes: int,
    combinations: Sequence[Sequence[str]] = KIND_COMBINATIONS,
) -> list[KindsRow]:
    """Accuracy of stage one with some kinds of text at a time (paper, ablation of text kinds).

    x: (N, d), labels: (N,); text_features: (M, d) with class_index (M,) and kinds (M,) a row; kinds other
    than name, attribute, analogous and synonym are ignored. A combination with a kind that no class has is
    left out. A class without a text of the chosen kinds, or without a synonym where those are chosen, has its name
    in its place.
    """
    kind = np.asarray(kinds, dtype=str)
    rows: list[KindsRow] = []
    for chosen in combinations:
        if not set(chosen) <= set(kind.tolist()):
            continue
        keep = np.isin(kind, list(chosen))
        correct = _stage_one(x, labels, text_features, class_index, kind, keep, n_classes)
        rows.append({"kinds": list(chosen), "accuracy": estimate(correct), "texts": int(keep.sum())})
    return rows


def text_count_curve(
    x: Tensor,
    labels: Labels,
    text_features: Tensor,
    class_index: Labels,
    kinds: Sequence[str],
    n_classes: int,
    *,
    counts: Sequence[int] | None = None,
    draws: int = 3,
    seed: int = 0,
) -> list[CountRow]:
    """Accuracy of stage one with ``count`` texts a class besides its name, drawn at random several times.

    Inputs as in :func:`text_kind_ablation`. Texts are drawn from all other kinds of the class; a class with
    fewer gives all of them. Within one draw a larger count keeps the texts of a smaller one. counts: 0, 1, 2,
    4, … unless given. The last row is always that of all texts of every class, at the count of the largest class;
    counts above it would be the same. Where nothing is left to draw (0, or all), there is one draw.
    """
    kind, owner = np.asarray(kinds, dtype=str), np.asarray(class_index, dtype=np.int64)
    name = kind == "name"
    pool = np.isin(kind, [*MEAN_KINDS, "synonym"])
    most = int(np.bincount(owner[pool], minlength=1).max())
    if counts is None:
        counts = [0, *(2**i for i in range(most.bit_length()))]
    counts = sorted({min(count, most) for count in (*counts, most)})
    places = [_places(owner, pool, np.random.default_rng([seed, draw])) for draw in range(draws)]
    rows: list[CountRow] = []
    for count in counts:
        for draw, place in enumerate(places if 0 < count < most else places[:1]):
            keep = name | (pool & (place < count))
            correct = _stage_one(x, labels, text_features, class_index, kind, keep, n_classes)
            texts = int(keep.sum())
            spread = _diversity(text_features, owner, keep & pool)
            rows.append(
                {
                    "count": count,
                    "draw": draw,
                    "accuracy": accuracy(correct),
                    "texts": texts,
                    "diversity": spread,
                }
            )
    return rows


def text_choice_curve(
    x: Tensor,
    labels: Labels,
    text_features: Tensor,
    class_index: Labels,
    kinds: Sequence[str],
    n_classes: int,
    counts: Sequence[int],
) -> list[ChoiceRow]:
    """Accuracy of stage one with the ``count`` most diverse, and the most alike, texts of every class.

    Inputs as in :func:`text_count_curve`, whose random draws all have much the same diversity; these two have the
    same number of texts and differ in it. Only counts that leave a choice: at least two texts, and fewer than some
    class has. A larger count keeps the texts of a smaller one.
    """
    kind, owner = np.asarray(kinds, dtype=str), np.asarray(class_index, dtype=np.int64)
    pool = np.isin(kind, [*MEAN_KINDS, "synonym"])
    most = int(np.bincount(owner[pool], minlength=1).max())
    rows: list[ChoiceRow] = []
    for chosen, sign in (("diverse", 1.0), ("alike", -1.0)):
        place = _greedy_places(text_features, owner, pool, sign)
        for count in sorted({c for c in counts if 2 <= c < most}):
            keep = (kind == "name") | (pool & (place < count))
            correct = _stage_one(x, labels, text_features, class_index, kind, keep, n_classes)
            rows.append(
                {
                    "count": count,
                    "chosen": chosen,
                    "accuracy": accuracy(correct),
                    "texts": int(keep.sum()),
                    "diversity": _diversity(text_features, owner, keep & pool),
                }
            )
    return rows


def _greedy_places(
    text_features: Tensor, owner: NDArray[np.int64], pool: NDArray[np.bool_], sign: float
) -> NDArray[np.int64]:
    """(M,) the place of each text of the pool: each next one is the least (sign 1) or most (-1) like those before.

    Like: mean cosine with the chosen; the first against all of the class. Equal ones in their order.
    """
    place = np.zeros(len(owner), dtype=np.int64)
    for c in np.unique(owner[pool]):
        rows = np.flatnonzero(pool & (owner == c))
        texts = unit(text_features[torch.from_numpy(rows)], "text features")
        chosen = texts.sum(dim=0)
        left = torch.ones(len(rows), dtype=torch.bool)
        for at in range(len(rows)):
            like = sign * inner(texts, chosen[None])[:, 0]
            like[~left] = torch.inf
            nearest = int(like.argmin())
            chosen = texts[nearest] if at == 0 else chosen + texts[nearest]
            left[nearest] = False
            place[rows[nearest]] = at
    return place


def _diversity(text_features: Tensor, owner: NDArray[np.int64], keep: NDArray[np.bool_]) -> float | None:
    """Mean over classes with two kept texts and more of the mean cosine between two of them.

    Of n unit rows t: mean over pairs t·u = (|sum t|² − n) / (n (n − 1)).
    """
    rows = torch.from_numpy(np.flatnonzero(keep))
    classes = torch.from_numpy(owner[keep])
    n = torch.bincount(classes).double()
    sums = torch.zeros(len(n), text_features.shape[1], dtype=torch.float64)
    if len(rows):
        sums.index_add_(0, classes, unit(text_features[rows], "text features"))
    pairs = n * (n - 1)
    mean = (sums.square().sum(dim=1) - n)[pairs > 0] / pairs[pairs > 0]
    return float(mean.mean()) if len(mean) else None


def _places(owner: NDArray[np.int64], pool: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.int64]:
    """(M,) the place of each text of the pool in a random order of its class's texts."""
    shuffled = rng.permutation(np.flatnonzero(pool))
    grouped = shuffled[np.argsort(owner[shuffled], kind="stable")]
    _, starts, counts = np.unique(owner[grouped], return_index=True, return_counts=True)
    place = np.zeros(len(owner), dtype=np.int64)
    place[grouped] = np.arange(len(grouped)) - np.repeat(starts, counts)
    return place


def _stage_one(
    x: Tensor,
    labels: Labels,
    text_features: Tensor,
    class_index: Labels,
    kind: NDArray[np.str_],
    keep: NDArray[np.bool_],
    n_classes: int,
) -> NDArray[np.bool_]:
    """(N,) whether stage one is right with the kept texts; a class that has none is scored by its name.

    Where neither names nor synonyms are kept, nothing is left of stage one's maximum: the mean of the others.
    """
    owner = np.asarray(class_index, dtype=np.int64)
    needed = MAX_KINDS if np.isin(kind[keep], MAX_KINDS).any() else MEAN_KINDS
    bare = np.bincount(owner[keep & np.isin(kind, needed)], minlength=n_classes) == 0
    keep = keep | ((kind == "name") & bare[owner])

    def of(some: Sequence[str]) -> list[Tensor]:
        rows = np.flatnonzero(keep & np.isin(kind, list(some)))
        rows = rows[np.argsort(owner[rows], kind="stable")]
        sizes = np.bincount(owner[rows], minlength=n_classes).tolist()
        return list(torch.split(text_features[torch.from_numpy(rows)], sizes))

    if needed == MAX_KINDS:
        scores = TextNeighbors(mean_texts=of(MEAN_KINDS), max_texts=of(MAX_KINDS)).class_scores(x)
    else:
        rows = torch.from_numpy(np.flatnonzero(keep & np.isin(kind, [*MEAN_KINDS, "name"])))
        scores = description_scores(x, text_features[rows], torch.from_numpy(owner)[rows], n_classes)
    predictions = scores.argmax(dim=1).cpu().numpy()
    return np.asarray(predictions == np.asarray(labels, dtype=np.int64))
