"""The CODER-Adapter without its min-max scaling: the plain cosine of CODERs (ablation)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ..neighbors import ADAPTER_KINDS, compute_dtype, gram, l2_normalize
from .few_shot import Cache, FewShotInputs, Fitted
from .tip_adapter import unit_keys

LABEL = "CODER-Adapter, no min-max"
ABOUT = "CODER-Adapter with the cosine as it is instead of its min-max scaling"
ORDER = 20
LINE = ("green", "-.", "^")
ABLATION = True
KINDS = ADAPTER_KINDS
PUBLISHED_INITIAL = True


@dataclass(frozen=True)
class PlainCoder:
    """A cache of shots that compares CODERs by their plain cosine. Made by `fit`.

    weights: (K, d) float64; gram: (d, d) float64, TᵀT; labels: (K,); n_classes: C.
    """

    weights: Tensor
    gram: Tensor
    labels: Tensor
    n_classes: int

    @classmethod
    def fit(cls, cache: Tensor, labels: Tensor, texts: Tensor, n_classes: int) -> Self:
        """Build the cache, as `coder_clip.adapter.CoderAdapter.fit`."""
        keys = unit_keys(cache).double()
        texts_gram = gram(l2_normalize(texts, "text features")).to(keys.device)
        # yᵀGy is the squared length of CODER(y), so no CODER is written out
        product = keys @ texts_gram
        length = (product * keys).sum(dim=1, keepdim=True).clamp_min(0).sqrt()
        # a key that no text sees has a zero CODER, whose cosine is 0
        weights = torch.where(length > 0, product / length.clamp_min(1e-150), 0.0)
        return cls(weights, texts_gram, labels.to(torch.int64), n_classes)

    def affinity(self, x: Tensor) -> Tensor:
        """CODER(x)·CODER(y) / ‖CODER(x)‖‖CODER(y)‖ of images x (N, d) and shots y: (N, K) in [−1,
        1].

        Computed as x·G·y / √(x·G·x · y·G·y), G = TᵀT, in float64: CODERs point nearly the same way
        and differ in the last digits.
        """
        dtype = compute_dtype(x)
        x = l2_normalize(x, width=self.weights.shape[1]).double()
        length = ((x @ self.gram) * x).sum(dim=1, keepdim=True).clamp_min(0).sqrt()
        cosine = torch.where(length > 0, x @ self.weights.T / length.clamp_min(1e-150), 0.0)
        return cosine if dtype == torch.float64 else cosine.float()


def fit(inputs: FewShotInputs) -> Fitted:
    """Fit, with the CODER-Adapter's search."""
    texts = inputs.described(*KINDS)
    return Cache(
        PlainCoder.fit(inputs.cache, inputs.labels, texts, n_classes=inputs.n_classes), inputs.grid
    )
