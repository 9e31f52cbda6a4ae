"""The method as written in the paper: plain loops in float64, no shortcut, nothing of coder_clip.

Arrays are NumPy float64; features need not be unit. What coder_clip computes is held against this.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def grid_error(width: int, rows: int = 2) -> float:
    """Largest error of an inner product of rows of length 1, if ``rows`` of them are rounded to
    2^−25.

    Each number moves by half a step at most, and so a row by √width half steps.
    """
    return rows * math.sqrt(width) * 2.0**-26


def unit(v: Array) -> Array:
    length = math.sqrt(float(sum(a * a for a in v)))
    return v / length if length > 0 else v


def coder(x: Array, texts: Sequence[Array]) -> Array:
    """CODER(x) = (x·t_1, …, x·t_M)."""
    x = unit(x)
    return np.array([float(x @ unit(t)) for t in texts])


def class_scores(images: Array, mean_texts: Sequence[Array], max_texts: Sequence[Array]) -> Array:
    """100 · (sum over attribute and analogous texts + best name or synonym) / (number of the former
    + 1).
    """
    scores = np.zeros((len(images), len(max_texts)))
    for i, x in enumerate(images):
        for c, (of_mean, of_max) in enumerate(zip(mean_texts, max_texts, strict=True)):
            total = max(coder(x, list(of_max)))
            for cosine in coder(x, list(of_mean)):
                total += cosine
            scores[i, c] = 100 * total / (len(of_mean) + 1)
    return scores


def gap(scores: Array) -> float:
    """Softmax top-1 minus top-2 of one image's scores; 1 with one class."""
    if len(scores) == 1:
        return 1.0
    weights = np.array([math.exp(s - max(scores)) for s in scores])
    shares = sorted(weights / weights.sum(), reverse=True)
    return float(shares[0] - shares[1])


def candidates(scores: Array, k: int) -> list[int]:
    """The k best classes of one image, ties in class order."""
    return sorted(range(len(scores)), key=lambda c: -scores[c])[:k]


def duel_values(
    x: Array, classes: Sequence[int], texts: Mapping[tuple[int, int], Array]
) -> list[float]:
    """v of every candidate; a pair with a missing side counts 0."""
    x = unit(x)
    values = []
    for a in classes:
        differences = []
        for b in classes:
            if b == a:
                continue
            ours, theirs = texts.get((a, b), []), texts.get((b, a), [])
            if len(ours) and len(theirs):
                mean_ours = sum(float(x @ unit(t)) for t in ours) / len(ours)
                mean_theirs = sum(float(x @ unit(t)) for t in theirs) / len(theirs)
                differences.append(mean_ours - mean_theirs)
            else:
                differences.append(0.0)
        values.append(sum(differences) / len(differences) if differences else 0.0)
    return values


def affinity(images: Array, cache: Array, texts: Array) -> tuple[Array, Array]:
    """Min-max scaled cosines of CODERs of images and shots (N, K), and the range each row had
    before.
    """
    if cache.ndim == 3:
        cache = cache.sum(axis=0) / len(cache)
    keys = [unit(coder(key, list(texts))) for key in cache]
    rows, ranges = [], []
    for x in images:
        query = unit(coder(x, list(texts)))
        cosines = np.array([float(query @ key) for key in keys])
        width = cosines.max() - cosines.min()
        constant = width < 1e-12  # equal up to float64 rounding
        rows.append(np.ones(len(keys)) if constant else (cosines - cosines.min()) / width)
        ranges.append(width)
    return np.array(rows), np.array(ranges)


def votes(near: Array, labels: Sequence[int], n_classes: int, beta: float) -> Array:
    """Sum of exp(−β (1 − A)) over the shots of each class, shot after shot."""
    weights = np.exp(-beta * (1 - near))
    total = np.zeros((len(near), n_classes))
    for k, label in enumerate(labels):
        total[:, label] += weights[:, k]
    return total


def search(
    near: Array,
    clip_logits: Array,
    shot_labels: Sequence[int],
    labels: Array,
    n_classes: int,
    betas: tuple[float, float, int] = (0.1, 200, 500),
    alphas: tuple[float, float, int] = (0.1, 20, 50),
    rounds: int = 3,
) -> list[tuple[float, float, float]]:
    """Every point of every round in the published order -> (alpha, beta, accuracy) a round.

    The accuracies of all alphas of one beta are computed together and then looked at one after the
    other."""
    found = []
    for _ in range(rounds):
        beta_list = [i * (betas[1] - betas[0]) / betas[2] + betas[0] for i in range(betas[2])]
        alpha_list = [i * (alphas[1] - alphas[0]) / alphas[2] + alphas[0] for i in range(alphas[2])]
        best_right, best_beta, best_alpha = 0, 0.0, 0.0
        column = np.array(alpha_list)[:, None, None]
        for beta in beta_list:
            logits = clip_logits + column * votes(near, shot_labels, n_classes, beta)
            rights = (logits.argmax(axis=2) == labels).sum(axis=1)
            for alpha, right in zip(alpha_list, rights.tolist(), strict=True):
                if right > best_right:
                    best_right, best_beta, best_alpha = right, beta, alpha
        found.append((best_alpha, best_beta, best_right / len(labels)))
        betas = (best_beta * 0.5, best_beta * 1.5, betas[2])
        alphas = (best_alpha * 0.5, best_alpha * 1.5, alphas[2])
    return found
