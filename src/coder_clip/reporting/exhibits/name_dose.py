"""How often the encoder read a class's name, and what texts make of it."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ...baselines.methods import LABELS, METHODS
from ...datasets import named_pictures
from ...evaluation.estimates import estimate
from ..parts import cells, frames, layout
from ..parts.style import Drawing, Loader, look
from ..parts.table import Cell, Column, Table
from ..results import Results

SECTION = "Zero-shot"
ORDER = 20
PHASES = ("zero_shot", "rerank")

SHOWN = ("clip", "attributes_alone", "coder", "coder_rerank")
CAPTION = (
    "Top-1 accuracy on test images of the classes whose names stood in the captions of so many training pictures of "
    "the embedded model, with its 95 % bootstrap interval over images. The name alone (CLIP) needs names that were "
    "read; attributes alone need none. For data sets that declare how often their names were read."
)


def table(results: Results) -> Table:
    """Accuracy of names, of attributes and of both, by how often a class was named in training."""
    setting = results.main_setting
    records: list[dict[str, Any]] = []
    for dataset, model in results:
        named, names = named_pictures(dataset), results.zero_shot(dataset, model)["classes"]
        if named is None or not named.keys() >= set(names):  # a folder may have the name of a drawn data set
            continue
        rows = pd.concat([results.zero_shot_rows(dataset, model), results.rerank_rows(dataset, model)])
        rows = rows[rows["method"].isin(SHOWN) & rows["setting"].isin(("any", setting))]
        right = (rows["prediction"] == rows["label"]).astype(float)
        dose = rows["label"].map({label: named[name] for label, name in enumerate(names)})
        doses = [named[name] for name in names]
        levels = sorted(set(doses), key=lambda d: math.inf if d is None else d)
        for level in levels:
            here = dose.isna() if level is None else dose == level
            for method in SHOWN:
                hits = right[here & (rows["method"] == method)].to_numpy()
                record = {"dataset": dataset, "model": model, "pictures": level}
                record["classes"] = doses.count(level)
                records.append(record | {"method": method} | frames.estimate("accuracy", estimate(hits)))
    columns = ["dataset", "model", "pictures", "classes", "method"]
    columns += ["accuracy", "accuracy_low", "accuracy_high"]
    frame = pd.DataFrame(records, columns=columns)
    frame["pictures"] = frame["pictures"].map(in_words)
    shown = cells.pivot(
        (
            (
                [*cells.place_cells(results, r), Cell(r["pictures"]), Cell(str(r["classes"]), r["classes"])],
                r["method"],
                cells.interval(r, "accuracy"),
            )
            for r in frames.records(frame)
        ),
        SHOWN,
    )
    return Table(
        "How often a name was read",
        f"{CAPTION} CODER and its rerank in the setting '{setting}'.{cells.only(results)}",
        frame,
        [
            *cells.place(results),
            Column("Named in … training pictures", numeric=False),
            Column("Classes"),
            *(Column(f"{LABELS[m]} (%)") for m in SHOWN),
        ],
        shown,
        optional=True,
    )


def in_words(pictures: float | None) -> str:
    return "all" if cells.missing(pictures) else f"{pictures:g}"


# ---- the figure


SHIFT = 0.07  # between the methods of one group, so that their intervals do not cover each other


def draw(results: Results, image: Loader) -> Figure:
    """Accuracy with its interval against the number of training pictures that named a class, per method."""
    frame = table(results).frame
    places = [p for p in results if ((frame["dataset"] == p[0]) & (frame["model"] == p[1])).any()]
    figure, panels = layout.panels(max(1, len(places)), len(results.models))
    if not places:
        panels[0].text(0.5, 0.5, "no data set says how often\nits names were read", ha="center", va="center")
        panels[0].set_axis_off()
        return figure
    lines = {m: look(METHODS[m].line) for m in SHOWN}
    for ax, (dataset, model) in zip(panels, places, strict=True):
        rows = frame[(frame["dataset"] == dataset) & (frame["model"] == model)]
        doses = list(dict.fromkeys(rows["pictures"]))
        for i, (method, style) in enumerate(lines.items()):
            line = rows[rows["method"] == method]
            at = [doses.index(d) + SHIFT * (i - 1.5) for d in line["pictures"]]
            value = 100 * line["accuracy"].to_numpy()
            below, above = value - 100 * line["accuracy_low"], 100 * line["accuracy_high"] - value
            ax.errorbar(at, value, yerr=[below, above], **style, elinewidth=0.8, markeredgecolor="white")
        ax.set_xticks(range(len(doses)), [_label(d) for d in doses])
        ax.set_ylim(0, 100)
        layout.set_title(ax, results, dataset, model)
    layout.outer_labels(panels, "Training pictures whose captions name the class", "Top-1 accuracy (%)")
    handles = [Line2D([], [], label=LABELS[m], **style) for m, style in lines.items()]
    layout.legend_below(figure, handles)
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
)
