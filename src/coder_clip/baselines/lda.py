"""A linear discriminant of the shots' image features, without any text.

Herzog and Wang, "Reevaluating the Intra-Modal Misalignment Hypothesis in CLIP", CVPR 2026, compare
CODER and TIP-X with it; main_few_shots.py (lda_iclr24_classify, without clip_weights) of
Vision-Kek/Is-CLIP-Really-Misaligned at commit 6e771ae.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from .few_shot import FewShotInputs, Fitted
from .gda import Gda
from .grid_search import Point
from .linear_maps import ShotStatistics

LABEL = "Linear discriminant, images alone"
ABOUT = "GDA's Gaussian classifier of the shots without CLIP's logits: no text, nothing to tune"
CLASS_TEXTS = False
ORDER = 42
LINE = ("black", ":", "P")
VIEWS = 10  # as GDA, whose means and covariance it has


@dataclass(frozen=True)
class LinearDiscriminant:
    """GDA's W x + b as the logits. has_shot: (C,) classes that can be predicted."""

    gaussian: Gda
    has_shot: Tensor

    @classmethod
    def fit(cls, views: Tensor, labels: Tensor, *, n_classes: int) -> Self:
        """Estimate as `Gda.fit`, from the same samples.

        Chosen here, where the authors' code has no case: a class without a shot is never predicted.
        Samples without a covariance have the identity instead, so that the nearest class mean by
        Euclidean distance decides."""
        shots = ShotStatistics.of(views, labels, n_classes=n_classes)
        if shots.ridge is None:
            identity = torch.eye(shots.means.shape[1], dtype=torch.float64)
            shots = replace(shots, ridge=identity)
        return cls(Gda.of(shots), shots.has_shot)

    def search(self, x: Tensor, clip_logits: Tensor, labels: Tensor) -> Point:
        """An empty point, because the method has no hyper-parameters to choose."""
        return Point()

    def logits(self, x: Tensor, clip_logits: Tensor, point: Point) -> Tensor:
        """W x + b of images x (N, d) -> (N, C) float64; -inf for a class without a shot.

        CLIP's logits are not used.
        """
        return self.gaussian.scores(x).masked_fill(~self.has_shot.to(x.device), -torch.inf)


def fit(inputs: FewShotInputs) -> Fitted:
    """Fit on the views one by one, if they were kept."""
    views = inputs.cache if inputs.views is None else inputs.views
    return LinearDiscriminant.fit(views, inputs.labels, n_classes=inputs.n_classes)
