"""Estimate the memory and time of a phase, which its jobs request on a cluster.

Local runs use neither.

The estimates depend on the numbers of images and classes (from the manifest, if there is one), the
encoder's architecture, batch size and threads. They are rounded up generously, because a job that
requests too little has to run twice.
"""

from __future__ import annotations

import json
import math
import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..datasets import load_templates, twins
from ..encoders import families
from ..encoders.spec import LARGE, Size
from ..foundation.artifacts import Paths

if TYPE_CHECKING:
    from .document import Document

START = 1500  # MB: Python, torch and the two Snakemakes around a job
CPU = 1.5e10  # float operations per second that one CPU thread sustains
GPU = 5e12  # the same for any data-centre GPU
CARDS = Path("/proc/driver/nvidia/gpus")  # one folder per NVIDIA GPU
# devices of GPU drivers: NVIDIA, its boards with Tegra, WSL, AMD; containers show the devices and
# often not /proc
DRIVERS = tuple(Path("/dev", name) for name in ("nvidiactl", "nvhost-gpu", "nvgpu", "dxg", "kfd"))
DECODED = 60  # JPEGs per second that one thread decodes and resizes, also large ones on a slow node
LOADER = 100  # MB of a thread that decodes: one large photo
# Threads that decode for a GPU at most. Decoding and resizing a photo holds Python's lock for
# about a sixteenth of its time (the sum of its parts that do), so more threads would wait for it.
MOST_WORKERS = 16
CORES_OF_GPU = 8  # that a job on a cluster's GPU asks for; the head node cannot see its cores
# Seconds on one thread, unless another source is named measured by benchmarks/phases.py at commit
# 16af6c9b: 50,000 images of 1,000 classes, d = 512 (docs/performance.md).
# Of a few-shot method, setting and seed, on average over methods: for each validation and test
# image, shot and number of a feature; for each validation image and shot; for each image and class;
# and whatever their number (benchmarks/imagenet.py at that commit, and the embedded default).
AFFINITY, SEARCH, EACH, FIT = 4e-11, 5e-7, 1e-7, 0.1
ZERO_SHOT = 9e-7  # of zero_shot for each image and class: fifteen methods
GATE = 1.4e-7  # of confusable_pairs for each image and class, and variant of texts
# of rerank: for each image, class and setting; for each image and setting, if all pairs have texts
RERANK, COMPARISON = 2.5e-7, 3e-4
COVERED = 10  # pairs with texts per class that cover all pairs that stage one confuses
# Of evaluation: for each pair of images and kind of features, and for each number of a feature, of
# exact products in float64.
NEIGHBOURS, PRODUCT = 1e-8, 4.5e-11
# of evaluation for each image and class: ablations, and each subset of texts
ABLATIONS, SUBSET = 6.5e-7, 1e-7
# of manifest for each pair of images: near twins of features, and by pixels
FEATURE_PAIR, PIXEL_PAIR = 1e-8, 5e-9
READ = 3.5e-5  # of a feature that is read in place of an image
TEXT_NUMBER = 3e-8  # of coder for each text and number of a feature
# of tables, figures and report: once; for each model and data set; for each of its classes, and
# of its images
TABLES, FIGURES = (2.0, 1.0, 3e-3, 4e-5), (5.0, 0.5, 0.0, 0.0)
REPORT = (2.0, 1.0, 5e-3, 1e-5)
# seconds of a job by phase, whatever the number of images
OTHER = {"zero_shot": 2.0, "rerank": 1.5, "one_to_one": 3.0, "evaluation": 7.0, "adapter": 1.0}
# seconds of a bootstrap resample, and more seconds per class: estimates.bootstrap_interval
RESAMPLE, OF_CLASS = 2e-5, 2e-7
RESAMPLES = 2000  # default resamples of an interval, whose time is part of OTHER
# intervals by resampling in a job: about one per method and setting
INTERVALS = {"zero_shot": 15, "rerank": 10, "evaluation": 20}
TOKENS = 20  # of a usual sentence; the encoder does not compute the padding
SLACK = 2.0  # factor on estimated seconds
LEAST = 10  # minutes of every job: start, a busy file system
# assumed before the manifest exists; with the manifest the needs are estimated again
UNKNOWN_IMAGES, UNKNOWN_CLASSES = 50_000, 1_000
# per class: texts in their templates and synonyms, which are stored; and the ensemble of templates
STORED, ENSEMBLE = 50, 80
SENTENCES = STORED + ENSEMBLE
PAIR_TEXTS = 6  # of a pair of classes, as in data/texts
NAMES = 1000  # class names of ImageNet, in the text features of every data set
# attribute texts per class, as in data/texts; a draw of random words has as many texts
ATTRIBUTES = 10
Sizes = tuple[Mapping[str, int], int]  # of a data set: images per split, number of classes


@dataclass(frozen=True)
class Need:
    """The needs of one attempt of a job. seconds: the estimate without slack."""

    mem_mb: int
    minutes: int
    seconds: float


@dataclass(frozen=True)
class Speed:
    """The speed of one CPU thread: float operations, and images decoded and resized, per second."""

    operations: float = CPU
    decoded: float = DECODED


def need(
    config: Document,
    phase: str,
    gpu: bool = False,
    sizes: Mapping[str, Sizes] | None = None,
    usual: Speed | None = None,
    **place: str,
) -> Need:
    """The needs of one job of a phase.

    gpu: the job runs on a GPU. sizes: see `counts`. place: the job's wildcards (model, dataset,
    split, shots), and number of shards.

    usual: the speed of a usual machine, for a forecast, which looks at the encoder more closely;
    the default speed holds for slow nodes, too.
    """
    job = _Job(config, phase, gpu, sizes, usual or Speed(), usual is not None, place)
    mem_mb, seconds = NEEDS.get(phase, _little)(job)
    resamples = INTERVALS.get(phase, 0) * max(0, config.evaluation.bootstrap - RESAMPLES)
    seconds += resamples * (RESAMPLE + OF_CLASS * job.classes) if resamples else 0
    return _need(mem_mb, seconds + OTHER.get(phase, 0.0))


@dataclass(frozen=True)
class _Job:
    """A job whose needs are estimated; the fields are the arguments of `need`."""

    config: Document
    phase: str
    gpu: bool
    sizes: Mapping[str, Sizes] | None
    thread: Speed
    closely: bool
    place: Mapping[str, str]

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

    @property
    def images(self) -> int:
        """Number of images of the job's split, by default of the test images."""
        return self.split(self.place.get("split", "test"))

    @property
    def classes(self) -> int:
        return counts(self.config, self.dataset, "test", self.sizes)[1]

    @property
    def threads(self) -> int:
        return self.config.features.threads

    @property
    def size(self) -> Size:
        return encoder_size(self.config, self.model, self.closely)

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

    @property
    def loaded(self) -> float:
        """MB of a job with its encoder: 2.5 times its float32 weights."""
        loaded = START + self.size.parameters * 4 * 2.5 / 1e6
        if self.gpu:
            loaded += 1500  # a CUDA context's share of the host's memory
        return loaded

    @property
    def scores(self) -> float:
        """MB of a job with scores of every image and class, several at a time, and features."""
        return START + self.images * (48 * self.classes + 32 * 1024) / 1e6


def _little(job: _Job) -> tuple[float, float]:
    """MB and seconds of a job that takes little more than its start."""
    return START, 0


def _manifest(job: _Job) -> tuple[float, float]:
    """The search of near twins compares each image of each split with each."""
    splits = ["val", "test"]
    if job.config.few_shot(job.dataset):
        splits.append("train")
    of_splits = list(map(job.split, splits))
    if job.config.of_features(job.dataset):
        images, size = sum(of_splits), job.size.dim
        # the features: as read, split by split and together in float32; and twice in float64
        return START + 4 * images * 7 * size / 1e6, images * READ + FEATURE_PAIR * images**2
    # only of published images larger splits are not searched
    if job.config.published(job.dataset):
        of_splits = [n for n in of_splits if n <= twins.MOST]
    images = sum(of_splits)
    # each image is opened; its thumbnails have 1,728 bytes
    return START + 4000 * images / 1e6, images / job.thread.decoded + PIXEL_PAIR * images**2


def _image_features(job: _Job) -> tuple[float, float]:
    config, size = job.config, job.size
    shards, n = int(job.place.get("shards", 1)), workers(config, job.gpu)
    splits = [job.split(split) for split in config.encoded(job.dataset)]
    if not opens_images(config, job.model, job.dataset):
        return START + 16 * max(splits) * size.dim / 1e6, sum(splits) * READ
    images = sum(math.ceil(of_split / shards) for of_split in splits)
    forward, decode = size.image / job.rate, 1 / job.thread.decoded
    # activations take the host's memory only on a CPU
    batch = 0.0
    if not job.gpu:
        batch = size.activations * config.features.batch_size
    # on a CPU the encoder and the thread that decodes share the job's cores
    per_image = forward + decode
    if job.gpu and n:
        per_image = max(forward, decode / n)  # decoding runs beside the encoder
    mem_mb = job.loaded + (batch + 8 * images * size.dim) / 1e6 + LOADER * n
    return mem_mb, images * per_image


def _merge(job: _Job) -> tuple[float, float]:
    return START + 16 * job.images * job.size.dim / 1e6, 0


def _text_features(job: _Job) -> tuple[float, float]:
    # each draw of random words is as many texts as the attributes that it replaces
    of_class = SENTENCES + ATTRIBUTES * job.config.evaluation.random_draws
    return _sentences(job, job.classes * of_class + NAMES)


def _one_to_one(job: _Job) -> tuple[float, float]:
    pairs = n_pairs(job.config, job.dataset, job.classes)
    templates = load_templates(job.dataset, job.config.datasets[job.dataset])
    wordings = len(templates.one_to_one)
    # the published code's sentences, if they differ
    return _sentences(job, pairs * PAIR_TEXTS * (wordings + 1))


def _sentences(job: _Job, sentences: float) -> tuple[float, float]:
    """A job that encodes sentences; not for a model that brings its texts as features."""
    mem_mb = job.loaded + 500 + 12 * sentences * job.size.dim / 1e6
    if not families.encodes(job.config.models[job.model].model):
        return mem_mb, 0
    return mem_mb, sentences * TOKENS * job.size.token / job.rate


def _coder(job: _Job) -> tuple[float, float]:
    numbers = job.classes * STORED * job.size.dim
    return START + 16 * numbers / 1e6, TEXT_NUMBER * numbers


def _zero_shot(job: _Job) -> tuple[float, float]:
    return job.scores, ZERO_SHOT * job.images * job.classes / job.threads


def _confusable_pairs(job: _Job) -> tuple[float, float]:
    """Scores of validation images; without these, of test images."""
    images = job.split("val") or job.images
    variants = min(2, len(job.config.settings))
    seconds = variants * GATE * images * job.classes / job.threads
    return START + 48 * images * job.classes / 1e6, seconds


def _rerank(job: _Job) -> tuple[float, float]:
    pairs = n_pairs(job.config, job.dataset, job.classes)
    covered = min(1.0, pairs / (COVERED * job.classes))
    per_image = RERANK * job.classes + COMPARISON * covered
    return job.scores, len(job.config.settings) * job.images * per_image / job.threads


def _adapter(job: _Job) -> tuple[float, float]:
    adapter = job.config.adapter
    val, shots = job.split("val"), job.classes * int(job.place["shots"])
    per_image = EACH * job.classes + AFFINITY * shots * job.size.dim
    fit = FIT + ((val + job.images) * per_image + SEARCH * val * shots) / job.threads
    # about half of the methods read texts, which settings do not share
    settings = (1 + len(job.config.settings)) / 2
    fits = len(adapter.methods) * settings * len(adapter.seeds)
    return job.scores, fits * fit


def _evaluation(job: _Job) -> tuple[float, float]:
    config, e = job.config, job.config.evaluation
    per_pair = NEIGHBOURS + PRODUCT * job.size.dim
    # corrections compare original features and CODER once more
    pairs = (kinds_of_features(config, job.dataset) * per_pair) + 2 * PRODUCT * job.size.dim
    subsets = e.draws * len(e.text_counts)
    per_class = ABLATIONS + SUBSET * subsets
    seconds = (pairs * job.images**2 + per_class * job.images * job.classes) / job.threads
    return job.scores, seconds


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


def _of_all(
    once: float, each: float, of_class: float, of_image: float
) -> Callable[[_Job], tuple[float, float]]:
    """A job for all models and data sets. once, each, of_class, of_image: seconds."""

    def needs(job: _Job) -> tuple[float, float]:
        seconds = once
        for dataset in job.config.datasets:
            images, classes = counts(job.config, dataset, "test", job.sizes)
            of_dataset = each + of_class * classes + of_image * images
            seconds += of_dataset * len(job.config.models)
        return 2000, seconds

    return needs


NEEDS = {
    "manifest": _manifest,
    "image_features": _image_features,
    "merge": _merge,
    "text_features": _text_features,
    "coder": _coder,
    "zero_shot": _zero_shot,
    "confusable_pairs": _confusable_pairs,
    "one_to_one": _one_to_one,
    "rerank": _rerank,
    "adapter": _adapter,
    "evaluation": _evaluation,
    "tables": _of_all(*TABLES),
    "figures": _of_all(*FIGURES),
    "report": _of_all(*REPORT),
}


def n_pairs(config: Document, dataset: str, classes: int) -> float:
    """Number of class pairs that have one-to-one texts: the pairs of a file, else those that a
    language model is asked about, else none.
    """
    file = config.datasets[dataset].pair_source(dataset)
    if file is not None and file.is_file():
        # a key that each pair has; not parsed, because the checks report a file that is damaged
        return file.read_bytes().count(b'"a_not_b"')
    if config.generator is None:
        return 0
    return min(classes * (classes - 1) / 2, config.generator.max_pairs or math.inf)


def opens_images(config: Document, model: str, dataset: str) -> bool:
    """False where features are read: of a data set of features, or for a model without a tower."""
    return families.encodes(config.models[model].model) and not config.of_features(dataset)


def gpus(config: Document) -> int:
    """Number of GPUs of this machine that encoders may use, as torch says; one job runs on each.

    torch takes a second to import, and is imported only where the system has a driver of a GPU.
    """
    device = config.features.device
    apple = sys.platform == "darwin" and platform.machine() == "arm64"
    if device == "cpu" or not (apple or any(driver.exists() for driver in DRIVERS)):
        return 0
    import torch

    available = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    # each job takes another GPU (phases/encoder.py)
    if device == "cuda":
        return available["cuda"]
    if device == "auto":
        return available["cuda"] or available["mps"]
    # a device with a number ("cuda:1") is one GPU
    return min(1, available.get(device.partition(":")[0], 0))


def workers(config: Document, gpu: bool) -> int:
    """Number of threads that decode images ahead of the encoder.

    By default on a CPU one, which takes little time from the encoder, and on a GPU one per core.
    """
    configured = config.features.workers
    if configured is not None:
        return configured
    if not gpu:
        return 1
    # the cores are shared by as many jobs as this machine has GPUs
    jobs = gpus(config)
    if jobs == 0:
        return CORES_OF_GPU
    return min(MOST_WORKERS, max(1, cores() // jobs))


def cores() -> int:
    """Number of cores that this process may use.

    A job of a cluster and a container often have fewer than the machine.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS


def counts(
    config: Document, dataset: str, split: str, sizes: Mapping[str, Sizes] | None = None
) -> tuple[int, int]:
    """Number of images of a split, and number of classes. Of "shots": of all augmented views.

    sizes: data set -> its sizes, for data sets whose sizes the caller knows. The result is
    UNKNOWN_IMAGES and UNKNOWN_CLASSES without a manifest, or if the manifest lacks the split.
    """
    try:
        images, classes = (sizes or {}).get(dataset) or _sizes(config, dataset)
        n_images = int(images["train" if split == "shots" else split])
    except (OSError, ValueError, KeyError, TypeError):
        return UNKNOWN_IMAGES, UNKNOWN_CLASSES
    if split == "shots":
        # seeds draw from the same images, so there are never more than all of them
        drawn = classes * max(config.adapter.shots) * len(config.adapter.seeds)
        views = 1 if config.of_features(dataset) else config.datasets[dataset].views
        return min(drawn, n_images) * views, classes
    return max(n_images, 1), max(classes, 1)


def _sizes(config: Document, dataset: str) -> Sizes:
    """Images per split and number of classes, from the manifest.

    Before it exists, from a published data set's entry.
    """
    path = Paths(config.results).manifest(dataset)
    if not path.is_file() and config.published(dataset):
        from ..datasets.entry import entry

        published = entry(dataset)
        counts = {str(split): n for split, n in published.splits[0].counts.items()}
        return counts, published.n_classes
    manifest = json.loads(path.read_text(encoding="utf-8"))
    return manifest["images"], len(manifest["classes"])


def encoder_size(config: Document, model: str, closely: bool = False) -> Size:
    """The size of a model's encoder, from its architecture alone; that of a large ViT if it cannot
    be read.

    closely: count the operations of a tower of timm, which takes seconds to import.
    """
    return _size(config.models[model].model, closely)


@cache
def _size(name: str, closely: bool) -> Size:
    """`encoder_size` of a model name as in the configuration."""
    size: Size = families.of(name).call("size", name, closely, default=LARGE)
    return size


def _need(mem_mb: float, seconds: float) -> Need:
    """Round up to 500 MB and, with slack, to five minutes."""
    minutes = LEAST + math.ceil(seconds * SLACK / 60 / 5) * 5
    return Need(math.ceil(mem_mb / 500) * 500, minutes, seconds)
