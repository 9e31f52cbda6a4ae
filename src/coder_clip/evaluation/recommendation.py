"""What a run recommends: a method that is clearly better than names alone on validation images, or names alone.

The one rule of the report, ``coder-clip classify --run`` and ``coder-clip explore``. Test images choose nothing: they
show what is recommended with plain 95 % intervals, whatever these say. ``python -m benchmarks.recommendations``
simulates how often the rule is wrong; docs/method.md has its numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..baselines.methods import LABELS, ZERO_SHOT
from .estimates import Labels, Values, estimate, paired_test
from .intervals import clear

NAMES = "clip"  # names alone: what every other method is compared with
Document = Mapping[str, Any]


@dataclass(frozen=True)
class Recommendation:
    """What a run recommends. method: None without validation images; images: number of validation images.

    on_test: the method's entry on test images, as the run's document has it; None without a method.
    """

    method: str | None
    images: int = 0
    on_test: Document | None = None

    @property
    def reason(self) -> str:
        """Why, without the method's name: in the report, on the command line and in ``explore`` alike."""
        if self.method is None:
            return "nothing is recommended, because there are no validation images to choose on"
        images = "validation image" if self.images == 1 else f"{self.images:,} validation images"
        where = f"than names alone on the {images}"
        return f"no method is clearly better {where}" if self.method == NAMES else f"clearly better {where}"

    @property
    def label(self) -> str:
        """The method in words; "nothing" without one."""
        if self.method is None:
            return "nothing"
        return "names alone" if self.method == NAMES else LABELS[self.method]

    @property
    def advice(self) -> str:
        """What to use, and why, in one sentence."""
        if self.method is None:
            return f"{self.reason.capitalize()}."
        named = self.label if self.method == NAMES else f"“{self.label}”"
        return f"Use {named}: {self.reason}."

    @property
    def confirmed(self) -> str:
        """What test images say about a recommended method; "" for names alone."""
        if self.on_test is None or self.method == NAMES:
            return ""
        return {
            "better": "on test images it is clearly better, too",
            "": "on test images the difference is not clear",
            "worse": "on test images it is clearly worse",
        }[clear(self.on_test["against_clip"]["difference"])]


def candidates(methods: Iterable[str]) -> list[str]:
    """Those of these methods that can be recommended beside names alone, in the order of METHODS: no diagnostics."""
    there = set(methods)
    return [m for m, about in ZERO_SHOT.items() if m in there and m != NAMES and not about.diagnostic]


def entry(
    method: str,
    setting: str,
    correct: Values,
    of_names: Values,
    tests: int,
    groups: Labels | None = None,
) -> dict[str, Any]:
    """A method on validation images: its accuracy, and its difference from names alone, corrected for ``tests``.

    correct, of_names: (N,) of 0 and 1, the method's results and those of names alone; tests: number of candidates.
    groups: (N,), near twins share a number, and the intervals are over groups.
    """
    against = None if method == NAMES else paired_test(of_names, correct, tests, groups)
    accuracy = estimate(correct, groups=groups)
    return {"method": method, "setting": setting, "accuracy": accuracy, "against_clip": against}


CANDIDATES = candidates(ZERO_SHOT)


def recommend(methods: Sequence[Document], among: Sequence[str] = CANDIDATES) -> str | None:
    """The most accurate of the candidates that are clearly better than names alone; of equals the first.

    methods: entries on validation images (:func:`entry`). among: the candidates; the intervals of fewer than all stay
    corrected for all. Names alone if no candidate is clearly better; None without entries.
    """
    if not methods:
        return None
    of = {m["method"]: m for m in methods}
    better = [m for m in among if m in of and clear(of[m]["against_clip"]["difference"]) == "better"]
    return max(better, key=lambda m: float(of[m]["accuracy"]["value"]), default=NAMES)


def of_run(zero_shot: Document, rerank: Document, among: Sequence[str] = CANDIDATES) -> Recommendation:
    """The recommendation of a run for one data set and model, from the documents of zero_shot and rerank."""
    if zero_shot["validation"] is None:
        return Recommendation(None)
    entries = [*zero_shot["validation"]["methods"], *rerank["validation"]["methods"]]
    method = recommend(entries, among)
    setting = next(m["setting"] for m in entries if m["method"] == method)
    on_test = next(
        m
        for m in (*zero_shot["methods"], *rerank["methods"])
        if (m["method"], m["setting"]) == (method, setting)
    )
    return Recommendation(method, zero_shot["validation"]["images"], on_test)
