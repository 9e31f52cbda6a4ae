"""TIP-X without CLIP's logits.

It tells how alike image and shot are, by features and by CLIP's predictions for them.

The counterpart of a classifier of image features alone: CLIP's logits help whoever has them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..adapter import grid
from .few_shot import FewShotInputs, Fitted
from .grid_search import Point
from .tip_x import BETAS, TipX
from .tip_x import fit as fit_tip_x

LABEL = "TIP-X without CLIP's logits"
ABOUT = "TIP-X's affinities of image and shot alone, without zero-shot CLIP"
ORDER = 52
ABLATION = True
# Without CLIP's logits only γ / α matters. The published grids span 0.002 to 300; powers of two and
# the middle between them are exact on every processor. Every tenth of the published β: the search
# is one of the longest of all methods.
ONE = np.array([1.0])
RATIOS = np.array(sorted(m * 2.0**k for k in range(-9, 9) for m in (1.0, 1.5)))
SOME_BETAS = grid(BETAS[0], BETAS[1], BETAS[2] // 10)


@dataclass(frozen=True)
class TipXAlone:
    """TIP-X's cache with logits of 0 in place of CLIP's."""

    model: TipX

    def search(self, x: Tensor, clip_logits: Tensor, labels: Tensor) -> Point:
        """The (β, γ / α) with the best accuracy."""
        zeros = torch.zeros_like(clip_logits)
        # with α = 1, γ is the ratio γ / α
        return self.model.search(x, zeros, labels, (ONE, SOME_BETAS, RATIOS))

    def logits(self, x: Tensor, clip_logits: Tensor, point: Point) -> Tensor:
        """exp(−β (1 − A)) · L + γ · (−ψ(M)) · L of images x (N, d) -> (N, C) float64.

        CLIP's logits are not used.
        """
        return self.model.logits(x, torch.zeros_like(clip_logits), point)


def fit(inputs: FewShotInputs) -> Fitted:
    """Fit as TIP-X."""
    model = fit_tip_x(inputs)
    assert isinstance(model, TipX)
    return TipXAlone(model)
