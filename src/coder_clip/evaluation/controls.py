"""Controls of CODER: descriptions of images, and maps of image features, without texts.

Describing images by their similarities to other images is known as relative representations
(Moschella et al., "Relative representations enable zero-shot latent space communication", ICLR
2023). Random numbers come from NumPy's generators, so that plain code draws the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..foundation.reproducible import exact_matmul, on_grid
from ..neighbors import l2_normalize
from .representation import knn_accuracy, stratified_subset

if TYPE_CHECKING:
    from .estimates import Labels

DRAWS = 10  # of a control that is drawn: one draw may be better or worse by chance
# Strengths of whitening that validation images choose from: 0 only centres, 1 whitens fully.
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
CHOOSING = 4000  # validation images that choose: their neighbours are compared once a strength


def some_rows(rows: Tensor, count: int, *seed: int) -> Tensor:
    """At most ``count`` of the rows (N, d), drawn without replacement, in their order; all if there
    are no more.
    """
    if len(rows) <= count:
        return rows
    chosen = np.random.default_rng(seed).choice(len(rows), count, replace=False)
    return rows[torch.from_numpy(np.sort(chosen))]


def random_rotation(width: int, *seed: int) -> Tensor:
    """A random orthogonal matrix (width, width) float64, uniform over all of them (Haar).

    Q of a Gaussian matrix, each column with the sign that makes R's diagonal positive (Mezzadri
    2007, "How to generate random matrices from the classical compact groups").
    """
    gaussian = np.random.default_rng(seed).standard_normal((width, width))
    q, r = np.linalg.qr(gaussian)
    return torch.from_numpy(q * np.sign(np.diag(r)))


def random_directions(count: int, width: int, *seed: int) -> Tensor:
    """Random directions (count, width) float64, uniform over the sphere; not of length 1."""
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((count, width)))


def rotated(x: Tensor, rotation: Tensor) -> Tensor:
    """Unit images x (N, d) times a rotation (d, d): (N, d) float64.

    x·(R t) = (xR)·t for every text t: a description by rotated texts is the description of rotated
    images by the texts.
    """
    return exact_matmul(l2_normalize(x), on_grid(rotation.T))


@dataclass(frozen=True)
class Whitening:
    """Centring, and whitening of some strength, fitted to images without labels.

    mean: (d,) of unit images. values (d,), axes (d, d), columns: eigenvalues and eigenvectors of
    their covariance, shrunk as GDA shrinks its covariance: (n − 1) Σ̂ + tr(Σ̂) I.
    """

    mean: Tensor
    values: Tensor
    axes: Tensor

    @property
    def has_spread(self) -> bool:
        """False if all images are equal: then there is nothing to whiten by."""
        return float(self.values.max()) > 0

    @classmethod
    def of(cls, images: Tensor) -> Whitening:
        """Fit to images (n, d)."""
        rows = l2_normalize(images)
        mean = rows.mean(dim=0)
        scatter = (rows - mean).T @ (rows - mean)  # (n − 1) Σ̂
        shrinkage = float(scatter.trace()) / max(1, len(rows) - 1)
        values, axes = torch.linalg.eigh(scatter)
        return cls(mean, values.clamp_min(0) + shrinkage, axes)

    def __call__(self, x: Tensor, strength: float) -> Tensor:
        """Unit images x, centred, and times the covariance to the power −strength / 2: (N, d)
        float64.

        The power of the matrix, not only coordinates along its eigenvectors: where eigenvalues are
        close, eigenvectors are whatever rounding makes them, but the power is not.
        """
        centred = on_grid(l2_normalize(x) - self.mean)
        # relative to the largest value, because the scale of features does not count
        scale = (self.values / self.values.max()) ** (-strength / 2)
        return exact_matmul(centred, on_grid((self.axes * scale) @ self.axes.T))

    def strongest(
        self, images: Tensor, labels: Labels, k: int, groups: Tensor | None = None
    ) -> float:
        """The strength with the best k-NN accuracy among at most CHOOSING validation images (n, d),
        the weakest of several.
        """
        rows = torch.from_numpy(stratified_subset(labels, CHOOSING))
        some, truth = images[rows], torch.as_tensor(labels)[rows].numpy()
        together = None if groups is None else groups[rows]
        accuracies = [
            float(knn_accuracy(self(some, strength), truth, k, groups=together)[0].mean())
            for strength in STRENGTHS
        ]
        return STRENGTHS[int(np.argmax(accuracies))]


def together(parts: Sequence[Tensor]) -> Tensor:
    """The rows of several sets of features, each scaled to length 1: (N, d) float64."""
    return torch.cat([l2_normalize(part) for part in parts])
