"""The CODER-Adapter (paper, section 3.5); `coder_clip.adapter` is the method itself."""

from __future__ import annotations

from torch import Tensor

from ..adapter import CoderAdapter
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
    return fit_texts(inputs, inputs.described(*KINDS))


def fit_texts(inputs: FewShotInputs, texts: Tensor) -> Fitted:
    """The CODER-Adapter on texts (M, d)."""
    return Cache(
        CoderAdapter.fit(inputs.cache, inputs.labels, texts, n_classes=inputs.n_classes),
        inputs.grid,
    )
