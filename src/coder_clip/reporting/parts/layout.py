"""What several figures are made of: panels, legends, lines, thumbnails, names."""

from __future__ import annotations

import textwrap
import unicodedata
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image, ImageOps

from ...errors import one_line
from ..results import Results
from .style import BLACK, BLUE, DOUBLE, GREEN, GREY, ORANGE, PURPLE, SINGLE, SKY, VERMILLION

LEGEND = 20  # classes; more cannot be told apart, and the legend is left out
PANELS = 4  # a row
NAME = 22  # characters of a class name in a legend
# 7 colours and 3 markers are coprime: 21 classes differ, and neighbours in the list differ in both
POINT_COLOURS = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, BLACK)
POINT_MARKERS = ("o", "^", "s")
LOOKS = len(POINT_COLOURS) * len(POINT_MARKERS)
MODEL_LINES: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "linestyle": "-", "marker": "o"},
    {"color": VERMILLION, "linestyle": "--", "marker": "s"},
    {"color": GREEN, "linestyle": "-.", "marker": "^"},
    {"color": PURPLE, "linestyle": ":", "marker": "D"},
    {"color": ORANGE, "linestyle": "-", "marker": "v"},
)


def panels(n: int, models: int = 1) -> tuple[Figure, list[Axes]]:
    """n panels, one at column width, several at page width; of several models' each data set begins a row."""
    columns = columns_of(n, models)
    rows = -(-n // columns)
    width = SINGLE if n == 1 else DOUBLE
    height = 2.35 if n == 1 else 2.0 if columns <= 3 else 1.75 if columns == PANELS else 1.6
    figure = Figure(figsize=(width, height * rows + 0.5), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(n)]


def columns_of(n: int, models: int = 1) -> int:
    """Panels a row."""
    if 1 < models <= PANELS + 1:
        return min(n, max(models, PANELS // models * models))
    return min(PANELS if n not in (5, 6) else 3, n)


def axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place in inches from the upper left corner."""
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, 1 - (top + height) / h, width / w, height / h))


def outer_labels(panels: list[Axes], x: str, y: str) -> None:
    """Axis labels on the left of every row and below every column."""
    for i, ax in enumerate(panels):
        spec = ax.get_subplotspec()
        assert spec is not None
        if spec.is_first_col():
            ax.set_ylabel(y)
        columns = spec.get_geometry()[1]
        if i + columns >= len(panels):
            ax.set_xlabel(narrow(x, columns))


def narrow(label: str, columns: int) -> str:
    """On two lines where a panel is narrower than the label."""
    return label if columns <= PANELS else wrap(label, 14, 2)


def legend_below(
    figure: Figure, handles: list[Line2D], title: str | None = None, columns: int | None = None
) -> None:
    """As many entries a row as the longest leaves room for, at column width at most two; or ``columns``."""
    wide = figure.get_figwidth() > SINGLE
    widths = [0.5 + 0.062 * len(str(handle.get_label())) for handle in handles]  # inches, about
    fit = len(handles) if sum(widths) < figure.get_figwidth() else int(figure.get_figwidth() / max(widths))
    fit = max(1, fit)
    columns = min(columns or fit, len(handles)) if wide else min(2, fit, len(handles))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        handlelength=2.4 if figure.get_figwidth() > SINGLE else 1.8,
        title=title,
        columnspacing=1.4,
        borderpad=0.2,
    )


def message(text: str) -> Figure:
    figure = Figure(figsize=(SINGLE, 0.8))
    figure.text(0.5, 0.5, "\n".join(textwrap.wrap(text, 44)), ha="center", va="center", color=GREY)
    return figure


def point(c: int) -> dict[str, Any]:
    return {
        "color": POINT_COLOURS[c % len(POINT_COLOURS)],
        "marker": POINT_MARKERS[c % len(POINT_MARKERS)],
    }


def model(i: int) -> dict[str, Any]:
    """The line of the i-th model; there may be more of them than lines."""
    return MODEL_LINES[i % len(MODEL_LINES)]


def thumbnail(picture: Image.Image, side: int = 200) -> Image.Image:
    """The image at the size it is printed in, so that files stay small, and tiny ones are no mosaic of squares."""
    return ImageOps.contain(picture.convert("RGB"), (side, side), Image.Resampling.BICUBIC)


def classes(results: Results, dataset: str, model: str) -> list[str]:
    return list(results.evaluation(dataset, model)["classes"])


def title(results: Results, dataset: str, model: str, between: str = " · ") -> str:
    """The data set, and the model where there are several."""
    several = model and len(results.models) > 1
    return f"{plain(dataset)}{between}{plain(model)}" if several else plain(dataset)


def set_title(ax: Axes, results: Results, dataset: str, model: str) -> None:
    """Of a panel: two lines where there are several models, for one would reach into the next panel."""
    ax.set_title(title(results, dataset, model, between="\n"))


def plain(name: str) -> str:
    """On one line, underscores as spaces, as the texts write it; a leading one would hide a legend entry."""
    return one_line(name.replace("_", " "), None)


def short(name: str, at_most: int = NAME) -> str:
    """At most so many characters wide; an East Asian one is as wide as two."""
    name, width = plain(name), 0
    for i, c in enumerate(name):
        width += 2 if unicodedata.east_asian_width(c) in "WF" else 1
        if width > at_most:
            return name[: max(0, i - 1)].rstrip() + "…"
    return name


def wrap(text: str, width: int, lines: int) -> str:
    wrapped = textwrap.wrap(plain(text), width, max_lines=lines, placeholder=" …")
    return "\n".join(wrapped)
