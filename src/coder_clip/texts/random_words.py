"""The control for the content of descriptions: random words in their place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def random_word_texts(texts: Sequence[Sequence[str]], seed: int | Sequence[int]) -> list[list[str]]:
    """Random words in the place of descriptions: as many texts per class, as many words per text.

    A control for whether the content of descriptions matters, after WaffleCLIP (Roth et al., "Waffling around
    for Performance", ICCV 2023). The words of all texts are shuffled across texts and classes, which keeps how often
    each word occurs and removes only what it says about a class. The same seed (or seed and draw) gives the same texts.
    """
    words = [word for of_class in texts for text in of_class for word in text.split()]
    drawn = iter([words[i] for i in np.random.default_rng(seed).permutation(len(words))])
    return [[" ".join(next(drawn) for _ in text.split()) for text in of_class] for of_class in texts]
