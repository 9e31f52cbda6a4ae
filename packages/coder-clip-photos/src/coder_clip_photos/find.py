"""Find the photos that are most like a text, and pairs of photos that are nearly the same: copies, scaled or saved
again, or shots of one scene.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from coder_clip.datasets.images import read_image
from coder_clip.errors import UserError
from coder_clip.foundation.artifacts import atomic_path
from coder_clip.foundation.reproducible import exact_matmul
from coder_clip.neighbors import l2_normalize

from .encoding import Features, PhotoEncoder
from .files import cut_middle, shown

COLUMNS, SIDE, CAPTION, SPACE = 5, 240, 40, 12  # of a sheet: photos in a row, and pixels
FONT = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"  # Latin, Greek and Cyrillic letters
MOST = 500  # photos on a sheet: 100 rows, half of what a JPEG can be high
ROWS = 1024  # photos that are compared with all others at a time


def likest(
    encoder: PhotoEncoder, photos: Features, texts: Sequence[str], minus: Sequence[str]
) -> list[tuple[str, float]]:
    """Paths of photos with 100 × `most_like` of the texts and those of ``minus``, the likest first."""
    features = encoder.texts([*texts, *minus])
    scores = 100 * most_like(photos.features, features[: len(texts)], features[len(texts) :])
    order = scores.argsort(descending=True, stable=True).tolist()
    return [(photos.kept[i], float(scores[i])) for i in order]


def most_like(features: Tensor, plus: Tensor, minus: Tensor) -> Tensor:
    """Mean cosine of each photo with the texts to be like, minus its mean cosine with those to be unlike: (N,) float64.

    features: (N, d) of photos; plus: (P, d), P ≥ 1; minus: (M, d), M may be 0. Rows are scaled to length 1. A photo
    without a direction (a zero row) has the score 0.
    """
    photos = l2_normalize(features)
    score = exact_matmul(photos, l2_normalize(plus, "text features")).mean(dim=1)
    if len(minus):
        score -= exact_matmul(photos, l2_normalize(minus, "text features")).mean(dim=1)
    return score


def check_sheet(path: Path, n: int) -> None:
    """Raise UserError if n photos cannot be drawn on a sheet at this path."""
    if path.is_dir() or path.suffix.lower() not in (".jpg", ".jpeg", ".png"):
        raise UserError(f"--sheet {shown(path)}: name a file that ends in .jpg or .png")
    if n > MOST:
        raise UserError(f"--sheet has room for {MOST} photos, not for {n:,}: lower --top")


def draw_sheet(path: Path, found: Sequence[tuple[str, float]]) -> None:
    """Draw photos on one page, with folder, name and score below each, and write it, whole or not at all."""
    columns, height = min(COLUMNS, len(found)), SIDE + CAPTION + SPACE
    size = (SPACE + columns * (SIDE + SPACE), SPACE + -(-len(found) // columns) * height)
    page, font = Image.new("RGB", size, "white"), ImageFont.truetype(FONT, 14)
    draw = ImageDraw.Draw(page)
    for i, (image, score) in enumerate(found):
        x, y = SPACE + i % columns * (SIDE + SPACE), SPACE + i // columns * height
        photo = ImageOps.contain(read_image(image), (SIDE, SIDE))
        page.paste(photo, (x + (SIDE - photo.width) // 2, y + (SIDE - photo.height) // 2))
        # with its folder, because dog/1.jpg and cat/1.jpg have one name
        name = cut_middle(shown("/".join(Path(image).parts[-2:])), SIDE, font.getlength)
        draw.text((x, y + SIDE + 4), f"{name}\n{score:.1f}", "black", font)
    with atomic_path(path) as temporary:
        page.save(temporary, quality=90)


class Pair(NamedTuple):
    """Two photos, by position, and the cosine of their features."""

    first: int
    second: int
    cosine: float


def most_alike(features: Tensor, labels: Tensor | None, most: int) -> list[Pair]:
    """The ``most`` pairs with the largest cosines, and as many whose labels differ; the most alike first.

    features: (N, d). labels: (N,), None without. No limit says which cosine is "nearly the same": that depends on the
    encoder and on the photos.
    """
    photos = l2_normalize(features)
    found: set[Pair] = set()
    for only_different in (False, True)[: 1 if labels is None else 2]:
        best: list[Pair] = []
        for start in range(0, len(photos), ROWS):
            rows = torch.arange(start, min(start + ROWS, len(photos)))
            cosines = exact_matmul(photos[rows], photos)
            skipped = torch.arange(len(photos)) <= rows[:, None]  # each pair once, and none with itself
            if only_different and labels is not None:
                skipped |= labels == labels[rows, None]
            cosines[skipped] = -torch.inf
            values, places = cosines.flatten().topk(min(most, cosines.numel()))
            for value, place in zip(values.tolist(), places.tolist(), strict=True):
                if value > -torch.inf:
                    row, column = divmod(place, len(photos))
                    best.append(Pair(start + row, column, value))
        found |= set(sorted(best, key=_order)[:most])
    return sorted(found, key=_order)


def _order(pair: Pair) -> tuple[float, int, int]:
    return -pair.cosine, pair.first, pair.second
