"""`coder-clip check`: what a run would stumble over later, told before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .config import Config
from .datasets import Dataset, load_dataset
from .datasets.images import UnreadableImage, read_image
from .encoders import EncoderSpec, load_encoder
from .errors import UserError
from .phases.common import encoder_spec
from .phases.image_features import shot_images
from .progress import progress
from .texts.sets import load_pair_set, load_text_set
from .texts.wordnet import WordNet

SHOWN = 3  # names in a line
MANY = 2000  # images whose opening takes long enough to show how far it is


def check(config: Config) -> Iterator[str]:
    """A line for every data set, model and language model, and one for what is allowed but hardly meant.

    UserError for the first thing that would stop a run.
    """
    for name in config.datasets:
        yield from _dataset(config, name)
    if config.generator is not None:
        from .texts.llm.ahead import rows
        from .texts.llm.client import OPENAI, api_key

        questions = sum(row.ahead.requests for row in rows(config, list(config.datasets)))
        if questions:  # who has all answers needs no key
            api_key(config.generator)
        yield (
            f"language model {config.generator.model} at {config.generator.base_url or OPENAI}: {questions} questions "
            "at most, without those that are asked again"
        )
    for name, model in config.models.items():
        encoder = load_encoder(EncoderSpec(**encoder_spec(config, name)))
        yield f"model {name}: {model.model}, {encoder.dim} dimensions, on {encoder.device}"


def _dataset(config: Config, name: str) -> Iterator[str]:
    entry = config.datasets[name]
    data = load_dataset(name, entry, config.data_root)
    needed = ["train"] * config.few_shot(name) + ["val"] * config.has_val(name) + ["test"]
    sizes = ", ".join(f"{split} {len(data.split(split))}" for split in needed)
    yield f"data set {name}: {len(data.classes)} classes; {sizes} images"
    if config.few_shot(name):
        shot_images(config, data.split("train"), data.classes, entry.shot_files)
    for file in entry.text_files(name):
        load_text_set(file, name, data.classes)
    if "wordnet" in entry.text_sources(name).values():
        WordNet()
    if source := entry.pair_source(name):
        pairs = load_pair_set(source, name, data.classes)
        if said := pairs.one_sided():
            yield f"data set {name}: {said}"
    for split in needed[-2:]:
        if not len(data.split(split)):
            raise UserError(
                f"data set '{name}' has no {split} images; see docs/photos.md for how folders are split"
            )
    if absent := _absent(data):
        yield f"data set {name}: no test image of {_some(absent)}; nothing will be known about it"
    if entry.root is not None and (bad := _unreadable(data, needed)):
        (first, reason), files = bad[0], [path for path, _ in bad]
        if config.features.on_error == "fail":
            more = f" ({len(bad)} such images)" if len(bad) > 1 else ""
            raise UserError(
                f"data set '{name}': image cannot be read: {entry.root / first}: {reason}{more}; repair or remove it, "
                "or set features.on_error: skip"
            )
        yield f"data set {name}: {len(bad)} images cannot be read and will be left out: {_some(files)}"


def _absent(data: Dataset) -> list[str]:
    """Classes without a test image."""
    there = set(np.unique(data.split("test").labels).tolist())
    return [f"'{c}'" for i, c in enumerate(data.classes) if i not in there]


def _unreadable(data: Any, splits: list[str]) -> list[tuple[str, str]]:
    """(image id, reason) of the photos of a folder whose head is no image's. Pixels are not decoded: a photo that
    breaks off further down is found when it is encoded."""
    bad = []
    ids = [i for split in splits for i in data.split(split).ids]
    with progress(len(ids), "img", "opening images", wanted=len(ids) > MANY) as bar:
        for image_id in ids:
            if reason := _reason(data.path(image_id)):
                bad.append((image_id, reason))
            bar.update()
    return bad


def _reason(path: Path) -> str | None:
    try:
        with Image.open(path):
            return None
    except Exception:  # Pillow raises almost anything; read_image knows the words
        try:
            read_image(path)
        except UnreadableImage as error:
            return error.reason
    return None


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
