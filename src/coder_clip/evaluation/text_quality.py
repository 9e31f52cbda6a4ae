"""Count the texts of a text set before any image is classified, with the faults that the checks find.

None of it says that a text is true.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ..foundation import terminal
from ..texts.checks import Fault, check
from ..texts.kinds import IN_CODER

if TYPE_CHECKING:
    from ..texts.sets import PairSet, TextSet


@dataclass(frozen=True)
class Quality:
    """One kind of one data set.

    texts, classes: how many, and how many classes (one_to_one: pairs) have some, of how many. per_class: fewest,
    mean and most of those that have some (one_to_one: of a side of a pair). faults: what the checks find
    (`coder_clip.texts.checks`). coverage: one_to_one, share of compared pairs with a text, if a run has measured it.
    """

    dataset: str
    kind: str
    texts: int
    classes: int
    of: int
    per_class: tuple[int, float, int]
    faults: list[Fault]
    coverage: float | None = None

    def document(self) -> dict[str, Any]:
        return asdict(self)


def quality(texts: TextSet, pairs: PairSet | None, coverage: float | None = None) -> list[Quality]:
    """Every kind that the text set has, in the order of the method."""
    found, faults, n = [], check(texts, pairs), len(texts.classes)
    of_pairs = [(len(p.a_not_b), len(p.b_not_a)) for p in pairs.pairs] if pairs else []
    for kind in (*IN_CODER, "one_to_one"):
        of_pair = kind == "one_to_one"
        lists = of_pairs if of_pair else [(len(c.of(kind)),) for c in texts.classes]
        counts = [count for each in lists for count in each if count]
        if counts:
            found.append(
                Quality(
                    dataset=texts.dataset,
                    kind=kind,
                    texts=sum(counts),
                    classes=sum(any(each) for each in lists),
                    of=n * (n - 1) // 2 if of_pair else n,
                    per_class=_spread(counts),
                    faults=[f for f in faults if f.kind == kind],
                    coverage=coverage if of_pair else None,
                )
            )
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
            "faults": str(len(q.faults)),
            "coverage": "–" if q.coverage is None else f"{100 * q.coverage:.1f} %",
        }
        for q in found
    ]
    return terminal.table(list(rows[0]), [list(row.values()) for row in rows])


def findings(found: Sequence[Quality]) -> list[str]:
    """What deserves a look, one line each."""
    times = Counter(" ".join(f"{q.dataset}: {fault}".split()) for q in found for fault in q.faults)
    return [line if n == 1 else f"{line} ({n} times)" for line, n in times.items()]


def _range(values: tuple[int, float, int]) -> str:
    low, mean, high = values
    return f"{low}" if low == high else f"{low}–{high} (mean {mean:.1f})"
