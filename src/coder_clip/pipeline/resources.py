"""What a run computes with: GPUs, cores and threads of this machine; and what decides how long it
takes: numbers of images, classes and pairs, and the size of an encoder.
"""

from __future__ import annotations

import json
import math
import os
import platform
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..encoders import families
from ..encoders.spec import LARGE, Size
from ..foundation.artifacts import Paths

if TYPE_CHECKING:
    from .document import Document

CARDS = Path("/proc/driver/nvidia/gpus")  # one folder per NVIDIA GPU
# devices of GPU drivers: NVIDIA, its boards with Tegra, WSL, AMD; containers show the devices and
# often not /proc
DRIVERS = tuple(Path("/dev", name) for name in ("nvidiactl", "nvhost-gpu", "nvgpu", "dxg", "kfd"))
# Threads that decode for a GPU at most. Decoding and resizing a photo holds Python's lock for
# about a sixteenth of its time (the sum of its parts that do), so more threads would wait for it.
MOST_WORKERS = 16
CORES_OF_GPU = 8  # that a job on a cluster's GPU asks for; the head node cannot see its cores
# assumed before the manifest exists; with the manifest the needs are estimated again
UNKNOWN_IMAGES, UNKNOWN_CLASSES = 50_000, 1_000
Sizes = tuple[Mapping[str, int], int]  # of a data set: images per split, number of classes


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
