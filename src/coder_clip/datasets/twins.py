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
UNIT_ROUNDOFF = 2.0**-24  # of float32: a product of d numbers of unit rows loses at most d of these
MANY_PAIRS = 0.01  # share of pairs above which all of a block are compared in one product
CUT_AT_A_TIME = 4096  # images, or pairs, whose numbers are compared one by one at a time
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
    groups = Groups(group)

    def comparable(rows: Rows, columns: Rows) -> NDArray[np.bool_]:
        """Which pairs have a contrast, and about the same one, and are not in one group."""
        one, other = contrast[rows, None], contrast[columns]
        low, high = np.minimum(one, other), np.maximum(one, other)
        enough: NDArray[np.bool_] = (low >= FAINT) & (high <= RATIO * low)
        return enough & groups.apart(rows, columns)

    # whole thumbnails first: they join most near twins, and they rule out nearly all other pairs
    for rows, columns, products in _blocks(whole, groups):
        near = products >= ALIKE
        if near.any():
            groups.join(near & comparable(rows, columns), rows, columns)
    groups.settle()
    for rows, columns, products in _blocks(whole, groups):
        close = products >= SCREEN
        if not close.any():
            continue
        close &= comparable(rows, columns)
        for start in range(0, close.shape[1], CUT_AT_A_TIME):
            part = slice(start, start + CUT_AT_A_TIME)
            _join_cut_ones(pixels, close[:, part], rows, columns[part], groups)
    return groups.number


def _join_cut_ones(
    pixels: NDArray[np.uint8], close: NDArray[np.bool_], rows: Rows, columns: Rows, groups: Groups
) -> None:
    """Join near twins among some pairs.

    pixels: (N, 9, 3 · SIDE²). close: (n, m), which pairs of rows and columns to compare.
    """
    is_candidate = close.any(axis=0)
    if not is_candidate.any():
        return
    close, candidates = close[:, is_candidate], columns[is_candidate]
    others = np.stack([_unit(cuts) for cuts in pixels[candidates]])
    for i in np.flatnonzero(close.any(axis=1)).tolist():
        image = rows[i]
        chosen = close[i] & (groups.number[candidates] != groups.number[image])
        if not chosen.any():
            continue
        alike_ones = _alike(_unit(pixels[image]), others[chosen])
        members = candidates[chosen][alike_ones]
        groups.add(np.full(len(members), image), members)
        groups.settle()


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
    # Few pairs can be near, and only these are compared in all numbers: in float32, and in float64
    # where float32 cannot tell. No copy of all rows is float64.
    least -= 1e-9  # rounding must not decide about a cosine that is exactly the limit
    groups = Groups(np.arange(len(features)))
    rows32, short = _units(features)
    for rows, columns, most in _blocks(short, groups):
        possible = most >= least - ROUNDED
        if possible.any():
            near = _near(features, rows32, rows, columns, possible, least, groups)
            groups.join(near, rows, columns)
    groups.settle()
    return groups.number


def _unit_rows(features: NDArray[Any]) -> NDArray[np.float64]:
    """Rows (n, d) of length 1 in float64. UserError for NaN or infinity."""
    rows = np.asarray(features, dtype=np.float64)
    if not np.isfinite(rows).all():
        raise UserError("NaN or infinity in image features; nothing can be compared with them")
    # a row of zeros stays one
    units: NDArray[np.float64] = rows / np.maximum(
        np.linalg.norm(rows, axis=1, keepdims=True), 1e-150
    )
    return units


def _units(features: NDArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rows of length 1 (N, d), and short rows (N, WIDTH + 1) with at least their inner products.

    In the WIDTH directions that hold most of the rows, products are exact; of the rest of two rows
    it is at most the product of the lengths (Cauchy and Schwarz), which is the last number. So no
    pair is missed. Rows that are as short as this are their own short rows.
    """
    n, d = features.shape
    rows32 = np.empty((n, d), dtype=np.float32)
    short = rows32
    directions = np.empty((d, 0))
    if d > WIDTH:
        some = _unit_rows(features[:: 1 + n // SAMPLE])
        directions = np.linalg.eigh(some.T @ some)[1][:, -WIDTH:]
        short = np.empty((n, WIDTH + 1), dtype=np.float32)
    for start in range(0, n, CUT_AT_A_TIME):
        block = slice(start, start + CUT_AT_A_TIME)
        rows = _unit_rows(features[block])
        rows32[block] = rows
        if d > WIDTH:
            main = rows @ directions
            squares = np.einsum("ij,ij->i", rows, rows) - np.einsum("ij,ij->i", main, main)
            short[block, :WIDTH] = main
            short[block, WIDTH] = np.sqrt(np.maximum(squares, 0))
    return rows32, short


def _near(
    features: NDArray[Any],
    rows32: NDArray[np.float32],
    rows: Rows,
    columns: Rows,
    possible: NDArray[np.bool_],
    least: float,
    groups: Groups,
) -> NDArray[np.bool_]:
    """Which of the possible pairs of a block have a cosine of at least ``least``: (n, m).

    features: (N, d); rows32: the same with length 1. Pairs that are in one group already are left
    out.
    """
    doubt = (features.shape[1] + 4) * UNIT_ROUNDOFF
    if np.count_nonzero(possible) > possible.size * MANY_PAIRS:
        products = rows32[rows] @ _taken(rows32, columns).T
        products[~groups.apart(rows, columns)] = -1
        near: NDArray[np.bool_] = products >= least + doubt
        unsure = np.nonzero((products >= least - doubt) & ~near)
        near[unsure] = _cosines(features, rows[unsure[0]], columns[unsure[1]]) >= least
        return near
    near = np.zeros_like(possible)
    first, second = np.divmod(np.flatnonzero(possible), possible.shape[1])
    for start in range(0, len(first), CUT_AT_A_TIME):
        i, j = first[start : start + CUT_AT_A_TIME], second[start : start + CUT_AT_A_TIME]
        different = groups.number[rows[i]] != groups.number[columns[j]]
        i, j = i[different], j[different]
        products = np.einsum("ij,ij->i", rows32[rows[i]], rows32[columns[j]])
        # pairs that float32 cannot tell, and those that are near
        left = products >= least - doubt
        i, j, products = i[left], j[left], products[left]
        unsure = products < least + doubt
        is_near = ~unsure
        is_near[unsure] = _cosines(features, rows[i[unsure]], columns[j[unsure]]) >= least
        near[i, j] = is_near
    return near


def _cosines(features: NDArray[Any], first: Rows, second: Rows) -> NDArray[np.float64]:
    """Cosines of pairs of rows of features (N, d), in float64: (P,). first, second: (P,)."""
    cosines = np.empty(len(first))
    for start in range(0, len(first), CUT_AT_A_TIME):
        part = slice(start, start + CUT_AT_A_TIME)
        one, other = _unit_rows(features[first[part]]), _unit_rows(features[second[part]])
        cosines[part] = np.einsum("ij,ij->i", one, other)
    return cosines


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


class Groups:
    """Groups that pairs of N things join.

    number: (N,), the number of each one's group, which is its lowest member.
    """

    def __init__(self, number: NDArray[np.int64]) -> None:
        self.number = number
        # pairs that `settle` joins: one search of connected components costs as much as many pairs
        self._pairs: list[NDArray[np.int64]] = []
        self._n_pairs = 0

    def apart(self, rows: Rows, columns: Rows) -> NDArray[np.bool_]:
        """Which pairs of rows and columns are in different groups, as settled: (n, m)."""
        different: NDArray[np.bool_] = self.number[rows, None] != self.number[columns]
        return different

    def add(self, first: Rows, second: Rows) -> None:
        """Join pairs. first, second: (P,). `settle` makes it known."""
        self._pairs.append(np.stack([first, second], axis=1))
        self._n_pairs += len(first)
        if self._n_pairs > len(self.number):
            self.settle()

    def join(self, near: NDArray[np.bool_], rows: Rows, columns: Rows) -> None:
        """Join the pairs of a block, near: (n, m)."""
        # Of many pairs, each column is joined with the first row that it is near to, and pairs that
        # are now in one group are dropped. So a block of rows that are all alike takes two rounds,
        # where its pairs one by one would be millions.
        while np.count_nonzero(near) > len(self.number):
            left = np.flatnonzero(near.any(axis=0))
            self.add(rows[near[:, left].argmax(axis=0)], columns[left])
            self.settle()
            near &= self.apart(rows, columns)
        first, second = np.divmod(np.flatnonzero(near), near.shape[1])
        if len(first):
            self.add(rows[first], columns[second])

    def settle(self) -> None:
        """Renew the numbers."""
        if self._n_pairs:
            pairs = self.number[np.concatenate(self._pairs)]
            self.number = connected(len(self.number), pairs)[self.number]
        self._pairs, self._n_pairs = [], 0


def _blocks(rows: NDArray[Any], groups: Groups) -> Iterator[tuple[Rows, Rows, NDArray[Any]]]:
    """Yield (numbers of rows, numbers of columns, inner products) for blocks of rows (N, d).

    Each pair is in a block, unless it is in one group already. Shows how far it is, where that
    takes long.
    """
    # blocks bound the memory
    step = max(1, PRODUCTS // max(1, len(rows)))
    wanted = len(rows) > MANY_ROWS
    with progress(len(rows), "img", "comparing images", wanted=wanted) as bar:
        for start in range(0, len(rows), step):
            stop = min(start + step, len(rows))
            for some, columns in _apart(groups.number, start, stop):
                yield some, columns, rows[some] @ _taken(rows, columns).T
            bar.update(stop - start)


def _apart(number: NDArray[np.int64], start: int, stop: int) -> Iterator[tuple[Rows, Rows]]:
    """Yield rows of a block, and the columns that they are compared with.

    number: (N,), the group of each. The columns begin at the block's first row, so that each pair
    is in one block. If most of the block is one group, its rows are not compared with this group
    again: rows that are all alike take as long as there are rows, and not as there are pairs.
    """
    columns = np.arange(start, len(number))
    groups, group, size = np.unique(number[start:stop], return_inverse=True, return_counts=True)
    largest = size.argmax()
    if 2 * size[largest] <= stop - start:
        yield columns[: stop - start], columns
        return
    others = columns[number[start:] != groups[largest]]
    if len(others):
        yield start + np.flatnonzero(group == largest), others
    rest = start + np.flatnonzero(group != largest)
    if len(rest):
        yield rest, columns


def _taken(rows: NDArray[Any], columns: Rows) -> NDArray[Any]:
    """The rows with these numbers, which ascend; not copied if they are all of the last ones."""
    if len(columns) == len(rows) - columns[0]:
        return rows[columns[0] :]
    return rows[columns]


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
