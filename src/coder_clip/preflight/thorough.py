"""Checks before a run that open images and load models."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from ..datasets import Dataset, corrections, listing, load_dataset
from ..datasets.features import FeatureDataset
from ..datasets.folder import FolderDataset
from ..datasets.images import seems_whole
from ..datasets.published import PublishedDataset
from ..datasets.sanity import MANY, copies, lines, refuse_unusable, warnings
from ..datasets.twins import said as twins_said
from ..encoders import families
from ..encoders.encoder import DTYPES, load_encoder, pick_device
from ..encoders.hub import Absent, hub_problem
from ..encoders.table_list import listed
from ..errors import UserError
from ..foundation import terminal
from ..foundation.artifacts import Paths, read_json, writable
from ..foundation.progress import progress
from ..jobs import shots_needed
from ..phases.image_features import shot_images
from ..phases.manifest import twin_counts
from ..pipeline.config import Config
from ..pipeline.listing import listing as listing_of
from ..pipeline.resources import CARDS, encoder_size
from ..texts.sets import load_pair_set, load_text_set
from ..texts.sources import check_source
from . import quick
from .questions import task_of

SHOWN = 3  # names in a line


def weights(config: Config, name: str, load: bool = True, here: bool = True) -> Iterator[str]:
    """Yield a line on a model; none if its files are there and it is not loaded.

    Nothing is downloaded.

    load: load the model as a job does; else only look for its files. here: True if jobs run on this
    machine; if not, the model is loaded on the CPU.
    UserError if the model can neither be loaded nor downloaded.
    """
    # `Absent` means that files are missing, which a run with a network can cure, unlike all other
    # errors. So ask the hub now whether it answers and gives this repository.
    from huggingface_hub import constants

    model = config.models[name]
    family = families.of(model.model)
    if not family.encodes:
        yield f"model {name}: no encoder; its texts are features ({listed(model.model)})"
        return
    quick.refuse_unreadable_folder(config, name)
    spec = model.spec(config.features.device)
    try:
        if not load:
            # raises Absent without a file
            family.call("look", spec)
            return
        encoder = load_encoder(spec if here else replace(spec, device="cpu"), offline=True)
        yield f"model {name}: {model.model}, {encoder.dim} dimensions, on {encoder.device}"
    except EOFError:
        raise UserError(
            f"model {name}: a file of {model.model} was cut off; get it again"
        ) from None
    except torch.OutOfMemoryError:
        raise UserError(
            f"model {name}: the GPU has no room for its weights; end what else runs there, or set "
            "features.device"
        ) from None
    except Absent as absent:
        if constants.HF_HUB_OFFLINE:
            raise
        writable(Path(constants.HF_HUB_CACHE), "weights")
        problem = _hub_problem(absent.repository, absent.needs)
        if problem:
            raise UserError(
                f"model {name}: its files are not all on this machine, and {problem}"
            ) from None
        yield (
            f"model {name}: its files are not all on this machine; a run on it fetches them, and "
            f"'coder-clip prefetch' or 'hf download {absent.repository}' does it now"
        )


_hub_problem = cache(hub_problem)  # several encoders may need one repository


def devices(config: Config) -> Iterator[str]:
    """Yield a line on the device, or on each GPU that jobs use.

    UserError if the weights do not fit into a GPU's free memory.
    """
    # Only GPUs that torch sees count: CUDA_VISIBLE_DEVICES hides the others. A job goes to any GPU
    # that no other job has (phases/encoder.py), so each of them must have room for the largest
    # encoder.
    device = pick_device(config.features.device)
    if device.type != "cuda":
        yield f"device {device}"
        return
    largest = max(config.models, key=lambda m: _weights_size(config, m))
    needed = _weights_size(config, largest)
    # "cuda" lets jobs use every GPU, "cuda:1" only one
    indices = [device.index]
    if device.index is None:
        indices = list(range(torch.cuda.device_count()))
    full: dict[int, float] = {}  # GPU -> gigabytes that are free
    for index in indices:
        free = torch.cuda.mem_get_info(index)[0] / 1e9
        shown = terminal.gigabytes(free)
        yield f"device cuda:{index}: {torch.cuda.get_device_name(index)}, {shown} free"
        if free < needed:
            full[index] = free
    if full:
        cards = ", ".join(
            f"cuda:{index} has {terminal.two_sizes(needed, free)[1]} free"
            for index, free in full.items()
        )
        weights, _ = terminal.two_sizes(needed, max(full.values()))
        raise UserError(
            f"{cards}, and the weights of model {largest} alone take {weights}: end what else runs "
            "there, or name other GPUs with CUDA_VISIBLE_DEVICES"
        )


def _weights_size(config: Config, model: str) -> float:
    """Gigabytes of a model's weights on the device, roughly; 0 for a model of the hub, whose size
    is not known.
    """
    if config.models[model].model.startswith("hf-hub:"):
        return 0.0
    bytes_each = DTYPES[config.models[model].precision].itemsize
    return encoder_size(config, model).parameters * bytes_each / 1e9


def unused_gpu(config: Config) -> Iterator[str]:
    """Yield a warning if torch cannot use this machine's GPU, unless CUDA_VISIBLE_DEVICES hides it
    or the configuration names a device.
    """
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    device = pick_device(config.features.device)
    if hidden or device.type != "cpu" or config.features.device != "auto":
        return
    # the driver lists cards that torch, built for another CUDA, does not see
    if CARDS.is_dir() and any(CARDS.iterdir()):
        built = "built without CUDA"
        if torch.version.cuda:
            built = f"built for CUDA {torch.version.cuda}"
        yield (
            f"warning: this machine has an NVIDIA GPU, and torch {torch.__version__} ({built}) "
            "cannot use it; 'nvidia-smi' shows the driver's CUDA version, "
            "https://pytorch.org/get-started the torch for it"
        )


def load(config: Config, name: str) -> Dataset | None:
    """A data set; None if its images are not here, and only their features are needed."""
    given = config.datasets[name]
    if config.published(name):
        if listing(name, given, config.data_root) is None:
            return None
        quick.images(config, name)
    return load_dataset(name, given, config.data_root, _known_twins(config, name))


def _known_twins(config: Config, name: str) -> list[list[str]] | None:
    """The groups of near twins, lists of image ids, in the manifest; None if there is no manifest
    of the current images.
    """
    path = Paths(config.results).manifest(name)
    if not path.is_file():
        return None
    # a manifest of another listing describes other images
    document = read_json(path)
    if document.get("listing") != listing_of(config, name):
        return None
    return list(document.get("near_twins", {}).get("groups", []))


def data_set(
    config: Config, name: str, data: Dataset, images: Mapping[str, int], deep: bool
) -> Iterator[str]:
    """Yield lines on one data set. UserError for the first problem.

    images: split -> number of images. deep: decode every image.
    """
    # From cheap to expensive: counts, shots, texts and pairs, and at the end the images themselves.
    # The first error ends the check of this data set, so a missing text is reported without
    # waiting for the images.
    yield from _counts(config, name, data, images)
    # val and test are the last two; for train the number of shots per class decides
    refuse_unusable(data, [*images][-2:], shots_needed(config, name))
    # split, or "shots" -> ids of the images that are encoded
    encoded = {split: data.split(split).ids for split in images if split != "train"}
    if config.few_shot(name):
        try:
            a = config.adapter
            most, train = config.most_shots(), data.split("train")
            shots = shot_images(train, data.classes, most, a.seeds, a.repeat_shots)[0]
            encoded["shots"] = shots.ids
        except UserError as error:
            raise UserError(f"data set '{name}': {error}") from None
    yield from _texts(config, name, data)
    yield from _mistakes(name, data)
    tested = set(data.split("test").labels.tolist())
    untested = [f"'{c}'" for i, c in enumerate(data.classes) if i not in tested]
    if untested:
        yield f"data set {name}: no test image of {_some(untested)}, so it cannot be evaluated"
    if not isinstance(data, FeatureDataset):  # which have no image files
        yield from _image_files(config, name, data, encoded, deep)


def _counts(config: Config, name: str, data: Dataset, images: Mapping[str, int]) -> Iterator[str]:
    """Yield lines on the numbers of classes and images, on corrections, and on a wrong number."""
    counted = ", ".join(f"{split} {n}" for split, n in images.items())
    said = f"data set {name}: {len(data.classes)} classes; {counted} images"
    file = config.datasets[name].corrections
    if isinstance(data, PublishedDataset):
        yield f"{said} (split: {data.rule.what})"
        miscounted = data.miscounted()
        if miscounted:
            yield f"warning: data set {name}: {miscounted}; published numbers are not comparable"
        return
    yield said
    if isinstance(data, FolderDataset) and file:
        labels = corrections.counts(data.corrections, data.split_of)
        yield f"data set {name}: {corrections.said(**labels, file=str(file))}"


def _texts(config: Config, name: str, data: Dataset) -> Iterator[str]:
    """Check the texts and the pairs of a data set; yields a line on pairs without effect."""
    given = config.datasets[name]
    for file in given.text_files(name):
        load_text_set(file, name, data.classes)
    # the key of "llm" is checked once for all data sets
    for source in set(given.generated(name).values()) - {"llm"}:
        check_source(source, task_of(config, name, list(data.classes), ()))
    pair_file = given.pair_source(name)
    if pair_file:
        pairs = load_pair_set(pair_file, name, data.classes)
        one_sided = pairs.one_sided()
        if one_sided:
            yield f"data set {name}: {one_sided}"


def _mistakes(name: str, data: Dataset) -> Iterator[str]:
    """Yield warnings of labels, copies and near twins."""
    mistakes: list[str] = []
    if isinstance(data, FolderDataset):
        mistakes += warnings(data)
    if not isinstance(data, FeatureDataset):
        mistakes += lines(copies(data))
    yield from (f"warning: data set {name}: {line}" for line in mistakes)
    yield from (f"data set {name}: {line}" for line in twins_said(twin_counts(data)))


def _image_files(
    config: Config, name: str, data: Dataset, encoded: Mapping[str, Sequence[str]], deep: bool
) -> Iterator[str]:
    """Yield a line on images that cannot be read and are skipped; UserError if that is not allowed.

    encoded: split, or "shots" -> ids of the images that are encoded.
    """
    bad = _unreadable(data, [i for ids in encoded.values() for i in ids], deep)
    if not bad:
        return
    if config.features.on_error == "fail":
        first = next(iter(bad))
        why = bad[first]
        if len(bad) > 1:
            why += f" ({len(bad)} such images)"
        raise UserError(
            f"data set '{name}': image cannot be read: {data.path(first)}: {why}; repair or remove "
            "it, or set features.on_error: skip"
        )
    # a run can skip images, but not all images of a split
    for split, ids in encoded.items():
        if bad.keys() >= set(ids):
            raise UserError(
                f"data set '{name}': none of {len(ids)} images of '{split}' can be read, the first "
                f"is {ids[0]}"
            )
    count = terminal.counted(len(bad), "image")
    yield f"data set {name}: {count} cannot be read and will be left out: {_some([*bad])}"


def _unreadable(data: Dataset, ids: list[str], deep: bool) -> dict[str, str]:
    """Image id -> reason, for images that cannot be read.

    Without deep, an image is not decoded if its file is seen to be complete.
    """

    def reason(image_id: str) -> str | None:
        """Why an image cannot be read; None if it can."""
        # the end or the checksums of the file show that it is complete; other formats are decoded
        if not deep and seems_whole(data.path(image_id)):
            return None
        try:
            data.image(image_id)
        except UserError as error:
            return str(getattr(error, "reason", error))
        return None

    found: dict[str, str] = {}
    with (
        progress(len(ids), "img", "opening images", wanted=len(ids) > MANY or deep) as bar,
        ThreadPoolExecutor() as pool,
    ):
        for image_id, why in zip(ids, pool.map(reason, ids), strict=True):
            if why:
                found[image_id] = why
            bar.update()
    return found


def _some(names: list[str]) -> str:
    """The first SHOWN names, and the number of the others."""
    said = ", ".join(names[:SHOWN])
    if len(names) > SHOWN:
        said += f" and {len(names) - SHOWN} more"
    return said
