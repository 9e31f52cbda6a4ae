"""Phases: what they import, and small parts of them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from coder_clip.phases.confusable_pairs import counted


@pytest.mark.rest
@pytest.mark.parametrize(
    ("module", "unused"),
    [
        ("phases.pair_texts", {"torch", "open_clip", "pandas"}),
        ("phases.confusable_pairs", {"open_clip", "pandas", "scipy"}),
        ("phases.pair_features", {"open_clip", "pandas", "scipy"}),
        ("phases.adapter", {"open_clip", "scipy.stats", "sklearn"}),
        ("phases.table", {"open_clip", "scipy.stats", "sklearn", "matplotlib", "torch"}),
        ("phases.figure", {"open_clip", "scipy.stats", "sklearn", "torch"}),
        ("phases.report", {"open_clip", "scipy.stats", "sklearn", "torch"}),
        # each plan of a run with photos, and the jobs that list images
        ("pipeline.listing", {"torch", "pandas", "scipy"}),
    ],
)
def test_a_module_imports_only_what_it_uses(module: str, unused: set[str]) -> None:
    """Each of its jobs would start seconds later: a third of the time of a short run is imports."""
    code = f"import sys, coder_clip.{module}; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True
    )
    modules = set(run.stdout.split())
    assert f"coder_clip.{module}" in modules
    assert not unused & modules


def test_pairs_are_counted_and_the_most_frequent_come_first() -> None:
    """A language model would write texts for pairs that stage one hardly ever confuses."""
    rng = np.random.default_rng(0)
    for n in (0, 1, 300):
        a = rng.integers(0, 4, n)
        rows = [
            list(map(int, row)) for row in np.column_stack([a, a + rng.integers(1, 4, n), a % 2])
        ]
        found: dict[tuple[int, int], list[int]] = {}
        for first, second, inside in rows:
            count = found.setdefault((first, second), [0, 0])
            count[0] += 1
            count[1] += inside
        expected = [
            {"a": first, "b": second, "compared": compared, "inside_gate": inside}
            for (first, second), (compared, inside) in found.items()
        ]
        expected.sort(key=lambda p: (-p["inside_gate"], -p["compared"], p["a"], p["b"]))
        assert counted(torch.tensor(rows, dtype=torch.int64).reshape(-1, 3)) == expected
