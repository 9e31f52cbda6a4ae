"""Cache models: shots that vote for their class, evaluated in blocks of images that fit in the processor's cache.

    logits = clip_logits + α · Σ over shots of each class of exp(−β (1 − A))        A: affinity of images and shots

Tip-Adapter and the CODER-Adapter both have this form; they differ in the affinity.
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

BLOCK = 2**17  # numbers in one block of images × (keys + classes): a few such arrays stay in cache
FETCH = 2**25  # affinities that the model computes at a time
KEEP = 2**28  # affinities that a search keeps in memory (1 GiB in float32); more go to a temporary file


class CacheModel(Protocol):
    """The interface that :func:`search` and :func:`cache_logits` need: shots that vote for their class.

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

    x: (N, d); clip_logits: (N, C), 100 × cosine. Shots are summed in float64 in their order, so that the arg max is
    exactly the decision that :func:`search` counts. A class without a shot keeps its clip_logits. UserError for
    shapes or labels that do not fit, an α or β below 0, NaN or infinity.
    """
    if not (0 <= alpha < np.inf and 0 <= beta < np.inf):
        raise UserError(f"alpha {alpha} and beta {beta}, where numbers of at least 0 are needed")
    images = AffinityBlocks(model, x, clip_logits, torch.zeros(len(x), dtype=torch.int64))
    logits = np.empty((len(x), model.n_classes))
    for block in images.all_blocks():
        votes = images.votes(block, beta)[0]
        logits[block.rows[:, None], images.classes] = (block.clip + alpha * votes).T
    return torch.from_numpy(logits).to(x.device)


class Block(NamedTuple):
    """Some images; classes in the order of ``AffinityBlocks.classes``, images contiguous in memory.

    rows: (n,) row of each image; minus_u: (K, n) float64, A − 1; clip: (C, n) float64; label: (n,) place of the label.
    """

    rows: Ints
    minus_u: Floats
    clip: Floats
    label: Ints


class AffinityBlocks:
    """The affinities of images and shots, in float64 blocks that fit in cache."""

    def __init__(self, model: CacheModel, x: Tensor, clip_logits: Tensor, labels: Tensor) -> None:
        n_classes = model.n_classes
        if clip_logits.shape != (len(x), n_classes):
            raise UserError(
                f"clip_logits: shape {tuple(clip_logits.shape)} where {(len(x), n_classes)} is needed"
            )
        if not clip_logits.isfinite().all():
            raise UserError("clip_logits hold NaN or infinity")
        shots = model.labels.cpu().numpy()
        counts = np.bincount(shots, minlength=n_classes)
        # Order of the shots: the first of every class, then the second, …; classes with most shots first. So the
        # votes of all classes are a running sum over slices, in the order of each class's shots.
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
        """All affinities part by part, each with its first row.

        The parts are always the same: the bits of a matrix product depend on its number of rows, and one image must
        not be decided in two ways.
        """
        for start in range(0, len(self._x), self._fetch):
            part = self._model.affinity(self._x[start : start + self._fetch]).cpu().numpy()[:, self._order]
            if not np.isfinite(part).all():
                raise UserError("the affinity holds NaN or infinity")
            yield start, part

    def keep(self) -> Floats:
        """All affinities (N, K)."""
        kept: Floats = np.empty((0, 0))
        for start, part in self._affinities():
            if start == 0:  # filled in place, so that parts and whole are never both in memory
                kept = _room((len(self._x), part.shape[1]), part.dtype)
            kept[start : start + len(part)] = part
        return kept

    def all_blocks(self) -> Iterator[Block]:
        """Each image once, without keeping affinities."""
        for start, part in self._affinities():
            for i in range(0, len(part), self._rows):
                affinity = part[i : i + self._rows]
                yield self._block(np.arange(start + i, start + i + len(affinity)), affinity)

    def blocks(self, rows: Ints, kept: Floats) -> Iterator[Block]:
        """The images ``rows``, with their affinities from :meth:`keep`."""
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
        """S (C, n), the sum of exp(−β u) over the shots of each class, and dS/dβ if ``slopes`` (else S)."""
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
    """An array to fill; larger ones than KEEP are in an unnamed file in TMPDIR. UserError if the disk is full."""
    if shape[0] * shape[1] <= KEEP:
        return np.empty(shape, dtype)
    size = shape[0] * shape[1] * dtype.itemsize
    try:
        with tempfile.TemporaryFile(prefix="coder-clip-") as file:
            if hasattr(os, "posix_fallocate"):  # a full disk raises here instead of a crash on writing
                os.posix_fallocate(file.fileno(), 0, size)
            return np.memmap(file, dtype, "w+", shape=shape)
    except OSError as error:
        raise UserError(
            f"the search needs {size / 2**30:.1f} GiB in {tempfile.gettempdir()} ({error.strerror}):"
            " set TMPDIR to a folder with more room"
        ) from error


def checked_labels(labels: Tensor, n: int, n_classes: int, what: str) -> Tensor:
    """The labels as int64. UserError unless (n,) and in range; ``what`` names them."""
    labels = torch.as_tensor(labels)
    if labels.numel() and (labels.is_floating_point() or labels.is_complex()):
        raise UserError(f"{what}: {labels.dtype} where whole numbers are needed")
    labels = labels.to(torch.int64)
    if labels.shape != (n,):
        raise UserError(f"{what}: shape {tuple(labels.shape)} where ({n},) is needed")
    if n and not (int(labels.min()) >= 0 and int(labels.max()) < n_classes):
        raise UserError(
            f"{what}: {int(labels.min())} to {int(labels.max())}, but classes are 0 to {n_classes - 1}"
        )
    return labels
