"""Accuracy by how often the encoder read the names of the classes."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.figure import Figure

from ...baselines.methods import LABELS, METHODS
from ...datasets import named_pictures
from ...evaluation.estimates import estimate
from ..parts import cells, frames, layout
from ..parts.style import Drawing, Loader, look
from ..parts.table import Column, Table
from ..results import Results

SECTION = "Zero-shot"
ORDER = 20
PHASES = ("zero_shot", "rerank")

SHOWN = ("clip", "attributes_alone", "coder", "coder_rerank")
SHIFT = 0.07  # between the methods of one group, so that their intervals do not cover each other
CAPTION = (
    "Top-1 accuracy on test images of the classes whose names were in the captions of so many "
    "training pictures of the embedded model, with its 95 % bootstrap interval over images. The "
    "name alone (CLIP) needs names that were read; attributes alone need none. For data sets that "
    "declare how often their names were read."
)


def nothing(results: Results) -> str:
    """Why there is nothing to show; "" if there is something.

    Only drawn data sets declare how often their names were read.
    """
    some = any(_doses(results, *place) for place in results)
    if some:
        return ""
    return "no data set says how often"


def _doses(results: Results, dataset: str, model: str) -> dict[str, int | None] | None:
    """Class -> its dose.

    The number of training pictures whose captions had its name (None: all pictures). None if the
    data set does not declare doses.
    """
    doses = named_pictures(dataset)
    names = results.zero_shot(dataset, model)["classes"]
    # a folder can have the name of a drawn data set, but other classes
    if doses is not None and doses.keys() >= set(names):
        return doses
    return None


def table(results: Results) -> Table:
    """Accuracy of names, of attributes and of both, by how often a class was named in training."""
    # Accuracy is over the images of all classes with the same dose.
    records: list[dict[str, Any]] = []
    for dataset, model in results:
        dose_of = _doses(results, dataset, model)
        if dose_of is None:
            continue
        rows = results.main_rows(dataset, model)
        right = (rows["prediction"] == rows["label"]).astype(float)
        doses = [dose_of[name] for name in results.zero_shot(dataset, model)["classes"]]
        # a label is the index of its class, and so of its dose
        row_dose = rows["label"].map(dict(enumerate(doses)))
        # None means all pictures, so it sorts last
        for dose in sorted(set(doses), key=lambda d: math.inf if d is None else d):
            has_dose = row_dose.isna() if dose is None else row_dose == dose
            place = {
                "dataset": dataset,
                "model": model,
                "pictures": "all" if dose is None else str(dose),
                "classes": doses.count(dose),
            }
            for method in SHOWN:
                hits = right[has_dose & (rows["method"] == method)].to_numpy()
                # without attributes there is no method of attributes alone
                if len(hits):
                    records.append({**place, "method": method, "accuracy": estimate(hits)})
    columns = ["dataset", "model", "pictures", "classes", "method", "accuracy"]
    frame = frames.tidy(records, columns, ["accuracy"])
    return cells.pivot(
        results,
        "How often a name was read",
        f"{CAPTION} CODER and its rerank in the setting '{results.main_setting}'.",
        frame,
        [
            (Column("Named in … training pictures", numeric=False), cells.words("pictures")),
            (Column("Classes", wide=True), cells.count("classes")),
        ],
        ("method", {m: Column(f"{LABELS[m]} (%)", wide=m == "coder") for m in SHOWN}),
        cells.accuracy(),
    )


def draw(results: Results, image: Loader) -> Figure:
    """Accuracy with its interval against the number of training pictures that named a class.

    A line per method.
    """
    # Doses are categories at equal distances, because "never" and "always" have no place on a
    # logarithmic axis. Methods are moved apart (SHIFT) so that their intervals do not cover each
    # other.
    frame = table(results).frame
    places = [place for place in results if _doses(results, *place)]
    direct = len(places) == 1  # names at the lines instead of a legend
    figure, panels = layout.panels(len(places), len(results.models), wide=direct)
    lines = {m: look(METHODS[m].line) for m in SHOWN}
    for ax, (dataset, model) in zip(panels, places, strict=True):
        rows = frame[(frame["dataset"] == dataset) & (frame["model"] == model)]
        doses = list(dict.fromkeys(rows["pictures"]))
        for i, (method, style) in enumerate(lines.items()):
            line = rows[rows["method"] == method]
            # methods side by side, centred on their group
            at = [doses.index(d) + SHIFT * (i - 1.5) for d in line["pictures"]]
            value = 100 * line["accuracy"].to_numpy()
            # errorbar takes distances from the value, not the ends
            below, above = value - 100 * line["accuracy_low"], 100 * line["accuracy_high"] - value
            ax.errorbar(
                at, value, yerr=[below, above], **style, elinewidth=0.8, markeredgecolor="white"
            )
        ax.set_xticks(range(len(doses)), [{"0": "never", "all": "always"}.get(d, d) for d in doses])
        ax.set_ylim(0, 100)
        layout.set_title(ax, results, dataset, model)
        if direct:
            last = rows[rows["pictures"] == doses[-1]].set_index("method")["accuracy"]
            named = {LABELS[m]: (100 * last[m], style) for m, style in lines.items() if m in last}
            layout.name_lines(ax, named)
    layout.outer_labels(
        panels, "Training pictures whose captions name the class", "Top-1 accuracy (%)"
    )
    if not direct:
        layout.legend_below(figure, [layout.entry(LABELS[m], style) for m, style in lines.items()])
    return figure


FIGURE = Drawing(
    draw,
    "How often a name was read",
    "Top-1 accuracy on test images against the number of training pictures whose captions named "
    "the class, with 95 % bootstrap intervals over images.",
    "Line chart of accuracy against how often a class was named in training, for the name alone, "
    "attributes alone, CODER and CODER with rerank.",
)
