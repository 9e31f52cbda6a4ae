"""The food among the things that `mini` sees in training (things.py)."""

from __future__ import annotations

import math

import numpy as np

from coder_clip.datasets.drawn.drawing import BLACK, BROWN, GREEN, RGB, WHITE, Pen, blob, mix, polar

Rng = np.random.Generator
RED: RGB = (210, 40, 40)


def _pancakes(p: Pen, c: RGB, rng: Rng) -> None:
    p.oval(0, 0.6, 0.95, 0.24, WHITE)
    for y in (0.45, 0.22, -0.01):
        p.oval(0, y, 0.76, 0.27, mix(c, BROWN, 0.5))
        p.oval(0, y - 0.08, 0.76, 0.26, c)
    p.rect(-0.17, -0.28, 0.17, -0.05, (250, 225, 110))


def _cookie(p: Pen, c: RGB, rng: Rng) -> None:
    p.poly(blob(rng, 0, 0, 0.84, 0.06), c)
    for _ in range(10):
        x, y = polar(0.68 * math.sqrt(float(rng.random())), float(rng.uniform(0, 6.28)))
        p.oval(x, y, 0.11, 0.08, (75, 45, 25), float(rng.uniform(0, 3)))


def _bagel(p: Pen, c: RGB, rng: Rng) -> None:
    p.disc(0, 0, 0.86, mix(c, BROWN, 0.4))
    p.disc(0, 0, 0.76, c)
    for _ in range(24):
        x, y = polar(float(rng.uniform(0.34, 0.7)), float(rng.uniform(0, 6.28)))
        p.oval(x, y, 0.04, 0.025, (245, 235, 205), float(rng.uniform(0, 3)))
    p.disc(0, 0, 0.22, None)


def _lemon(p: Pen, c: RGB, rng: Rng) -> None:
    p.oval(0, 0, 0.8, 0.55, c)
    p.poly([(0.68, -0.25), (0.98, 0), (0.68, 0.25)], c)
    p.poly([(-0.7, -0.22), (-0.95, 0), (-0.7, 0.22)], c)
    p.oval(-0.25, -0.25, 0.2, 0.08, mix(c, WHITE, 0.5), -0.3)


def _tomato(p: Pen, c: RGB, rng: Rng) -> None:
    p.oval(0, 0.1, 0.86, 0.74, c)
    for i in range(5):
        u, v = polar(1, 2 * math.pi * i / 5)
        p.oval(u * 0.22, v * 0.12 - 0.58, 0.2, 0.07, GREEN, 6.28 * i / 5)
    p.line([(0, -0.58), (0.05, -0.82)], 0.08, GREEN)


def _apple(p: Pen, c: RGB, rng: Rng) -> None:
    p.oval(-0.28, 0.12, 0.5, 0.7, c)
    p.oval(0.28, 0.12, 0.5, 0.7, c)
    p.line([(0, -0.42), (0.08, -0.85)], 0.1, BROWN)
    p.oval(0.32, -0.72, 0.24, 0.11, GREEN, -0.4)


def _pear(p: Pen, c: RGB, rng: Rng) -> None:
    p.disc(0, 0.34, 0.56, c)
    p.oval(0, -0.25, 0.34, 0.5, c)
    p.line([(0, -0.68), (0.1, -0.96)], 0.08, BROWN)


def _banana(p: Pen, c: RGB, rng: Rng) -> None:
    p.disc(0, -0.15, 0.9, c)
    p.oval(0, -0.5, 0.95, 0.82, None)
    p.disc(-0.82, 0.12, 0.08, BROWN)
    p.disc(0.82, 0.12, 0.08, BROWN)


def _cherries(p: Pen, c: RGB, rng: Rng) -> None:
    p.line([(-0.4, 0.3), (0.1, -0.8)], 0.06, GREEN)
    p.line([(0.45, 0.4), (0.1, -0.8)], 0.06, GREEN)
    p.oval(0.38, -0.78, 0.3, 0.13, GREEN, 0.2)
    for x, y in ((-0.42, 0.48), (0.46, 0.55)):
        p.disc(x, y, 0.38, c)
        p.disc(x - 0.12, y - 0.12, 0.08, WHITE)


def _strawberry(p: Pen, c: RGB, rng: Rng) -> None:
    p.poly(
        [
            (-0.68, -0.35),
            (-0.4, -0.62),
            (0.4, -0.62),
            (0.68, -0.35),
            (0.5, 0.3),
            (0, 0.92),
            (-0.5, 0.3),
        ],
        c,
    )
    for x, y in (
        (-0.35, -0.2),
        (0.05, -0.25),
        (0.4, -0.15),
        (-0.2, 0.1),
        (0.2, 0.15),
        (0, 0.5),
        (-0.05, -0.05),
    ):
        p.oval(x, y, 0.04, 0.06, (250, 225, 120))
    for x in (-0.35, 0, 0.35):
        p.oval(x, -0.64, 0.26, 0.13, GREEN, x)


def _carrot(p: Pen, c: RGB, rng: Rng) -> None:
    for x in (-0.22, 0, 0.22):
        p.oval(x, -0.72, 0.09, 0.3, GREEN, -x * 1.6)
    p.poly([(-0.3, -0.5), (0, -0.6), (0.3, -0.5), (0.05, 0.98), (-0.05, 0.98)], c)
    for y in (-0.2, 0.1, 0.4):
        p.line([(-0.2 + 0.12 * y, y), (0.02, y + 0.04)], 0.035, mix(c, BROWN, 0.5))


def _ice_cream(p: Pen, c: RGB, rng: Rng) -> None:
    p.poly([(-0.45, -0.1), (0.45, -0.1), (0, 0.98)], (215, 160, 90))
    for k in (-0.2, 0.05, 0.3):
        p.line([(k - 0.15, -0.05), (k * 0.4, 0.7)], 0.035, BROWN)
    p.disc(0, -0.42, 0.52, c)
    p.oval(0, -0.1, 0.5, 0.12, c)


def _chocolate_bar(p: Pen, c: RGB, rng: Rng) -> None:
    p.rect(-0.9, -0.62, 0.9, 0.62, mix(c, BLACK, 0.35))
    for i in range(4):
        for j in range(3):
            x, y = -0.85 + 0.43 * i, -0.57 + 0.39 * j
            p.rect(x, y, x + 0.37, y + 0.33, c)


def _cheese(p: Pen, c: RGB, rng: Rng) -> None:
    p.poly([(-0.9, 0.1), (0.9, -0.55), (0.9, 0.1)], mix(c, WHITE, 0.4))
    p.rect(-0.9, 0.08, 0.9, 0.75, c)
    for x, y, r in ((-0.5, 0.4, 0.14), (0.1, 0.3, 0.11), (0.5, 0.55, 0.15), (-0.1, 0.6, 0.08)):
        p.disc(x, y, r, mix(c, BROWN, 0.4))


def _cake(p: Pen, c: RGB, rng: Rng) -> None:
    p.poly([(-0.9, -0.15), (0.3, -0.6), (0.9, -0.15)], mix(c, WHITE, 0.3))
    p.rect(-0.9, -0.15, 0.9, 0.75, (235, 200, 140))
    p.rect(-0.9, -0.15, 0.9, 0.03, c)
    p.rect(-0.9, 0.3, 0.9, 0.42, c)
    p.disc(0.2, -0.5, 0.16, RED)
