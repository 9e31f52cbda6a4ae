"""Class means of projected images, added to CLIP's logits.

Herzog and Wang, "Reevaluating the Intra-Modal Misalignment Hypothesis in CLIP", CVPR 2026;
prototype_classify with clip_weights in main_few_shots.py of Vision-Kek/Is-CLIP-Really-Misaligned at
commit 6e771ae. Their code weighs both halves alike (α = 1), because it has no validation images;
here α is chosen on them, as for GDA. CLIP's logits are those of the images as they are, not
projected."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .few_shot import FewShotInputs, Fitted
from .gda import AddedScores
from .projected_means import ProjectedMeans
from .projected_means import fit as fit_means

LABEL = "Class means, projected, with CLIP's logits"
ABOUT = "nearest class mean on the main components of ImageNet's class names, added to CLIP"
ORDER = 54
ABLATION = True


@dataclass(frozen=True)
class ProjectedWithClip(AddedScores):
    """Projected class means whose cosines are added to CLIP's logits."""

    model: ProjectedMeans

    def scores(self, x: Tensor) -> Tensor:
        """100 × cosine of projected images x (N, d) and class means, 0 for a class without a shot:
        (N, C) float64.
        """
        return self.model.cosines(x).masked_fill(~self.model.has_shot.to(x.device), 0.0)


def fit(inputs: FewShotInputs) -> Fitted:
    """Fit the projected class means, on ImageNet's class names."""
    model = fit_means(inputs)
    assert isinstance(model, ProjectedMeans)
    return ProjectedWithClip(model)
