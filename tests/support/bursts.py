"""Pictures in bursts: scenes, and other shots of them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def scene(seed: int, width: int = 96, height: int = 72) -> Image.Image:
    """A picture with large and small structure, such as a photo has; each seed another one."""
    rng = np.random.default_rng(seed)
    layers = [
        Image.fromarray(rng.integers(0, 256, (n, n, 3), dtype=np.uint8)).resize(
            (width, height), Image.Resampling.BICUBIC
        )
        for n in (4, 9, 24)
    ]
    mixed = sum(
        w * np.asarray(layer, float) for w, layer in zip((0.5, 0.3, 0.2), layers, strict=True)
    )
    return Image.fromarray(np.asarray(mixed, dtype=np.uint8))


def saved_again(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    return Image.open(io.BytesIO(buffer.getvalue()))


def brighter(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.clip(np.asarray(image, float) * 1.1, 0, 255).astype(np.uint8))


def moved(image: Image.Image) -> Image.Image:
    """As if the camera had moved: 3 % of two sides are not seen any more."""
    return image.crop(
        (round(0.03 * image.width), round(0.03 * image.height), image.width, image.height)
    )


def save_bursts(root: Path, classes: Sequence[str], scenes: int) -> None:
    """Write scenes of each class, each in three shots, as ``root/class/00a.png``, ``00b.png``,
    ``00c.png``.
    """
    for c, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(scenes):
            picture = scene(100 * c + i)
            for shot, image in zip(
                "abc", (picture, moved(picture), brighter(picture)), strict=True
            ):
                image.save(root / name / f"{i:02}{shot}.png")
