"""Near twins: images that show almost the same, such as frames of one video.

Near twins are one observation, not several. So they form groups: a split of a folder keeps a group
together, intervals are over groups, and no image is a neighbour of its near twin. Groups come from:

- a file of the user (``groups``), who knows what belongs together;
- a pattern of image names that the entry of a published data set declares (``group:``; UCF101);
- pixels (`near_twins`), for all other images. They are the same for all models, and they are known
  before anything is encoded, when a folder is split;
- features (`alike`), for data sets that come as features without images.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import UserError
from ..foundation.progress import progress
from ..foundation.terminal import counted
from .images import WORKED_ON

Images = list[list[str]]  # groups of image ids
Rows = NDArray[np.int64]  # (n,), numbers of rows
# Where the groups of a data set come from, and what a reader should know about it.
GROUPED_BY = {
    "declared": "declared",
    "names": "declared by image names",
    "pixels": "detected by pixels",
    "features": "detected by features, a weak stand-in",
}

# The rule for pixels: two images are near twins if their thumbnails, SIDE × SIDE in colour, have a
# correlation of at least ALIKE, as they are or with STEP of a side cut off, and if the contrast of
# one (standard deviation, in levels of 255) is at most RATIO times that of the other. Below a
# contrast of FAINT (open sea) only noise could be compared, and only an image with the same pixels
# is a near twin. Mirrored images, and images with a caption beside them, are not found.
# docs/near_twins.md has the measurement behind these numbers.
SIDE, ALIKE, STEP = 8, 0.98, 0.05
RATIO, FAINT = 1.3, 2.0
SCREEN = 0.9  # correlation of the whole thumbnails, below which cut ones are not compared
# the sides that are cut off, (down, right): 1 the top or left, -1 the bottom or right, 0 neither
MOVES = tuple(product((-1, 0, 1), repeat=2))
WHOLE = MOVES.index((0, 0))
MOST = 100_000  # images of a split; a larger split (ImageNet's train) is not compared at all
# The rule for features: their cosine (docs/near_twins.md).
COSINE = 0.98
PRODUCTS = 4_000_000  # pairs that are compared at a time, which bounds the memory
CUT_AT_A_TIME = 4096  # pairs whose cut thumbnails are compared at a time
READ, THREADS = 1024, 4  # images that are read at a time, and by how many threads
MANY = 2000  # images whose decoding takes long enough to show how far it is
MANY_ROWS = 20_000  # images whose comparison takes seconds, so that it is shown how far it is


def near_twins(ids: Sequence[str], read: Callable[[str], Image.Image]) -> Images:
    """Find the groups of two or more near twins by pixels, in the order of ids.

    read: decodes the image of an id. An image that cannot be read has no near twin. Images with
    equal pixels are near twins whatever they show. Near twins of near twins are in one group.
    """

    def looked_at(image_id: str) -> tuple[Thumbnails, bytes] | None:
        try:
            image = read(image_id)
            return thumbnails(image), _digest(image)
        except (UserError, OSError):
            return None

    compared, found, digests = [], [], []
    with (
        progress(len(ids), "img", "looking for near twins", wanted=len(ids) > MANY) as bar,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        for start in range(0, len(ids), READ):
            some = ids[start : start + READ]
            for image_id, seen in zip(some, pool.map(looked_at, some), strict=True):
                if seen is not None:
                    compared.append(image_id)
                    found.append(seen[0])
                    digests.append(seen[1])
                bar.update()
    if not found:
        return []
    first: dict[bytes, int] = {}
    same = [(first.setdefault(digest, i), i) for i, digest in enumerate(digests)]
    return together(compared, _joined_by_pixels(found, connected(len(found), same)))


def _digest(image: Image.Image) -> bytes:
    """A hash of the size and the pixels of an image."""
    pixels = image.convert("RGB")
    return hashlib.sha256(repr(pixels.size).encode() + pixels.tobytes()).digest()


def _joined_by_pixels(found: Sequence[Thumbnails], group: NDArray[np.int64]) -> NDArray[np.int64]:
    """The group numbers (N,) after near twins by pixels were joined. group: those before."""
    contrast = np.array([image.contrast for image in found])
    pixels = np.stack([image.pixels for image in found])

    def near(rows: Rows, columns: Rows, products: NDArray[Any]) -> NDArray[np.bool_]:
        # pairs of enough contrast, and about the same one; whole thumbnails join most of them, and
        # rule out nearly all others
        one, other = contrast[rows, None], contrast[columns]
        low, high = np.minimum(one, other), np.maximum(one, other)
        comparable = (low >= FAINT) & (high <= RATIO * low)
        whole: NDArray[np.bool_] = (products >= ALIKE) & comparable
        close = np.argwhere((products >= SCREEN) & comparable & ~whole)
        for start in range(0, len(close), CUT_AT_A_TIME):
            i, j = close[start : start + CUT_AT_A_TIME].T
            whole[i, j] = _alike(pixels[rows[i]], pixels[columns[j]])
        return whole

    return joined(_unit(pixels[:, WHOLE]), near, group)


class Thumbnails(NamedTuple):
    """Thumbnails of an image.

    pixels: (9, 3 · SIDE²) uint8, whole and with STEP cut off in each direction (MOVES), one channel
    after the other. contrast: standard deviation of the whole thumbnail within its channels, in
    levels.
    """

    pixels: NDArray[np.uint8]
    contrast: float


def thumbnails(image: Image.Image) -> Thumbnails:
    """Thumbnails of an image of any size and mode."""
    small = image.convert("RGB").resize((WORKED_ON, WORKED_ON), Image.Resampling.BILINEAR)
    cut = STEP * WORKED_ON
    rows = []
    for down, right in MOVES:
        # +1 cuts the left or top side off, -1 the right or bottom one
        box = (
            max(0, right) * cut,
            max(0, down) * cut,
            WORKED_ON + min(0, right) * cut,
            WORKED_ON + min(0, down) * cut,
        )
        thumbnail = small.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box)
        rows.append(np.asarray(thumbnail).transpose(2, 0, 1).ravel())
    pixels = np.stack(rows)
    return Thumbnails(pixels, float(_centred(pixels)[WHOLE].std()))


def _centred(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Thumbnails (n, 3 · SIDE²) minus the mean of each channel, the colour of the light."""
    channels = pixels.reshape(len(pixels), 3, -1).astype(np.float32)
    channels -= channels.mean(axis=2, keepdims=True)
    return channels.reshape(pixels.shape)


def _unit(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Thumbnails (n, 3 · SIDE²), centred and of length 1: inner products are correlations.

    A thumbnail without contrast becomes 0.
    """
    rows = _centred(pixels)
    # an image of one colour has length 0; the limit keeps NaN away
    unit: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return unit


def _alike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which pairs of images have the correlation of near twins: (n,).

    one, other: (n, 9, 3 · SIDE²) thumbnails of the images of each pair.
    """
    width = one.shape[-1]
    units = (_unit(cuts.reshape(-1, width)).reshape(cuts.shape) for cuts in (one, other))
    products = np.einsum("naw,nbw->nab", *units)
    # one image may show less on a side than the other: compare a cut thumbnail with the whole one
    one_is_cut = np.maximum(products[:, WHOLE].max(axis=1), products[:, :, WHOLE].max(axis=1))
    # or one is moved: compare opposite cuts, which are at opposite positions of MOVES
    moves = np.arange(len(MOVES))
    moved = products[:, moves, moves[::-1]].max(axis=1)
    likeness: NDArray[np.bool_] = np.maximum(one_is_cut, moved) >= ALIKE
    return likeness


def alike(features: NDArray[Any], least: float = COSINE) -> NDArray[np.int64]:
    """Group images by the cosine of their features (N, d), for a data set without images.

    Returns the group number of each image, (N,): the position of the group's first image. Pass the
    images of all splits at once, so that near twins in different splits are found. UserError
    for NaN or infinity.
    """

    def near(rows: Rows, columns: Rows, products: NDArray[Any]) -> NDArray[np.bool_]:
        # rounding must not decide about a cosine that is exactly the limit
        found: NDArray[np.bool_] = products >= least - 1e-9
        return found

    return joined(_unit_rows(features), near, np.arange(len(features)))


def _unit_rows(features: NDArray[Any]) -> NDArray[np.float64]:
    """Rows (n, d) of length 1 in float64. UserError for NaN or infinity."""
    rows = np.asarray(features, dtype=np.float64)
    if not np.isfinite(rows).all():
        raise UserError("NaN or infinity in image features; nothing can be compared with them")
    # a row of zeros stays one
    lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-150)
    units: NDArray[np.float64] = rows / lengths
    return units


def joined(
    rows: NDArray[Any],
    near: Callable[[Rows, Rows, NDArray[Any]], NDArray[np.bool_]],
    number: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The group number of each row (N, d), which is the lowest row of its group.

    near: from numbers of rows (n,), of columns (m,) and their inner products (n, m) to the pairs
    that are in one group. number: (N,), groups that are known before.
    """
    n = len(rows)
    step = max(1, PRODUCTS // max(1, n))
    with progress(n, "img", "comparing images", wanted=n > MANY_ROWS) as bar:
        for start in range(0, n, step):
            block, columns = np.arange(start, min(start + step, n)), np.arange(start, n)
            # pairs of one group are not compared again, or ten thousand alike frames take minutes
            apart = number[block, None] != number[columns]
            pairs = np.argwhere(apart & near(block, columns, rows[block] @ rows[start:].T))
            number = connected(n, number[start + pairs], number)
            bar.update(len(block))
    return number


def by_name(ids: Iterable[str], pattern: str) -> Images:
    """Groups of images whose ids are equal in the parts that the pattern's brackets match.

    UserError for an id that the pattern does not match.
    """
    found: dict[tuple[str | None, ...], list[str]] = {}
    for image_id in ids:
        match = re.search(pattern, image_id)
        if match is None:
            raise UserError(f"image '{image_id}' does not match the pattern of groups, {pattern}")
        found.setdefault(match.groups(), []).append(image_id)
    return [group for group in found.values() if len(group) > 1]


def counts(split_of: Mapping[str, str], groups: Sequence[Sequence[str]]) -> dict[str, int]:
    """How many test images have near twins.

    split_of: image id -> split. Keys of the result: images, the number of test images; elsewhere,
    test images with a near twin in train or val; together, test images with a near twin in test;
    groups, the number of groups with several test images.
    """
    found = {
        "images": list(split_of.values()).count("test"),
        "elsewhere": 0,
        "together": 0,
        "groups": 0,
    }
    for group in groups:
        splits = [split_of[i] for i in group if i in split_of]
        test = splits.count("test")
        # the rest of the group is in train or val
        if test < len(splits):
            found["elsewhere"] += test
        if test > 1:
            found["together"] += test
            found["groups"] += 1
    return found


def said(found: Mapping[str, int]) -> list[str]:
    """Sentences on the near twins of test images; none if there are none. found: from `counts`."""
    images = f"of {found['images']:,} test images"
    lines = []
    n = found["elsewhere"]
    if n:
        have = "have"
        if n == 1:
            have = "has"
        lines.append(f"{n:,} {images} {have} a near twin in train or val")
    n = found["together"]
    if n:
        groups = counted(found["groups"], "group")
        lines.append(f"{n:,} {images} are near twins of each other, in {groups}")
    return lines


def connected(
    n: int, pairs: Sequence[tuple[int, int]] | NDArray[Any], number: NDArray[Any] | None = None
) -> NDArray[np.int64]:
    """The group number (n,) of each of n things, if a pair is in one group: the lowest index of the
    group.

    number: (n,), groups that are known before.
    """
    before = np.arange(n) if number is None else number
    links = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    if not len(links):
        return before
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(links), bool), (links[:, 0], links[:, 1])), shape=(n, n))
    _, label = connected_components(graph, directed=False)
    # np.unique gives the first place of each label
    _, lowest, place = np.unique(label, return_index=True, return_inverse=True)
    numbers: NDArray[np.int64] = lowest[place].astype(np.int64)
    return numbers[before]


def together(ids: Sequence[str], group: NDArray[np.int64]) -> Images:
    """Groups of two or more ids with the same number. group: (N,), the number of each id."""
    found: dict[int, list[str]] = {}
    for image_id, number in zip(ids, group.tolist(), strict=True):
        found.setdefault(number, []).append(image_id)
    return [members for members in found.values() if len(members) > 1]
