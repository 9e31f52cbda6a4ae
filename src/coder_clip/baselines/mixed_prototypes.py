"""Text-aligned mixed prototypes with a linear discriminant of the images, after Goswami et al.

Goswami et al., "Cross-Modal Prototype Alignment and Mixing for Training-Free Few-Shot
Classification", arXiv 2603.24528: the class means of the shots are projected on the principal
directions of the class texts and mixed with the texts, which shrinks noisy means towards the texts;
the mixed classifier is combined with a linear discriminant of the images. Built from the abstract.
Chosen here: the directions are those of `principal_axes`, the projected mean and the text
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
from .grid_search import Point
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
    """texts: (C, d) class weights.

    aligned: (C, d) projected class means, the text for a class without a shot; both unit, float64.
    gaussian: the discriminant.
    """

    texts: Tensor
    aligned: Tensor
    gaussian: Gda

    @classmethod
    def fit(cls, cache: Tensor, views: Tensor, labels: Tensor, weights: Tensor) -> MixedPrototypes:
        """Fit on shots.

        cache: raw shot features (K, d) or (E, K, d); views: as in `Gda.fit`; labels: (K,);
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

    def logits(self, x: Tensor, clip_logits: Tensor, point: Point) -> Tensor:
        """100 × cosine with mixed prototypes (weight β) + α · discriminant: (N, C) float64.

        CLIP's logits are the mixture 0.
        """
        assert point.alpha is not None
        assert point.beta is not None
        to_texts, to_images = self._products(x)
        return self._mixed(to_texts, to_images, point.beta) + point.alpha * self.gaussian.scores(x)

    def search(self, x: Tensor, clip_logits: Tensor, labels: Tensor) -> Point:
        """The (α, β) with the best accuracy on images x (N, d).

        Of several the smallest β of the best, then the smallest α.
        """
        to_texts, to_images = self._products(x)
        scores, truth = self.gaussian.scores(x), labels.to(x.device)
        best, most = Point(0.0, 0.0), -1
        for beta in MIXTURES:
            mixed = self._mixed(to_texts, to_images, beta)
            # 0 leaves the discriminant out
            for alpha in (0.0, *ALPHAS):
                right = int(((mixed + alpha * scores).argmax(dim=1) == truth).sum())
                if right > most:
                    best, most = Point(alpha, beta), right
        return best

    def _products(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines of images x (N, d) with texts and with projected means: twice (N, C)."""
        unit = l2_normalize(x, width=self.texts.shape[1])
        to_texts = exact_matmul(unit, self.texts.to(x.device))
        return to_texts, exact_matmul(unit, self.aligned.to(x.device))

    def _mixed(self, to_texts: Tensor, to_images: Tensor, beta: float) -> Tensor:
        """100 × cosine with β · projected mean + (1 − β) · text, from the cosines with both."""
        # the mixture's length, from the angle between its two unit vectors
        between = (self.texts * self.aligned).sum(dim=1)
        square = beta**2 + (1 - beta) ** 2 + 2 * beta * (1 - beta) * between
        length = square.clamp_min(1e-12).sqrt().to(to_texts.device)
        return 100 * (beta * to_images + (1 - beta) * to_texts) / length


def fit(inputs: FewShotInputs) -> Fitted:
    """Fit on the class texts and the shots, for the discriminant on views one by one if kept."""
    views = inputs.cache if inputs.views is None else inputs.views
    return MixedPrototypes.fit(inputs.cache, views, inputs.labels, inputs.weights)
