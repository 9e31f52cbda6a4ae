"""The nearest names of a vocabulary as analogous classes."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from coder_clip.evaluation.analogous import analogous_ablation, analogous_names
from coder_clip.evaluation.text_ablations import StageOne

WORDS = ["cat", "dog", "Siamese cat", "siamese_cat", "fox", "red fox", "wolf", "lynx", "bus"]


def plainly(
    names: list[str | None], rows: np.ndarray, classes: list[str], texts: np.ndarray, count: int
) -> list[list[int]]:
    """The rule as it is written, one class and one name after the other."""

    def words(name: str) -> set[str]:
        return set(name.replace("_", " ").lower().split())

    unit = [r / np.linalg.norm(r) for r in rows]
    of_class = [t / np.linalg.norm(t) for t in texts]
    chosen = []
    for c, name in enumerate(classes):
        near: list[tuple[float, int]] = []
        for i, other in enumerate(names):
            if other is None or any(words(other) == words(k) for k in classes):
                continue
            if words(other) <= words(name) or words(name) <= words(other):
                continue
            near.append((-float(unit[i] @ of_class[c]), i))
        of_c: list[int] = []
        for _, i in sorted(near):
            known = {" ".join(sorted(words(str(names[j])))) for j in of_c}
            if " ".join(sorted(words(str(names[i])))) not in known:
                of_c.append(i)
        chosen.append(of_c[:count])
    return chosen


@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 4))
def test_the_nearest_names_are_those_of_a_plain_search(seed: int, n: int, count: int) -> None:
    """Another thing's name, or the class itself, would pass for an analogous class."""
    rng = np.random.default_rng(seed)
    picked = rng.choice(len(WORDS), 12)
    names = [None if rng.random() < 0.1 else WORDS[i] for i in picked]
    classes = [WORDS[i] for i in rng.choice([0, 1, 4, 6, 7, 8], n, replace=False)]
    # one feature for one name, as where two lists have the same sentence
    of_word = rng.normal(size=(len(WORDS), 5))
    of_word[3] = of_word[2]
    rows = of_word[picked]
    texts = rng.normal(size=(n, 5))
    found = analogous_names(names, torch.from_numpy(rows), classes, torch.from_numpy(texts), count)
    assert found == plainly(names, rows, classes, texts, count)


def test_never_the_class_itself() -> None:
    """Its own name a second time, or a kind of it, is no other thing that looks alike."""
    names = ["cat", "Siamese-cat", "tabby cat", "lynx", None, "dog", "lynx"]
    rows = torch.tensor([[1.0, 0.1 * i] for i in range(len(names))])
    found = analogous_names(names, rows, ["cat", "dog"], torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert found == [[3], [6, 2, 1]], "near the dog: the second lynx, and two kinds of cat"
    assert [names[i] for i in found[0]] == ["lynx"]


def test_stage_one_has_them_in_its_mean() -> None:
    """The row of the table would be about something else."""
    rng = np.random.default_rng(3)
    x, names, vocabulary = (rng.normal(size=(n, 6)) for n in (40, 3, 9))
    labels = rng.integers(0, 3, 40)
    rows = [[0, 4], [], [8]]
    stage_one = StageOne(
        *(torch.from_numpy(x), labels, torch.from_numpy(names), np.arange(3)), ["name"] * 3, 3
    )
    found = analogous_ablation(stage_one, rows, torch.from_numpy(vocabulary))
    x, names, vocabulary = (
        r / np.linalg.norm(r, axis=1, keepdims=True) for r in (x, names, vocabulary)
    )
    right = {"before": 0, "after": 0}
    for image, label in zip(x, labels, strict=True):
        for key, extra in (("before", [[], [], []]), ("after", rows)):
            scores = [
                (image @ names[c] + sum(image @ vocabulary[i] for i in extra[c]))
                / (1 + len(extra[c]))
                for c in range(3)
            ]
            right[key] += int(np.argmax(scores)) == label
    assert found["texts"] == 3
    for key, n in right.items():
        assert found[key]["value"] == n / 40
    assert right["before"] != right["after"], "nothing was compared"
    assert found["difference"]["value"] == (right["after"] - right["before"]) / 40
