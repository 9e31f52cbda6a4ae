"""Things that `mini` sees in training and that are not a class of `shapes`.

Mostly what its text set calls alike.

Without them the words of the analogous texts ("similar to a tennis ball") would mean nothing to the
model.
"""

from __future__ import annotations

import math

import numpy as np

from coder_clip.datasets.drawn.drawing import BLACK, BROWN, GREEN, GREY, RGB, WHITE, Pen, mix, polar
from coder_clip.datasets.drawn.shapes import Thing, hues

from .food import (
    RED,
    Rng,
    _apple,
    _bagel,
    _banana,
    _cake,
    _carrot,
    _cheese,
    _cherries,
    _chocolate_bar,
    _cookie,
    _ice_cream,
    _lemon,
    _pancakes,
    _pear,
    _strawberry,
    _tomato,
)

YELLOW: RGB = (245, 205, 50)


def _tennis_ball(p: Pen, c: RGB, rng: Rng) -> None:
    p.disc(0, 0, 0.85, c)
    p.arc(-1.0, 0, 0.6, 0.75, -0.15, 0.15, 0.09, WHITE)
    p.arc(1.0, 0, 0.6, 0.75, 0.35, 0.65, 0.09, WHITE)


def _soccer_ball(p: Pen, c: RGB, rng: Rng) -> None:
    p.disc(0, 0, 0.88, c)
    p.disc(0, 0, 0.84, WHITE)
    p.regular(5, 0.3, c, -math.pi / 2)
    for i in range(5):
        a = -math.pi / 2 + 2 * math.pi * i / 5
        p.line([polar(0.3, a), polar(0.6, a)], 0.05, c)
        p.poly([polar(0.58, a), polar(0.8, a - 0.3), polar(0.84, a), polar(0.8, a + 0.3)], c)


def _beach_ball(p: Pen, c: RGB, rng: Rng) -> None:
    start = float(rng.random())
    for i in range(6):
        p.pie(0, 0, 0.86, start + i / 6, start + (i + 1) / 6 + 0.01, c if i % 2 else WHITE)
    p.disc(0, 0, 0.13, YELLOW)


def _moon(p: Pen, c: RGB, rng: Rng) -> None:
    p.disc(0, 0, 0.85, c)
    p.disc(0.36, -0.14, 0.72, None)


def _sun(p: Pen, c: RGB, rng: Rng) -> None:
    for i in range(10):
        a = 2 * math.pi * i / 10
        p.poly([polar(0.55, a - 0.2), polar(0.95, a), polar(0.55, a + 0.2)], c)
    p.disc(0, 0, 0.52, c)


def _tyre(p: Pen, c: RGB, rng: Rng) -> None:
    p.disc(0, 0, 0.88, (35, 35, 38))
    p.disc(0, 0, 0.54, c)
    for i in range(5):
        p.disc(*polar(0.32, 2 * math.pi * i / 5), 0.1, (50, 50, 55))
    p.disc(0, 0, 0.1, (50, 50, 55))


def _party_hat(p: Pen, c: RGB, rng: Rng) -> None:
    p.poly([(-0.6, 0.85), (0.6, 0.85), (0, -0.78)], c)
    p.oval(0, 0.85, 0.6, 0.12, c)
    for x, y in ((-0.25, 0.6), (0.25, 0.55), (0, 0.2), (0.0, 0.82), (0.03, -0.2)):
        p.disc(x, y, 0.1, YELLOW)
    p.disc(0, -0.8, 0.17, WHITE)


def _christmas_tree(p: Pen, c: RGB, rng: Rng) -> None:
    p.rect(-0.12, 0.7, 0.12, 0.98, BROWN)
    for y, w in ((-0.85, 0.4), (-0.45, 0.58), (0.0, 0.75)):
        p.poly([(0, y), (w, y + 0.75), (-w, y + 0.75)], c)
    for x, y in ((-0.2, -0.25), (0.2, 0.1), (-0.3, 0.4), (0.35, 0.6), (0.05, 0.45)):
        p.disc(x, y, 0.08, RED if x < 0.1 else YELLOW)
    p.regular(5, 0.13, YELLOW, 0.3)


def _tent(p: Pen, c: RGB, rng: Rng) -> None:
    p.poly([(-0.95, 0.75), (0.95, 0.75), (0, -0.75)], c)
    p.poly([(-0.3, 0.75), (0.3, 0.75), (0, -0.2)], mix(c, BLACK, 0.7))


def _house(p: Pen, c: RGB, rng: Rng) -> None:
    p.rect(-0.65, -0.1, 0.65, 0.9, (235, 220, 190))
    p.rect(0.3, -0.8, 0.5, -0.3, (140, 70, 60))
    p.poly([(-0.88, -0.1), (0.88, -0.1), (0, -0.85)], c)
    p.rect(-0.16, 0.35, 0.16, 0.9, BROWN)
    for x in (-0.42, 0.42):
        p.rect(x - 0.15, 0.1, x + 0.15, 0.4, (120, 180, 225))


def _lighthouse(p: Pen, c: RGB, rng: Rng) -> None:
    for i in range(4):
        y0, y1 = -0.5 + 0.36 * i, -0.14 + 0.36 * i
        w0, w1 = 0.22 + 0.07 * i, 0.29 + 0.07 * i
        p.poly([(-w0, y0), (w0, y0), (w1, y1), (-w1, y1)], WHITE if i % 2 else c)
    p.rect(-0.2, -0.75, 0.2, -0.5, YELLOW)
    p.poly([(-0.28, -0.75), (0.28, -0.75), (0, -0.98)], c)


def _candle(p: Pen, c: RGB, rng: Rng) -> None:
    p.rect(-0.22, -0.3, 0.22, 0.95, c)
    p.oval(0, -0.3, 0.22, 0.07, mix(c, WHITE, 0.5))
    p.line([(0, -0.3), (0, -0.48)], 0.05, BLACK)
    p.oval(0, -0.66, 0.13, 0.26, (250, 170, 40))
    p.oval(0, -0.6, 0.06, 0.14, (255, 240, 150))


def _light_bulb(p: Pen, c: RGB, rng: Rng) -> None:
    p.disc(0, -0.25, 0.62, c)
    p.poly([(-0.42, 0.1), (0.42, 0.1), (0.24, 0.5), (-0.24, 0.5)], c)
    for y in (0.55, 0.68, 0.81):
        p.line([(-0.2, y), (0.2, y)], 0.11, GREY)
    p.line([(-0.15, 0.4), (-0.2, -0.2), (0, -0.05), (0.2, -0.2), (0.15, 0.4)], 0.05, BROWN)


def _balloon(p: Pen, c: RGB, rng: Rng) -> None:
    p.line([(0, 0.4), (0.1, 0.65), (-0.05, 0.98)], 0.04, BLACK)
    p.oval(0, -0.25, 0.6, 0.7, c)
    p.poly([(0, 0.4), (0.12, 0.56), (-0.12, 0.56)], c)
    p.oval(-0.22, -0.5, 0.1, 0.16, mix(c, WHITE, 0.6), 0.4)


def _kite(p: Pen, c: RGB, rng: Rng) -> None:
    p.poly([(0, -0.95), (0.6, -0.2), (0, 0.55), (-0.6, -0.2)], c)
    p.poly([(0, -0.95), (0.6, -0.2), (0, -0.2)], mix(c, WHITE, 0.5))
    p.poly([(0, 0.55), (-0.6, -0.2), (0, -0.2)], mix(c, WHITE, 0.5))
    p.line([(0, 0.55), (0.15, 0.75), (-0.1, 0.98)], 0.05, BLACK)


def _rocket(p: Pen, c: RGB, rng: Rng) -> None:
    p.poly([(-0.2, 0.6), (0.2, 0.6), (0, 0.98)], (250, 170, 40))
    p.poly([(-0.28, 0.1), (-0.65, 0.65), (-0.2, 0.6)], c)
    p.poly([(0.28, 0.1), (0.65, 0.65), (0.2, 0.6)], c)
    p.oval(0, -0.1, 0.32, 0.82, (225, 228, 232))
    p.poly([(-0.22, -0.62), (0.22, -0.62), (0, -0.98)], c)
    p.disc(0, -0.15, 0.15, (70, 130, 200))


def _sailboat(p: Pen, c: RGB, rng: Rng) -> None:
    p.poly([(-0.85, 0.45), (0.85, 0.45), (0.55, 0.85), (-0.55, 0.85)], BROWN)
    p.line([(0, 0.45), (0, -0.9)], 0.06, BROWN)
    p.poly([(0.07, -0.85), (0.07, 0.35), (0.75, 0.35)], c)
    p.poly([(-0.07, -0.6), (-0.07, 0.35), (-0.6, 0.35)], WHITE)


def _fish(p: Pen, c: RGB, rng: Rng) -> None:
    p.poly([(0.4, 0), (0.95, -0.45), (0.95, 0.45)], mix(c, BLACK, 0.2))
    p.oval(-0.1, 0, 0.72, 0.45, c)
    p.line([(-0.35, -0.35), (-0.28, 0.0), (-0.35, 0.35)], 0.06, mix(c, WHITE, 0.6))
    p.disc(-0.55, -0.1, 0.09, WHITE)
    p.disc(-0.56, -0.1, 0.05, BLACK)


def _butterfly(p: Pen, c: RGB, rng: Rng) -> None:
    for s in (-1, 1):
        p.oval(s * 0.48, -0.32, 0.45, 0.4, c, s * -0.6)
        p.oval(s * 0.4, 0.38, 0.34, 0.34, mix(c, BLACK, 0.25), s * 0.6)
        p.disc(s * 0.5, -0.34, 0.14, WHITE)
        p.line([(0, -0.5), (s * 0.22, -0.9)], 0.04, BLACK)
    p.oval(0, 0, 0.09, 0.6, BLACK)


def _spider(p: Pen, c: RGB, rng: Rng) -> None:
    for s in (-1, 1):
        for dy in (-0.7, -0.25, 0.25, 0.75):
            p.line([(0, 0), (s * 0.6, dy * 0.5 - 0.25), (s * 0.92, dy)], 0.06, c)
    p.oval(0, 0.2, 0.36, 0.42, c)
    p.disc(0, -0.3, 0.24, c)
    for s in (-1, 1):
        p.disc(s * 0.09, -0.36, 0.06, WHITE)


def _caterpillar(p: Pen, c: RGB, rng: Rng) -> None:
    for i in range(5):
        x = 0.7 - 0.34 * i
        y = 0.12 * math.sin(i * 1.6)
        p.line([(x, y + 0.2), (x, y + 0.42)], 0.06, BLACK)
        p.disc(x, y, 0.27, c if i % 2 else mix(c, WHITE, 0.35))
    p.disc(-0.7, -0.08, 0.3, c)
    p.disc(-0.8, -0.15, 0.07, BLACK)
    for s in (-0.82, -0.6):
        p.line([(s, -0.3), (s - 0.05, -0.6)], 0.04, BLACK)


def _daisy(p: Pen, c: RGB, rng: Rng) -> None:
    p.line([(0, 0), (-0.04, 1.0)], 0.08, GREEN)
    for i in range(9):
        a = 2 * math.pi * i / 9
        x, y = polar(0.42, a)
        p.oval(x, y - 0.3, 0.28, 0.13, c, a)
    p.disc(0, -0.3, 0.2, YELLOW)


def _tulip(p: Pen, c: RGB, rng: Rng) -> None:
    p.line([(0, 0), (0, 1.0)], 0.09, GREEN)
    p.oval(0.26, 0.6, 0.12, 0.4, GREEN, 0.5)
    p.poly(
        [
            (-0.5, -0.8),
            (-0.22, -0.45),
            (0, -0.9),
            (0.22, -0.45),
            (0.5, -0.8),
            (0.45, -0.1),
            (0, 0.15),
            (-0.45, -0.1),
        ],
        c,
    )


def _cactus(p: Pen, c: RGB, rng: Rng) -> None:
    p.poly([(-0.35, 0.6), (0.35, 0.6), (0.26, 0.98), (-0.26, 0.98)], (190, 95, 60))
    p.line([(0, 0.6), (0, -0.7)], 0.4, c)
    p.line([(0, 0.1), (0.55, 0.1), (0.55, -0.35)], 0.2, c)
    p.line([(0, 0.3), (-0.55, 0.3), (-0.55, -0.1)], 0.2, c)
    for y in (-0.6, -0.3, 0.0, 0.3):
        p.line([(-0.1, y), (0.1, y + 0.06)], 0.03, WHITE)


def _tree(p: Pen, c: RGB, rng: Rng) -> None:
    p.rect(-0.13, 0.2, 0.13, 0.98, BROWN)
    for x, y, r in ((-0.35, -0.1, 0.42), (0.35, -0.1, 0.42), (0, -0.45, 0.5)):
        p.disc(x, y, r, c)


def _yield_sign(p: Pen, c: RGB, rng: Rng) -> None:
    p.rect(-0.06, 0.2, 0.06, 1.0, GREY)
    p.poly([(-0.88, -0.75), (0.88, -0.75), (0, 0.65)], c)
    p.poly([(-0.55, -0.56), (0.55, -0.56), (0, 0.3)], WHITE)


def _no_entry(p: Pen, c: RGB, rng: Rng) -> None:
    p.rect(-0.06, 0.4, 0.06, 1.0, GREY)
    p.disc(0, -0.15, 0.8, WHITE)
    p.disc(0, -0.15, 0.74, c)
    p.rect(-0.52, -0.3, 0.52, 0.0, WHITE)


def _speed_limit(p: Pen, c: RGB, rng: Rng) -> None:
    p.rect(-0.06, 0.4, 0.06, 1.0, GREY)
    p.disc(0, -0.15, 0.8, c)
    p.disc(0, -0.15, 0.6, WHITE)
    five = (
        (-0.1, -0.42),
        (-0.36, -0.42),
        (-0.36, -0.18),
        (-0.12, -0.18),
        (-0.12, 0.12),
        (-0.38, 0.12),
    )
    p.line(five, 0.09, BLACK)
    p.line([(0.1, -0.42), (0.36, -0.42), (0.36, 0.12), (0.1, 0.12), (0.1, -0.42)], 0.09, BLACK)


def _checkered_flag(p: Pen, c: RGB, rng: Rng) -> None:
    p.line([(-0.8, -0.85), (-0.8, 0.98)], 0.09, BROWN)
    for i in range(6):
        for j in range(4):
            x, y = -0.75 + 0.28 * i, -0.85 + 0.26 * j + 0.06 * math.sin(i * 1.3)
            p.rect(x, y, x + 0.285, y + 0.265, (WHITE, c)[(i + j) % 2])


def _dice(p: Pen, c: RGB, rng: Rng) -> None:
    p.rect(-0.75, -0.75, 0.75, 0.75, c)
    dark = BLACK if sum(c) > 380 else WHITE
    n = int(rng.integers(1, 7))
    k = 0.42
    corners = [(-k, -k), (k, k), (-k, k), (k, -k)]
    spots = [*corners, (-k, 0.0), (k, 0.0)][: n - n % 2]
    if n % 2:
        spots = [(0.0, 0.0), *spots]
    for x, y in spots:
        p.disc(x, y, 0.14, dark)


def _window(p: Pen, c: RGB, rng: Rng) -> None:
    p.rect(-0.75, -0.9, 0.75, 0.9, c)
    for x in (-0.62, 0.05):
        for y in (-0.77, 0.06):
            p.rect(x, y, x + 0.57, y + 0.71, (150, 200, 235))


def _button(p: Pen, c: RGB, rng: Rng) -> None:
    p.disc(0, 0, 0.84, mix(c, BLACK, 0.25))
    p.disc(0, 0, 0.66, c)
    for x, y in ((-0.2, -0.2), (0.2, -0.2), (-0.2, 0.2), (0.2, 0.2)):
        p.disc(x, y, 0.1, None)


def _record(p: Pen, c: RGB, rng: Rng) -> None:
    p.disc(0, 0, 0.9, BLACK)
    for r in (0.8, 0.66, 0.52):
        p.disc(0, 0, r, (70, 70, 75))
        p.disc(0, 0, r - 0.04, BLACK)
    p.disc(0, 0, 0.32, c)
    p.disc(0, 0, 0.05, WHITE)


def _compass(p: Pen, c: RGB, rng: Rng) -> None:
    p.disc(0, 0, 0.9, c)
    p.disc(0, 0, 0.74, WHITE)
    a = float(rng.uniform(0, 6.28))
    for s, fill in ((0.0, RED), (math.pi, (60, 90, 170))):
        p.poly([polar(0.65, a + s), polar(0.15, a + s + 1.57), polar(0.15, a + s - 1.57)], fill)
    p.disc(0, 0, 0.07, BLACK)


def _plate(p: Pen, c: RGB, rng: Rng) -> None:
    p.disc(0, 0, 0.9, c)
    p.disc(0, 0, 0.82, WHITE)
    p.disc(0, 0, 0.56, mix(c, WHITE, 0.7))
    p.disc(0, 0, 0.52, WHITE)


def _steering_wheel(p: Pen, c: RGB, rng: Rng) -> None:
    p.disc(0, 0, 0.9, c)
    p.disc(0, 0, 0.7, None)
    for a in (0.0, math.pi, math.pi / 2):
        p.line([(0, 0), polar(0.78, a)], 0.16, c)
    p.disc(0, 0, 0.22, c)


def _penguin(p: Pen, c: RGB, rng: Rng) -> None:
    for s in (-1, 1):
        p.oval(s * 0.22, 0.88, 0.2, 0.09, (240, 150, 40))
        p.oval(s * 0.5, 0.25, 0.12, 0.42, c, s * -0.35)
    p.oval(0, 0.2, 0.5, 0.7, c)
    p.disc(0, -0.5, 0.38, c)
    p.oval(0, 0.3, 0.33, 0.52, WHITE)
    for s in (-1, 1):
        p.disc(s * 0.14, -0.55, 0.09, WHITE)
        p.disc(s * 0.13, -0.55, 0.05, BLACK)
    p.poly([(-0.12, -0.42), (0.12, -0.42), (0, -0.25)], (240, 150, 40))


def _cat(p: Pen, c: RGB, rng: Rng) -> None:
    for s in (-1, 1):
        p.poly([(s * 0.2, -0.45), (s * 0.68, -0.95), (s * 0.72, -0.1)], c)
    p.oval(0, 0.1, 0.78, 0.68, c)
    for s in (-1, 1):
        p.oval(s * 0.3, 0.0, 0.11, 0.15, (120, 200, 90))
        p.oval(s * 0.3, 0.0, 0.04, 0.13, BLACK)
        for dy in (0.25, 0.38):
            p.line([(s * 0.25, dy), (s * 0.9, dy + 0.1 * (dy - 0.3) * 8)], 0.03, WHITE)
    p.poly([(-0.09, 0.2), (0.09, 0.2), (0, 0.32)], (240, 140, 150))


def _mug(p: Pen, c: RGB, rng: Rng) -> None:
    p.oval(0.55, 0.1, 0.36, 0.38, c)
    p.oval(0.55, 0.1, 0.2, 0.22, None)
    p.rect(-0.65, -0.5, 0.5, 0.75, c)
    p.oval(-0.075, -0.5, 0.575, 0.16, mix(c, BLACK, 0.3))
    p.oval(-0.075, -0.48, 0.5, 0.11, (90, 55, 35))


def _pencil(p: Pen, c: RGB, rng: Rng) -> None:
    p.rect(-0.95, -0.16, -0.75, 0.16, (240, 140, 150))
    p.rect(-0.76, -0.16, 0.5, 0.16, c)
    p.line([(-0.7, 0), (0.5, 0)], 0.04, mix(c, BLACK, 0.3))
    p.poly([(0.5, -0.16), (0.95, 0), (0.5, 0.16)], (235, 205, 160))
    p.poly([(0.8, -0.055), (0.97, 0), (0.8, 0.055)], BLACK)


def _heart(p: Pen, c: RGB, rng: Rng) -> None:
    t = np.linspace(0, 2 * math.pi, 50)
    x = 0.88 * np.sin(t) ** 3
    y = -(0.7 * np.cos(t) - 0.27 * np.cos(2 * t) - 0.11 * np.cos(3 * t) - 0.05 * np.cos(4 * t))
    p.poly(list(zip(x, y, strict=True)), c)


def _star(p: Pen, c: RGB, rng: Rng) -> None:
    p.poly(
        [polar(0.92 if i % 2 == 0 else 0.38, math.pi * i / 5 - math.pi / 2) for i in range(10)], c
    )


def _parachute(p: Pen, c: RGB, rng: Rng) -> None:
    for x in (-0.8, -0.3, 0.3, 0.8):
        p.line([(x, -0.15), (0, 0.7)], 0.035, BLACK)
    a = np.linspace(math.pi, 2 * math.pi, 30)
    p.poly(list(zip(0.92 * np.cos(a), 0.75 * np.sin(a) - 0.1, strict=True)), c)
    p.pie(0, -0.1, 0.3, 0.5, 1.0, WHITE)
    p.rect(-0.12, 0.62, 0.12, 0.92, BROWN)


def _jellyfish(p: Pen, c: RGB, rng: Rng) -> None:
    for x in (-0.5, -0.17, 0.17, 0.5):
        p.line([(x, 0), (x + 0.1, 0.3), (x - 0.1, 0.6), (x + 0.06, 0.92)], 0.08, mix(c, WHITE, 0.3))
    a = np.linspace(math.pi, 2 * math.pi, 30)
    p.poly(list(zip(0.78 * np.cos(a), 0.85 * np.sin(a) + 0.05, strict=True)), c)
    p.oval(0, 0.05, 0.78, 0.14, c)


def _snail(p: Pen, c: RGB, rng: Rng) -> None:
    p.line([(0.9, 0.72), (-0.6, 0.72), (-0.72, 0.1)], 0.24, (215, 185, 140))
    for s in (-0.85, -0.62):
        p.line([(-0.72, 0.05), (s, -0.3)], 0.05, (190, 150, 110))
    p.disc(0.15, 0.1, 0.6, c)
    t = np.linspace(0.1, 1, 40)
    p.line(
        list(zip(0.15 + 0.5 * t * np.cos(12 * t), 0.1 + 0.5 * t * np.sin(12 * t), strict=True)),
        0.07,
        WHITE,
    )


_RED = hues("red d2282d|blue 325fc3|green 32914b|purple 8741a5")
_RED2 = hues("red cd1e28|dark red 911923|orange e66e28|faded red cd5f5f")
_FRUIT = hues("red d2282d|green 78af3c|yellow f5cd3c|dark red 8c1928")
_GOLD = hues("yellow f5cd32|golden ebaa28|pale yellow f8e68c|orange f5962d")
_BROWN = hues("brown 96643c|light brown cda069|golden e1af5a|dark brown 5f3c28")
_DARK = hues("black 28282d|grey 7d8084|brown 785037|dark blue 233264")
_GREENS = hues("green 328c3c|dark green 1e5f37|light green 82be50|blue green 2d8778")
_PALE = hues("white f5f5f2|pink f596b4|pale yellow faeb96|light blue a0cdf0")
_METAL = hues("silver c3c6ca|grey 7d8084|golden dcaf46|white f0f0f0")
_BOARD = hues("black 232326|blue 2d55aa|red c3282d|green 2d7d46")

MORE: tuple[Thing, ...] = (
    Thing(
        "tennis ball",
        _tennis_ball,
        hues("yellow green cde13c|green 78be46|orange f5963c|pink f082aa"),
    ),
    Thing("soccer ball", _soccer_ball, _BOARD),
    Thing("beach ball", _beach_ball, _RED),
    Thing("crescent moon", _moon, _GOLD),
    Thing("sun", _sun, _GOLD),
    Thing("stack of pancakes", _pancakes, _BROWN),
    Thing("cookie", _cookie, _BROWN),
    Thing("car tyre", _tyre, _METAL),
    Thing("bagel", _bagel, _BROWN),
    Thing("lemon", _lemon, hues("yellow fae13c|green 96c33c|pale yellow faf096|golden f0be28")),
    Thing("tomato", _tomato, _FRUIT),
    Thing("apple", _apple, _FRUIT),
    Thing("pear", _pear, _FRUIT),
    Thing("banana", _banana, _GOLD),
    Thing("pair of cherries", _cherries, _RED2),
    Thing("strawberry", _strawberry, _RED2),
    Thing("carrot", _carrot, hues("orange f58223|purple 7d3c82|yellow f0c846|red cd412d")),
    Thing("ice cream cone", _ice_cream, _PALE),
    Thing("party hat", _party_hat, _RED),
    Thing("christmas tree", _christmas_tree, _GREENS),
    Thing("tent", _tent, _RED),
    Thing("house", _house, _RED2),
    Thing("lighthouse", _lighthouse, _BOARD),
    Thing("candle", _candle, _PALE),
    Thing("light bulb", _light_bulb, _PALE),
    Thing("balloon", _balloon, _RED),
    Thing("kite", _kite, _RED),
    Thing("rocket", _rocket, _RED),
    Thing("sailboat", _sailboat, _RED),
    Thing("fish", _fish, hues("orange f58228|blue 3c78d2|red d23c32|grey 8c96a0")),
    Thing("butterfly", _butterfly, hues("orange f08c28|blue 4678d7|purple 9650b4|yellow f0d246")),
    Thing("spider", _spider, _DARK),
    Thing("caterpillar", _caterpillar, _GREENS),
    Thing("snail", _snail, _BROWN),
    Thing("daisy", _daisy, _PALE),
    Thing("tulip", _tulip, hues("red d22832|pink f082a5|yellow f5cd3c|purple 8c4ba5")),
    Thing("cactus", _cactus, _GREENS),
    Thing("tree", _tree, _GREENS),
    Thing("yield sign", _yield_sign, _RED2),
    Thing("no entry sign", _no_entry, _RED2),
    Thing("speed limit sign", _speed_limit, _RED2),
    Thing("checkered flag", _checkered_flag, _BOARD),
    Thing("dice", _dice, hues("white f5f5f2|red cd2d32|black 28282d|blue 3c69c8")),
    Thing("chocolate bar", _chocolate_bar, _BROWN),
    Thing("window", _window, _BROWN),
    Thing("button", _button, _RED),
    Thing("vinyl record", _record, _RED),
    Thing("compass", _compass, _METAL),
    Thing("plate", _plate, _RED),
    Thing("steering wheel", _steering_wheel, _DARK),
    Thing("piece of cheese", _cheese, _GOLD),
    Thing("slice of cake", _cake, _PALE),
    Thing("penguin", _penguin, _DARK),
    Thing("cat", _cat, _DARK),
    Thing("mug", _mug, _RED),
    Thing("pencil", _pencil, hues("yellow f5cd3c|red cd2d32|blue 3c69c8|green 3c9650")),
    Thing("heart", _heart, _RED),
    Thing("star", _star, _GOLD),
    Thing("parachute", _parachute, _RED),
    Thing("jellyfish", _jellyfish, _PALE),
)
