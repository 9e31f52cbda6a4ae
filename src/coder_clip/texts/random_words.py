"""The control for the content of descriptions: random words in their place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def random_word_texts(
    texts: Sequence[Sequence[str]], seed: int | Sequence[int], vocabulary: Sequence[str] | None = None
) -> list[list[str]]:
    """Random words in the place of descriptions: as many texts a class, as many words a text.

    A control for whether the content of descriptions matters, after WaffleCLIP (Roth et al., "Waffling around
    for Performance", ICCV 2023). Without a vocabulary the words of all texts are shuffled across texts and
    classes, which keeps how often each word occurs and removes only what it says about a class; with one,
    words are drawn from it with replacement. The same seed (or seed and draw) gives the same texts.
    """
    lengths = [[len(text.split()) for text in of_class] for of_class in texts]
    rng = np.random.default_rng(seed)
    if vocabulary is None:
        words = [word for of_class in texts for text in of_class for word in text.split()]
        drawn = iter([words[i] for i in rng.permutation(len(words))])
    elif not vocabulary:
        raise ValueError("the vocabulary is empty")
    else:
        total = sum(map(sum, lengths))
        drawn = iter([vocabulary[i] for i in rng.integers(len(vocabulary), size=total)])
    return [[" ".join(next(drawn) for _ in range(n)) for n in of_class] for of_class in lengths]
