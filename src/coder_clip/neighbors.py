"""CODER: an image as its similarities to the texts of all classes; and stage one.

The texts are the image's cross-modal neighbours.

    CODER(x) = (x·t_1, …, x·t_M)
    score_c(x) = 100 · ( Σ_{t in A_c} x·t + max_{s in S_c} x·s ) / (|A_c| + 1)

x: image (d,); t: texts (d,), all unit; A_c: attribute and analogous texts of class c; S_c: its
names and synonyms. Only `TextNeighbors.encode` makes the N × M matrix: class scores and
inner products of CODERs have exact forms with one number per name or at most d numbers per image
(docs/method.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from .errors import UserError
from .foundation.reproducible import (
    GRID_BITS,
    SMALLEST,
    STORED_BITS,
    exact_matmul,
    lengths,
    on_grid,
    ordered_sum,
    to_bits,
)

# Kinds of text in stage one (paper, section 3.2): of MEAN_KINDS the mean counts, of MAX_KINDS the
# most similar text.
from .texts.kinds import ADAPTER_KINDS as ADAPTER_KINDS
from .texts.kinds import MAX_KINDS as MAX_KINDS
from .texts.kinds import MEAN_KINDS as MEAN_KINDS

BLOCK = 2**17  # numbers of features in a block: it stays in cache
CHUNK = 2**19  # numbers in a block of scores: it stays in cache, and bounds memory at any N
GRAM_ROWS = 4096  # texts converted to float64 at a time


def compute_dtype(*features: Tensor) -> torch.dtype:
    """The type to compute in: float64 if any of the features is float64, else float32.

    float16 and bfloat16 are computed in float32.

    UserError for anything but torch tensors. Every function that takes features calls this first.
    """
    for f in features:
        if not isinstance(f, Tensor):
            kind = type(f).__name__
            advice = "; convert the array with torch.from_numpy" if kind == "ndarray" else ""
            raise UserError(f"features must be torch tensors, not {kind}{advice}")
    return torch.float64 if any(f.dtype == torch.float64 for f in features) else torch.float32


def l2_normalize(
    features: Tensor, what: str = "image features", width: int | None = None
) -> Tensor:
    """Scale rows to length 1: (N, d) of any float type -> (N, d) float64; a zero row stays zero.

    Results are on the grid, multiples of 2^−GRID_BITS. Inner products of such rows are exact, so
    that equal ones tie and all processors agree (reproducible.py). `what` names the features in
    messages. UserError if the shape is not (N, d) with d = `width`, or a row holds NaN or
    infinity."""
    dtype = compute_dtype(features)
    # a different width nearly always means features of two models, so the message asks for this
    if features.ndim != 2 or (width is not None and features.shape[1] != width):
        raise UserError(
            f"{what}: shape {tuple(features.shape)} where (N, {width or 'd'}) is needed; are "
            "images and texts from the same model?"
        )
    features = features.to(dtype)
    bad = _not_finite(features)
    if bad is not None:
        raise UserError(f"{what}: row {bad} holds NaN or infinity; extract it again")
    return _unit(features)


def _unit(features: Tensor) -> Tensor:
    """Rows (N, d) as `l2_normalize` scales them, unchecked."""
    result = torch.empty(features.shape, dtype=torch.float64, device=features.device)
    # block by block, so that the float64 work stays in cache
    n = max(1, BLOCK // max(1, features.shape[1]))
    for part, rows in zip(torch.split(features, n), torch.split(result, n), strict=True):
        rows.copy_(part)
        # in units of the grid, so that rounding to whole numbers rounds to the grid
        rows /= lengths(rows).clamp_min(SMALLEST) * 2.0**-GRID_BITS
        rows.round_().mul_(2.0**-GRID_BITS)
    return result


def _not_finite(features: Tensor) -> int | None:
    """The first row (N, d) that holds NaN or infinity; None without one."""
    # minimum and maximum are finite only if all numbers are: one pass, no copy
    if not features.numel() or torch.stack(features.aminmax()).isfinite().all():
        return None
    return int((~features.isfinite().all(dim=1)).nonzero()[0])


def unit_rows(
    blocks: Sequence[Tensor], width: int, name: Callable[[int], str]
) -> Iterator[tuple[Tensor, Tensor]]:
    """The rows of blocks, as `l2_normalize` scales them, some at a time.

    blocks: tensors (t, d) of any float type; empty ones are left out. width: d. name: what block i
    is called in messages. Yields (n,) int64, the block of each row, and (n, d) float64. About BLOCK
    numbers are scaled at a time, which stay in cache: the rows need not be in memory twice.

    UserError for another shape, NaN or infinity.
    """
    waiting: list[int] = []  # numbers of blocks that are not scaled yet
    rows = 0
    for i, block in enumerate(blocks):
        if not block.numel():
            continue
        if block.ndim != 2 or block.shape[1] != width:
            raise UserError(
                f"{name(i)}: shape {tuple(block.shape)} where (n, {width}) is needed; are all "
                "texts from the same model?"
            )
        waiting.append(i)
        rows += len(block)
        if rows * width >= BLOCK:
            yield _scaled(blocks, waiting, name)
            waiting, rows = [], 0
    if waiting:
        yield _scaled(blocks, waiting, name)


def _scaled(
    blocks: Sequence[Tensor], some: list[int], name: Callable[[int], str]
) -> tuple[Tensor, Tensor]:
    """What `unit_rows` yields, of some blocks."""
    rows = torch.cat([blocks[i] for i in some])
    sizes = torch.tensor([len(blocks[i]) for i in some], device=rows.device)
    owner = torch.tensor(some, device=rows.device).repeat_interleave(sizes)
    bad = _not_finite(rows)
    if bad is not None:
        raise UserError(f"{name(int(owner[bad]))}: NaN or infinity; extract the features again")
    return owner, _unit(rows)


def unit_sums(blocks: Sequence[Tensor], width: int, name: Callable[[int], str]) -> Tensor:
    """The sum of the unit rows of each block: (len(blocks), d) float64, exact.

    Arguments and errors as of `unit_rows`.
    """
    device = blocks[0].device if len(blocks) else None
    sums = torch.zeros(len(blocks), width, dtype=torch.float64, device=device)
    for owner, rows in unit_rows(blocks, width, name):
        sums.index_add_(0, owner, rows)
    return sums


def gram(texts: Tensor) -> Tensor:
    """TᵀT of unit texts T (M, d) on the grid -> (d, d) float64 on the CPU.

    Float64 holds 53 bits, which is too few for exact sums of thousands of products of 50 bits. So
    each text is cut into its first 20 bits and a rest below 2⁻²¹: products of the first bits take
    40 bits, plus 12 for the sum of GRAM_ROWS; products with the rest fit as well."""
    return _gram(torch.split(texts, GRAM_ROWS), texts.shape[1])


def _gram(blocks: Iterable[Tensor], width: int) -> Tensor:
    """`gram` of texts (M, d) in blocks of at most GRAM_ROWS rows. width: d."""
    matrix = torch.zeros(width, width, dtype=torch.float64)
    # cut T into first + rest, so that each of the four products is exact
    for block in blocks:
        block = block.cpu().double()
        first = to_bits(block, STORED_BITS)
        rest = block - first
        mixed = first.T @ rest
        matrix += first.T @ first + (mixed + mixed.T) + rest.T @ rest
    return matrix


def cholesky(matrix: Tensor) -> Tensor:
    """Factor F (d, r) float64 with F Fᵀ = matrix (d, d), positive semidefinite of rank r.

    Largest pivot first.

    Computed step by step, because the last bits of LAPACK's Cholesky and of eigenvectors depend on
    the order of its sums. The steps end when only rounding remains: fewer texts than d, or
    duplicates, make a Gram matrix singular.
    """
    # the diagonal of matrix − F Fᵀ so far; its largest entry is the next pivot
    residual = matrix.diagonal().clone()
    least = float(residual.max()) * len(residual) * 2.0**-46  # far above rounding
    columns: list[Tensor] = []
    while len(columns) < len(residual) and float(residual.max()) > least:
        pivot = int(residual.argmax())
        column = matrix[:, pivot]
        if columns:
            before = torch.stack(columns)
            column = column - ordered_sum((before * before[:, pivot, None]).T)
        column = column / math.sqrt(float(residual[pivot]))  # unlike PyTorch's, rounded correctly
        residual = residual - column * column
        residual[pivot] = -torch.inf  # never a pivot again, whatever rounding leaves
        columns.append(column)
    return torch.stack(columns, dim=1) if columns else matrix.new_zeros(len(residual), 0)


def mean_with_best(sums: Tensor, counts: Tensor, best: Tensor) -> Tensor:
    """Stage one's formula for a class: (Σ_{t in A_c} x·t + max_{s in S_c} x·s) / (|A_c| + 1).

    sums: sum over the mean texts; best: value of the best name; counts: |A_c|, of a shape that
    broadcasts. Values are cosines with an image, or, because the inner product is linear, the text
    features themselves. Class scores and the explanations of `evaluation.reasons` use this formula;
    both rely on its being linear, with weights of a class's texts that sum to 1.
    """
    return (sums + best) / (counts + 1)


class TextNeighbors:
    """The texts of C classes: class scores and CODERs of images.

    Texts and images may have any length and float type; they are scaled to length 1, rounded to the
    grid and computed in float64, on the device of the images.
    """

    def __init__(self, mean_texts: Sequence[Tensor], max_texts: Sequence[Tensor]) -> None:
        """Take the text features of each class.

        mean_texts: C tensors (a_c, d), attribute and analogous texts, a_c may be 0.
        max_texts: C tensors (b_c, d), name and synonym texts, b_c at least 1.

        UserError for a class without a name, NaN or infinity, or widths that differ.
        """
        if len(mean_texts) != len(max_texts):
            raise UserError(
                f"mean_texts is for {len(mean_texts)} classes and max_texts for {len(max_texts)}; "
                "give one entry per class"
            )
        if not len(max_texts):
            raise UserError("max_texts is empty; give the name texts of at least one class")
        compute_dtype(*max_texts, *mean_texts)  # all must be tensors
        for c, names in enumerate(max_texts):
            if not names.numel():
                raise UserError(f"class {c} has no name; give at least one name text per class")
        width = max_texts[0].shape[-1]

        def name(c: int) -> str:
            return f"texts of class {c}"

        sums = unit_sums(mean_texts, width, name)
        sizes = [len(block) if block.numel() else 0 for block in mean_texts]
        counts = torch.tensor(sizes, device=sums.device)
        owner, unit_names = zip(*unit_rows(max_texts, width, name), strict=True)
        # as they were given, class by class, mean texts before names: for `encode` and `gram`
        every = [block for pair in zip(mean_texts, max_texts, strict=True) for block in pair]
        self._texts: Tensor | None = torch.cat([block for block in every if block.numel()])
        self._set(sums, counts, torch.cat(unit_names), torch.cat(owner))

    def _set(self, sums: Tensor, counts: Tensor, names: Tensor, owner: Tensor) -> None:
        """Keep sums (C, d) and counts (C,) of the mean texts, names (S, d) sorted by class, and the
        class of each name, owner (S,).
        """
        self._sums, self._counts, self._names, self._owner = sums, counts, names, owner
        # One column per name: the mean of its class's mean texts and this name, whose inner product
        # with an image is the score if this name is the best. The j-th names of all classes form
        # one block of columns. With the classes of most names first, block j belongs to the first
        # classes, so that the maximum runs over slices.
        means = on_grid(mean_with_best(sums[owner], counts[owner, None], names))
        n_names = torch.bincount(owner, minlength=len(counts))
        order = torch.argsort(n_names, descending=True, stable=True)
        first = torch.cumsum(n_names, 0) - n_names  # row of each class's first name
        self._levels: list[Tensor] = []
        for j in range(int(n_names.max())):
            # the j-th name of every class that has more than j names
            classes = order[: int((n_names > j).sum())]
            self._levels.append(means[first[classes] + j])
        self._column = torch.argsort(order)  # column of each class in the blocks

    @property
    def n_classes(self) -> int:
        return len(self._counts)

    @property
    def width(self) -> int:
        """d, the length of a feature."""
        return int(self._sums.shape[1])

    def class_scores(self, x: Tensor) -> Tensor:
        """Stage one: 100 × mean over (attribute and analogous texts, and the best name or synonym).

            score_c(x) = 100 · ( Σ_{t in A_c} x·t + max_{s in S_c} x·s ) / (|A_c| + 1)

        x: (N, d) -> (N, C), in units of 100 × cosine (paper, heuristic classifier). The mean of
        cosines is the inner product with the mean of the texts, so that one column per name is
        enough. UserError for NaN, infinity or another d.
        """
        x = l2_normalize(x, width=self.width)
        scores = torch.empty(len(x), self.n_classes, dtype=torch.float64, device=x.device)
        start = 0
        for block in self._score_blocks(x):
            scores[start : start + len(block)] = block
            start += len(block)
        return scores

    def predict(self, x: Tensor) -> Tensor:
        """The class with the best score, the lowest of several: (N, d) -> (N,) int64.

        Scores are computed in blocks and not kept. UserError as in `class_scores`.
        """
        x = l2_normalize(x, width=self.width)
        # first, so that there is something to concatenate without images
        empty = torch.zeros(0, dtype=torch.int64, device=x.device)
        return torch.cat([empty, *(block.argmax(dim=1) for block in self._score_blocks(x))])

    def _score_blocks(self, x: Tensor) -> Iterator[Tensor]:
        """The class scores of unit images (N, d), block by block."""
        levels = [level.to(x.device) for level in self._levels]
        column = self._column.to(x.device)
        # classes with most names are first, so level j competes in the first columns only
        for block in torch.split(x, max(1, CHUNK // self.n_classes)):
            best = exact_matmul(block, levels[0])
            for level in levels[1:]:
                part = best[:, : len(level)]
                torch.maximum(part, exact_matmul(block, level), out=part)
            yield torch.index_select(best, 1, column).mul_(100)

    def encode(self, x: Tensor) -> Tensor:
        """The explicit CODER: (N, d) -> (N, M) cosines, class by class, mean texts before names.

        For a look at single texts; other uses need only the compact form. UserError after
        `from_state`, because the compact form does not hold the texts.
        """
        if self._texts is None:
            raise UserError(
                "a CODER from a file holds no single texts; build TextNeighbors from the text "
                "features"
            )
        x = l2_normalize(x, width=self.width)
        return torch.cat([exact_matmul(x, unit.to(x.device)) for unit in self._unit_texts()], dim=1)

    def _unit_texts(self) -> Iterator[Tensor]:
        """All texts in float64, unit, GRAM_ROWS at a time."""
        assert self._texts is not None, "from_state sets what needs them"
        return (l2_normalize(some, "text features") for some in torch.split(self._texts, GRAM_ROWS))

    @cached_property
    def gram(self) -> Tensor:
        """G = TᵀT over all texts, (d, d) float64 on the CPU: CODER(x)·CODER(y) = xᵀ G y."""
        return _gram(self._unit_texts(), self.width)

    @cached_property
    def factor(self) -> Tensor:
        """F (d, r) float64 with F Fᵀ = G, r the rank of G: xᵀ G y = (xF)·(yF).

        Its columns are on the grid.
        """
        return on_grid(cholesky(self.gram).T).T.contiguous()

    def compact(self, x: Tensor) -> Tensor:
        """(N, d) -> (N, r), r <= d: the same inner products, norms and distances as `encode`.

        For k-NN, retrieval and t-SNE: an isometry of CODER space, not an approximation. UserError
        as in `class_scores`.
        """
        return exact_matmul(l2_normalize(x, width=self.width), self.factor.to(x.device).T)

    def state(self) -> dict[str, Tensor]:
        """The compact form as contiguous CPU tensors, for a safetensors file.

        `from_state` reads it.

        mean_sums (C, d), mean_counts (C,) int64; max_texts (S, d) unit, max_class (S,) int64: the
        class of each name or synonym; gram (d, d) and factor (d, r) float64.
        """
        tensors = {
            "mean_sums": self._sums,
            "mean_counts": self._counts,
            "max_texts": self._names,
            "max_class": self._owner,
            "gram": self.gram,
            "factor": self.factor,
        }
        return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """Restore from `state`: the same scores to the bit, but no `encode`.

        The compact features are the same, too.

        UserError if a tensor is missing.
        """
        missing = {"mean_sums", "mean_counts", "max_texts", "max_class", "gram", "factor"} - set(
            state
        )
        if missing:
            raise UserError(
                f"not a compact CODER: '{min(missing)}' is missing; make the artefact again"
            )
        new = cls.__new__(cls)
        new._texts = None
        new._set(state["mean_sums"], state["mean_counts"], state["max_texts"], state["max_class"])
        new.gram, new.factor = state["gram"], state["factor"]
        return new
