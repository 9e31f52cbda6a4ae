"""Controls of CODER in plain NumPy: explicit descriptions, all pairs of images, loops over images.

    python tests/support/plain_controls.py RESULTS DATASET …

recomputes the controls of a run whose texts are features (such as results/true_clip), from its
image and text features alone, and prints the largest deviation from its documents in points.

The run rounds descriptions to a grid of 2⁻²⁵, and two neighbours may be closer than that: of
Oxford-IIIT Pet, described by images, the two nearest of one image differ by 7e-9, where cosines vary
by 2e-3. So each number is computed twice, with such ties for and against the image's own class, and
a run deviates by what it has beyond the two.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

Array = NDArray[Any]
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
DRAWS = 10
TIE = 2.0**-24  # cosines that differ by less may be in either order after rounding


def unit(rows: Array) -> Array:
    """Rows of length 1, rounded to 25 bits as everywhere in this project, so that copies tie."""
    rows = np.asarray(rows, dtype=np.float64)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-150)
    return np.round(rows * 2.0**25) / 2.0**25


def draw(rows: Array, count: int, *seed: int) -> Array:
    if len(rows) <= count:
        return rows
    return rows[np.sort(np.random.default_rng(seed).choice(len(rows), count, replace=False))]


def rotation(width: int, *seed: int) -> Array:
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((width, width)))
    return np.asarray(q * np.sign(np.diag(r)))


def whitened(x: Array, val: Array, strength: float) -> Array:
    """x minus the mean of val, times (scatter + trace / (n − 1))^(−strength / 2)."""
    val = unit(val)
    mean = val.mean(axis=0)
    scatter = (val - mean).T @ (val - mean)
    shrunk = scatter + np.trace(scatter) / (len(val) - 1) * np.eye(len(mean))
    values, axes = np.linalg.eigh(shrunk)
    power = axes @ np.diag((values / values[-1]) ** (-strength / 2)) @ axes.T
    return np.asarray((unit(x) - mean) @ power)


def projected(x: Array, rows: Array) -> Array:
    """x on the first half of the principal components of rows."""
    rows = unit(rows)
    _, s, axes = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    kept = min(int((s**2 > 1e-12 * len(rows)).sum()), max(1, rows.shape[1] // 2))
    return np.asarray(unit(x) @ axes[:kept].T)


def controls(
    x: Array, texts: Array, names: Array, val: Array, others: Array, own: Array, seed: int
) -> Iterator[tuple[str, list[Array]]]:
    """Name -> descriptions of images x (N, d) by each control, one for each draw; whitening apart."""
    m, width = len(texts), x.shape[1]
    x_unit, draws = unit(x), range(DRAWS)

    def some(rows: Array, count: int) -> list[Array]:
        return [draw(rows, count, seed, d) for d in (draws if len(rows) > count else [0])]

    yield "original", [x_unit]
    yield "coder", [x_unit @ unit(texts).T]
    yield "other_images", [x_unit @ unit(rows).T for rows in some(others, m)]
    yield "own_images", [x_unit @ unit(rows).T for rows in some(own, m)]
    yield "rotated_texts", [x_unit @ (unit(texts) @ rotation(width, seed, d).T).T for d in draws]
    yield (
        "random_directions",
        [
            x_unit @ unit(np.random.default_rng([seed, d]).standard_normal((m, width))).T
            for d in draws
        ],
    )
    yield "centred", [whitened(x, val, 0.0)]
    yield "projected", [projected(x, names)]
    yield "projected_images", [projected(x, rows) for rows in some(others, len(names))]


def cosines(features: Array, groups: Array | None) -> Array:
    """All cosines (N, N); −inf with itself and with near twins."""
    rows = features / np.linalg.norm(features, axis=1, keepdims=True)
    similarity = rows @ rows.T
    same = np.eye(len(rows), dtype=bool)
    if groups is not None:
        same |= groups[:, None] == groups
    similarity[same] = -np.inf
    return np.asarray(similarity)


def measured(
    features: Array, labels: Array, k: int, groups: Array | None, favour: float = 0.0
) -> tuple[float, float, float]:
    """Accuracy of the vote of k, of the nearest, and R-precision, image by image. favour: added to
    the cosines of images of one class.
    """
    similarity = cosines(features, groups)
    similarity[labels[:, None] == labels] += favour
    knn, nearest, precision = [], [], []
    for i, row in enumerate(similarity):
        order = np.argsort(-row, kind="stable")
        order = order[np.isfinite(row[order])]
        voters = labels[order[:k]].tolist()
        # max takes the first of equal counts, so the nearest decides
        winner = max(voters, key=voters.count) if voters else -1
        knn.append(winner == labels[i])
        nearest.append(bool(voters) and voters[0] == labels[i])
        others = int(np.isfinite(row)[labels == labels[i]].sum())
        if others:
            precision.append((labels[order[:others]] == labels[i]).mean())
    return float(np.mean(knn)), float(np.mean(nearest)), float(np.mean(precision))


def strongest(val: Array, labels: Array, k: int, groups: Array | None) -> float:
    accuracies = [measured(whitened(val, val, s), labels, k, groups)[0] for s in STRENGTHS]
    return STRENGTHS[int(np.argmax(accuracies))]


def tensors(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    with safe_open(path, "np") as file:
        head = json.loads(file.metadata()["coder_clip"])
        return {key: file.get_tensor(key) for key in file.keys()}, head  # noqa: SIM118


def deviations(
    results: Path, dataset: str, others: list[str], model: str = "clip-b32", seed: int = 0
) -> dict[tuple[str, str], float]:
    """(features, measure) -> the run's value minus this script's, in points; for whitening also
    whether the strength is the one that validation images choose (0 or NaN).
    """
    folder = results / "image_features" / model
    test, _ = tensors(folder / dataset / "test.safetensors")
    val, val_head = tensors(folder / dataset / "val.safetensors")
    shots, shots_head = tensors(folder / dataset / "shots.safetensors")
    known = set(val_head["ids"])
    new = [i for i, image in enumerate(shots_head["ids"]) if image not in known]
    own = np.concatenate([unit(val["features"]), unit(shots["features"][new])])
    pool = np.concatenate(
        [unit(tensors(folder / o / "val.safetensors")[0]["features"]) for o in others]
    )
    texts, text_head = tensors(results / "text_features" / model / f"{dataset}.safetensors")
    vocabulary = np.array([kind == "vocabulary" for kind in text_head["kind"]])
    document = json.loads(
        (results / "evaluation" / model / f"{dataset}.json").read_text(encoding="utf-8")
    )
    k = document["feature_quality"][0]["k"]
    strength = strongest(val["features"], val["labels"], k, val.get("groups"))
    described = dict(
        controls(
            test["features"],
            texts["features"][vocabulary],
            texts["imagenet_names"],
            val["features"],
            pool,
            own,
            seed,
        )
    )
    described["whitened"] = [whitened(test["features"], val["features"], strength)]
    against, in_favour = (
        {
            name: np.mean(
                [measured(f, test["labels"], k, test.get("groups"), favour) for f in draws], axis=0
            ).tolist()
            for name, draws in described.items()
        }
        for favour in (-TIE, TIE)
    )
    assert all(
        high - low < 0.002
        for name in described
        for low, high in zip(against[name], in_favour[name], strict=True)
    ), "so many ties decide nothing"
    right = document["controls"]["whitening"] == strength
    deviation: dict[tuple[str, str], float] = {("whitening", ""): 0.0 if right else float("nan")}
    for entry in document["feature_quality"]:
        name = entry["features"]
        if name in described:
            for i, measure in ((0, "knn_accuracy"), (2, "retrieval_precision")):
                ends = against[name][i], in_favour[name][i]
                deviation[name, measure] = beyond(entry[measure]["value"], *ends)
    for entry in document["neighbour_tests"]:
        before, after = entry["before"], entry["after"]
        if {before, after} <= set(described):
            i = ("knn", "nearest", "r_precision").index(entry["measure"])
            least = against[after][i] - in_favour[before][i]
            most = in_favour[after][i] - against[before][i]
            key = f"{after} - {before}", entry["measure"]
            deviation[key] = beyond(entry["value"], least, most)
    return deviation


def beyond(value: float, low: float, high: float) -> float:
    """How far a value is below (negative) or above two ends, in points; 0 between them."""
    return 100 * (value - min(max(value, low), high))


def main(results: Path, datasets: list[str]) -> None:
    """datasets: those with validation images that are no parts, in the run's order: its pool."""
    for dataset in datasets:
        found = deviations(results, dataset, [d for d in datasets if d != dataset])
        worst = max(found, key=lambda key: abs(found[key]))
        print(f"{dataset}: {len(found)} numbers, at most {found[worst]:+.4f} points {worst}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
