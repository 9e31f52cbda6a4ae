"""Estimate the memory and time of a phase, which its jobs request on a cluster. Local runs use
neither.

The estimates depend on the numbers of images and classes (from the manifest, if there is one), the
encoder's architecture, batch size and threads. They are rounded up generously, because a job that
requests too little has to run twice.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..encoders.table_list import is_list
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
# seconds of all few-shot methods per seed, val image and shot; measured by benchmarks/imagenet.py
# --size caltech101
SEARCH = 1e-5
FIT = 0.1  # seconds per method, setting and seed; measured on the embedded default
EACH = 3e-7  # more seconds per method, setting and seed, for each image and class
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
class Size:
    """The size of an encoder.

    parameters: number in both towers. dim: width of a feature. image, token: floating-point
    operations for one image, for one text token."""

    parameters: float
    dim: int
    image: float
    token: float
    activations: float  # bytes of one image in flight


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
    """The needs of one job of a phase. gpu: the job runs on a GPU. sizes: see `counts`. place: the
    job's wildcards (model, dataset, split, shots), and number of shards.

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
    if phase == "image_features":
        shards, n = int(place.get("shards", 1)), workers(config, gpu)
        images = sum(
            math.ceil(counts(config, dataset, split, sizes)[0] / shards)
            for split in config.encoded(dataset)
        )
        forward, decode = size.image / rate, 1 / thread.decoded
        if is_list(config.models[model].model):
            decode = 0  # published features: no image is opened
        # activations take the host's memory only on a CPU
        batch = 0 if gpu else size.activations * config.features.batch_size
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
    seconds = OTHER.get(phase, 0.0) + images * classes * 5e-6 / threads
    resamples = INTERVALS.get(phase, 0) * max(0, config.evaluation.bootstrap - RESAMPLES)
    seconds += resamples * (RESAMPLE + OF_CLASS * classes)
    if phase == "adapter":
        shots, seeds = classes * int(place["shots"]), len(config.adapter.seeds)
        val = counts(config, dataset, "val", sizes)[0]
        # a fit per method and setting, for each seed
        fits = len(config.adapter.methods) * len(config.settings)
        seconds += seeds * (SEARCH * val * shots + fits * (FIT + EACH * (val + images) * classes))
    return _need(START + images * (48 * classes + 32 * 1024) / 1e6, seconds)


def gpus(config: Document) -> int:
    """Number of GPUs of this machine that encoders may use, as torch says: as many jobs run at a
    time, one on each GPU.

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
    """Number of threads that decode images ahead of the encoder. By default on a CPU one, which
    takes little time from the encoder.
    """
    configured = config.features.workers
    if configured is not None:
        return configured
    return min(8, os.cpu_count() or 1) if gpu else 1


def counts(
    config: Document, dataset: str, split: str, sizes: Mapping[str, Sizes] | None = None
) -> tuple[int, int]:
    """Number of images of a split (of "shots": of all augmented views), and number of classes.

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
        return min(drawn, n_images) * config.datasets[dataset].views, classes
    return max(n_images, 1), max(classes, 1)


def _sizes(config: Document, dataset: str) -> Sizes:
    """Images per split and number of classes, from the manifest or, before it exists, a published
    data set's entry.
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
    """The size of a model's encoder, from its architecture alone; if the architecture cannot be
    read, the size of a large ViT.

    closely: count the operations of a tower of timm, which takes seconds to import.
    """
    return _size(config.models[model].model, closely)


@cache
def _size(name: str, closely: bool) -> Size:
    """:func:`encoder_size` of a model name as in the configuration."""
    if is_list(name):
        return Size(0, 512, 0, 0, 0)  # nothing is encoded
    # Rough numbers from the architecture file, without building the model. A transformer has 12 ·
    # width² parameters per layer, two operations per parameter and token, and attention that
    # grows with tokens². A ResNet is scaled from ResNet-50, and a timm tower counts as a medium
    # one unless it is looked at closely.
    cfg = _architecture(name)
    dim = int(cfg.get("embed_dim", 768))
    vision: Mapping[str, Any] = cfg.get("vision_cfg") or {}
    text: Mapping[str, Any] = cfg.get("text_cfg") or {}
    pixels = vision.get("image_size", 224)
    pixels = max(pixels) if isinstance(pixels, list) else int(pixels)
    layers, width = vision.get("layers", 24), int(vision.get("width", 1024))
    if isinstance(layers, list):  # a ResNet
        # relative to ResNet-50, with width 64 and 16 blocks
        scale = (width / 64) ** 2 * sum(layers) / 16
        of_image, flops = 4e7 * scale, 1.2e10 * scale * (pixels / 224) ** 2
        activations = 4e7 * math.sqrt(scale) * (pixels / 224) ** 2
    elif "timm_model_name" in vision:
        of_image, flops = 9e7, 4e10 * (pixels / 224) ** 2
        if closely:
            of_image, flops = _timm_size(vision["timm_model_name"], pixels) or (of_image, flops)
        activations = 6e7 * (pixels / 224) ** 2
    else:
        patch = int(vision.get("patch_size") or 14)
        # the patches and the class token
        tokens = (pixels // patch) ** 2 + 1
        of_image = 12.0 * layers * width**2
        flops = 2 * of_image * tokens + 4.0 * layers * tokens**2 * width
        activations = 4.0 * tokens * width * 24 + 3 * 4 * pixels**2
    if "hf_model_name" in text:
        of_text = _hugging_face_size(name) or 1.2e8
    else:
        text_width = int(text.get("width", 768))
        of_text = 12.0 * int(text.get("layers", 12)) * text_width**2
    # the table of token embeddings
    vocabulary = int(text.get("vocab_size", 49408)) * int(text.get("width", 768))
    return Size(of_image + of_text + vocabulary, dim, flops, 2 * of_text, activations)


def _timm_size(name: str, pixels: int) -> tuple[float, float] | None:
    """Parameters of a timm tower, and operations for an image of ``pixels`` × ``pixels``; None if
    timm cannot build the tower.
    """
    import timm
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    try:
        # the device "meta" has shapes without numbers
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            tower: Any = timm.create_model(name, num_classes=0)
            channels, height, width = tower.pretrained_cfg["input_size"]
            tower(torch.zeros(1, channels, height, width))
    except (RuntimeError, ValueError, TypeError):
        return None
    # timm's input size may be another one; operations grow with the number of pixels
    operations = counter.get_total_flops() * pixels**2 / (height * width)
    return sum(p.numel() for p in tower.parameters()), operations


def _hugging_face_size(name: str) -> float | None:
    """Parameters in the layers of a folder's own text tower; None for a tower of the hub."""
    try:
        file = Path(name.removeprefix("local-dir:")) / "config.json"
        tower = json.loads(file.read_text(encoding="utf-8"))
        return 12.0 * int(tower["num_hidden_layers"]) * int(tower["hidden_size"]) ** 2
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _architecture(name: str) -> dict[str, Any]:
    """open_clip's configuration of a model; {} if there is none."""
    if name.startswith("local-dir:"):
        path = Path(name.removeprefix("local-dir:")) / "open_clip_config.json"
    else:
        path = open_clip_architectures() / f"{name.replace('/', '-')}.json"
    try:
        cfg: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        # a folder's file has the configuration below the key model_cfg
        return dict(cfg.get("model_cfg", cfg))
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def open_clip_architectures() -> Path:
    """Find open_clip's folder of architecture files without importing open_clip, which takes
    seconds.
    """
    spec = importlib.util.find_spec("open_clip")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model_configs"


def _need(mem_mb: float, seconds: float) -> Need:
    """Round up to 500 MB and, with slack, to five minutes."""
    minutes = LEAST + math.ceil(seconds * SLACK / 60 / 5) * 5
    return Need(math.ceil(mem_mb / 500) * 500, minutes, seconds)
