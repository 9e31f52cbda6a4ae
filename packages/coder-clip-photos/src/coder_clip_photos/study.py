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
        """Accuracy on the labels, with its interval."""
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
        # stage one alone
        self._first = Classifier(self.encoder, classifier.texts, templates=self.templates)

    @cached_property
    def start(self) -> Standing:
        """The results of the first texts."""
        return Standing(self._first, self._first.decide(self.features), self.labels, self.groups)

    def standing(self, texts: TextSet) -> Standing:
        """The results of edited texts."""
        classifier = Classifier(self.encoder, texts, templates=self.templates)
        scores = self._scores(texts, self.features, self.start.decisions.scores)
        return Standing(classifier, by_score(scores), self.labels, self.groups)

    def decide(self, texts: TextSet, x: Tensor) -> Decisions:
        """Classify new photos (N, d) with edited texts."""
        return by_score(self._scores(texts, x, self._first.decide(x).scores))

    def _scores(self, texts: TextSet, x: Tensor, first: Tensor) -> Tensor:
        """Scores (N, C) of photos x (N, d) with edited texts. first: the scores (N, C) with the
        first texts.
        """
        # A class's score depends on its own texts alone, so only the edited classes are scored
        # again. An edit of one of a thousand classes would take seconds otherwise.
        pairs = zip(self._first.texts.classes, texts.classes, strict=True)
        edited = [c for c, (before, after) in enumerate(pairs) if before != after]
        if not edited:
            return first
        scored = sorted({0, 1, *edited})  # a classifier needs two classes
        part = texts.model_copy(update={"classes": [texts.classes[c] for c in scored]})
        classifier = Classifier(self.encoder, part, templates=self.templates)
        scores = first.clone()
        scores[:, scored] = classifier.decide(x).scores
        return scores
