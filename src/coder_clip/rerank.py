"""Stage two: compare the top classes of uncertain images pair by pair.

    v(a) = mean over the other candidates b of [ mean_{t in O(a,b)} x·t − mean_{t in O(b,a)} x·t ]

Paper: one-to-one classifier; O(a,b): what a has and b has not. docs/method.md derives the form used here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from .errors import UserError
from .foundation.exact import total
from .neighbors import checked, compute_dtype, l2_normalize
from .zero_shot import softmax_gap, uncertain
from .zero_shot import top_k as best_classes

log = logging.getLogger(__name__)

SMALL = 1e-15  # a length of features below which products could be denormal
CHUNK = 2**20  # numbers of gathered differences at a time
PAIRS = 4096  # pairs averaged at a time, so that the texts of all pairs need not fit in memory twice


class OneToOne:
    """One-to-one texts, which tell one class from another: one difference of means per unordered pair.

        D(a, b) = mean O(a, b) − mean O(b, a)        antisymmetric, so x·D(b, a) = −x·D(a, b)

    A pair that is missing, or given in one order only, counts 0: half a difference would be a similarity,
    which favours whatever class has a text (the published code does the same).
    """

    def __init__(self, texts: Mapping[tuple[int, int], Tensor], n_classes: int) -> None:
        """Average the texts of each pair.

        texts: for an ordered pair (a, b) the features (t, d) of what tells a from b, unit or not.
        Warns if there are texts, but no pair has both sides: stage two then changes nothing.
        UserError for a class out of range, a class against itself, NaN or infinity, widths that differ.
        """
        compute_dtype(*texts.values())  # all must be tensors
        for a, b in texts:
            if not (0 <= a < n_classes and 0 <= b < n_classes):
                raise UserError(f"one-to-one pair ({a}, {b}): classes are 0 to {n_classes - 1}")
            if a == b:
                raise UserError(f"one-to-one pair ({a}, {b}): the two classes must differ")
        present = {pair for pair, features in texts.items() if features.numel()}
        pairs = sorted((a, b) for a, b in present if a < b and (b, a) in present)
        self.n_classes = n_classes
        self.one_sided = sorted((a, b) for a, b in present if (b, a) not in present)
        if present and not pairs:
            log.warning(
                "one-to-one texts for (%d, %d) but none for (%d, %d): no pair has both sides, so the rerank "
                "changes nothing; add texts for the other side",
                *(*self.one_sided[0], *self.one_sided[0][::-1]),
            )
        parts, width = [], None
        for start in range(0, len(pairs), PAIRS):
            some = pairs[start : start + PAIRS]
            width = width or texts[some[0]].shape[-1]
            means = _means([texts[p] for p in some] + [texts[p[::-1]] for p in some], width, some)
            parts.append(means[: len(some)] - means[len(some) :])
        dtype = compute_dtype(*(texts[p] for p in pairs))
        self._set(
            torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2),
            torch.cat(parts).to(dtype) if parts else torch.zeros(0, 0, dtype=dtype),
        )

    def _set(self, pairs: Tensor, differences: Tensor) -> None:
        """Keep pairs (P, 2), sorted, a < b, and differences (P, d), D(a, b)."""
        self.pairs, self.differences, self._short = pairs, differences, differences.float()
        self._keys = (pairs[:, 0] * self.n_classes + pairs[:, 1]).to(differences.device)

    def __len__(self) -> int:
        """Number of unordered pairs with texts on both sides."""
        return len(self.pairs)

    def compare(self, x: Tensor, classes: Tensor) -> Tensor:
        """v of each candidate: x (n, d) unit, classes (n, k) -> (n, k) float64, in cosines.

        v(a) = mean over the other candidates b of x·D(a, b); a missing pair counts 0. 0 if k is 1. Sums are the same
        everywhere.
        """
        n, k = classes.shape
        values = torch.zeros(n, k, dtype=torch.float64, device=x.device)
        if k < 2 or not len(self):
            return values
        i, j = torch.triu_indices(k, k, 1, device=x.device)
        differences = self.differences.to(x.device)
        rows = max(1, CHUNK // (len(i) * x.shape[1]))
        for start in range(0, n, rows):
            some = slice(start, start + rows)
            place, sign = self._places(classes[some][:, i], classes[some][:, j])
            products = differences.index_select(0, place.flatten()).double().view(*place.shape, -1)
            products *= x[some, None, :]
            dots = total(products) * sign
            values[some] = values[some].index_add(1, i, dots).index_add(1, j, -dots) / (k - 1)
        return values

    def _places(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of ``differences`` of these pairs of classes, and their signs; 0 for a pair without texts."""
        keys = self._keys.to(a.device)
        wanted = torch.minimum(a, b) * self.n_classes + torch.maximum(a, b)
        place = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
        return place, torch.where(a < b, 1.0, -1.0) * (keys[place] == wanted)

    def winner(self, x: Tensor, classes: Tensor) -> Tensor:
        """The candidate with the largest v: x (n, d) of any length, classes (n, k) -> (n,); the first of several.

        The same as from :meth:`compare`, but computed there only for images that float32 leaves open.
        """
        best, open_ = self._quick(x, classes)
        best[open_] = self.compare(l2_normalize(x[open_]), classes[open_]).argmax(dim=1)
        return classes.gather(1, best[:, None])[:, 0]

    def _quick(self, x: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Place (n,) of the candidate with the largest v in float32, and which images (n,) that leaves open.

        Σ_b x·D(a, b) = x·Σ_b D(a, b): the inner sum is one signed sum of rows, made in one pass over memory.

        A value is wrong by at most d + k + 2 roundings of numbers below its length, which is |x|·2·(k − 1) at most,
        as D has a length of at most 2. A rounding is eps / 2; the other half covers that ``compare`` rounds x to PLACES
        and does not round D. Nothing is concluded from features that float32 cannot hold to full precision.
        """
        n, k = classes.shape
        best = torch.zeros(n, dtype=torch.int64, device=x.device)
        if k < 2 or not len(self):
            return best, torch.zeros_like(best, dtype=torch.bool)
        i, j = torch.triu_indices(k, k, 1, device=x.device)
        # for candidate a and another b: their column in (i, j), and whether D(a, b) counts as it is or negative
        others = torch.zeros(k, k, dtype=torch.int64, device=x.device)
        others[i, j] = others[j, i] = torch.arange(len(i), device=x.device)
        order = torch.ones(k, k, device=x.device).triu() * 2 - 1
        apart = ~torch.eye(k, dtype=torch.bool, device=x.device)
        columns, order = others[apart], order[apart]
        differences, x = self._short.to(x.device), x.float()
        values, rows = torch.empty(n, k, device=x.device), max(1, CHUNK // (k * x.shape[1]))
        for some in (slice(start, start + rows) for start in range(0, n, rows)):
            place, sign = self._places(classes[some][:, i], classes[some][:, j])
            sums = embedding_bag(
                place[:, columns].view(-1, k - 1),
                differences,
                per_sample_weights=(sign[:, columns] * order).view(-1, k - 1),
                mode="sum",
            ).view(-1, k, x.shape[1])
            sums *= x[some, None, :]
            values[some] = sums.sum(dim=-1)
        first, second = values.topk(2, dim=1).values.unbind(dim=1)
        size = x.norm(dim=1)
        error = 2 * (k - 1) * size * (x.shape[1] + k + 2) * torch.finfo(torch.float32).eps
        sure = (first - second > 2 * error) & (size > SMALL) & (size < 1 / SMALL)  # never with NaN
        return values.argmax(dim=1), ~sure

    def state(self) -> dict[str, Tensor]:
        """CPU tensors for safetensors: pairs (P, 2) int64, differences (P, d), n_classes (1,) int64."""
        return {
            "pairs": self.pairs.cpu().contiguous(),
            "differences": self.differences.cpu().contiguous(),
            "n_classes": torch.tensor([self.n_classes]),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """Restore from :meth:`state`, which does not keep ``one_sided``. UserError if a tensor is missing."""
        missing = {"pairs", "differences", "n_classes"} - set(state)
        if missing:
            raise UserError(f"not one-to-one differences: '{min(missing)}' is missing; make them again")
        new = cls.__new__(cls)
        new.n_classes, new.one_sided = int(state["n_classes"]), []
        new._set(state["pairs"], state["differences"])
        return new


class Reranked(NamedTuple):
    """Predictions of both stages for N images; a threshold only decides which of the two counts.

    stage_one, stage_two: (N,) int64; gap: (N,) softmax top-1 minus top-2 of stage one; classes, values:
    (N, k) the candidates in the order of stage one and their v.
    """

    stage_one: Tensor
    stage_two: Tensor
    gap: Tensor
    classes: Tensor
    values: Tensor

    def predictions(self, threshold: float) -> Tensor:
        """Predictions (N,) with the gate at ``threshold``: stage two strictly below it, else stage one."""
        return torch.where(self.gap < threshold, self.stage_two, self.stage_one)


def rerank_scores(x: Tensor, scores: Tensor, o: OneToOne, top_k: int = 5) -> Reranked:
    """Predict every image with both stages; one pass serves a whole threshold sweep.

    x: (N, d) images; scores: (N, C) of stage one. UserError for NaN, infinity or shapes that do not fit.
    """
    x = l2_normalize(_checked(x, scores, o))
    best, classes = best_classes(scores, top_k)
    values = o.compare(x, classes)
    # argmax takes the first of several maxima, which is the one that stage one ranks higher
    stage_two = classes.gather(1, values.argmax(dim=1, keepdim=True)).squeeze(1)
    return Reranked(classes[:, 0], stage_two, softmax_gap(scores, best), classes, values)


def oracle(both: Reranked, reranked: Tensor, labels: Tensor) -> Tensor:
    """Images that would be right with a second stage that never errs, (N,) bool: an upper bound.

    A reranked image is right if its label is among the candidates, any other if stage one is right.
    reranked: (N,) bool. labels: (N,), read only to count; nothing is predicted with them.
    """
    among = (both.classes == labels[:, None]).any(dim=1)
    return torch.where(reranked, among, both.stage_one == labels)


def rerank(
    x: Tensor, scores: Tensor, o: OneToOne, threshold: float = 0.1, top_k: int = 5
) -> tuple[Tensor, Tensor]:
    """Stage two for images whose softmax(scores) top-1 minus top-2 is strictly below ``threshold``.

    x: (N, d), scores: (N, C) -> predictions (N,) int64 and which images were reranked (N,) bool. Picks, among
    the top min(top_k, C) classes, the a with the largest v(a) = mean over b of [mean x·O(a, b) − mean x·O(b, a)];
    ties keep the order of stage one. Labels are never read. UserError as in :func:`rerank_scores`.
    """
    x = _checked(x, scores, o)
    best, classes = best_classes(scores, top_k)
    looked_at = uncertain(scores, threshold, best)
    predictions = classes[:, 0].clone()
    predictions[looked_at] = o.winner(x[looked_at], classes[looked_at])
    return predictions, looked_at


def _checked(x: Tensor, scores: Tensor, o: OneToOne) -> Tensor:
    """Images (N, d). UserError unless scores are (N, C) and images finite and as wide as the texts."""
    if scores.ndim != 2 or scores.shape != (len(x), o.n_classes):
        raise UserError(f"scores: shape {tuple(scores.shape)} where ({len(x)}, {o.n_classes}) is needed")
    return checked(x, width=o.differences.shape[1] if len(o) else None)


def _means(blocks: list[Tensor], width: int, pairs: list[tuple[int, int]]) -> Tensor:
    """Mean of the unit rows of each block: (len(blocks), d) float64, all blocks at once."""
    for at, block in enumerate(blocks):
        if block.ndim != 2 or block.shape[1] != width:
            a, b = pairs[at % len(pairs)]
            raise UserError(
                f"one-to-one texts of {a} and {b}: shape {tuple(block.shape)} where (t, {width}) is needed"
            )
    sizes = torch.tensor([len(b) for b in blocks], device=blocks[0].device)
    owner = torch.repeat_interleave(torch.arange(len(blocks), device=sizes.device), sizes)
    rows = torch.cat([b.to(compute_dtype(*blocks)) for b in blocks])
    bad = ~rows.isfinite().all(dim=1)
    if bad.any():
        a, b = pairs[int(owner[bad][0]) % len(pairs)]
        raise UserError(f"one-to-one texts of {a} and {b}: NaN or infinity; extract them again")
    sums = rows.new_zeros(len(blocks), width, dtype=torch.float64)
    sums.index_add_(0, owner, l2_normalize(rows, "one-to-one texts"))
    return sums / sizes[:, None]
