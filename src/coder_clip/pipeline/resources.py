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
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

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
# seconds of all few-shot methods per seed, val image and shot; measured by benchmarks/imagenet.py
# --size caltech101
SEARCH = 1e-5
FIT = 0.1  # seconds per method, setting and seed; measured on the embedded default
EACH = 3e-7  # more seconds per method, setting and seed, for each image and class
# seconds of a job by phase for each image and class, on one thread; measured with 50,000 images of
# 1,000 classes
SCORE = {"zero_shot": 7e-7, "rerank": 8e-7}
MOST_SCORE = 5e-6  # of the other phases
# seconds of the evaluation for each pair of images, all kinds of features together; measured on the
# seven data sets of `make true-clip`
PAIR = 6e-7
# seconds of a job by phase, whatever the number of images
OTHER = {"zero_shot": 2.0, "rerank": 4.0, "one_to_one": 8.0, "evaluation": 11.0, "adapter": 3.0}
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
SENTENCES = 130  # per class: texts in their templates, synonyms, the ensembles of 80 and fewer
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
    thread = usual or Speed()
    dataset, threads = place["dataset"], config.features.threads
    images, classes = counts(config, dataset, place.get("split", "test"), sizes)
    model = place["model"]
    rate = GPU if gpu else thread.operations * threads  # float operations per second
    size = encoder_size(config, model, closely=usual is not None)
    # MB of a job with its encoder: 2.5 times its float32 weights
    loaded = START + size.parameters * 4 * 2.5 / 1e6
    if gpu:
        loaded += 1500  # a CUDA context's share of the host's memory
    if phase == "image_features" and not opens_images(config, model, dataset):
        return _need(START + 16 * images * size.dim / 1e6, 0)
    if phase == "image_features":
        shards, n = int(place.get("shards", 1)), workers(config, gpu)
        images = sum(
            math.ceil(counts(config, dataset, split, sizes)[0] / shards)
            for split in config.encoded(dataset)
        )
        forward, decode = size.image / rate, 1 / thread.decoded
        # activations take the host's memory only on a CPU
        batch = 0.0
        if not gpu:
            batch = size.activations * config.features.batch_size
        # on a CPU the encoder and the thread that decodes share the job's cores
        per_image = forward + decode
        if gpu and n:
            per_image = max(forward, decode / n)  # decoding runs beside the encoder
        seconds = images * per_image
        return _need(loaded + (batch + 8 * images * size.dim) / 1e6 + LOADER * n, seconds)
    if phase in ("text_features", "one_to_one"):
        # each draw of random words is as many texts as the attributes that it replaces
        of_class, others = SENTENCES, 0
        if phase == "text_features":
            of_class += ATTRIBUTES * config.evaluation.random_draws
            others = NAMES
        sentences = classes * of_class + others
        seconds = sentences * TOKENS * size.token / rate
        return _need(loaded + 500 + 12 * sentences * size.dim / 1e6, seconds)
    if phase == "merge":
        return _need(START + 16 * images * size.dim / 1e6, 0)
    # scores of every image and class, several of them at a time, and the features
    seconds = OTHER.get(phase, 0.0) + images * classes * SCORE.get(phase, MOST_SCORE) / threads
    if phase == "evaluation":
        seconds += PAIR * images**2 / threads
    resamples = INTERVALS.get(phase, 0) * max(0, config.evaluation.bootstrap - RESAMPLES)
    seconds += resamples * (RESAMPLE + OF_CLASS * classes)
    if phase == "adapter":
        shots, seeds = classes * int(place["shots"]), len(config.adapter.seeds)
        val = counts(config, dataset, "val", sizes)[0]
        # a fit per method and setting, for each seed
        fits = len(config.adapter.methods) * len(config.settings)
        seconds += seeds * (SEARCH * val * shots + fits * (FIT + EACH * (val + images) * classes))
    return _need(START + images * (48 * classes + 32 * 1024) / 1e6, seconds)


def opens_images(config: Document, model: str, dataset: str) -> bool:
    """False where features are read: of a data set of features, or for a model without a tower."""
    return families.encodes(config.models[model].model) and not config.of_features(dataset)


def gpus(config: Document) -> int:
    """Number of GPUs of this machine that encoders may use, as torch says.

    As many jobs run at a time, one on each GPU.

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

        published = entry(config.images_of(dataset))
        counts = {str(split): n for split, n in published.splits[0].counts.items()}
        return counts, published.n_classes
    manifest = json.loads(path.read_text(encoding="utf-8"))
    return manifest["images"], len(manifest["classes"])


def encoder_size(config: Document, model: str, closely: bool = False) -> Size:
    """The size of a model's encoder, from its architecture alone.

    If the architecture cannot be read, the size of a large ViT.

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
