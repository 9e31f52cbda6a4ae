"""Measure what texts are worth on photos: one text more, one less, or a whole edited set, in well under a second.

Stage one only. The features of photos and of texts seen before are kept, so that a changed text costs the encoding of
one sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from scipy.stats import t as student
from torch import Tensor

from ..errors import UserError, nearest
from ..evaluation.estimates import Estimate, PairedTest, estimate, paired_test
from ..evaluation.intervals import LEVEL, crossed_interval, holm
from ..evaluation.reasons import ScoringTexts
from ..texts.kinds import BESIDES_NAME
from ..texts.sets import TextSet
from .classifier import Classifier
from .decisions import Decisions, by_score
from .texts import Row


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


@dataclass(frozen=True)
class Worth:
    """One text: what accuracy is with it, minus what it is without. fixed, broke: photos that it puts right, wrong.

    lead: what the text adds to the lead of the true class over the best other one, mean over photos, in points of
    score; it tells texts apart that change no photo's class. p_holm: of "accuracy stays", corrected for all texts that
    were tried.
    """

    row: Row
    label: str
    test: PairedTest
    lead: Estimate
    p_holm: float


class Study:
    """Photos with their features (N, d), names and labels (N,), None without; classified with any text set."""

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
        self._first = Classifier(self.encoder, classifier.texts, templates=self.templates)  # stage one alone

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
        # A class's score depends on its own texts alone, so only the edited classes are scored again. An edit of one
        # of a thousand classes would take seconds otherwise. Two more classes, because a classifier needs two.
        both = enumerate(zip(self._first.texts.classes, texts.classes, strict=True))
        edited = [c for c, (before, after) in both if before != after]
        if not edited:
            return first
        some = sorted({0, 1, *edited})
        part = texts.model_copy(update={"classes": [texts.classes[c] for c in some]})
        scores = first.clone()
        scores[:, some] = Classifier(self.encoder, part, templates=self.templates).decide(x).scores
        return scores

    def leave_one_out(self, of_class: str | None = None) -> list[Worth]:
        """Every text but the names, of one class or of all: what it is worth, the most useful first."""
        index = None if of_class is None else class_index(self.start.texts, of_class)
        rows, scoring = self.start.classifier.rows, self.start.classifier.scoring
        cosines = scoring.cosines(self.features)
        with_all = scoring.scores(cosines)
        tries = []
        for i, row in enumerate(rows):
            if row.kind not in BESIDES_NAME or index not in (None, row.index):
                continue
            others = scoring.owner == row.index
            others[i] = False
            rest = ScoringTexts(
                scoring.features[others], torch.zeros_like(scoring.owner[others]), scoring.averaged[others], 1
            )
            without = with_all.clone()
            without[:, row.index] = rest.scores(cosines[:, others])[:, 0]
            tries.append((row, without, with_all))
        return self._worth(tries)

    def add_one(self, of_class: str, kind: str, texts: Sequence[str]) -> list[Worth]:
        """Each of some new texts of a class alone: what it would be worth, the most useful first."""
        if kind not in BESIDES_NAME:
            raise UserError(f"kind '{kind}'{nearest(kind, BESIDES_NAME)}")
        index = class_index(self.start.texts, of_class)
        known = set(self.start.classifier.rows)
        tries = []
        for text in texts:
            after = self.standing(with_text(self.start.texts, index, kind, text))
            new = [row for row in after.classifier.rows if row not in known]
            if not new:
                raise UserError(f"'{of_class}' has the {kind} '{text}' already")
            tries.append((new[0], self.start.decisions.scores, after.decisions.scores))
        return self._worth(tries)

    def _worth(self, tries: Sequence[tuple[Row, Tensor, Tensor]]) -> list[Worth]:
        """Each text with the scores (N, C) without and with it."""
        labels, classes = self.labels, self.start.classifier.classes
        assert labels is not None
        tests = [
            paired_test(a.argmax(dim=1) == labels, b.argmax(dim=1) == labels, groups=self.groups)
            for _, a, b in tries
        ]
        leads = [mean_interval(lead(b, labels) - lead(a, labels), self.groups) for _, a, b in tries]
        adjusted = holm([t["p_value"] for t in tests])
        found = [
            Worth(row, classes[row.index], test, ahead, p)
            for (row, _, _), test, ahead, p in zip(tries, tests, leads, adjusted, strict=True)
        ]
        return sorted(found, key=lambda w: (-w.test["difference"]["value"], -w.lead["value"]))


def lead(scores: Tensor, labels: Tensor) -> Tensor:
    """Lead of the true class over the best other one, negative if it is behind: scores (N, C), labels (N,) -> (N,)."""
    true = scores.gather(1, labels[:, None])[:, 0]
    return true - scores.scatter(1, labels[:, None], -torch.inf).max(dim=1).values


def mean_interval(values: Tensor, groups: Tensor | None = None) -> Estimate:
    """Mean of (N,) values with its 95 % interval by Student's t; without an interval for one value.

    groups: (N,), near twins share a number, and the interval is over groups.
    """
    n, mean = len(values), float(values.mean())
    if groups is not None and groups.min() < groups.max():
        low, high, _ = crossed_interval(values[None].numpy(), (), groups=groups.numpy())
        return {"value": mean, "low": low, "high": high}
    if groups is not None:
        n = 1
    half = float(student.ppf((1 + LEVEL) / 2, n - 1) * values.std() / n**0.5) if n > 1 else float("inf")
    return {"value": mean, "low": mean - half, "high": mean + half}


def class_index(texts: TextSet, name: str) -> int:
    """The index of a class. UserError, with the nearest name, for an unknown one."""
    names = [c.name for c in texts.classes]
    if name not in names:
        raise UserError(f"no class '{name}'{nearest(name, names)}")
    return names.index(name)


def with_text(texts: TextSet, index: int, kind: str, text: str) -> TextSet:
    """A copy of the texts with one more."""
    entries = list(texts.classes)
    entries[index] = entries[index].model_copy(update={kind: [*entries[index].of(kind), text]})
    return texts.model_copy(update={"classes": entries})
