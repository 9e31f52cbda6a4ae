"""The CODER-Adapter with half of each class's texts (ablation)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..neighbors import ADAPTER_KINDS
from .coder_adapter import fit_texts
from .few_shot import FewShotInputs, Fitted

LABEL = "CODER-Adapter, half the texts"
ABOUT = "CODER-Adapter with half of each class's attribute and analogous texts, drawn by the seed"
ORDER = 40
LINE = ("orange", (0, (5, 1)), "v")
ABLATION = True
KINDS = ADAPTER_KINDS
PUBLISHED_INITIAL = True


def fit(inputs: FewShotInputs) -> Fitted:
    """Fit on all names and half of each other kind."""
    name, *others = KINDS
    names, _ = inputs.texts[name]
    halves = [half(*inputs.texts[kind], inputs.seed) for kind in others]
    return fit_texts(inputs, torch.cat([names, *halves]))


def half(features: Tensor, class_index: Tensor, seed: int) -> Tensor:
    """Draw half of each class's texts, rounded up, by the seed; the texts keep their order.

    features: (M, d); class_index: (M,) -> (m, d).
    """
    owner = class_index.cpu().numpy()
    kept: list[int] = []
    for c in np.unique(owner):
        rows = np.flatnonzero(owner == c)
        size = -(-len(rows) // 2)  # rounded up
        # a generator per class, so that one class's half does not depend on the other classes
        shuffled = np.random.default_rng([seed, int(c)]).permutation(rows)
        kept += shuffled[:size].tolist()
    return features[torch.tensor(sorted(kept), dtype=torch.int64)]
