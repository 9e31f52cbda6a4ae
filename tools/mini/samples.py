"""The captioned images that train `mini`.

Drawn once by all cores into two flat files, then only indexed.

A sample is a pure function of (seed, index): a picture and CAPTIONS different captions of it, each
from a generator of its own.
"""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from coder_clip.datasets.drawn import drawing, rare, shapes
from coder_clip.datasets.drawn.drawing import (
    BACKGROUNDS,
    CLUTTERS,
    RGB,
    SIZE,
    Combo,
    Pen,
    Pose,
    combos,
    polar,
)
from coder_clip.datasets.drawn.shapes import THINGS, Thing

from . import birds, captions, things
from .captions import COLOURS, PATTERNS, SHAPES
from .things import MORE

CAPTIONS = 6  # captions drawn for each picture; every epoch reads another one
# Of pictures beyond the named ones. "free" birds combine marks at will, "known" ones are birds with
# a well-known name.
SHARE = {"things": 0.32, "scenes": 0.04, "free": 0.38, "species": 0.21, "known": 0.05}
# The first pictures are those whose captions hold a rare name, so that a species has exactly as
# many as declared.
NAMED = [name for name, pictures in rare.NAMED.items() for _ in range(pictures or 0)]

Rng = np.random.Generator
Sample = tuple[Image.Image, list[str]]


def sample(seed: int, index: int) -> Sample:
    """The picture with this number and its captions."""
    rng, words = (drawing.generator(f"{what}/{seed}/{index}") for what in ("mini", "captions"))
    if index < len(NAMED):
        return species_sample(rng, words, NAMED[index], named=True)
    kind = str(rng.choice(list(SHARE), p=list(SHARE.values())))
    if kind == "things":
        return thing_sample(rng, words)
    if kind == "scenes":
        return scene_sample(rng, words)
    if kind == "species":
        name = captions.pick(rng, list(rare.SPECIES))
        return species_sample(rng, words, name, named=rare.NAMED[name] is None)
    if kind == "known":
        name = captions.pick(rng, list(birds.KNOWN))
        names = (name, *birds.KNOWN_SYNONYMS.get(name, ()))
        return bird_sample(rng, words, birds.KNOWN[name], combos(name, False), names)
    return bird_sample(rng, words, birds.free(rng), combos("bird", False))


def species_sample(rng: Rng, words: Rng, name: str, named: bool) -> Sample:
    """A class of `rare`, never in a held-out combination.

    Only `named` ones have captions that say which it is.
    """
    names = (name, *birds.SYNONYMS.get(name, ())) if named else ()
    return bird_sample(rng, words, rare.SPECIES[name], combos(name, False), names)


def bird_sample(
    rng: Rng, words: Rng, marks: rare.Marks, allowed: Sequence[Combo], names: tuple[str, ...] = ()
) -> Sample:
    combo = allowed[int(rng.integers(len(allowed)))]
    image = rare.picture(marks, combo, rng)
    return image, [birds.caption(words, marks, names) for _ in range(CAPTIONS)]


def thing_sample(rng: Rng, words: Rng) -> Sample:
    """A class of `shapes` (six in ten) or a further thing, never in a held-out combination."""
    pool = MORE
    if rng.random() < 0.6:
        pool = THINGS
    thing: Thing = pool[int(rng.integers(len(pool)))]
    allowed = combos(thing.name, False)
    combo: Combo = allowed[int(rng.integers(len(allowed)))]
    pose = Pose.random(rng)
    image = shapes.picture(thing, combo, rng, pose)
    colour = thing.variants[combo.variant][0]
    about = (thing.name, colour, combo.background, combo.clutter, pose.x, pose.y, pose.size)
    return image, [captions.thing_caption(words, *about) for _ in range(CAPTIONS)]


def scene_sample(rng: Rng, words: Rng) -> Sample:
    """One to four equal shapes in a colour, with a pattern, somewhere.

    They show what the words of attributes mean.
    """
    shape, pattern = captions.pick(rng, list(SHAPES)), captions.pick(rng, list(PATTERNS))
    colour, second = (list(COLOURS)[int(i)] for i in rng.permutation(len(COLOURS))[:2])
    count = int(rng.choice([1, 2, 3, 4], p=[0.55, 0.2, 0.15, 0.1]))
    pose, size, spread = Pose(0, 0, 1, 0, 1), 0.42, 0.06
    centres = [(-0.48, -0.45), (0.48, 0.45), (0.48, -0.45), (-0.48, 0.45)][:count]
    if count == 1:
        pose, size, centres = Pose.random(rng), 1.0, [(0.0, 0.0)]
    turn = float(rng.uniform(-0.4, 0.4))

    def draw(pen: Pen) -> None:
        for x, y in centres:
            dx = dy = 0.0
            if count > 1:
                dx, dy = rng.uniform(-spread, spread, 2).tolist()
            draw_shape(
                pen, shape, pattern, COLOURS[colour], COLOURS[second], x + dx, y + dy, size, turn
            )

    background, clutter = int(rng.integers(len(BACKGROUNDS))), int(rng.integers(len(CLUTTERS)))
    image = drawing.compose(background, clutter, draw, pose, rng)
    where = ""
    if count == 1:
        where = captions.place(words, pose.x, pose.y, pose.size)
    about = (count, shape, colour, second, pattern, where)
    return image, [captions.scene_caption(words, *about) for _ in range(CAPTIONS)]


def outline(shape: str) -> NDArray[np.float64]:
    """The corners of a free shape within the unit circle, (n, 2)."""
    corners = {
        "triangle": 3,
        "square": 4,
        "pentagon": 5,
        "hexagon": 6,
        "octagon": 8,
        "circle": 40,
        "ring": 40,
    }
    if shape in corners:
        n = corners[shape]
        points = [
            polar(0.9, 2 * math.pi * (i + 0.5 * (n % 2 == 0)) / n - math.pi / 2) for i in range(n)
        ]
    elif shape == "star":
        points = [
            polar(0.95 if i % 2 == 0 else 0.4, math.pi * i / 5 - math.pi / 2) for i in range(10)
        ]
    elif shape == "cross":
        k = 0.28
        points = [(-k, -0.9), (k, -0.9), (k, -k), (0.9, -k), (0.9, k), (k, k)]
        points += [(-x, -y) for x, y in points]
    elif shape == "half circle":
        points = [polar(0.92, t) for t in np.linspace(0, math.pi, 24)]
    elif shape == "oval":
        points = [(0.95 * math.cos(t), 0.55 * math.sin(t)) for t in np.linspace(0, 2 * math.pi, 40)]
    else:  # diamond
        points = [(0, -0.95), (0.6, 0), (0, 0.95), (-0.6, 0)]
    return np.array(points)


def draw_shape(
    pen: Pen,
    shape: str,
    pattern: str,
    colour: RGB,
    second: RGB,
    x: float,
    y: float,
    size: float,
    turn: float,
) -> None:
    """A free shape with its pattern.

    Marks in the second colour, cut to the shape by an inner scale.
    """
    c, s = math.cos(turn), math.sin(turn)
    points = outline(shape) @ np.array([[c, s], [-s, c]])

    def at(scale: float) -> list[tuple[float, float]]:
        return [(x + size * scale * float(px), y + size * scale * float(py)) for px, py in points]

    if pattern == "rimmed":
        pen.poly(at(1.0), second)
        pen.poly(at(0.76), colour)
    else:
        pen.poly(at(1.0), colour)
    marks = np.linspace(-0.75, 0.75, 6)
    inside = outline(shape)
    if pattern == "striped":
        for v in marks:
            span = _span(inside, float(v))
            if span:
                ends = np.array([(span[0], v), (span[1], v)]) @ np.array(
                    [[c, s], [-s, c]]
                ) * size + [x, y]
                pen.line([(float(a), float(b)) for a, b in ends], 0.13 * size, second)
    elif pattern in ("dotted", "checkered"):
        for i, u in enumerate(marks):
            for j, v in enumerate(marks):
                span = _span(inside, float(v), 0.1)
                if span and span[0] < u < span[1] and (pattern == "dotted" or (i + j) % 2):
                    px, py = np.array([u, v]) @ np.array([[c, s], [-s, c]]) * size + [x, y]
                    if pattern == "dotted":
                        pen.disc(float(px), float(py), 0.09 * size, second)
                    else:
                        h = 0.15 * size
                        pen.rect(float(px) - h, float(py) - h, float(px) + h, float(py) + h, second)
    if shape == "ring":
        pen.disc(x, y, 0.42 * size, None)


def _span(
    points: NDArray[np.float64], v: float, margin: float = 0.05
) -> tuple[float, float] | None:
    """Where the horizontal line at v enters and leaves a polygon (its outermost crossings)."""
    nxt = np.roll(points, -1, axis=0)
    cross = (points[:, 1] <= v) != (nxt[:, 1] <= v)
    if not cross.any():
        return None
    p, q = points[cross], nxt[cross]
    u = p[:, 0] + (v - p[:, 1]) / (q[:, 1] - p[:, 1]) * (q[:, 0] - p[:, 0])
    low, high = float(u.min()) + margin, float(u.max()) - margin
    if low < high:
        return low, high
    return None


# --- the cache ---


def draw_all(
    folder: Path, seed: int, count: int, bpe: Path, context: int, workers: int
) -> tuple[Path, Path]:
    """Draws samples 0 … count-1 into `folder` unless they lie there already.

    Returns the files of the images (count, 64, 64, 3) uint8 and of the tokens (count, CAPTIONS,
    context) uint16."""
    stem = f"seed{seed}-n{count}-{_code(bpe)}"
    images, tokens = folder / f"{stem}.images.npy", folder / f"{stem}.tokens.npy"
    done = folder / f"{stem}.done"
    if done.exists():
        return images, tokens
    folder.mkdir(parents=True, exist_ok=True)
    shape = (SIZE, SIZE, 3)
    np.lib.format.open_memmap(images, mode="w+", dtype=np.uint8, shape=(count, *shape))
    np.lib.format.open_memmap(tokens, mode="w+", dtype=np.uint16, shape=(count, CAPTIONS, context))
    jobs = [
        (images, tokens, seed, i, min(i + 500, count), bpe, context) for i in range(0, count, 500)
    ]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        parts: Iterator[int] = pool.imap_unordered(_draw_part, jobs)
        with tqdm(total=count, desc="drawing", unit="image", file=sys.stderr, mininterval=5) as bar:
            for n in parts:
                bar.update(n)
    done.touch()
    return images, tokens


def _code(bpe: Path) -> str:
    """Names the code and vocabulary behind a cache, so that none is used after a change."""
    sources = [Path(str(m.__file__)) for m in (drawing, shapes, rare, captions, birds, things)] + [
        Path(__file__),
        bpe,
    ]
    return hashlib.sha256(
        b"".join(hashlib.sha256(p.read_bytes()).digest() for p in sources)
    ).hexdigest()[:12]


def _draw_part(job: tuple[Path, Path, int, int, int, Path, int]) -> int:
    from open_clip.tokenizer import SimpleTokenizer

    images_file, tokens_file, seed, start, stop, bpe, context = job
    tokenizer = SimpleTokenizer(bpe_path=str(bpe), context_length=context)
    images, tokens = np.load(images_file, mmap_mode="r+"), np.load(tokens_file, mmap_mode="r+")
    for i in range(start, stop):
        image, texts = sample(seed, i)
        images[i] = np.asarray(image)
        tokens[i] = tokenizer(texts).numpy()
    images.flush()
    tokens.flush()
    return stop - start
