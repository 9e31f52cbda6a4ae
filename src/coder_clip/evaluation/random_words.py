"""Random words instead of descriptions, as a control for their content."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def random_word_texts(texts: Sequence[Sequence[str]], seed: int | Sequence[int]) -> list[list[str]]:
    """Replace descriptions by random words: as many texts per class, as many words per text.

    After WaffleCLIP (Roth et al., "Waffling around for Performance", ICCV 2023). The words of all
    texts are shuffled across texts and classes, so each word is as frequent as before and says
    nothing about a class. The same seed (or seed and draw) gives the same texts.
    """
    words = [word for of_class in texts for text in of_class for word in text.split()]
    # one shuffled stream of all words, dealt out in the lengths of the original texts
    order = np.random.default_rng(seed).permutation(len(words))
    drawn = iter([words[i] for i in order])
    return [
        [" ".join(next(drawn) for _ in text.split()) for text in of_class] for of_class in texts
    ]
