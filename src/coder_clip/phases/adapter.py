"""Phase adapter: the training-free few-shot methods, all with the same features and shots (paper,
section 3.5).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from ..baselines import CLIP_ENSEMBLE
from ..baselines.few_shot import FewShotInputs, Fitted, OfTexts
from ..baselines.few_shot import method as method_of
from ..baselines.grid_search import Point
from ..baselines.zero_shot import class_weights, clip_scores
from ..errors import UserError
from ..evaluation.estimates import compare, estimate
from ..foundation.artifacts import made_by, write_json, write_parquet
from ..protocols import FLAWS, SETTINGS, Setting
from ..texts.kinds import IN_CODER
from ..texts.sentences import FEW_SHOT
from .coder import text_tags
from .common import SplitFeatures, read_image_features, use_threads
from .predictions import with_groups
from .shots import different, drawn, shot_rows
from .text_inputs import VOCABULARY, Texts, read_texts

# the method whose flaws are measured, and that all other methods are compared with
CODER_ADAPTER = "coder_adapter"
Steps = tuple[float, float, int]  # from, to, number


@dataclass(frozen=True)
class SeedRun:
    """One method with one seed in one setting.

    point: hyper-parameters. prediction: (N,) classes of the test images.
    """

    point: Point
    val_accuracy: float
    test_accuracy: float
    prediction: Tensor


@dataclass(frozen=True)
class FittedMethod:
    """A method fitted to the shots of one seed, with the hyper-parameters that its search chose.

    texts: features (M, d) of each kind of text that the method was fitted with. searched: the
    hyper-parameters. runs: hyper-parameters -> result, shared by settings.
    """

    texts: list[Tensor]
    model: Fitted
    searched: Point
    runs: dict[Point, SeedRun] = field(default_factory=dict)


def run(
    *,
    pool: str,
    val: str,
    test: str,
    texts: str,
    out: str,
    document: str,
    shots: int,
    seeds: list[int],
    settings: list[str],
    methods: list[str],
    published: str,
    part: bool,
    initial: tuple[float, float],
    grid: tuple[Steps, Steps, int],
    skip: bool,
    command: str,
    threads: int,
) -> None:
    """Run the few-shot methods with ``shots`` images per class; write a row for each image, method,
    setting and seed, and their accuracies.

    pool, val, test: features of the shots of all seeds, of validation and test images. texts: text
    features. out, document: Parquet and JSON. published: the data set under which methods publish
    their settings. part: the data set is a part of another one. initial, grid: of the
    CODER-Adapter, α and β before the search, and the steps of both. skip: skip shots that could not
    be read.
    """
    # Settings share work: a seed's shots are read once (`inputs_of`), a method is fitted once for
    # all settings with the same texts (`fits`), and zero-shot CLIP, which depends on neither
    # shots nor setting, is one run for all.
    use_threads(threads)
    drawn_from, images = read_image_features(pool), read_image_features(test)
    sentences = read_texts(texts, images)
    n_classes = len(images.classes)
    # zeros, and so logits of 0, without texts of the classes
    weights = torch.zeros(n_classes, images.features.shape[1])
    if sentences.of_classes:
        weights = class_weights(*sentences.of("prompt"), n_classes)
    # every method adds to CLIP's logits, so they are computed once
    on_val, on_test = (
        ScoredSplit(split, clip_scores(split.features, weights))
        for split in (read_image_features(val), images)
    )
    clip_run = SeedRun(Point(), on_val.accuracy(), on_test.accuracy(), on_test.clip.argmax(dim=1))
    some = runnable(methods, sentences, part)
    other_seeds = different(seeds, drawn_from, shots)
    runs: dict[tuple[str, str, int], SeedRun] = {}  # by method, setting, seed
    # the CODER-Adapter: clean, and clean with one flaw; by flaw (or "clean") and seed
    flawed: dict[tuple[str, int], SeedRun] = {}
    of_texts = OfTexts()

    def run_seed(seed: int) -> None:
        """Fit, tune and evaluate all methods with one seed's shots; fills ``runs``, ``flawed``."""
        rows = shot_rows(drawn_from, shots, seed, skip)
        # fits so far; `_fit_once` adds to them, and settings with the same texts share one
        fits: dict[str, list[FittedMethod]] = {method: [] for method in some}
        # an image that is a shot must not choose hyper-parameters as well
        choosing = on_val.without({drawn_from.ids[i] for i in rows.tolist()})

        @cache
        def inputs_of(s: Setting) -> FewShotInputs:
            inputs = few_shot_inputs(
                published, grid, s, seed, drawn_from, rows, choosing.images, sentences, weights
            )
            return replace(inputs, of_texts=of_texts)

        def run_of(method: str, s: Setting) -> SeedRun:
            """Run one method in one setting."""
            m = _fit_once(method, inputs_of(s), choosing, fits[method])
            return _chosen(method, s, m, Point(*initial), choosing, on_test)

        for setting in settings:
            if sentences.of_classes:
                runs[CLIP_ENSEMBLE, setting, seed] = clip_run
            for method in some:
                runs[method, setting, seed] = run_of(method, SETTINGS[setting])
        # flaws are measured against clean, even if the run does not report clean
        if CODER_ADAPTER in some and "as_published" in settings:
            for key, s in {"clean": SETTINGS["clean"], **_flaws()}.items():
                flawed[key, seed] = run_of(CODER_ADAPTER, s)

    for seed in tqdm(other_seeds, desc=f"{shots} shots, seeds", unit="seed"):
        run_seed(seed)

    write_parquet(
        out, pd.concat([_rows(images, *key, r) for key, r in runs.items()], ignore_index=True)
    )
    write_json(
        document,
        {
            "dataset": images.meta["dataset"],
            "model": images.meta["model"],
            "shots": shots,
            "images": len(images.ids),
            "left_out": {"test": images.n_skipped, **_skipped_shots(seeds, drawn_from, shots)},
            "runs": [_document(*key, r, images) for key, r in runs.items()],
            "summary": _summary(other_seeds, runs, images),
            "flaws": _effects(other_seeds, flawed, images),
            "made_by": made_by(command, [pool, val, test, texts]),
        },
    )


def few_shot_inputs(
    published: str,
    grid: tuple[Steps, Steps, int],
    s: Setting,
    seed: int,
    pool: SplitFeatures,
    rows: Tensor,
    val: SplitFeatures,
    texts: Texts,
    weights: Tensor,
) -> FewShotInputs:
    """The inputs of a method: a seed's shots (rows of the pool), CLIP's weights (C, d), texts of a
    setting.

    published: the data set under which methods publish their settings. grid: steps of β and α, and
    rounds.
    """
    (b0, b1, b_steps), (a0, a1, a_steps), rounds = grid
    return FewShotInputs(
        dataset=published,
        seed=seed,
        cache=pool.features[rows],
        views=None if pool.views is None else pool.views[rows],
        labels=pool.labels[rows],
        weights=weights,
        texts=_texts_of_coder(texts, s),
        imagenet_names=texts.imagenet_names,
        validation=val.features,
        grid=((b0, b1, b_steps), (a0, a1, a_steps), rounds),
    )


def runnable(methods: list[str], texts: Texts, part: bool) -> list[str]:
    """The methods that a data set can run, in the order given. part: it is a part of another one.

    A data set without texts of its classes runs only methods that use neither such texts nor CLIP's
    logits. A data set that is a part of another one runs only the other methods.
    """
    named = texts.of_classes
    some = [m for m in methods if method_of(m).class_texts or not named or not part]
    return [m for m in some if named or not method_of(m).class_texts]


def _texts_of_coder(texts: Texts, s: Setting) -> dict[str, tuple[Tensor, Tensor]]:
    """Kind -> features (M, d) and classes (M,) of the texts that CODER describes images with.

    With a vocabulary, its texts count as names and the other kinds are empty; else the texts are
    those of a setting.
    """
    if texts.vocabulary is None:
        return {kind: texts.of(kind, FEW_SHOT, *text_tags(s, kind)) for kind in IN_CODER}
    nothing = texts.of("none")
    return {kind: texts.of(VOCABULARY) if kind == "name" else nothing for kind in IN_CODER}


@dataclass(frozen=True)
class ScoredSplit:
    """A split with CLIP's logits (N, C)."""

    images: SplitFeatures
    clip: Tensor

    def without(self, ids: set[str]) -> ScoredSplit:
        """The split without some images, shots that were drawn from it; UserError if none is
        left.
        """
        kept = torch.tensor([image not in ids for image in self.images.ids])
        if kept.all():
            return self
        if not kept.any():
            raise UserError(
                f"data set '{self.images.meta['dataset']}': all validation images are shots; draw "
                "fewer"
            )
        whole = self.images
        rest = [image for image in whole.ids if image not in ids]
        part = replace(whole, features=whole.features[kept], labels=whole.labels[kept], ids=rest)
        return ScoredSplit(part, self.clip[kept])

    def accuracy(self, logits: Tensor | None = None) -> float:
        """Accuracy of logits (N, C); default: CLIP's."""
        predicted = (self.clip if logits is None else logits).argmax(dim=1)
        return float((predicted == self.images.labels).double().mean())


def _fit_once(
    method: str, inputs: FewShotInputs, on_val: ScoredSplit, fits: list[FittedMethod]
) -> FittedMethod:
    """Fit and search a method, and add it to ``fits``; or return the earlier fit with the same
    texts from there.
    """
    texts = [inputs.texts[kind][0] for kind in method_of(method).kinds]
    for m in fits:
        if all(torch.equal(a, b) for a, b in zip(m.texts, texts, strict=True)):
            return m
    model = method_of(method).fit(inputs)
    point = model.search(on_val.images.features, on_val.clip, on_val.images.labels)
    fits.append(FittedMethod(texts, model, point))
    return fits[-1]


def _chosen(
    method: str,
    setting: Setting,
    m: FittedMethod,
    initial: Point,
    on_val: ScoredSplit,
    on_test: ScoredSplit,
) -> SeedRun:
    """The run that a setting reports, with hyper-parameters searched on validation images, or, as
    published, chosen on the test split.
    """
    points = [m.searched]
    # the published choice is the better of two test accuracies: initial and searched
    if method_of(method).published_initial and setting.adapter_selection == "best_of_two_on_test":
        points = [initial, m.searched]
    if setting.adapter_selection == "test":
        t = on_test.images
        points = [m.model.search(t.features, on_test.clip, t.labels)]
    runs = [_run(m, point, on_val, on_test) for point in points]
    return max(runs, key=lambda run: run.test_accuracy)  # chooses nothing if there is only one


def _run(m: FittedMethod, point: Point, on_val: ScoredSplit, on_test: ScoredSplit) -> SeedRun:
    """Evaluate a fitted method at a point, once: settings often share a point."""
    if point not in m.runs:
        val, test = (m.model.logits(s.images.features, s.clip, point) for s in (on_val, on_test))
        accuracies = on_val.accuracy(val), on_test.accuracy(test)
        m.runs[point] = SeedRun(point, *accuracies, test.argmax(dim=1))
    return m.runs[point]


def _flaws() -> dict[str, Setting]:
    """Flaw -> clean setting with this flaw, for flaws in the texts of the CODER-Adapter or in the
    choice of its α and β.
    """
    clean = SETTINGS["clean"]
    return {
        key: flaw.setting
        for key, flaw in FLAWS.items()
        if flaw.setting.adapter_selection != clean.adapter_selection
        or text_tags(flaw.setting, "attribute") != text_tags(clean, "attribute")
    }


def _correct(
    seeds: list[int], runs: dict[Any, SeedRun], test: SplitFeatures, *key: str
) -> np.ndarray[Any, Any]:
    """True where a test image is right with a seed: (S, N) bool. key: of ``runs``, without seed."""
    return np.stack([(runs[*key, seed].prediction == test.labels).numpy() for seed in seeds])


def _effects(
    seeds: list[int], flawed: dict[tuple[str, int], SeedRun], test: SplitFeatures
) -> list[dict[str, Any]]:
    """The effect of each flaw alone on the CODER-Adapter: ``clean`` with the flaw against
    ``clean``, over seeds.
    """
    keys = dict.fromkeys(key for key, _ in flawed)
    correct = {key: _correct(seeds, flawed, test, key) for key in keys}
    return [
        {
            "flaw": key,
            "method": CODER_ADAPTER,
            "clean": estimate(correct["clean"], groups=test.groups),
            "accuracy": estimate(correct[key], groups=test.groups),
            "difference": compare(correct["clean"], correct[key], groups=test.groups),
        }
        for key in keys
        if key != "clean"
    ]


def _skipped_shots(seeds: list[int], pool: SplitFeatures, shots: int) -> dict[str, int]:
    """``drawn``: number of different images that all seeds draw as shots.

    ``shots``: how many of these images could not be read.
    """
    images = {image for seed in seeds for image in drawn(pool, shots, seed)}
    unread = images - set(pool.ids)
    return {"shots": len(unread), "drawn": len(images)}


def _rows(test: SplitFeatures, method: str, setting: str, seed: int, r: SeedRun) -> pd.DataFrame:
    """The table of a run: one row per test image."""
    table = pd.DataFrame({"setting": setting, "method": method, "seed": seed, "image_id": test.ids})
    table["label"], table["prediction"] = test.labels.numpy(), r.prediction.numpy()
    table["correct"] = table["prediction"] == table["label"]
    with_groups(table, test)
    return table


def _document(
    method: str, setting: str, seed: int, r: SeedRun, test: SplitFeatures
) -> dict[str, Any]:
    """The entry of a run in the JSON file."""
    # with near twins the interval of a run depends on which images are right, not only on their
    # number
    on_test = {}
    if test.groups is not None:
        on_test = {"on_test": estimate(r.prediction == test.labels, groups=test.groups)}
    return {
        "method": method,
        "setting": setting,
        "seed": seed,
        **r.point._asdict(),
        "val_accuracy": r.val_accuracy,
        "test_accuracy": r.test_accuracy,
        **on_test,
    }


def _summary(
    seeds: list[int], runs: dict[tuple[str, str, int], SeedRun], test: SplitFeatures
) -> list[dict[str, Any]]:
    """One entry per method and setting: accuracy with its deviation over seeds, and the paired test
    of the CODER-Adapter against the method.
    """
    pairs = dict.fromkeys((method, setting) for method, setting, _ in runs)
    correct = {pair: _correct(seeds, runs, test, *pair) for pair in pairs}
    summary = []
    for (method, setting), right in correct.items():
        entry: dict[str, Any] = {"method": method, "setting": setting}
        entry["accuracy"] = estimate(right, groups=test.groups)
        # compared on the same seeds and images, within one setting
        coder = correct.get((CODER_ADAPTER, setting))
        if coder is not None and method != CODER_ADAPTER:
            entry["coder_adapter_against"] = compare(right, coder, groups=test.groups)
        summary.append(entry)
    return summary
