"""The few-shot methods that are compared: how each is fitted to a seed's shots, searched and asked.

A new one is an entry here, with the module that computes it, and its name in `methods`: configuration, phase, table
and figure find it there. Each is fitted and searched by itself, so that one more changes no other's numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .adapter import CacheModel, CoderAdapter, Span, cache_logits, search
from .baselines.ape import DEFAULT, PUBLISHED, Ape
from .baselines.gda import Gda
from .baselines.grids import Point
from .baselines.plain_coder import PlainCoder
from .baselines.tip_adapter import RawAdapter, TipAdapter, published_grid
from .baselines.tip_x import TipX
from .neighbors import ADAPTER_KINDS


@dataclass(frozen=True)
class Given:
    """What a method may use: one seed's shots, CLIP's weights, texts of a setting, and validation images.

    cache: (K, d) raw shot features, the mean over augmented views; views: (K, E, d) unit, each by itself, None where
    no method needs them; labels: (K,). weights: (C, d). texts: kind -> features (M, d) and class of each (M,).
    validation: (V, d), for ranges and never for labels. grid: betas, alphas and rounds that the CODER-Adapter and its
    ablations search; the others have their authors'.
    """

    dataset: str
    seed: int
    cache: Tensor
    views: Tensor | None
    labels: Tensor
    weights: Tensor
    texts: Mapping[str, tuple[Tensor, Tensor]]
    validation: Tensor
    grid: tuple[Span, Span, int]

    @property
    def n_classes(self) -> int:
        return len(self.weights)

    def described(self, *kinds: str) -> Tensor:
        """(M, d) features of the texts of these kinds."""
        return torch.cat([self.texts[kind][0] for kind in kinds])


class Fitted(Protocol):
    """A method with a seed's shots. x: (N, d); clip_logits: (N, C), 100 × cosine; labels: (N,)."""

    def search(self, x: Tensor, clip_logits: Tensor, labels: Tensor) -> Point: ...

    def logits(self, x: Tensor, clip_logits: Tensor, point: Point) -> Tensor: ...


@dataclass(frozen=True)
class Cache:
    """A cache model with the search of (α, β): betas, alphas, rounds."""

    model: CacheModel
    grid: tuple[Span, Span, int]

    def search(self, x: Tensor, clip_logits: Tensor, labels: Tensor) -> Point:
        betas, alphas, rounds = self.grid
        best = search(self.model, x, clip_logits, labels, betas=betas, alphas=alphas, rounds=rounds)
        return Point(best.alpha, best.beta)

    def logits(self, x: Tensor, clip_logits: Tensor, point: Point) -> Tensor:
        assert point.alpha is not None
        assert point.beta is not None
        return cache_logits(self.model, x, clip_logits, alpha=point.alpha, beta=point.beta)


@dataclass(frozen=True)
class Method:
    """fit: from what is given. kinds: of the texts it uses; where a setting changes none of them, it is fitted once.

    published_initial: whether it is the CODER-Adapter or an ablation of it, for which CODER's code has initial (α, β)
    a data set: the published settings take the better of these and the searched ones. Other methods are searched on
    the validation split in every setting.
    """

    fit: Callable[[Given], Fitted]
    kinds: tuple[str, ...] = ()
    published_initial: bool = False


def _tip_adapter(g: Given) -> Fitted:
    return Cache(TipAdapter.fit(g.cache, g.labels, n_classes=g.n_classes), published_grid(g.dataset))


def _raw_adapter(g: Given) -> Fitted:
    return Cache(RawAdapter.fit(g.cache, g.labels, n_classes=g.n_classes), g.grid)


def _tip_x(g: Given) -> Fitted:
    return TipX.fit(g.cache, g.labels, g.weights, g.validation)


def _ape(g: Given) -> Fitted:
    return Ape.fit(g.cache, g.labels, g.weights, PUBLISHED.get(g.dataset, DEFAULT))


def _gda(g: Given) -> Fitted:
    return Gda.fit(g.cache if g.views is None else g.views, g.labels, n_classes=g.n_classes)


def _coder(g: Given, texts: Tensor) -> Fitted:
    return Cache(CoderAdapter.fit(g.cache, g.labels, texts, n_classes=g.n_classes), g.grid)


def _coder_adapter(g: Given) -> Fitted:
    return _coder(g, g.described(*ADAPTER_KINDS))


def _coder_synonyms(g: Given) -> Fitted:
    return _coder(g, g.described(*ADAPTER_KINDS, "synonym"))


def _coder_no_minmax(g: Given) -> Fitted:
    texts = g.described(*ADAPTER_KINDS)
    return Cache(PlainCoder.fit(g.cache, g.labels, texts, n_classes=g.n_classes), g.grid)


def _coder_half_texts(g: Given) -> Fitted:
    name, *others = ADAPTER_KINDS
    return _coder(g, torch.cat([g.texts[name][0], *(half(*g.texts[kind], g.seed) for kind in others)]))


def half(features: Tensor, class_index: Tensor, seed: int) -> Tensor:
    """Half of every class's texts, rounded up, drawn by the seed, in their order: (M, d), (M,) -> (m, d)."""
    owner = class_index.numpy()
    kept = []
    for c in np.unique(owner):
        rows = np.flatnonzero(owner == c)
        kept += np.random.default_rng([seed, int(c)]).permutation(rows)[: -(-len(rows) // 2)].tolist()
    return features[torch.tensor(sorted(kept), dtype=torch.int64)]


METHODS = {
    "tip_adapter": Method(_tip_adapter),
    "tip_x": Method(_tip_x),
    "ape": Method(_ape),
    "gda": Method(_gda),
    "coder_adapter": Method(_coder_adapter, ADAPTER_KINDS, published_initial=True),
    "raw_adapter": Method(_raw_adapter, published_initial=True),
    "coder_no_minmax": Method(_coder_no_minmax, ADAPTER_KINDS, published_initial=True),
    "coder_synonyms": Method(_coder_synonyms, (*ADAPTER_KINDS, "synonym"), published_initial=True),
    "coder_half_texts": Method(_coder_half_texts, ADAPTER_KINDS, published_initial=True),
}
