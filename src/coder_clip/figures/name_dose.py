"""The dose and the response: how often a name was read, and what it is worth."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..results import Results
from ..tables import METHODS, TABLES
from . import parts
from .style import BLUE, GREEN, GREY, VERMILLION, Drawing, Loader

LOOKS: dict[str, dict[str, Any]] = {
    "clip": {"color": GREY, "linestyle": "--", "marker": "s"},
    "attributes_alone": {"color": GREEN, "linestyle": ":", "marker": "^"},
    "coder": {"color": BLUE, "linestyle": "-", "marker": "o"},
    "coder_rerank": {"color": VERMILLION, "linestyle": "-.", "marker": "D"},
}
SHIFT = 0.07  # between the methods of one group, so that their intervals do not cover each other


def draw(results: Results, image: Loader) -> Figure:
    """Accuracy with its interval against the number of training pictures that named a class, per method."""
    frame = TABLES["name_dose"](results).frame
    places = [p for p in results if ((frame["dataset"] == p[0]) & (frame["model"] == p[1])).any()]
    figure, panels = parts.panels(max(1, len(places)), len(results.models))
    if not places:
        panels[0].text(0.5, 0.5, "no data set says how often\nits names were read", ha="center", va="center")
        panels[0].set_axis_off()
        return figure
    for ax, (dataset, model) in zip(panels, places, strict=True):
        rows = frame[(frame["dataset"] == dataset) & (frame["model"] == model)]
        doses = list(dict.fromkeys(rows["pictures"]))
        for i, (method, look) in enumerate(LOOKS.items()):
            line = rows[rows["method"] == method]
            at = [doses.index(d) + SHIFT * (i - 1.5) for d in line["pictures"]]
            value = 100 * line["accuracy"].to_numpy()
            below, above = value - 100 * line["accuracy_low"], 100 * line["accuracy_high"] - value
            ax.errorbar(at, value, yerr=[below, above], **look, elinewidth=0.8, markeredgecolor="white")
        ax.set_xticks(range(len(doses)), [_label(d) for d in doses])
        ax.set_ylim(0, 100)
        parts.set_title(ax, results, dataset, model)
    parts.outer_labels(panels, "Training pictures whose captions name the class", "Top-1 accuracy (%)")
    handles = [Line2D([], [], label=METHODS[m], **look) for m, look in LOOKS.items()]
    parts.legend_below(figure, handles)
    return figure


def _label(pictures: str) -> str:
    return {"0": "never", "all": "always"}.get(pictures, pictures)


FIGURE = Drawing(
    draw,
    "How often a name was read",
    "Top-1 accuracy on test images against the number of training pictures whose captions named the class, with 95 % "
    "bootstrap intervals over images. The rarer a name, the less it says to the encoder; what it reads is the texts.",
    "Line chart of accuracy against how often a class was named in training, for the name alone, attributes alone, "
    "CODER and CODER with rerank.",
    "Zero-shot",
    ("zero_shot", "rerank"),
)
