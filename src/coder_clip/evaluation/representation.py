"""The quality of features: nearest neighbours, retrieval, corrected and broken distances, maps.

Features are compared by cosine in float64: cosines of CODERs are so close to 1 that float32 would
reorder neighbours. No function but the map holds the similarities of all pairs of images at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor
from torch.nn.functional import pad

from ..foundation.reproducible import exact_matmul
from ..neighbors import l2_normalize

if TYPE_CHECKING:
    from .estimates import Labels

CHUNK = 4_000_000  # similarities in memory at a time
MAP_CLASSES = 12  # on a map: the points of more classes cannot be told apart
# Decimals of the start of a map, in standard deviations; processors differ by 1e-10 of one.
START_DECIMALS = 3


def neighbourhoods(
    features: Tensor, labels: Labels, *ks: int, groups: Tensor | None = None
) -> tuple[tuple[NDArray[np.bool_], ...], NDArray[np.float64]]:
    """`knn_accuracy`, and each image's R-precision (N,), in one pass over all pairs.

    R-precision: the share of an image's R nearest other images by cosine that are of its class,
    where R is the number of other images of the class (1 if all of the class come first, whatever
    its size). NaN for an image without another of its class, for which no answer is right;
    ``estimate`` ignores NaN. Of equally near images the lower index comes first. Images of one
    group are not neighbours of each other, and R counts images of other groups.
    """
    votes, retrieval = _Votes(labels, ks), _Retrieval(labels, groups)
    for rows, similarity in _similarities(features, groups):
        votes.add(rows, similarity)
        retrieval.add(rows, similarity)
    return tuple(votes.right.numpy()), retrieval.precision()


def knn_accuracy(
    features: Tensor, labels: Labels, *ks: int, groups: Tensor | None = None
) -> tuple[NDArray[np.bool_], ...]:
    """Classify each image by the vote of its k nearest other images by cosine.

    Return for each k which images are right: (N,) bool.

    The mean is the accuracy. features: (N, d), any length; labels: (N,). With fewer than k others,
    all vote; without any, the image is wrong. If classes have equally many votes, the class of the
    nearest neighbour wins; of equally near images the lower index comes first. groups: (N,), images
    of one group (near twins) are not neighbours of each other.
    """
    votes = _Votes(labels, ks)
    for rows, similarity in _similarities(features, groups):
        votes.add(rows, similarity)
    return tuple(votes.right.numpy())


class _Votes:
    """Collects `knn_accuracy` chunk by chunk. right: (number of ks, N) bool."""

    def __init__(self, labels: Labels, ks: Sequence[int]) -> None:
        self.truth, self.ks = torch.as_tensor(labels, dtype=torch.int64), ks
        self.right = torch.zeros(len(ks), len(self.truth), dtype=torch.bool)
        self.most = min(max(ks), len(self.truth) - 1)

    def add(self, rows: slice, similarity: Tensor) -> None:
        """Let the neighbours of some images vote. similarity: (n, N), cosines with all images."""
        truth, most = self.truth, self.most
        if most < 1:
            return
        count = torch.full((len(similarity),), most)
        # each row of the mask has ``most`` images; their indices, lower index first: (n, most)
        near = _nearest(similarity, count).nonzero()[:, 1].view(-1, most)
        cosines, nearness = similarity.gather(1, near).sort(dim=1, descending=True, stable=True)
        classes = truth[near.gather(1, nearness)]  # (n, most), nearest first
        # 1 or 0: images of the own group, with cosine -inf, do not vote
        voters = (cosines > -torch.inf).long()
        for i, k in enumerate(self.ks):
            voted = classes[:, :k]
            votes = torch.zeros(len(voted), int(truth.max()) + 1, dtype=torch.int64)
            votes.scatter_add_(1, voted, voters[:, :k])
            # votes of each voter's class, nearest first, so that argmax gives a tie to the nearest
            votes_at_voter = votes.gather(1, voted)
            winner = voted.gather(1, votes_at_voter.argmax(dim=1, keepdim=True))[:, 0]
            has_voter = voters[:, 0] == 1
            self.right[i, rows] = (winner == truth[rows]) & has_voter


class _Retrieval:
    """Collects the R-precision of `neighbourhoods` chunk by chunk."""

    def __init__(self, labels: Labels, groups: Tensor | None) -> None:
        self.truth = torch.as_tensor(labels, dtype=torch.int64)
        self.others = torch.bincount(self.truth)[self.truth] - 1  # (N,) others of the class
        if groups is not None:
            # twins of the image's own class are not candidates, so R does not count them
            pairs = np.stack([self.truth.numpy(), np.asarray(groups)], axis=1)
            _, inverse, size = np.unique(pairs, axis=0, return_inverse=True, return_counts=True)
            twins = size[inverse.ravel()] - 1  # of each image, of its class and group
            self.others = self.others - torch.from_numpy(twins)
        self.hits = torch.zeros(len(self.truth), dtype=torch.float64)

    def add(self, rows: slice, similarity: Tensor) -> None:
        """Count hits of some images. similarity: (n, N), cosines with all images."""
        near = _nearest(similarity, self.others[rows])
        same = self.truth[rows, None] == self.truth
        self.hits[rows] = (near & same).sum(dim=1).double()

    def precision(self) -> NDArray[np.float64]:
        """R-precision of every image (N,); NaN where 0 / 0."""
        return (self.hits / self.others).numpy()


def changed_neighbours(
    original: Tensor, coder: Tensor, labels: Labels, top: int, groups: Tensor | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The images whose nearest neighbour CODER corrects, and those it breaks: at most ``top`` of
    each, largest first, equal ones by row.

    original: (N, d), coder: (N, r), rows of the same images; labels: (N,). Corrected: the nearest
    neighbour is of another class by ``original`` and of the image's own class by ``coder``; broken:
    the other way round. groups: (N,), images of one group (near twins) are not neighbours of each
    other; an image without others is skipped.

    Each image is a dict. query: its row; same, other: rows of its two nearest neighbours, the one
    of its class and the one of another class; original, coder: cosines with ``same`` and with
    ``other``. size: the lead of the nearest neighbour by original features plus the lead by CODER,
    each in standard deviations of that feature's cosines over all pairs (CODER's cosines vary far
    less, so raw leads cannot be compared).
    """
    corrected: list[dict[str, Any]] = []
    broken: list[dict[str, Any]] = []
    if len(original) < 2:
        return corrected, broken
    truth = torch.as_tensor(labels)
    original_spread, coder_spread = _spread(original), _spread(coder)
    # both features chunk by chunk at the same time: no N × N matrix is kept
    similarities = _similarities(original, groups), _similarities(coder, groups)
    for (rows, by_original), (_, by_coder) in zip(*similarities, strict=True):
        was, now = by_original.argmax(dim=1), by_coder.argmax(dim=1)
        was_right, now_right = truth[was] == truth[rows], truth[now] == truth[rows]
        has_others = by_original.amax(dim=1) > -torch.inf
        for i in ((was_right != now_right) & has_others).nonzero()[:, 0].tolist():
            # the neighbour of the right class is the old one if CODER breaks, else the new one
            if was_right[i]:
                same, other, changed = int(was[i]), int(now[i]), broken
            else:
                same, other, changed = int(now[i]), int(was[i]), corrected
            before, after = by_original[i], by_coder[i]
            # both leads are negative if CODER breaks, hence the abs
            original_lead = (before[other] - before[same]) / original_spread
            coder_lead = (after[same] - after[other]) / coder_spread
            record = {
                "query": rows.start + i,
                "same": same,
                "other": other,
                "size": abs(float(original_lead + coder_lead)),
            }
            for name, cosines in (("original", before), ("coder", after)):
                record[name] = {"same": float(cosines[same]), "other": float(cosines[other])}
            changed.append(record)
    for records in (corrected, broken):
        records.sort(key=lambda record: (-record["size"], record["query"]))
    return corrected[:top], broken[:top]


def telling_texts(images: Tensor, texts: Tensor, top: int) -> list[tuple[int, dict[str, float]]]:
    """Texts near to a query and to an image of its class, not to one of another class.

    images: (3, d), the rows query, same and other; texts: (M, d). Return at most ``top`` (row of a
    text, image -> cosine), ordered by the lower cosine of query and same minus the cosine of other;
    equal ones by row.
    """
    cosines = exact_matmul(l2_normalize(images), l2_normalize(texts, "text features"))
    lead = cosines[:2].amin(dim=0) - cosines[2]
    order = lead.argsort(descending=True, stable=True)[:top].tolist()
    return [
        (i, dict(zip(("query", "same", "other"), cosines[:, i].tolist(), strict=True)))
        for i in order
    ]


def _similarities(features: Tensor, groups: Tensor | None = None) -> Iterator[tuple[slice, Tensor]]:
    """Yield rows and their cosines with all N images in chunks (n, N) float64, -inf for an image
    with itself and with its group.
    """
    units = l2_normalize(features)
    step = max(1, CHUNK // max(1, len(units)))
    for start in range(0, len(units), step):
        rows = slice(start, min(start + step, len(units)))
        similarity = exact_matmul(units[rows], units)
        similarity[torch.arange(len(similarity)), torch.arange(rows.start, rows.stop)] = -torch.inf
        if groups is not None:
            similarity[groups[rows, None] == groups] = -torch.inf
        yield rows, similarity


def _nearest(similarity: Tensor, count: Tensor) -> Tensor:
    """Mask (n, K) of exactly the ``count[i]`` largest values of row i, of equal ones the lower
    index.
    """
    # all above the count-th value, then equal ones by index until the count is reached
    best = similarity.topk(max(1, int(count.max())), dim=1).values
    last = best.gather(1, (count - 1).clamp_min(0)[:, None])  # the count-th value of each row
    near = similarity >= last
    # only rows where more images than wanted reach the last value have to choose by index
    crowded = (near.sum(dim=1) != count).nonzero()[:, 0]
    if len(crowded):
        some, value = similarity[crowded], last[crowded]
        above, equal = some > value, some == value
        room = count[crowded, None] - above.sum(dim=1, keepdim=True)
        near[crowded] = above | (equal & (equal.cumsum(dim=1, dtype=torch.int32) <= room))
    return near


def _spread(features: Tensor) -> float:
    """Standard deviation of the cosines over all pairs of rows, from two sums; 1 if all are
    equal.
    """
    rows = l2_normalize(features)
    pairs = len(rows) ** 2
    # the mean of u·v over all pairs is |Σ u|² / N², without an N × N matrix
    mean = float(rows.sum(dim=0).square().sum()) / pairs
    square = float((rows.T @ rows).square().sum()) / pairs  # sum over pairs (u·v)² = ‖UᵀU‖²
    variance = square - mean**2
    # below 1e-14 the variance is only rounding: all cosines are equal
    if variance > 1e-14:
        return float(variance**0.5)
    return 1.0


# ---- maps


def map_rows(labels: Labels, limit: int, seed: int = 0) -> NDArray[np.int64]:
    """The rows of a map: at most ``limit``, by `stratified_subset`.

    labels: (N,). If there are more than MAP_CLASSES classes, MAP_CLASSES of them are shown, evenly
    spaced in label order, so that no result decides which."""
    truth = np.asarray(labels, dtype=np.int64)
    classes = np.unique(truth)
    n = min(MAP_CLASSES, len(classes))
    shown = classes[np.arange(n) * len(classes) // max(1, n)]
    rows = np.flatnonzero(np.isin(truth, shown))
    return rows[stratified_subset(truth[rows], limit, seed)]


def stratified_subset(labels: Labels, limit: int, seed: int = 0) -> NDArray[np.int64]:
    """At most ``limit`` rows, ascending, with a fair share per class; labels: (N,). Deterministic.

    Shares are rounded by Sainte-Laguë's rule, so that no class gains by its size.
    """
    classes = np.asarray(labels, dtype=np.int64)
    if len(classes) <= limit:
        return np.arange(len(classes))
    rng = np.random.default_rng(seed)
    # shuffled and then grouped, so that the order within a class is random
    shuffled = rng.permutation(len(classes))
    grouped = shuffled[np.argsort(classes[shuffled], kind="stable")]
    _, starts, counts = np.unique(classes[grouped], return_index=True, return_counts=True)
    place = np.arange(len(grouped)) - np.repeat(starts, counts)  # within its class
    # Sainte-Laguë: the k-th row of a class has priority (k − ½) / size of the class
    first = np.lexsort((rng.random(len(grouped)), (place + 0.5) / np.repeat(counts, counts)))
    return np.sort(grouped[first[:limit]])


def tsne(features: Tensor, *, perplexity: float = 30.0) -> NDArray[np.float64]:
    """A t-SNE map of the unit features (van der Maaten and Hinton): (N, d) -> coordinates (N, 2).

    The perplexity is at most a third of the number of other images. If all images are equal, or
    there is only one, all coordinates are 0. For a few thousand images at most
    (`stratified_subset`).

    The steps are chaotic: one last bit moves every point of the map. So squared distances are
    exact, |u|² + |v|² − 2 u·v of rows on the grid, and the start, the first two principal
    components, is rounded to START_DECIMALS. scikit-learn's steps are compiled C on one thread.
    What remains is the C library's exp in the affinities, whose last bit disappears when the
    affinities are rounded to float32."""
    rows = l2_normalize(features).cpu()
    n = len(rows)
    # equal rows would give a start without spread, which is divided by
    if n < 2 or float((rows.amax(dim=0) - rows.amin(dim=0)).max()) == 0:
        return np.zeros((n, 2))
    products = exact_matmul(rows, rows)
    squares = products.diagonal()
    distances = np.sqrt((squares[:, None] + squares - 2 * products).numpy())
    # features of width 1 have one component; a column of zeros gives them a second one
    padded = pad(rows, (0, 1)).numpy()
    start = PCA(n_components=2, svd_solver="full").fit_transform(padded)
    # scaled as scikit-learn's init="pca" does
    start = (start / start[:, 0].std()).round(START_DECIMALS) * 1e-4
    model = TSNE(
        metric="precomputed",
        init=start.astype(np.float32),
        perplexity=min(perplexity, (n - 1) / 3),
        n_jobs=1,
    )
    with threadpool_limits(limits=1):
        return np.asarray(model.fit_transform(distances.astype(np.float32)), dtype=np.float64)
