"""A cache of shots that vote for their class, and images beside it in blocks that fit in cache.

    logits = clip_logits + α · Σ over shots of each class of exp(−β (1 − A))        A: affinity of images and shots

Tip-Adapter and the CODER-Adapter both have this form; what they differ in is the affinity.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from .line_search import Floats, Ints

BLOCK = 2**17  # numbers of one block of images × (keys + classes): a few such arrays stay in cache
FETCH = 2**25  # affinities asked of the model at a time
KEEP = 2**28  # affinities a search keeps in memory (1 GiB in float32); more lie in a temporary file


class CacheModel(Protocol):
    """What :func:`search` and :func:`cache_logits` need: shots that vote for their class.

    labels: (K,) int64, the class of each shot; affinity: images (N, d) -> (N, K), at most 1 up to rounding,
    each row independent of the others.
    """

    @property
    def labels(self) -> Tensor: ...

    @property
    def n_classes(self) -> int: ...

    def affinity(self, x: Tensor) -> Tensor: ...


def cache_logits(model: CacheModel, x: Tensor, clip_logits: Tensor, *, alpha: float, beta: float) -> Tensor:
    """clip_logits + α · Σ over shots of each class of exp(−β (1 − A)) -> (N, C) float64.

    x: (N, d); clip_logits: (N, C), 100 × cosine. Float64 sums over the shots in their order: the arg max is
    to the bit the decision that :func:`search` counts. A class without a shot keeps its clip_logits.
    """
    images = Images(model, x, clip_logits, torch.zeros(len(x), dtype=torch.int64))
    logits = np.empty((len(x), model.n_classes))
    for block in images.all_blocks():
        votes = images.votes(block, beta)[0]
        logits[block.rows[:, None], images.classes] = (block.clip + alpha * votes).T
    return torch.from_numpy(logits).to(x.device)


class Block(NamedTuple):
    """Some images; classes in the order of ``Images.classes``, images contiguous.

    rows: (n,) which; minus_u: (K, n) float64 A − 1; clip: (C, n) float64; label: (n,) place of the label.
    """

    rows: Ints
    minus_u: Floats
    clip: Floats
    label: Ints


class Images:
    """Images with their affinities to the shots, in float64 blocks that fit in cache."""

    def __init__(self, model: CacheModel, x: Tensor, clip_logits: Tensor, labels: Tensor) -> None:
        n_classes = model.n_classes
        if clip_logits.shape != (len(x), n_classes):
            raise UserError(f"clip_logits: shape {tuple(clip_logits.shape)}, not {(len(x), n_classes)}")
        if not clip_logits.isfinite().all():
            raise UserError("clip_logits hold NaN or infinity")
        shots = model.labels.cpu().numpy()
        counts = np.bincount(shots, minlength=n_classes)
        # Shots are laid out as "the first shot of every class, then the second", classes with many shots
        # first: the votes of all classes are a running sum over slices, in the order of the shots.
        self.classes: Ints = np.argsort(-counts, kind="stable")
        by_class = np.argsort(shots, kind="stable")
        first = np.cumsum(counts) - counts
        self.levels = [int((counts > j).sum()) for j in range(int(counts.max(initial=0)))]
        places = [first[self.classes[:size]] + j for j, size in enumerate(self.levels)]
        self._order = by_class[np.concatenate(places)] if places else by_class
        self._model, self._x, self._clip = model, x, clip_logits
        place = np.argsort(self.classes)
        self._label = place[checked_labels(labels, len(x), n_classes, "labels").cpu().numpy()]
        self._rows = max(1, BLOCK // (len(shots) + n_classes))
        self._fetch = self._rows * max(1, FETCH // (len(shots) * self._rows or 1))
        self.largest_vote = float(counts.max(initial=0))

    def _affinities(self) -> Iterator[tuple[int, Floats]]:
        """Part by part, each with its first row. Always the same parts: the bits of a matrix product depend
        on how many rows it has, and one image must not be decided in two ways."""
        for start in range(0, len(self._x), self._fetch):
            part = self._model.affinity(self._x[start : start + self._fetch]).cpu().numpy()[:, self._order]
            if not np.isfinite(part).all():
                raise UserError("the affinity holds NaN or infinity")
            yield start, part

    def keep(self) -> Floats:
        """All affinities, (N, K)."""
        kept: Floats = np.empty((0, 0))
        for start, part in self._affinities():
            if start == 0:  # filled in place: parts and their sum are never both in memory
                kept = _room((len(self._x), part.shape[1]), part.dtype)
            kept[start : start + len(part)] = part
        return kept

    def all_blocks(self) -> Iterator[Block]:
        """Every image once, nothing kept."""
        for start, part in self._affinities():
            for i in range(0, len(part), self._rows):
                affinity = part[i : i + self._rows]
                yield self._block(np.arange(start + i, start + i + len(affinity)), affinity)

    def blocks(self, rows: Ints, kept: Floats) -> Iterator[Block]:
        """The images ``rows`` with their affinities from :meth:`keep`."""
        for i in range(0, len(rows), self._rows):
            few = rows[i : i + self._rows]
            yield self._block(few, kept[few])

    def _block(self, rows: Ints, affinity: Floats) -> Block:
        clip = self._clip[torch.from_numpy(rows).to(self._clip.device)].cpu().double().numpy()
        return Block(
            rows,
            np.ascontiguousarray(affinity.T, dtype=np.float64) - 1,
            np.ascontiguousarray(clip[:, self.classes].T),
            self._label[rows],
        )

    def votes(self, block: Block, beta: float, slopes: bool = False) -> tuple[Floats, Floats]:
        """S (C, n), the sum of exp(−β u) over the shots of each class, and dS/dβ if wanted (else S)."""
        near = block.minus_u * beta
        np.exp(near, out=near)
        votes = self._sum(near)
        if not slopes:
            return votes, votes
        near *= block.minus_u
        return votes, self._sum(near)

    def _sum(self, near: Floats) -> Floats:
        total = np.zeros((len(self.classes), near.shape[1]))
        start = 0
        for size in self.levels:
            total[:size] += near[start : start + size]
            start += size
        return total


def _room(shape: tuple[int, int], dtype: np.dtype[Any]) -> Floats:
    """An array to fill, in a file without a name (in TMPDIR) where it is larger than KEEP."""
    if shape[0] * shape[1] <= KEEP:
        return np.empty(shape, dtype)
    size = shape[0] * shape[1] * dtype.itemsize
    try:
        with tempfile.TemporaryFile(prefix="coder-clip-") as file:
            if hasattr(os, "posix_fallocate"):  # a full disk shows here and not as a crash on writing
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, dtype, "w+", shape=shape)
    except OSError as error:
        raise UserError(
            f"the search needs {size / 2**30:.1f} GiB in {tempfile.gettempdir()} ({error.strerror}):"
            " set TMPDIR to a folder with more room"
        ) from error


def checked_labels(labels: Tensor, n: int, n_classes: int, what: str) -> Tensor:
    """labels as int64; UserError unless (n,) and in range."""
    labels = torch.as_tensor(labels).to(torch.int64)
    if labels.shape != (n,):
        raise UserError(f"{what}: shape {tuple(labels.shape)} where ({n},) is needed")
    if n and not (int(labels.min()) >= 0 and int(labels.max()) < n_classes):
        raise UserError(
            f"{what}: {int(labels.min())} to {int(labels.max())}, but classes are 0 to {n_classes - 1}"
        )
    return labels
