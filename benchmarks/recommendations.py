"""How often a recommendation is wrong: ``python -m benchmarks.recommendations``

Simulates runs in which no method is better than names alone: equal accuracy in truth, and most
images right or wrong by all methods, as with real ones. Each run has validation and test images.
The rule (`evaluation.recommendation`) chooses on the former and reports on the latter; the old rule
chose and reported on test images. Prints a Markdown table, and a second one for images that come in
bursts of near twins, with intervals over groups and, for comparison, over images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from coder_clip.evaluation.estimates import Estimate, estimate, paired_test
from coder_clip.evaluation.recommendation import NAMES, recommend

REPEATS = 12_000
METHODS, IMAGES = (2, 6, 12), (90, 300, 1000)
BURSTS, IN_BURSTS, FEWER_REPEATS = (2, 5, 20), (100, 300, 1000), 4000
TEST_SETS, FEWEST = 10, 100  # of each recommendation; recommendations, of fewer no share is printed
ACCURACY = 0.466  # of every method
# correlation of two methods in what makes an image hard: they differ on 14 % of the images
ALIKE = 0.9
Entry = dict[str, Any]


@dataclass
class Printed:
    """What is printed of methods on test images.

    differences: from names alone, 0 in truth; held, held_accuracy: if the intervals of difference
    and accuracy hold the truth.
    """

    differences: list[float] = field(default_factory=list)
    held: list[bool] = field(default_factory=list)
    held_accuracy: list[bool] = field(default_factory=list)

    def add(self, on_test: Entry) -> None:
        difference, accuracy = on_test["against_clip"]["difference"], on_test["accuracy"]
        self.differences.append(difference["value"])
        self.held.append(difference["low"] <= 0 <= difference["high"])
        self.held_accuracy.append(accuracy["low"] <= ACCURACY <= accuracy["high"])


@dataclass
class Rule:
    """A rule in all simulated runs.

    false: how many have a recommendation; best: the method that is most accurate on the images that
    choose; recommended: the methods that were recommended, each on several sets of test images.
    """

    false: int = 0
    best: Printed = field(default_factory=Printed)
    recommended: Printed = field(default_factory=Printed)


def results(methods: int, images: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Results (1 + methods, images) of names alone and of the other methods."""
    hard = rng.standard_normal(images)
    latent = ALIKE**0.5 * hard + (1 - ALIKE) ** 0.5 * rng.standard_normal((1 + methods, images))
    return np.asarray(latent < norm.ppf(ACCURACY))


@cache
def against(
    fixed: int, broke: int, images: int, tests: int, burst: int = 1, grouped: bool = False
) -> Entry:
    """`paired_test` of any results with these counts, each of ``burst`` near twins.

    grouped: over groups.
    """
    before, after = np.zeros(images), np.zeros(images)
    after[:fixed] = 1
    before[fixed : fixed + broke] = 1
    groups = np.repeat(np.arange(images), burst) if grouped else None
    return {**paired_test(before.repeat(burst), after.repeat(burst), tests, groups)}


@cache
def accuracy_of(right: int, images: int, burst: int = 1, grouped: bool = False) -> Estimate:
    groups = np.repeat(np.arange(images), burst) if grouped else None
    return estimate(np.repeat(np.arange(images) < right, burst), groups=groups)


def entries(
    right: NDArray[np.bool_],
    candidates: Sequence[str],
    tests: int,
    burst: int = 1,
    grouped: bool = False,
) -> list[Entry]:
    """What a run's documents hold of these results (`recommendation.entry`), names alone first.

    right: (1 + M, N) of images, or of bursts of near twins with the same results. grouped:
    intervals over bursts."""
    names, images = right[0], right.shape[1]
    made: list[Entry] = []
    for method, of in zip((NAMES, *candidates), right, strict=True):
        changed = int((of & ~names).sum()), int((names & ~of).sum())
        test = against(*changed, images, tests, burst, grouped)
        accuracy = accuracy_of(int(of.sum()), images, burst, grouped)
        made.append({"method": method, "accuracy": accuracy, "against_clip": test})
    return made


def in_bursts(
    methods: int, images: int, burst: int, repeats: int = FEWER_REPEATS, seed: int = 0
) -> tuple[Rule, Rule]:
    """The rule with intervals over bursts and, second, over images.

    Images come in bursts of near twins.
    """
    rng, rules = np.random.default_rng(seed), (Rule(), Rule())
    candidates = [f"method {i}" for i in range(methods)]
    for _ in range(repeats):
        validation, test = (results(methods, images // burst, rng) for _ in range(2))
        for rule, grouped in zip(rules, (True, False), strict=True):
            chosen_on = entries(validation, candidates, methods, burst, grouped)
            best = int(np.argmax([m["accuracy"]["value"] for m in chosen_on[1:]]))
            rule.best.add(entries(test, candidates, 1, burst, grouped)[1 + best])
            rule.false += recommend(chosen_on, candidates) != NAMES
    return rules


def simulate(methods: int, images: int, repeats: int = REPEATS, seed: int = 0) -> tuple[Rule, Rule]:
    """The rule, and the old one that chose on test images with uncorrected intervals.

    As many images to choose on.
    """
    rng, rule, old = np.random.default_rng(seed), Rule(), Rule()
    candidates = [f"method {i}" for i in range(methods)]

    def drawn(tests: int) -> list[Entry]:
        return entries(results(methods, images, rng), candidates, tests)

    for _ in range(repeats):
        validation, test = drawn(methods), drawn(1)
        for one, chosen_on in ((rule, validation), (old, test)):
            best = int(np.argmax([m["accuracy"]["value"] for m in chosen_on[1:]]))
            one.best.add(test[1 + best])
            one.false += recommend(chosen_on, candidates) != NAMES
        method = recommend(validation, candidates)
        if method in candidates:
            for _ in range(TEST_SETS):
                rule.recommended.add(drawn(1)[1 + candidates.index(method)])
    return rule, old


def main() -> None:
    """Print shares in percent and biases in points."""
    head = [
        "methods",
        "images",
        "false",
        "difference holds",
        "accuracy holds",
        "of recommended",
        "bias",
    ]
    head += ["old rule: false", "difference holds", "accuracy holds", "bias"]
    print(f"| {' | '.join(head)} |\n|{' ---: |' * len(head)}")
    for methods in METHODS:
        for images in IMAGES:
            rule, old = simulate(methods, images)
            held = f"{100 * np.mean(rule.recommended.held):.1f}" if rule.false >= FEWEST else "–"
            cells = [
                str(methods),
                f"{images:,}",
                *_cells(rule),
                held,
                _bias(rule),
                *_cells(old),
                _bias(old),
            ]
            print(f"| {' | '.join(cells)} |", flush=True)
    head = ["methods", "images", "burst", "false", "difference holds", "accuracy holds"]
    head += ["over images: false", "difference holds", "accuracy holds"]
    print(f"\n| {' | '.join(head)} |\n|{' ---: |' * len(head)}")
    for methods, images, burst in product(METHODS, IN_BURSTS, BURSTS):
        grouped, plain = in_bursts(methods, images, burst)
        cells = [str(methods), f"{images:,}", str(burst), *_cells(grouped), *_cells(plain)]
        print(f"| {' | '.join(cells)} |", flush=True)


def _cells(rule: Rule) -> list[str]:
    shares = (
        rule.false / len(rule.best.held),
        np.mean(rule.best.held),
        np.mean(rule.best.held_accuracy),
    )
    return [f"{100 * share:.1f}" for share in shares]


def _bias(rule: Rule) -> str:
    return f"{round(100 * np.mean(rule.best.differences), 1) + 0.0:+.1f}"  # no −0.0


if __name__ == "__main__":
    main()
