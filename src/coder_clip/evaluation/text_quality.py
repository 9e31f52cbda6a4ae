"""Check a text set before any image is classified: counts, repeats, names of other classes, coverage.

None of it says that a text is true. It finds slips that cost accuracy unseen: a class without texts, one text for two
classes, a description of "a lake" under "river".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from ..foundation import terminal
from ..texts.kinds import IN_CODER
from ..texts.names import name_key
from ..texts.sentences import spaces

if TYPE_CHECKING:
    from ..texts.sets import PairSet, TextSet


@dataclass(frozen=True)
class Text:
    """One text and its class; against (one_to_one): the other class of the pair."""

    kind: str
    index: int
    text: str
    against: int = -1


@dataclass(frozen=True)
class Quality:
    """One kind of one data set.

    texts, classes: how many, and how many classes (one_to_one: pairs) have some, of how many. per_class: fewest,
    mean and most of those that have some (one_to_one: of a side of a pair). shared: (text, class names) used by
    several classes. names_another: (class, text, class named). coverage: one_to_one, share of compared pairs with a
    text, if a run has measured it.
    """

    dataset: str
    kind: str
    texts: int
    classes: int
    of: int
    per_class: tuple[int, float, int]
    shared: list[tuple[str, list[str]]]
    names_another: list[tuple[str, str, str]]
    coverage: float | None = None

    def document(self) -> dict[str, Any]:
        return asdict(self)


def quality(texts: TextSet, pairs: PairSet | None, coverage: float | None = None) -> list[Quality]:
    """Every kind that the text set has, in the order of the method."""
    names = [spaces(c.name) for c in texts.classes]
    found = []
    for kind, group in groupby(_texts(texts, pairs), key=lambda t: t.kind):
        of_kind, of_pair = list(group), kind == "one_to_one"
        per_class = Counter((t.index, t.against) for t in of_kind)
        found.append(
            Quality(
                dataset=texts.dataset,
                kind=kind,
                texts=len(of_kind),
                classes=len({frozenset(place) for place in per_class}),
                of=len(names) * (len(names) - 1) // 2 if of_pair else len(names),
                per_class=_spread(per_class.values()),
                shared=[] if of_pair else _shared(of_kind, names),
                names_another=_names_another(of_kind, names),
                coverage=coverage if of_pair else None,
            )
        )
    return found


def _texts(texts: TextSet, pairs: PairSet | None) -> Iterator[Text]:
    for kind in IN_CODER:
        for i, c in enumerate(texts.classes):
            for text in c.of(kind):
                yield Text(kind, i, text)
    for pair in pairs.pairs if pairs else ():
        a, b = pair.a_index, pair.b_index
        for index, against, of_side in ((a, b, pair.a_not_b), (b, a, pair.b_not_a)):
            for text in of_side:
                yield Text("one_to_one", index, text, against)


def _shared(texts: Sequence[Text], names: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Texts of several classes, in any spelling: they say nothing about which of the classes it is."""
    of: dict[str, dict[int, str]] = {}
    for t in texts:
        of.setdefault(name_key(t.text), {}).setdefault(t.index, t.text)
    return [(next(iter(f.values())), [names[i] for i in f]) for f in of.values() if len(f) > 1]


def _names_another(texts: Sequence[Text], names: Sequence[str]) -> list[tuple[str, str, str]]:
    """Texts in which the name of another class is a separate word (plurals too)."""
    key_of = [name_key(n) for n in names]
    of_key: dict[str, str] = {}
    for key, name in zip(key_of, names, strict=True):
        of_key.setdefault(key, name)
        of_key.setdefault(f"{key}s", name)
    longest_first = sorted(of_key, key=len, reverse=True)
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
    found = []
    for t in texts:
        if t.kind == "name":
            continue
        own = re.compile(rf"(?<!\w){re.escape(key_of[t.index])}s?(?!\w)")
        rest = own.sub(" ", name_key(t.text))  # "a bull terrier" is part of the class's own longer name
        named = dict.fromkeys(of_key[m[0]] for m in pattern.finditer(rest))
        found += [(names[t.index], t.text, other) for other in named if name_key(other) != key_of[t.index]]
    return found


def _spread(values: Collection[int]) -> tuple[int, float, int]:
    return (min(values), sum(values) / len(values), max(values))


# ---- as text


def table(found: Sequence[Quality]) -> list[str]:
    """The numbers in aligned columns."""
    rows = [
        {
            "data set": q.dataset,
            "kind": q.kind,
            "texts": str(q.texts),
            "classes": f"{q.classes}/{q.of}" + (" pairs" if q.kind == "one_to_one" else ""),
            "per class": _range(q.per_class),
            "shared": str(len(q.shared)),
            "names another": str(len(q.names_another)),
            "coverage": "–" if q.coverage is None else f"{100 * q.coverage:.1f} %",
        }
        for q in found
    ]
    return terminal.table(list(rows[0]), [list(row.values()) for row in rows])


def findings(found: Sequence[Quality]) -> list[str]:
    """What deserves a look, one line each."""
    lines = []
    for q in found:
        start = f"{q.dataset}, {q.kind}: "
        lines += [f"{start}'{t}' is a text of {' and of '.join(names)}" for t, names in q.shared]
        lines += [f"{start}'{t}' of {name} names the class {other}" for name, t, other in q.names_another]
    times = Counter(" ".join(line.split()) for line in lines)
    return [line if n == 1 else f"{line} ({n} times)" for line, n in times.items()]


def _range(values: tuple[int, float, int]) -> str:
    low, mean, high = values
    return f"{low}" if low == high else f"{low}–{high} (mean {mean:.1f})"
