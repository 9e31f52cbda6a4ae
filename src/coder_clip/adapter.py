"""CODER-Adapter: few-shot classification without training, and its hyper-parameter search.

    logits = clip_logits + α · exp(−β (1 − A)) · onehot(labels)        A: affinity of images and shots

The affinity needs no CODER and the search no loop over its 75,000 points; docs/method.md derives both. Any
cache of shots with an affinity can be searched (Tip-Adapter has this form): :class:`CacheModel`.
"""

from __future__ import annotations

import heapq
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from .errors import UserError
from .neighbors import gram, unit, wide
from .search.line_search import MARGIN, Floats, Ints, count_spans, leads_of, right_spans

Span = tuple[float, float, int]

BLOCK = 2**17  # numbers of one block of images × (keys + classes): a few such arrays stay in cache
FETCH = 2**25  # affinities asked of the model at a time
KEEP = 2**28  # affinities a search keeps in memory (1 GiB in float32); more lie in a temporary file
RATIO = 1.25  # of neighbouring β in the first cut of a search


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


@dataclass(frozen=True)
class CoderAdapter:
    """weights: (K, d), centred; labels: (K,) int64; n_classes: C; size: length of the longest weight before
    it was centred. Made by :meth:`fit`."""

    weights: Tensor
    labels: Tensor
    n_classes: int
    size: float

    @classmethod
    def fit(cls, cache: Tensor, labels: Tensor, texts: Tensor, n_classes: int) -> Self:
        """cache: raw features of K shots (K, d), or (E, K, d) of E augmented views, averaged before they are
        made unit. labels: (K,); classes may have unequal or no shots. texts: (M, d) name, attribute and
        analogous texts, unit or not.

            W = G·Y / ‖T·Y‖, minus its mean column        G = TᵀT, Y unit keys as columns

        x·W is the cosine of CODER(x) and each key's CODER, up to a positive factor and a shift a row; the
        min-max scaling of :meth:`affinity` cancels both (paper, CODER-Adapter). UserError where shapes or
        labels do not fit, or for NaN or infinity.
        """
        dtype = wide(cache, texts)
        # the views one by one: a half-precision cache need not be widened at once
        keys = sum(view.double() for view in cache) / len(cache) if cache.ndim == 3 else cache.double()
        assert isinstance(keys, Tensor)
        texts = unit(texts, "text features")
        keys = unit(keys, "shot features", texts.shape[1])
        if not len(keys):
            raise UserError("no shot: an adapter needs at least one")
        labels = _checked_labels(labels, len(keys), n_classes, "shot labels")
        product = keys @ gram(texts).to(keys.device)
        squares = (product * keys).sum(dim=1, keepdim=True)  # yᵀGy = ‖T y‖²
        # a key that no text sees has a zero CODER, whose cosine is 0
        product = torch.where(squares > 0, product / squares.clamp_min(1e-300).sqrt(), 0.0)
        weights = product - product.mean(dim=0)
        return cls(weights.to(dtype), labels, n_classes, float(product.norm(dim=1).max()))

    def affinity(self, x: Tensor) -> Tensor:
        """Cosine of CODERs of images x (N, d) and shots, min-max scaled per row -> (N, K) in [0, 1].

        Float32, or float64 where features are. A constant row (one shot, equal shots) becomes ones.
        """
        dtype, weights = wide(x, self.weights), self.weights.double()
        cosine = unit(x, width=self.weights.shape[1]) @ weights.T
        low, high = cosine.aminmax(dim=1, keepdim=True)
        # What rounding can make of a constant row: of the product, and of centring equal weights.
        rounding = 8 * torch.finfo(self.weights.dtype).eps * float(weights.norm(dim=1).max())
        constant = high - low <= rounding + 1e-12 * self.size
        return torch.where(constant, 1.0, cosine.sub_(low).div_(high - low)).to(dtype)

    def logits(self, x: Tensor, clip_logits: Tensor, *, alpha: float, beta: float) -> Tensor:
        """x (N, d), clip_logits (N, C) -> (N, C) float64; see :func:`cache_logits`."""
        return cache_logits(self, x, clip_logits, alpha=alpha, beta=beta)


def cache_logits(model: CacheModel, x: Tensor, clip_logits: Tensor, *, alpha: float, beta: float) -> Tensor:
    """clip_logits + α · Σ over shots of each class of exp(−β (1 − A)) -> (N, C) float64.

    x: (N, d); clip_logits: (N, C), 100 × cosine. Float64 sums over the shots in their order: the arg max is
    to the bit the decision that :func:`search` counts. A class without a shot keeps its clip_logits.
    """
    images = _Images(model, x, clip_logits, torch.zeros(len(x), dtype=torch.int64))
    logits = np.empty((len(x), model.n_classes))
    for block in images.all_blocks():
        votes = images.votes(block, beta)[0]
        logits[block.rows[:, None], images.classes] = (block.clip + alpha * votes).T
    return torch.from_numpy(logits).to(x.device)


# ---- search


class Round(NamedTuple):
    """The best point of one round; accuracy is a share in [0, 1]."""

    alpha: float
    beta: float
    accuracy: float


class SearchResult(NamedTuple):
    """The best point of the last round, and of every round. alpha 0 and beta 0 mean that no point of a round
    had a single image right, as the published code has it."""

    alpha: float
    beta: float
    accuracy: float
    rounds: tuple[Round, ...]


def grid(low: float, high: float, steps: int) -> Floats:
    """``steps`` values from ``low`` up to, not including, ``high``, as Tip-Adapter and CODER write it."""
    return np.array([i * (high - low) / steps + low for i in range(steps)])


def search(
    a: CacheModel,
    x: Tensor,
    clip_logits: Tensor,
    labels: Tensor,
    betas: Span = (0.1, 200, 500),
    alphas: Span = (0.1, 20, 50),
    rounds: int = 3,
) -> SearchResult:
    """The (α, β) with the best accuracy on images x (N, d) with clip_logits (N, C) and labels (N,).

    Gives what the published loop gives: for every round β outer, α inner over :func:`grid`, the first
    strictly better accuracy wins; the next round spans 0.5 to 1.5 times the winner and starts from zero
    (published code, classify_few_shot.search_hp). An image is right at (α, β) where the arg max of
    :func:`cache_logits`, lowest class first, is its label. Branch and bound over β: only images whose
    decision can still change between two β are looked at again.

    UserError for spans that are empty, negative or falling, labels out of range, or no image.
    """
    for name, (low, high, steps) in (("betas", betas), ("alphas", alphas)):
        if not (0 <= low <= high < np.inf and steps >= 1):
            raise UserError(
                f"{name}: ({low}, {high}, {steps}) where 0 <= from <= to and steps >= 1 is needed"
            )
    if rounds < 1 or not len(x):
        raise UserError("a search needs at least one round and one image")
    images = _Images(a, x, clip_logits, labels)
    kept = images.keep()
    done: list[Round] = []
    for _ in range(rounds):
        beta_grid, alpha_grid = grid(*betas), grid(*alphas)
        count, b, a_index = _best_point(images, kept, beta_grid, alpha_grid)
        beta, alpha = (float(beta_grid[b]), float(alpha_grid[a_index])) if count else (0.0, 0.0)
        done.append(Round(alpha, beta, count / len(x)))
        betas = (beta * 0.5, beta * 1.5, betas[2])
        alphas = (alpha * 0.5, alpha * 1.5, alphas[2])
    return SearchResult(*done[-1], tuple(done))


class _Block(NamedTuple):
    """Some images; classes in the order of ``_Images.classes``, images contiguous.

    rows: (n,) which; minus_u: (K, n) float64 A − 1; clip: (C, n) float64; label: (n,) place of the label.
    """

    rows: Ints
    minus_u: Floats
    clip: Floats
    label: Ints


class _Images:
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
        self._label = place[_checked_labels(labels, len(x), n_classes, "labels").cpu().numpy()]
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

    def all_blocks(self) -> Iterator[_Block]:
        """Every image once, nothing kept."""
        for start, part in self._affinities():
            for i in range(0, len(part), self._rows):
                affinity = part[i : i + self._rows]
                yield self._block(np.arange(start + i, start + i + len(affinity)), affinity)

    def blocks(self, rows: Ints, kept: Floats) -> Iterator[_Block]:
        """The images ``rows`` with their affinities from :meth:`keep`."""
        for i in range(0, len(rows), self._rows):
            few = rows[i : i + self._rows]
            yield self._block(few, kept[few])

    def _block(self, rows: Ints, affinity: Floats) -> _Block:
        clip = self._clip[torch.from_numpy(rows).to(self._clip.device)].cpu().double().numpy()
        return _Block(
            rows,
            np.ascontiguousarray(affinity.T, dtype=np.float64) - 1,
            np.ascontiguousarray(clip[:, self.classes].T),
            self._label[rows],
        )

    def votes(self, block: _Block, beta: float, slopes: bool = False) -> tuple[Floats, Floats]:
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


@dataclass(order=True)
class _Gap:
    """β indices strictly between two evaluated ones. For every α: how many images are right at all these β
    for certain, and at most at one of them; images: those in doubt."""

    rank: tuple[int, int]  # most promising first, then smallest β
    first: int
    last: int
    certain: Ints
    most: Ints
    images: Ints


def _best_point(images: _Images, kept: Floats, betas: Floats, alphas: Floats) -> tuple[int, int, int]:
    """(right images, β index, α index) of the first best point in the order β outer, α inner."""
    none = np.zeros(len(alphas), dtype=np.int64)
    everything = np.arange(len(images._label))
    best = (0, -1, -1)
    waiting = [_Gap((0, 0), -1, len(betas), none, none + len(everything), everything)]
    while waiting:
        part = heapq.heappop(waiting)
        # An equal count counts only where it comes first; evaluated β never lie inside a gap.
        needed = best[0] + (part.first >= best[1])
        hopeful = np.flatnonzero(part.most >= needed)
        if not len(hopeful):
            continue
        span = slice(int(hopeful[0]), int(hopeful[-1]) + 1)
        nodes = _nodes(betas, part.first, part.last)
        counts, gaps = _evaluate(images, kept, part, nodes, betas, alphas, span)
        for b, right in zip(nodes, counts, strict=True):
            if part.first < b < part.last:
                a = int(right.argmax())
                point = (int(right[a]), b, span.start + a)
                if (point[0], -point[1]) > (best[0], -best[1]) and point[0]:
                    best = point
        for gap in gaps:
            heapq.heappush(waiting, gap)
    return best


def _nodes(betas: Floats, first: int, last: int) -> list[int]:
    """The β indices to evaluate in a gap, with its ends; all of the range in ratios at the very start."""
    if first >= 0:
        return sorted({first, last, *np.linspace(first, last, 5).astype(int).tolist()})
    nodes = [0]
    while nodes[-1] < len(betas) - 1:
        beyond = int(np.searchsorted(betas, betas[nodes[-1]] * RATIO, "right")) - 1
        nodes.append(min(max(beyond, nodes[-1] + 1), len(betas) - 1))
    return nodes


def _evaluate(
    images: _Images,
    kept: Floats,
    part: _Gap,
    nodes: list[int],
    betas: Floats,
    alphas: Floats,
    span: slice,
) -> tuple[Ints, list[_Gap]]:
    """Right images at every node, (nodes, α in span), and the gaps between nodes that are left.

    Between two β, S is convex: below its chord, and above it by at most (difference of slopes) · h / 4. So
    D = S_label − S_c lies between min(D1, D2) − that of the label and max(D1, D2) + that of c.
    """
    some = alphas[span]
    counts = np.tile(part.certain[span], (len(nodes), 1))
    certain = np.tile(part.certain[span], (len(nodes), 1))
    most = certain.copy()
    doubtful: list[list[Ints]] = [[] for _ in nodes]
    for block in images.blocks(part.images, kept):
        at = np.arange(len(block.rows))
        lead = block.clip[block.label, at] - block.clip
        lead[block.label, at] = np.inf  # the label need not beat itself
        slack = MARGIN * (
            1  # never 0: at α = 0 equal logits are a tie, too
            + np.abs(block.clip).max(axis=0)
            + alphas[-1] * images.largest_vote * np.exp(max(0.0, block.minus_u.max(initial=0)) * betas[-1])
        )
        sure, possible = leads_of(lead - slack), leads_of(lead + slack)
        ahead = slopes = lead  # of the node before the first: unused
        for j, b in enumerate(nodes):
            before = ahead, slopes
            votes, slopes = images.votes(block, betas[b], slopes=True)
            ahead = votes[block.label, at] - votes
            if part.first < b < part.last:
                counts[j] += _right_at(images, block, votes, ahead, sure, possible, some)
            if j and b - nodes[j - 1] > 1:
                bend = np.maximum(slopes - before[1], 0) * ((betas[b] - betas[nodes[j - 1]]) / 4)
                outer = right_spans(possible, np.maximum(ahead, before[0]) + bend, some)
                inner = right_spans(sure, np.minimum(ahead, before[0]) - bend[block.label, at], some)
                differ = (outer[0] != inner[0]) | (outer[1] != inner[1])
                certain[j] += count_spans(outer[0][~differ], outer[1][~differ], len(some))
                most[j] += count_spans(*outer, len(some))
                doubtful[j].append(block.rows[differ & (outer[0] < outer[1])])
    gaps = []
    for j in range(1, len(nodes)):
        if nodes[j] - nodes[j - 1] > 1:
            full = np.full((2, len(alphas)), -1, dtype=np.int64)
            full[:, span] = certain[j], most[j]
            rows = np.concatenate([*doubtful[j], np.zeros(0, dtype=np.int64)])
            rank = (-int(most[j].max()), nodes[j])
            gaps.append(_Gap(rank, nodes[j - 1], nodes[j], full[0], full[1], rows))
    return counts, gaps


def _right_at(
    images: _Images,
    block: _Block,
    votes: Floats,
    ahead: Floats,
    sure: tuple[Floats, Floats],
    possible: tuple[Floats, Floats],
    alphas: Floats,
) -> Ints:
    """Right images of a block at one β, for every α: (len(alphas),).

    An image is right on one range of α. Where rounding could move an end of it across a grid point, the
    decision is made on the logits themselves.
    """
    start, end = right_spans(sure, ahead, alphas)
    widest = right_spans(possible, ahead, alphas)
    near = np.flatnonzero((start != widest[0]) | (end != widest[1]))
    total = count_spans(np.delete(start, near), np.delete(end, near), len(alphas))
    step = max(1, 2**20 // (len(images.classes) * len(alphas)))
    for i in range(0, len(near), step):
        some = near[i : i + step]
        logits = block.clip[:, some, None] + alphas * votes[:, some, None]
        own = logits[block.label[some], np.arange(len(some))]
        earlier = images.classes[:, None] < images.classes[block.label[some]]
        wins = np.where(earlier[:, :, None], own > logits, own >= logits)
        total += wins.all(axis=0).sum(axis=0)
    return total


def _checked_labels(labels: Tensor, n: int, n_classes: int, what: str) -> Tensor:
    """labels as int64; UserError unless (n,) and in range."""
    labels = torch.as_tensor(labels).to(torch.int64)
    if labels.shape != (n,):
        raise UserError(f"{what}: shape {tuple(labels.shape)} where ({n},) is needed")
    if n and not (int(labels.min()) >= 0 and int(labels.max()) < n_classes):
        raise UserError(
            f"{what}: {int(labels.min())} to {int(labels.max())}, but classes are 0 to {n_classes - 1}"
        )
    return labels
