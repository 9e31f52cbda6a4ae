"""Which names are too similar to a class to be analogous to another one, beside a plain loop."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from coder_clip.texts.similar import rule


class Encoder:
    """Unit features by the number at the end of a text."""

    def __init__(self, seed: int, dim: int) -> None:
        self.table = torch.nn.functional.normalize(
            torch.randn(60, dim, generator=torch.manual_seed(seed)), dim=1
        )

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        assert all(text.startswith("a photo of ") for text in texts)
        return self.table[[int(text.split()[-1]) for text in texts]]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(0, 99), st.integers(1, 5), st.integers(2, 8))
def test_the_rule_is_what_it_says(seed: int, dim: int, n: int) -> None:
    encoder, classes = Encoder(seed, dim), [f"class {i}" for i in range(n)]
    asked = [(classes[i % n], f"name {20 + i}") for i in range(30)]
    verdicts = rule(encoder, classes)(asked)  # type: ignore[arg-type]
    f = encoder.table.double()
    for (owner, name), verdict in zip(asked, verdicts, strict=True):
        x, too_similar = f[int(name.split()[1])], []
        own = float(x @ f[classes.index(owner)])
        for c in range(n):
            nearest = max(float(f[c] @ f[j]) for j in range(n) if j != c)
            if classes[c] != owner and float(x @ f[c]) > max(nearest, own) + 1e-6:
                too_similar.append(classes[c])
        assert (verdict is None) is (not too_similar)
        assert verdict is None or any(f"too similar to {c} (cosine" in verdict for c in too_similar)


def test_a_name_may_be_similar_to_its_own_class() -> None:
    """An analogous class is similar to it by definition, also where two classes have one name."""
    encoder = Encoder(0, 4)
    encoder.table[20] = encoder.table[1]
    assert rule(encoder, ["a 0", "b 1", "c 2"])([("b 1", "x 20")]) == [None]  # type: ignore[arg-type]
    (verdict,) = rule(encoder, ["a 0", "b 1", "c 2"])([("a 0", "x 20")])  # type: ignore[arg-type]
    assert verdict is not None
    assert verdict.startswith("too similar to b 1 (cosine 1.000, limit")
    assert rule(encoder, ["missile 1", "fox 2", "missile 1"])([("missile 1", "x 20")]) == [None]  # type: ignore[arg-type]
    # as a neighbour of its own, the second "missile" would allow every cosine
    (verdict,) = rule(encoder, ["missile 1", "fox 2", "missile 1"])([("fox 2", "x 20")])  # type: ignore[arg-type]
    assert verdict is not None
    assert verdict.startswith("too similar to missile 1")
    assert rule(encoder, ["alone 1"])([("alone 1", "x 20")]) == [None]  # type: ignore[arg-type]
