"""Zero-shot classifiers that CODER is compared with, on the same features: CLIP and descriptions.

Pure functions on features; torch tensors, computed in float64. Features need not be unit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import UserError
from ..foundation.reproducible import exact_matmul, on_grid
from ..neighbors import l2_normalize


def class_weights(
    text_features: Tensor,
    class_index: Tensor,
    n_classes: int,
    fallback: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Zero-shot weights: the unit mean of the unit prompt features of each class.

    text_features: (M, d); class_index: (M,) the class of each -> (C, d), unit rows. Several prompts
    per class are CLIP's prompt ensemble (Radford et al. 2021, section 3.1.4), one is plain CLIP,
    sentences about what the class looks like are CuPL (Pratt et al., ICCV 2023). A class without a
    text uses its texts in ``fallback``, features
    (n, d) and class of each (n,): its name. UserError for a class with neither.
    """
    return l2_normalize(
        _class_means(text_features, class_index, n_classes, fallback), "class weights"
    )


def clip_scores(x: Tensor, weights: Tensor) -> Tensor:
    """CLIP's logits, 100 × cosine of images x (N, d) and class weights (C, d): (N, C)."""
    return 100 * exact_matmul(l2_normalize(x), l2_normalize(weights, "class weights"))


def description_scores(
    x: Tensor,
    text_features: Tensor,
    class_index: Tensor,
    n_classes: int,
    fallback: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """By description: 100 × the mean cosine with the descriptions of each class -> (N, C).

    x: (N, d); text_features: (M, d) the attribute texts, class_index: (M,) the class of each. The
    mean of cosines is the inner product with one mean vector per class, without an N × M matrix. A
    class without descriptions uses its texts in ``fallback``, features (n, d) and class of each
    (n,): its name. UserError for a class with neither.
    Menon and Vondrick, "Visual Classification via Description from Large Language Models", ICLR
    2023.
    """
    return mean_scores(x, _class_means(text_features, class_index, n_classes, fallback))


def mean_scores(x: Tensor, means: Tensor) -> Tensor:
    """100 × mean cosine of images x (N, d) and the texts of each class, from the means of these (C,
    d): (N, C).
    """
    return 100 * exact_matmul(l2_normalize(x), on_grid(means))


def _class_means(
    features: Tensor, class_index: Tensor, n_classes: int, fallback: tuple[Tensor, Tensor] | None
) -> Tensor:
    """Mean unit text feature (C, d) of each class; of its fallback texts for a class without texts.

    UserError for a class with neither.
    """
    mean, counts = _means(features, class_index, n_classes)
    if fallback is not None:
        # the fallback counts only for classes without a text of their own
        names, n_names = _means(*fallback, n_classes)
        mean = torch.where(counts[:, None] == 0, names, mean)
        counts = counts + n_names
    if (counts == 0).any():
        raise UserError(
            f"class {int((counts == 0).nonzero()[0])} has no text; give at least its name"
        )
    return mean


def _means(features: Tensor, class_index: Tensor, n_classes: int) -> tuple[Tensor, Tensor]:
    """Mean unit feature of each class's texts, 0 for a class without texts: (C, d).

    Also the number of texts of each class: (C,).
    """
    texts = l2_normalize(features, "text features")
    counts = torch.bincount(class_index, minlength=n_classes)
    sums = texts.new_zeros(n_classes, texts.shape[1]).index_add_(0, class_index, texts)
    return sums / counts.clamp_min(1)[:, None], counts
