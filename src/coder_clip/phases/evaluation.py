"""Phase evaluation: ablations over texts, and distances between images by original features, by
CODER and by controls of CODER.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..baselines.linear_maps import ShotStatistics, principal_axes, project
from ..evaluation.controls import (
    DRAWS,
    Whitening,
    random_directions,
    random_rotation,
    rotated,
    some_rows,
    together,
)
from ..evaluation.estimates import compare, estimate
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
from ..foundation.artifacts import made_by, write_json, write_parquet
from ..neighbors import ADAPTER_KINDS, TextNeighbors
from ..texts.kinds import BESIDES_NAME
from ..texts.sentences import Sentences
from .coder import read_neighbors
from .common import SplitFeatures, read_image_features, use_threads
from .shots import shot_rows
from .text_inputs import VOCABULARY, Texts, read_texts

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


@dataclass(frozen=True)
class Options:
    """Settings of an evaluation.

    text_counts: texts per class of the curve, each with
    ``draws`` subsets. neighbors: k of the vote. tsne_images, corrections: how many are shown.
    shots, shots_seed: of the discriminant; skip: skip shots that could not be read. part: the data
    set is a part of another one.
    """

    seed: int
    text_counts: list[int]
    draws: int
    neighbors: int
    tsne_images: int
    corrections: int
    shots: int
    shots_seed: int
    skip: bool
    part: bool


def run(
    *,
    test: str,
    texts: str,
    coder: str | None,
    shots: str | None,
    val: str | None,
    others: list[str],
    out: str,
    document: str,
    options: dict[str, Any],
    command: str,
    threads: int,
) -> None:
    """Evaluate texts by ablations of stage one, and features by their neighbours.

    test, shots, val, others: image features; those of validation images of the run's other data
    sets are ``others``. texts: text features. coder: the compact CODER; None without texts of the
    classes. out, document: Parquet with t-SNE coordinates, and JSON. options: of `Options`.
    """
    # Two questions on test images: which texts stage one needs (kinds, number, choice), and whether
    # CODER features are better neighbours than the original ones, simple maps of these, and
    # controls of CODER. Only the strength of a whitening is chosen here, on validation images.
    use_threads(threads)
    e, tested = Options(**options), read_image_features(test)
    sentences, labels = read_texts(texts, tested), tested.labels.numpy()
    images = Images(
        None if val is None else read_image_features(val),
        None if shots is None else read_image_features(shots),
        [read_image_features(other).features for other in others],
    )
    # CODER by the vocabulary if the model has one, else by the texts of the classes
    if sentences.vocabulary is not None:
        describer = described_by(sentences.vocabulary)
    else:
        assert coder is not None
        describer = read_neighbors(coder, tested)
    compared = Compared(e, tested, sentences, images, describer)
    features = compared.main

    # one kind of feature after the other, of which only the neighbours are kept
    neighbours = {
        name: Neighbourhoods.of(draws, labels, e.neighbors, tested.groups)
        for name, draws in compared
    }
    corrected, broken = changed_neighbours(
        features["original"], features["coder"], labels, e.corrections, tested.groups
    )
    found = {
        "dataset": tested.meta["dataset"],
        "model": tested.meta["model"],
        "images": len(tested.ids),
        "classes": tested.classes,
        **_ablations(e, tested, sentences),
        "feature_quality": [
            {"features": name, "k": e.neighbors, **n.quality()} for name, n in neighbours.items()
        ],
        # the images of a part are tested in the whole data set: here they would count twice
        "neighbour_tests": [] if e.part else _neighbour_tests(neighbours, e.neighbors),
        "controls": compared.described,
        **({} if sentences.vocabulary is None else {"vocabulary": len(sentences.vocabulary)}),
        "corrections": _with_texts(corrected, tested, sentences),
        "broken": _with_texts(broken, tested, sentences),
        "made_by": made_by(command, [test, texts, coder, shots, val, *others]),
    }
    # both maps show the same images
    shown = map_rows(labels, e.tsne_images, e.seed)
    write_parquet(out, pd.concat([_map(tested, shown, name, f) for name, f in features.items()]))
    write_json(document, found)


@dataclass(frozen=True)
class Images:
    """Images besides the test images.

    val, shots: of the data set; None if it has none. others: features of the validation images of
    the run's other data sets, set by set.
    """

    val: SplitFeatures | None
    shots: SplitFeatures | None
    others: list[Tensor]

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
    """Quality of the neighbours of each test image by one kind of feature, in S draws of it.

    knn: (S, N), 1 if the vote of the k nearest images is the image's class. nearest: (S, N), 1 if
    the nearest image is of the same class. precision: (S, N) R-precision, NaN for an image with no
    other of its class. groups: (N,), near twins share a number: they are not compared with each
    other, and intervals are over groups; None: no near twins."""

    knn: NDArray[np.float64]
    nearest: NDArray[np.float64]
    precision: NDArray[np.float64]
    groups: Tensor | None = None

    @classmethod
    def of(
        cls, draws: Iterable[Tensor], labels: NDArray[Any], k: int, groups: Tensor | None = None
    ) -> Neighbourhoods:
        """Find the neighbours of test images: features (N, d) of each draw, labels (N,)."""
        found = []
        for features in draws:
            (knn, nearest), precision = neighbourhoods(features, labels, k, 1, groups=groups)
            found.append((knn, nearest, precision))
        votes, nearer, precise = np.stack(found, axis=1).astype(np.float64)
        return cls(votes, nearer, precise, groups)

    @property
    def retrieves(self) -> bool:
        """False if no class has two test images: then R-precision is undefined."""
        return not np.isnan(self.precision).all()

    def quality(self) -> dict[str, Any]:
        """Estimates of the accuracy of the vote and of R-precision, which is None if it is
        undefined.
        """
        found: dict[str, Any] = {
            "knn_accuracy": estimate(self.knn, groups=self.groups, wider=FACTORS["knn"]),
            "retrieval_precision": None,
        }
        if self.retrieves:
            found["retrieval_precision"] = estimate(
                self.precision, groups=self.groups, wider=FACTORS["r_precision"]
            )
        return found

    def tests(self, after: Neighbourhoods, k: int) -> list[dict[str, Any]]:
        """Paired tests, one per measure: neighbours by other features (``after``) against these."""
        results: dict[str, tuple[NDArray[Any], NDArray[Any]]]
        results = {"knn": (self.knn, after.knn), "nearest": (self.nearest, after.nearest)}
        if self.retrieves:
            results["r_precision"] = self.precision, after.precision
        entries = []
        for measure, (before, now) in results.items():
            entry: dict[str, Any] = {"measure": measure}
            if measure == "knn":
                entry["k"] = k
            # features that are not drawn are the same in every draw of the other side
            was, is_ = np.broadcast_arrays(before, now)
            test = compare(was, is_, groups=self.groups, wider=FACTORS[measure])
            entries.append({**entry, **test})
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


def _shots(e: Options, pool: SplitFeatures) -> ShotStatistics:
    """Statistics of the first seed's shots, the largest number of shots.

    A sample is the mean of a shot's augmented views. Single views are not used, because whether the
    file has them depends on the methods of the run, which must not change a number here.
    """
    rows = shot_rows(pool, e.shots, e.shots_seed, e.skip)
    return ShotStatistics.of(pool.features[rows], pool.labels[rows], n_classes=len(pool.classes))


def _ablations(e: Options, test: SplitFeatures, texts: Texts) -> dict[str, Any]:
    """Results of stage one with other texts, by name of the ablation; empty lists without texts of
    the classes.

    If the classes have no texts besides prompts, but many of these, the prompts play the attribute
    texts (prompts: their number): only in number and choice, as there is one kind.
    """
    if not texts.of_classes:
        return {key: [] for key in ("text_kinds", "text_counts", "text_choices", "text_tests")}
    sentences = texts.sentences
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


def described_by(anchors: Tensor) -> TextNeighbors:
    """The description of images by their similarities to anchors (M, d), texts or not."""
    # a class needs a name: the first anchor plays it, and CODERs treat all texts alike
    return TextNeighbors(mean_texts=[anchors[1:]], max_texts=[anchors[:1]])


class Compared:
    """The kinds of feature of the test images that are compared, as pairs (name, draws): features
    (N, d) of each draw, one of what is not drawn.

    original; coder. coder_few: CODER by FEW_TEXTS texts of the vocabulary, the same texts for every
    data set. projected: on the main components of ImageNet's class names. discriminant: whitened by
    the shots' covariance, if the shots have one.

    Controls: other_images, own_images: described by as many images as CODER has texts, or by all
    there are: validation images of other data sets; validation images and shots. rotated_texts: by
    the texts of CODER, rotated at random. random_directions: by as many random directions. centred,
    whitened: original features, centred on the validation images, and whitened with the strength
    that these choose. projected_images: on the main components of as many images of other data sets
    as there are names.

    What is drawn has DRAWS draws, or one where all images are taken. main: the first two;
    described: what the report says about the controls.
    """

    def __init__(
        self,
        options: Options,
        test: SplitFeatures,
        texts: Texts,
        images: Images,
        coder: TextNeighbors,
    ) -> None:
        self.options, self.test, self.texts, self.images = options, test, texts, images
        self.coder = coder
        self.main = {"original": test.features, "coder": self.coder.compact(test.features)}
        # the texts have length 1, so the trace of their Gram matrix is their number
        self.described: dict[str, Any] = {"texts": round(float(self.coder.gram.trace()))}

    def __iter__(self) -> Iterator[tuple[str, Iterable[Tensor]]]:
        for name, features in (*self.main.items(), *self._simple()):
            yield name, [features]
        if not self.options.part:
            yield from self._drawn()
            for name, features in self._moved():
                yield name, [features]

    def _simple(self) -> Iterator[tuple[str, Tensor]]:
        """CODER by few texts, and the re-evaluation's features."""
        x, texts, seed = self.test.features, self.texts, self.options.seed
        if texts.vocabulary is not None and len(texts.vocabulary) > FEW_TEXTS:
            yield FEW, described_by(some_rows(texts.vocabulary, FEW_TEXTS, seed)).compact(x)
        if len(texts.imagenet_names):
            yield "projected", project(x, principal_axes(texts.imagenet_names))
        if self.images.shots is not None:
            shots = _shots(self.options, self.images.shots)
            if shots.ridge is not None:
                yield "discriminant", shots.whiten(x)

    def _drawn(self) -> Iterator[tuple[str, Iterable[Tensor]]]:
        """The controls that are drawn."""
        x, seed = self.test.features, self.options.seed
        width, count, names = x.shape[1], self.described["texts"], len(self.texts.imagenet_names)
        others = self.images.others
        for name, parts in (("other_images", others), ("own_images", self.images.own)):
            if parts:
                pool = together(parts)
                self.described[name] = min(count, len(pool))
                yield (
                    name,
                    (
                        described_by(some_rows(pool, count, seed, draw)).compact(x)
                        for draw in range(DRAWS if len(pool) > count else 1)
                    ),
                )
        yield (
            "rotated_texts",
            (
                self.coder.compact(rotated(x, random_rotation(width, seed, draw)))
                for draw in range(DRAWS)
            ),
        )
        yield (
            "random_directions",
            (
                described_by(random_directions(count, width, seed, draw)).compact(x)
                for draw in range(DRAWS)
            ),
        )
        if names and others:
            pool = together(others)
            yield (
                "projected_images",
                (
                    project(x, principal_axes(some_rows(pool, names, seed, draw)))
                    for draw in range(DRAWS if len(pool) > names else 1)
                ),
            )

    def _moved(self) -> Iterator[tuple[str, Tensor]]:
        """Image features, centred and whitened."""
        x, e, val = self.test.features, self.options, self.images.val
        whitening = None if val is None else Whitening.of(val.features)
        if val is not None and whitening is not None and whitening.has_spread:
            yield "centred", whitening(x, 0.0)
            strength = whitening.strongest(
                val.features, val.labels.numpy(), e.neighbors, val.groups
            )
            self.described["whitening"] = strength
            yield "whitened", whitening(x, strength)


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
