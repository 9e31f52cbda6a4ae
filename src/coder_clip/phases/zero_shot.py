"""Phase zero_shot: stage one and its baselines (paper, section 3.4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd
from torch import Tensor

from ..baselines.zero_shot import class_weights, clip_scores, description_scores, mean_scores
from ..evaluation import recommendation
from ..foundation.artifacts import Paths, made_by, write_json, write_parquet
from ..protocols import usable
from ..zero_shot import predict
from .coder import read_neighbors, uses_published_texts
from .common import (
    SplitFeatures,
    Texts,
    read_image_features,
    read_texts,
    read_validation,
    use_threads,
)
from .predictions import metrics, rows

if TYPE_CHECKING:
    from ..pipeline.config import Config


ABOUT = "Stage one and its baselines on test and validation images."


def run(config: Config, model: str, dataset: str) -> None:
    """Write ``zero_shot/{model}/{dataset}.parquet`` and ``.json``."""
    # Every method is reduced to scores (N, C), so that tables and metrics treat all alike. Plain
    # CLIP comes first: the other methods are compared with tables[0].
    use_threads(config.features.threads)
    images = read_image_features(config, model, dataset, "test")
    val = read_validation(config, model, dataset)
    texts = read_texts(config, model, dataset, images)
    x, n_classes = images.features, len(images.classes)

    scores = _scores(config, images, texts, config.settings)
    tables = [
        rows(images, method, setting, s, predict(s)) for (method, setting), s in scores.items()
    ]
    methods = [metrics(config, [table], tables[0], n_classes) for table in tables]
    if texts.random_words is not None:
        draws = []  # one table per draw
        for draw, means in enumerate(texts.random_words):
            drawn = mean_scores(x, means)
            draws.append(rows(images, "random_words", "any", drawn, predict(drawn), draw))
        tables += draws
        methods.append(metrics(config, draws, tables[0], n_classes))
    paths = Paths(config.results)
    out = paths.zero_shot(model, dataset)
    write_parquet(out, pd.concat(tables, ignore_index=True))
    inputs = [
        *(paths.image_features(model, dataset, s) for s in ("val", "test") if s == "test" or val),
        paths.text_features(model, dataset),
        paths.coder(model, dataset),
    ]
    document: dict[str, Any] = {
        "dataset": dataset,
        "model": model,
        "split": "test",
        "images": len(images.ids),
        "left_out": images.n_skipped,
        "classes": images.classes,
        "methods": methods,
        "validation": None,
        "made_by": made_by(f"coder-clip zero-shot --model {model} --dataset {dataset}", inputs),
    }
    if val is not None:
        document["validation"] = _on_validation(config, val, texts)
    write_json(out.with_suffix(".json"), document)


def _scores(
    config: Config, images: SplitFeatures, texts: Texts, settings: Iterable[str]
) -> dict[tuple[str, str], Tensor]:
    """(method, setting) -> scores (N, C): every baseline with setting "any", and CODER in these
    settings.
    """
    x, n_classes = images.features, len(images.classes)
    scores = {(method, "any"): s for method, s in baseline_scores(texts, x, n_classes).items()}
    for setting in settings:
        neighbors = read_neighbors(config, images, uses_published_texts(setting))
        scores["coder", setting] = neighbors.class_scores(x)
    return scores


def _on_validation(config: Config, val: SplitFeatures, texts: Texts) -> dict[str, Any]:
    """Every method on validation images, CODER in the setting that new images are classified in.

    In the result, candidates is the number of methods that a user can choose from, which the
    intervals are corrected for.
    """
    setting = usable(config.settings)
    settings, reranked = [], []
    if setting:
        # the phase rerank adds one more candidate, so the correction counts the rerank already
        settings, reranked = [setting], ["coder_rerank"]
    scores = _scores(config, val, texts, settings)
    correct = {key: predict(s) == val.labels for key, s in scores.items()}
    tests = recommendation.n_candidates([method for method, _ in scores] + reranked)
    of_names = correct[recommendation.NAMES, "any"]
    methods = [
        recommendation.entry(*key, right, of_names, tests, val.groups)
        for key, right in correct.items()
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
