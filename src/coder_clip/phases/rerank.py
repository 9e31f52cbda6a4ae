"""Phase rerank: stage two, for every setting (paper, section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ..baselines.zero_shot import class_weights, clip_scores
from ..evaluation import validation
from ..evaluation.estimates import compare, estimate
from ..foundation.artifacts import (
    made_by,
    read_json,
    read_parquet,
    read_tensors,
    write_json,
    write_parquet,
)
from ..protocols import DEFAULT_THRESHOLD, FLAWS, SETTINGS, Setting, usable
from ..rerank import OneToOne, Reranked, rerank_scores
from ..zero_shot import predict
from .coder import text_neighbors
from .common import AS_PUBLISHED, SplitFeatures, belongs, read_image_features, use_threads
from .predictions import metrics, rows
from .text_inputs import Texts, read_texts

METHOD = "coder_rerank"


def run(
    *,
    val: str | None,
    test: str,
    texts: str,
    one_to_one: str,
    stage_one: str,
    candidates: str,
    out: str,
    document: str,
    settings: list[str],
    threshold: float,
    thresholds: list[float],
    top_k: int,
    command: str,
    threads: int,
) -> None:
    """Rerank the top classes of uncertain images with one-to-one texts; write a row for each image,
    and the metrics.

    Settings that choose the threshold on validation images use the default one without such images.

    val, test: image features. texts, one_to_one: features. stage_one, candidates: what zero_shot
    wrote, Parquet and JSON. out, document: Parquet and JSON. threshold: of the margin, as
    published; thresholds: that are tried. top_k: number of classes that are compared.
    """
    # Both stages run once per setting, for every image. A threshold then only chooses between their
    # two predictions, so the sweep over thresholds costs little.
    use_threads(threads)
    images = read_image_features(test)
    # key: as published or not
    pairs = {flag: read_one_to_one(one_to_one, images, flag) for flag in (False, True)}
    predicted = read_parquet(stage_one, ["method", "correct"])
    clip = predicted[predicted["method"] == "clip"]
    inputs = RerankInputs(
        images,
        None if val is None else read_image_features(val),
        read_texts(texts, images),
        pairs,
        threshold,
        thresholds,
        top_k,
    )

    tables, documents, sweep = [], [], []
    for setting in settings:
        result = stage_two(inputs, SETTINGS[setting])
        both, reranked = result.both, result.reranked
        table = rows(images, METHOD, setting, result.scores, result.prediction)
        table["looked_at"], table["stage_one"] = reranked.numpy(), both.stage_one.numpy()
        tables.append(table)
        documents.append(
            {
                **metrics([table], clip, len(images.classes)),
                "threshold": result.threshold,
                "looked_at": int(reranked.sum()),
                "against_stage_one": against_stage_one(table),
                "comparisons": comparisons(
                    both.classes[reranked], inputs.pairs_of(SETTINGS[setting])
                ),
            }
        )
        # both predictions are known, and each threshold chooses between them
        for t in thresholds:
            right = both.predictions(t) == images.labels
            point = {
                "accuracy": float(right.double().mean()),
                "looked_at": int(((both.gap < t) & result.eligible).sum()),
            }
            sweep.append({"setting": setting, "threshold": t, **point})

    write_parquet(out, pd.concat(tables, ignore_index=True))
    found: dict[str, Any] = {
        "dataset": images.meta["dataset"],
        "model": images.meta["model"],
        "split": "test",
        "images": len(images.ids),
        "classes": images.classes,
        "pairs_with_texts": len(pairs[False]),
        "methods": documents,
        "validation": None,
        "sweep": sweep,
        "flaws": [],
        "made_by": made_by(command, [val, test, texts, one_to_one, stage_one, candidates]),
    }
    if inputs.val is not None:
        tests = read_json(candidates)["validation"]["candidates"]  # number of tests to correct for
        found["validation"] = _on_validation(inputs, settings, tests)
    if "as_published" in settings:
        found["flaws"] = flaws(inputs)
    write_json(document, found)


@dataclass(frozen=True)
class StageScores:
    """Stage one's scores (N, C) of the test split; both stages' predictions, also on validation."""

    scores: Tensor
    test: Reranked
    val: Reranked | None


@dataclass(frozen=True)
class RerankInputs:
    """The inputs of stage two in any setting. val: None if the data set has no validation images.

    pairs: the differences of pairs; key True: from the published code's sentences, False: from
    correct ones. threshold: of the margin, as published; thresholds: that are tried. top_k: number
    of classes that are compared. shared: results so far, by the bugs in the
    texts of a setting (`stages`), because settings with the same texts share them.
    """

    test: SplitFeatures
    val: SplitFeatures | None
    texts: Texts
    pairs: dict[bool, OneToOne]
    threshold: float
    thresholds: list[float]
    top_k: int
    shared: dict[tuple[bool, ...], StageScores] = field(default_factory=dict)

    def pairs_of(self, s: Setting) -> OneToOne:
        """The pair differences of a setting."""
        return self.pairs[s.one_to_one_as_published]

    def stages(self, s: Setting) -> StageScores:
        """Both stages with the texts of a setting, for all settings with these texts."""
        key = (
            s.synonyms_reach_clip,
            s.underscores_in_names_only,
            s.class_names_as_published,
            s.one_to_one_as_published,
        )
        if key not in self.shared:
            neighbors = text_neighbors(self.texts, s)
            scores = neighbors.class_scores(self.test.features)
            top, pairs = self.top_k, self.pairs_of(s)
            test = rerank_scores(self.test.features, scores, pairs, top)
            val = None
            if self.val is not None:
                x = self.val.features
                val = rerank_scores(x, neighbors.class_scores(x), pairs, top)
            self.shared[key] = StageScores(scores, test, val)
        return self.shared[key]


@dataclass(frozen=True)
class SettingResult:
    """Stage two in one setting.

    scores: (N, C) of stage one; both: predictions of both stages; eligible: (N,) bool, images that
    the setting may rerank.
    """

    scores: Tensor
    both: Reranked
    threshold: float
    eligible: Tensor

    @property
    def reranked(self) -> Tensor:
        """(N,) bool, the images that stage two decides."""
        return (self.both.gap < self.threshold) & self.eligible

    @property
    def prediction(self) -> Tensor:
        """(N,) int64, the final classes."""
        return torch.where(self.reranked, self.both.stage_two, self.both.stage_one)


def stage_two(inputs: RerankInputs, s: Setting) -> SettingResult:
    """The rerank of the test split in a setting."""
    stages, thresholds = inputs.stages(s), inputs.thresholds
    threshold = inputs.threshold
    if s.rerank_threshold == "test":
        threshold = best_threshold(thresholds, stages.test, inputs.test.labels)
    elif s.rerank_threshold == "validation":
        # without validation images there is nothing to choose on
        threshold = DEFAULT_THRESHOLD
        if stages.val is not None and inputs.val is not None:
            threshold = best_threshold(thresholds, stages.val, inputs.val.labels)
    eligible = torch.full((len(inputs.test.ids),), s.reranks)
    # as published: an image whose label is not among the top five is not counted
    if s.gate_reads_labels:
        eligible &= (stages.test.classes == inputs.test.labels[:, None]).any(dim=1)
    return SettingResult(stages.scores, stages.test, threshold, eligible)


def _on_validation(inputs: RerankInputs, settings: list[str], tests: int) -> dict[str, Any]:
    """The rerank on validation images, in the setting that new images are classified in; no methods
    if the run has the setting as_published alone.

    Where the threshold is chosen on these images, each half has the threshold that is best on the
    other half.

    tests: number of tests that the intervals are corrected for.
    """
    val, setting = inputs.val, usable(settings)
    assert val is not None
    if setting is None:
        return {"images": len(val.ids), "methods": []}
    both = inputs.stages(SETTINGS[setting]).val
    assert both is not None
    if SETTINGS[setting].rerank_threshold == "validation":
        correct = cross_fitted(inputs.thresholds, both, val.labels, val.groups)
    else:
        correct = both.predictions(inputs.threshold) == val.labels
    # names alone on the same images, for the paired comparison
    names = clip_scores(val.features, class_weights(*inputs.texts.of("name"), len(val.classes)))
    of_names = predict(names) == val.labels
    entry = validation.entry(METHOD, setting, correct, of_names, tests, val.groups)
    return {"images": len(val.ids), "methods": [entry]}


def flaws(inputs: RerankInputs) -> list[dict[str, Any]]:
    """The effect of each flaw (bug or leak) of stage one and two: ``clean`` with this flaw against
    ``clean``, on the same images.
    """
    # flaws in texts change stage one, too, so CODER without the rerank is compared as well
    labels, groups = inputs.test.labels, inputs.test.groups
    clean = stage_two(inputs, SETTINGS["clean"])
    effects = []
    for key, flaw in FLAWS.items():
        if flaw.setting.adapter_selection != SETTINGS["clean"].adapter_selection:
            continue  # the phase adapter measures this flaw
        flawed = stage_two(inputs, flaw.setting)
        predictions = {}  # method -> predictions without and with the flaw
        if flaw.setting.published_texts:
            predictions["coder"] = clean.both.stage_one, flawed.both.stage_one
        predictions[METHOD] = clean.prediction, flawed.prediction
        for method, (before, after) in predictions.items():
            was, now = (before == labels).numpy(), (after == labels).numpy()
            effects.append(
                {
                    "flaw": key,
                    "method": method,
                    "clean": estimate(was, groups=groups),
                    "accuracy": estimate(now, groups=groups),
                    "difference": compare(was, now, groups=groups),
                    "looked_at": {
                        "clean": int(clean.reranked.sum()),
                        "flawed": int(flawed.reranked.sum()),
                    },
                }
            )
    return effects


def best_threshold(thresholds: list[float], both: Reranked, labels: Tensor) -> float:
    """The threshold with the highest accuracy on labels (N,); of several the smallest, which
    reranks the fewest images.
    """
    right = {t: int((both.predictions(t) == labels).sum()) for t in sorted(thresholds)}
    return max(right, key=lambda t: right[t])


def cross_fitted(
    thresholds: list[float], both: Reranked, labels: Tensor, groups: Tensor | None = None
) -> Tensor:
    """Correctness (N,) bool of the rerank, each half with the threshold that is best on the other.

    No image is evaluated with a threshold that it helped to choose, which would look too good. The
    halves are every other image in the order of the classes, so that each half has images of each
    class. groups: (N,), equal for near twins; whole groups alternate then, so that no image chooses
    the threshold of its near twin.
    """
    # in the order of classes, so that every other image or group splits each class
    order = labels.argsort(stable=True)
    # without groups each image is its own group
    group_of = (order if groups is None else groups[order]).tolist()
    half_of: dict[int, int] = {}  # group -> 0 or 1, in turn
    for group in group_of:
        half_of.setdefault(group, len(half_of) % 2)
    second = torch.tensor([half_of[group] for group in group_of]) == 1
    halves = (order[~second], order[second])
    correct = torch.zeros(len(labels), dtype=torch.bool)
    for half, other in (halves, halves[::-1]):
        threshold = best_threshold(thresholds, Reranked(*(t[other] for t in both)), labels[other])
        correct[half] = both.predictions(threshold)[half] == labels[half]
    return correct


def comparisons(classes: Tensor, pairs: OneToOne) -> dict[str, int]:
    """The number of comparisons of reranked images, and how many of them have texts.

    classes: (n, k) candidates of the images; all pairs of an image's candidates are compared.
    """
    i, j = torch.triu_indices(classes.shape[1], classes.shape[1], 1)
    a, b = classes[:, i], classes[:, j]
    # one number per unordered pair, the smaller class first
    compared = torch.minimum(a, b) * pairs.n_classes + torch.maximum(a, b)
    has_text = torch.isin(compared, pairs.pairs[:, 0] * pairs.n_classes + pairs.pairs[:, 1])
    return {"all": has_text.numel(), "with_text": int(has_text.sum())}


def against_stage_one(table: pd.DataFrame) -> dict[str, int]:
    """The numbers of images that the rerank puts right (fixed) and wrong (broke)."""
    before = table["stage_one"] == table["label"]
    return {
        "fixed": int((table["correct"] & ~before).sum()),
        "broke": int((before & ~table["correct"]).sum()),
    }


def read_one_to_one(
    file: str | Path, images: SplitFeatures, as_published: bool = False
) -> OneToOne:
    """Read the pair differences of these images' model and data set.

    as_published: from the published code's sentences, if these differ.

    UserError if the file was made for other features.
    """
    tensors, meta = read_tensors(file)
    belongs(Path(file), meta, images)
    # if both kinds of sentences are the same, the file has one set, without a prefix
    published = {
        k.removeprefix(AS_PUBLISHED): t for k, t in tensors.items() if k.startswith(AS_PUBLISHED)
    }
    return OneToOne.from_state(published if as_published and published else tensors)
