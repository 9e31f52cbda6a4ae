"""APE without training.

Tip-Adapter on the channels that separate classes, shots weighted by CLIP's own predictions.

Zhu et al., "Not All Features Matter: Enhancing Few-shot CLIP with Adaptive Prior Refinement", ICCV
2023, sections 3.2 and 3.3; main.py (APE) and utils.py (cal_criterion) of yangyangyang127/APE at
commits 20258ec and 6ee66e8.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from ..adapter import Span, grid
from ..neighbors import l2_normalize
from ..search.branch_and_bound import Grids, first_best
from ..search.cache_model import decayed
from ..search.line_search import Floats
from .few_shot import FewShotInputs, Fitted
from .grid_search import ByClass, CacheLines, Point, fetched
from .tip_adapter import unit_keys

LABEL = "APE"
ABOUT = (
    "Tip-Adapter on the channels that tell classes apart, shots weighted (Zhu et al. 2023), no "
    "training"
)
ORDER = 30
LINE = ("purple", ":", "D")
EPSILON = 1e-6


class Constants(NamedTuple):
    """Constants that the authors fixed for a data set.

    channels: share of a feature's channels that stay (published for RN50's 1024); disparity: λ in
    [0, 1], weight of the disparity of classes against the variance; betas, alphas, gammas: the
    grid."""

    channels: float
    disparity: float
    betas: Span = (0.1, 7, 200)
    alphas: Span = (0.1, 7, 20)
    gammas: Span = (0.0, 1, 20)


# configs/*.yaml of yangyangyang127/APE (training_free_feat_num, w_training_free, search_scale,
# search_step). The authors do not say how they chose them; they are used in every setting, which
# can only favour the baseline.
PUBLISHED = {
    "caltech101": Constants(800 / 1024, 0.5),
    "dtd": Constants(400 / 1024, 0.5),
    "eurosat": Constants(700 / 1024, 0.9, (0.1, 30, 200), (0.1, 5, 20), (0.0, 1.5, 20)),
    "fgvc_aircraft": Constants(800 / 1024, 0.1, (0.1, 20, 200), (0.1, 10, 20)),
    "food101": Constants(700 / 1024, 0.3),
    "imagenet": Constants(500 / 1024, 0.7, gammas=(0.0, 0.5, 5)),
    "oxford_flowers": Constants(700 / 1024, 0.4),
    "oxford_pets": Constants(800 / 1024, 0.7),
    "stanford_cars": Constants(500 / 1024, 0.6, (0.1, 10, 200)),
    "sun397": Constants(800 / 1024, 0.7, (0.1, 10, 200)),
    "ucf101": Constants(700 / 1024, 0.3, (0.1, 10, 200), gammas=(0.0, 1.5, 20)),
}
DEFAULT = Constants(800 / 1024, 0.7)  # the most frequent value of each constant


@dataclass(frozen=True)
class Ape:
    """A cache of shots in the channels that separate classes.

    channels: (Q,) indices of the kept channels; keys: (K, Q) unit shots in these channels; labels:
    (K,); divergence: (K,) D_j of `fit`, in bits; n_classes: C.
    """

    channels: Tensor
    keys: Tensor
    labels: Tensor
    divergence: Tensor
    n_classes: int
    constants: Constants

    @classmethod
    def fit(
        cls, cache: Tensor, labels: Tensor, weights: Tensor, constants: Constants = DEFAULT
    ) -> Self:
        """Choose the channels and weight the shots.

        cache: raw shot features (K, d) or (E, K, d); labels: (K,), classes may have unequal or no
        shots; weights: (C, d) CLIP's class weights (the authors use CuPL's texts; here all methods
        have the same weights).

            criterion of a channel = −λ · mean over pairs of different classes of f_i f_j
                                     + (1 − λ) · var(w)
            D_j = KL(onehot_j ‖ softmax(F'W'ᵀ)_j) = log2((1 + ε) / (p_j + ε)),
                  p_j of the shot's own class

        f: shots and class weights, unit. The Q channels with the highest criterion stay, and
        features are scaled to length 1 in them (F', W').
        """
        keys, classes = unit_keys(cache).double(), l2_normalize(weights, "class weights").double()
        labels = labels.to(torch.int64)
        # keep the channels where class weights vary and different classes are unlike each other
        order = criterion(keys, labels, classes, constants.disparity).argsort(
            descending=True, stable=True
        )
        channels = order[: max(1, round(constants.channels * keys.shape[1]))]
        keys, classes = l2_normalize(keys[:, channels]), l2_normalize(classes[:, channels])
        # CLIP's probability of the shot's own class: the less likely, the larger the divergence
        share = (keys @ classes.T).softmax(dim=1)[torch.arange(len(keys)), labels]
        divergence = torch.log2((1 + EPSILON) / (share + EPSILON))
        return cls(channels, keys, labels, divergence, len(weights), constants)

    def affinity(self, x: Tensor) -> Tensor:
        """Cosine of images x (N, d) and shots in the kept channels: (N, K)."""
        return l2_normalize(l2_normalize(x).double()[:, self.channels]) @ self.keys.T

    def logits(self, x: Tensor, clip_logits: Tensor, point: Point) -> Tensor:
        """Logits clip_logits + α · exp(−β (1 − A)) · (exp(γ D) onehot(labels)): (N, C) float64."""
        assert point.alpha is not None
        assert point.beta is not None
        assert point.gamma is not None
        shots = ByClass(self.labels, self.n_classes)
        weights = self._weights(shots, np.array([point.gamma]))
        out = np.empty(clip_logits.shape)
        for part, near in self._near(shots, x):
            votes = shots.sums(decayed(near, point.beta, out=near), weights)[:, 0]
            out[part] = (clip_logits[part].cpu().double().numpy().T + point.alpha * votes).T
        return torch.from_numpy(out)

    def search(self, x: Tensor, clip_logits: Tensor, labels: Tensor) -> Point:
        """The (α, β, γ) with the best accuracy on images x (N, d).

        Of several the first in the published loops: β outer, then α, γ inner. The grids are in the
        constants.
        """
        shots = ByClass(self.labels, self.n_classes)
        betas, alphas, gammas = (grid(*span) for span in self.constants[2:])
        # no tilt: γ enters through the weights of the shots
        parts = ((part, near, None) for part, near in self._near(shots, x))
        lines = CacheLines(shots, clip_logits, labels, parts, self._weights(shots, gammas))
        best = first_best(lines, Grids(alphas, betas, gammas), ("beta", "alpha", "gamma"))
        return Point(*best[1:])

    def _near(self, shots: ByClass, x: Tensor) -> Iterator[tuple[slice, Floats]]:
        """Slices of images x, each with A − 1 of its images and the shots (C, k, n)."""
        runs = fetched(
            len(x), len(self.labels), shots.places.size, lambda part: (self.affinity(x[part]),)
        )
        return ((part, shots.rows(near) - 1) for part, (near,) in runs)

    def _weights(self, shots: ByClass, gammas: Floats) -> Floats:
        """exp(γ D) of each shot: (C, gammas, k)."""
        divergence = self.divergence.cpu().numpy()[shots.places]  # (C, k)
        weights: Floats = np.exp(divergence[:, None, :] * gammas[:, None])
        return weights


def criterion(keys: Tensor, labels: Tensor, weights: Tensor, disparity: float) -> Tensor:
    """How well each channel separates classes: (d,).

    From unit keys (K, d) and class weights (C, d). disparity: λ of `Ape.fit`, weight of
    similarity against variance.

    Sums over all pairs of different classes follow from sums over classes: Σ_{a≠b} s_a s_b = (Σ s)²
    − Σ s².
    """
    n_classes = len(weights)
    # a class's weight is one more sample of it, hence sizes + 1
    sums = weights.clone().index_add_(0, labels, keys)
    sizes = torch.bincount(labels, minlength=n_classes).double() + 1
    pairs = sizes.sum() ** 2 - (sizes**2).sum()
    similarity = (sums.sum(dim=0) ** 2 - (sums**2).sum(dim=0)) / pairs.clamp_min(1)
    variance = weights.var(dim=0) if n_classes > 1 else torch.zeros_like(similarity)
    return (1 - disparity) * variance - disparity * similarity


def fit(inputs: FewShotInputs) -> Fitted:
    """Fit with its authors' constants for the data set."""
    return Ape.fit(
        inputs.cache, inputs.labels, inputs.weights, PUBLISHED.get(inputs.dataset, DEFAULT)
    )
