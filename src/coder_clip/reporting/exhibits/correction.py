"""Distances between images that CODER corrects (paper, Figure 2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from ..parts import layout
from ..parts.style import BLUE, DOUBLE, GREY, VERMILLION, Drawing, Loader
from ..results import Results

SECTION = "Features"
ORDER = 30
PHASES = ("evaluation", "zero_shot")
SHOWS_IMAGES = True
DETAIL = True

_THREE = {  # who: label, colour, marker
    "query": ("query", "#4D4D4D", "o"),
    "same": ("same class", BLUE, "s"),
    "other": ("other class", VERMILLION, "^"),
}
SIDE = 0.98  # inches of an image
LINES = 4  # of a text; the longest of the embedded texts take three


def nothing(results: Results) -> str:
    """Why there is no correction to show."""
    some = any(results.evaluation(dataset, results.models[0])["corrections"] for dataset in results.datasets)
    return "" if some else "no image whose nearest neighbour CODER corrects"


def draw(results: Results, image: Loader) -> Figure:
    """An image that original features put beside another class, and CODER beside its own (paper, Figure 2)."""
    model = results.models[0]
    examples = [
        (dataset, found[0])
        for dataset in results.datasets
        if (found := results.evaluation(dataset, model)["corrections"])
    ][: layout.PANELS]
    row, head = 2.75, 0.3
    figure = Figure(figsize=(DOUBLE, row * len(examples) + head))
    total, centre = row * len(examples) + head, 0.08 + 1.5 * SIDE + 0.09
    looks = [(label, {"color": c, "marker": m}) for label, c, m in _THREE.values()]
    figure.legend(
        handles=[layout.entry(label, look, dashes="") for label, look in looks],
        loc="upper right",
        ncols=3,
        bbox_to_anchor=(0.995, 1),
        columnspacing=1.2,
        borderpad=0.3,
    )
    for i, (dataset, example) in enumerate(examples):
        top = head + row * i
        name_of = _names_of(results, dataset, model)
        figure.text(
            0.08 / DOUBLE,
            1 - (top - 0.03) / total,
            layout.title(results, dataset, model),
            fontweight="bold",
            va="bottom",
        )
        for j, (who, what) in enumerate(
            (("other", "other class"), ("query", "query"), ("same", "same class"))
        ):
            ax = layout.axes(figure, 0.08 + j * (SIDE + 0.09), top + 0.17, SIDE, SIDE)
            _show(ax, image(dataset, example[who]), _THREE[who][1])
            ax.set_title(what, loc="center", fontweight="normal", pad=2.5)
            name = layout.wrap(name_of(example[who]), 15, 2)
            ax.text(0.5, -0.05, name, transform=ax.transAxes, ha="center", va="top", linespacing=0.95)
        for line, (features, label) in enumerate((("original", "original"), ("coder", "CODER"))):
            y = 1 - (top + SIDE + 0.63 + 0.19 * line) / total
            cosine = example[features]
            nearest = max(cosine, key=lambda k: cosine[k])
            for who, x in (("other", centre - SIDE - 0.09), ("same", centre + SIDE + 0.09)):
                weight = "bold" if who == nearest else "normal"
                colour = _THREE[who][1] if who == nearest else GREY
                text = f"{cosine[who]:.{_digits(cosine['same'], cosine['other'])}f}"
                figure.text(x / DOUBLE, y, text, ha="center", va="center", fontweight=weight, color=colour)
            arrows = f"◀ {label}   " if nearest == "other" else f"   {label} ▶"
            figure.text(centre / DOUBLE, y, arrows, ha="center", va="center")
        note = "cosine with the query; bold: nearer"
        figure.text(
            centre / DOUBLE, 1 - (top + SIDE + 1.02) / total, note, ha="center", va="center", color=GREY
        )
        _text_dots(layout.axes(figure, 5.3, top + 0.1, 1.2, row - 0.52), example["texts"])
    return figure


FIGURE = Drawing(
    draw,
    "A distance corrected",
    "Test images that original features put nearest to an image of another class, and CODER nearest to one "
    "of their own: the largest such correction of each data set. Right: cosines of the three images with the "
    "texts that tell them apart best; the axis starts where the cosines do. These texts may be of any class: CODER "
    "describes an image by its similarity to all of them, and the query shares with its class what the other image "
    "lacks.",
    "Three images, the query between one of another class and one of its class, with their cosines by "
    "original features and by CODER, and dots for their similarity to texts.",
)


def _text_dots(ax: Axes, texts: list[dict[str, Any]]) -> None:
    """Cosines of the three images with each text, most telling text on top.

    Dots and not bars: cosines of a model are close together and far from 0, where bars would have to start.
    """
    rows = np.arange(len(texts))
    for y, text in zip(rows, texts, strict=True):
        values = [text[who] for who in _THREE]
        ax.plot([min(values), max(values)], [y, y], color="#C8C8C8", linewidth=1.0, zorder=1)
    for who, (_, colour, marker) in _THREE.items():
        look: dict[str, Any] = {
            "color": colour,
            "marker": marker,
            "linestyle": "",
            "markeredgecolor": "white",
        }
        ax.plot([t[who] for t in texts], rows, markersize=6, markeredgewidth=0.4, **look)
    ax.set_yticks(rows, [layout.wrap(t["text"], 33, LINES) for t in texts], linespacing=0.98)
    ax.set_ylim(len(texts) - 0.5, -0.5)
    ax.margins(x=0.1)
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.set_xlabel("cosine with the text", labelpad=1)


def _digits(a: float, b: float) -> int:
    """Decimals it takes to tell two cosines apart, at least 3: those of CODERs are close to 1."""
    return next((n for n in range(3, 7) if f"{a:.{n}f}" != f"{b:.{n}f}"), 6)


def _show(ax: Axes, picture: Image.Image, colour: str) -> None:
    ax.imshow(layout.thumbnail(picture))
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set(visible=True, color=colour, linewidth=1.4)


def _names_of(results: Results, dataset: str, model: str) -> Callable[[str], str]:
    """Image id -> name of its class, as the per-image rows of stage one have it."""
    rows = results.zero_shot_rows(dataset, model)
    label = dict(zip(rows["image_id"], rows["label"], strict=True))
    classes = layout.classes(results, dataset, model)
    return lambda image_id: layout.plain(classes[label[image_id]]) if image_id in label else ""
