"""Explain why an image got its class: the exact contribution of each text to the winner's lead on
the runner-up.

The score of a class is 100 × a mean of cosines: those of its mean texts, and the best one of its
names. So the difference of two scores is a sum with one term per text:

    s_a − s_b = Σ_{t of a} w_t (x·t − m) − Σ_{t of b} w_t (x·t − m)

The weights w are stage one's, 100 / (|A_c| + 1). Those of every class sum to 100, so any m leaves
the sum as it is. m is the mean of the two scores: a text that is as similar to the image as the
two classes are on average then adds nothing, and the sign says for which class a text counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import UserError
from ..foundation.reproducible import exact_matmul
from ..neighbors import CHUNK, l2_normalize, mean_with_best


class Term(NamedTuple):
    """One text's part in a difference of scores.

    text: its row; cosine: with the image; adds: its part, in points of score.
    """

    text: int
    cosine: float
    adds: float


@dataclass(frozen=True)
class ScoringTexts:
    """The texts behind scores that are means of cosines.

    features: (M, d), unit or not. owner: (M,) the class of each text. averaged: (M,) bool, True for
    texts that all count in the mean of their class; of the other texts of a class only the one most
    similar to the image counts. UserError for a class without a text."""

    features: Tensor
    owner: Tensor
    averaged: Tensor
    n_classes: int

    def __post_init__(self) -> None:
        without = (torch.bincount(self.owner, minlength=self.n_classes) == 0).nonzero()
        if len(without):
            raise UserError(f"class {int(without[0])} has no text; give at least one per class")

    def cosines(self, x: Tensor) -> Tensor:
        """Cosines of images (N, d) and texts: (N, M)."""
        texts = l2_normalize(self.features, "text features")
        rows = max(1, CHUNK // len(texts))
        images = torch.split(l2_normalize(x, width=texts.shape[1]), rows)
        parts = [exact_matmul(part, texts) for part in images]
        if parts:
            return torch.cat(parts)
        return torch.zeros(0, len(texts), dtype=torch.float64)

    def scores(self, cosines: Tensor) -> Tensor:
        """Scores (N, C) from cosines (N, M), as from ``TextNeighbors.class_scores``."""
        shape = (len(cosines), self.n_classes)
        others = ~self.averaged
        # scatter needs an owner for each cosine, so owners repeat for every image
        owners = self.owner[others].expand(len(cosines), -1)
        sums = torch.zeros(shape, dtype=torch.float64)
        sums.index_add_(1, self.owner[self.averaged], cosines[:, self.averaged].double())
        best = torch.zeros(shape, dtype=torch.float64)
        best.scatter_reduce_(1, owners, cosines[:, others].double(), "amax", include_self=False)
        return 100 * self._combine(sums, best)

    def _combine(self, sums: Tensor, best: Tensor) -> Tensor:
        """Scores in cosines, by stage one's formula: (N, C), or (C,).

        sums: of the cosines of averaged texts; best: cosine of the best other text. A class with
        averaged texts only, such as filled templates, has their plain mean."""
        counts = torch.bincount(self.owner[self.averaged], minlength=self.n_classes)
        has_best = torch.bincount(self.owner[~self.averaged], minlength=self.n_classes) > 0
        # without a best text the formula of stage one would divide by one text too many
        plain = sums / counts.clamp_min(1)
        return torch.where(has_best, mean_with_best(sums, counts, best), plain)

    def explain(self, cosines: Tensor, winners: Tensor, against: Tensor) -> list[list[Term]]:
        """For each image the terms of ``score[winner] − score[against]``, the largest first.

        cosines: (N, M); winners, against: (N,) classes. If both are the same class (there is no
        other), the terms are those of its score. Names and synonyms that are not the best of their
        class add nothing and are omitted."""
        # `_combine` is linear, so with 100 in one argument and 0 in the other it gives the weight
        # of one text in the score of each class, (C,). The two weights differ only for a class
        # without averaged texts or without others.
        hundred = torch.full((self.n_classes,), 100.0, dtype=torch.float64)
        averaged_weight = self._combine(sums=hundred, best=0 * hundred)
        best_weight = self._combine(sums=0 * hundred, best=hundred)
        scores = self.scores(cosines) / 100  # in cosines
        terms_of_images = []
        for n, row in enumerate(cosines.double()):
            winner, other = int(winners[n]), int(against[n])
            # m of the module's formula; 0 if there is only one class
            if winner == other:
                classes, middle = [winner], 0.0
            else:
                classes, middle = [winner, other], float(scores[n, winner] + scores[n, other]) / 2
            terms = []
            for c in classes:
                sign = 1
                if c != winner:
                    sign = -1
                for text in self._counted(row, c):
                    weights = best_weight
                    if self.averaged[text]:
                        weights = averaged_weight
                    weight = float(weights[c])
                    cosine = float(row[text])
                    terms.append(Term(text, cosine, sign * weight * (cosine - middle)))
            terms_of_images.append(sorted(terms, key=lambda term: (-term.adds, term.text)))
        return terms_of_images

    def _counted(self, row: Tensor, c: int) -> list[int]:
        """Rows of the texts in the mean of class c, for one image's cosines (M,)."""
        of_class = self.owner == c
        averaged = (of_class & self.averaged).nonzero()[:, 0].tolist()
        # of names and synonyms only the nearest one enters the mean
        others = (of_class & ~self.averaged).nonzero()[:, 0]
        if not len(others):
            return averaged
        return [*averaged, int(others[row[others].argmax()])]


def for_and_against(terms: Sequence[Any], n: int) -> tuple[list[Any], list[Any]]:
    """The n strongest terms for the winner, and the n strongest against it, strongest first.

    terms: largest first.
    """
    speaking_for = [t for t in terms if t.adds > 0][:n]
    against = [t for t in reversed(terms) if t.adds < 0][:n]
    return speaking_for, against
