"""How far standard errors over images are too small for neighbours.

``python -m benchmarks.neighbours``

Two kinds of features that are equally good in truth, simulated many times: the standard deviation
of the difference between them over simulations, divided by the standard error that images alone
give, and how often the difference is then called clear (5 % would be right), without and with the
factor of ``phases.evaluation.FACTORS``. Also for scenes of which several shots were taken, with
intervals over scenes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from coder_clip.evaluation.estimates import paired_mean_test, widened_test
from coder_clip.evaluation.intervals import clear
from coder_clip.evaluation.representation import neighbourhoods
from coder_clip.phases.evaluation import FACTORS

CASES = (
    (2, 50, 1),
    (20, 10, 1),
    (20, 30, 1),
    (2, 50, 5),
    (20, 10, 5),
    (20, 10, 20),
)  # classes, scenes a class, shots
STEADY = 0.05  # how far shots of one scene are from each other
WIDTH, SPREAD, NOISE = (
    16,
    0.9,
    0.5,
)  # of features, of class means, of what differs between the two kinds


def results(
    classes: int, per_class: int, rng: np.random.Generator, burst: int = 1
) -> dict[str, list[NDArray[np.float64]]]:
    """Measure -> results (N,) of the images by two kinds of features.

    burst: shots of each scene, one after another.
    """
    labels = np.repeat(np.arange(classes), per_class)
    means = SPREAD * rng.standard_normal((classes, WIDTH))
    shared = means[labels] + rng.standard_normal((len(labels), WIDTH))
    found: dict[str, list[NDArray[np.float64]]] = {measure: [] for measure in FACTORS}
    for _ in range(2):
        scenes = shared + NOISE * rng.standard_normal(shared.shape)
        shots, groups = scenes, None
        if burst > 1:
            shots = scenes.repeat(burst, axis=0)
            shots += STEADY * rng.standard_normal(shots.shape)
            groups = torch.arange(len(scenes)).repeat_interleave(burst)
        features, truth = torch.from_numpy(shots).float(), labels.repeat(burst)
        (knn, nearest), r_precision = neighbourhoods(features, truth, 5, 1, groups=groups)
        found["knn"].append(knn.astype(np.float64))
        found["nearest"].append(nearest.astype(np.float64))
        found["r_precision"].append(r_precision)
    return found


def simulate(
    classes: int, per_class: int, repeats: int, seed: int = 0, burst: int = 1
) -> dict[str, tuple[float, float, float]]:
    """Measure -> ratio of true and image-level standard error.

    Share called clear without and with the factor.
    """
    rng = np.random.default_rng(seed)
    differences: dict[str, list[float]] = {measure: [] for measure in FACTORS}
    errors: dict[str, list[float]] = {measure: [] for measure in FACTORS}
    called: dict[str, list[tuple[bool, bool]]] = {measure: [] for measure in FACTORS}
    for _ in range(repeats):
        for measure, (before, after) in results(classes, per_class, rng, burst).items():
            change = after - before
            differences[measure].append(float(change.mean()))
            of_scenes = change.reshape(-1, burst).mean(axis=1)
            errors[measure].append(float(of_scenes.std() / len(of_scenes) ** 0.5))
            groups = np.arange(len(change)) // burst if burst > 1 else None
            test = paired_mean_test(before, after, groups)
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
    columns = [
        "measure",
        "classes",
        "scenes per class",
        "shots",
        "true / scene-level error",
        "clear (%)",
        "with factor (%)",
    ]
    print(f"| {' | '.join(columns)} |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for classes, per_class, burst in CASES:
        found = simulate(classes, per_class, repeats, burst=burst)
        for measure, (ratio, plain, wide) in found.items():
            cells = [
                measure,
                classes,
                per_class,
                burst,
                f"{ratio:.2f}",
                f"{100 * plain:.1f}",
                f"{100 * wide:.1f}",
            ]
            print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
