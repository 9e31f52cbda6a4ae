"""Measure what an edited text set changes on photos, in well under a second.

Stage one only. The features of photos and of texts seen before are kept, so that a changed text
costs the encoding of one sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from coder_clip.evaluation.estimates import Estimate, estimate
from coder_clip.texts.sets import TextSet

from .classifier import Classifier
from .decisions import Decisions, by_score


@dataclass(frozen=True)
class Standing:
    """The results of a text set on the photos of a study. labels: (N,), None without."""

    classifier: Classifier
    decisions: Decisions
    labels: Tensor | None
    groups: Tensor | None = None  # near twins share a number

    @property
    def texts(self) -> TextSet:
        return self.classifier.texts

    @property
    def prediction(self) -> Tensor:
        """(N,) classes."""
        return self.decisions.order[:, 0]

    @property
    def correct(self) -> Tensor:
        """(N,) bool, of photos with labels."""
        assert self.labels is not None
        return self.prediction == self.labels

    @cached_property
    def accuracy(self) -> Estimate:
        return estimate(self.correct, groups=self.groups)


class Study:
    """Photos with their features (N, d), names and labels (N,), None without; classified with any
    text set.
    """

    def __init__(
        self,
        classifier: Classifier,
        features: Tensor,
        names: Sequence[str],
        labels: Tensor | None,
        groups: Tensor | None = None,
    ) -> None:
        self.groups = groups  # near twins share a number, and intervals are over groups
        self.encoder, self.templates = classifier.encoder, classifier.templates
        self.features, self.names, self.labels = features, list(names), labels
        self._first = Classifier(
            self.encoder, classifier.texts, templates=self.templates
        )  # stage one alone

    @cached_property
    def start(self) -> Standing:
        """The results of the first texts."""
        return Standing(self._first, self._first.decide(self.features), self.labels, self.groups)

    def standing(self, texts: TextSet) -> Standing:
        classifier = Classifier(self.encoder, texts, templates=self.templates)
        scores = self._scores(texts, self.features, self.start.decisions.scores)
        return Standing(classifier, by_score(scores), self.labels, self.groups)

    def decide(self, texts: TextSet, x: Tensor) -> Decisions:
        """Classify new photos (N, d) with edited texts."""
        return by_score(self._scores(texts, x, self._first.decide(x).scores))

    def _scores(self, texts: TextSet, x: Tensor, first: Tensor) -> Tensor:
        """Scores (N, C) of photos (N, d) with edited texts, from those with the first texts."""
        # A class's score depends on its own texts alone, so only the edited classes are scored
        # again. An edit of one of a thousand classes would take seconds otherwise. Two more
        # classes, because a classifier needs two.
        both = enumerate(zip(self._first.texts.classes, texts.classes, strict=True))
        edited = [c for c, (before, after) in both if before != after]
        if not edited:
            return first
        some = sorted({0, 1, *edited})
        part = texts.model_copy(update={"classes": [texts.classes[c] for c in some]})
        scores = first.clone()
        scores[:, some] = Classifier(self.encoder, part, templates=self.templates).decide(x).scores
        return scores
