"""Stage two: compare the top classes of uncertain images pair by pair.

    v(a) = mean over the other candidates b of [ mean_{t in O(a,b)} x·t − mean_{t in O(b,a)} x·t ]

Paper: one-to-one classifier; O(a,b): what a has and b has not. docs/method.md derives the form used
here."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple, Self

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from .errors import UserError
from .foundation.reproducible import to_bits
from .neighbors import compute_dtype, l2_normalize, unit_sums
from .protocols import TOP_K
from .zero_shot import softmax_gap
from .zero_shot import top_k as best_classes

log = logging.getLogger(__name__)

# Bits of the differences. Float32 has 24 bits, so that a sum of four differences, with numbers
# below 1, is not rounded.
DIFFERENCE_BITS = 22
CHUNK = 2**18  # numbers of summed differences at a time


class OneToOne:
    """One-to-one texts, which tell one class from another.

    One difference of means per unordered pair.

        D(a, b) = mean O(a, b) − mean O(b, a)        antisymmetric, so x·D(b, a) = −x·D(a, b)

    A pair that is missing, or given in one order only, counts 0: half a difference would be a
    similarity, which favours whatever class has a text (the published code does the same).
    """

    def __init__(self, texts: Mapping[tuple[int, int], Tensor], n_classes: int) -> None:
        """Average the texts of each pair.

        texts: ordered pair (a, b) -> features (t, d) of the texts O(a, b), unit or not.
        Warns if there are texts, but no pair has both sides: stage two then changes nothing.
        UserError for a class out of range, a class against itself, NaN or infinity, widths that
        differ."""
        compute_dtype(*texts.values())  # all must be tensors
        for a, b in texts:
            if not (0 <= a < n_classes and 0 <= b < n_classes):
                raise UserError(f"one-to-one pair ({a}, {b}): classes are 0 to {n_classes - 1}")
            if a == b:
                raise UserError(f"one-to-one pair ({a}, {b}): the two classes must differ")
        # only a pair with texts on both sides counts: half a difference would favour one class
        present = {pair for pair, features in texts.items() if features.numel()}
        pairs = sorted((a, b) for a, b in present if a < b and (b, a) in present)
        self.n_classes = n_classes
        if present and not pairs:
            a, b = min(present)
            log.warning(
                f"one-to-one texts for ({a}, {b}) but none for ({b}, {a}): no pair has both sides, "
                "so the rerank changes nothing; add texts for the other side"
            )
        width = texts[pairs[0]].shape[-1] if pairs else 0

        def name(i: int) -> str:
            a, b = pairs[i % len(pairs)]
            return f"one-to-one texts of {a} and {b}"

        # both directions in one call: the first half is O(a, b), the second O(b, a)
        blocks = [texts[a, b] for a, b in pairs] + [texts[b, a] for a, b in pairs]
        means = unit_sums(blocks, width, name)
        means /= torch.tensor([len(block) for block in blocks], device=means.device)[:, None]
        differences = means[: len(pairs)].sub_(means[len(pairs) :])
        self._set(
            torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2),
            to_bits(differences, DIFFERENCE_BITS).float(),
        )

    def _set(self, pairs: Tensor, differences: Tensor) -> None:
        """Keep pairs (P, 2), sorted, a < b, and differences (P, d) float32, D(a, b)."""
        self.pairs, self.differences = pairs, differences
        # one sorted number per pair, so that a binary search finds its row
        self._keys = (pairs[:, 0] * self.n_classes + pairs[:, 1]).to(differences.device)

    def __len__(self) -> int:
        """Number of unordered pairs with texts on both sides."""
        return len(self.pairs)

    def compare(self, x: Tensor, classes: Tensor) -> Tensor:
        """v of each candidate, (n, k) float64, in cosines.

        x: (n, d) from `l2_normalize`; classes: (n, k).

        v(a) = mean over the other candidates b of x·D(a, b) = x·Σ_b D(a, b) / (k − 1); a missing
        pair counts 0. v is 0 if k is 1. Σ_b D(a, b) is one signed sum of rows of `differences`,
        made in one pass over memory: exact in float32 for up to five candidates, else in the order
        of the candidates. The product of this sum with x is exact in float64.
        """
        n, k = classes.shape
        values = torch.zeros(n, k, dtype=torch.float64, device=x.device)
        if k < 2 or not len(self):
            return values
        i, j = torch.triu_indices(k, k, 1, device=x.device)
        # Each unordered pair is looked up once. The sum of a candidate takes all its pairs, with a
        # minus where the candidate is the second of the pair, since D(b, a) = −D(a, b).
        pair_of = torch.zeros(k, k, dtype=torch.int64, device=x.device)  # number of pair (i, j)
        pair_of[i, j] = pair_of[j, i] = torch.arange(len(i), device=x.device)
        order = torch.ones(k, k, device=x.device).triu() * 2 - 1  # 1 for i < j, −1 for i > j
        apart = ~torch.eye(k, dtype=torch.bool, device=x.device)
        # from unordered pairs to the k · (k − 1) ordered ones of each image
        place, sign = self._places(classes[:, i], classes[:, j])
        place, sign = place[:, pair_of[apart]], sign[:, pair_of[apart]] * order[apart]
        differences = self.differences.to(x.device)
        rows = max(1, CHUNK // (k * x.shape[1]))
        for start in range(0, n, rows):
            some = slice(start, start + rows)
            # one bag per candidate: its k − 1 signed rows, summed without gathering them first
            bags, signs = place[some].view(-1, k - 1), sign[some].view(-1, k - 1)
            sums = embedding_bag(bags, differences, per_sample_weights=signs, mode="sum")
            products = sums.double().view(-1, k, x.shape[1]).mul_(x[some, None, :])
            torch.sum(products, dim=-1, out=values[some])
        return values.div_(k - 1)

    def _places(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Rows of `differences` for pairs of classes (a, b), and signs.

        1 for a < b, −1 for a > b, 0 for a pair without texts.
        """
        keys = self._keys.to(a.device)
        # the smaller class first, as in the stored keys; an absent pair finds a row of another key
        wanted = torch.minimum(a, b) * self.n_classes + torch.maximum(a, b)
        place = torch.searchsorted(keys, wanted).clamp_max(len(keys) - 1)
        return place, torch.where(a < b, 1.0, -1.0) * (keys[place] == wanted)

    def state(self) -> dict[str, Tensor]:
        """CPU tensors for safetensors.

        pairs (P, 2) int64, differences (P, d), n_classes (1,) int64.
        """
        return {
            "pairs": self.pairs.cpu().contiguous(),
            "differences": self.differences.cpu().contiguous(),
            "n_classes": torch.tensor([self.n_classes]),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Self:
        """Restore from `state`. UserError if a tensor is missing."""
        missing = {"pairs", "differences", "n_classes"} - set(state)
        if missing:
            raise UserError(
                f"not one-to-one differences: '{min(missing)}' is missing; make them again"
            )
        new = cls.__new__(cls)
        new.n_classes = int(state["n_classes"])
        new._set(state["pairs"], state["differences"])
        return new


class Reranked(NamedTuple):
    """Predictions of both stages for N images; a threshold only decides which of the two counts.

    stage_one, stage_two: (N,) int64; gap: (N,) softmax top-1 minus top-2 of stage one; classes,
    values: (N, k) the candidates in the order of stage one and their v.
    """

    stage_one: Tensor
    stage_two: Tensor
    gap: Tensor
    classes: Tensor
    values: Tensor

    def predictions(self, threshold: float) -> Tensor:
        """Predictions (N,) with the gate at `threshold`: stage two strictly below it."""
        return torch.where(self.gap < threshold, self.stage_two, self.stage_one)


def rerank_scores(x: Tensor, scores: Tensor, o: OneToOne, top_k: int = TOP_K) -> Reranked:
    """Predict every image with both stages; one pass serves a whole threshold sweep.

    x: (N, d) images; scores: (N, C) of stage one. UserError for NaN, infinity or shapes that do not
    fit."""
    if scores.ndim != 2 or scores.shape != (len(x), o.n_classes):
        raise UserError(
            f"scores: shape {tuple(scores.shape)} where ({len(x)}, {o.n_classes}) is needed"
        )
    x = l2_normalize(x, width=o.differences.shape[1] if len(o) else None)
    classes = best_classes(scores, top_k)[1]
    values = o.compare(x, classes)
    # argmax takes the first of several maxima, which is the one that stage one ranks higher
    stage_two = classes.gather(1, values.argmax(dim=1, keepdim=True)).squeeze(1)
    return Reranked(classes[:, 0], stage_two, softmax_gap(scores, classes), classes, values)


def rerank(
    x: Tensor, scores: Tensor, o: OneToOne, threshold: float = 0.1, top_k: int = TOP_K
) -> tuple[Tensor, Tensor]:
    """Stage two for images whose softmax(scores) top-1 minus top-2 is strictly below `threshold`.

    x: (N, d), scores: (N, C) -> predictions (N,) int64 and which images were reranked (N,) bool.
    Picks, among the top min(top_k, C) classes, the a with the largest v(a) = mean over b of [mean
    x·O(a, b) − mean x·O(b, a)]; ties keep the order of stage one. Labels are never read. UserError
    as in `rerank_scores`, and for a threshold that is NaN.
    """
    # NaN is the only number that differs from itself; no margin is below it
    if threshold != threshold:
        raise UserError("the threshold is NaN, where a margin from 0 to 1 is needed")
    both = rerank_scores(x, scores, o, top_k)
    return both.predictions(threshold), both.gap < threshold
