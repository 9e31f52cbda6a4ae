"""TIP-X: Tip-Adapter plus the similarity of CLIP's predictions for image and shot.

Udandarao et al., "SuS-X: Training-Free Name-Only Transfer of Vision-Language Models", ICCV 2023,
section 3.2; tipx.py of vishaal27/SuS-X at commit 0910683.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ..adapter import grid
from ..neighbors import l2_normalize
from ..search.branch_and_bound import Grids, first_best
from ..search.cache_model import decayed
from ..search.line_search import Floats
from .few_shot import FewShotInputs, Fitted
from .grid_search import FETCH, ByClass, CacheLines, Point, blocks, fetched
from .tip_adapter import unit_keys

LABEL = "TIP-X"
ABOUT = "Tip-Adapter and how alike CLIP sees image and shot (Udandarao et al. 2023), no training"
ORDER = 20
LINE = ("orange", (0, (5, 1)), "v")
TEMPERATURE = 0.5  # of the softmax in the signatures
ALPHAS, BETAS, GAMMAS = (0.1, 50, 20), (1, 50, 200), (0.1, 30, 50)


@dataclass(frozen=True)
class TipX:
    """A cache of shots with CLIP's predictions for them.

    keys: (K, d) unit; labels: (K,); weights: (C, d) unit; signatures: (K, C), log-softmax of CLIP's
    predictions for the shots; float64. scale: the smallest divergence, and the factor from
    divergences to cosines; shift: the smallest cosine. All three for ψ in `affinity`.
    """

    keys: Tensor
    labels: Tensor
    weights: Tensor
    signatures: Tensor
    scale: tuple[float, float]
    shift: float

    @classmethod
    def fit(cls, cache: Tensor, labels: Tensor, weights: Tensor, reference: Tensor) -> Self:
        """Build the cache and measure the range of the divergence.

        cache: raw shot features (K, d) or (E, K, d); labels: (K,); weights: (C, d) CLIP's class
        weights.
        reference: (R, d) images on which the range is measured, such as the validation images of
        the search. The published code measures the range on all images that it classifies, so that
        the class of one image depends on the other images."""
        keys, classes = unit_keys(cache).double(), l2_normalize(weights, "class weights").double()
        signatures = _signatures(keys, classes)
        unscaled = cls(keys, labels.to(torch.int64), classes, signatures, (0.0, 1.0), 0.0)
        x = l2_normalize(reference, width=keys.shape[1]).double()
        # the ranges of divergence (M) and cosine (A) over all blocks, to map one to the other
        low_m, high_m, low_a, high_a = np.inf, -np.inf, np.inf, -np.inf
        for part in blocks(len(x), len(keys), FETCH):
            divergence = unscaled._divergence(x[part])
            low_m = min(low_m, float(divergence.min()))
            high_m = max(high_m, float(divergence.max()))
            cosine = x[part] @ keys.T
            low_a = min(low_a, float(cosine.min()))
            high_a = max(high_a, float(cosine.max()))
        # 0, up to rounding, if all are equally far: then the divergence does not count
        size = high_m - low_m
        factor = (high_a - low_a) / size if size > 1e-12 else 0.0
        return replace(unscaled, scale=(low_m, factor), shift=low_a)

    def affinity(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines of images x (N, d) and shots: (N, K), and their scaled divergence ψ(M).

        The divergence is small if they are near.

        M_ij = KL(s_i ‖ S_j)        s, S: softmax over classes of cosine / 0.5, of images and shots
        ψ: the linear function from the range of M to that of the cosines
        """
        x = l2_normalize(x, width=self.keys.shape[1]).double()
        low, factor = self.scale
        return x @ self.keys.T, (self._divergence(x) - low) * factor + self.shift

    def logits(self, x: Tensor, clip_logits: Tensor, point: Point) -> Tensor:
        """clip_logits (N, C) + α · exp(−β (1 − A)) · L + γ · (−ψ(M)) · L -> (N, C) float64.

        L: onehot(labels).
        """
        assert point.alpha is not None
        assert point.beta is not None
        assert point.gamma is not None
        shots = ByClass(self.labels, len(self.weights))
        out = np.empty(clip_logits.shape)
        for part, near, far in self._near(shots, x):
            # classes first here, images first in out: hence the transposes
            votes = shots.sums(decayed(near, point.beta, out=near))[:, 0]
            base = clip_logits[part].cpu().double().numpy().T + point.alpha * votes
            out[part] = (base + point.gamma * -shots.sums(far)[:, 0]).T
        return torch.from_numpy(out)

    def search(
        self,
        x: Tensor,
        clip_logits: Tensor,
        labels: Tensor,
        grids: tuple[Floats, Floats, Floats] | None = None,
    ) -> Point:
        """The (α, β, γ) with the best accuracy on images x (N, d).

        Of several the first in the published loops: α outer, then β, γ inner. grids: values of α, β
        and γ; default: the published ones.
        """
        shots = ByClass(self.labels, len(self.weights))
        alphas, betas, gammas = grids or (grid(*ALPHAS), grid(*BETAS), grid(*GAMMAS))
        # the tilt: what γ multiplies, −ψ(M) summed over the shots of each class
        parts = ((part, near, -shots.sums(far)[:, 0]) for part, near, far in self._near(shots, x))
        lines = CacheLines(shots, clip_logits, labels, parts)
        best = first_best(lines, Grids(alphas, betas, gammas), ("alpha", "beta", "gamma"))
        return Point(*best[1:])

    def _near(self, shots: ByClass, x: Tensor) -> Iterator[tuple[slice, Floats, Floats]]:
        """Slices of images x, each with A − 1 and ψ(M) of its images and the shots, (C, k, n)."""
        runs = fetched(
            len(x), len(self.labels), shots.places.size, lambda part: self.affinity(x[part])
        )
        return ((part, shots.rows(near) - 1, shots.rows(far)) for part, (near, far) in runs)

    def _divergence(self, x: Tensor) -> Tensor:
        """KL(s_i ‖ S_j) of unit images (n, d) -> (n, K), by two matrix products instead of n × K ×
        C numbers.
        """
        logs = _signatures(x, self.weights)
        shares = logs.exp()
        # KL = Σ s log s − Σ s log S, and the second sum is a matrix product
        return (shares * logs).sum(dim=1, keepdim=True) - shares @ self.signatures.T


def _signatures(x: Tensor, weights: Tensor) -> Tensor:
    """Log-softmax over classes of CLIP's predictions for unit images x (n, d): (n, C)."""
    return torch.log_softmax(x @ weights.T / TEMPERATURE, dim=1)


def fit(inputs: FewShotInputs) -> Fitted:
    """Fit, and measure the range of the divergence on the validation images."""
    return TipX.fit(inputs.cache, inputs.labels, inputs.weights, inputs.validation)
