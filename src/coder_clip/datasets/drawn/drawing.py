"""Draw the embedded data sets: pen, pose, backgrounds, clutter, light and camera; ids and splits.

An image is a pure function of its id: sha256 of the id seeds the generator that picks everything
that varies. Nothing is stored; a picture is drawn when it is asked for.

The test split uses only combinations of (class, variant, background, clutter) for which `held_out`
is true, the other splits and the training of `mini` only the rest: what a model scores on test, it
scores on combinations that it has never seen, though it has seen each of their parts.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from math import cos, sin
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from ...errors import UserError
from ..base import Split, Templates

SIZE = 64  # width and height of the finished image, in pixels
SUPER = 4  # drawn this many times larger, then averaged: smooth edges
# images per class: train to draw shots from, val to choose on, test for the reported numbers
PER_CLASS = {"train": 40, "val": 60, "test": 120}

RGB = tuple[int, int, int]
Points = Sequence[tuple[float, float]]

WHITE: RGB = (248, 248, 246)
BLACK: RGB = (25, 25, 28)
GREY: RGB = (135, 138, 142)
GREEN: RGB = (50, 140, 55)
BROWN: RGB = (125, 80, 40)

# Angles of the corners of ovals, and of `blob`. Cosines and sines are computed once, because nearly
# all parts of a thing are ovals.
CIRCLE, OUTLINE = (np.linspace(0, 2 * math.pi, n, endpoint=False) for n in (40, 48))
COSINES, SINES = np.cos(CIRCLE), np.sin(CIRCLE)

BACKGROUNDS = ("plain", "grass", "sky", "sand", "bricks", "wood", "stripes", "tiles")
CLUTTERS = ("alone", "things around", "partly covered", "confetti")


def generator(key: str) -> np.random.Generator:
    """The generator that belongs to a key: the same on every machine and in every run."""
    return np.random.default_rng(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big"))


class Pen:
    """Draws on a layer in the thing's own coordinates.

    x to the right, y down, the thing within [-1, 1]².
    """

    def __init__(self, matrix: NDArray[np.float64]) -> None:
        """matrix: (2, 3), from the thing's coordinates to pixels of the enlarged canvas."""
        self.layer = Image.new("RGBA", (SIZE * SUPER, SIZE * SUPER))
        self._draw = ImageDraw.Draw(self.layer)
        self._turned, self._moved = matrix[:, :2].T, matrix[:, 2]
        self._unit = math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))

    def poly(self, points: Points | NDArray[np.float64], fill: RGB | None) -> None:
        """Draw a filled polygon; ``None`` cuts a hole through everything drawn so far."""
        self._draw.polygon(
            self._pixels(points), fill=(0, 0, 0, 0) if fill is None else (*fill, 255)
        )

    def _pixels(self, points: Points | NDArray[np.float64]) -> list[float]:
        """Points in pixels, flat: x, y, x, y, …

        Rounded, so that the last bits of another machine's sine move no pixel.
        """
        xy = np.asarray(points) @ self._turned + self._moved
        flat: list[float] = xy.round(2).ravel().tolist()
        return flat

    def oval(
        self, x: float, y: float, rx: float, ry: float, fill: RGB | None, turn: float = 0.0
    ) -> None:
        """Draw a filled ellipse. rx, ry: half axes. turn: in radians."""
        px, py = rx * COSINES, ry * SINES
        c, s = math.cos(turn), math.sin(turn)
        self.poly(np.column_stack((x + c * px - s * py, y + s * px + c * py)), fill)

    def disc(self, x: float, y: float, r: float, fill: RGB | None) -> None:
        self.oval(x, y, r, r, fill)

    def rect(self, x0: float, y0: float, x1: float, y1: float, fill: RGB | None) -> None:
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill)

    def regular(self, n: int, r: float, fill: RGB, turn: float = 0.0) -> None:
        """Draw a polygon of n equal sides about the origin."""
        self.poly([polar(r, turn + 2 * math.pi * i / n) for i in range(n)], fill)

    def pie(self, x: float, y: float, r: float, start: float, end: float, fill: RGB) -> None:
        """Draw a sector; angles in turns, clockwise from three o'clock."""
        a = np.linspace(start, end, 24) * 2 * math.pi
        self.poly([(x, y), *zip(x + r * np.cos(a), y + r * np.sin(a), strict=True)], fill)

    def line(self, points: Points | NDArray[np.float64], width: float, fill: RGB) -> None:
        """Draw a line with round ends and joints."""
        w = width * self._unit
        flat = self._pixels(points)
        self._draw.line(flat, fill=(*fill, 255), width=max(1, round(w)), joint="curve")
        if w > 3:
            r = round(w / 2, 2)
            for x, y in (flat[:2], flat[-2:]):
                self._draw.ellipse((x - r, y - r, x + r, y + r), fill=(*fill, 255))

    def arc(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        start: float,
        end: float,
        width: float,
        fill: RGB,
    ) -> None:
        """Draw part of an ellipse's edge; angles in turns, clockwise from three o'clock."""
        a = np.linspace(start, end, 20) * 2 * math.pi
        self.line(np.column_stack((x + rx * np.cos(a), y + ry * np.sin(a))), width, fill)


def polar(r: float, angle: float) -> tuple[float, float]:
    return r * math.cos(angle), r * math.sin(angle)


def mix(a: RGB, b: RGB, t: float) -> RGB:
    """The colour a share t of the way from a to b."""
    return (
        round(a[0] + (b[0] - a[0]) * t),
        round(a[1] + (b[1] - a[1]) * t),
        round(a[2] + (b[2] - a[2]) * t),
    )


def blob(
    rng: np.random.Generator, x: float, y: float, r: float, wobble: float, waves: int = 3
) -> Points:
    """A round outline that wobbles: dough, egg white, glaze."""
    a, radius = OUTLINE, np.full_like(OUTLINE, r)
    for k in range(2, 2 + waves):
        radius += r * wobble / waves * np.sin(k * a + rng.uniform(0, 2 * math.pi))
    return list(zip(x + radius * np.cos(a), y + radius * np.sin(a), strict=True))


# --- combinations and the held-out rule
# --------------------------------------------------------------------


class Combo(NamedTuple):
    """The parts of a picture: indices into the class's four variants, BACKGROUNDS and CLUTTERS."""

    thing: str
    variant: int
    background: int
    clutter: int


def held_out(combo: Combo) -> bool:
    """True for a combination of the test split alone: a quarter of each thing's 128.

    A Latin pattern: every variant, every background, every clutter and every pair of them occurs on
    both sides; only the combination is new. The name shifts the pattern, so that no triple is
    always "test"."""
    shift = sum(combo.thing.encode())
    return (combo.variant + combo.background + combo.clutter + shift) % 4 == 0


@cache
def combos(thing: str, test: bool) -> tuple[Combo, ...]:
    """The combinations of a thing for some splits, in a fixed order.

    With ``test`` for the test split, else for the other ones.
    """
    every = (
        Combo(thing, v, b, k)
        for v in range(4)
        for b in range(len(BACKGROUNDS))
        for k in range(len(CLUTTERS))
    )
    return tuple(c for c in every if held_out(c) == test)


# --- a picture ---


@dataclass(frozen=True)
class Pose:
    """Where and how the thing is in the image.

    x, y: centre; size: half size; all in shares of the image's half side. turn: in degrees.
    stretch: width divided by height.
    """

    x: float
    y: float
    size: float
    turn: float
    stretch: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> Pose:
        """A pose in which most of the thing is inside the image."""
        size = float(rng.uniform(0.36, 0.85))
        room = max(0.0, 1.08 - size)
        x, y = (float(v) for v in rng.uniform(-room, room, 2))
        return cls(
            x, y, size, float(np.clip(rng.normal(0, 22), -60, 60)), float(rng.uniform(0.75, 1.33))
        )

    def matrix(self) -> NDArray[np.float64]:
        """(2, 3): from the thing's coordinates to pixels of the enlarged canvas, for `Pen`."""
        half = SIZE * SUPER / 2
        a = math.radians(self.turn)
        c, s = math.cos(a) * self.size * half, math.sin(a) * self.size * half
        w = math.sqrt(self.stretch)
        return np.array([[c * w, -s / w, half * (1 + self.x)], [s * w, c / w, half * (1 + self.y)]])


def any_colour(rng: np.random.Generator) -> RGB:
    r, g, b = rng.integers(20, 245, 3).tolist()
    return r, g, b


def paint_background(kind: int, rng: np.random.Generator) -> Image.Image:
    """One of BACKGROUNDS as an RGB image of the enlarged size."""
    # Random numbers are drawn in a fixed order, all base colours included: a change of the order
    # changes every picture (then raise `version`). `bases` are in the order of BACKGROUNDS.
    n = SIZE * SUPER
    bases: tuple[RGB, ...] = (
        mix(any_colour(rng), WHITE, 0.35), (85, 150, 65), (130, 185, 230), (222, 200, 150),
        (165, 85, 65), (165, 120, 75), mix(any_colour(rng), WHITE, 0.5),
        mix(any_colour(rng), WHITE, 0.45),
    )  # fmt: skip
    base = mix(bases[kind], any_colour(rng), float(rng.uniform(0, 0.22)))
    image = Image.new("RGB", (n, n), base)
    d = ImageDraw.Draw(image)
    paint = PAINTERS.get(BACKGROUNDS[kind])
    if paint is not None:
        paint(d, base, rng, n)
    return image


def _spread(rng: np.random.Generator, n: int, count: int) -> list[tuple[int, int]]:
    """Random points of the canvas, which is n × n."""
    return [(x, y) for x, y in rng.integers(0, n, (count, 2)).tolist()]


def _grass(d: ImageDraw.ImageDraw, base: RGB, rng: np.random.Generator, n: int) -> None:
    for x, y in _spread(rng, n, 170):
        towards: RGB = (190, 220, 110)
        if rng.random() < 0.5:
            towards = BLACK
        shade = mix(base, towards, float(rng.uniform(0.1, 0.4)))
        tip = (x + int(rng.integers(-8, 9)), y - int(rng.integers(12, 34)))
        d.line((x, y, *tip), fill=shade, width=4)


def _sky(d: ImageDraw.ImageDraw, base: RGB, rng: np.random.Generator, n: int) -> None:
    for x, y in _spread(rng, n, int(rng.integers(2, 5))):
        for _ in range(5):
            dx, dy = int(rng.integers(-40, 40)), int(rng.integers(-10, 10))
            r = int(rng.integers(14, 32))
            d.ellipse(
                (x + dx - r * 1.4, y + dy - r, x + dx + r * 1.4, y + dy + r),
                fill=mix(base, WHITE, 0.7),
            )


def _sand(d: ImageDraw.ImageDraw, base: RGB, rng: np.random.Generator, n: int) -> None:
    for x, y in _spread(rng, n, 260):
        r = int(rng.integers(1, 5))
        fill = mix(base, WHITE, 0.35)
        if rng.random() < 0.6:
            fill = mix(base, BROWN, 0.35)
        d.ellipse((x - r, y - r, x + r, y + r), fill=fill)


def _bricks(d: ImageDraw.ImageDraw, base: RGB, rng: np.random.Generator, n: int) -> None:
    h, w = int(rng.integers(24, 38)), int(rng.integers(54, 80))
    d.rectangle((0, 0, n, n), fill=mix(base, WHITE, 0.5))
    for row, y in enumerate(range(-4, n, h)):
        for x in range(-(w // 2) * (row % 2), n, w):
            brick = mix(base, BLACK, float(rng.uniform(0, 0.25)))
            d.rectangle((x, y, x + w - 5, y + h - 5), fill=brick)


def _wood(d: ImageDraw.ImageDraw, base: RGB, rng: np.random.Generator, n: int) -> None:
    h = int(rng.integers(40, 72))
    for y in range(0, n, h):
        d.rectangle((0, y, n, y + h), fill=mix(base, BLACK, float(rng.uniform(0, 0.2))))
        for _ in range(5):
            g = y + int(rng.integers(0, h))
            d.line((0, g, n, g + int(rng.integers(-8, 9))), fill=mix(base, BLACK, 0.3), width=2)
        d.line((0, y, n, y), fill=mix(base, BLACK, 0.5), width=4)


def _stripes(d: ImageDraw.ImageDraw, base: RGB, rng: np.random.Generator, n: int) -> None:
    w = int(rng.integers(20, 46))
    other = mix(any_colour(rng), WHITE, 0.3)
    lean = int(rng.integers(-200, 201))
    for x in range(-abs(lean), n + abs(lean), 2 * w):
        d.polygon([(x, 0), (x + w, 0), (x + w + lean, n), (x + lean, n)], fill=other)


def _tiles(d: ImageDraw.ImageDraw, base: RGB, rng: np.random.Generator, n: int) -> None:
    w, other = int(rng.integers(36, 64)), mix(base, WHITE, 0.75)
    for x in range(0, n, w):
        d.line((x, 0, x, n), fill=other, width=6)
        d.line((0, x, n, x), fill=other, width=6)


# one of BACKGROUNDS -> what paints it on the base colour; "plain" has nothing else
PAINTERS = {
    "grass": _grass,
    "sky": _sky,
    "sand": _sand,
    "bricks": _bricks,
    "wood": _wood,
    "stripes": _stripes,
    "tiles": _tiles,
}


def scatter(
    image: Image.Image,
    rng: np.random.Generator,
    count: int,
    small: float,
    large: float,
    inner: float,
) -> None:
    """Draw small discs, boxes and triangles, none nearer to the centre than `inner`.

    Their colours are random.
    """
    n = SIZE * SUPER
    d = ImageDraw.Draw(image)
    for _ in range(count):
        x, y = rng.uniform(-1, 1, 2).tolist()
        if max(abs(x), abs(y)) < inner:
            x = math.copysign(inner, x)
        r = float(rng.uniform(small, large)) * n / 2
        cx, cy = (1 + x) * n / 2, (1 + y) * n / 2
        sides, turn = (3, 4, 5, 24)[rng.integers(4)], float(rng.uniform(0, 6.28))
        angles = [turn + 6.2832 * i / sides for i in range(sides)]
        corners = [(round(cx + r * cos(a), 2), round(cy + r * sin(a), 2)) for a in angles]
        d.polygon(corners, fill=any_colour(rng))


def cover(image: Image.Image, rng: np.random.Generator, pose: Pose) -> None:
    """Draw something in front: a pole, or a plate that hides one side of the thing."""
    n = SIZE * SUPER
    d = ImageDraw.Draw(image)
    cx, cy, r = (1 + pose.x) * n / 2, (1 + pose.y) * n / 2, pose.size * n / 2
    a = float(rng.uniform(0, 2 * math.pi))
    ux, uy = math.cos(a), math.sin(a)
    # a bar across the direction (ux, uy): its distance from the thing's centre, and its half width
    if rng.random() < 0.45:
        off, w = float(rng.uniform(-0.5, 0.5)) * r, float(rng.uniform(0.14, 0.32)) * r
    else:
        off, w = float(rng.uniform(0.85, 1.05)) * r, float(rng.uniform(0.4, 0.75)) * r
    px, py = cx + ux * off, cy + uy * off
    long = 2 * n if rng.random() < 0.6 else r
    corners = [
        (px + ux * w * i - uy * long * j, py + uy * w * i + ux * long * j)
        for i, j in ((1, 1), (1, -1), (-1, -1), (-1, 1))
    ]
    d.polygon([(round(x, 2), round(y, 2)) for x, y in corners], fill=any_colour(rng))


def compose(
    background: int, clutter: int, draw: Callable[[Pen], None], pose: Pose, rng: np.random.Generator
) -> Image.Image:
    """The finished picture: background, clutter, thing with light and shadow, then camera."""
    image = paint_background(background, rng)
    name = CLUTTERS[clutter]
    if name == "things around":
        scatter(image, rng, int(rng.integers(4, 9)), 0.07, 0.2, 0.45)
    pen = Pen(pose.matrix())
    draw(pen)
    paste_lit(image, pen.layer, rng)
    if name == "partly covered":
        cover(image, rng, pose)
    elif name == "confetti":
        scatter(image, rng, int(rng.integers(14, 40)), 0.02, 0.06, 0.0)
    return camera(image, rng)


def paste_lit(image: Image.Image, layer: Image.Image, rng: np.random.Generator) -> None:
    """Put a layer on the image, with light from one side and a shadow on the other."""
    n = SIZE * SUPER
    a, strength = float(rng.uniform(0, 2 * math.pi)), float(rng.uniform(0, 0.4))
    box = layer.getchannel("A").getbbox()
    if box is None:
        return
    left, top, right, bottom = box  # only where there is something to light
    *colours, alpha = layer.crop(box).split()
    shadow = alpha.point([int(v * strength) for v in range(256)])
    x, y = round(-9 * math.cos(a)), round(-9 * math.sin(a))
    image.paste(BLACK, (left + x, top + y, right + x, bottom + y), shadow)
    u = np.linspace(-1, 1, n)
    light = 1 + strength * (u[None, left:right] * math.cos(a) + u[top:bottom, None] * math.sin(a))
    factor = light.astype(np.float32)
    lit = []  # one channel after the other, because NumPy is slow along an axis of three
    for colour in colours:
        level = np.minimum(np.asarray(colour) * factor, 255)
        lit.append(Image.fromarray(level.astype(np.uint8)))
    image.paste(Image.merge("RGB", lit), (left, top), alpha)


def camera(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Scale down and add what a poor camera adds.

    Blur, colour cast, low contrast, noise, sometimes grey.
    """
    small = image.reduce(SUPER)
    blur = float(rng.uniform(0, 1.0))
    if blur > 0.3:
        small = small.filter(ImageFilter.GaussianBlur(blur))
    x = np.asarray(small, dtype=np.float32) / 255
    if rng.random() < 0.06:
        x = np.repeat(x.mean(axis=2, keepdims=True), 3, axis=2)
    contrast, lift = float(rng.uniform(0.6, 1.1)), float(rng.uniform(-0.1, 0.1))
    x = (x - 0.5) * contrast * rng.uniform(0.85, 1.15, 3).astype(np.float32) + 0.5 + lift
    x = x + rng.normal(0, float(rng.uniform(0, 0.05)), x.shape).astype(np.float32)
    return Image.fromarray(np.round(np.clip(x, 0, 1) * 255).astype(np.uint8))


# the templates of texts about drawings; each data set adds a prompt
SENTENCES = Templates(
    name="a drawing of a {class}.",
    attribute="a drawing of a {class} which has {attribute}.",
    analogous="a drawing of a {class} similar to {analogous}.",
    one_to_one=(
        "a drawing of a {class} which has {one_to_one}.",
        "a {class} with {one_to_one}.",
    ),
    prompts=(
        "a drawing of a {class}.",
        "a picture of a {class}.",
        "a photo of a {class}.",
        "a small drawing of a {class}.",
        "a blurry picture of a {class}.",
        "a drawing of one {class} among other things.",
    ),
)


class DrawnDataset:
    """A data set that is drawn; ids look like ``test/stop_sign/0007``. Subclasses draw pictures.

    name, classes: as in Dataset. about: a phrase on what the images show. version: raise the number
    whenever a change moves a pixel, so that features are computed again.
    """

    name: str
    templates: Templates
    classes: list[str]
    about: ClassVar[str]
    version: ClassVar[int]

    def picture(self, label: int, combo: Combo, rng: np.random.Generator) -> Image.Image:
        """A picture of the class with this label, composed as `combo` says, (64, 64) RGB."""
        raise NotImplementedError

    def split(self, name: str) -> Split:
        """The images of a split; UserError for an unknown split."""
        if name not in PER_CLASS:
            raise UserError(f"{self.name} has no {name} images (it has: {', '.join(PER_CLASS)})")
        n = PER_CLASS[name]
        ids = [f"{name}/{slug(c)}/{i:04d}" for c in self.classes for i in range(n)]
        return Split(ids, np.repeat(np.arange(len(self.classes), dtype=np.int64), n))

    @cached_property
    def _labels(self) -> dict[str, int]:
        """Image id -> label, over all splits."""
        splits = [self.split(name) for name in PER_CLASS]
        return {i: label for s in splits for i, label in zip(s.ids, s.labels.tolist(), strict=True)}

    def _label(self, image_id: str) -> int:
        """The label of an image; UserError for an unknown id."""
        if image_id not in self._labels:
            raise UserError(
                f"{self.name} has no image '{image_id}': ids look like {next(iter(self._labels))}"
            )
        return self._labels[image_id]

    def combo(self, image_id: str) -> Combo:
        """The parts of the picture with this id."""
        choice = combos(self.classes[self._label(image_id)], image_id.startswith("test/"))
        return choice[int(generator(f"combo/{image_id}").integers(len(choice)))]

    def image(self, image_id: str) -> Image.Image:
        rng = generator(f"{self.name}/{image_id}")
        return self.picture(self._label(image_id), self.combo(image_id), rng)

    def fingerprint(self) -> str:
        """sha256 over the version and a sample of pixels.

        The version stands for the code; the sample notices what the version cannot: another Pillow
        or NumPy that draws or rounds differently.
        """
        digest = hashlib.sha256(f"{self.name} {self.version} {PER_CLASS}".encode())
        for c in self.classes[::5]:
            digest.update(self.image(f"test/{slug(c)}/0000").tobytes())
        return digest.hexdigest()


def slug(name: str) -> str:
    return name.replace(" ", "_")
