"""Cache models, in which shots vote for their class, evaluated in blocks of images that fit in the
processor's cache.

    logits = clip_logits + α · Σ over shots of each class of exp(−β (1 − A))

where A is the affinity of images and shots. Tip-Adapter and the CODER-Adapter both have this form;
they differ in the affinity.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ..errors import UserError
from .branch_and_bound import Images
from .line_search import Floats, Ints

# numbers in one block of images × (keys + classes): few calls (2**17 takes 40 % longer)
BLOCK = 2**19
FETCH = 2**25  # affinities that the model computes in one call
KEEP = 2**30  # bytes of affinities that a search keeps in memory; more go to a temporary file


class CacheModel(Protocol):
    """The interface that `search` and `cache_logits` need of a model whose shots vote for their
    class.

    labels: (K,) int64, the class of each shot; affinity: images (N, d) -> (N, K), at most 1 up to
    rounding, each row independent of the others.
    """

    @property
    def labels(self) -> Tensor: ...

    @property
    def n_classes(self) -> int: ...

    def affinity(self, x: Tensor) -> Tensor: ...


def cache_logits(
    model: CacheModel, x: Tensor, clip_logits: Tensor, *, alpha: float, beta: float
) -> Tensor:
    """clip_logits + α · Σ over shots of each class of exp(−β (1 − A)) -> (N, C) float64.

    x: (N, d); clip_logits: (N, C), 100 × cosine. Shots are summed in float64 in their order, so
    that the arg max is exactly the decision that `search` counts. A class without a shot
    keeps its clip_logits. UserError for shapes or labels that do not fit, an α or β below 0, NaN or
    infinity."""
    if not (0 <= alpha < np.inf and 0 <= beta < np.inf):
        raise UserError(f"alpha {alpha} and beta {beta}, where numbers of at least 0 are needed")
    images = AffinityBlocks(model, x, clip_logits, torch.zeros(len(x), dtype=torch.int64))
    logits = np.empty((len(x), model.n_classes))
    for rows, clip, minus_u in images.all_blocks():
        votes = images.sums(decayed(minus_u, beta, out=minus_u))
        logits[rows] = (clip + alpha * votes).T
    return torch.from_numpy(logits).to(x.device)


class ImageBlock(NamedTuple):
    """Some images.

    rows: (n,) number of each image; clip: (C, n) float64, CLIP's logits; minus_u: (K, n) float64, A
    − 1 = −u.
    """

    rows: Ints
    clip: Floats
    minus_u: Floats


class AffinityBlocks:
    """The affinities of images and shots, in float64 blocks that fit in cache: a family of lines
    for a search.
    """

    def __init__(self, model: CacheModel, x: Tensor, clip_logits: Tensor, labels: Tensor) -> None:
        n_classes = model.n_classes
        if clip_logits.shape != (len(x), n_classes):
            raise UserError(
                f"clip_logits: shape {tuple(clip_logits.shape)} where {(len(x), n_classes)} is "
                "needed"
            )
        if not clip_logits.isfinite().all():
            raise UserError("clip_logits hold NaN or infinity")
        shots = model.labels.cpu().numpy()
        counts = np.bincount(shots, minlength=n_classes)
        # Order of the shots: the first of every class, then the second of every class, …; classes
        # with most shots first. So the votes of all classes are a running sum over slices (`sums`),
        # in the order of each class's shots.
        most_shots_first = np.argsort(-counts, kind="stable")
        by_class = np.argsort(shots, kind="stable")
        first = np.cumsum(counts) - counts  # in by_class, of each class
        # level j: number of classes with more than j shots
        self._levels = [int((counts > j).sum()) for j in range(int(counts.max(initial=0)))]
        places = [first[most_shots_first[:size]] + j for j, size in enumerate(self._levels)]
        self._order = by_class[np.concatenate(places)] if places else by_class
        self._place = np.argsort(most_shots_first)  # of each class in most_shots_first
        self._model, self._x, self._clip = model, x, clip_logits
        self._labels = checked_labels(labels, len(x), n_classes, "labels").cpu().numpy()
        self._rows = max(1, BLOCK // (len(shots) + n_classes))
        # a call of the model is a whole number of blocks; without shots a block has 0 affinities
        self._fetch = self._rows * max(1, FETCH // (len(shots) * self._rows or 1))
        self._most_shots = float(counts.max(initial=0))
        self._kept: Floats = np.empty((0, 0))
        self._nearest = 0.0  # of the kept affinities, above 1 only by rounding

    @property
    def size(self) -> int:
        """Number of images."""
        return len(self._x)

    def largest_vote(self, beta: float) -> float:
        """Upper bound of all votes, for all β up to ``beta``."""
        # exp(−β u) is at most 1 per shot, except where A exceeds 1 by rounding
        return self._most_shots * float(np.exp(max(0.0, self._nearest - 1) * beta))

    def _affinities(self) -> Iterator[tuple[int, Floats]]:
        """All affinities part by part, each with its first row.

        The parts are always the same: the bits of a matrix product depend on its number of rows,
        and one image must not be decided in two ways.
        """
        for start in range(0, len(self._x), self._fetch):
            images = self._x[start : start + self._fetch]
            # reordered once here, so that sums over classes run over slices
            part = self._model.affinity(images).cpu().numpy()[:, self._order]
            if not np.isfinite(part).all():
                raise UserError("the affinity holds NaN or infinity")
            yield start, part

    def keep(self) -> None:
        """Keep all affinities (N, K), which `blocks` reads."""
        for start, part in self._affinities():
            if start == 0:  # filled in place, so that parts and whole are never both in memory
                self._kept = scratch_array((len(self._x), part.shape[1]), part.dtype)
            self._kept[start : start + len(part)] = part
            self._nearest = max(self._nearest, float(part.max(initial=0)))

    def all_blocks(self) -> Iterator[ImageBlock]:
        """Each image once, without keeping affinities."""
        for start, part in self._affinities():
            for i in range(0, len(part), self._rows):
                affinity = part[i : i + self._rows]
                yield self._part(np.arange(start + i, start + i + len(affinity)), affinity)

    def blocks(self, rows: Ints) -> Iterator[Images]:
        """The images of these numbers, after `keep`."""
        for i in range(0, len(rows), self._rows):
            few = rows[i : i + self._rows]
            part = self._part(few, self._kept[few])
            room = np.empty_like(part.minus_u)
            votes = partial(self._votes, part.minus_u, room)
            yield Images(few, self._labels[few], part.clip, None, votes)

    def _part(self, rows: Ints, affinity: Floats) -> ImageBlock:
        """The images with these numbers, from their affinities (n, K)."""
        clip = self._clip[torch.from_numpy(rows).to(self._clip.device)].cpu().double().numpy()
        minus_u = np.ascontiguousarray(affinity.T, dtype=np.float64) - 1
        return ImageBlock(rows, np.ascontiguousarray(clip.T), minus_u)

    def _votes(
        self, minus_u: Floats, room: Floats, beta: float, gammas: Ints, with_slopes: bool
    ) -> tuple[Floats, Floats | None]:
        """Sums (C, n, 1) of exp(−β u) over each class's shots, and their derivatives by β.

        room: of the shape of minus_u, overwritten. gammas: not used.
        """
        near = decayed(minus_u, beta, out=room)
        votes = self.sums(near)[:, :, None]
        if not with_slopes:
            return votes, None
        # d/dβ exp(−β u) = −u · exp(−β u)
        near *= minus_u
        return votes, self.sums(near)[:, :, None]

    def sums(self, of_shots: Floats) -> Floats:
        """Sums over the shots of each class: (K, n) -> (C, n).

        of_shots: rows in the order of `_order` (all first shots, then all second ones, …; classes
        with the most shots first).
        """
        total = np.zeros((len(self._place), of_shots.shape[1]))
        start = 0
        # level j adds the next shot of every class that still has one, all classes at once
        for size in self._levels:
            total[:size] += of_shots[start : start + size]
            start += size
        # from the order by number of shots to the order of labels
        sums: Floats = total[self._place]
        return sums


def decayed(near: Floats, beta: float, out: Floats) -> Floats:
    """exp(β near), written to ``out``, an array of the shape of near, or near itself.

    New arrays of this size would cost more than the numbers in them: the system gives and takes
    their memory each time. Torch, because NumPy takes twice as long on processors without AVX-512.
    Per number: 2.3 ns, with NumPy 5, with new arrays 13 to 18.
    """
    np.multiply(near, beta, out=out)
    torch.from_numpy(out).exp_()
    return out


def scratch_array(shape: tuple[int, int], dtype: np.dtype[Any]) -> Floats:
    """An array to fill: in memory, or, if larger than KEEP, in an unnamed file in TMPDIR; UserError
    if the disk is full.
    """
    size = shape[0] * shape[1] * dtype.itemsize
    if size <= KEEP:
        return np.empty(shape, dtype)
    try:
        with tempfile.TemporaryFile(prefix="coder-clip-") as file:
            # a full disk raises here, where a later write would crash
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            # the mapping stays valid after the file is closed, and its disk is freed with the array
            return np.memmap(file, dtype, "w+", shape=shape)
    except OSError as error:
        raise UserError(
            f"the search needs {size / 2**30:.1f} GiB in {tempfile.gettempdir()} "
            f"({error.strerror}): set TMPDIR to a folder with more room"
        ) from error


def checked_labels(labels: Tensor, n: int, n_classes: int, what: str) -> Tensor:
    """The labels as int64; UserError unless they are (n,) and in range.

    what: the name of the labels in messages.
    """
    labels = torch.as_tensor(labels)
    if labels.numel() and (labels.is_floating_point() or labels.is_complex()):
        raise UserError(f"{what}: {labels.dtype} where whole numbers are needed")
    labels = labels.to(torch.int64)
    if labels.shape != (n,):
        raise UserError(f"{what}: shape {tuple(labels.shape)} where ({n},) is needed")
    if n and not (int(labels.min()) >= 0 and int(labels.max()) < n_classes):
        raise UserError(
            f"{what}: {int(labels.min())} to {int(labels.max())}, but classes are 0 to "
            f"{n_classes - 1}"
        )
    return labels
