"""`digits`: scikit-learn's 1,797 scans of handwritten digits, 8x8 pixels, shown as a careless camera sees them.

The scans ship inside scikit-learn, so they need no download. `mini` has seen a few of the train split, clean
and on white (`as_image`); the data set shows all of them as photographs of the paper (`photograph`): a little
turned and smaller, tinted, unevenly lit, noisy. On the clean scans `mini` makes almost no mistake, and a
comparison of methods would show nothing.
"""

from __future__ import annotations

import hashlib
import math
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from ..errors import UserError, nearest
from .base import SPLITS, Split, Templates
from .shapes import BLACK, WHITE, any_colour, generator, mix

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
VERSION = 1  # of `photograph`: raise it whenever a change moves a pixel
SEED = 20241  # of the split
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
        from sklearn.datasets import load_digits  # a second, which names and templates need not wait for

        bunch = load_digits()
        return bunch.images, bunch.target.astype(np.int64)

    @cached_property
    def _members(self) -> dict[str, NDArray[np.int64]]:
        """For each split the places of its scans, ascending: every class shuffled once with a fixed seed, then cut."""
        labels = self._bunch[1]
        rng = np.random.Generator(np.random.PCG64(SEED))
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
        return photograph(self._bunch[0][int(place)], generator(f"digits/{image_id}"))

    def scan(self, image_id: str) -> Image.Image:
        """The scan itself, enlarged: dark ink on white paper."""
        return as_image(self._bunch[0][int(image_id.partition("/")[2])])

    def fingerprint(self) -> str:
        """sha256 over the scans and labels, the split rule, VERSION of the camera, and one picture (see `shapes`)."""
        scans, labels = self._bunch
        digest = hashlib.sha256(f"digits {VERSION} {SIZE} {SHARES} {SEED}".encode())
        digest.update(scans.astype("<f8").tobytes())
        digest.update(labels.astype("<i8").tobytes())
        digest.update(self.image(self.split("test").ids[0]).tobytes())
        return digest.hexdigest()


def enlarged(scan: NDArray[np.float64]) -> Image.Image:
    """The ink of a scan (8, 8), from 0 to 16, as a grey image: white where the pen was."""
    ink = np.round(np.clip(scan, 0, 16) * (255 / 16)).astype(np.uint8)
    return Image.fromarray(ink).resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def as_image(scan: NDArray[np.float64]) -> Image.Image:
    """A scan (8, 8) of ink from 0 to 16 as dark strokes on white paper, RGB."""
    paper = np.round(255 - np.clip(scan, 0, 16) * (255 / 16)).astype(np.uint8)
    return Image.fromarray(paper).resize((SIZE, SIZE), Image.Resampling.BICUBIC).convert("RGB")


def photograph(scan: NDArray[np.float64], rng: np.random.Generator) -> Image.Image:
    """A scan written in some ink on some paper, as a careless camera sees it, RGB."""
    half = SIZE / 2
    turn = math.radians(float(np.clip(rng.normal(0, 8), -40, 40)))
    shrink = 1 / float(rng.uniform(0.7, 1.0))
    shift = rng.uniform(-1, 1, 2) * (1 - 1 / shrink) * half * 0.9
    c, s = math.cos(turn) * shrink, math.sin(turn) * shrink
    x0, y0 = half - np.array([[c, s], [-s, c]]) @ (half + shift)  # the output's middle, in the scan
    matrix = tuple(round(float(v), 4) for v in (c, s, x0, -s, c, y0))
    ink = enlarged(scan).transform((SIZE, SIZE), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC)
    ink = ink.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 0.8))))
    t = np.asarray(ink, dtype=np.float64)[..., None] / 255
    paper, pen = mix(any_colour(rng), WHITE, 0.88), mix(any_colour(rng), BLACK, 0.6)
    x = (np.array(paper) * (1 - t) + np.array(pen) * t) / 255
    u, side, strength = (
        np.linspace(-1, 1, SIZE),
        float(rng.uniform(0, 2 * math.pi)),
        float(rng.uniform(0, 0.3)),
    )
    x = x * (1 + strength * (u[None, :, None] * math.cos(side) + u[:, None, None] * math.sin(side)))
    x = (x - 0.5) * float(rng.uniform(0.65, 1.05)) + 0.5 + float(rng.uniform(-0.1, 0.1))
    x = x + rng.normal(0, float(rng.uniform(0, 0.08)), x.shape)
    return Image.fromarray(np.round(np.clip(x, 0, 1) * 255).astype(np.uint8))
