"""GDA: a Gaussian classifier of the shots, added to CLIP.

Wang et al., "A Hard-to-Beat Baseline for Training-free CLIP-Based Adaptation", ICLR 2024, section
3; main_few_shots.py of mrflogs/ICLR24 at commit c83409b.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ..neighbors import l2_normalize
from .few_shot import FewShotInputs, Fitted
from .grid_search import Point, best_weight
from .linear_maps import ShotStatistics

LABEL = "GDA"
ABOUT = "a Gaussian classifier of the shots, added to CLIP (Wang et al. 2024), no training"
ORDER = 40
LINE = ("vermillion", "--", "s")
VIEWS = 10  # as GDA is published
ALPHAS = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0)


class AddedScores:
    """Scores added to CLIP's logits, with the weight of ALPHAS that validation images choose."""

    def scores(self, x: Tensor) -> Tensor:
        """Scores of images x (N, d) -> (N, C) float64, all finite."""
        raise NotImplementedError

    def logits(self, x: Tensor, clip_logits: Tensor, point: Point) -> Tensor:
        """clip_logits (N, C) + α · scores -> (N, C) float64."""
        assert point.alpha is not None
        return clip_logits.double() + point.alpha * self.scores(x)

    def search(self, x: Tensor, clip_logits: Tensor, labels: Tensor) -> Point:
        """The α with the best accuracy on images x (N, d), the smallest of the best."""
        return best_weight(self.scores, ALPHAS, x, clip_logits, labels)


@dataclass(frozen=True)
class Gda(AddedScores):
    """The Gaussian classifier: weights (C, d) and bias (C,), float64."""

    weights: Tensor
    bias: Tensor

    @classmethod
    def fit(cls, views: Tensor, labels: Tensor, *, n_classes: int) -> Self:
        """Estimate means and covariance.

        views: features of the augmented views of each shot (K, E, d), each view a sample of its
        own, or (K, d);
        labels: (K,).
        """
        return cls.of(ShotStatistics.of(views, labels, n_classes=n_classes))

    @classmethod
    def of(cls, shots: ShotStatistics) -> Self:
        """The classifier of the shots' means and covariance.

            W_c = Σ⁻¹ μ_c        b_c = log(1/C) − ½ μ_cᵀ Σ⁻¹ μ_c
            Σ⁻¹ = d ((n − 1) Σ̂ + tr(Σ̂) I)⁻¹
            Σ̂: covariance of all n samples about their class means

        A class without a shot keeps its CLIP logit. Samples that do not differ within their class
        (one view of one shot) have no covariance, and then CLIP is not changed.
        """
        n_classes, width = shots.means.shape
        weights = torch.zeros_like(shots.means)
        bias = torch.full((n_classes,), -np.log(n_classes)).double()
        # without a covariance the weights stay 0, and an equal bias changes no arg max
        if shots.ridge is not None:
            means = shots.means[shots.has_shot]
            weights[shots.has_shot] = width * torch.linalg.solve(shots.ridge, means.T).T
            bias[shots.has_shot] -= (means * weights[shots.has_shot]).sum(dim=1) / 2
        return cls(weights, bias)

    def scores(self, x: Tensor) -> Tensor:
        """W x + b of images x (N, d) -> (N, C) float64."""
        weights, bias = self.weights.to(x.device), self.bias.to(x.device)
        return l2_normalize(x, width=weights.shape[1]).double() @ weights.T + bias


def fit(inputs: FewShotInputs) -> Fitted:
    """Fit on the views one by one, if they were kept."""
    views = inputs.cache if inputs.views is None else inputs.views
    return Gda.fit(views, inputs.labels, n_classes=inputs.n_classes)
