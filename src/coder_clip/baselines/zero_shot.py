"""Zero-shot classifiers that CODER is compared with, on the same features: CLIP and descriptions.

Pure functions on features; torch tensors, computed in float64. Features need not be unit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import UserError
from ..foundation.exact import inner
from ..neighbors import unit


def class_weights(
    text_features: Tensor,
    class_index: Tensor,
    n_classes: int,
    fallback: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Zero-shot weights: the unit mean of the unit prompt features of each class.

    text_features: (M, d); class_index: (M,) the class of each -> (C, d), unit rows. Several prompts per class are
    CLIP's prompt ensemble (Radford et al. 2021, section 3.1.4), one is plain CLIP, sentences about what the class
    looks like are CuPL (Pratt et al., ICCV 2023). A class without a text uses its texts in ``fallback``, features
    (n, d) and class of each (n,): its name. UserError for a class with neither.
    """
    mean, counts = _class_means(text_features, class_index, n_classes, fallback)
    if (counts == 0).any():
        raise UserError(f"class {int((counts == 0).nonzero()[0])} has no text; give at least its name")
    return unit(mean, "class weights")


def clip_scores(x: Tensor, weights: Tensor) -> Tensor:
    """CLIP's logits, 100 × cosine of images x (N, d) and class weights (C, d): (N, C)."""
    return 100 * inner(unit(x), unit(weights, "class weights"))


def description_scores(
    x: Tensor,
    text_features: Tensor,
    class_index: Tensor,
    n_classes: int,
    fallback: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Classification by description: 100 × mean cosine with the descriptions of each class -> (N, C).

    x: (N, d); text_features: (M, d) the attribute texts, class_index: (M,) the class of each. The mean of
    cosines is the inner product with one mean vector per class, without an N × M matrix. A class without
    descriptions uses its texts in ``fallback``, features (n, d) and class of each (n,): its name. UserError for a
    class with neither.
    Menon and Vondrick, "Visual Classification via Description from Large Language Models", ICLR 2023.
    """
    mean, counts = _class_means(text_features, class_index, n_classes, fallback)
    if (counts == 0).any():
        raise UserError(f"class {int((counts == 0).nonzero()[0])} has no description; give at least its name")
    return mean_scores(x, mean)


def mean_scores(x: Tensor, means: Tensor) -> Tensor:
    """100 × mean cosine of images x (N, d) and the texts of each class, from their means (C, d): (N, C)."""
    return 100 * inner(unit(x), means)


def _class_means(
    features: Tensor, class_index: Tensor, n_classes: int, fallback: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Mean unit feature of each class, else of its fallback, else 0: (C, d); and the number of both: (C,)."""
    texts = unit(features, "text features")
    counts = torch.bincount(class_index, minlength=n_classes)
    sums = texts.new_zeros(n_classes, texts.shape[1]).index_add_(0, class_index, texts)
    means = sums / counts.clamp_min(1)[:, None]
    if fallback is None:
        return means, counts
    names, n_names = _class_means(*fallback, n_classes)
    return torch.where(counts[:, None] == 0, names, means), counts + n_names
