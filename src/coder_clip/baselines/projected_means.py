"""Class means of image features, projected on the principal components of class name texts.

Herzog and Wang, "Reevaluating the Intra-Modal Misalignment Hypothesis in CLIP", CVPR 2026;
span_projection.py and main_few_shots.py (prototype_classify) of
Vision-Kek/Is-CLIP-Really-Misaligned at commit 6e771ae."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ..foundation.reproducible import exact_matmul
from ..neighbors import l2_normalize
from .few_shot import FewShotInputs, Fitted
from .grid_search import Point
from .linear_maps import principal_axes, project
from .tip_adapter import unit_keys

LABEL = "Class means, projected"
ABOUT = (
    "nearest class mean on the main components of ImageNet's class names (Herzog and Wang 2026), "
    "no training"
)
CLASS_TEXTS = False
ORDER = 44
LINE = ("sky", "-.", "X")


@dataclass(frozen=True)
class ProjectedMeans:
    """Class means in a subspace.

    axes: (r, d) orthonormal rows; means: (C, r) unit; float64. has_shot: (C,) bool.
    """

    axes: Tensor
    means: Tensor
    has_shot: Tensor

    @classmethod
    def fit(
        cls,
        cache: Tensor,
        labels: Tensor,
        texts: Tensor,
        *,
        n_classes: int,
        known: Tensor | None = None,
    ) -> Self:
        """Find the subspace and the class means in it.

        cache: raw shot features (K, d) or (E, K, d); labels: (K,); texts: (M, d) features of "a
        photo of a {name}"; known: their `principal_axes`, if computed before.

        As the authors' code: the components are those of unit texts about their mean
        (`principal_axes`); images are not centred; a class mean is the mean of projected unit
        shots, not made unit one by one. Chosen here: a shot is the mean of its augmented views,
        made unit (the authors have none); a class without a shot is never predicted.
        """
        axes = principal_axes(texts) if known is None else known
        shots = project(unit_keys(cache).cpu(), axes)
        owner = labels.to("cpu", torch.int64)
        # a class without a shot keeps a zero mean and is masked later
        sums = torch.zeros(n_classes, len(axes), dtype=torch.float64).index_add_(0, owner, shots)
        counts = torch.bincount(owner, minlength=n_classes)
        return cls(axes, l2_normalize(sums / counts.clamp_min(1)[:, None]), counts > 0)

    def search(self, x: Tensor, clip_logits: Tensor, labels: Tensor) -> Point:
        """An empty point, because the method has no hyper-parameters to choose."""
        return Point()

    def logits(self, x: Tensor, clip_logits: Tensor, point: Point) -> Tensor:
        """100 × cosine of projected images x (N, d) and class means, -inf for a class without a
        shot: (N, C) float64.

        CLIP's logits are not used.
        """
        return self.cosines(x).masked_fill(~self.has_shot.to(x.device), -torch.inf)

    def cosines(self, x: Tensor) -> Tensor:
        """100 × cosine of projected images x (N, d) and class means -> (N, C) float64."""
        return 100 * exact_matmul(l2_normalize(project(x, self.axes)), self.means.to(x.device))


def fit(inputs: FewShotInputs) -> Fitted:
    """Fit on ImageNet's class names, whatever the data set."""
    names = inputs.imagenet_names
    axes = inputs.of_texts.once(principal_axes, names)
    return ProjectedMeans.fit(
        inputs.cache, inputs.labels, names, n_classes=inputs.n_classes, known=axes
    )
