"""Preprocess images: an encoder's evaluation transform, and the augmented views of the few-shot
cache.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import functional as TF


@dataclass(frozen=True)
class Preprocess:
    """An encoder's image preprocessing, in two steps, with the fewest bytes between them.

    ``pixels`` and ``view`` (in loader threads) give uint8; ``normalise`` (beside the model) makes
    float32 of these. ``preprocess(image)`` does both steps.

    size: (height, width) of the images that the tower sees. mean, std: of its training images, per
    channel, in [0, 1]. interpolation, resize_mode: how ``steps`` resize, for the metadata. steps:
    functions of an image that resize and crop it.
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    resize_mode: str
    steps: tuple[Callable[[Any], Any], ...]

    def __call__(self, image: Image.Image) -> Tensor:
        """RGB image -> (3, H, W) float32, resized, cropped and normalised for evaluation."""
        return self.normalise(self.pixels(image))

    def pixels(self, image: Image.Image) -> Tensor:
        """RGB image -> (3, H, W) uint8, resized and cropped for evaluation."""
        for step in self.steps:
            image = step(image)
        return TF.pil_to_tensor(image)  # type: ignore[no-any-return]

    def view(self, image: Image.Image, image_id: str, view: int) -> Tensor:
        """RGB image -> (3, H, W) uint8: random resized crop of 0.5-1 of the area, bicubic, flipped
        with probability 1/2.

        view: number of the view. The draw depends on (image id, view) and nothing else, so any
        machine, process or order makes the same view. Source: the paper's few-shot cache, as in
        Tip-Adapter.
        """
        # a number has no "\0" in it, so different pairs give different texts
        seed = hashlib.sha256(f"{view}\0{image_id}".encode()).digest()
        draw = random.Random(int.from_bytes(seed[:8], "big"))
        top, left, height, width = _crop_box(image.height, image.width, draw)
        crop = TF.resized_crop(
            image, top, left, height, width, list(self.size), TF.InterpolationMode.BICUBIC
        )
        return TF.pil_to_tensor(TF.hflip(crop) if draw.random() < 0.5 else crop)  # type: ignore[no-any-return]

    def normalise(self, pixels: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Normalise (…, 3, H, W) uint8 to the mean and deviation of the model's training images."""
        mean, std = (_column(v, dtype, pixels.device) for v in (self.mean, self.std))
        return pixels.to(dtype).div_(255).sub_(mean).div_(std)

    def metadata(self) -> dict[str, str]:
        """Size, mean, std, interpolation and resize mode as strings."""
        return {
            "image_size": "x".join(map(str, self.size)),
            "image_mean": ",".join(map(repr, self.mean)),
            "image_std": ",".join(map(repr, self.std)),
            "image_interpolation": self.interpolation,
            "image_resize_mode": self.resize_mode,
        }


@lru_cache(maxsize=16)
def _column(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Values per channel as (3, 1, 1), cached for all batches."""
    return torch.tensor(values, dtype=dtype, device=device).view(3, 1, 1)


def _crop_box(height: int, width: int, draw: random.Random) -> tuple[int, int, int, int]:
    """Draw (top, left, height, width) as torchvision's RandomResizedCrop.

    With scale=(0.5, 1), ratio=(3/4, 4/3).
    """
    # a crop can turn out too large for the image: torchvision draws up to ten times
    for _ in range(10):
        area = height * width * (0.5 + 0.5 * draw.random())
        # uniform in the logarithm: 3:4 is as likely as 4:3
        ratio = math.exp(math.log(4 / 3) * (2 * draw.random() - 1))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return int(draw.random() * (height - h + 1)), int(draw.random() * (width - w + 1)), h, w
    # no crop fits a long and thin image: the centre, with the nearest ratio that is allowed
    w = min(width, round(height * 4 / 3))
    h = min(height, round(width * 4 / 3))
    return (height - h) // 2, (width - w) // 2, h, w
