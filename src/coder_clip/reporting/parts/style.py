"""The style of all figures, and how they are written: PDF and PNG, the same bytes every time.

Colours are Okabe and Ito's, which colour-blind people tell apart; markers, lines and hatches say
the same again for print in black.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from matplotlib import font_manager, style
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import Bbox
from PIL import Image

from ...baselines.methods import Line
from ...foundation.artifacts import write_bytes
from ..results import Results

Loader = Callable[[str, str], Image.Image]  # (data set, image id) -> image
SINGLE, DOUBLE = 3.25, 6.75  # inches: one and two columns of the conference's style
DPI = 200
PLACES = 9  # decimals of a position: a millionth of a pixel
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#E69F00", "#009E73", "#CC79A7"
VERMILLION, SKY, BLACK, GREY = "#D55E00", "#56B4E9", "#000000", "#6B6B6B"
PALETTE = {  # by the names that methods give their colours
    "blue": BLUE,
    "orange": ORANGE,
    "green": GREEN,
    "purple": PURPLE,
    "vermillion": VERMILLION,
    "sky": SKY,
    "black": BLACK,
    "grey": GREY,
}
# lines for methods that declare none
SPARE: tuple[Line, ...] = (("sky", "-", "P"), ("black", "--", "X"))
STYLE: dict[str, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.handlelength": 2.4,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": "#444444",
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "hatch.linewidth": 0.6,
    "text.parse_math": False,  # a class name may hold a dollar sign
    "text.usetex": False,
    "axes.unicode_minus": True,
    "pdf.fonttype": 42,  # TrueType: text stays text, and conferences ask for it
    "savefig.dpi": DPI,
    "figure.dpi": DPI,
    "image.interpolation": "antialiased",
}
# For names that DejaVu Sans (which comes with matplotlib) cannot write, where the machine has one
# of these.
FALLBACKS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "Hiragino Sans",
    "Noto Sans Devanagari",
    "Noto Sans Bengali",
    "Noto Sans Tamil",
    "Noto Sans Thai",
    "Noto Sans Ethiopic",
)


class Layout(ConstrainedLayoutEngine):
    """Matplotlib's constrained layout with rounded positions, which are the same in every draw.

    Its solver (kiwisolver) adds in the order of memory addresses, so the last bits of positions
    change from draw to draw, and with them pixels at the edge of a line.
    """

    def execute(self, fig: Figure) -> Any:
        """Place the axes. Returns the grids of the layout, as matplotlib does."""
        grids = super().execute(fig)
        for axes in fig.axes:
            rounded = Bbox(axes.get_position(original=True).get_points().round(PLACES))
            # as matplotlib itself places axes: `set_position` would exclude them from the layout
            axes._set_position(rounded)  # type: ignore[attr-defined]
        return grids


@dataclass(frozen=True)
class Drawing:
    """A figure's function and what to say beside it. alt: text for readers who cannot see it."""

    draw: Callable[[Results, Loader], Figure]
    title: str
    caption: str
    alt: str

    def __call__(self, results: Results, image: Loader) -> Figure:
        with styled():
            return self.draw(results, image)


def look(line: Line | None, spare: int = 0) -> dict[str, Any]:
    """A declared line as arguments of matplotlib; None: spare line number ``spare``."""
    colour, dashes, marker = line or SPARE[spare % len(SPARE)]
    return {"color": PALETTE[colour], "linestyle": dashes, "marker": marker}


def write(figure: Figure, stem: str | Path) -> None:
    """Write ``stem``.pdf and ``stem``.png.

    No dates or versions inside, so the bytes are the same every time.
    """
    stem = Path(stem)
    # None leaves a field out
    metadata_of: dict[str, dict[str, None]] = {
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
        "png": {"Software": None},
    }
    for suffix, metadata in metadata_of.items():
        buffer = io.BytesIO()
        with styled():
            figure.savefig(buffer, format=suffix, dpi=DPI, metadata=metadata)
        write_bytes(stem.with_name(f"{stem.name}.{suffix}"), buffer.getvalue())


@contextmanager
def styled() -> Iterator[None]:
    """Draw figures in the project's style within this context."""
    families = ["DejaVu Sans", *_fallbacks()]
    # "default": matplotlib's own defaults, whatever matplotlibrc the user has
    with style.context(["default", {**STYLE, "font.family": families}]), warnings.catch_warnings():
        # if no font of the machine has a glyph, a box is drawn: no reason for a warning
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings(
            "ignore", message="Matplotlib currently does not support .* natively"
        )
        yield


@cache
def _fallbacks() -> tuple[str, ...]:
    """The fonts of FALLBACKS that this machine has."""
    installed = set(font_manager.get_font_names())
    return tuple(f for f in FALLBACKS if f in installed)
