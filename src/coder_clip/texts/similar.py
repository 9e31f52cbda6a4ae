"""What an encoder says about texts: names too near to another class, texts of two classes, swapped
sides of a pair.

It uses text features alone, no image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from .checks import Fault
from .names import name_key
from .sentences import spaces

if TYPE_CHECKING:
    from ..encoders.encoder import Encoder
    from .sets import PairSet, TextSet

PROMPT = "a photo of {}"  # as published
ALIKE = 0.9  # cosine of two texts that say the same
ROWS = 1024  # compared at a time: ImageNet has 8,000 attributes

Rule = Callable[[Sequence[tuple[str, str]]], list[str | None]]


def rule(encoder: Encoder, classes: Sequence[str]) -> Rule:
    """A rule that refuses a name nearer to another class than to its own, and than that class's
    nearest neighbour.

    So the label set shows how near two different things can be, whatever cosines the encoder has.
    The rule takes (class, name) pairs and returns for each why the name is too similar, or None.
    """
    if len(classes) < 2:
        return lambda names: [None] * len(names)
    features = encoder.encode_texts([PROMPT.format(c) for c in classes])  # (C, d)
    # cosine of each class with its nearest other one; −1 excludes the class itself
    nearest = (features @ features.T).fill_diagonal_(-1).max(dim=1).values.cpu()

    def check(names: Sequence[tuple[str, str]]) -> list[str | None]:
        if not names:
            return []
        cosines = (
            encoder.encode_texts([PROMPT.format(n) for _, n in names]) @ features.T
        ).cpu()  # (N, C)
        return [against(owner, row) for (owner, _), row in zip(names, cosines, strict=True)]

    def against(owner: str, cosines: torch.Tensor) -> str | None:
        own = torch.tensor(
            [c == owner for c in classes]
        )  # several where a name is in the label set twice
        # a name may be as near to another class as to its own, or as two classes are anyway
        least = nearest.maximum(cosines[own].max())
        over = (cosines - least).masked_fill(own, -1)
        worst = int(over.argmax())
        if over[worst] <= 0:
            return None
        return (
            f"too similar to {classes[worst]} (cosine "
            f"{cosines[worst]:.3f}, limit {least[worst]:.3f})"
        )

    return check


def faults(texts: TextSet, pairs: PairSet | None, encoder: Encoder) -> Iterator[Fault]:
    """Texts that serve another class as well (cosine over ALIKE), and pairs whose sides look
    swapped.
    """
    classes = [spaces(c.name) for c in texts.classes]
    of_class = [
        (c, t) for c, entry in zip(classes, texts.classes, strict=True) for t in entry.attribute
    ]
    features = encoder.encode_texts([t for _, t in of_class]).cpu()  # (N, d), unit rows
    yield from _alike("attribute", of_class, features, of_class, features)
    prompted = encoder.encode_texts([PROMPT.format(c) for c in classes]).cpu()
    for kind in ("analogous", "synonym"):
        names = [
            (c, t) for c, entry in zip(classes, texts.classes, strict=True) for t in entry.of(kind)
        ]
        named = encoder.encode_texts([PROMPT.format(t) for _, t in names]).cpu()
        yield from _alike(kind, names, named, [(c, c) for c in classes], prompted)
    rows: dict[str, list[int]] = {}
    for i, (owner, _) in enumerate(of_class):
        rows.setdefault(owner, []).append(i)
    both = (
        [p for p in pairs.pairs if p.compares and {spaces(p.a), spaces(p.b)} <= rows.keys()]
        if pairs
        else []
    )
    # a text may be in several pairs and is encoded once
    unique = list(dict.fromkeys(t for p in both for t in (*p.a_not_b, *p.b_not_a)))
    of_text = dict(zip(unique, encoder.encode_texts(unique).cpu(), strict=True))
    for p in both:
        a, b = spaces(p.a), spaces(p.b)
        first, second = (
            torch.stack([of_text[t] for t in s]).mean(dim=0) for s in (p.a_not_b, p.b_not_a)
        )
        # sides in the right order differ in the direction in which the classes' attributes do
        apart = features[rows[a]].mean(dim=0) - features[rows[b]].mean(dim=0)
        toward = float((first - second) @ apart)
        if toward <= 0:
            why = f"the sides are nearer to each other's class ({toward:.3f})"
            yield Fault(f"{a} / {b}", "one_to_one", "; ".join(p.a_not_b), "sides", why)


Owned = Sequence[tuple[str, str]]  # owner and text


def _alike(
    kind: str, texts: Owned, features: torch.Tensor, others: Owned, compared: torch.Tensor
) -> Iterator[Fault]:
    """Texts over the limit with a text of another class, each with its nearest one. Features: unit
    rows.
    """
    # a number per owner: texts of one class are not compared with each other
    key = {name_key(owner): i for i, (owner, _) in enumerate([*texts, *others])}
    mine, theirs = (
        torch.tensor([key[name_key(o)] for o, _ in owned], dtype=torch.long)
        for owned in (texts, others)
    )
    for start in range(0, len(texts), ROWS):
        cosines = features[start : start + ROWS] @ compared.T
        cosines[mine[start : start + ROWS, None] == theirs[None]] = -1
        # only the nearest text of another owner is reported
        best, at = cosines.max(dim=1)
        for i in (best > ALIKE).nonzero().flatten().tolist():
            (owner, text), (another, like) = texts[start + i], others[int(at[i])]
            yield Fault(
                owner,
                kind,
                text,
                "alike",
                f"'{like}' of {another} says the same (cosine {best[i]:.3f})",
            )
