"""The CODER-Adapter with one thing changed at a time."""

from __future__ import annotations

from operator import attrgetter

from matplotlib.figure import Figure

from ...baselines.methods import ABLATIONS
from ..parts.curves import few_shot_curves
from ..parts.style import Drawing, Loader
from ..results import Results

SECTION = "Few-shot"
ORDER = 40
PHASES = ("adapter",)
DETAIL = True

SHOWN = {"clip_ensemble", "coder_adapter", *ABLATIONS}
nothing = attrgetter("no_few_shot")


def draw(results: Results, image: Loader) -> Figure:
    """As the few-shot figure, with the CODER-Adapter and its ablations."""
    return few_shot_curves(results, lambda method: method in SHOWN)


FIGURE = Drawing(
    draw,
    "CODER-Adapter, one thing changed",
    "Top-1 accuracy on the test split of the CODER-Adapter and of variants that differ in one thing: raw features "
    "instead of CODER, the cosine as it is instead of its min-max scaling, synonyms among the texts, half of each "
    "class's attribute and analogous texts. Lines: mean over seeds; bands: one sample standard deviation to either "
    "side; dotted: CLIP with the prompt ensemble.",
    "Line charts of accuracy against shots for the CODER-Adapter and its ablations; the numbers are in the few-shot "
    "table.",
)
