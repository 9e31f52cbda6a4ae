"""The CODER-Adapter (paper, section 3.5); `coder_clip.adapter` is the method itself."""

from __future__ import annotations

from torch import Tensor

from ..adapter import CoderAdapter, unit_gram
from ..neighbors import ADAPTER_KINDS
from .few_shot import Cache, FewShotInputs, Fitted

LABEL = "CODER-Adapter"
ABOUT = "a cache of the shots' CODERs, no training"
ORDER = 50
LINE = ("blue", "-", "o")
KINDS = ADAPTER_KINDS
PUBLISHED_INITIAL = True


def fit(inputs: FewShotInputs) -> Fitted:
    """Fit on the texts of the method's kinds (KINDS)."""
    texts = inputs.described(*KINDS)
    return fit_texts(inputs, texts, inputs.of_texts.once(unit_gram, texts))


def fit_texts(inputs: FewShotInputs, texts: Tensor, known: Tensor | None = None) -> Fitted:
    """The CODER-Adapter on texts (M, d). known: their Gram matrix, if other seeds share it."""
    adapter = CoderAdapter.fit(inputs.cache, inputs.labels, texts, inputs.n_classes, known)
    return Cache(adapter, inputs.grid)
