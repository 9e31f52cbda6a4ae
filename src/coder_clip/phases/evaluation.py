"""Phase evaluation: ablations over texts, and the distances between images by original features and by CODER."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..baselines.linear_maps import ShotStatistics, principal_axes, project
from ..evaluation.estimates import estimate, paired_mean_test, paired_test, widened, widened_test
from ..evaluation.representation import (
    changed_neighbours,
    knn_accuracy,
    map_rows,
    retrieval_precision,
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
from ..neighbors import ADAPTER_KINDS
from .coder import read_neighbors
from .common import SHOTS, ImageFeatures, Texts, read_image_features, read_texts, use_threads
from .shots import shot_rows

if TYPE_CHECKING:
    from ..pipeline.config import Config

ABOUT = "Ablations over texts; k-NN and retrieval with CODER and original features; t-SNE; corrections."
TEXTS_SHOWN = 5
# An image is a query once and a neighbour of many others, so results of images are not independent, and standard
# errors over images are too small: at most by 2 for R-precision (a U-statistic of pairs, Hoeffding 1948), and by about
# 1.2 (vote of k) and 1.4 (nearest) in simulations of equally good features: python -m benchmarks.neighbours.
FACTORS = {"knn": 1.2, "nearest": 1.4, "r_precision": 2.0}


def run(config: Config, model: str, dataset: str) -> None:
    """Write ``evaluation/{model}/{dataset}.json`` and ``.parquet``."""
    # Two questions on test images: which texts stage one needs (kinds, number, choice), and whether CODER
    # features are better neighbours than the original ones and simple maps of these. Nothing is chosen here.
    use_threads(config)
    test = read_image_features(config, model, dataset, "test")
    texts = read_texts(config, model, dataset, test)
    neighbors = read_neighbors(config, test)
    e, labels = config.evaluation, test.labels.numpy()
    kinds, owner = texts.sentences.kind, texts.sentences.class_index
    stage_one = StageOne(test.features, labels, texts.features, owner, kinds, len(test.classes))
    features = {"original": test.features, "coder": neighbors.compact(test.features)}

    paths = Paths(config.results)
    out = paths.evaluation(model, dataset)
    inputs = [
        paths.image_features(model, dataset, "test"),
        paths.text_features(model, dataset),
        paths.coder(model, dataset),
    ]
    shots = None
    if config.few_shot(dataset):
        inputs.append(paths.image_features(model, dataset, SHOTS))
        shots = _shots(config, read_image_features(config, model, dataset, SHOTS))
    neighbourhoods = {
        name: Neighbourhoods.of(f, labels, e.neighbors)
        for name, f in _features(features, test.features, texts, shots)
    }
    options = {"resamples": e.bootstrap, "seed": e.seed}
    corrected, broken = changed_neighbours(features["original"], features["coder"], labels, e.corrections)
    document = {
        "dataset": dataset,
        "model": model,
        "images": len(test.ids),
        "classes": test.classes,
        "text_kinds": text_kind_ablation(stage_one),
        "text_counts": text_count_curve(stage_one, [0, *e.text_counts], e.draws, e.seed),
        "text_choices": text_choice_curve(stage_one, e.text_counts),
        "text_tests": text_tests(stage_one, e.text_counts, e.draws, e.seed),
        "feature_quality": [
            {"features": name, "k": e.neighbors, **n.quality(options)} for name, n in neighbourhoods.items()
        ],
        "neighbour_tests": _neighbour_tests(neighbourhoods, e.neighbors),
        "corrections": _with_texts(corrected, test, texts),
        "broken": _with_texts(broken, test, texts),
        "made_by": made_by(f"coder-clip evaluation --model {model} --dataset {dataset}", inputs),
    }
    shown = map_rows(labels, e.tsne_images, e.seed)
    write_parquet(out, pd.concat([_map(test, shown, name, f) for name, f in features.items()]))
    write_json(out.with_suffix(".json"), document)


@dataclass(frozen=True)
class Neighbourhoods:
    """How the neighbours of each test image are by one kind of feature.

    knn, nearest: (N,) bool, images that the vote of the k nearest gets right, and those with a nearest neighbour of
    their class. precision: (N,) R-precision, NaN for an image without another of its class.
    """

    knn: NDArray[np.bool_]
    nearest: NDArray[np.bool_]
    precision: NDArray[np.float64]

    @classmethod
    def of(cls, features: Tensor, labels: NDArray[Any], k: int) -> Neighbourhoods:
        """Those of test images (N, d) with labels (N,)."""
        knn, nearest = knn_accuracy(features, labels, k, 1)
        return cls(knn, nearest, retrieval_precision(features, labels))

    @property
    def retrieves(self) -> bool:
        """False if no class has two test images: then R-precision is undefined."""
        return not np.isnan(self.precision).all()

    def quality(self, options: dict[str, int]) -> dict[str, Any]:
        """Accuracy of the vote, and R-precision, None where it is undefined, as estimates."""
        vote = widened(estimate(self.knn, **options), FACTORS["knn"])
        found: dict[str, Any] = {
            "knn_accuracy": {**vote, "low": max(0.0, vote["low"])},
            "retrieval_precision": None,
        }
        if self.retrieves:
            precision = widened(estimate(self.precision, **options), FACTORS["r_precision"])
            found["retrieval_precision"] = {**precision, "low": max(0.0, precision["low"])}
        return found

    def tests(self, after: Neighbourhoods, k: int) -> list[dict[str, Any]]:
        """Paired tests of neighbours found with other features, ``after``, against neighbours found with these."""
        tests = {"knn": paired_test(self.knn, after.knn), "nearest": paired_test(self.nearest, after.nearest)}
        if self.retrieves:
            tests["r_precision"] = paired_mean_test(self.precision, after.precision)
        return [
            {
                "measure": measure,
                **({"k": k} if measure == "knn" else {}),
                **widened_test(test, FACTORS[measure]),
            }
            for measure, test in tests.items()
        ]


def _neighbour_tests(neighbourhoods: dict[str, Neighbourhoods], k: int) -> list[dict[str, Any]]:
    """CODER against original features, and the features of the re-evaluation against CODER."""
    original, coder, *others = neighbourhoods
    return [
        {"before": before, "after": after, **test}
        for before, after in [(original, coder), *((coder, other) for other in others)]
        for test in neighbourhoods[before].tests(neighbourhoods[after], k)
    ]


def _shots(config: Config, pool: ImageFeatures) -> ShotStatistics:
    """Statistics of the largest number of shots of the first seed.

    A sample is the mean of a shot's augmented views, so that the methods of a run, some of which keep single views, do
    not change a number here.
    """
    rows = shot_rows(config, pool, config.most_shots(), config.first_seed())
    return ShotStatistics.of(pool.features[rows], pool.labels[rows], n_classes=len(pool.classes))


def _features(
    main: dict[str, Tensor], x: Tensor, texts: Texts, shots: ShotStatistics | None
) -> Iterator[tuple[str, Tensor]]:
    """Each kind of feature of the test images x (N, d); those of the re-evaluation are made one after the other.

    projected: on the main components of ImageNet's class names. discriminant: whitened by the shots' covariance, if
    they have one.
    """
    yield from main.items()
    yield "projected", project(x, principal_axes(texts.imagenet_names))
    if shots is not None and shots.ridge is not None:
        yield "discriminant", shots.whiten(x)


def _map(test: ImageFeatures, shown: np.ndarray[Any, Any], name: str, features: Tensor) -> pd.DataFrame:
    """t-SNE coordinates of some test images, by one kind of feature."""
    rows = torch.from_numpy(shown)
    x, y = tsne(features[rows]).T
    ids = [test.ids[i] for i in shown]
    return pd.DataFrame(
        {"image_id": ids, "label": test.labels[rows].numpy(), "features": name, "x": x, "y": y}
    )


def _with_texts(changed: list[dict[str, Any]], test: ImageFeatures, texts: Texts) -> list[dict[str, Any]]:
    """Changed nearest neighbours by image id, with the texts that tell them apart (paper, Figure 2)."""
    kinds = [i for kind in ADAPTER_KINDS for i in texts.sentences.rows(kind)]
    rows = []
    for c in changed:
        places = {who: c[who] for who in ("query", "same", "other")}
        telling = telling_texts(test.features[[*places.values()]], texts.features[kinds], TEXTS_SHOWN)
        said = [{"text": texts.sentences.text[kinds[i]], **cosines} for i, cosines in telling]
        images = {who: test.ids[i] for who, i in places.items()}
        rows.append({**images, "original": c["original"], "coder": c["coder"], "texts": said})
    return rows
