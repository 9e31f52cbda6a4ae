"""`digits`: scikit-learn's 1,797 scans of handwritten digits, 8x8 pixels, shown as readable RGB images.

The scans ship inside scikit-learn, so they need no download. Half of them (the train split) train `mini`
and are the pool of few-shot examples; validation and test are never shown to `mini`.
"""

from __future__ import annotations

import hashlib
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from ..errors import UserError, nearest
from .base import SPLITS, Split, Templates

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SIZE = 64  # pixels a side of the image that is shown and encoded
SHARES = {"train": 0.5, "val": 0.2, "test": 0.3}


class Digits:
    """Handwritten digits; ids look like ``test/0123``, the number being the scan's place in scikit-learn."""

    name = "digits"
    templates = Templates(
        name="a scan of the handwritten digit {class}.",
        attribute="a scan of the handwritten digit {class} which has {attribute}.",
        analogous="a scan of the handwritten digit {class} similar to {analogous}.",
        one_to_one=(
            "a scan of the handwritten digit {class} which has {one_to_one}.",
            "a digit {class} with {one_to_one}.",
        ),
        prompts=(
            "a scan of the handwritten digit {class}.",
            "a photo of the number {class}.",
            "the digit {class}.",
            "a handwritten {class}.",
            "a blurry {class} written by hand.",
            "the number {class} in dark ink on white paper.",
            "a picture of a {class}.",
        ),
    )

    def __init__(self) -> None:
        self.classes = list(NAMES)

    @cached_property
    def _bunch(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        bunch = load_digits()
        return bunch.images, bunch.target.astype(np.int64)

    @cached_property
    def _members(self) -> dict[str, NDArray[np.int64]]:
        """For each split the places of its scans, ascending: every class shuffled once with a fixed seed, then cut."""
        labels = self._bunch[1]
        rng = np.random.Generator(np.random.PCG64(20241))
        parts: dict[str, list[NDArray[np.int64]]] = {s: [] for s in SPLITS}
        for c in range(len(NAMES)):
            places = rng.permutation(np.flatnonzero(labels == c))
            a = round(len(places) * SHARES["train"])
            b = a + round(len(places) * SHARES["val"])
            for s, part in zip(SPLITS, (places[:a], places[a:b], places[b:]), strict=True):
                parts[s].append(part)
        return {s: np.sort(np.concatenate(p)) for s, p in parts.items()}

    def split(self, name: str) -> Split:
        if name not in SPLITS:
            raise UserError(f"digits has no split '{name}'{nearest(name, SPLITS)}")
        places = self._members[name]
        return Split([f"{name}/{i:04d}" for i in places], self._bunch[1][places])

    def image(self, image_id: str) -> Image.Image:
        split, _, place = image_id.partition("/")
        if split not in SPLITS or not place.isdecimal() or int(place) not in self._members[split]:
            raise UserError(f"digits has no image '{image_id}': ids look like {self.split('test').ids[0]}")
        return as_image(self._bunch[0][int(place)])

    def fingerprint(self) -> str:
        """sha256 over the scans and labels themselves, the split rule and the size they are shown at."""
        scans, labels = self._bunch
        digest = hashlib.sha256(f"digits {SIZE} {SHARES} 20241".encode())
        digest.update(scans.astype("<f8").tobytes())
        digest.update(labels.astype("<i8").tobytes())
        return digest.hexdigest()


def as_image(scan: NDArray[np.float64]) -> Image.Image:
    """A scan (8, 8) of ink from 0 to 16 as dark strokes on white paper, RGB."""
    paper = np.round(255 - np.clip(scan, 0, 16) * (255 / 16)).astype(np.uint8)
    return Image.fromarray(paper).resize((SIZE, SIZE), Image.Resampling.BICUBIC).convert("RGB")
