"""CODER: an image as its similarities to the texts of all classes, its cross-modal neighbours.

    CODER(x) = (x·t_1, …, x·t_M)        x image (d,), t texts (d,), all unit

Nothing here but :meth:`TextNeighbors.encode` makes the N × M matrix: class scores and inner products of
CODERs have exact forms that hold C or at most d numbers an image (docs/method.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from .errors import UserError

# Kinds of text in stage one (paper, section 3.2): the mean of the first counts, of the second the most similar one.
MEAN_KINDS = ("attribute", "analogous")
MAX_KINDS = ("name", "synonym")
ADAPTER_KINDS = ("name", "attribute", "analogous")  # texts the CODER-Adapter describes images with

CHUNK = 2**19  # numbers in a block of scores: stays in cache, and bounds memory at any N
GRAM_ROWS = 4096  # texts widened to float64 at a time


def wide(*features: Tensor) -> torch.dtype:
    """The precision to compute in: float64 where one of the features is, else float32 (also for halves)."""
    return torch.float64 if any(f.dtype == torch.float64 for f in features) else torch.float32


def unit(features: Tensor, what: str = "image features", width: int | None = None) -> Tensor:
    """Rows scaled to length 1: (N, d) of any float type -> (N, d) float32 or float64; a zero row stays zero.

    UserError where the shape is not (N, d) with d = ``width``, or a row holds NaN or infinity; ``what`` says
    what they are.
    """
    if features.ndim != 2 or (width is not None and features.shape[1] != width):
        raise UserError(
            f"{what}: shape {tuple(features.shape)} where (N, {width or 'd'}) is needed; "
            "are images and texts from the same model?"
        )
    features = features.to(wide(features))
    if features.numel() and not torch.stack(features.aminmax()).isfinite().all():  # one pass, no copy
        row = int((~features.isfinite().all(dim=1)).nonzero()[0])
        raise UserError(f"{what}: row {row} holds NaN or infinity; extract it again")
    # eps far below any feature's length: the default 1e-12 would leave tiny rows shorter than 1
    return normalize(features, dim=1, eps=1e-30)


def gram(texts: Tensor) -> Tensor:
    """TᵀT of texts (M, d) -> (d, d) float64 on the CPU, without widening all texts at once."""
    total = torch.zeros(texts.shape[1], texts.shape[1], dtype=torch.float64)
    for block in torch.split(texts, GRAM_ROWS):
        block = block.to("cpu", torch.float64)
        total += block.T @ block
    return total


class TextNeighbors:
    """The texts of C classes, and what images are to them. Texts and images are scaled to length 1 inside.

    Floats of any width are taken; halves are computed in float32, float64 in float64.
    """

    def __init__(self, mean_texts: Sequence[Tensor], max_texts: Sequence[Tensor]) -> None:
        """mean_texts: C tensors (a_c, d), attribute and analogous texts, a_c may be 0.
        max_texts: C tensors (b_c, d), name and synonym texts, b_c at least 1.

        UserError for a class without a name, NaN or infinity, or widths that differ.
        """
        if len(mean_texts) != len(max_texts):
            raise UserError(f"{len(mean_texts)} classes with mean texts, but {len(max_texts)} with names")
        if not max_texts:
            raise UserError("no class: texts for at least one are needed")
        for c, names in enumerate(max_texts):
            if not names.numel():
                raise UserError(f"class {c} has no name: every class needs at least one name text")
        width = max_texts[0].shape[-1]
        blocks: list[Tensor] = []
        owners: list[int] = []
        mean_rows: list[bool] = []
        for c in range(len(max_texts)):
            for of_class, averaged in ((mean_texts[c], True), (max_texts[c], False)):
                if of_class.numel():
                    if of_class.ndim != 2 or of_class.shape[1] != width:
                        raise UserError(
                            f"texts of class {c}: shape {tuple(of_class.shape)} where (n, {width}) is needed"
                        )
                    blocks.append(of_class)
                    owners += [c] * len(of_class)
                    mean_rows += [averaged] * len(of_class)
        raw = torch.cat([b.to(wide(*blocks)) for b in blocks])
        owner = torch.tensor(owners, device=raw.device)
        is_mean = torch.tensor(mean_rows, device=raw.device)
        finite = raw.isfinite().all(dim=1)
        if not finite.all():
            raise UserError(
                f"texts of class {int(owner[~finite][0])}: NaN or infinity; extract the text features again"
            )
        texts = unit(raw, "text features")
        sums = texts.new_zeros(len(max_texts), texts.shape[1], dtype=torch.float64)
        sums.index_add_(0, owner[is_mean], texts[is_mean].double())
        counts = torch.bincount(owner[is_mean], minlength=len(max_texts))
        self._texts: Tensor | None = texts
        self._set(sums.to(texts.dtype), counts, texts[~is_mean], owner[~is_mean])

    def _set(self, sums: Tensor, counts: Tensor, names: Tensor, owner: Tensor) -> None:
        """sums (C, d), counts (C,) of the mean texts; names (S, d) by class, owner (S,) the class of each."""
        self._sums, self._counts, self._names, self._owner = sums, counts, names, owner
        # score = 100 (Σ x·t + max x·s) / (n + 1): the factor goes into the texts, it is positive
        factor = (100 / (counts + 1).to(sums.dtype))[:, None]
        self._mean_weights = sums * factor
        # The j-th name of every class is one block of columns. With the classes of many names first, block j
        # belongs to the first classes: a running maximum over slices, without gathering.
        many = torch.bincount(owner, minlength=len(counts))
        order = torch.argsort(many, descending=True, stable=True)
        first = torch.cumsum(many, 0) - many
        rows = [first[order[: int((many > j).sum())]] + j for j in range(int(many.max()))]
        self._max_weights = [names[r] * factor[owner[r]] for r in rows]
        self._mean_weights = self._mean_weights[order]
        place = torch.argsort(order)
        # Classes with the same texts must tie exactly, at any position in a GEMM: they share one column.
        seen: dict[tuple[bytes, int, bytes], int] = {}
        alike = [
            seen.setdefault(
                (_bytes(sums[c]), int(counts[c]), _bytes(names[int(first[c]) : int(first[c] + many[c])])), c
            )
            for c in range(len(counts))
        ]
        self._column = place[torch.tensor(alike, device=place.device)]
        self._in_order = bool((self._column == torch.arange(len(counts), device=place.device)).all())

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

        x: (N, d) -> (N, C); the unit is 100 × cosine (paper, heuristic classifier). The sum of cosines is the
        cosine with the sum, one column a class. UserError for NaN, infinity or another d.
        """
        x = unit(x, width=self.width)
        dtype = wide(x, self._sums)
        means = self._mean_weights.to(dtype).T
        names = [level.to(dtype).T for level in self._max_weights]
        scores = torch.empty(len(x), self.n_classes, dtype=dtype, device=x.device)
        rows = max(1, CHUNK // self.n_classes)
        for block, out in zip(torch.split(x.to(dtype), rows), torch.split(scores, rows), strict=True):
            best = block @ names[0]
            for level in names[1:]:
                part = best[:, : level.shape[1]]
                torch.maximum(part, block @ level, out=part)
            best.addmm_(block, means)
            out.copy_(best if self._in_order else best[:, self._column])
        return scores

    def encode(self, x: Tensor) -> Tensor:
        """The explicit CODER: (N, d) -> (N, M) cosines, in the order class by class, mean texts before names.

        For looking at single texts; everything else has a compact form. UserError after :meth:`from_state`,
        because the compact form does not hold the texts.
        """
        if self._texts is None:
            raise UserError(
                "the compact CODER holds no single texts; build TextNeighbors from the text features"
            )
        x = unit(x, width=self.width)
        dtype = wide(x, self._texts)
        return x.to(dtype) @ self._texts.to(dtype).T

    @cached_property
    def gram(self) -> Tensor:
        """G = TᵀT over all texts, (d, d) float64 on the CPU: CODER(x)·CODER(y) = xᵀ G y."""
        assert self._texts is not None, "from_state sets it"
        return gram(self._texts)

    @cached_property
    def factor(self) -> Tensor:
        """F (d, r) float64 with F Fᵀ = G, r the rank of G: xᵀ G y = (xF)·(yF)."""
        # Eigenvectors, not Cholesky: fewer texts than d, or duplicates, make G singular.
        values, vectors = torch.linalg.eigh(self.gram)
        keep = values > values[-1].clamp_min(0) * len(values) * torch.finfo(torch.float64).eps
        factor: Tensor = vectors[:, keep] * values[keep].sqrt()
        return factor

    def compact(self, x: Tensor) -> Tensor:
        """(N, d) -> (N, r), r <= d: the same inner products, norms and distances as :meth:`encode`.

        For k-NN, retrieval, t-SNE: an isometry of CODER space, not an approximation. UserError as in
        :meth:`class_scores`.
        """
        x = unit(x, width=self.width)
        dtype = wide(x, self._sums)
        return x.to(dtype) @ self.factor.to(x.device, dtype)

    def state(self) -> dict[str, Tensor]:
        """The compact form as contiguous CPU tensors, for a safetensors file; :meth:`from_state` reads it.

        mean_sums (C, d), mean_counts (C,) int64; max_texts (S, d) unit, max_class (S,) int64, the class of
        each name or synonym; gram (d, d) and factor (d, r) float64.
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
        """What :meth:`state` gave: the same scores and compact features to the bit, but no :meth:`encode`."""
        missing = {"mean_sums", "mean_counts", "max_texts", "max_class", "gram", "factor"} - set(state)
        if missing:
            raise UserError(f"not a compact CODER: '{min(missing)}' is missing; make the artefact again")
        new = cls.__new__(cls)
        new._texts = None
        new._set(state["mean_sums"], state["mean_counts"], state["max_texts"], state["max_class"])
        new.gram, new.factor = state["gram"], state["factor"]
        return new


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().tobytes()
