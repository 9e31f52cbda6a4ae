"""Tip-Adapter without training.

Zhang et al., "Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification", ECCV 2022;
main.py and utils.py of gaopengcuhk/Tip-Adapter. Torch tensors, computed in float64. Features need
not be unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from ..adapter import Span
from ..neighbors import compute_dtype, l2_normalize
from .few_shot import Cache, FewShotInputs, Fitted

LABEL = "Tip-Adapter"
ABOUT = "cache of image features (Zhang et al. 2022), no training"
ORDER = 10
LINE = ("green", "-.", "^")

# configs/*.yaml of gaopengcuhk/Tip-Adapter (search_scale): the ends of its search of β and of α,
# per data set. Both start at 0.1, in 200 and 20 steps (search_step); utils.py, search_hp goes
# through them once, β outer.
PUBLISHED = {
    "caltech101": (12, 5),
    "dtd": (13, 13),
    "eurosat": (12, 10),
    "fgvc_aircraft": (30, 30),
    "food101": (10, 10),
    "imagenet": (7, 3),
    "oxford_flowers": (50, 50),
    "oxford_pets": (7, 3),
    "stanford_cars": (20, 10),
    "sun397": (12, 10),
    "ucf101": (7, 3),
}
DEFAULT = (7, 3)  # the most frequent pair


def published_grid(dataset: str) -> tuple[Span, Span, int]:
    """Tip-Adapter's grid on a data set: (from, to, steps) of β and of α, and number of rounds."""
    beta, alpha = PUBLISHED.get(dataset, DEFAULT)
    return (0.1, beta, 200), (0.1, alpha, 20), 1


def unit_keys(cache: Tensor) -> Tensor:
    """Shot features as unit rows (K, d), from raw ones (K, d), or (E, K, d) of E augmented views,
    which are averaged.
    """
    features = cache.to(compute_dtype(cache))
    return l2_normalize(features.mean(dim=0) if features.ndim == 3 else features, "shot features")


@dataclass(frozen=True)
class TipAdapter:
    """A cache of few-shot features as a classifier.

    keys: (K, d) unit; labels: (K,) int64; n_classes: C.
    """

    keys: Tensor
    labels: Tensor
    n_classes: int

    @classmethod
    def fit(cls, cache: Tensor, labels: Tensor, *, n_classes: int) -> Self:
        """Build the cache from shots as in `unit_keys`; labels: (K,)."""
        return cls(unit_keys(cache), labels.to(torch.int64), n_classes)

    def affinity(self, x: Tensor) -> Tensor:
        """Cosine of images x (N, d) and shots -> (N, K) in [-1, 1]."""
        return (l2_normalize(x, width=self.keys.shape[1]) @ self.keys.T).to(compute_dtype(x))


def fit(inputs: FewShotInputs) -> Fitted:
    """Fit, with its authors' search."""
    model = TipAdapter.fit(inputs.cache, inputs.labels, n_classes=inputs.n_classes)
    return Cache(model, published_grid(inputs.dataset))
