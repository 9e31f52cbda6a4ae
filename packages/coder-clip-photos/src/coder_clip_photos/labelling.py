"""Learn from the photos that were just labelled, and propose which ones to label next.

Both work on features alone and take well under a second for a few thousand photos.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coder_clip.baselines.gda import Gda
from coder_clip.baselines.grid_search import Point
from coder_clip.neighbors import l2_normalize

FEWEST = 2  # classes that have a label, before labels can tell classes apart
# labels from which on the Gaussian counts in full; fewer estimate it badly
# (docs/photos_labelling.md)
ENOUGH = 100
NEIGHBOURS = 20  # photos around one that say how typical it is, as published
MOST_CLUSTERS = 500  # as published
MOST = 5000  # photos that are clustered; of more, these are drawn


def can_learn(labels: Sequence[int]) -> bool:
    """True if these labels (classes of some photos) can tell classes apart."""
    return len(set(labels)) >= FEWEST


def learned_scores(features: Tensor, scores: Tensor, rows: Sequence[int], labels: Tensor) -> Tensor:
    """Scores (N, C) of all photos by their texts and by the labels of some of them.

    GDA (Wang et al., ICLR 2024; `coder_clip.baselines.gda`): a Gaussian classifier of the labelled
    features with one covariance for all classes, added to the scores of the texts. Its weight,
    which is searched on validation images elsewhere, grows here with the number of labels. A class
    without a label keeps the score of its texts.

    features: (N, d); scores: (N, C) by texts; rows: the labelled photos; labels: (K,) their
    classes.
    """
    shots = Gda.fit(features[list(rows)], labels, n_classes=scores.shape[1])
    return shots.logits(features, scores, Point(min(1.0, len(rows) / ENOUGH)))


def next_photos(
    features: Tensor,
    scores: Tensor,
    unlabelled: Sequence[int],
    wanted: int,
    *,
    learned: bool,
    seed: int = 0,
) -> list[int]:
    """Which photos to label next: typical ones of groups without a label, the uncertain half first.

    TypiClust (Hacohen et al., "Active Learning on a Budget", ICML 2022): the photos are clustered
    by k-means into as many clusters as there will be labels, and each of the largest clusters
    without a label gives the photo with the nearest neighbours. Ours: once labels are learned from,
    only the half of a cluster with the smallest leads can be chosen.

    features: (N, d); scores: (N, C) by what is known so far; unlabelled: photos that may be
    chosen. seed: of the clusters.
    """
    unit = l2_normalize(features).float().numpy()
    may = np.zeros(len(unit), bool)
    may[list(unlabelled)] = True
    part = _part(may, seed)
    n_clusters = min(int((~may[part]).sum()) + wanted, MOST_CLUSTERS, len(part))
    if n_clusters < 1:
        return []
    cluster = _clusters(unit[part], n_clusters, seed)
    leads = lead(scores).numpy()
    chosen = []
    for members in _largest_without_label(cluster, part, may)[:wanted]:
        if learned:
            by_lead = members[leads[members].argsort(kind="stable")]
            members = by_lead[: max(1, (len(members) + 1) // 2)]
        chosen.append(_most_typical(members, unit))
    # fewer clusters than wanted: the least certain ones fill up
    rest = [i for i in np.argsort(leads, kind="stable").tolist() if may[i] and i not in chosen]
    return (chosen + rest)[:wanted]


def _clusters(x: NDArray[np.float32], n_clusters: int, seed: int) -> NDArray[np.int32]:
    """The cluster (n,) of each row of x (n, d), by k-means."""
    from sklearn.cluster import KMeans  # a second, and most pages never need it
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # copies make fewer clusters than were asked for, which the caller expects
        warnings.simplefilter("ignore", ConvergenceWarning)
        found: NDArray[np.int32] = KMeans(n_clusters, n_init=1, random_state=seed).fit_predict(x)
    return found


def _part(may: NDArray[np.bool_], seed: int) -> NDArray[np.int64]:
    """The photos to cluster: all, or the labelled ones and a draw of the others."""
    if len(may) <= MOST:
        return np.arange(len(may))
    drawn = np.random.default_rng(seed).permutation(np.flatnonzero(may))[:MOST]
    return np.sort(np.concatenate([np.flatnonzero(~may), drawn]))


def _largest_without_label(
    cluster: NDArray[np.int32], part: NDArray[np.int64], may: NDArray[np.bool_]
) -> list[NDArray[np.int64]]:
    """The photos of each cluster in which none is labelled, the largest cluster first."""
    found = []
    for c in range(cluster.max() + 1):
        members = part[cluster == c]
        if len(members) and may[members].all():
            found.append(members)
    return sorted(found, key=lambda members: -len(members))


def _most_typical(members: NDArray[np.int64], unit: NDArray[np.float32]) -> int:
    """The photo with the smallest mean distance to its nearest neighbours among the members."""
    x = unit[members]
    distances = np.sqrt(np.maximum(0, 2 - 2 * x @ x.T))
    nearest = np.sort(distances, axis=1)[:, : NEIGHBOURS + 1]
    return int(members[nearest.mean(axis=1).argmin()])


def lead(scores: Tensor) -> Tensor:
    """Probability of the best class minus that of the next, by a softmax: (N,) of scores (N, C)."""
    best = torch.softmax(scores.double(), dim=1).topk(2, dim=1).values
    return best[:, 0] - best[:, 1]
