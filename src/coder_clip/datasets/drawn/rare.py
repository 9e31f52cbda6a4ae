"""`rare`: thirty-six species of birds that the project draws itself.

`mini` hardly ever read most of their names.

A bird is a combination of marks: what its head, breast, wing, tail, beak … look like. `mini` saw
marks in free combination, with captions that say what is seen, and a species' name in a few
pictures only (NAMED). So it reads marks well and names poorly, which is the premise of the paper.
Every second species has a look-alike that differs in one or two marks: work for the rerank.
"""
# ruff: noqa: E501  (a species reads better in one line)

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from PIL import Image

from .drawing import (
    BLACK,
    RGB,
    SENTENCES,
    WHITE,
    Combo,
    DrawnDataset,
    Pen,
    Pose,
    any_colour,
    compose,
    mix,
)

Marks = Mapping[str, str]  # part -> how it looks

COLOURS: dict[str, RGB] = {
    "red": (205, 40, 38), "orange": (238, 128, 38), "yellow": (243, 212, 55), "green": (70, 140, 66),
    "blue": (50, 98, 200), "brown": (128, 84, 48), "black": (28, 28, 32), "white": (246, 246, 243),
    "grey": (136, 139, 144), "pink": (238, 138, 172),
}  # fmt: skip
PLUMAGE = tuple(COLOURS)
BARE = ("black", "grey", "yellow", "orange", "red")  # what beaks and legs are coloured in

# What can be seen of a bird, from head to foot, and in which forms. The first form is the one that
# goes unsaid.
PARTS: dict[str, tuple[str, ...]] = {
    "head": PLUMAGE,
    "cap": ("none", *PLUMAGE),
    "face": ("plain", "mask", "ring", "brow"),
    "throat": ("none", *PLUMAGE),
    "crest": ("none", "pointed", "fan"),
    "beak": ("thin", "thick", "hooked", "long", "curved"),
    "bill": BARE,
    "breast": PLUMAGE,
    "band": ("none", "black", "white"),
    "belly": PLUMAGE,
    "pattern": ("none", "spots", "streaks"),
    "wing": PLUMAGE,
    "patch": ("none", "bars", "white", "red", "yellow"),
    "tail": ("short", "long", "forked", "fan"),
    "legs": ("short", "long"),
    "feet": BARE,
}
_UNSAID = {part: forms[0] for part, forms in PARTS.items()}
_UNSAID |= {"bill": "black", "feet": "grey"}


def marks_of(text: str) -> dict[str, str]:
    """Part -> form, from "head=red tail=long …".

    A part that the text leaves out has its first form; bill and feet have the colours in _UNSAID.
    """
    marks = _UNSAID | dict(pair.split("=") for pair in text.split())
    for part, form in marks.items():
        assert form in PARTS[part], (text, part, form)
    return marks


# Real species with their field marks, as far as a small drawing can show them. Look-alikes follow
# each other.
SPECIES: dict[str, dict[str, str]] = {
    name: marks_of(text)
    for name, text in {
        "northern cardinal": "head=red face=mask crest=pointed beak=thick bill=orange breast=red belly=red wing=red tail=long",
        "pyrrhuloxia": "head=grey face=mask crest=pointed beak=thick bill=yellow breast=red belly=grey wing=grey tail=long",
        "summer tanager": "head=red beak=thick bill=yellow breast=red belly=red wing=red",
        "scarlet tanager": "head=red beak=thick bill=grey breast=red belly=red wing=black",
        "vermilion flycatcher": "head=red face=mask breast=red belly=red wing=brown tail=forked",
        "blue jay": "head=blue crest=pointed breast=white band=black belly=white wing=blue patch=bars tail=long",
        "eastern bluebird": "head=blue breast=orange belly=white wing=blue",
        "lazuli bunting": "head=blue beak=thick breast=orange belly=white wing=blue patch=bars",
        "indigo bunting": "head=blue beak=thick breast=blue belly=blue wing=blue",
        "mountain bluebird": "head=blue breast=blue belly=blue wing=blue",
        "american goldfinch": "head=yellow cap=black beak=thick bill=orange breast=yellow belly=white wing=black patch=bars tail=forked",
        "wilson warbler": "head=yellow cap=black breast=yellow belly=yellow wing=green",
        "western tanager": "head=orange beak=thick bill=yellow breast=yellow belly=yellow wing=black patch=bars",
        "baltimore oriole": "head=black bill=grey breast=orange belly=orange wing=black patch=bars tail=long",
        "orchard oriole": "head=black bill=grey breast=brown belly=brown wing=black patch=bars tail=long",
        "american robin": "head=black face=ring bill=yellow breast=orange belly=orange wing=grey tail=long feet=yellow",
        "wood thrush": "head=brown face=ring breast=white belly=white pattern=spots wing=brown feet=orange",
        "song sparrow": "head=brown face=brow beak=thick bill=grey breast=white belly=white pattern=streaks wing=brown tail=long feet=orange",
        "house sparrow": "head=brown cap=grey throat=black beak=thick breast=grey belly=grey wing=brown patch=white",
        "tree sparrow": "head=white cap=brown throat=black beak=thick breast=grey belly=grey wing=brown patch=white",
        "cedar waxwing": "head=brown face=mask crest=pointed breast=brown belly=yellow wing=grey patch=red",
        "bohemian waxwing": "head=brown face=mask crest=pointed breast=brown belly=grey wing=grey patch=white",
        "carolina chickadee": "head=white cap=black throat=black breast=white belly=white wing=grey tail=long",
        "mountain chickadee": "head=white cap=black face=brow throat=black breast=white belly=white wing=grey tail=long",
        "tufted titmouse": "head=grey crest=pointed breast=white belly=white wing=grey tail=long",
        "barn swallow": "head=blue throat=red breast=brown belly=white wing=blue tail=forked",
        "tree swallow": "head=blue breast=white belly=white wing=blue tail=forked",
        "belted kingfisher": "head=blue crest=fan beak=long breast=white band=black belly=white wing=blue",
        "common kingfisher": "head=blue throat=white beak=long breast=orange belly=orange wing=blue feet=red",
        "starling": "head=black bill=yellow breast=black belly=black pattern=spots wing=black feet=orange",
        "little egret": "head=white beak=long breast=white belly=white wing=white legs=long feet=black",
        "great egret": "head=white beak=long bill=yellow breast=white belly=white wing=white legs=long feet=black",
        "sacred ibis": "head=black beak=curved breast=white belly=white wing=white legs=long feet=black",
        "eurasian hoopoe": "head=orange crest=fan beak=curved breast=orange belly=white wing=black patch=bars",
        "kestrel": "head=grey face=mask beak=hooked bill=grey breast=white belly=white pattern=spots wing=brown tail=fan feet=yellow",
        "bullfinch": "head=black beak=thick breast=pink belly=pink wing=grey patch=white",
    }.items()
}  # fmt: skip
# How many of a species' training pictures have its name or a synonym in their captions (None: all),
# and how many species that holds for. Which ones, no person chose: the order is that of the
# names' sha256. Fixed before training.
DOSES: dict[int | None, int] = {0: 8, 1: 7, 3: 7, 10: 6, 30: 5, None: 3}
NAMED: dict[str, int | None] = dict(
    zip(
        sorted(SPECIES, key=lambda name: hashlib.sha256(name.encode()).digest()),
        [dose for dose, species in DOSES.items() for _ in range(species)],
        strict=True,
    )
)


# --- drawing ---


def draw(p: Pen, marks: Marks, facing: int, branch: bool, rng: np.random.Generator) -> None:
    """Draw a bird with these marks, side on.

    facing: 1 to the right, -1 to the left. branch: True if the bird stands on one.
    """
    # From the back to the front, because later parts cover earlier ones: perch and legs, tail,
    # body, breast, wing, head. Coordinates are those of a bird that faces right; the three pens
    # mirror and lift them.
    shade = {
        name: mix(c, any_colour(rng), float(rng.uniform(0, 0.16))) for name, c in COLOURS.items()
    }
    plump, nod = float(rng.uniform(0.88, 1.12)), float(rng.uniform(-0.07, 0.07))
    up = 0.28 if marks["legs"] == "long" else 0.06  # long legs lift the body

    def poly(points: list[tuple[float, float]], c: RGB) -> None:
        p.poly([(facing * x, y - up) for x, y in points], c)

    def oval(x: float, y: float, rx: float, ry: float, c: RGB, turn: float = 0.0) -> None:
        p.oval(facing * x, y - up, rx, ry, c, facing * turn)

    def line(points: list[tuple[float, float]], width: float, c: RGB) -> None:
        p.line([(facing * x, y - up) for x, y in points], width, c)

    ground = 0.62 + up + (0.34 if marks["legs"] == "long" else 0.16)
    if branch:
        line([(-0.9, ground), (0.9, ground - 0.06)], 0.1, mix(COLOURS["brown"], BLACK, 0.35))
    for x in (-0.02, 0.16):
        line([(x, 0.3), (x + 0.03, ground), (x + 0.14, ground)], 0.06, shade[marks["feet"]])

    wing, dark = shade[marks["wing"]], mix(shade[marks["wing"]], BLACK, 0.28)
    poly(_TAILS[marks["tail"]], dark)
    oval(0, 0.14, 0.5, 0.33 * plump, shade[marks["belly"]], -0.22)
    _pattern(marks["pattern"], oval, line, WHITE if sum(COLOURS[marks["belly"]]) < 300 else BLACK)
    oval(0.27, 0.02, 0.27, 0.27 * plump, shade[marks["breast"]])
    if marks["band"] != "none":
        line([(0.08, 0.2), (0.3, 0.14), (0.52, -0.02)], 0.1, COLOURS[marks["band"]])
    oval(-0.16, 0.06, 0.38, 0.2, wing, 0.2)
    line([(-0.5, 0.06), (-0.15, 0.25)], 0.05, dark)
    if marks["patch"] == "bars":
        for x in (-0.2, 0.0):
            line([(x - 0.06, -0.08), (x + 0.03, 0.2)], 0.07, WHITE)
    elif marks["patch"] != "none":
        oval(0.06, 0.0, 0.13, 0.11, COLOURS[marks["patch"]])
    _head(marks, shade, poly, oval, line, nod)


_TAILS = {
    "short": [(-0.36, 0.05), (-0.68, 0.12), (-0.66, 0.32), (-0.34, 0.26)],
    "long": [(-0.36, 0.05), (-1.08, 0.3), (-1.04, 0.46), (-0.34, 0.26)],
    "forked": [(-0.36, 0.05), (-1.05, 0.02), (-0.72, 0.22), (-1.0, 0.48), (-0.34, 0.26)],
    "fan": [
        (-0.36, 0.08),
        (-0.86, -0.16),
        (-0.98, 0.12),
        (-0.92, 0.4),
        (-0.72, 0.56),
        (-0.34, 0.24),
    ],
}
_BEAKS = {
    "thin": [(0.64, -0.42), (0.98, -0.36), (0.64, -0.31)],
    "thick": [(0.6, -0.52), (0.92, -0.34), (0.6, -0.2)],
    "hooked": [(0.62, -0.5), (0.86, -0.46), (0.95, -0.3), (0.9, -0.16), (0.82, -0.3), (0.62, -0.26)],
    "long": [(0.62, -0.46), (1.32, -0.34), (0.62, -0.27)],
    "curved": [(0.62, -0.47), (0.95, -0.42), (1.16, -0.24), (1.24, 0.02), (1.08, -0.18), (0.9, -0.3), (0.62, -0.3)],
}  # fmt: skip


def _pattern(kind: str, oval, line, ink: RGB) -> None:  # type: ignore[no-untyped-def]
    """Spots or streaks on the belly."""
    for i in range(5):
        x = -0.3 + 0.14 * i
        for y in (0.3, 0.4) if kind == "spots" else (0.26,):
            if kind == "spots":
                oval(x + (0.07 if y > 0.35 else 0.0), y, 0.042, 0.042, ink)
            elif kind == "streaks":
                line([(x, y), (x + 0.03, y + 0.18)], 0.045, ink)


def _head(marks: Marks, shade: dict[str, RGB], poly, oval, line, nod: float) -> None:  # type: ignore[no-untyped-def]
    """Crest, head, cap, throat, face and beak; `nod` moves them all up or down a little."""
    # From the back to the front, with the pens of `draw`: the crest begins behind the head, the eye
    # covers mask and ring.
    x0, y0, r = 0.42, -0.36 + nod, 0.28

    def moved(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(x, y + nod) for x, y in points]

    top = shade[marks["head"] if marks["cap"] == "none" else marks["cap"]]
    if marks["crest"] == "pointed":
        poly(moved([(0.58, -0.58), (0.3, -1.02), (0.2, -0.9), (0.16, -0.4)]), top)
    elif marks["crest"] == "fan":
        for turn in (-0.75, -0.35, 0.05, 0.45):
            tip = (x0 + 0.62 * math.sin(turn), y0 - 0.62 * math.cos(turn))
            side = (0.1 * math.cos(turn), 0.1 * math.sin(turn))
            poly(
                [
                    (x0, y0),
                    (tip[0] - side[0], tip[1] - side[1]),
                    (tip[0] + side[0], tip[1] + side[1]),
                ],
                top,
            )
    poly(moved(_BEAKS[marks["beak"]]), shade[marks["bill"]])
    oval(x0, y0, r, r, shade[marks["head"]])
    if marks["throat"] != "none":
        oval(x0 + 0.06, y0 + 0.2, 0.2, 0.13, shade[marks["throat"]], 0.3)
    if marks["cap"] != "none":
        arc = [
            (x0 + r * math.cos(t), y0 + r * math.sin(t))
            for t in np.linspace(-1.03 * math.pi, -0.02, 16).tolist()
        ]
        poly([*arc, (x0 + 0.05, y0 - 0.1)], top)
    eye = (x0 + 0.1, y0 - 0.05)
    if marks["face"] == "mask":
        line([(x0 - 0.2, y0 - 0.03), (x0 + 0.26, y0 - 0.03)], 0.15, mix(BLACK, WHITE, 0.06))
    elif marks["face"] == "brow":
        line([(x0 - 0.22, y0 - 0.14), (x0 + 0.22, y0 - 0.17)], 0.09, WHITE)
    elif marks["face"] == "ring":
        oval(*eye, 0.12, 0.12, WHITE)
    oval(*eye, 0.065, 0.065, BLACK)
    oval(eye[0] + 0.02, eye[1] - 0.02, 0.02, 0.02, WHITE)


def picture(marks: Marks, combo: Combo, rng: np.random.Generator) -> Image.Image:
    """A picture of a bird with these marks, (64, 64) RGB.

    The combination's variant says which way the bird looks, and if it stands on a branch.
    """
    facing, branch = (1 if combo.variant % 2 else -1), combo.variant >= 2
    size = float(rng.uniform(0.65, 0.98))
    room = max(0.0, 1.02 - size)
    x, y = (float(v) for v in rng.uniform(-room, room, 2))
    pose = Pose(
        x, y, size, float(np.clip(rng.normal(0, 13), -35, 35)), float(rng.uniform(0.8, 1.25))
    )
    return compose(
        combo.background,
        combo.clutter,
        lambda pen: draw(pen, marks, facing, branch, rng),
        pose,
        rng,
    )


# --- the data set ---


class Rare(DrawnDataset):
    """Thirty-six drawn species of birds; ids look like ``test/blue_jay/0007``."""

    name = "rare"
    about = (
        "drawn birds whose names the embedded model hardly ever read, the case that the method is "
        "for"
    )
    version = 1
    classes = list(SPECIES)
    named = NAMED
    templates = replace(SENTENCES, prompts=(*SENTENCES.prompts, "a {class}, a bird."))

    def picture(self, label: int, combo: Combo, rng: np.random.Generator) -> Image.Image:
        return picture(SPECIES[self.classes[label]], combo, rng)
