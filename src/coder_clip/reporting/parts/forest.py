"""A forest plot: a row for each statement, a panel for each place, a marker with its interval for
each difference.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from . import layout
from .style import BLUE, DOUBLE, GREY, ORANGE, VERMILLION

# Verdict -> colour and shape, so that print in black still tells them apart.
LOOKS: dict[str, tuple[str, str]] = {
    "shown": (BLUE, "o"),
    "contradicted": (VERMILLION, "X"),
    "open": (GREY, "|"),
    "not judged": (ORANGE, "d"),
}
LINE, GAP = 0.14, 0.05  # inches: a line of a label, and the space between two rows
CHARACTERS = 55  # in a line of a label
LABELS = 3.3  # inches for labels
AXIS = 0.4  # inches below a panel, for its ticks and label
TITLE = 0.2  # inches above a panel
LEGEND = 0.26
FONT = 8
# panels side by side; more are in blocks below one another, so that their numbers do not touch
BESIDE = 4
LEAST = 2.0  # points that an axis reaches to either side at least


@dataclass(frozen=True)
class Mark:
    """A difference in points with its interval.

    sure: False if the verdict is not confirmed when corrected for all tests.
    """

    verdict: str
    value: float
    low: float
    high: float
    sure: bool = True


@dataclass(frozen=True)
class ForestRow:
    """A row: a statement and its marks, one for each panel; None if a panel has none.

    absent: for each panel the words in the place of a missing mark. small: for each panel the small
    marks, of which the large mark is the mean; empty without small marks.
    """

    label: str
    marks: Sequence[Mark | None]
    absent: Sequence[str]
    small: Sequence[Sequence[Mark]] = field(default_factory=list)


def forest(
    groups: Mapping[str, Sequence[ForestRow]],
    panels: Sequence[str],
    x_label: str,
    beside: int = BESIDE,
) -> Figure:
    """Draw the rows of each group below its heading, with a panel for each title.

    Many panels in several blocks of at most ``beside``.
    """
    # the lines of each label from top to bottom; a heading has no row
    labels: list[tuple[list[str], ForestRow | None]] = []
    for heading, rows in groups.items():
        labels.append(([heading], None))
        labels += [(_lines(row.label), row) for row in rows]
    # each label with the height of its middle, in inches from the top
    places: list[tuple[float, list[str], ForestRow | None]] = []
    y = 0.0
    for lines, row in labels:
        height = LINE * len(lines) + GAP
        places.append((y + height / 2, lines, row))
        y += height
    blocks = [range(len(panels))[first : first + beside] for first in range(0, len(panels), beside)]
    block_height = TITLE + y + AXIS
    figure = Figure(figsize=(DOUBLE, block_height * len(blocks) + LEGEND))
    # panels share what labels and margin leave of the width
    width = (DOUBLE - LABELS - 0.06) / min(len(panels), beside)
    statements = [(at, row) for at, _, row in places if row is not None]
    for above, block in enumerate(blocks):
        top = above * block_height + TITLE
        for column, panel in enumerate(block):
            ax = layout.axes(figure, LABELS + column * width + 0.05, top, width - 0.1, y)
            _panel(ax, panel, statements, y)
            ax.set_title(layout.short(panels[panel], int(width / 0.072)), fontsize=FONT)
            label, ticks = "points", 3
            if width > 1.2:
                label, ticks = x_label, 5
            ax.set_xlabel(label, fontsize=FONT)
            ax.xaxis.set_major_locator(MaxNLocator(ticks, integer=True))
        _labels(figure, places, top)
    _legend(figure, [m for rows in groups.values() for r in rows for m in _all_marks(r)])
    return figure


def _labels(
    figure: Figure, places: Sequence[tuple[float, list[str], ForestRow | None]], top: float
) -> None:
    """Write headings and statements left of a block of panels.

    top: the top of the panels, in inches from the top of the figure.
    """
    for at, lines, row in places:
        figure.text(
            0.06,
            figure.get_figheight() - top - at,
            "\n".join(lines),
            transform=figure.dpi_scale_trans,
            va="center",
            linespacing=1.1,
            fontsize=FONT,
            fontweight="bold" if row is None else "normal",
        )


def _lines(label: str) -> list[str]:
    """The lines of a label."""
    return textwrap.wrap(layout.plain(label), CHARACTERS)


def _all_marks(row: ForestRow) -> list[Mark]:
    """Large and small marks of all panels."""
    large = [mark for mark in row.marks if mark is not None]
    return [*large, *(mark for small in row.small for mark in small)]


def _panel(ax: Axes, i: int, rows: Sequence[tuple[float, ForestRow]], height: float) -> None:
    """Draw panel i. rows: (inches from the top, row); height: of the panel in inches."""
    ax.set_ylim(height, 0)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.axvline(0, color="#444444", linewidth=0.7, zorder=1)
    ends = [LEAST, -LEAST]  # what the horizontal axis has to hold
    for at, row in rows:
        # a faint line leads from the label to the mark
        ax.axhline(at, color="#EEEEEE", linewidth=0.5, zorder=0)
        beside, size = [], 5.2
        if row.small:
            beside, size = [*row.small[i]], 6.2
        for small in beside:
            ax.plot([small.value], [at], **_marker(small, 3.0), alpha=0.55, zorder=2)
            ends.append(small.value)
        mark = row.marks[i]
        if mark is None:
            # right of the small marks, where there are some
            right = max([0.0, *(small.value for small in beside)])
            ax.annotate(
                row.absent[i], (right, at), (4, 0), textcoords="offset points", va="center",
                fontsize=FONT, color=GREY,
                annotation_clip=False,
            )  # fmt: skip
            continue
        colour = LOOKS[mark.verdict][0]
        ax.plot(
            [mark.low, mark.high],
            [at, at],
            color=colour,
            linewidth=1.1,
            solid_capstyle="butt",
            zorder=3,
        )
        ax.plot([mark.value], [at], **_marker(mark, size), zorder=4)
        ends += [mark.low, mark.high]
    # a little room, so that no mark is on the frame
    space = 0.04 * (max(ends) - min(ends))
    ax.set_xlim(min(ends) - space, max(ends) + space)
    ax.xaxis.set_major_formatter(lambda x, _: "0" if x == 0 else f"{x:+.0f}".replace("-", "−"))
    ax.tick_params(axis="x", labelsize=FONT)


def _marker(mark: Mark, size: float) -> dict[str, Any]:
    """How a mark looks, as arguments of matplotlib."""
    colour, shape = LOOKS[mark.verdict]
    # hollow if not confirmed; a bar ("|") has no face, so its edge has the colour
    face = "white"
    if mark.sure:
        face = colour
    if shape == "|":
        edge, edge_width = colour, 1.4
    elif mark.sure:
        edge, edge_width = "white", 0.5
    else:
        edge, edge_width = colour, 0.9
    return {
        "marker": shape,
        "linestyle": "",
        "color": colour,
        "markersize": size,
        "markerfacecolor": face,
        "markeredgecolor": edge,
        "markeredgewidth": edge_width,
    }


def _legend(figure: Figure, marks: Sequence[Mark]) -> None:
    """Add a legend of the verdicts that occur."""
    occurring = {(m.verdict, m.sure) for m in marks}
    handles = []
    for verdict in LOOKS:
        for sure in (True, False):
            if (verdict, sure) in occurring:
                label = f"{verdict} (?)"
                if sure:
                    label = verdict
                handles.append(
                    Line2D([], [], label=label, **_marker(Mark(verdict, 0, 0, 0, sure), 5.2))
                )
    if handles:
        figure.legend(
            handles=handles, loc="lower center", ncols=len(handles), fontsize=FONT, borderpad=0.2
        )
