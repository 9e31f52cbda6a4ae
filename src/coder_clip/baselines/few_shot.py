"""The interface of few-shot methods: their input, what a fitted one can do, and how to find one by
name.

Each method is fitted and searched alone, so that adding one changes no other's numbers.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from ..adapter import CacheModel, Span, cache_logits, search
from .grid_search import Point


class OfTexts:
    """Matrices that depend on texts alone, such as a Gram matrix: made once for all methods and
    seeds with the same texts.
    """

    def __init__(self) -> None:
        self._made: list[tuple[Callable[[Tensor], Tensor], Tensor, Tensor]] = []

    def once(self, make: Callable[[Tensor], Tensor], texts: Tensor) -> Tensor:
        """``make(texts)``, or what it gave for equal texts (M, d) before."""
        for maker, known, matrix in self._made:
            if maker is make and torch.equal(known, texts):
                return matrix
        self._made.append((make, texts, make(texts)))
        return self._made[-1][2]


@dataclass(frozen=True)
class FewShotInputs:
    """The input of a method: one seed's shots, CLIP's class weights, texts of a setting and
    validation images.

    cache: (K, d) raw shot features, the mean over augmented views; views: (K, E, d) unit, one by
    one, None if no method needs them; labels: (K,). weights: (C, d). texts: kind -> features (M, d)
    and the class of each (M,).
    imagenet_names: (M, d) unit features of ImageNet's class names in a sentence, whatever the data
    set.
    validation: (V, d) features of validation images, without labels; TIP-X measures a range on
    them.
    grid: betas, alphas and rounds that the CODER-Adapter and its ablations search; the other
    methods search their authors' grids.
    of_texts: matrices of texts, which seeds and methods share.
    """

    dataset: str
    seed: int
    cache: Tensor
    views: Tensor | None
    labels: Tensor
    weights: Tensor
    texts: Mapping[str, tuple[Tensor, Tensor]]
    imagenet_names: Tensor
    validation: Tensor
    grid: tuple[Span, Span, int]
    of_texts: OfTexts = field(default_factory=OfTexts, compare=False)

    @property
    def n_classes(self) -> int:
        return len(self.weights)

    def described(self, *kinds: str) -> Tensor:
        """Features (M, d) of the texts of these kinds."""
        return torch.cat([self.texts[kind][0] for kind in kinds])


class Fitted(Protocol):
    """A method fitted to a seed's shots.

    x: (N, d) images; clip_logits: (N, C), 100 × cosine; labels: (N,).
    """

    def search(self, x: Tensor, clip_logits: Tensor, labels: Tensor) -> Point:
        """The hyper-parameters with the best accuracy on these images."""
        ...

    def logits(self, x: Tensor, clip_logits: Tensor, point: Point) -> Tensor:
        """Logits (N, C) with these hyper-parameters; the arg max is the prediction."""
        ...


@dataclass(frozen=True)
class Cache:
    """A cache model with its search of (α, β). grid: betas, alphas and rounds."""

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
class FewShotMethod:
    """The definitions in a method's module: the function ``fit``, and up to three constants, by
    default no kinds, True and False::

        KINDS               kinds of texts that it uses; it is fitted once for all settings that
                            do not change them
        CLASS_TEXTS         False for a method that uses neither texts of the classes nor CLIP's
                            logits
        PUBLISHED_INITIAL   True for the CODER-Adapter and its ablations, for which CODER's code
                            has an initial (α, β) per data set: the published settings take the
                            better of this and the searched one. Other methods are searched on
                            the validation split in every setting.
    """

    fit: Callable[[FewShotInputs], Fitted]
    kinds: tuple[str, ...] = ()
    published_initial: bool = False
    class_texts: bool = True


def method(name: str) -> FewShotMethod:
    """The method of the module ``name``.

    Imported only here, so that a phase depends only on the methods that it runs.
    """
    module = importlib.import_module(f".{name}", __package__)
    return FewShotMethod(
        module.fit,
        getattr(module, "KINDS", ()),
        getattr(module, "PUBLISHED_INITIAL", False),
        getattr(module, "CLASS_TEXTS", True),
    )
