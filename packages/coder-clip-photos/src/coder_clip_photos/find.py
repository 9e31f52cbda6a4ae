"""Find the photos that are most like a text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from coder_clip.datasets.images import read_image
from coder_clip.errors import UserError
from coder_clip.foundation.artifacts import atomic_path
from coder_clip.foundation.reproducible import exact_matmul
from coder_clip.neighbors import l2_normalize

from .encoding import PhotoRows
from .files import cut_middle, shown

COLUMNS, SIDE, CAPTION, SPACE = 5, 240, 40, 12  # of a sheet: photos in a row, and pixels
MOST = 500  # photos on a sheet: 100 rows, half of what a JPEG can be high
# points that a quick score may be off; 512 products of float32 are off by less than a hundredth
QUICK_ERROR = 0.01


def likest(
    photos: PhotoRows, plus: Tensor, minus: Tensor, top: int, above: float | None = None
) -> list[tuple[str, float]]:
    """(path, score) of the photos that are most like, the best first.

    The score is 100 × `most_like`.

    plus: (P, d) features of texts and photos to be like; minus: (M, d), to be unlike. top: number
    of photos. above: only photos with a larger score.
    """
    # Plain products of float32 leave few photos for the exact ones, which take ten times as long.
    direction = l2_normalize(plus).mean(dim=0)
    if len(minus):
        direction = direction - l2_normalize(minus).mean(dim=0)
    direction = direction.float()
    near = torch.cat([100 * _cosines(piece, direction) for piece in photos.pieces()])
    least = near.topk(min(top, len(near))).values[-1] - QUICK_ERROR
    rows = (near >= least).nonzero()[:, 0]
    if above is not None:
        rows = rows[near[rows] > above - QUICK_ERROR]
    scores = 100 * most_like(photos.features(rows.numpy()), plus, minus)
    order = scores.argsort(descending=True, stable=True)[:top].tolist()
    found = [(photos.kept[int(rows[i])], float(scores[i])) for i in order]
    return [one for one in found if above is None or one[1] > above]


def _cosines(features: Tensor, direction: Tensor) -> Tensor:
    """Inner products (n,) of rows (n, d), as if of length 1, with a direction (d,): float32."""
    # products are divided, not rows: no copy of the features; a zero row has the product 0
    lengths: Tensor = torch.linalg.vector_norm(features, dim=1)
    return (features @ direction) / lengths.clamp_min(1e-12)


def most_like(features: Tensor, plus: Tensor, minus: Tensor) -> Tensor:
    """Mean cosine of each photo with texts to be like, minus with texts to be unlike: (N,).

    float64.

    features: (N, d) of photos; plus: (P, d), P ≥ 1; minus: (M, d), M may be 0. Rows are scaled to
    length 1. A photo without a direction (a zero row) has the score 0.
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
    """Draw photos on one page, with folder, name and score below each, and write it.

    Whole or not at all.
    """
    columns = min(COLUMNS, len(found))
    rows = math.ceil(len(found) / columns)
    width, height = SIDE + SPACE, SIDE + CAPTION + SPACE  # of a photo with its caption
    size = (SPACE + columns * width, SPACE + rows * height)
    page, font = Image.new("RGB", size, "white"), _font(14)
    draw = ImageDraw.Draw(page)
    for i, (image, score) in enumerate(found):
        row, column = divmod(i, columns)
        x, y = SPACE + column * width, SPACE + row * height
        photo = ImageOps.contain(read_image(image), (SIDE, SIDE))
        # in the middle of its square
        page.paste(photo, (x + (SIDE - photo.width) // 2, y + (SIDE - photo.height) // 2))
        # with its folder, because dog/1.jpg and cat/1.jpg have the same name
        name = cut_middle(shown("/".join(Path(image).parts[-2:])), SIDE, font.getlength)
        draw.text((x, y + SIDE + 4), f"{name}\n{score:.1f}", "black", font)
    with atomic_path(path) as temporary:
        page.save(temporary, quality=90)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """matplotlib's font, which has Latin, Greek and Cyrillic letters.

    Else Pillow's, which has Latin ones.
    """
    try:
        import matplotlib
    except ModuleNotFoundError:
        return ImageFont.load_default(size)
    font = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    return ImageFont.truetype(str(font), size)
