"""Accuracy after 20, 50 and 100 labels: "which ten next" against photos chosen at random.

    python packages/coder-clip-photos/benchmarks/next_ten.py --model MODEL FOLDER [FOLDER ...]

Each FOLDER has class folders of photos. Half of 2,000 are a pool, from which ten at a time are
labelled with their true class; accuracy is that of the page's answer (texts and labels together) on
the other half. Each draw of halves is run for both choices; the interval is Student's, over draws,
for their paired difference.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from coder_clip_photos import Classifier, labelling

TEN, AFTER, DRAWS, PHOTOS = 10, (20, 50, 100), 20, 2000


def accuracies(
    features: torch.Tensor, scores: torch.Tensor, truth: torch.Tensor, draw: int, proposed: bool
) -> list[float]:
    """Accuracy on the second half after each number of labels in the first half."""
    rng = np.random.default_rng(draw)
    shuffled = rng.permutation(len(truth))
    pool, test = shuffled[: len(truth) // 2], shuffled[len(truth) // 2 :]
    x, s, y = features[pool], scores[pool], truth[pool]
    # the photos of the other half come behind, so that one call gives the answer for all
    x_all, s_all = torch.cat([x, features[test]]), torch.cat([s, scores[test]])
    labelled: list[int] = []
    found = []
    while len(labelled) < AFTER[-1]:
        learned = labelling.can_learn(y[labelled].tolist())
        now = s
        if learned:
            now = labelling.learned_scores(x, s, labelled, y[labelled])
        unlabelled = [i for i in range(len(pool)) if i not in set(labelled)]
        if proposed:
            labelled += labelling.next_photos(x, now, unlabelled, TEN, learned=learned)
        else:
            labelled += rng.choice(unlabelled, TEN, replace=False).tolist()
        if len(labelled) in AFTER:
            answer = labelling.learned_scores(x_all, s_all, labelled, y[labelled])
            right = answer[len(pool) :].argmax(dim=1) == truth[test]
            found.append(float(right.double().mean()))
    return found


def interval(differences: NDArray[np.float64]) -> str:
    """Mean with its 95 % interval over draws, in points."""
    mean, error = differences.mean(), stats.sem(differences)
    half = stats.t.ppf(0.975, len(differences) - 1) * error
    return f"{100 * mean:+.1f} [{100 * (mean - half):+.1f}, {100 * (mean + half):+.1f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--draws", type=int, default=DRAWS)
    parser.add_argument("folders", nargs="+", type=Path)
    given = parser.parse_args()
    print("| photos | labels | at random | which ten next | difference |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for folder in given.folders:
        files = sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix in (".jpg", ".png"))
        classes = sorted({p.parent.name for p in files})
        chosen = np.random.default_rng(0).permutation(len(files))[:PHOTOS]
        files = [files[i] for i in sorted(chosen)]
        truth = torch.tensor([classes.index(p.parent.name) for p in files])
        c = Classifier(given.model, classes)
        features = c.features(files)
        scores = c.decide(features).scores
        by_texts = float((scores.argmax(dim=1) == truth).double().mean())
        print(
            f"| {folder.name}: {len(files):,} | 0 | {100 * by_texts:.1f} | {100 * by_texts:.1f} | |"
        )
        runs = [
            np.array([accuracies(features, scores, truth, d, way) for d in range(given.draws)])
            for way in (False, True)
        ]
        for i, n in enumerate(AFTER):
            random, proposed = (100 * run[:, i].mean() for run in runs)
            difference = interval(runs[1][:, i] - runs[0][:, i])
            print(f"| {folder.name} | {n} | {random:.1f} | {proposed:.1f} | {difference} |")


if __name__ == "__main__":
    main()
