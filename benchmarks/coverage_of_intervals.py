"""Coverage of the 95 % intervals over runs and images.

``python -m benchmarks.coverage_of_intervals``

Simulates two methods on N images and S runs (a seed's shots, or a draw of random words). Images are
hard or easy, runs lucky or not, and both change the difference of the methods; an interval is meant
for other runs and other images. For
comparison: percentiles of a bootstrap over runs and images, which cannot estimate the variation of
three runs. Prints a Markdown table, and one for images that come in bursts of near twins.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product

import numpy as np
from numpy.typing import NDArray

from coder_clip.evaluation.intervals import DIFFERENCE, LEVEL, SHARE, clear, crossed_interval

REPEATS, RESAMPLES = 500, 200
CASES = (  # runs, images, how much runs and how much images vary (logits)
    *((s, 1000, *vary) for s in (1, 2) for vary in ((0.3, 2.0), (0.6, 1.0))),
    *((3, n, *vary) for n in (200, 1000) for vary in ((0.0, 2.0), (0.3, 2.0), (0.6, 1.0))),
    *((10, 1000, *vary) for vary in ((0.0, 2.0), (0.6, 1.0))),
)
Runs = NDArray[np.float64]
IN_BURSTS = tuple(product((1, 3), (100, 1000), (2, 5, 20)))  # runs, images, near twins in a burst


def simulated(
    seeds: int, images: int, of_seeds: float, of_images: float, rng: np.random.Generator
) -> tuple[Runs, Runs]:
    """Results (S, N) of the new method, and their change from the old one."""
    chance = rng.random((seeds, images))
    hard = (
        1.5
        + of_images * rng.standard_normal(images)
        + 0.3 * of_seeds * rng.standard_normal((seeds, 1))
    )
    gain = (
        0.2
        + 0.5 * of_images * rng.standard_normal(images)
        + of_seeds * rng.standard_normal((seeds, 1))
    )
    before, after = (chance < 1 / (1 + np.exp(-logit)) for logit in (hard, hard + gain))
    return after.astype(float), after.astype(float) - before


def percentiles(runs: Runs, rng: np.random.Generator) -> tuple[float, float]:
    """Interval by a bootstrap over runs and images together."""
    s, n = runs.shape
    means = [
        (rng.multinomial(s, np.full(s, 1 / s)) / s)
        @ runs
        @ (rng.multinomial(n, np.full(n, 1 / n)) / n)
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def coverage(
    seeds: int,
    images: int,
    of_seeds: float,
    of_images: float,
    repeats: int = REPEATS,
    bootstrap: bool = False,
) -> list[float]:
    """Shares of intervals that hold the truth.

    For a difference and an accuracy, then the same by the bootstrap.
    """
    rng = np.random.default_rng(0)
    many = [simulated(400, 400, of_seeds, of_images, rng) for _ in range(40)]
    truth = [float(np.mean([pair[i].mean() for pair in many])) for i in (1, 0)]
    hits = np.zeros(4 if bootstrap else 2)
    for _ in range(repeats):
        after, change = simulated(seeds, images, of_seeds, of_images, rng)
        intervals = [crossed_interval(change, DIFFERENCE)[:2], crossed_interval(after, SHARE)[:2]]
        if bootstrap:
            intervals += [percentiles(change, rng), percentiles(after, rng)]
        hits += [low <= truth[i % 2] <= high for i, (low, high) in enumerate(intervals)]
    return [float(hit / repeats) for hit in hits]


def in_bursts(seeds: int, images: int, burst: int, repeats: int = 4 * REPEATS) -> list[float]:
    """Intervals for a difference that is 0 in truth, in bursts.

    The share that is clear over groups and over images, and the shares that hold the truth for an
    accuracy.

    Near twins have the same results. Images vary by 2 logits, several runs by 0.3, the same for
    both methods.
    """
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(images // burst), burst)
    truth = float(np.mean([one_method(400, 1000, rng).mean() for _ in range(40)]))
    found = np.zeros(4)
    for _ in range(repeats):
        hard = 2 * rng.standard_normal(images // burst)
        before, after = (one_method(seeds, images // burst, rng, hard)[:, groups] for _ in range(2))
        for i, numbers in enumerate((groups, None)):
            low, high, _ = crossed_interval(after - before, DIFFERENCE, groups=numbers)
            found[i] += bool(clear({"low": low, "high": high})) and bool((after != before).any())
            low, high, _ = crossed_interval(after, SHARE, groups=numbers)
            found[2 + i] += low <= truth <= high
    return [float(share / repeats) for share in found]


def one_method(
    seeds: int, images: int, rng: np.random.Generator, hard: Runs | None = None
) -> NDArray[np.float64]:
    """Results (S, N) of a method. hard: (N,) how easy the images are for all methods, in logits."""
    hard = 2 * rng.standard_normal(images) if hard is None else hard
    lucky = (
        0.3 * rng.standard_normal((seeds, 1)) * (seeds > 1)
    )  # an interval of one run is for its shots
    logits = hard + rng.standard_normal(images) + lucky
    return np.asarray(rng.random((seeds, images)) < 1 / (1 + np.exp(-logits)), dtype=np.float64)


def print_row(case: Iterable[object], shares: Iterable[float]) -> None:
    """A row of a table: the case, and shares in percent."""
    cells = [*map(str, case), *(f"{100 * share:.1f}" for share in shares)]
    print(f"| {' | '.join(cells)} |")


def main() -> None:
    """Print the coverage for differences and accuracies, in percent."""
    print(
        "| runs | images | runs vary | images vary | difference | accuracy | bootstrap: difference "
        "| accuracy |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for case in CASES:
        shares = coverage(*case, bootstrap=True)
        print_row(case, shares)
    print(
        "\n| runs | images | burst | clear, over groups | over images | accuracy, over groups | "
        "over images |"
    )
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for case in IN_BURSTS:
        shares = in_bursts(*case)
        print_row(case, shares)


if __name__ == "__main__":
    main()
