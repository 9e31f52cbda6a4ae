"""The cache of raw image features alone, without CLIP's logits.

It tells what shots give without any text.
"""

from __future__ import annotations

from .coder_without_clip import CacheAlone
from .few_shot import Cache, FewShotInputs, Fitted
from .raw_adapter import fit as fit_adapter

LABEL = "Adapter, raw features, without CLIP's logits"
ABOUT = "the CODER-Adapter's formula on image features and shots alone: no text"
ORDER = 51
ABLATION = True
CLASS_TEXTS = False


def fit(inputs: FewShotInputs) -> Fitted:
    """Fit as the adapter on raw features."""
    adapter = fit_adapter(inputs)
    assert isinstance(adapter, Cache)
    betas, _, rounds = adapter.grid
    return CacheAlone(adapter.model, betas, rounds)
