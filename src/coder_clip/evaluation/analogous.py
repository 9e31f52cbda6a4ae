"""Analogous classes from a vocabulary: the names of other things that are nearest to a class.

The paper's analogous classes (section 3.3) are things that look alike and are no class of the set;
a language model names them. Where texts are published as features alone, the nearest names of a
vocabulary stand in for them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..datasets.features import plain
from ..foundation.reproducible import exact_matmul
from ..neighbors import l2_normalize
from .estimates import estimate, paired_test
from .text_ablations import StageOne

COUNT = 5  # names per class, as many as a language model is asked for


def analogous_names(
    names: Sequence[str | None],
    features: Tensor,
    classes: Sequence[str],
    class_texts: Tensor,
    count: int = COUNT,
) -> list[list[int]]:
    """For each class the rows of its nearest names in a vocabulary, nearest first.

    At most ``count``.

    names: of the vocabulary, None where a row has no name; features (V, d); classes: C names;
    class_texts (C, d). Never the class itself: left out are names whose words are all in the
    class's name or the other way round ("cat" and "Siamese cat"), names of other classes, which
    would draw one class to the other, and rows without a name, of which nobody can tell. Classes
    may share a name, so that all have as many: stage one scores a class with more texts lower. Of
    rows with one name the nearest counts; ties go to the lower row.
    """
    cosines = exact_matmul(l2_normalize(class_texts), l2_normalize(features, "text features"))
    of_classes = {plain(name) for name in classes}
    words = [None if name is None else _words(name) for name in names]
    rows: list[list[int]] = []
    for name, similarity in zip(classes, cosines, strict=True):
        own, taken, near = _words(name), set(of_classes), list[int]()
        for row in similarity.argsort(descending=True, stable=True).tolist():
            other, of_other = names[row], words[row]
            if other is None or of_other is None or plain(other) in taken:
                continue
            if of_other <= own or own <= of_other:
                continue
            taken.add(plain(other))
            near.append(row)
            if len(near) == count:
                break
        rows.append(near)
    return rows


def analogous_ablation(
    stage_one: StageOne, rows: Sequence[Sequence[int]], features: Tensor
) -> dict[str, Any]:
    """Stage one with analogous classes beside its own texts, on the same images.

    rows: of the features (V, d), for each class. Return texts (number of analogous ones), before
    and after (accuracies, each an `Estimate`), and the paired test of the two.
    """
    chosen = [row for of_class in rows for row in of_class]
    owner = [c for c, of_class in enumerate(rows) for _ in of_class]
    both = StageOne(
        stage_one.x,
        stage_one.labels,
        torch.cat([stage_one.text_features, features[chosen]]),
        np.concatenate([stage_one.owner, np.array(owner, dtype=np.int64)]),
        [*stage_one.kind.tolist(), *["analogous"] * len(chosen)],
        stage_one.n_classes,
        stage_one.groups,
    )
    before = stage_one.correct(stage_one.name | stage_one.other)
    after = both.correct(both.name | both.other)
    return {
        "texts": len(chosen),
        "before": estimate(before, groups=stage_one.groups),
        "after": estimate(after, groups=stage_one.groups),
        **paired_test(before, after, groups=stage_one.groups),
    }


def _words(name: str) -> set[str]:
    return set(re.findall(r"\w+", plain(name)))
