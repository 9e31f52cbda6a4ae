"""The CODER-Adapter on raw features: what is left of it without CODER."""

from __future__ import annotations

import torch
from torch import Tensor

from .few_shot import Cache, FewShotInputs, Fitted
from .tip_adapter import TipAdapter

LABEL = "Adapter, raw features"
ABOUT = "CODER-Adapter's formula on image features: what the cache alone gives"
ORDER = 10
LINE = ("vermillion", "--", "s")
ABLATION = True
PUBLISHED_INITIAL = True


class RawAdapter(TipAdapter):
    """A TipAdapter whose affinity is min-max scaled per image, as in the CODER-Adapter."""

    def affinity(self, x: Tensor) -> Tensor:
        """Cosine of images x (N, d) and shots, min-max scaled per row -> (N, K) in [0, 1]."""
        cosine = super().affinity(x)
        low, high = cosine.aminmax(dim=1, keepdim=True)
        # one shot, or shots that are equal up to rounding
        constant = high - low <= 8 * torch.finfo(cosine.dtype).eps
        return torch.where(constant, 1.0, (cosine - low) / (high - low))


def fit(inputs: FewShotInputs) -> Fitted:
    """Fit, with the CODER-Adapter's search."""
    return Cache(
        RawAdapter.fit(inputs.cache, inputs.labels, n_classes=inputs.n_classes), inputs.grid
    )
