"""The CODER-Adapter's cache alone: CODERs of images and shots, without CLIP's logits.

The counterpart of a classifier of image features alone: CLIP's logits help whoever has them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..adapter import CacheModel, Span, cache_logits, search
from ..neighbors import ADAPTER_KINDS
from .coder_adapter import fit as fit_adapter
from .few_shot import Cache, FewShotInputs, Fitted
from .grid_search import Point

LABEL = "CODER-Adapter without CLIP's logits"
ABOUT = "the CODER-Adapter's cache alone: what shots and texts give without zero-shot CLIP"
ORDER = 50
ABLATION = True
CLASS_TEXTS = False
KINDS = ADAPTER_KINDS
ANY = (1.0, 1.0, 1)  # without CLIP's logits α scales all logits, so one value is enough


@dataclass(frozen=True)
class CacheAlone:
    """A cache model and the search of its β."""

    model: CacheModel
    betas: Span
    rounds: int

    def search(self, x: Tensor, clip_logits: Tensor, labels: Tensor) -> Point:
        """The β with the best accuracy, searched as for the CODER-Adapter."""
        zeros = torch.zeros_like(clip_logits)
        best = search(
            self.model, x, zeros, labels, betas=self.betas, alphas=ANY, rounds=self.rounds
        )
        return Point(beta=best.beta)

    def logits(self, x: Tensor, clip_logits: Tensor, point: Point) -> Tensor:
        """Votes of the cache for images x (N, d) -> (N, C) float64. CLIP's logits are not used."""
        assert point.beta is not None
        return cache_logits(
            self.model, x, torch.zeros_like(clip_logits), alpha=1.0, beta=point.beta
        )


def fit(inputs: FewShotInputs) -> Fitted:
    """Fit as the CODER-Adapter, on the same texts."""
    adapter = fit_adapter(inputs)
    assert isinstance(adapter, Cache)
    betas, _, rounds = adapter.grid
    return CacheAlone(adapter.model, betas, rounds)
