"""The quality of features: neighbours, retrieval, corrected distances, maps.

Features are compared by cosine in float64: cosines of CODERs lie so close to 1 that float32 would reorder neighbours.
No function holds a similarity for every pair of images at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..foundation.exact import inner, lengths, sqrt, total
from ..neighbors import unit
from .estimates import Labels

CHUNK = 4_000_000  # numbers held at once: similarities


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
