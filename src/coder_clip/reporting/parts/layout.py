"""Parts of figures: panels, legends, lines, thumbnails, names."""

from __future__ import annotations

import textwrap
import unicodedata
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageOps

from ...errors import one_line
from ..results import Results
from .style import BLACK, BLUE, DOUBLE, GREEN, GREY, ORANGE, PURPLE, SINGLE, SKY, VERMILLION, Layout

PANELS = 4  # in a row
LEAST, FEW = 5.0, 10  # points and images that an axis of shares spans at least
NAME = 22  # characters of a class name in a legend
# 7 colours and 3 markers are coprime: 21 classes differ, and neighbours in the list differ in both
POINT_COLOURS = (BLUE, ORANGE, GREEN, VERMILLION, PURPLE, SKY, BLACK)
POINT_MARKERS = ("o", "^", "s")
MODEL_LINES: tuple[dict[str, Any], ...] = (
    {"color": BLUE, "linestyle": "-", "marker": "o"},
    {"color": VERMILLION, "linestyle": "--", "marker": "s"},
    {"color": GREEN, "linestyle": "-.", "marker": "^"},
    {"color": PURPLE, "linestyle": ":", "marker": "D"},
    {"color": ORANGE, "linestyle": "-", "marker": "v"},
)


def panels(n: int, models: int = 1, wide: bool = False) -> tuple[Figure, list[Axes]]:
    """Make n panels.

    A single one is as wide as a column, several (or one that is ``wide``) as a page.

    With several models, each data set begins a row.
    """
    columns = columns_of(n, models)
    rows = -(-n // columns)
    width = DOUBLE
    if n == 1 and not wide:
        width = SINGLE
    # inches of a row: the more panels are side by side, the lower they are
    if n == 1:
        height = 2.35
    elif columns <= 3:
        height = 2.0
    elif columns == PANELS:
        height = 1.75
    else:
        height = 1.6
    figure = Figure(figsize=(width, height * rows + 0.5), layout=Layout())
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(n)]


def columns_of(n: int, models: int = 1) -> int:
    """Panels in a row."""
    # whole data sets in a row: a multiple of the number of models
    if 1 < models <= PANELS + 1:
        return min(n, max(models, PANELS // models * models))
    # five or six panels fill two rows of three better than rows of four
    if n in (5, 6):
        return 3
    return min(PANELS, n)


def axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place in inches from the upper left corner."""
    # matplotlib counts in fractions of the figure, from the lower left corner
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
        # no panel below this one: the last of its column
        if i + columns >= len(panels):
            ax.set_xlabel(narrow(x, columns))


def narrow(label: str, columns: int) -> str:
    """Break a label into two lines if there are so many columns that the label would not fit."""
    if columns <= PANELS:
        return label
    return wrap(label, 14, 2)


def line(ax: Axes, x: Any, y: Any, look: dict[str, Any]) -> None:
    """Draw a curve with its markers."""
    ax.plot(x, y, **look, markeredgecolor="white", markeredgewidth=0.5)


def mark(ax: Axes, x: float, y: float, look: dict[str, Any], size: float = 5.5) -> None:
    """Mark one point, on top of the curves and of the frame."""
    marker = {"marker": look["marker"], "color": look["color"], "markersize": size, "linestyle": ""}
    ax.plot(
        [x], [y], **marker, markeredgecolor="white", markeredgewidth=0.7, clip_on=False, zorder=4
    )


def share_axis(ax: Axes, images: int) -> None:
    """Make the y axis an axis of percent that does not magnify differences of a few images.

    images: number of images that are 100 %. The axis spans at least LEAST points and FEW images,
    within 0 and 100.
    """
    low, high = ax.get_ylim()
    # stretched about the middle, then moved back inside 0 to 100
    few_images = 100 * FEW / max(1, images)
    span = min(100.0, max(LEAST, few_images, high - low))
    low = min(max(0.0, (low + high - span) / 2), 100 - span)
    ax.set_ylim(low, low + span)
    ax.yaxis.set_major_locator(MaxNLocator(5))


def name_lines(ax: Axes, ends: dict[str, tuple[float, dict[str, Any]]]) -> None:
    """Name each line at the right edge, at the height where the line ends.

    Names that would touch are moved apart.

    ends: name -> (y, look).
    """
    low, high = ax.get_ylim()
    step = (high - low) * 0.115  # height of a line of text in a panel two inches high
    order = sorted(ends.items(), key=lambda item: item[1][0])
    places: list[float] = []
    # upwards, each name at least a step above the one below it
    for _, (y, _) in order:
        places.append(max(y, places[-1] + step) if places else y)
    if places and places[-1] > high:  # push back down from the top
        places[-1] = high
        for i in range(len(places) - 2, -1, -1):
            places[i] = min(places[i], places[i + 1] - step)
    for (name, (y, look)), place in zip(order, places, strict=True):
        ax.annotate(
            plain(name), (1, y), (1.07, place), ax.get_yaxis_transform(), va="center",
            color=look["color"], annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": look["color"], "lw": 0.5, "shrinkA": 1},
        )  # fmt: skip


def entry(label: str, look: dict[str, Any] | None = None, dashes: str | None = None) -> Line2D:
    """An entry of a legend, grey if the look has no colour.

    dashes: replaces the line style of the look; "" shows the marker alone.
    """
    options: dict[str, Any] = {"color": GREY, **(look or {})}
    if dashes is not None:
        options["linestyle"] = dashes
    # a marker on a line has a white edge
    if options.get("linestyle") != "":
        options |= {"markeredgecolor": "white", "markeredgewidth": 0.5}
    return Line2D([], [], label=plain(label), **options)


def named_models(results: Results) -> list[tuple[int, str]]:
    """(index, name) of each model; empty if there is only one, which needs no name."""
    if len(results.models) > 1:
        return list(enumerate(results.models))
    return []


def legend_below(
    figure: Figure, handles: list[Line2D], title: str | None = None, columns: int | None = None
) -> None:
    """Put a legend below the figure: ``columns`` entries in a row, by default as many as fit.

    A figure as wide as a column has at most two in a row.
    """
    if not handles:
        return
    wide = figure.get_figwidth() > SINGLE
    widths = [0.5 + 0.062 * len(str(handle.get_label())) for handle in handles]  # inches, about
    if sum(widths) < figure.get_figwidth():
        fit = len(handles)
    else:
        fit = max(1, int(figure.get_figwidth() / max(widths)))
    columns = min(columns or fit, len(handles)) if wide else min(2, fit, len(handles))
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=columns,
        handlelength=2.4 if wide else 1.8,
        title=title,
        columnspacing=1.4,
        borderpad=0.2,
    )


def message(text: str) -> Figure:
    """A figure that says why there is nothing to show."""
    figure = Figure(figsize=(SINGLE, 0.8))
    lines = textwrap.wrap(plain(f"Nothing to show: {text}."), 44)
    figure.text(0.5, 0.5, "\n".join(lines), ha="center", va="center", color=GREY)
    return figure


def point(c: int) -> dict[str, Any]:
    """Colour and marker of the c-th class."""
    return {
        "color": POINT_COLOURS[c % len(POINT_COLOURS)],
        "marker": POINT_MARKERS[c % len(POINT_MARKERS)],
    }


def model(i: int) -> dict[str, Any]:
    """The line of the i-th model; lines repeat if there are more models."""
    return MODEL_LINES[i % len(MODEL_LINES)]


def thumbnail(picture: Image.Image, side: int = 200) -> Image.Image:
    """The image scaled to its printed size.

    Files stay small, and tiny images do not become a mosaic of squares.
    """
    return ImageOps.contain(picture.convert("RGB"), (side, side), Image.Resampling.BICUBIC)


def title(results: Results, dataset: str, model: str, between: str = " · ") -> str:
    """The data set and, if there are several, the model."""
    several = model and len(results.models) > 1
    if several:
        return f"{plain(dataset)}{between}{plain(model)}"
    return plain(dataset)


def set_title(ax: Axes, results: Results, dataset: str, model: str = "") -> None:
    """Set a panel's title.

    With several models it has two lines, because one line would reach into the next panel.
    """
    ax.set_title(title(results, dataset, model, between="\n"))


def plain(name: str) -> str:
    """Put a name on one line, with spaces for underscores as in prompts.

    Matplotlib would hide the legend entry of a name with a leading underscore.
    """
    return one_line(name.replace("_", " "), None)


def short(name: str, at_most: int = NAME) -> str:
    """A name cut to ``at_most`` characters; an East Asian character is as wide as two."""
    name, width = plain(name), 0
    for i, c in enumerate(name):
        width += 2 if unicodedata.east_asian_width(c) in "WF" else 1
        if width > at_most:
            return name[: max(0, i - 1)].rstrip() + "…"
    return name


def wrap(text: str, width: int, lines: int) -> str:
    """Break a text into at most ``lines`` lines of ``width`` characters; … for what is cut."""
    wrapped = textwrap.wrap(plain(text), width, max_lines=lines, placeholder=" …")
    return "\n".join(wrapped)
