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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import UserError
from ..foundation.progress import progress
from ..foundation.terminal import counted

Images = list[list[str]]  # groups of image ids
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
WORKED_ON = 64  # pixels per side that an image is scaled to first
SCREEN = 0.9  # correlation of the whole thumbnails, below which cut ones are not compared
# the sides that are cut off, (down, right): 1 the top or left, -1 the bottom or right, 0 neither
MOVES = tuple(product((-1, 0, 1), repeat=2))
WHOLE = MOVES.index((0, 0))
MOST = 100_000  # images of a split; a larger split (ImageNet's train) is not compared at all
# The rule for features: their cosine (docs/near_twins.md).
COSINE = 0.98
PRODUCTS = 16_000_000  # pairs that are compared at a time
# directions in which features are compared first, and rows that they are chosen from; of real CLIP
# features less than one pair in 10,000 is compared in all numbers then
WIDTH, SAMPLE = 64, 5000
ROUNDED = 1e-4  # more than float32 can lose in WIDTH products
MANY_PAIRS = 0.01  # share of pairs above which all of a block are compared in one product
CUT_AT_A_TIME = 4096  # images, or pairs, whose numbers are compared one by one at a time
READ, THREADS = 1024, 4  # images that are read at a time, and by how many threads
MANY = 2000  # images whose decoding takes long enough to show how far it is


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
    group = connected(len(found), same)
    return together(compared, _joined_by_pixels(found, group))


def _digest(image: Image.Image) -> bytes:
    """A hash of the size and the pixels of an image."""
    pixels = image.convert("RGB")
    return hashlib.sha256(repr(pixels.size).encode() + pixels.tobytes()).digest()


def _joined_by_pixels(found: Sequence[Thumbnails], group: NDArray[np.int64]) -> NDArray[np.int64]:
    """The group numbers (N,) after near twins by pixels were joined. group: those before.

    Each pair is compared unless it is in one group already, so ten thousand frames of a fixed
    camera, which one of them joins, take no longer than as many different images.
    """
    contrast = np.array([image.contrast for image in found])
    pixels = np.stack([image.pixels for image in found])
    whole = _unit(pixels[:, WHOLE])

    def comparable(rows: slice, columns: slice) -> NDArray[np.bool_]:
        """Which pairs have a contrast, and about the same one."""
        one, other = contrast[rows, None], contrast[columns]
        low, high = np.minimum(one, other), np.maximum(one, other)
        enough: NDArray[np.bool_] = (low >= FAINT) & (high <= RATIO * low)
        return enough

    # whole thumbnails first: they join most near twins, and they rule out nearly all other pairs
    group = _joined(whole, ALIKE, group, comparable)
    for rows, columns, products in _blocks(whole):
        close = (products >= SCREEN) & (group[rows, None] != group[columns])
        if not close.any():
            continue
        close &= comparable(rows, columns)
        for start in range(0, close.shape[1], CUT_AT_A_TIME):
            part = close[:, start : start + CUT_AT_A_TIME]
            group = _joined_by_cut_ones(pixels, part, rows.start, columns.start + start, group)
    return group


def _joined_by_cut_ones(
    pixels: NDArray[np.uint8],
    close: NDArray[np.bool_],
    row: int,
    column: int,
    group: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The group numbers (N,) after near twins among some pairs were joined.

    pixels: (N, 9, 3 · SIDE²). close: (rows, columns), the pairs to compare; row, column: numbers of
    the first ones.
    """
    candidates = np.flatnonzero(close.any(axis=0))
    if not len(candidates):
        return group
    others = np.stack([_unit(cuts) for cuts in pixels[column + candidates]])
    for i in np.flatnonzero(close.any(axis=1)).tolist():
        chosen = close[i, candidates] & (group[column + candidates] != group[row + i])
        if not chosen.any():
            continue
        alike_ones = _alike(_unit(pixels[row + i]), others[chosen])
        members = column + candidates[chosen][alike_ones]
        group = _merged(group, np.full(len(members), row + i), members)
    return group


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
    """Thumbnails (n, 3 · SIDE²), centred and of length 1, so that inner products are correlations.

    A thumbnail without contrast becomes 0.
    """
    rows = _centred(pixels)
    # an image of one colour has length 0; the limit keeps NaN away
    unit: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    return unit


def are_twins(first: Thumbnails, second: Thumbnails) -> bool:
    """True for two images that are near twins by pixels, and have enough contrast to tell."""
    low, high = sorted((first.contrast, second.contrast))
    if low < FAINT or high > RATIO * low:
        return False
    return bool(_alike(_unit(first.pixels), _unit(second.pixels)[None])[0])


def _alike(one: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of the images others (n, 9, 3 · SIDE²) have the correlation of near twins with an image
    (9, 3 · SIDE²), all from `_unit`.
    """
    products = others @ one.T  # (n, 9 cuts of the other, 9 cuts of this one)
    # one image may show less on a side than the other: compare a cut thumbnail with the whole one
    one_is_cut = np.maximum(products[:, WHOLE].max(axis=1), products[:, :, WHOLE].max(axis=1))
    # or one is moved: compare opposite cuts, which are at opposite positions of MOVES
    moves = np.arange(len(MOVES))
    moved = products[:, moves, moves[::-1]].max(axis=1)
    likeness: NDArray[np.bool_] = np.maximum(one_is_cut, moved) >= ALIKE
    return likeness


def alike(features: NDArray[Any], least: float = COSINE) -> NDArray[np.int64]:
    """Group images by the cosine of their features (N, d), for a data set without images.

    Returns the group number of each image, (N,).

    A group's number is the position of its first image. Pass the images of all splits at once, so
    that near twins in different splits are found. UserError for NaN or infinity.
    """
    rows = np.asarray(features, dtype=np.float64)
    if not np.isfinite(rows).all():
        raise UserError("NaN or infinity in image features; nothing can be compared with them")
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-150)
    least -= 1e-9  # rounding must not decide about a cosine that is exactly the limit
    group = np.arange(len(rows))
    # few pairs can be near, and only these are compared in all numbers
    for block, columns, most in _blocks(_screen(rows)):
        near = _near(rows, block, columns, most >= least - ROUNDED, least, group)
        group = _all_merged(group, near, block.start, columns.start)
    return group


def _screen(rows: NDArray[np.float64]) -> NDArray[Any]:
    """Short rows (N, WIDTH + 1) float32 whose inner products are at least those of rows (N, d).

    In the WIDTH directions that hold most of the rows, products are exact; of the rest of two rows
    it is at most the product of the lengths (Cauchy and Schwarz), which is the last number. So no
    pair is missed. Rows that are as short as this are returned as they are.
    """
    if rows.shape[1] <= WIDTH:
        return rows
    some = rows[:: 1 + len(rows) // SAMPLE]
    directions = np.linalg.eigh(some.T @ some)[1][:, -WIDTH:]
    main = rows @ directions
    squares = np.einsum("ij,ij->i", rows, rows) - np.einsum("ij,ij->i", main, main)
    rest = np.sqrt(np.maximum(squares, 0))
    return np.concatenate([main, rest[:, None]], axis=1).astype(np.float32)


def _near(
    rows: NDArray[np.float64],
    block: slice,
    columns: slice,
    possible: NDArray[np.bool_],
    least: float,
    group: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Which of the possible pairs of a block have an inner product of at least ``least``.

    Pairs that are in one group already are left out.
    """
    if np.count_nonzero(possible) > possible.size * MANY_PAIRS:
        near: NDArray[np.bool_] = rows[block] @ rows[columns].T >= least
        near &= group[block, None] != group[columns]
        return near
    first, second = np.nonzero(possible)
    apart = group[block.start + first] != group[columns.start + second]
    first, second = first[apart], second[apart]
    near = np.zeros_like(possible)
    for start in range(0, len(first), CUT_AT_A_TIME):
        i, j = first[start : start + CUT_AT_A_TIME], second[start : start + CUT_AT_A_TIME]
        products = np.einsum("ij,ij->i", rows[block.start + i], rows[columns.start + j])
        near[i, j] = products >= least
    return near


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


def numbers(ids: Sequence[str], groups: Sequence[Sequence[str]]) -> dict[str, int]:
    """Image id -> group number: the position in ``ids`` of the first image of its group."""
    position = {image_id: i for i, image_id in enumerate(ids)}
    number_of = dict(position)
    for group in groups:
        # the images of the group that are in `ids`
        members = [i for i in group if i in position]
        for image_id in members:
            number_of[image_id] = min(position[i] for i in members)
    return number_of


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


def _blocks(rows: NDArray[Any]) -> Iterator[tuple[slice, slice, NDArray[Any]]]:
    """Yield (rows, columns, inner products) for blocks of rows (N, d).

    The columns begin at the block's first row, so that each pair is in one block.
    """
    # blocks bound the memory
    step = max(1, PRODUCTS // max(1, len(rows)))
    for start in range(0, len(rows), step):
        block = slice(start, min(start + step, len(rows)))
        yield block, slice(start, len(rows)), rows[block] @ rows[start:].T


def _joined(
    rows: NDArray[Any],
    least: float,
    group: NDArray[np.int64],
    comparable: Callable[[slice, slice], NDArray[np.bool_]],
) -> NDArray[np.int64]:
    """The group numbers (N,) after pairs with an inner product of at least ``least`` were joined.

    rows: (N, d), of length 1. group: the numbers before. comparable: (rows, columns) -> which pairs
    may be joined.
    """
    for block, columns, products in _blocks(rows):
        near = (products >= least) & (group[block, None] != group[columns])
        if near.any():
            near &= comparable(block, columns)
        group = _all_merged(group, near, block.start, columns.start)
    return group


def _all_merged(
    group: NDArray[np.int64], near: NDArray[np.bool_], row: int, column: int
) -> NDArray[np.int64]:
    """The group numbers (N,) after pairs of a block were joined.

    near: (rows, columns), the pairs; row, column: numbers of the first ones.
    """
    # Each column is joined with the first row that it is near to, and pairs that are now in one
    # group are dropped. So a block of rows that are all alike takes two rounds, where its pairs one
    # by one would be millions.
    while True:
        left = np.flatnonzero(near.any(axis=0))
        if not len(left):
            return group
        first_row = near[:, left].argmax(axis=0)
        group = _merged(group, row + first_row, column + left)
        rows, columns = slice(row, row + near.shape[0]), slice(column, column + near.shape[1])
        near &= group[rows, None] != group[columns]


def _merged(
    group: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Join the groups of pairs of images: new group numbers (N,).

    group: (N,), the group number of each image. first, second: (P,), the images of each pair.
    """
    pairs = np.stack([group[first], group[second]], axis=1)
    return connected(len(group), pairs)[group]


def connected(n: int, pairs: Iterable[Sequence[int]] | NDArray[Any]) -> NDArray[np.int64]:
    """The group number (n,) of each of n things, if a pair is in one group.

    The number is the lowest index of the group.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links = np.array([*pairs], dtype=np.int64).reshape(-1, 2)
    if not len(links):
        return np.arange(n)
    graph = coo_array((np.ones(len(links)), (links[:, 0], links[:, 1])), shape=(n, n))
    _, label = connected_components(graph, directed=False)
    # np.unique gives the first place of each label
    _, lowest, place = np.unique(label, return_index=True, return_inverse=True)
    numbers: NDArray[np.int64] = lowest[place].astype(np.int64)
    return numbers


def together(ids: Sequence[str], group: NDArray[np.int64]) -> Images:
    """Groups of two or more ids with the same number. group: (N,), the number of each id."""
    found: dict[int, list[str]] = {}
    for image_id, number in zip(ids, group.tolist(), strict=True):
        found.setdefault(number, []).append(image_id)
    return [members for members in found.values() if len(members) > 1]
