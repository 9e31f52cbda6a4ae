"""The classes that are confused, each pair with a photo and the texts that decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import pandas as pd
import torch

from ...baselines.methods import LABELS
from ...evaluation.reasons import ScoringTexts, Term, for_and_against
from ...foundation.artifacts import read_tensors
from ...neighbors import MAX_KINDS, MEAN_KINDS
from ...texts.sentences import Sentences
from ..parts import cells, frames, mistakes, notes
from ..parts.table import Cell, Column, Table
from ..results import Results

SECTION = "Errors"
ORDER = 10
PHASES = ("zero_shot", "rerank", "image_features", "text_features")

SHOWN, KEPT = 8, 200  # pairs of a data set: in the table, in the CSV
MOST = 2  # texts for and against the wrong class
CAPTION = (
    "Test images of a class that each method takes for another one, the most frequent first, with "
    "the one that stage one (CODER) takes so most surely. A sure mistake often shows a wrong "
    "label, or a text that fits another class."
)
TEXTS = (
    " On the right the strongest texts for the wrong class and for the true one, and the points of "
    "score that each adds (“not x”: a text of x that fits badly)."
)


def nothing(results: Results) -> str:
    """Why there is no error to show; "" if there is one."""
    some = any(len(mistakes.mistakes(mistakes.predictions(results, *place))) for place in results)
    if some:
        return ""
    return "every method is right on every test image"


def table(results: Results) -> Table:
    """The pairs of classes that are confused most, by CLIP, CODER and the rerank.

    The pairs in the table have reasons.
    """
    rows: list[dict[Any, Any]] = []
    for dataset, model in results:
        names = results.zero_shot(dataset, model)["classes"]
        predictions = mistakes.predictions(results, dataset, model)
        images = predictions["label"].value_counts()
        pairs = mistakes.mistakes(predictions).head(KEPT).to_dict("records")
        # Explaining a confusion takes the texts and features of its images, so only the pairs that
        # are shown are explained.
        stage_one = StageOneReasons(results, dataset, model) if pairs else None
        for i, pair in enumerate(pairs):
            label, predicted = pair["label"], pair["predicted"]
            row: dict[Any, Any] = {"dataset": dataset, "model": model, "class": names[label]}
            row |= {**pair, "taken_for": names[predicted], "images": images[label]}
            if stage_one and i < SHOWN:
                # the reasons are those of stage one, so the example must be a mistake of stage one
                wrong = predictions["label"].eq(label) & predictions["coder"].eq(predicted)
                row |= stage_one.surest(list(predictions.index[wrong]), predicted, label)
            rows.append(row)
    columns = ["dataset", "model", "class", "taken_for", "images", *mistakes.METHODS]
    frame = frames.tidy(rows, [*columns, "example", "lead", "wrong", "right"])
    caption = CAPTION
    if any(frame["wrong"].dropna()):
        caption += TEXTS
    shown = frame.groupby(["dataset", "model"], sort=False).head(SHOWN)
    return cells.table(
        results,
        "Errors, and the texts behind them",
        f"{caption} {mistakes.about(results, len(shown) < len(frame), SHOWN, 'pairs')}",
        frame,
        [
            (
                Column("Is → taken for", numeric=False),
                lambda r: Cell(f"{r['class']} → {r['taken_for']}"),
            ),
            (Column("Image", numeric=False), _picture),
            (Column("Images per class", wide=True), cells.count("images")),
            *(
                (Column(f"{LABELS[m]} (images)", wide=m == "clip"), cells.count(m))
                for m in mistakes.shown(results)
            ),
            (Column("Speaks for the wrong class", numeric=False, line=True), _texts("wrong")),
            (Column("Speaks for the true class", numeric=False, line=True), _texts("right")),
        ],
        shown=shown,
        notes=_changed(results),
    )


class StageOneReasons:
    """Why stage one took an image for another class.

    The texts for the wrong class, and the texts against it.

    From the texts of a data set and the features of its test images, in the setting clean: without
    the bugs of the published code.
    """

    def __init__(self, results: Results, dataset: str, model: str) -> None:
        images, of_images = read_tensors(results.paths.image_features(model, dataset, "test"))
        texts, of_texts = read_tensors(results.paths.text_features(model, dataset))
        self.place = {image: i for i, image in enumerate(of_images["ids"])}
        self.features = images["features"]  # (N, d)
        self.classes: list[dict[str, Any]] = results.texts(dataset)["classes"]
        sentences = Sentences(of_texts["text"], of_texts["kind"], texts["class_index"].tolist())
        # rows of the texts of the kinds that count in CODER's score
        rows = [r for kind in (*MEAN_KINDS, *MAX_KINDS) for r in sentences.rows(kind)]
        averaged = torch.tensor([sentences.kind[r] in MEAN_KINDS for r in rows])
        self.owner = [sentences.class_index[r] for r in rows]  # class of each text
        self.scoring = ScoringTexts(
            texts["features"][rows], torch.tensor(self.owner), averaged, len(self.classes)
        )
        self.phrases = self._phrases(sentences, rows)

    def _phrases(self, sentences: Sentences, rows: Sequence[int]) -> list[str]:
        """The text of each row as the text set has it, without its template.

        Where templates made several sentences of a text, the sentences are returned instead.
        """
        phrases: list[str] = []
        # rows of one kind and class are neighbours, in the order of the text set
        for (kind, c), group in groupby(
            rows, lambda r: (sentences.kind[r], sentences.class_index[r])
        ):
            filled = [sentences.text[r] for r in group]
            texts = [self.classes[c]["name"]] if kind == "name" else self.classes[c].get(kind, ())
            phrases += texts if len(texts) == len(filled) else filled
        return phrases

    def surest(self, images: Sequence[str], predicted: int, label: int) -> dict[str, Any]:
        """The surest mistake: the image with the largest lead of the wrong class over the true one.

        images: ids of images of class ``label`` that stage one takes for ``predicted``. Keys:
        example: the image; lead: in points of score; wrong, right: the strongest texts for the
        wrong class and for the true one, "" if there are only names. {} without features.
        """
        with_features = [image for image in images if image in self.place]
        if not with_features:
            return {}
        features = self.features[[self.place[image] for image in with_features]]
        cosines = self.scoring.cosines(features)
        scores = self.scoring.scores(cosines)
        lead = scores[:, predicted] - scores[:, label]
        best = int(lead.argmax())
        (terms,) = self.scoring.explain(
            cosines[[best]], torch.tensor([predicted]), torch.tensor([label])
        )
        # one text per class is its name, which explains nothing
        only_names = len(self.owner) <= len(self.classes)
        wrong, right = for_and_against(terms, 0 if only_names else MOST)
        return {
            "example": with_features[best],
            "lead": float(lead[best]),
            "wrong": self._in_words(wrong, predicted),
            "right": self._in_words(right, label),
        }

    def _in_words(self, terms: Sequence[Term], speaking_for: int) -> str:
        """The texts that speak for a class, with points of score, such as ``cat: whiskers (0.82);
        not dog: a long snout (0.40), a wet nose (0.31)``.
        """
        texts_of: dict[str, list[str]] = {}
        for t in terms:
            c = self.owner[t.text]
            name = self.classes[c]["name"]
            if c != speaking_for:
                name = f"not {name}"
            texts_of.setdefault(name, []).append(f"{self.phrases[t.text]} ({abs(t.adds):.2f})")
        return "; ".join(f"{name}: {', '.join(texts)}" for name, texts in texts_of.items())


def _changed(results: Results) -> list[str]:
    """A note on how many images the rerank put right and wrong; empty if none."""
    said = []
    for dataset, model in results:
        reranked = results.main_methods(dataset, model).get("coder_rerank")
        if reranked is None:
            continue
        changed = reranked["against_stage_one"]
        if any(changed.values()):
            where = notes.place(results, dataset, model)
            said.append(f"{changed['fixed']} images right and {changed['broke']} wrong ({where})")
    if not said:
        return []
    return [f"The rerank put {'; '.join(said)}."]


def _picture(r: cells.Record) -> Cell:
    """The example with its lead; – without one."""
    if pd.isna(r["example"]):
        return Cell("–")
    return Cell(f"{r['example']} ({r['lead']:.1f} ahead)", picture=(r["dataset"], r["example"]))


def _texts(side: str) -> Callable[[cells.Record], Cell]:
    """Make a function from a record to the cell of its texts; – without texts."""
    return lambda r: Cell("–" if pd.isna(r[side]) or r[side] == "" else r[side])
