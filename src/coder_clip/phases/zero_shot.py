"""Phase zero_shot: stage one and its baselines (paper, section 3.4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
from torch import Tensor

from ..baselines.zero_shot import class_weights, clip_scores, description_scores, mean_scores
from ..evaluation import validation
from ..foundation.artifacts import made_by, write_json, write_parquet
from ..protocols import usable
from ..zero_shot import predict
from .coder import read_neighbors, uses_published_texts
from .common import SplitFeatures, read_image_features, use_threads
from .predictions import metrics, rows
from .text_inputs import Texts, read_texts


def run(
    *,
    val: str | None,
    test: str,
    texts: str,
    coder: str,
    out: str,
    document: str,
    settings: list[str],
    command: str,
    threads: int,
) -> None:
    """Classify test and validation images by stage one and its baselines; write a row for each
    image, and the metrics.

    val, test: image features; val is None for a data set without validation images. texts: text
    features. coder: the compact CODER. out, document: Parquet and JSON. command: that makes the
    files, for their provenance.
    """
    # Every method is reduced to scores (N, C), so that tables and metrics treat all alike. Plain
    # CLIP comes first: the other methods are compared with tables[0].
    use_threads(threads)
    images = read_image_features(test)
    sentences = read_texts(texts, images)
    x, n_classes = images.features, len(images.classes)

    scores = _scores(coder, images, sentences, settings)
    tables = [
        rows(images, method, setting, s, predict(s)) for (method, setting), s in scores.items()
    ]
    methods = [metrics([table], tables[0], n_classes) for table in tables]
    if sentences.random_words is not None:
        draws = []  # one table per draw
        for draw, means in enumerate(sentences.random_words):
            drawn = mean_scores(x, means)
            draws.append(rows(images, "random_words", "any", drawn, predict(drawn), draw))
        tables += draws
        methods.append(metrics(draws, tables[0], n_classes))
    write_parquet(out, pd.concat(tables, ignore_index=True))
    found: dict[str, Any] = {
        "dataset": images.meta["dataset"],
        "model": images.meta["model"],
        "split": "test",
        "images": len(images.ids),
        "left_out": images.n_skipped,
        "classes": images.classes,
        "methods": methods,
        "validation": None,
        "made_by": made_by(command, [val, test, texts, coder]),
    }
    if val is not None:
        found["validation"] = _on_validation(coder, read_image_features(val), sentences, settings)
    write_json(document, found)


def _scores(
    coder: str, images: SplitFeatures, texts: Texts, settings: Iterable[str]
) -> dict[tuple[str, str], Tensor]:
    """(method, setting) -> scores (N, C): every baseline with setting "any", and CODER in these
    settings.
    """
    x, n_classes = images.features, len(images.classes)
    scores = {(method, "any"): s for method, s in baseline_scores(texts, x, n_classes).items()}
    for setting in settings:
        neighbors = read_neighbors(coder, images, uses_published_texts(setting))
        scores["coder", setting] = neighbors.class_scores(x)
    return scores


def _on_validation(
    coder: str, val: SplitFeatures, texts: Texts, run_settings: list[str]
) -> dict[str, Any]:
    """Every method on validation images, CODER in the setting that new images are classified in.

    In the result, candidates is the number of methods that a user can choose from, which the
    intervals are corrected for.
    """
    setting = usable(run_settings)
    settings, reranked = [], []
    if setting:
        # the phase rerank adds one more candidate, so the correction counts the rerank already
        settings, reranked = [setting], ["coder_rerank"]
    scores = _scores(coder, val, texts, settings)
    correct = {key: predict(s) == val.labels for key, s in scores.items()}
    tests = validation.n_candidates([method for method, _ in scores] + reranked)
    of_names = correct[validation.NAMES, "any"]
    methods = [
        validation.entry(*key, right, of_names, tests, val.groups) for key, right in correct.items()
    ]
    return {"images": len(val.ids), "candidates": tests, "methods": methods}


def baseline_scores(texts: Texts, x: Tensor, n_classes: int) -> dict[str, Tensor]:
    """Scores (N, C) of images x (N, d) by each zero-shot method but CODER that these texts
    allow.
    """
    # Kinds of texts (`texts.sentences`): prompt, of the ensemble; attribute, with the name of the
    # class; attribute_alone, without it; sentence, a whole sentence as in CuPL. The names serve as
    # fallback for classes without such texts.
    names = texts.of("name")
    scores = {
        "clip": clip_scores(x, class_weights(*names, n_classes)),
        "clip_ensemble": clip_scores(x, class_weights(*texts.of("prompt"), n_classes)),
    }
    if texts.template_weights is not None:
        scores["clip_templates"] = clip_scores(x, texts.template_weights)
    if texts.sentences.rows("attribute"):
        for method, kind in (("description", "attribute"), ("attributes_alone", "attribute_alone")):
            scores[method] = description_scores(x, *texts.of(kind), n_classes, fallback=names)
    if texts.sentences.rows("sentence"):
        weights = class_weights(*texts.of("sentence"), n_classes, fallback=names)
        scores["sentence"] = clip_scores(x, weights)
    return scores
