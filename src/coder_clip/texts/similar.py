"""What an encoder says about texts.

Names too near to another class, texts of two classes, swapped sides of a pair.

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

# (class, name) pairs -> for each pair why the name is too similar, or None
Rule = Callable[[Sequence[tuple[str, str]]], list[str | None]]


def rule(encoder: Encoder, classes: Sequence[str]) -> Rule:
    """A rule that refuses a name which is nearer to another class than to its own class, and also
    nearer than the nearest neighbour of that other class in the label set.

    So the label set shows how near two different things can be, whatever cosines the encoder has.
    """
    if len(classes) < 2:
        return lambda names: [None] * len(names)
    features = encoder.encode_texts([PROMPT.format(c) for c in classes])  # (C, d)
    # cosine of each class with its nearest other one; −1 excludes the class itself, also where the
    # label set has its name twice
    equal = torch.tensor([[a == b for b in classes] for a in classes])
    nearest_other = (features @ features.T).cpu().masked_fill(equal, -1).max(dim=1).values

    def check(names: Sequence[tuple[str, str]]) -> list[str | None]:
        if not names:
            return []
        cosines = (
            encoder.encode_texts([PROMPT.format(n) for _, n in names]) @ features.T
        ).cpu()  # (N, C)
        return [against(owner, row) for (owner, _), row in zip(names, cosines, strict=True)]

    def against(owner: str, cosines: torch.Tensor) -> str | None:
        """Why a name of class ``owner`` with these cosines (C,) is too similar to another class.

        None if it is not.
        """
        # several are True if the label set has the name of the class twice
        own = torch.tensor([c == owner for c in classes])
        # a name may be as near to another class as to its own, or as that class's neighbour is
        limit = nearest_other.maximum(cosines[own].max())
        over = (cosines - limit).masked_fill(own, -1)
        worst = int(over.argmax())
        if over[worst] <= 0:
            return None
        return (
            f"too similar to {classes[worst]} (cosine {cosines[worst]:.3f}, limit "
            f"{limit[worst]:.3f})"
        )

    return check


Owned = Sequence[tuple[str, str]]  # owner and text


def faults(texts: TextSet, pairs: PairSet | None, encoder: Encoder) -> Iterator[Fault]:
    """Texts that serve another class as well, and pairs whose sides look swapped.

    As well: the cosine is over ALIKE.
    """
    classes = [spaces(c.name) for c in texts.classes]

    def owned(kind: str) -> list[tuple[str, str]]:
        """(class, text) of all texts of a kind."""
        entries = zip(classes, texts.classes, strict=True)
        return [(owner, text) for owner, entry in entries for text in entry.of(kind)]

    attributes = owned("attribute")
    features = encoder.encode_texts([t for _, t in attributes]).cpu()  # (N, d), unit rows
    yield from _alike("attribute", attributes, features, attributes, features)
    prompted = encoder.encode_texts([PROMPT.format(c) for c in classes]).cpu()
    for kind in ("analogous", "synonym"):
        names = owned(kind)
        named = encoder.encode_texts([PROMPT.format(t) for _, t in names]).cpu()
        yield from _alike(kind, names, named, [(c, c) for c in classes], prompted)
    if pairs is not None:
        yield from _swapped(pairs, attributes, features, encoder)


def _swapped(
    pairs: PairSet, attributes: Owned, features: torch.Tensor, encoder: Encoder
) -> Iterator[Fault]:
    """Faults of pairs whose sides look swapped. features: unit rows (N, d) of the attributes."""
    rows: dict[str, list[int]] = {}  # class -> rows of its attributes
    for i, (owner, _) in enumerate(attributes):
        rows.setdefault(owner, []).append(i)
    # pairs with texts on both sides, whose classes both have attributes
    comparable = [p for p in pairs.pairs if p.compares and {spaces(p.a), spaces(p.b)} <= {*rows}]
    # a text may be in several pairs and is encoded once
    unique = list(dict.fromkeys(t for p in comparable for t in (*p.a_not_b, *p.b_not_a)))
    feature_of = dict(zip(unique, encoder.encode_texts(unique).cpu(), strict=True))
    for p in comparable:
        a, b = spaces(p.a), spaces(p.b)
        first, second = (
            torch.stack([feature_of[t] for t in side]).mean(dim=0)
            for side in (p.a_not_b, p.b_not_a)
        )
        # in the right order, the sides differ in the same direction as the classes' attributes
        apart = features[rows[a]].mean(dim=0) - features[rows[b]].mean(dim=0)
        toward = float((first - second) @ apart)
        if toward <= 0:
            why = f"the sides are nearer to each other's class ({toward:.3f})"
            yield Fault(f"{a} / {b}", "one_to_one", "; ".join(p.a_not_b), "sides", why)


def _alike(
    kind: str, texts: Owned, features: torch.Tensor, others: Owned, compared: torch.Tensor
) -> Iterator[Fault]:
    """Faults of texts whose cosine with a text of another class, in ``others``, is over ALIKE.

    features, compared: unit rows (N, d) of the texts and (M, d) of the others.
    """
    # a number per owner: texts of one class are not compared with each other
    number = {name_key(owner): i for i, (owner, _) in enumerate([*texts, *others])}
    text_owners, other_owners = (
        torch.tensor([number[name_key(owner)] for owner, _ in owned], dtype=torch.long)
        for owned in (texts, others)
    )
    for start in range(0, len(texts), ROWS):
        cosines = features[start : start + ROWS] @ compared.T
        # −1 excludes texts of the same owner
        cosines[text_owners[start : start + ROWS, None] == other_owners[None]] = -1
        # only the nearest text of another owner is reported
        best, nearest = cosines.max(dim=1)
        for i in (best > ALIKE).nonzero().flatten().tolist():
            owner, text = texts[start + i]
            another, like = others[int(nearest[i])]
            why = f"'{like}' of {another} says the same (cosine {best[i]:.3f})"
            yield Fault(owner, kind, text, "alike", why)
