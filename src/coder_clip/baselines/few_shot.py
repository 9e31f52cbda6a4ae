"""What a few-shot method is given, what it does, and how the phase gets one by name.

Each is fitted and searched by itself, so that one more changes no other's numbers.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ..adapter import CacheModel, Span, cache_logits, search
from .grids import Point


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
    """What a method's module defines: the function ``fit``, and, where they are not the defaults here, as constants::

    KINDS               of the texts it uses; where a setting changes none of them, it is fitted once
    PUBLISHED_INITIAL   whether it is the CODER-Adapter or an ablation of it, for which CODER's code has initial
                        (α, β) for each data set: the published settings take the better of these and the
                        searched ones. Other methods are searched on the validation split in every setting.
    """

    fit: Callable[[Given], Fitted]
    kinds: tuple[str, ...] = ()
    published_initial: bool = False


def method(name: str) -> Method:
    """The method of the module ``name``, imported now: a phase depends on the methods it runs, and on no other."""
    module = importlib.import_module(f".{name}", __package__)
    return Method(module.fit, getattr(module, "KINDS", ()), getattr(module, "PUBLISHED_INITIAL", False))
