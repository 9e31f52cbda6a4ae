"""Text-aligned mixed prototypes with a linear discriminant of the images, after Goswami et al.

Goswami et al., "Cross-Modal Prototype Alignment and Mixing for Training-Free Few-Shot
Classification", arXiv 2603.24528: the class means of the shots are projected on the principal
directions of the class texts and mixed with the texts, which shrinks noisy means towards the texts;
the mixed classifier is combined with a linear discriminant of the images. Built from the abstract.
Chosen here: the directions are those of :func:`principal_axes`, the projected mean and the text
have length 1 before they are mixed, the discriminant is GDA's, and the weight of the mixture and of
the discriminant are chosen on validation images together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..foundation.reproducible import exact_matmul, on_grid
from ..neighbors import l2_normalize
from .few_shot import FewShotInputs, Fitted
from .gda import ALPHAS, Gda
from .grid_search import Point, best_weight
from .linear_maps import principal_axes, project
from .tip_adapter import unit_keys

LABEL = "Mixed prototypes"
ABOUT = (
    "class means on the main components of the class texts, mixed with the texts, plus a "
    "discriminant of the images (after Goswami et al. 2026), no training"
)
ORDER = 46
LINE = ("purple", "--", "v")
VIEWS = 10  # as GDA, whose discriminant it has
MIXTURES = tuple(i / 10 for i in range(11))  # weights of the images; 0: the texts alone


@dataclass(frozen=True)
class MixedPrototypes:
    """texts: (C, d) class weights; aligned: (C, d) projected class means, the text for a class
    without a shot; both unit, float64. gaussian: the discriminant.
    """

    texts: Tensor
    aligned: Tensor
    gaussian: Gda

    @classmethod
    def fit(cls, cache: Tensor, views: Tensor, labels: Tensor, weights: Tensor) -> MixedPrototypes:
        """Fit on shots.

        cache: raw shot features (K, d) or (E, K, d); views: as in :meth:`Gda.fit`; labels: (K,);
        weights: (C, d) CLIP's class weights.
        """
        texts = l2_normalize(weights, "class weights").cpu()
        axes = principal_axes(texts)
        owner = labels.to("cpu", torch.int64)
        sums = torch.zeros(len(texts), len(axes), dtype=torch.float64)
        # only the direction of a class mean counts, so the sum does
        sums.index_add_(0, owner, project(unit_keys(cache).cpu(), axes))
        aligned = l2_normalize(exact_matmul(on_grid(sums), on_grid(axes.T)))
        # a class without a shot has its text, and so has one without a projection
        empty = ~(aligned != 0).any(dim=1)
        aligned[empty] = texts[empty]
        return cls(texts, aligned, Gda.fit(views, labels, n_classes=len(texts)))

    def mixed(self, x: Tensor, mixture: float) -> Tensor:
        """100 × cosine of images x (N, d) and mixed prototypes -> (N, C) float64."""
        prototypes = l2_normalize(mixture * self.aligned + (1 - mixture) * self.texts)
        return 100 * exact_matmul(l2_normalize(x), prototypes.to(x.device))

    def logits(self, x: Tensor, clip_logits: Tensor, point: Point) -> Tensor:
        """Mixed prototypes of weight β plus α times the discriminant -> (N, C) float64. CLIP's
        logits are the mixture 0.
        """
        assert point.alpha is not None
        assert point.beta is not None
        return self.mixed(x, point.beta) + point.alpha * self.gaussian.scores(x)

    def search(self, x: Tensor, clip_logits: Tensor, labels: Tensor) -> Point:
        """The (α, β) with the best accuracy on images x (N, d): the smallest β of the best, then
        the smallest α.
        """
        best, most = Point(0.0, 0.0), -1
        for mixture in MIXTURES:
            mixed = self.mixed(x, mixture)
            # 0 leaves the discriminant out
            alphas = (0.0, *ALPHAS)
            alpha = best_weight(self.gaussian.scores, alphas, x, mixed, labels).alpha
            assert alpha is not None
            point = Point(alpha, mixture)
            predictions = self.logits(x, clip_logits, point).argmax(dim=1).cpu()
            right = int((predictions == labels.cpu()).sum())
            if right > most:
                best, most = point, right
        return best


def fit(inputs: FewShotInputs) -> Fitted:
    """Fit on the class texts and the shots, for the discriminant on views one by one if kept."""
    views = inputs.cache if inputs.views is None else inputs.views
    return MixedPrototypes.fit(inputs.cache, views, inputs.labels, inputs.weights)
