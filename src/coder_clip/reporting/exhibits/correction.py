"""Distances between images that CODER corrects, and those that it breaks (paper, Figure 2)."""

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

_ROLES = {  # image of an example: label, colour, marker
    "query": ("query", "#4D4D4D", "o"),
    "same": ("same class", BLUE, "s"),
    "other": ("other class", VERMILLION, "^"),
}
_HEADINGS = {"corrections": "the largest correction", "broken": "the largest break"}  # key: heading
SIDE, BETWEEN = 0.98, 0.09  # inches of an image, and between two
ROW, HEAD = 3.78, 0.46  # inches of a data set, and of the legend
TEXTS, LINES = 3, 3  # texts of an example, and lines of a text: the longest embedded texts take 3


def nothing(results: Results) -> str:
    """The reason why there is no example to show; "" if there is one."""
    documents = [results.evaluation(dataset, results.models[0]) for dataset in results.datasets]
    some = any(document[key] for document in documents for key in _HEADINGS)
    if some:
        return ""
    return "no image whose nearest neighbour CODER corrects or breaks"


def draw(results: Results, image: Loader) -> Figure:
    """The largest correction and the largest break of each data set, and the numbers of both
    (paper, Figure 2).
    """
    # Placed in inches: every data set is a row of the same height, and with more data sets the
    # figure only becomes longer.
    model = results.models[0]
    documents = {dataset: results.evaluation(dataset, model) for dataset in results.datasets}
    shown = [dataset for dataset in documents if any(documents[dataset][key] for key in _HEADINGS)]
    shown = shown[: layout.PANELS]
    figure = Figure(figsize=(DOUBLE, ROW * len(shown) + HEAD))
    looks = [(label, {"color": c, "marker": m}) for label, c, m in _ROLES.values()]
    figure.legend(
        handles=[layout.entry(label, look, dashes="") for label, look in looks],
        loc="upper right",
        ncols=3,
        bbox_to_anchor=(0.995, 1),
        columnspacing=1.2,
        borderpad=0.3,
    )
    for i, dataset in enumerate(shown):
        top, document = HEAD + ROW * i, documents[dataset]
        where = layout.title(results, dataset, model)
        _write(figure, 0.08, top, f"{where}: {_counts(document)}", fontweight="bold", va="bottom")
        name_of = _names_of(results, dataset, model)
        # two columns: the correction on the left, the break on the right
        for left, (key, heading) in zip((0.08, 3.46), _HEADINGS.items(), strict=True):
            examples = document[key]  # the largest first
            _write(figure, left, top + 0.2, heading if examples else "none", va="bottom")
            if examples:
                pictures = {who: image(dataset, examples[0][who]) for who in _ROLES}
                _example(figure, left, top + 0.28, examples[0], pictures, name_of)
    return figure


FIGURE = Drawing(
    draw,
    "Distances corrected and broken",
    "How many test images have their nearest neighbour in another class by original image features "
    "and in their own by CODER (corrected), and the reverse (broken); of each the largest example. "
    "Numbers: cosine with the query, the nearer one bold. Below: cosines of the three images with "
    "the texts that tell the image of the same class from the other best; the axis starts where "
    "the cosines do. These texts may be of any class: CODER describes an image by its similarity "
    "to all of them.",
    "For each data set the numbers of corrected and of broken nearest neighbours, and an example "
    "of each: the query between an image of another class and one of its class, with their cosines "
    "by original features and by CODER, and dots for their similarity to texts.",
)


def _counts(document: dict[str, Any]) -> str:
    """How many nearest neighbours CODER corrects and breaks, in words."""
    test = next(
        t
        for t in document["neighbour_tests"]
        if (t["before"], t["after"], t["measure"]) == ("original", "coder", "nearest")
    )
    return (
        f"CODER corrects {test['fixed']:,} nearest neighbours and breaks {test['broke']:,} "
        f"({document['images']:,} test images)"
    )


def _example(
    figure: Figure,
    left: float,
    top: float,
    example: dict[str, Any],
    pictures: dict[str, Image.Image],
    name_of: Callable[[str], str],
) -> None:
    """Draw one example: three images, their cosines by both features, and the texts below.

    left, top: in inches. example: from the document of evaluation (`changed_neighbours`, with image
    ids and texts). pictures: query, same, other -> image. name_of: image id -> name of its class.
    """
    # other, query, same: each neighbour is beside the query
    centre = left + 1.5 * SIDE + BETWEEN
    places = {"other": left, "query": left + SIDE + BETWEEN, "same": left + 2 * (SIDE + BETWEEN)}
    for who, x in places.items():
        label, colour, _ = _ROLES[who]
        ax = layout.axes(figure, x, top + 0.17, SIDE, SIDE)
        _show(ax, pictures[who], colour)
        ax.set_title(label, loc="center", fontweight="normal", pad=2.5)
        name = layout.wrap(name_of(example[who]), 15, 2)
        ax.text(0.5, -0.05, name, transform=ax.transAxes, ha="center", va="top", linespacing=0.95)
    # a line per kind of feature, with an arrow to the nearer neighbour
    for line, (features, label) in enumerate((("original", "original"), ("coder", "CODER"))):
        y = top + SIDE + 0.58 + 0.17 * line
        cosine = example[features]  # same, other -> cosine with the query
        nearest = max(cosine, key=lambda k: cosine[k])
        digits = _digits(cosine["same"], cosine["other"])
        for who in ("other", "same"):
            look = {"fontweight": "normal", "color": GREY}
            if who == nearest:
                look = {"fontweight": "bold", "color": _ROLES[who][1]}
            text = f"{cosine[who]:.{digits}f}"
            _write(figure, places[who] + SIDE / 2, y, text, ha="center", **look)
        arrows = f"   {label} ▶"
        if nearest == "other":
            arrows = f"◀ {label}   "
        _write(figure, centre, y, arrows, ha="center")
    _text_dots(
        layout.axes(figure, left + 2.07, top + SIDE + 0.9, 1.05, 1.1), example["texts"][:TEXTS]
    )


def _write(figure: Figure, x: float, y: float, text: str, **look: Any) -> None:
    """Write text at a place in inches from the upper left corner."""
    width, height = figure.get_size_inches()
    figure.text(x / width, 1 - y / height, text, **{"va": "center", **look})


def _text_dots(ax: Axes, texts: list[dict[str, Any]]) -> None:
    """Draw the cosines of the three images with each text, most telling text on top.

    Dots and not bars: cosines of a model are close together and far from 0, where bars would have
    to start."""
    rows = np.arange(len(texts))
    # a faint line spans the cosines of each text
    for y, text in zip(rows, texts, strict=True):
        values = [text[who] for who in _ROLES]
        ax.plot([min(values), max(values)], [y, y], color="#C8C8C8", linewidth=1.0, zorder=1)
    for who, (_, colour, marker) in _ROLES.items():
        look: dict[str, Any] = {
            "color": colour,
            "marker": marker,
            "linestyle": "",
            "markeredgecolor": "white",
        }
        ax.plot([t[who] for t in texts], rows, markersize=6, markeredgewidth=0.4, **look)
    ax.set_yticks(rows, [layout.wrap(t["text"], 32, LINES) for t in texts], linespacing=0.98)
    # reversed axis: the first text is on top
    ax.set_ylim(len(texts) - 0.5, -0.5)
    ax.margins(x=0.1)
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.set_xlabel("cosine with the text", labelpad=1)


def _digits(a: float, b: float) -> int:
    """Decimals needed to tell two cosines apart, 3 to 6: cosines of CODERs are close to 1."""
    return next((n for n in range(3, 7) if f"{a:.{n}f}" != f"{b:.{n}f}"), 6)


def _show(ax: Axes, picture: Image.Image, colour: str) -> None:
    """Show an image in a frame of a colour."""
    ax.imshow(layout.thumbnail(picture))
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    for spine in ax.spines.values():
        spine.set(visible=True, color=colour, linewidth=1.4)


def _names_of(results: Results, dataset: str, model: str) -> Callable[[str], str]:
    """Make a function: image id -> name of its class, from the per-image rows of stage one.

    "" for an unknown image.
    """
    rows = results.zero_shot_rows(dataset, model)
    label = dict(zip(rows["image_id"], rows["label"], strict=True))
    classes = results.evaluation(dataset, model)["classes"]
    return lambda image_id: layout.plain(classes[label[image_id]]) if image_id in label else ""
