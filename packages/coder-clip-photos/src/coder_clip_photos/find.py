"""Find the photos that are most like a text, and groups that are nearly the same.

Copies, scaled or saved again, or shots of one scene.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from coder_clip.datasets.images import read_image
from coder_clip.datasets.twins import connected
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
# photos that are compared with all others at a time: 40 MB of cosines with 20,000 photos
ROWS = 256


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


class TwoPhotos(NamedTuple):
    """Two photos, by position, and the cosine of their features."""

    first: int
    second: int
    cosine: float


class MostAlike:
    """Search for the pairs of photos with the largest cosines, in steps.

    Between steps the caller can show the progress, or stop.

    features: (N, d). labels: (N,), None without. most: number of pairs to keep; with labels, also
    of pairs whose labels differ. There is no limit above which a cosine means "nearly the same":
    such a limit depends on the encoder and on the photos.
    """

    def __init__(self, features: Tensor, labels: Tensor | None, most: int) -> None:
        self._photos, self._labels, self._most = l2_normalize(features), labels, most
        self.compared = 0  # photos that were compared with all photos after them
        self.pairs: list[TwoPhotos] = []  # the most alike first
        self.different: list[TwoPhotos] = []  # the same, of photos whose labels differ

    @property
    def ended(self) -> bool:
        """True if all pairs were compared."""
        return self.compared == len(self._photos)

    def step(self) -> None:
        """Compare the next ROWS photos with themselves and with all photos after them."""
        start = self.compared
        end = min(start + ROWS, len(self._photos))
        cosines = exact_matmul(self._photos[start:end], self._photos[start:])
        # each pair once, and no photo with itself
        square = cosines[:, : end - start]
        square[torch.ones_like(square, dtype=torch.bool).tril()] = -torch.inf
        self._keep(self.pairs, cosines, start)
        if self._labels is not None:
            cosines[self._labels[start:end, None] == self._labels[start:]] = -torch.inf
            self._keep(self.different, cosines, start)
        self.compared = end

    def _keep(self, best: list[TwoPhotos], cosines: Tensor, start: int) -> None:
        """Update ``best`` with pairs from ``cosines`` (rows, columns).

        Both from photo ``start`` on; pairs with -inf do not count.
        """
        # Most cosines are too small to be among the best, and are not sorted. Of equal ones the
        # earlier photos stay.
        values = cosines.flatten()
        if len(best) == self._most:
            large = values > best[-1].cosine
        else:
            least = values.topk(min(self._most, len(values))).values[-1]
            large = (values >= least) & (values > -torch.inf)
        candidates = large.nonzero()[:, 0]  # positions in `values`
        ordered, order = values[candidates].sort(descending=True, stable=True)
        chosen = candidates[order[: self._most]]
        for value, position in zip(ordered[: self._most].tolist(), chosen.tolist(), strict=True):
            row, column = divmod(position, cosines.shape[1])
            best.append(TwoPhotos(start + row, start + column, value))
        best.sort(key=lambda pair: (-pair.cosine, pair.first, pair.second))
        del best[self._most :]


class Group(NamedTuple):
    """Photos that are nearly the same, by position.

    least, largest: cosines of the pairs that joined them.
    """

    photos: list[int]
    least: float
    largest: float


def grouped(n: int, pairs: Sequence[TwoPhotos]) -> list[Group]:
    """Join pairs that share a photo into groups.

    Until a tenth of the n photos is joined to an earlier photo.

    pairs: the most alike first. If all pairs were joined, one group would hold most photos, because
    each photo is a bit like some other.
    """

    def joined(used: int) -> int:
        """The number of photos that the first ``used`` pairs join to an earlier photo."""
        n_groups = len(set(connected(n, [pair[:2] for pair in pairs[:used]]).tolist()))
        return n - n_groups

    # the largest number of pairs that join at most a tenth; `joined` never falls with more pairs
    used = bisect_right(range(len(pairs) + 1), max(1, n // 10), key=joined) - 1
    # photos of one group have the same number
    number = connected(n, [pair[:2] for pair in pairs[:used]]).tolist()
    groups: dict[int, Group] = {}
    for pair in pairs[:used]:
        # the first pair of a group has its largest cosine, the last one its least
        before = groups.setdefault(number[pair.first], Group([], pair.cosine, pair.cosine))
        groups[number[pair.first]] = before._replace(least=pair.cosine)
    for photo, group in enumerate(number):
        if group in groups:
            groups[group].photos.append(photo)
    return list(groups.values())


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
