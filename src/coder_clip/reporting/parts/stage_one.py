"""Why stage one took an image for another class: the texts for it, and those against."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch

from ...evaluation.reasons import ScoringTexts, Term, for_and_against
from ...foundation.artifacts import read_tensors
from ...neighbors import MAX_KINDS, MEAN_KINDS
from ...texts.sentences import Sentences
from ..results import Results

MOST = 2  # texts on each side


class StageOne:
    """The texts of a data set and the features of its test images (``setting`` clean: no bug of the published code)."""

    def __init__(self, results: Results, dataset: str, model: str) -> None:
        images, of_images = read_tensors(results.paths.image_features(model, dataset, "test"))
        texts, of_texts = read_tensors(results.paths.text_features(model, dataset))
        self.place = {image: i for i, image in enumerate(of_images["ids"])}
        self.features = images["features"]  # (N, d)
        self.classes: list[dict[str, Any]] = results.texts(dataset)["classes"]
        sentences = Sentences(of_texts["text"], of_texts["kind"], texts["class_index"].tolist())
        rows = [r for kind in (*MEAN_KINDS, *MAX_KINDS) for r in sentences.rows(kind)]
        averaged = torch.tensor([sentences.kind[r] in MEAN_KINDS for r in rows])
        self.owner = [sentences.class_index[r] for r in rows]
        self.scoring = ScoringTexts(
            texts["features"][rows], torch.tensor(self.owner), averaged, len(self.classes)
        )
        self.phrases = self._phrases(sentences, rows)

    def _phrases(self, sentences: Sentences, rows: Sequence[int]) -> list[str]:
        """Each text as the text set has it, without its template; the sentence where they cannot be told apart."""
        phrases: list[str] = []
        for (kind, c), group in groupby(rows, lambda r: (sentences.kind[r], sentences.class_index[r])):
            written = [sentences.text[r] for r in group]
            texts = [self.classes[c]["name"]] if kind == "name" else self.classes[c].get(kind, ())
            phrases += texts if len(texts) == len(written) else written
        return phrases

    def surest(self, images: Sequence[str], predicted: int, label: int) -> dict[str, Any]:
        """The surest mistake among images of this label taken for ``predicted``; empty if their features are gone.

        example: the image; lead: of the wrong class over the true one, points of score. wrong, right: the strongest
        texts for the wrong class and for the true one; empty if there are only names.
        """
        there = [image for image in images if image in self.place]
        if not there:
            return {}
        cosines = self.scoring.cosines(self.features[[self.place[image] for image in there]])
        scores = self.scoring.scores(cosines)
        lead = scores[:, predicted] - scores[:, label]
        best = int(lead.argmax())
        (terms,) = self.scoring.explain(cosines[[best]], torch.tensor([predicted]), torch.tensor([label]))
        wrong, right = for_and_against(terms, MOST if len(self.owner) > len(self.classes) else 0)
        said = {"wrong": self._said(wrong, predicted), "right": self._said(right, label)}
        return {"example": there[best], "lead": float(lead[best]), **said}

    def _said(self, terms: Sequence[Term], speaking_for: int) -> str:
        """Such as ``cat: whiskers (0.82); not dog: a long snout (0.40), a wet nose (0.31)``, in points of score."""
        said: dict[str, list[str]] = {}
        for t in terms:
            c = self.owner[t.text]
            name = f"{'' if c == speaking_for else 'not '}{self.classes[c]['name']}"
            said.setdefault(name, []).append(f"{self.phrases[t.text]} ({abs(t.adds):.2f})")
        return "; ".join(f"{name}: {', '.join(texts)}" for name, texts in said.items())
