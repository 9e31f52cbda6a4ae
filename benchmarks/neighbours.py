"""How far standard errors over images are too small for neighbours: ``python -m benchmarks.neighbours``

Two kinds of features that are equally good in truth, simulated many times: the standard deviation of the difference
between them over simulations, divided by the standard error that images alone give, and how often the difference is
then called clear (5 % would be right), without and with the factor of ``phases.evaluation.FACTORS``.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from coder_clip.evaluation.estimates import paired_mean_test, widened_test
from coder_clip.evaluation.intervals import clear
from coder_clip.evaluation.representation import knn_accuracy, retrieval_precision
from coder_clip.phases.evaluation import FACTORS

CASES = ((2, 50), (20, 10), (20, 30))  # classes, images per class
WIDTH, SPREAD, NOISE = 16, 0.9, 0.5  # of features, of class means, of what differs between the two kinds


def results(classes: int, per_class: int, rng: np.random.Generator) -> dict[str, list[NDArray[np.float64]]]:
    """Measure -> results (N,) of the images by two kinds of features."""
    labels = np.repeat(np.arange(classes), per_class)
    means = SPREAD * rng.standard_normal((classes, WIDTH))
    shared = means[labels] + rng.standard_normal((len(labels), WIDTH))
    found: dict[str, list[NDArray[np.float64]]] = {measure: [] for measure in FACTORS}
    for _ in range(2):
        features = torch.from_numpy(shared + NOISE * rng.standard_normal(shared.shape)).float()
        knn, nearest = knn_accuracy(features, labels, 5, 1)
        found["knn"].append(knn.astype(np.float64))
        found["nearest"].append(nearest.astype(np.float64))
        found["r_precision"].append(retrieval_precision(features, labels))
    return found


def simulate(
    classes: int, per_class: int, repeats: int, seed: int = 0
) -> dict[str, tuple[float, float, float]]:
    """Measure -> ratio of true and image-level standard error; share called clear without and with the factor."""
    rng = np.random.default_rng(seed)
    differences: dict[str, list[float]] = {measure: [] for measure in FACTORS}
    errors: dict[str, list[float]] = {measure: [] for measure in FACTORS}
    called: dict[str, list[tuple[bool, bool]]] = {measure: [] for measure in FACTORS}
    for _ in range(repeats):
        for measure, (before, after) in results(classes, per_class, rng).items():
            change = after - before
            differences[measure].append(float(change.mean()))
            errors[measure].append(float(change.std() / len(change) ** 0.5))
            test = paired_mean_test(before, after)
            tests = test, widened_test(test, FACTORS[measure])
            plain, wide = (bool(clear(t["difference"])) for t in tests)
            called[measure].append((plain, wide))
    return {
        measure: (
            float(np.std(differences[measure]) / np.mean(errors[measure])),
            *(float(share) for share in np.mean(called[measure], axis=0)),
        )
        for measure in FACTORS
    }


def main(repeats: int = 200) -> None:
    print("| measure | classes | images per class | true / image-level error | clear (%) | with factor (%) |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for classes, per_class in CASES:
        for measure, (ratio, plain, wide) in simulate(classes, per_class, repeats).items():
            print(
                f"| {measure} | {classes} | {per_class} | {ratio:.2f} | {100 * plain:.1f} | {100 * wide:.1f} |"
            )


if __name__ == "__main__":
    main()
