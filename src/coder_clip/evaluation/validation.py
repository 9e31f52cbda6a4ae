"""Zero-shot methods on validation images, as `recommendation` reads them.

A module of its own: the phases that classify know nothing of few-shot methods.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .estimates import compare, estimate

if TYPE_CHECKING:
    from .estimates import Labels, Values

NAMES = "clip"  # names alone: what every other method is compared with
# zero-shot methods that are measurements, and never recommended
DIAGNOSTICS = ("random_words", "attributes_alone")


def n_candidates(methods: Iterable[str]) -> int:
    """How many of these zero-shot methods can be recommended besides names alone."""
    return len({*methods} - {NAMES, *DIAGNOSTICS})


def entry(
    method: str,
    setting: str,
    correct: Values,
    of_names: Values,
    tests: int,
    groups: Labels | None = None,
) -> dict[str, Any]:
    """A method on validation images: its accuracy, and its difference from names alone, corrected
    for ``tests``.

    correct, of_names: (N,) of 0 and 1, the results of the method and of names alone; tests: number
    of candidates. groups: (N,), near twins share a number, and the intervals are over groups.
    Keys: method, setting, accuracy (`Estimate`), against_clip (`Difference`; None for names alone).
    """
    against = None
    if method != NAMES:
        against = compare(of_names, correct, groups=groups, tests=tests)
    accuracy = estimate(correct, groups=groups)
    return {"method": method, "setting": setting, "accuracy": accuracy, "against_clip": against}
