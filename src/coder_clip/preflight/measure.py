"""Measure how fast this machine encodes, in a few seconds per encoder, without its weights."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image

from ..datasets import load_dataset
from ..encoders import memory
from ..encoders.checkpoints import find, hub
from ..encoders.encoder import DTYPES, empty_model, passes, pick_device
from ..encoders.text_towers import text_features
from ..errors import UserError
from ..foundation.artifacts import Paths
from ..pipeline.resources import TOKENS

if TYPE_CHECKING:
    from ..pipeline.config import Config

# CPU seconds until this process had imported what a job imports, torch and open_clip; less what a test run takes
START = min(10.0, sum(os.times()[:2]))
SECONDS = 0.3  # of one measurement
DECODED = 8  # images of a data set that are decoded to measure


@dataclass(frozen=True)
class Rates:
    """Seconds on this machine. start: until an encoding job begins its work. image, text: of each model, in the forward
    pass. decode: of each data set, to read and resize an image."""

    start: float
    image: Mapping[str, float] = field(default_factory=dict)
    text: Mapping[str, float] = field(default_factory=dict)
    decode: Mapping[str, float] = field(default_factory=dict)


def measure(config: Config) -> Rates:
    """Rates of every model and data set that still has something to encode."""
    paths = Paths(config.results)

    def left(m: str, d: str) -> bool:
        features = (paths.image_features(m, d, split) for split in config.encoded(d))
        return not all(p.is_file() for p in (*features, paths.text_features(m, d)))

    models = [m for m in config.models if any(left(m, d) for d in config.datasets)]
    datasets = [d for d in config.datasets if any(left(m, d) for m in config.models)]
    before = torch.get_num_threads()
    torch.set_num_threads(config.features.threads)
    try:
        device = pick_device(config.features.device)
        passes = {m: _of_model(config, m, device) for m in models}
        decode = {d: _of_images(config, d) for d in datasets}
    finally:
        torch.set_num_threads(before)
    image, text = ({m: seconds[i] for m, seconds in passes.items() if seconds is not None} for i in (0, 1))
    return Rates(START, image, text, {d: seconds for d, seconds in decode.items() if seconds is not None})


def _of_model(config: Config, name: str, device: torch.device) -> tuple[float, float] | None:
    """Seconds per image and per text; None if the architecture is not on this machine yet (a model of the hub)."""
    given = config.models[name]
    if device.type == "cpu":
        memory.keep()
    try:
        if ":" in given.model:  # a folder, or a model of the hub that is here already
            source = find(given.model, given.pretrained, offline=True)
            with hub(offline=True):
                model: Any = empty_model(source.name, **source.options)
        else:
            model = empty_model(given.model.replace("/", "-"))
    except Exception:  # open_clip and the hub fail in many ways; then the estimate is from sizes alone
        return None
    dtype = DTYPES.get(given.precision, torch.float32)
    model = model.eval().to(device=device, dtype=dtype)
    for parameter in model.parameters():  # numbers as they were allocated may be slow ones (denormal)
        torch.nn.init.constant_(parameter.data, 0.01)
    size = model.visual.image_size
    height, width = (size, size) if isinstance(size, int) else size
    images = min(config.features.batch_size, 2 if device.type == "cpu" else 64)
    batch = torch.rand(images, 3, height, width, dtype=dtype, device=device)
    length = min(TOKENS, int(getattr(model, "context_length", 0) or TOKENS))
    texts = 8 if device.type == "cpu" else 512
    tokens = torch.randint(1, 1000, (texts, length), device=device)
    tokens[:, -1] = int(getattr(getattr(model, "text", model), "vocab_size", 1001)) - 1
    with passes(given.precision, device):  # .item() waits for the device
        image = _seconds(lambda: model.encode_image(batch).sum().item(), device.type) / images
        text = _seconds(lambda: text_features(model, tokens).sum().item(), device.type) / texts
    return image, text


def _of_images(config: Config, name: str) -> float | None:
    """Seconds to read and resize an image of a data set; None if it is not on this machine or cannot be read."""
    try:
        data = load_dataset(name, config.datasets[name], config.data_root)
        ids = data.split("test").ids
        ids = ids[:: max(1, len(ids) // DECODED)][:DECODED]

        def read() -> None:
            for image_id in ids:
                data.image(image_id).resize((224, 224), Image.Resampling.BICUBIC)

        return _seconds(read) / len(ids)
    except (UserError, OSError):
        return None


def _seconds(action: Callable[[], object], device: str = "cpu") -> float:
    """Seconds of the fastest of as many calls as fit into SECONDS, after a warm-up.

    CPU time on a CPU, so that other work on the machine does not count.
    """
    clock = time.process_time if device == "cpu" else time.perf_counter
    action()
    best, began = float("inf"), time.perf_counter()
    while True:
        start = clock()
        action()
        best = min(best, clock() - start)
        if time.perf_counter() - began > SECONDS:
            return best / (torch.get_num_threads() if device == "cpu" else 1)
