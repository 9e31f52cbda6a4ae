"""What texts are worth on photos: one text more, one less, or a whole edited set, in well under a second.

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

from ..datasets.base import Templates
from ..errors import UserError, nearest
from ..evaluation.estimates import Estimate, PairedTest, estimate, paired_test
from ..evaluation.intervals import LEVEL, holm
from ..evaluation.reasons import ScoringTexts
from ..neighbors import MEAN_KINDS
from ..texts.kinds import BESIDES_NAME
from ..texts.sets import ClassTexts, TextSet
from .classifier import Classifier, scoring_texts
from .decisions import Decisions, by_score
from .texts import Row, rows

EDITED = BESIDES_NAME  # kinds that a person can add and take away


@dataclass(frozen=True)
class Standing:
    """A text set on the photos of a study. cosines: (N, M); labels: (N,), None without."""

    texts: TextSet
    rows: list[Row]
    scoring: ScoringTexts
    cosines: Tensor
    labels: Tensor | None

    @cached_property
    def decisions(self) -> Decisions:
        return by_score(self.scoring.scores(self.cosines))

    @property
    def prediction(self) -> Tensor:
        """(N,) classes."""
        return self.decisions.order[:, 0]

    @property
    def correct(self) -> Tensor:
        """(N,) bool. UserError without labels."""
        if self.labels is None:
            raise UserError("these photos have no labels")
        return self.prediction == self.labels

    @cached_property
    def accuracy(self) -> Estimate:
        return estimate(self.correct)


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
        self, classifier: Classifier, features: Tensor, names: Sequence[str], labels: Tensor | None
    ) -> None:
        """UserError where there are no photos."""
        if not len(features):
            raise UserError("no photos to study")
        self.encoder = classifier.encoder
        self.templates: Templates = classifier.templates
        self.features, self.names, self.labels = features, list(names), labels
        self.start = self.standing(classifier.texts)

    def standing(self, texts: TextSet) -> Standing:
        of = rows(texts, self.templates)
        features = self.encoder.texts([r.sentence for r in of])
        scoring = scoring_texts(of, features, len(texts.classes))
        return Standing(texts, of, scoring, scoring.cosines(self.features), self.labels)

    def change(self, before: Standing, after: Standing) -> PairedTest:
        """Accuracy after minus before, with its interval, and how many photos became right or wrong."""
        return paired_test(before.correct, after.correct)

    def leave_one_out(self, of_class: str | None = None) -> list[Worth]:
        """Every text but the names, of one class or of all: what it is worth, the most useful first."""
        standing = self.start
        wanted = [
            i
            for i, r in enumerate(standing.rows)
            if r.kind in EDITED and (of_class is None or r.index == class_index(standing.texts, of_class))
        ]
        self.start.correct  # noqa: B018  # without labels this says so
        return self._worth([(standing.rows[i], self._without(i), standing.decisions.scores) for i in wanted])

    def add_one(self, of_class: str, kind: str, texts: Sequence[str]) -> list[Worth]:
        """Each of some new texts of a class alone: what it would be worth, the most useful first."""
        if kind not in EDITED:
            raise UserError(f"kind '{kind}'{nearest(kind, EDITED)}")
        index = class_index(self.start.texts, of_class)
        self.start.correct  # noqa: B018
        tries = []
        for text in texts:
            more = with_text(self.start.texts, index, kind, text)
            standing = self.standing(more)
            row = next((r for r in standing.rows if (r.index, r.kind, r.text) == (index, kind, text)), None)
            if row is None or len(standing.rows) == len(self.start.rows):
                raise UserError(f"'{of_class}' has the {kind} '{text}' already")
            tries.append((row, self.start.decisions.scores, standing.decisions.scores))
        return self._worth(tries)

    def _worth(self, tries: Sequence[tuple[Row, Tensor, Tensor]]) -> list[Worth]:
        """Each text with the scores (N, C) without and with it."""
        labels, classes = self.labels, self.start.texts.classes
        assert labels is not None
        tests = [paired_test(a.argmax(dim=1).eq(labels), b.argmax(dim=1).eq(labels)) for _, a, b in tries]
        leads = [mean_interval(lead(b, labels) - lead(a, labels)) for _, a, b in tries]
        adjusted = holm([t["p_value"] for t in tests])
        found = [
            Worth(row, classes[row.index].name, test, ahead, p)
            for (row, _, _), test, ahead, p in zip(tries, tests, leads, adjusted, strict=True)
        ]
        return sorted(found, key=lambda w: (-w.test["difference"]["value"], -w.lead["value"]))

    def _without(self, text: int) -> Tensor:
        """Scores (N, C) without one text, from the cosines that are there: only its class's score changes."""
        s, cosines, c = self.start.scoring, self.start.cosines, self.start.rows[text].index
        scores, terms = self.start.decisions.scores, int(s.terms_of_mean[c])
        total = scores[:, c] * terms / 100
        if self.start.rows[text].kind in MEAN_KINDS:
            total, terms = total - cosines[:, text], terms - 1
        else:
            others = (s.owner == c) & ~s.averaged
            best = cosines[:, others].max(dim=1).values
            others[text] = False
            total = total - best + cosines[:, others].max(dim=1).values
        changed = scores.clone()
        changed[:, c] = 100 * total / terms
        return changed


def lead(scores: Tensor, labels: Tensor) -> Tensor:
    """(N,) how far the true class is before the best other one, negative behind it: scores (N, C), labels (N,)."""
    true = scores.gather(1, labels[:, None])[:, 0]
    return true - scores.scatter(1, labels[:, None], -torch.inf).max(dim=1).values


def mean_interval(values: Tensor) -> Estimate:
    """Mean of (N,) values with its 95 % interval by Student's t; without an interval for one value."""
    n, mean = len(values), float(values.mean())
    half = float(student.ppf((1 + LEVEL) / 2, n - 1) * values.std() / n**0.5) if n > 1 else float("inf")
    return {"value": mean, "low": mean - half, "high": mean + half}


def class_index(texts: TextSet, name: str) -> int:
    """UserError, with the nearest name, for a class that is not there."""
    names = [c.name for c in texts.classes]
    if name not in names:
        raise UserError(f"no class '{name}'{nearest(name, names)}")
    return names.index(name)


def with_text(texts: TextSet, index: int, kind: str, text: str) -> TextSet:
    """The texts and one more."""
    entries = list(texts.classes)
    one: ClassTexts = entries[index]
    entries[index] = one.model_copy(update={kind: [*getattr(one, kind), text]})
    return texts.model_copy(update={"classes": entries})
