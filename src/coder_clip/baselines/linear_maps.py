"""Linear maps of image features that several methods share: within-class statistics of shots, and
projections.

Eigenvectors and solutions of linear systems differ between processors in their last bits, so
nothing that is computed here may end in an artefact as a number. Decisions may: the arg max of
logits and the order of neighbours. They differ only if two candidates agree to about eight digits:
float64 has 16, the subspace loses as many as the relative gap of the eigenvalues at its border has
zeros (five with `mini`), and rounding to the grid can turn what is left into 2⁻²⁵ of one
coordinate. Images and maps are on the grid (reproducible.py), so that copies of an image have equal
coordinates, and tie, on every processor.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..foundation.reproducible import exact_matmul, on_grid
from ..neighbors import l2_normalize

ROWS = 2**14  # samples converted to float64 at a time
# share of the sum of squares of unit rows: a smaller scatter is rounding, and the rows are equal
ROUNDING = 1e-12


@dataclass(frozen=True)
class ShotStatistics:
    """Means and covariance of shots, float64 on the CPU.

    counts: (C,) number of samples of each class; means: (C, d) of the unit features of each class,
    0 for a class without a shot.
    ridge: (d, d), (n − 1) Σ̂ + tr(Σ̂) I, with Σ̂ the covariance of all n samples about their class
    means, so that the shrunk covariance Σ is ridge / d; None if the samples do not differ within
    their class (one view of one shot)."""

    counts: Tensor
    means: Tensor
    ridge: Tensor | None

    @classmethod
    def of(cls, views: Tensor, labels: Tensor, *, n_classes: int) -> ShotStatistics:
        """Estimate from shots (K, d), or their views (K, E, d), each view a sample of its own.

        labels: (K,).
        """
        # on the CPU, where systems are solved on every machine
        samples = (views[:, None] if views.ndim == 2 else views).cpu()
        width = samples.shape[-1]
        owner = labels.to("cpu", torch.int64)
        counts = torch.bincount(owner, minlength=n_classes).double() * samples.shape[1]
        sums = torch.zeros(n_classes, width, dtype=torch.float64)
        step = max(1, ROWS // samples.shape[1])
        parts = list(zip(torch.split(samples, step), torch.split(owner, step), strict=True))
        for part, classes in parts:
            sums.index_add_(0, classes, _unit(part).sum(dim=1))
        means = sums / counts.clamp_min(1)[:, None]
        # a second pass, about the class means: E[x²] − E[x]² would lose digits
        scatter = torch.zeros(width, width, dtype=torch.float64)
        for part, classes in parts:
            centred = (_unit(part) - means[classes][:, None]).flatten(0, 1)
            scatter += centred.T @ centred
        n, trace = float(counts.sum()), float(scatter.trace())
        if trace <= ROUNDING * n:
            return cls(counts, means, None)
        # scatter = (n − 1) Σ̂, and the added diagonal makes the matrix positive definite
        diagonal = torch.eye(width, dtype=torch.float64) * (trace / (n - 1))
        return cls(counts, means, scatter + diagonal)

    @property
    def has_shot(self) -> Tensor:
        """Classes with a shot: (C,) bool."""
        return self.counts.bool()

    def whiten(self, x: Tensor) -> Tensor:
        """Centre images x on the mean of all samples and whiten them by the shrunk covariance of
        the classes: (N, d) float64.

        The inner product of two rows is (x − m)ᵀ Σ⁻¹ (y − m) up to a factor: the space in which a
        linear discriminant of the shots compares images. Only for samples that have a covariance.
        """
        assert self.ridge is not None
        # with L Lᵀ = ridge, rows times L⁻ᵀ have inner products with the inverse covariance
        centre = (self.counts @ self.means) / self.counts.sum()
        identity = torch.eye(len(centre), dtype=torch.float64)
        whitener = torch.linalg.solve_triangular(
            torch.linalg.cholesky(self.ridge), identity, upper=False
        )
        rows = l2_normalize(x, width=len(centre)).cpu() - centre
        return exact_matmul(on_grid(rows), on_grid(whitener)).to(x.device)


def principal_axes(texts: Tensor) -> Tensor:
    """The first d/2 principal components of unit texts (M, d) about their mean: (r, d) float64,
    orthonormal rows.

    r: d/2 rounded down, at least 1; fewer where the texts span fewer components, and 0 if all texts
    are equal.
    """
    rows = l2_normalize(texts, "class name texts").cpu()
    # d × d covariance instead of an SVD of all texts, of which there may be many thousands
    centred = rows - rows.mean(dim=0)
    values, vectors = torch.linalg.eigh(centred.T @ centred)  # ascending
    spanned = int((values > ROUNDING * len(rows)).sum())
    descending: Tensor = vectors.T.flip(0)
    return descending[: min(spanned, max(1, rows.shape[1] // 2))]


def project(x: Tensor, axes: Tensor) -> Tensor:
    """Coordinates of the unit features of images x (N, d) along axes (r, d): (N, r) float64."""
    return exact_matmul(l2_normalize(x, width=axes.shape[1]), on_grid(axes).to(x.device))


def _unit(views: Tensor) -> Tensor:
    """Scale views (K, E, d) to length 1, float64."""
    return l2_normalize(views.flatten(0, 1), "shot features").double().view(views.shape)
