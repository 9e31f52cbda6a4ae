"""Few-shot curves (paper, Figure 4)."""

from __future__ import annotations

from matplotlib.figure import Figure

from ..methods import ABLATIONS, FEW_SHOT
from ..results import Results
from .curves import curves
from .style import Drawing, Loader


def draw(results: Results, image: Loader) -> Figure:
    """Accuracy against shots, a panel a data set and one for their average (paper, Figure 4)."""
    return curves(results, lambda method: method not in ABLATIONS)


FIGURE = Drawing(
    draw,
    "Few-shot classification",
    "Top-1 accuracy on the test split against training images a class. Lines: mean over seeds; bands: one "
    "sample standard deviation to either side; dotted: CLIP with the prompt ensemble, which sees no shots.",
    f"Line charts of accuracy against shots for {', '.join(FEW_SHOT.values())}, with zero-shot CLIP as a level line; "
    "the numbers stand in the few-shot table.",
    "Few-shot",
    ("adapter",),
)
