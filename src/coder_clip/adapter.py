"""CODER-Adapter: few-shot classification without training, and its hyper-parameter search.

    logits = clip_logits + α · exp(−β (1 − A)) · onehot(labels)

where A is the affinity of images and shots. The affinity needs no explicit CODER and the search no
loop over its 75,000 points; docs/method.md and docs/search.md derive this. Any cache of shots with
an affinity can be searched (Tip-Adapter has this form): `CacheModel`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from .errors import UserError
from .neighbors import compute_dtype, gram, l2_normalize
from .search.cache_model import CacheModel, cache_logits, checked_labels
from .search.rounds import Round, SearchResult, Span, grid, search

__all__ = [
    "CacheModel",
    "CoderAdapter",
    "Round",
    "SearchResult",
    "Span",
    "cache_logits",
    "grid",
    "search",
    "unit_gram",
]


def unit_gram(texts: Tensor) -> Tensor:
    """G = TᵀT of texts T (M, d), each scaled to length 1: (d, d) float64 on the CPU."""
    return gram(l2_normalize(texts, "text features"))


@dataclass(frozen=True)
class CoderAdapter:
    """A cache of few-shot images that compares CODERs. Made by `fit`.

    weights: (K, d), centred; labels: (K,) int64; n_classes: C; size: length of the longest weight
    before centring."""

    weights: Tensor
    labels: Tensor
    n_classes: int
    size: float

    @classmethod
    def fit(
        cls,
        cache: Tensor,
        labels: Tensor,
        texts: Tensor,
        n_classes: int,
        known: Tensor | None = None,
    ) -> Self:
        """Build the cache from shots; nothing is trained.

        cache: raw features of K shots (K, d), or (E, K, d) of E augmented views, which are averaged
        and then scaled to length 1. labels: (K,); classes may have unequal or no shots. texts:
        (M, d) name, attribute and analogous texts, unit or not. known: their `unit_gram`, if
        it was computed before; default: it is computed here.

            W = G·Y / ‖T·Y‖, minus its mean column        G = TᵀT, Y unit keys as columns

        x·W is the cosine of CODER(x) and each key's CODER, up to a positive factor and a shift per
        row; the min-max scaling of `affinity` cancels both (paper, CODER-Adapter). UserError
        if shapes or labels do not fit, or for NaN or infinity.
        """
        dtype = compute_dtype(cache, texts)
        if cache.ndim == 3:
            # view by view, so that a half-precision cache is not converted to float64 at once
            keys = sum(view.double() for view in cache) / len(cache)
        else:
            keys = cache.double()
        assert isinstance(keys, Tensor)
        if not len(texts):
            raise UserError("no text; an adapter needs at least one")
        # only inner products of CODERs are needed: G (d, d) stands for all M texts
        of_texts = unit_gram(texts) if known is None else known
        keys = l2_normalize(keys, "shot features", texts.shape[1])
        if not len(keys):
            raise UserError("no shot; an adapter needs at least one")
        labels = checked_labels(labels, len(keys), n_classes, "shot labels")
        product = keys @ of_texts.to(keys.device)
        squares = (product * keys).sum(dim=1, keepdim=True)  # yᵀGy = ‖T y‖²
        # a key that no text sees has a zero CODER, whose cosine is 0
        product = torch.where(squares > 0, product / squares.clamp_min(1e-300).sqrt(), 0.0)
        # min-max cancels this shift; without it float32 keeps the digits in which shots differ
        weights = product - product.mean(dim=0)
        return cls(weights.to(dtype), labels, n_classes, float(product.norm(dim=1).max()))

    def affinity(self, x: Tensor) -> Tensor:
        """Cosine of the CODERs of x (N, d) and shots, min-max scaled per row -> (N, K) in [0, 1].

        Float32, or float64 if the features are. A constant row (one shot, equal shots) becomes
        ones.
        """
        dtype = compute_dtype(x, self.weights)
        weights = self.weights.to(x.device).double()
        cosine = l2_normalize(x, width=self.weights.shape[1]) @ weights.T
        low, high = cosine.aminmax(dim=1, keepdim=True)
        # Largest range that rounding can give a constant row: in the product, and in centring equal
        # weights.
        rounding = 8 * torch.finfo(self.weights.dtype).eps * float(weights.norm(dim=1).max())
        constant = high - low <= rounding + 1e-12 * self.size
        return torch.where(constant, 1.0, cosine.sub_(low).div_(high - low)).to(dtype)

    def logits(self, x: Tensor, clip_logits: Tensor, *, alpha: float, beta: float) -> Tensor:
        """Logits of images: x (N, d), clip_logits (N, C) -> (N, C) float64.

        See `cache_logits`.
        """
        return cache_logits(self, x, clip_logits, alpha=alpha, beta=beta)
