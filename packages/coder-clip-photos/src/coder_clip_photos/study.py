"""Measure what an edited text set changes on photos, in well under a second.

Stage one only. The features of photos and of texts seen before are kept, so that a changed text
costs the encoding of one sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from coder_clip.evaluation.estimates import Estimate, estimate
from coder_clip.texts.sets import ClassTexts, TextSet

from .classifier import Classifier
from .decisions import Decisions, by_score

Columns = dict[str, Tensor]  # the texts of a class, as JSON -> the scores (N,) of photos


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
    """Photos with their features (N, d), names and labels (N,; None without), which are classified
    with any text set.
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
        self._columns: Columns = {}  # of the texts that were classified with last

    @cached_property
    def start(self) -> Standing:
        """The results of the first texts."""
        return Standing(self._first, self._first.decide(self.features), self.labels, self.groups)

    def standing(self, texts: TextSet) -> Standing:
        """The results of edited texts, with the same classes or others."""
        if texts.classes == self.start.texts.classes:
            return self.start
        classifier = Classifier(self.encoder, texts, templates=self.templates)
        known = _columns(self.start.texts, self.start.decisions.scores) | self._columns
        scores = self._scores(texts, known)
        self._columns = _columns(texts, scores)
        return Standing(classifier, by_score(scores), self.labels, self.groups)

    def _scores(self, texts: TextSet, known: Columns) -> Tensor:
        """Scores (N, C) with edited texts.

        known: scores (N,) of some classes of texts, which are not computed again.
        """
        # A class's score depends on its own texts alone. Without this, an edit of one of a
        # thousand classes would take seconds.
        keys = [_key(entry) for entry in texts.classes]
        new = [c for c, key in enumerate(keys) if key not in known]
        columns = dict(known)
        if new:
            scored = sorted({0, 1, *new})  # a classifier needs two classes
            part = texts.model_copy(update={"classes": [texts.classes[c] for c in scored]})
            classifier = Classifier(self.encoder, part, templates=self.templates)
            columns |= _columns(part, classifier.decide(self.features).scores)
        return torch.stack([columns[key] for key in keys], dim=1)


def _columns(texts: TextSet, scores: Tensor) -> Columns:
    """Scores (N, C) by class, each (N,)."""
    keys = map(_key, texts.classes)
    return dict(zip(keys, scores.unbind(dim=1), strict=True))


def _key(texts: ClassTexts) -> str:
    return texts.model_dump_json()
