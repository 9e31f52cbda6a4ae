"""`shapes`: twenty everyday things that the project draws itself: no download.

`mini`, the embedded model, read their names often: the control beside `rare`, whose names it read
seldom.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from .drawing import (
    BLACK,
    BROWN,
    GREEN,
    GREY,
    RGB,
    SENTENCES,
    WHITE,
    Combo,
    DrawnDataset,
    Pen,
    Points,
    Pose,
    blob,
    compose,
    mix,
    polar,
)

# --- the twenty things ---
# A function draws each thing. Arguments: the pen, the colour of the variant, and a generator for
# details that differ between pictures.

Draw = Callable[[Pen, RGB, np.random.Generator], None]


@dataclass(frozen=True)
class Thing:
    """A thing that can be drawn.

    variants: four (word, colour) pairs; the word names what the colour paints.
    """

    name: str
    draw: Draw
    variants: tuple[tuple[str, RGB], ...]


def hues(text: str) -> tuple[tuple[str, RGB], ...]:
    """The variants (("red", (200, 25, 35)), …) from "red c81923|…", words and hex colours."""
    pairs = (part.rsplit(" ", 1) for part in text.split("|"))
    return tuple((word, (int(c[:2], 16), int(c[2:4], 16), int(c[4:], 16))) for word, c in pairs)


def _stop_sign(p: Pen, c: RGB, rng: np.random.Generator) -> None:
    p.rect(-0.07, 0.3, 0.07, 1.0, GREY)
    turn = math.pi / 8
    for r, fill in ((0.84, WHITE), (0.75, c)):
        p.poly(
            [(x, y - 0.15) for x, y in (polar(r, turn + math.pi / 4 * i) for i in range(8))], fill
        )
    letters: tuple[Points, ...] = (
        ((0.1, -0.18), (-0.1, -0.18), (-0.1, 0.0), (0.1, 0.0), (0.1, 0.2), (-0.1, 0.2)),
        ((-0.12, -0.2), (0.12, -0.2), (0.0, -0.2), (0.0, 0.2)),
        ((-0.1, -0.18), (0.1, -0.18), (0.1, 0.18), (-0.1, 0.18), (-0.1, -0.18)),
        ((-0.1, 0.2), (-0.1, -0.2), (0.1, -0.2), (0.1, 0.02), (-0.1, 0.02)),
    )
    for x, letter in zip((-0.46, -0.16, 0.14, 0.44), letters, strict=True):
        p.line([(x + a, b - 0.15) for a, b in letter], 0.075, WHITE)


def _traffic_light(p: Pen, c: RGB, rng: np.random.Generator) -> None:
    p.rect(-0.08, 0.6, 0.08, 1.0, GREY)
    p.oval(0, -0.75, 0.36, 0.2, c)
    p.oval(0, 0.6, 0.36, 0.2, c)
    p.rect(-0.36, -0.76, 0.36, 0.62, c)
    lit = int(rng.integers(3))
    for i, (y, lamp) in enumerate(
        ((-0.6, (235, 40, 35)), (-0.07, (250, 190, 30)), (0.46, (45, 205, 85)))
    ):
        p.disc(0, y, 0.25, mix(c, BLACK, 0.6))
        p.disc(0, y, 0.21, lamp if i == lit else mix(lamp, BLACK, 0.42))
        if i == lit:
            p.disc(-0.06, y - 0.07, 0.06, WHITE)


def _traffic_cone(p: Pen, c: RGB, rng: np.random.Generator) -> None:
    def half(y: float) -> float:
        return 0.09 + 0.45 * (y + 0.9) / 1.6

    p.poly([(-0.8, 0.9), (-0.72, 0.68), (0.72, 0.68), (0.8, 0.9)], mix(c, BLACK, 0.25))
    p.poly([(-half(-0.9), -0.9), (half(-0.9), -0.9), (half(0.74), 0.74), (-half(0.74), 0.74)], c)
    for top, bottom in ((-0.45, -0.2), (0.12, 0.4)):
        p.poly(
            [(-half(top), top), (half(top), top), (half(bottom), bottom), (-half(bottom), bottom)],
            WHITE,
        )


def _chess_board(p: Pen, c: RGB, rng: np.random.Generator) -> None:
    p.rect(-0.92, -0.92, 0.92, 0.92, mix(c, BLACK, 0.45))
    light = mix(c, (255, 250, 225), 0.88)
    n, a = 8, 0.82
    step = 2 * a / n
    for i in range(n):
        for j in range(n):
            p.rect(
                -a + i * step,
                -a + j * step,
                -a + (i + 1) * step,
                -a + (j + 1) * step,
                c if (i + j) % 2 else light,
            )
    for _ in range(int(rng.integers(0, 5))):
        i, j = (int(k) for k in rng.integers(0, n, 2))
        x, y = -a + (i + 0.5) * step, -a + (j + 0.5) * step
        man = WHITE if rng.random() < 0.5 else BLACK
        p.poly([(x - 0.08, y + 0.09), (x + 0.08, y + 0.09), (x, y - 0.08)], man)
        p.disc(x, y - 0.06, 0.055, man)


def _fried_egg(p: Pen, c: RGB, rng: np.random.Generator) -> None:
    outline = blob(rng, 0, 0, 0.82, 0.24)
    p.poly([(x * 1.05, y * 1.05) for x, y in outline], (205, 165, 105))
    p.poly(outline, (252, 250, 242))
    x, y = (float(v) for v in rng.uniform(-0.16, 0.16, 2))
    p.disc(x, y, 0.36, mix(c, BROWN, 0.25))
    p.disc(x, y, 0.32, c)
    p.oval(x - 0.11, y - 0.13, 0.09, 0.06, WHITE, -0.6)


def _pizza_slice(p: Pen, c: RGB, rng: np.random.Generator) -> None:
    p.poly([(-0.82, -0.62), (0.82, -0.62), (0, 0.98)], (225, 160, 70))
    p.poly([(-0.68, -0.5), (0.68, -0.5), (0, 0.82)], (250, 205, 85))
    a = np.linspace(0, 1, 9)
    crust = [(-0.84 + 1.68 * t, -0.62 - 0.16 * math.sin(math.pi * t)) for t in a]
    p.line(crust, 0.25, (180, 110, 50))
    spots = [(-0.33, -0.24), (0.3, -0.18), (0.02, 0.2), (-0.04, -0.36), (0.06, 0.52)]
    n_spots = int(rng.integers(3, 6))
    for at_x, at_y in spots[:n_spots]:
        x, y = at_x + float(rng.uniform(-0.06, 0.06)), at_y + float(rng.uniform(-0.06, 0.06))
        r = 0.15 if y < 0.4 else 0.09
        p.disc(x, y, r, mix(c, BLACK, 0.2))
        p.disc(x, y, r * 0.8, c)
    for _ in range(6):
        y = float(rng.uniform(-0.4, 0.5))
        x = float(rng.uniform(-1, 1)) * (0.6 - y) * 0.4
        p.line([(x, y), (x + 0.07, y + 0.05)], 0.05, (60, 140, 50))


def _watermelon_slice(p: Pen, c: RGB, rng: np.random.Generator) -> None:
    wedge = rng.random() < 0.4
    layers = ((0.95, (35, 110, 45)), (0.86, (130, 190, 90)), (0.8, (240, 245, 215)), (0.73, c))
    for r, fill in layers:
        if wedge:  # a triangle with the rind below, as people hold it
            a = np.linspace(0.14, 0.36, 20) * 2 * math.pi
            side = [(0.0, -0.9), *((1.8 * r * math.cos(t), 1.8 * r * math.sin(t) - 0.9) for t in a)]
            p.poly(side, fill)
        else:
            p.poly(
                [
                    (r * math.cos(t), r * math.sin(t) * 1.05 - 0.4)
                    for t in np.linspace(0, math.pi, 30)
                ],
                fill,
            )
    seeds = (
        (-0.4, -0.2),
        (0.0, -0.22),
        (0.4, -0.2),
        (-0.22, 0.02),
        (0.22, 0.02),
        (0.0, 0.2),
        (-0.1, -0.05),
    )
    for x, y in seeds[: int(rng.integers(5, 8))]:
        x, y = (x * 0.7, y + 0.03) if wedge else (x, y)
        p.oval(x + float(rng.uniform(-0.04, 0.04)), y, 0.045, 0.075, BLACK)


def _orange(p: Pen, c: RGB, rng: np.random.Generator) -> None:
    p.disc(0, 0.08, 0.8, c)
    for _ in range(26):
        x, y = polar(float(0.7 * math.sqrt(rng.random())), float(rng.uniform(0, 2 * math.pi)))
        p.disc(x, y + 0.08, 0.025, mix(c, BROWN, 0.35))
    p.oval(-0.28, -0.24, 0.16, 0.1, mix(c, WHITE, 0.5), -0.7)
    p.line([(0, -0.68), (0.03, -0.88)], 0.09, BROWN)
    p.oval(0.27, -0.82, 0.26, 0.11, GREEN, -0.3)
    p.line([(0.08, -0.76), (0.45, -0.87)], 0.03, mix(GREEN, WHITE, 0.4))


def _basketball(p: Pen, c: RGB, rng: np.random.Generator) -> None:
    p.disc(0, 0, 0.88, BLACK)
    p.disc(0, 0, 0.84, c)
    w = 0.07
    p.line([(-0.84, 0), (0.84, 0)], w, BLACK)
    p.line([(0, -0.84), (0, 0.84)], w, BLACK)
    p.arc(-0.95, 0, 0.6, 0.75, -0.15, 0.15, w, BLACK)
    p.arc(0.95, 0, 0.6, 0.75, 0.35, 0.65, w, BLACK)


def _donut(p: Pen, c: RGB, rng: np.random.Generator) -> None:
    p.disc(0, 0, 0.88, (200, 140, 75))
    p.poly(blob(rng, 0, 0, 0.76, 0.1, 4), c)
    for _ in range(22):
        a, r = float(rng.uniform(0, 2 * math.pi)), float(rng.uniform(0.42, 0.66))
        x, y = polar(r, a)
        dx, dy = polar(0.05, float(rng.uniform(0, math.pi)))
        colours: tuple[RGB, ...] = (
            (250, 230, 60),
            (70, 170, 240),
            (250, 250, 250),
            (80, 200, 90),
            (235, 60, 70),
        )
        p.line([(x - dx, y - dy), (x + dx, y + dy)], 0.055, colours[int(rng.integers(5))])
    p.disc(0, 0, 0.31, (190, 130, 70))
    p.disc(0, 0, 0.25, None)


def _life_ring(p: Pen, c: RGB, rng: np.random.Generator) -> None:
    p.disc(0, 0, 0.8, WHITE)
    start = float(rng.uniform(0, 0.25))
    for i in range(4):
        p.pie(0, 0, 0.8, start + i / 4, start + i / 4 + 0.115, c)
    p.disc(0, 0, 0.42, None)
    for i in range(4):  # the rope hangs in arcs from band to band
        a = np.linspace(start + i / 4 + 0.06, start + (i + 1) / 4 + 0.06, 9) * 2 * math.pi
        r = 0.84 + 0.1 * np.sin(np.linspace(0, math.pi, 9))
        p.line(list(zip(r * np.cos(a), r * np.sin(a), strict=True)), 0.045, (225, 205, 150))


def _ladybug(p: Pen, c: RGB, rng: np.random.Generator) -> None:
    for y in (-0.2, 0.15, 0.45):
        p.line([(-0.85, y + 0.12), (0, y), (0.85, y + 0.12)], 0.08, BLACK)
    for s in (-1, 1):
        p.line([(s * 0.1, -0.7), (s * 0.32, -0.98)], 0.05, BLACK)
    p.oval(0, -0.58, 0.36, 0.28, BLACK)
    p.oval(0, 0.15, 0.68, 0.75, c)
    p.line([(0, -0.58), (0, 0.88)], 0.06, BLACK)
    spots = ((0.3, -0.2), (0.36, 0.2), (0.24, 0.56), (0.52, 0.0))[: int(rng.integers(3, 5))]
    for x, y in spots:
        p.disc(x, y, 0.13, BLACK)
        p.disc(-x, y, 0.13, BLACK)
    for s in (-1, 1):
        p.disc(s * 0.18, -0.66, 0.07, WHITE)


def _bee(p: Pen, c: RGB, rng: np.random.Generator) -> None:
    wing = float(rng.uniform(0.3, 0.6))
    p.oval(0.05, -0.5, 0.24, 0.48, (205, 225, 240), wing)
    p.oval(-0.22, -0.48, 0.2, 0.42, (225, 238, 248), -wing * 0.6)
    p.poly([(0.78, 0.08), (0.98, 0.16), (0.76, 0.25)], BLACK)
    p.oval(0.1, 0.15, 0.72, 0.44, c)
    for x in (-0.12, 0.18, 0.48):
        h = 0.44 * math.sqrt(max(0.0, 1 - ((x - 0.1) / 0.72) ** 2))
        p.line([(x, 0.15 - h + 0.05), (x + 0.02, 0.15 + h - 0.05)], 0.14, BLACK)
    p.disc(-0.62, 0.12, 0.3, BLACK)
    p.disc(-0.7, 0.05, 0.08, WHITE)
    for x in (-0.72, -0.58):
        p.line([(x, -0.12), (x - 0.14, -0.42)], 0.045, BLACK)


def _snowman(p: Pen, c: RGB, rng: np.random.Generator) -> None:
    snow: RGB = (240, 245, 250)
    edge = mix(snow, (120, 150, 190), 0.35)
    for s in (-1, 1):
        p.line([(s * 0.3, 0.05), (s * 0.85, -0.25)], 0.06, BROWN)
    for y, r in ((0.55, 0.44), (-0.02, 0.34), (-0.46, 0.26)):
        p.disc(0, y, r, edge)
        p.disc(0, y, r - 0.035, snow)
    p.rect(-0.32, -0.72, 0.32, -0.63, BLACK)
    p.rect(-0.2, -1.0, 0.2, -0.65, BLACK)
    p.line([(-0.24, -0.26), (0, -0.2), (0.24, -0.26)], 0.12, c)
    p.line([(0.16, -0.22), (0.22, 0.1)], 0.11, c)
    for x in (-0.1, 0.1):
        p.disc(x, -0.53, 0.04, BLACK)
    p.poly([(0, -0.48), (0.26, -0.41), (0, -0.39)], (240, 130, 30))
    for y in (0.05, 0.3, 0.52):
        p.disc(0, y, 0.045, BLACK)


def _mushroom(p: Pen, c: RGB, rng: np.random.Generator) -> None:
    w = float(rng.uniform(0.18, 0.26))
    p.poly([(-w, 0), (w, 0), (w + 0.08, 0.9), (-w - 0.08, 0.9)], (238, 228, 205))
    p.oval(0, 0.88, w + 0.08, 0.09, (238, 228, 205))
    p.oval(0, 0.08, 0.62, 0.13, (215, 195, 165))
    a = np.linspace(math.pi, 2 * math.pi, 24)
    cap = [
        *zip(0.9 * np.cos(a), 0.9 * np.sin(a) + 0.08, strict=True),
        (0.6, 0.16),
        (0, 0.06),
        (-0.6, 0.16),
    ]
    p.poly(cap, c)
    for x, y, r in (
        (-0.5, -0.18, 0.13),
        (0.05, -0.3, 0.16),
        (0.52, -0.2, 0.12),
        (-0.22, -0.6, 0.1),
        (0.34, -0.58, 0.1),
    ):
        p.oval(x + float(rng.uniform(-0.05, 0.05)), y, r, r * 0.85, WHITE)


def _sunflower(p: Pen, c: RGB, rng: np.random.Generator) -> None:
    p.line([(0, 0), (0.04, 1.0)], 0.1, GREEN)
    p.oval(0.28, 0.72, 0.26, 0.11, GREEN, -0.5)
    p.oval(-0.24, 0.82, 0.24, 0.1, GREEN, 0.5)
    n = int(rng.integers(13, 18))
    for ring, (r, fill) in enumerate(((0.52, mix(c, BROWN, 0.22)), (0.46, c))):
        for i in range(n):
            a = 2 * math.pi * (i + ring / 2) / n
            x, y = polar(r, a)
            p.oval(x, y - 0.25, 0.24, 0.09, fill, a)
    p.disc(0, -0.25, 0.36, (90, 55, 25))
    for i in range(18):
        x, y = polar(0.075 * math.sqrt(i), 2.4 * i)
        p.disc(x, y - 0.25, 0.03, (150, 100, 45))


def _umbrella(p: Pen, c: RGB, rng: np.random.Generator) -> None:
    p.line([(0, -0.8), (0, 0.72)], 0.06, (70, 60, 60))
    p.arc(0.14, 0.72, 0.14, 0.2, 0.0, 0.5, 0.07, (70, 60, 60))
    p.line([(0, -0.92), (0, -0.75)], 0.05, (70, 60, 60))
    a = np.linspace(math.pi, 2 * math.pi, 30)
    p.poly(list(zip(0.92 * np.cos(a), 0.85 * np.sin(a) + 0.05, strict=True)), c)
    pale = mix(c, WHITE, 0.45)
    for x0, x1 in ((-0.46, 0.0), (0.46, 0.92)):
        p.poly([(0, -0.8), (x0, 0.05), (x1, 0.05)], pale)
    a = np.linspace(0, 1, 10) * math.pi / 2
    p.poly(
        [
            (0, -0.8),
            *((0.46 + 0.46 * math.sin(t), -0.8 + 0.85 * (1 - math.cos(t))) for t in a),
            (0.46, 0.05),
        ],
        pale,
    )
    for x in (-0.69, -0.23, 0.23, 0.69):
        p.oval(x, 0.07, 0.23, 0.12, None)
    p.line([(0, 0.0), (0, 0.72)], 0.06, (70, 60, 60))


def _lollipop(p: Pen, c: RGB, rng: np.random.Generator) -> None:
    p.line([(0, 0.2), (0, 0.98)], 0.09, WHITE)
    p.disc(0, -0.3, 0.66, c)
    way = 1 if rng.random() < 0.5 else -1
    t = np.linspace(0.3, 1, 60)
    start = float(rng.uniform(0, 6.28))
    a = start + way * t * 2 * math.pi * 2.6
    p.line(list(zip(0.6 * t * np.cos(a), 0.6 * t * np.sin(a) - 0.3, strict=True)), 0.11, WHITE)
    p.disc(0, -0.3, 0.1, WHITE)


def _target(p: Pen, c: RGB, rng: np.random.Generator) -> None:
    for i, r in enumerate((0.9, 0.72, 0.54, 0.36, 0.18)):
        p.disc(0, 0, r, WHITE if i % 2 else c)
    if rng.random() < 0.5:
        x, y = (float(v) for v in rng.uniform(-0.25, 0.25, 2))
        p.line([(x, y), (x + 0.6, y - 0.5)], 0.05, BLACK)
        p.poly([(x + 0.5, y - 0.4), (x + 0.85, y - 0.55), (x + 0.7, y - 0.72)], (240, 200, 50))


def _clock(p: Pen, c: RGB, rng: np.random.Generator) -> None:
    p.disc(0, 0, 0.92, c)
    p.disc(0, 0, 0.77, WHITE)
    for i in range(12):
        a = 2 * math.pi * i / 12
        p.line([polar(0.6 if i % 3 else 0.54, a), polar(0.68, a)], 0.05 if i % 3 else 0.08, BLACK)
    hour, minute = (float(v) for v in rng.uniform(0, 2 * math.pi, 2))
    p.line([(0, 0), polar(0.36, hour)], 0.1, BLACK)
    p.line([(0, 0), polar(0.56, minute)], 0.065, BLACK)
    p.disc(0, 0, 0.08, BLACK)


THINGS: tuple[Thing, ...] = (
    Thing(
        "stop sign",
        _stop_sign,
        hues("red c81923|dark red 91141e|faded red cd5a5a|orange red e1411e"),
    ),
    Thing(
        "traffic light",
        _traffic_light,
        hues("black 2d2d32|yellow dcaf28|dark green 234b3c|grey 787d82"),
    ),
    Thing(
        "traffic cone", _traffic_cone, hues("orange f56e19|red d72823|yellow f0c828|green 78c832")
    ),
    Thing("chess board", _chess_board, hues("black 28282a|brown 784b28|green 3c7846|blue 3c5a96")),
    Thing(
        "fried egg",
        _fried_egg,
        hues("yellow fac828|orange f5961e|pale yellow fae16e|deep orange eb781e"),
    ),
    Thing("pizza slice", _pizza_slice, hues("red be2d23|brown 8c5f46|black 322d32|green 468c3c")),
    Thing(
        "watermelon slice",
        _watermelon_slice,
        hues("red e1323c|pink f57882|yellow fad750|orange fa9646"),
    ),
    Thing(
        "orange",
        _orange,
        hues("orange fa961e|deep orange f07319|yellow orange fab432|red orange e65a28"),
    ),
    Thing(
        "basketball",
        _basketball,
        hues("orange eb7d2d|brown af5f32|deep orange dc5f1e|yellow orange f0a546"),
    ),
    Thing("donut", _donut, hues("pink f58caf|chocolate brown 5f3723|white f5eee1|blue 6eb4e6")),
    Thing("life ring", _life_ring, hues("red d72328|orange f57d23|blue 285ab4|green 288c50")),
    Thing("ladybug", _ladybug, hues("red d72323|orange f07d1e|yellow f0c832|dark red 8c1923")),
    Thing("bee", _bee, hues("yellow f5cd2d|amber e1a028|pale yellow f5e178|orange f0912d")),
    Thing("snowman", _snowman, hues("red d2282d|blue 2d5abe|green 2d914b|purple 823ca0")),
    Thing("mushroom", _mushroom, hues("red d22823|brown 965f37|orange eb7d28|purple 8c50a0")),
    Thing(
        "sunflower",
        _sunflower,
        hues("yellow facd23|golden f0aa1e|pale yellow fae67d|rusty red c35523"),
    ),
    Thing("umbrella", _umbrella, hues("red cd2332|blue 2855b4|green 288c55|purple 7d3ca0")),
    Thing("lollipop", _lollipop, hues("pink f0508c|blue 3c82e1|green 50b446|orange f58723")),
    Thing("target", _target, hues("red d2282d|blue 2d5fbe|black 28282d|green 329150")),
    Thing("clock", _clock, hues("black 2d2d32|red c82d32|blue 325fb4|brown 825532")),
)


def picture(
    thing: Thing, combo: Combo, rng: np.random.Generator, pose: Pose | None = None
) -> Image.Image:
    """One picture of a thing, (64, 64) RGB."""
    pose = pose or Pose.random(rng)
    colour = thing.variants[combo.variant][1]
    return compose(
        combo.background, combo.clutter, lambda pen: thing.draw(pen, colour, rng), pose, rng
    )


# --- the data set ---


class Shapes(DrawnDataset):
    """Twenty drawn things; ids look like ``test/stop_sign/0007``."""

    name = "shapes"
    about = "drawn everyday things whose names it read often, the control"
    version = 2
    classes = [t.name for t in THINGS]
    templates = replace(
        SENTENCES, prompts=(*SENTENCES.prompts, "a {class} on a coloured background.")
    )

    def picture(self, label: int, combo: Combo, rng: np.random.Generator) -> Image.Image:
        return picture(THINGS[label], combo, rng)
