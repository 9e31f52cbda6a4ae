"""`coder-clip check`: what a run would stumble over later, told before anything runs."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from ..datasets import PUBLISHED, Dataset, listing, load_dataset
from ..datasets.entry import entry
from ..datasets.images import UnreadableImage, read_image
from ..datasets.published import PublishedDataset, data_root
from ..datasets.sanity import refuse_unusable, warnings
from ..datasets.supply import absent_data
from ..datasets.supply import check as check_data
from ..encoders.checkpoints import Absent, find
from ..encoders.encoder import EncoderSpec, load_encoder, pick_device
from ..errors import UserError
from ..foundation.progress import progress
from ..phases.common import encoder_spec
from ..phases.generate_texts import task
from ..phases.image_features import shot_images
from ..phases.manifest import shots_needed
from ..pipeline.config import Config
from ..pipeline.resources import Sizes
from ..texts.sets import load_pair_set, load_text_set
from ..texts.sources import check as check_source
from .estimate import ASKED, ahead

if TYPE_CHECKING:
    from ..texts.llm.budget import Estimate

SHOWN = 3  # names in a line
LONG = 8  # hours, from which on a GPU is worth a word
MANY = 2000  # images whose opening takes long enough to show how far it is


def check(config: Config, file: Path) -> Iterator[str]:
    """A line for every data set, model and language model, for what is allowed but hardly meant, and for what the
    run takes. file: the configuration's, for the commands that are told.

    All that would stop a run is looked for before it is told: UserError with the one thing, or, after a line for each,
    with their number.
    """
    if config.left_out:
        yield (
            f"left out, because they are not here: {', '.join(config.left_out)}; "
            f"'coder-clip data check --config {file}' tells how to get them"
        )
    problems: list[str] = []
    sizes: dict[str, Sizes] = {}
    absent: list[str] = []
    nowhere = [n for n, d in config.datasets.items() if n in PUBLISHED and d.root is None]
    try:
        nowhere = absent = absent_data(config)
        problems += [_absent_data(config, name) for name in absent]
    except UserError as error:
        problems.append(str(error))
    for name in config.datasets:
        if name not in nowhere:
            try:
                yield from _dataset(config, name, sizes)
            except UserError as error:
                problems.append(str(error))
    asked = _asked(config)
    for told in (_language_model(config, asked), *(_weights(config, name) for name in config.models)):
        try:
            yield from told
        except UserError as error:
            problems.append(str(error))
    if not problems:
        for name in config.models:
            yield from _encoder(config, name)
    try:
        yield from _ahead(config, asked, sizes)
    except UserError as error:
        problems.append(str(error))
    if len(problems) == 1 and "\n" not in problems[0]:
        raise UserError(problems[0])
    yield from (f"problem: {problem}" for problem in problems)
    if absent:
        size, root = sum(entry(name).gigabytes for name in absent), data_root(config.data_root)
        yield (
            f"these data sets take {size:,.1f} GB, and {_free(root):,.0f} GB are free in {root}; "
            f"'coder-clip data get --config {file}' gets all that may be downloaded\n"
            f"to run without what is not here: make reproduce CONFIG={file} ONLY_PRESENT=1"
        )
    if problems:
        raise UserError(f"{len(problems)} problem{'s' if len(problems) > 1 else ''}, see above")


def _absent_data(config: Config, name: str) -> str:
    found = check_data(name, data_root(config.data_root))
    return "\n".join([f"data set {name}, below {found.folder}", *found.ways()])


def _language_model(config: Config, asked: dict[str, Estimate]) -> Iterator[str]:
    """Questions and money; UserError without the key, unless all answers are there."""
    if config.generator is None:
        return
    from ..texts.llm.budget import amount, total
    from ..texts.llm.server import api_key, place

    all_, prices = total(asked.values()), config.generator.prices
    costs = ""
    if prices:
        costs = f", about {amount(all_.money)} {prices.currency} at prices of {prices.date}"
    yield (
        f"language model {config.generator.model} at {place(config.generator)}: {all_.requests:,} "
        f"requests at most{costs}, without what is asked again; 'coder-clip generate-texts --dry-run' tells more"
    )
    if all_.requests:
        api_key(config.generator)


def _asked(config: Config) -> dict[str, Estimate]:
    """Of a language model, for the texts of classes and for those of pairs."""
    from ..texts.llm.budget import total
    from .questions import rows

    found: dict[str, list[Estimate]] = {phase: [] for phase in ASKED}
    for row in rows(config, list(config.datasets)):
        found["pair_texts" if row.texts == "one_to_one" else "texts"].append(row.ahead)
    return {phase: total(estimates) for phase, estimates in found.items()}


def _weights(config: Config, name: str) -> Iterator[str]:
    """A line where a model's weights have to be fetched; UserError where they cannot be."""
    from huggingface_hub import constants

    model = config.models[name]
    try:
        find(model.model, model.pretrained, offline=True, quick_gelu=model.quick_gelu)
    except Absent as absent:
        if constants.HF_HUB_OFFLINE:
            raise
        if not _answers(constants.ENDPOINT):
            raise UserError(
                f"model {name}: its weights are not on this machine, and {constants.ENDPOINT} cannot be reached: where "
                f"there is network run 'hf download {absent.repository}' and copy its Hugging Face cache here (HF_HOME "
                "says where)"
            ) from None
        yield (
            f"model {name}: its weights are not on this machine; the first job fetches them, and "
            f"'hf download {absent.repository}' does it now"
        )


@cache
def _answers(hub: str) -> bool:
    """Asked once for all models, and soon given up: huggingface_hub itself would try for a minute."""
    from huggingface_hub import get_session

    try:
        get_session().head(hub, timeout=5)
    except Exception:  # any failure means the same
        return False
    return True


def _encoder(config: Config, name: str) -> Iterator[str]:
    """Loads a model whose weights are here."""
    model = config.models[name]
    with contextlib.suppress(Absent):
        encoder = load_encoder(EncoderSpec(**encoder_spec(config, name)), offline=True)
        yield f"model {name}: {model.model}, {encoder.dim} dimensions, on {encoder.device}"


def _ahead(config: Config, asked: dict[str, Estimate], sizes: dict[str, Sizes]) -> Iterator[str]:
    """The device, hours by phase, disk; UserError where the disk is too small."""
    device = pick_device(config.features.device)
    table, hours, gigabytes = ahead(config, device.type != "cpu", asked, sizes)
    if not table:
        yield "everything is made already but for tables, figures and the report"
        return
    if device.type == "cuda":
        yield f"device {device}: {torch.cuda.get_device_name(device)}"
    elif device.type == "cpu" and hours > LONG:
        with_one = ahead(config, True, asked, sizes)[1]
        yield f"device cpu: no GPU on this machine; with one, here or on a cluster, about {with_one:.0f} h in all"
    else:
        yield f"device {device}"
    yield from table
    free = _free(config.results)
    yield f"disk: {gigabytes:.1f} GB in {config.results}, and as much in DVC's cache; {free:.0f} GB are free"
    if 2 * gigabytes > free:
        raise UserError(f"{config.results}: {2 * gigabytes:.0f} GB are needed and {free:.0f} GB are free")


def _free(folder: Path) -> float:
    """Gigabytes on the disk of a folder, which may not be there yet."""
    place = next(p for p in (folder, *folder.resolve().parents) if p.is_dir())
    return shutil.disk_usage(place).free / 1e9


def _dataset(config: Config, name: str, sizes: dict[str, Sizes]) -> Iterator[str]:
    given = config.datasets[name]
    if name in PUBLISHED and given.root is None and listing(name, given, config.data_root) is None:
        yield f"data set {name}: no images here, and none are needed: all their features are in {config.results}"
        return
    data = load_dataset(name, given, config.data_root)
    needed = ["train"] * config.few_shot(name) + ["val"] * config.has_val(name) + ["test"]
    images = {split: len(data.split(split)) for split in needed}
    sizes[name] = images, len(data.classes)
    counted = ", ".join(f"{split} {n}" for split, n in images.items())
    split = f" (split: {data.rule.what})" if isinstance(data, PublishedDataset) else ""
    yield f"data set {name}: {len(data.classes)} classes; {counted} images{split}"
    if isinstance(data, PublishedDataset) and (lost := data.missing()):
        ways = check_data(name, data_root(config.data_root)).ways()
        some = f"{len(lost):,} of {sum(data.counts.values()):,} images, below {data.place.images}, first {lost[0]}"
        raise UserError("\n".join([f"data set {name}: {some}", *ways]))
    if isinstance(data, PublishedDataset) and (miscounted := data.miscounted()):
        yield f"warning: data set {name}: {miscounted}; figures of others do not compare"
    refuse_unusable(data, needed[-2:], shots_needed(config, name))
    if config.few_shot(name):
        try:
            shot_images(config, data.split("train"), data.classes, given.shot_files)
        except UserError as error:
            raise UserError(f"data set '{name}': {error}") from None
    for file in given.text_files(name):
        load_text_set(file, name, data.classes)
    for source in set(given.generated(name).values()) - {
        "llm"
    }:  # whose key is checked once for all data sets
        check_source(source, task(config, name, list(data.classes), ()))
    if pair_file := given.pair_source(name):
        pairs = load_pair_set(pair_file, name, data.classes)
        if said := pairs.one_sided():
            yield f"data set {name}: {said}"
    if given.root is not None:
        yield from (f"warning: data set {name}: {line}" for line in warnings(data))  # type: ignore[arg-type]
    if absent := _absent(data):
        yield f"data set {name}: no test image of {_some(absent)}; nothing will be known about it"
    if given.root is not None and (bad := _unreadable(data, needed)):
        (first, reason), files = bad[0], [path for path, _ in bad]
        if config.features.on_error == "fail":
            more = f" ({len(bad)} such images)" if len(bad) > 1 else ""
            raise UserError(
                f"data set '{name}': image cannot be read: {given.root / first}: {reason}{more}; repair or remove it, "
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
