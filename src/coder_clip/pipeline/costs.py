"""What a job takes: seconds, memory and disk, by one table of coefficients.

A cluster is asked for memory and time; forecasts use all three. The coefficients multiply amounts
that depend on the numbers of images and classes (from the manifest, if there is one), the encoder's
architecture, batch size and threads. They are rounded up generously, because a job that requests
too little has to run twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from ..datasets import load_templates, twins
from ..encoders import families
from ..encoders.spec import Size
from .resources import Sizes, counts, encoder_size, n_pairs, opens_images, workers

if TYPE_CHECKING:
    from .document import Document

START = 1500  # MB: Python, torch and the two Snakemakes around a job
CONTEXT = 1500  # MB: a CUDA context's share of the host's memory
WEIGHTS = 2.5  # a job's memory with an encoder, as a multiple of its float32 weights
GPU = 5e12  # float operations per second of any data-centre GPU
SLACK = 2.0  # factor on estimated seconds
LEAST = 10  # minutes of every job: start, a busy file system
TOKENS = 20  # of a usual sentence; the encoder does not compute the padding
# per class: texts in their templates and synonyms, which are stored; and the ensemble of templates
STORED, ENSEMBLE = 50, 80
# attribute texts per class, as in data/texts; a draw of random words has as many texts
ATTRIBUTES = 10
PAIR_TEXTS = 6  # of a pair of classes, as in data/texts
NAMES = 1000  # class names of ImageNet, in the text features of every data set
COVERED = 10  # pairs with texts per class that cover all pairs that stage one confuses
BASELINES = 4  # zero-shot methods that are the same in every setting


@dataclass(frozen=True)
class Cost:
    """Coefficients of amounts (attributes of `Amounts`): seconds on one thread, MB in addition to
    START, and bytes on disk.
    """

    seconds: Mapping[str, float] = field(default_factory=dict)
    mb: Mapping[str, float] = field(default_factory=dict)
    size: Mapping[str, float] = field(default_factory=dict)


# a language model's answers take as long as they take
ASKED = Cost({"once": 12 * 3600}, {"once": 2500})
ENCODED = Cost(
    {"encoding": 1, "read": 3.5e-5},
    {"image_encoder": 1, "batch": 1, "rows": 8e-6, "loaders": 100, "largest_read": 16e-6},
    {"image_features": 1},
)
# scores of every image and class, several at a time, and features
SCORES = {"scored": 48e-6, "images": 32 * 1024e-6}
# Seconds were measured by benchmarks/phases.py at commit 16af6c9b: 50,000 images of 1,000 classes,
# d = 512 (docs/performance.md); those of few-shot methods by benchmarks/imagenet.py at that commit,
# and by the embedded default. Sizes follow from the shapes of what is written: float32 features,
# some bytes per prediction.
COSTS = {
    "list_images": Cost(
        {"opening": 1, "opened_pairs": 5e-9, "given": 3.5e-5, "given_pairs": 1e-8},
        # thumbnails; features as read, split by split and together in float32, and twice in float64
        {"opened": 4e-3, "given_numbers": 28e-6},
    ),
    "generate_texts": ASKED,
    "encode_images": ENCODED,
    "encode_shard": ENCODED,
    "merge_shards": Cost(mb={"numbers": 16e-6}, size={"image_features": 1}),
    "encode_texts": Cost(
        {"text_encoding": 1},
        {"encoder": 1, "once": 500, "text_numbers": 12e-6},
        {"kept_text_numbers": 4},
    ),
    "build_coder": Cost(
        {"stored_numbers": 3e-8},
        {"stored_numbers": 16e-6},
        # two variants of texts in float64: a matrix and its factor, means and names of classes
        {"coder_numbers": 16},
    ),
    "classify": Cost(
        {"once": 2.0, "scored_by_thread": 9e-7},
        SCORES,
        {"zero_shot_rows": 100},
    ),
    "confusable_pairs": Cost({"gated": 1.4e-7}, {"gated_scores": 48e-6}),
    "generate_pairs": ASKED,
    "encode_pairs": Cost(
        {"once": 3.0, "pair_encoding": 1},
        {"encoder": 1, "once": 500, "pair_text_numbers": 12e-6},
        {"pair_numbers": 4},
    ),
    "rerank_top": Cost(
        {"once": 1.5, "reranked": 2.5e-7, "compared": 3e-4},
        SCORES,
        {"rerank_rows": 100},
    ),
    "fit_adapters": Cost(
        {"once": 1.0, "fits": 0.1, "fit_scores": 1e-7, "affinities": 4e-11, "searched": 5e-7},
        SCORES,
        {"few_shot_rows": 5},
    ),
    "evaluate": Cost(
        # neighbours by kind of features, in exact products in float64; ablations; subsets of texts
        {
            "once": 7.0,
            "compared_pairs": 1e-8,
            "products": 4.5e-11,
            "scored_by_thread": 6.5e-7,
            "subsets": 1e-7,
        },
        SCORES,
    ),
    "tables": Cost(
        {"once": 2.0, "sets": 1.0, "classes_of_all": 3e-3, "images_of_all": 4e-5}, {"once": 500}
    ),
    "figures_of_results": Cost({"once": 5.0, "sets": 0.5}, {"once": 500}),
    "figures_of_images": Cost({"once": 5.0, "sets": 0.5}, {"once": 500}),
    "page": Cost(
        {"once": 2.0, "sets": 1.0, "classes_of_all": 5e-3, "images_of_all": 1e-5}, {"once": 500}
    ),
}


@dataclass(frozen=True)
class Speed:
    """The speed of one CPU thread: float operations, and images decoded and resized, per second.

    By default that of slow nodes, also for large JPEGs.
    """

    operations: float = 1.5e10
    decoded: float = 60


@dataclass(frozen=True)
class Need:
    """The needs of one attempt of a job. seconds: without slack. size: bytes on disk."""

    mem_mb: int
    minutes: int
    seconds: float
    size: float


def need(
    config: Document,
    rule: str,
    place: Mapping[str, str],
    gpu: bool = False,
    sizes: Mapping[str, Sizes] | None = None,
    usual: Speed | None = None,
) -> Need:
    """The needs of one job of a rule; little more than its start if COSTS does not have the rule.

    place: the job's wildcards (model, dataset, split, shots), and number of shards. gpu: the job
    runs on a GPU. sizes: see `counts`.

    usual: the speed of a usual machine, for a forecast, which looks at the encoder more closely;
    the default speed holds for slow nodes, too.
    """
    amounts = Amounts(config, gpu, sizes, usual or Speed(), usual is not None, place)
    cost = COSTS.get(rule, Cost())
    seconds, size = amounts.total(cost.seconds), amounts.total(cost.size)
    mem_mb = START + amounts.total(cost.mb)
    # rounded up to 500 MB and, with slack, to five minutes
    minutes = LEAST + math.ceil(seconds * SLACK / 60 / 5) * 5
    return Need(math.ceil(mem_mb / 500) * 500, minutes, seconds, size)


@dataclass(frozen=True)
class Amounts:
    """What coefficients multiply, of one job; the fields are the arguments of `need`.

    An amount is computed only for a job whose cost names it. Those that several threads share are
    divided by their number.
    """

    config: Document
    gpu: bool
    sizes: Mapping[str, Sizes] | None
    thread: Speed
    closely: bool
    place: Mapping[str, str]
    once = 1.0

    def total(self, coefficients: Mapping[str, float]) -> float:
        """The sum of amounts, times their coefficients."""
        return sum(each * float(getattr(self, name)) for name, each in coefficients.items())

    # ---- what amounts are made of

    @property
    def dataset(self) -> str:
        return self.place["dataset"]

    @property
    def model(self) -> str:
        """The model; for a phase that one model decides, the one that compares texts."""
        return self.place.get("model") or self.config.text_encoder()

    def split(self, name: str) -> int:
        """Number of images of a split; 0 if the data set has no such split."""
        if name == "val" and not self.config.has_val(self.dataset):
            return 0
        return counts(self.config, self.dataset, name, self.sizes)[0]

    @cached_property
    def images(self) -> int:
        """Number of images of the job's split, by default of the test images."""
        return self.split(self.place.get("split", "test"))

    @cached_property
    def classes(self) -> int:
        return counts(self.config, self.dataset, "test", self.sizes)[1]

    @property
    def threads(self) -> int:
        return self.config.features.threads

    @cached_property
    def encoder_size(self) -> Size:
        return encoder_size(self.config, self.model, self.closely)

    @property
    def dim(self) -> int:
        return self.encoder_size.dim

    @property
    def rate(self) -> float:
        """Float operations per second of the encoder."""
        if self.gpu:
            return GPU
        rate = self.thread.operations * self.threads
        # in float64 a vector holds half as many numbers
        if self.config.models[self.model].precision == "fp64":
            rate /= 2
        return rate

    # ---- images

    @property
    def _searched(self) -> list[int]:
        """Images of each split in which near twins are searched."""
        splits = ["val", "test"]
        if self.config.few_shot(self.dataset):
            splits.append("train")
        found = list(map(self.split, splits))
        # only of published images larger splits are not searched
        if self.config.published(self.dataset) and not self.config.of_features(self.dataset):
            return [n for n in found if n <= twins.MOST]
        return found

    @property
    def opened(self) -> int:
        """Images that are opened to be listed; 0 of features."""
        return 0 if self.config.of_features(self.dataset) else sum(self._searched)

    @property
    def opening(self) -> float:
        return self.opened / self.thread.decoded

    @property
    def opened_pairs(self) -> int:
        return self.opened**2

    @property
    def given(self) -> int:
        """Features that are read to be listed; 0 of images."""
        return sum(self._searched) if self.config.of_features(self.dataset) else 0

    @property
    def given_pairs(self) -> int:
        return self.given**2

    @property
    def given_numbers(self) -> int:
        return self.given * self.dim

    @property
    def _opens(self) -> bool:
        return opens_images(self.config, self.model, self.dataset)

    @property
    def _splits(self) -> list[int]:
        """Images of each split that is encoded."""
        return [self.split(split) for split in self.config.encoded(self.dataset)]

    @property
    def read(self) -> int:
        """Features that are read in place of images."""
        return 0 if self._opens else sum(self._splits)

    @property
    def largest_read(self) -> int:
        return 0 if self._opens else max(self._splits) * self.dim

    @property
    def encoded(self) -> int:
        """Images that are encoded, of one shard."""
        shards = int(self.place.get("shards", 1))
        return sum(math.ceil(n / shards) for n in self._splits) if self._opens else 0

    @property
    def rows(self) -> int:
        return self.encoded * self.dim

    @property
    def numbers(self) -> int:
        return self.images * self.dim

    @property
    def loaders(self) -> int:
        """Threads that decode, each with a large photo."""
        return workers(self.config, self.gpu) if self._opens else 0

    @property
    def image_encoder(self) -> float:
        return self.encoder if self._opens else 0.0

    @property
    def encoder(self) -> float:
        """MB of the encoder."""
        loaded = self.encoder_size.parameters * 4 * WEIGHTS / 1e6
        return loaded + CONTEXT if self.gpu else loaded

    @property
    def batch(self) -> float:
        """MB of activations, which take the host's memory only on a CPU."""
        if self.gpu or not self._opens:
            return 0.0
        return self.encoder_size.activations * self.config.features.batch_size / 1e6

    @property
    def encoding(self) -> float:
        """Seconds in which images are decoded and encoded."""
        forward, decode = self.encoder_size.image / self.rate, 1 / self.thread.decoded
        if self.gpu and self.loaders:
            # decoding runs beside the encoder
            return self.encoded * max(forward, decode / self.loaders)
        # on a CPU the encoder and the thread that decodes share the job's cores
        return self.encoded * (forward + decode)

    @property
    def image_features(self) -> float:
        """Bytes of features: of shots the mean of the views in float32, and some of them one by
        one in float16.
        """
        size = 0.0
        for split in self.config.encoded(self.dataset):
            bytes_each = 4.0
            if split == "shots" and not self.config.of_features(self.dataset):
                kept = 2 * self.config.views_stored(self.dataset)
                bytes_each = (4 + kept) / self.config.datasets[self.dataset].views
            size += bytes_each * self.split(split) * self.dim
        return size / int(self.place.get("shards", 1))

    # ---- texts

    @property
    def texts(self) -> int:
        draws = ATTRIBUTES * self.config.evaluation.random_draws
        return self.classes * (STORED + ENSEMBLE + draws) + NAMES

    @property
    def text_numbers(self) -> int:
        return self.texts * self.dim

    @property
    def text_encoding(self) -> float:
        return self._sentences(self.texts)

    def _sentences(self, number: float) -> float:
        """Seconds in which sentences are encoded."""
        if not families.encodes(self.config.models[self.model].model):
            return 0.0
        return number * TOKENS * self.encoder_size.token / self.rate

    @property
    def kept_text_numbers(self) -> int:
        """Of a draw of random words only the means are kept."""
        return self.classes * (STORED + self.config.evaluation.random_draws) * self.dim

    @property
    def stored_numbers(self) -> int:
        return self.classes * STORED * self.dim

    @property
    def coder_numbers(self) -> int:
        return self.dim * (2 * self.dim + 3 * self.classes)

    @property
    def pairs(self) -> float:
        return n_pairs(self.config, self.dataset, self.classes)

    @property
    def pair_texts(self) -> float:
        templates = load_templates(self.dataset, self.config.datasets[self.dataset])
        # the published code's sentences, if they differ
        return self.pairs * PAIR_TEXTS * (len(templates.one_to_one) + 1)

    @property
    def pair_text_numbers(self) -> float:
        return self.pair_texts * self.dim

    @property
    def pair_encoding(self) -> float:
        return self._sentences(self.pair_texts)

    @property
    def pair_numbers(self) -> float:
        return self.pairs * self.dim

    # ---- scores

    @property
    def scored(self) -> int:
        return self.images * self.classes

    @property
    def scored_by_thread(self) -> float:
        return self.scored / self.threads

    @property
    def settings(self) -> int:
        return len(self.config.settings)

    @property
    def zero_shot_rows(self) -> int:
        return self.images * (BASELINES + self.settings)

    @property
    def gated_scores(self) -> int:
        """Scores of validation images; without these, of test images."""
        return (self.split("val") or self.images) * self.classes

    @property
    def gated(self) -> float:
        """For each of the two variants of texts."""
        return min(2, self.settings) * self.gated_scores / self.threads

    @property
    def rerank_rows(self) -> int:
        return self.images * self.settings

    @property
    def reranked(self) -> float:
        return self.rerank_rows * self.classes / self.threads

    @property
    def compared(self) -> float:
        """Images whose classes have pairs with texts."""
        covered = min(1.0, self.pairs / (COVERED * self.classes))
        return self.rerank_rows * covered / self.threads

    # ---- few-shot

    @property
    def fits(self) -> float:
        """Fits of a method to a setting and seed; about half of the methods read texts, which
        settings do not share.
        """
        adapter = self.config.adapter
        return len(adapter.methods) * (1 + self.settings) / 2 * len(adapter.seeds)

    @property
    def _fitted(self) -> float:
        """Validation and test images of all fits."""
        return self.fits * (self.split("val") + self.images) / self.threads

    @property
    def _shots(self) -> int:
        return self.classes * int(self.place["shots"])

    @property
    def fit_scores(self) -> float:
        return self._fitted * self.classes

    @property
    def affinities(self) -> float:
        return self._fitted * self._shots * self.dim

    @property
    def searched(self) -> float:
        return self.fits * self.split("val") * self._shots / self.threads

    @property
    def few_shot_rows(self) -> int:
        """Zero-shot CLIP is in the file, too."""
        adapter = self.config.adapter
        methods = len(adapter.methods) + 1
        return self.images * methods * self.settings * len(adapter.seeds)

    # ---- evaluation, and all data sets

    @property
    def compared_pairs(self) -> float:
        return kinds_of_features(self.config, self.dataset) * self.images**2 / self.threads

    @property
    def products(self) -> float:
        """Corrections compare original features and CODER once more."""
        kinds = kinds_of_features(self.config, self.dataset) + 2
        return kinds * self.images**2 * self.dim / self.threads

    @property
    def subsets(self) -> float:
        evaluation = self.config.evaluation
        return evaluation.draws * len(evaluation.text_counts) * self.scored_by_thread

    @property
    def sets(self) -> int:
        """Pairs of a model and a data set."""
        return len(self.config.models) * len(self.config.datasets)

    def _of_all(self, which: int) -> int:
        """Test images (0) or classes (1) of all models and data sets."""
        found = [counts(self.config, name, "test", self.sizes) for name in self.config.datasets]
        return len(self.config.models) * sum(of_set[which] for of_set in found)

    @property
    def images_of_all(self) -> int:
        return self._of_all(0)

    @property
    def classes_of_all(self) -> int:
        return self._of_all(1)


def kinds_of_features(config: Document, dataset: str) -> int:
    """Number of kinds of features whose neighbours the evaluation compares (`Compared`)."""
    # original, CODER, on names, CODER by few texts; rotated texts, random directions
    kinds = 4
    if config.few_shot(dataset):
        kinds += 1  # discriminant
    if config.part(dataset):
        return kinds
    kinds += 2
    if config.has_val(dataset):
        kinds += 3  # own images, centred, whitened
    if config.others(dataset):
        kinds += 2
    return kinds
