"""The CODER-Adapter with synonyms among its texts (ablation)."""

from __future__ import annotations

from ..neighbors import ADAPTER_KINDS
from .coder_adapter import fit_texts
from .few_shot import FewShotInputs, Fitted

LABEL = "CODER-Adapter, with synonyms"
ABOUT = "CODER-Adapter with synonyms among its texts"
ORDER = 30
LINE = ("purple", ":", "D")
ABLATION = True
KINDS = (*ADAPTER_KINDS, "synonym")
PUBLISHED_INITIAL = True


def fit(inputs: FewShotInputs) -> Fitted:
    """Fit the CODER-Adapter on more texts."""
    return fit_texts(inputs, inputs.described(*KINDS))
