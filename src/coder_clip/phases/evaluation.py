"""Phase evaluation: ablations over texts, and distances between images by original features, by
CODER and by controls of CODER.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..baselines.linear_maps import ShotStatistics, principal_axes, project
from ..evaluation.controls import (
    Whitening,
    pooled,
    random_directions,
    random_rotation,
    rotated,
    some_rows,
)
from ..evaluation.estimates import estimate, paired_mean_test, paired_test, widened, widened_test
from ..evaluation.representation import (
    changed_neighbours,
    map_rows,
    neighbourhoods,
    telling_texts,
    tsne,
)
from ..evaluation.text_ablations import (
    StageOne,
    text_choice_curve,
    text_count_curve,
    text_kind_ablation,
    text_tests,
)
from ..foundation.artifacts import Paths, made_by, write_json, write_parquet
from ..neighbors import ADAPTER_KINDS, TextNeighbors
from ..texts.kinds import BESIDES_NAME
from ..texts.sentences import Sentences
from .coder import read_neighbors
from .common import (
    SHOTS,
    VOCABULARY,
    SplitFeatures,
    Texts,
    read_image_features,
    read_texts,
    use_threads,
)
from .shots import shot_rows

if TYPE_CHECKING:
    from ..pipeline.config import Config

ABOUT = (
    "Ablations over texts; k-NN and retrieval with CODER and original features; t-SNE; corrections."
)
TEXTS_SHOWN = 5
FEW, FEW_TEXTS = "coder_few", 100
MANY = 10  # prompts per class that are worth choosing from
# Controls (evaluation/controls.py) -> the features that they are compared with.
CONTROLS = {
    "other_images": "coder",
    "own_images": "coder",
    "rotated_texts": "coder",
    "random_directions": "coder",
    "centred": "coder",
    "whitened": "coder",
    "projected_images": "projected",
}
# An image is a query once and a neighbour of many others, so results of images are not independent,
# and standard errors over images are too small: at most by 2 for R-precision (a U-statistic of
# pairs, Hoeffding 1948), and by about 1.2 (vote of k) and 1.4 (nearest) in simulations of equally
# good features: benchmarks/neighbours.py at commit 16af6c9b.
FACTORS = {"knn": 1.2, "nearest": 1.4, "r_precision": 2.0}


def run(config: Config, model: str, dataset: str) -> None:
    """Write ``evaluation/{model}/{dataset}.json`` and ``.parquet``."""
    # Two questions on test images: which texts stage one needs (kinds, number, choice), and whether
    # CODER features are better neighbours than the original ones, simple maps of these, and
    # controls of CODER. Only the strength of a whitening is chosen here, on validation images.
    use_threads(config.features.threads)
    test = read_image_features(config, model, dataset, "test")
    texts = read_texts(config, model, dataset, test)
    e, labels = config.evaluation, test.labels.numpy()
    images = Images.read(config, model, dataset)
    compared = Compared(config, test, texts, images)
    features = compared.main

    # one kind of feature after the other, of which only the neighbours are kept
    neighbours = {
        name: Neighbourhoods.of(f, labels, e.neighbors, test.groups) for name, f in compared
    }
    options: dict[str, Any] = {"resamples": e.bootstrap, "seed": e.seed, "groups": test.groups}
    corrected, broken = changed_neighbours(
        features["original"], features["coder"], labels, e.corrections, test.groups
    )
    # the images of a part are tested in the whole data set: here they would count twice
    part = config.part(dataset)
    document = {
        "dataset": dataset,
        "model": model,
        "images": len(test.ids),
        "classes": test.classes,
        **_ablations(config, test, texts),
        "feature_quality": [
            {"features": name, "k": e.neighbors, **n.quality(options)}
            for name, n in neighbours.items()
        ],
        "neighbour_tests": [] if part else _neighbour_tests(neighbours, e.neighbors),
        "controls": compared.described,
        **({} if texts.vocabulary is None else {"vocabulary": len(texts.vocabulary)}),
        "corrections": _with_texts(corrected, test, texts),
        "broken": _with_texts(broken, test, texts),
        "made_by": made_by(
            f"coder-clip evaluation --model {model} --dataset {dataset}",
            _inputs(config, model, dataset, texts),
        ),
    }
    # both maps show the same images
    shown = map_rows(labels, e.tsne_images, e.seed)
    out = Paths(config.results).evaluation(model, dataset)
    write_parquet(out, pd.concat([_map(test, shown, name, f) for name, f in features.items()]))
    write_json(out.with_suffix(".json"), document)


def _inputs(config: Config, model: str, dataset: str, texts: Texts) -> list[Path]:
    """The files that the phase reads."""
    paths = Paths(config.results)
    files = [paths.image_features(model, dataset, "test"), paths.text_features(model, dataset)]
    if texts.of_classes:
        files.append(paths.coder(model, dataset))
    if config.few_shot(dataset):
        files.append(paths.image_features(model, dataset, "shots"))
    if config.has_val(dataset):
        files.append(paths.image_features(model, dataset, "val"))
    others = config.others(dataset)
    return files + [paths.image_features(model, other, "val") for other in others]


@dataclass(frozen=True)
class Images:
    """Images besides the test images.

    val, shots: of the data set; None if it has none. others: features of the validation images of
    the run's other data sets, set by set.
    """

    val: SplitFeatures | None
    shots: SplitFeatures | None
    others: list[Tensor]

    @classmethod
    def read(cls, config: Config, model: str, dataset: str) -> Images:
        """Read the image features that the configuration has, besides those of the test split."""
        val = shots = None
        if config.has_val(dataset):
            val = read_image_features(config, model, dataset, "val")
        if config.few_shot(dataset):
            shots = read_image_features(config, model, dataset, SHOTS)
        others = [
            read_image_features(config, model, other, "val").features
            for other in config.others(dataset)
        ]
        return cls(val, shots, others)

    @property
    def own(self) -> list[Tensor]:
        """Features of validation images and shots, each image once."""
        parts = [] if self.val is None else [self.val.features]
        if self.shots is not None:
            known = set() if self.val is None else set(self.val.ids)
            new = [i for i, image in enumerate(self.shots.ids) if image not in known]
            parts.append(self.shots.features[new])
        return parts


@dataclass(frozen=True)
class Neighbourhoods:
    """Quality of the neighbours of each test image by one kind of feature.

    knn: (N,) bool, True if the vote of the k nearest images is the image's class. nearest: (N,)
    bool, True if the nearest image is of the same class. precision: (N,) R-precision, NaN for an
    image with no other of its class. groups: (N,), near twins share a number: they are not compared
    with each other, and intervals are over groups; None: no near twins."""

    knn: NDArray[np.bool_]
    nearest: NDArray[np.bool_]
    precision: NDArray[np.float64]
    groups: Tensor | None = None

    @classmethod
    def of(
        cls, features: Tensor, labels: NDArray[Any], k: int, groups: Tensor | None = None
    ) -> Neighbourhoods:
        """Find the neighbours of test images: features (N, d), labels (N,)."""
        (knn, nearest), precision = neighbourhoods(features, labels, k, 1, groups=groups)
        return cls(knn, nearest, precision, groups)

    @property
    def retrieves(self) -> bool:
        """False if no class has two test images: then R-precision is undefined."""
        return not np.isnan(self.precision).all()

    def quality(self, options: dict[str, Any]) -> dict[str, Any]:
        """Estimates of the accuracy of the vote and of R-precision, which is None if it is
        undefined.
        """
        vote = widened(estimate(self.knn, **options), FACTORS["knn"])
        # `widened` allows −1, for differences; a share ends at 0
        estimates: dict[str, Any] = {
            "knn_accuracy": {**vote, "low": max(0.0, vote["low"])},
            "retrieval_precision": None,
        }
        if self.retrieves:
            precision = widened(estimate(self.precision, **options), FACTORS["r_precision"])
            estimates["retrieval_precision"] = {**precision, "low": max(0.0, precision["low"])}
        return estimates

    def tests(self, after: Neighbourhoods, k: int) -> list[dict[str, Any]]:
        """Paired tests, one per measure: neighbours by other features (``after``) against these."""
        groups = self.groups
        tests = {
            "knn": paired_test(self.knn, after.knn, groups=groups),
            "nearest": paired_test(self.nearest, after.nearest, groups=groups),
        }
        if self.retrieves:
            tests["r_precision"] = paired_mean_test(self.precision, after.precision, groups)
        entries = []
        for measure, test in tests.items():
            entry: dict[str, Any] = {"measure": measure}
            if measure == "knn":
                entry["k"] = k
            entries.append({**entry, **widened_test(test, FACTORS[measure])})
        return entries


def _neighbour_tests(neighbours: dict[str, Neighbourhoods], k: int) -> list[dict[str, Any]]:
    """Test CODER against original features and CODER of few texts, the re-evaluation's features
    against CODER, and texts against controls.
    """
    original, coder, *others = neighbours
    pairs = [(original, coder)]  # (before, after)
    for name in others:
        if name == FEW:
            pairs.append((name, coder))  # do all texts do better than few?
        elif name not in CONTROLS:
            pairs.append((coder, name))  # does a simple classifier's map do better than CODER?
        elif CONTROLS[name] in neighbours:
            pairs.append((name, CONTROLS[name]))  # do texts do better than the control?
    return [
        {"before": before, "after": after, **test}
        for before, after in pairs
        for test in neighbours[before].tests(neighbours[after], k)
    ]


def _shots(config: Config, pool: SplitFeatures) -> ShotStatistics:
    """Statistics of the first seed's shots, the largest number of shots.

    A sample is the mean of a shot's augmented views. Single views are not used, because whether the
    file has them depends on the methods of the run, which must not change a number here.
    """
    rows = shot_rows(config, pool, config.most_shots(), config.first_seed())
    return ShotStatistics.of(pool.features[rows], pool.labels[rows], n_classes=len(pool.classes))


def _ablations(config: Config, test: SplitFeatures, texts: Texts) -> dict[str, Any]:
    """Results of stage one with other texts, by name of the ablation; empty lists without texts of
    the classes.

    If the classes have no texts besides prompts, but many of these, the prompts play the attribute
    texts (prompts: their number): only in number and choice, as there is one kind.
    """
    if not texts.of_classes:
        return {key: [] for key in ("text_kinds", "text_counts", "text_choices", "text_tests")}
    e, sentences = config.evaluation, texts.sentences
    labels, n_classes = test.labels.numpy(), len(test.classes)
    kinds, prompts = _prompts_as_texts(sentences, n_classes)
    of_texts = texts.features, sentences.class_index, kinds
    stage_one = StageOne(test.features, labels, *of_texts, n_classes, test.groups)
    tests = text_tests(stage_one, e.text_counts, e.draws, e.seed)
    return {
        "text_kinds": text_kind_ablation(stage_one),
        "text_counts": text_count_curve(stage_one, [0, *e.text_counts], e.draws, e.seed),
        "text_choices": text_choice_curve(stage_one, e.text_counts),
        "text_tests": [t for t in tests if not prompts or t["test"] != "kind"],
        **({"prompts": prompts} if prompts else {}),
    }


def _prompts_as_texts(sentences: Sentences, n_classes: int) -> tuple[list[str], int]:
    """The kinds of the sentences, with prompts as attribute texts if there are no other texts.

    That is if the classes have MANY prompts and no other texts besides their names. Also the number
    of these per class (0: kinds as they are).
    """
    kinds = list(sentences.kind)
    per_class = kinds.count("prompt") // max(1, n_classes)
    if per_class < MANY or set(kinds) & set(BESIDES_NAME):
        return kinds, 0
    names = {sentences.text[i] for i in sentences.rows("name")}
    # the prompt that is the name already does not count twice
    as_texts = [
        "attribute" if kind == "prompt" and text not in names else kind
        for kind, text in zip(kinds, sentences.text, strict=True)
    ]
    return as_texts, as_texts.count("attribute") // n_classes


def _describer(config: Config, test: SplitFeatures, texts: Texts) -> TextNeighbors:
    """CODER by the vocabulary if the model has one, else by the texts of the classes."""
    if texts.vocabulary is None:
        return read_neighbors(config, test)
    return described_by(texts.vocabulary)


def described_by(anchors: Tensor) -> TextNeighbors:
    """The description of images by their similarities to anchors (M, d), texts or not."""
    # a class needs a name: the first anchor plays it, and CODERs treat all texts alike
    return TextNeighbors(mean_texts=[anchors[1:]], max_texts=[anchors[:1]])


class Compared:
    """The kinds of feature of the test images that are compared, as pairs (name, features).

    original; coder. coder_few: CODER by FEW_TEXTS texts of the vocabulary, the same texts for every
    data set. projected: on the main components of ImageNet's class names. discriminant: whitened by
    the shots' covariance, if the shots have one.

    Controls: other_images, own_images: described by as many images as CODER has texts, or by all
    there are: validation images of other data sets; validation images and shots. rotated_texts: by
    the texts of CODER, rotated at random. random_directions: by as many random directions. centred,
    whitened: original features, centred on the validation images, and whitened with the strength
    that these choose. projected_images: on the main components of as many images of other data sets
    as there are names.

    main: the first two; described: what the report says about the controls.
    """

    def __init__(self, config: Config, test: SplitFeatures, texts: Texts, images: Images) -> None:
        self.config, self.test, self.texts, self.images = config, test, texts, images
        self.coder = _describer(config, test, texts)
        self.main = {"original": test.features, "coder": self.coder.compact(test.features)}
        # the texts have length 1, so the trace of their Gram matrix is their number
        self.described: dict[str, Any] = {"texts": round(float(self.coder.gram.trace()))}

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        yield from self.main.items()
        yield from self._simple()
        if not self.config.part(self.test.meta["dataset"]):
            yield from self._without_texts()

    def _simple(self) -> Iterator[tuple[str, Tensor]]:
        """CODER by few texts, and the re-evaluation's features."""
        x, texts, seed = self.test.features, self.texts, self.config.evaluation.seed
        if texts.vocabulary is not None and len(texts.vocabulary) > FEW_TEXTS:
            yield FEW, described_by(some_rows(texts.vocabulary, FEW_TEXTS, seed)).compact(x)
        if len(texts.imagenet_names):
            yield "projected", project(x, principal_axes(texts.imagenet_names))
        if self.images.shots is not None:
            shots = _shots(self.config, self.images.shots)
            if shots.ridge is not None:
                yield "discriminant", shots.whiten(x)

    def _without_texts(self) -> Iterator[tuple[str, Tensor]]:
        """The controls."""
        x, e, val = self.test.features, self.config.evaluation, self.images.val
        count = self.described["texts"]
        for name, parts in (("other_images", self.images.others), ("own_images", self.images.own)):
            if parts:
                anchors = some_rows(pooled(parts), count, e.seed)
                self.described[name] = len(anchors)
                yield name, described_by(anchors).compact(x)
        width = x.shape[1]
        yield "rotated_texts", self.coder.compact(rotated(x, random_rotation(width, e.seed)))
        directions = random_directions(count, width, e.seed)
        yield "random_directions", described_by(directions).compact(x)
        whitening = None if val is None else Whitening.of(val.features)
        if val is not None and whitening is not None and whitening.has_spread:
            yield "centred", whitening(x, 0.0)
            strength = whitening.strongest(
                val.features, val.labels.numpy(), e.neighbors, val.groups
            )
            self.described["whitening"] = strength
            yield "whitened", whitening(x, strength)
        names = len(self.texts.imagenet_names)
        if names and self.images.others:
            some = some_rows(pooled(self.images.others), names, e.seed)
            yield "projected_images", project(x, principal_axes(some))


def _map(
    test: SplitFeatures, shown: np.ndarray[Any, Any], name: str, features: Tensor
) -> pd.DataFrame:
    """t-SNE coordinates of some test images by one kind of feature.

    shown: positions of the images; name: of the features.
    """
    rows = torch.from_numpy(shown)
    x, y = tsne(features[rows]).T
    ids = [test.ids[i] for i in shown]
    return pd.DataFrame(
        {"image_id": ids, "label": test.labels[rows].numpy(), "features": name, "x": x, "y": y}
    )


def _with_texts(
    changed: list[dict[str, Any]], test: SplitFeatures, texts: Texts
) -> list[dict[str, Any]]:
    """Entries of changed nearest neighbours (paper, Figure 2), with image ids in place of
    positions, and the texts that tell the images apart.
    """
    described_by = ADAPTER_KINDS if texts.vocabulary is None else [VOCABULARY]
    text_rows = [i for kind in described_by for i in texts.sentences.rows(kind)]
    rows = []
    for c in changed:
        # positions of three test images, in the order in which telling_texts expects them
        positions = {role: c[role] for role in ("query", "same", "other")}
        three = test.features[list(positions.values())]
        telling = telling_texts(three, texts.features[text_rows], TEXTS_SHOWN)
        shown = [{"text": texts.sentences.text[text_rows[i]], **cosines} for i, cosines in telling]
        images = {role: test.ids[i] for role, i in positions.items()}
        rows.append({**images, "original": c["original"], "coder": c["coder"], "texts": shown})
    return rows
