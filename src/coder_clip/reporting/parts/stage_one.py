"""Why stage one took an image for another class: the texts for it, and those against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ...evaluation.reasons import ScoringTexts, Term, for_and_against
from ...foundation.artifacts import read_tensors
from ...neighbors import MAX_KINDS, MEAN_KINDS
from ...texts.sentences import Sentences
from ..results import Results

MOST = 2  # texts on each side


@dataclass(frozen=True)
class Example:
    """The image that was taken for a class most surely. lead: of the wrong class over the true one, points of score.

    wrong, right: the strongest texts for the wrong class and for the true one; empty where there are only names.
    """

    image: str
    lead: float
    wrong: str
    right: str


class StageOne:
    """The texts of a data set and the features of its test images (``setting`` clean: no bug of the published code)."""

    def __init__(self, results: Results, dataset: str, model: str) -> None:
        images, of_images = read_tensors(results.paths.image_features(model, dataset, "test"))
        texts, of_texts = read_tensors(results.paths.text_features(model, dataset))
        self.place = {image: i for i, image in enumerate(of_images["ids"])}
        self.features: Tensor = images["features"]  # (N, d)
        sentences = Sentences(of_texts["text"], of_texts["kind"], texts["class_index"].tolist())
        self.rows = [r for kind in (*MEAN_KINDS, *MAX_KINDS) for r in sentences.rows(kind)]
        self.sentences, self.text_features = sentences, texts["features"]
        self.classes: list[dict[str, Any]] = results.texts(dataset)["classes"]

    @cached_property
    def scoring(self) -> ScoringTexts:
        kinds = [self.sentences.kind[r] for r in self.rows]
        owner = torch.tensor([self.sentences.class_index[r] for r in self.rows])
        averaged = torch.tensor([kind in MEAN_KINDS for kind in kinds])
        return ScoringTexts(self.text_features[self.rows], owner, averaged, len(self.classes))

    @cached_property
    def phrases(self) -> list[str]:
        """Each text as the text set has it, without its template; the sentence where they cannot be told apart."""
        by_place: dict[tuple[int, str], list[int]] = {}
        for i, r in enumerate(self.rows):
            by_place.setdefault((self.sentences.class_index[r], self.sentences.kind[r]), []).append(i)
        found = [self.sentences.text[r] for r in self.rows]
        for (c, kind), places in by_place.items():
            texts = [self.classes[c]["name"]] if kind == "name" else list(self.classes[c].get(kind, ()))
            if len(texts) == len(places):
                for i, text in zip(places, texts, strict=True):
                    found[i] = text
        return found

    def surest(self, images: Sequence[str], predicted: int, label: int) -> Example | None:
        """Of images (of this label, taken for ``predicted``) the surest mistake; None where their features are gone."""
        there = [image for image in images if image in self.place]
        if not there:
            return None
        cosines = self.scoring.cosines(self.features[[self.place[image] for image in there]])
        scores = self.scoring.scores(cosines)
        lead = scores[:, predicted] - scores[:, label]
        best = int(lead.argmax())
        (terms,) = self.scoring.explain(
            cosines[best : best + 1], torch.tensor([predicted]), torch.tensor([label])
        )
        names_alone = len(self.rows) == len(self.classes)
        sides = ([], []) if names_alone else for_and_against(terms, MOST)
        wrong, right = (self._said(terms, c) for terms, c in zip(sides, (predicted, label), strict=True))
        return Example(there[best], float(lead[best]), wrong, right)

    def _said(self, terms: Sequence[Term], speaking_for: int) -> str:
        """Such as ``cat: whiskers (0.82); not dog: a long snout (0.40), a wet nose (0.31)``, in points of score."""
        owner = self.scoring.owner.tolist()
        said: dict[str, list[str]] = {}
        for t in terms:
            no = "" if owner[t.text] == speaking_for else "not "
            texts = said.setdefault(f"{no}{self.classes[owner[t.text]]['name']}", [])
            texts.append(f"{self.phrases[t.text]} ({abs(t.adds):.2f})")
        return "; ".join(f"{name}: {', '.join(texts)}" for name, texts in said.items())
