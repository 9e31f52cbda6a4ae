"""The proof of `texts weigh`: texts are chosen on shots, and their effect is measured on others."""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch

from benchmarks.dropped_texts import as_many, compared
from coder_clip.evaluation.text_ablations import StageOne
from coder_clip.evaluation.text_weights import weigh

KINDS = ["name", *["attribute"] * 6, "analogous"]


def stages() -> list[StageOne]:
    """Shots and test images of alike classes, two of which have three attributes of another."""
    rng = np.random.default_rng(4)
    n_classes = 4
    centres = 3 * rng.normal(size=10) + 0.5 * rng.normal(size=(n_classes, 10))
    owner = np.repeat(np.arange(n_classes), len(KINDS))
    texts = centres[owner] + 0.1 * rng.normal(size=(len(owner), 10))
    wrong = np.tile(np.arange(len(KINDS)) >= 4, n_classes) & (np.array(KINDS * 4) == "attribute")
    wrong &= owner < 2
    texts[wrong] = centres[(owner[wrong] + 1) % n_classes]
    made = []
    for n in (160, 400):
        labels = np.arange(n) % n_classes
        x = centres[labels] + 0.8 * rng.normal(size=(n, 10))
        made.append(
            StageOne(
                torch.from_numpy(x), labels, torch.from_numpy(texts), owner, KINDS * 4, n_classes
            )
        )
    return made


def test_what_the_shots_advise_helps_and_the_opposite_hurts() -> None:
    """A table with swapped signs would advise to drop the best texts."""
    shots, test = stages()
    row = compared(shots, test)
    assert row["dropped"] > 0
    assert row["advised"]["low"] > 0
    assert row["the best"]["value"] < row["at random"]["value"] < row["advised"]["value"]


def test_controls_drop_as_many_of_each_class_and_kind() -> None:
    """Another number of texts would be compared as well."""
    shots, _ = stages()
    weights = weigh(shots)
    dropped = [weight for weight in weights if weight.advice == "drop"]
    rows = as_many(weights, dropped, np.random.default_rng(0).random(len(weights)))
    assert len(set(rows)) == len(rows)
    of_rows = Counter((int(shots.owner[row]), str(shots.kind[row])) for row in rows)
    assert of_rows == Counter((weight.owner, weight.kind) for weight in dropped)
