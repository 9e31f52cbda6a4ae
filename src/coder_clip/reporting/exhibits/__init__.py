"""The exhibits: one module each, with a table, a figure, or both, and all there is to say of them.

A module declares, as literals::

    SECTION = "Few-shot"      the section of the report (SECTIONS; a new one is after those shown)
    ORDER = 20                its place in that section
    PHASES = ("adapter",)     whose artefacts it shows
    SHOWS_IMAGES = True       only for a figure that opens images, not only results
    DETAIL = True             only for what the report shows folded

and defines ``table``, a function from `Results` to `Table`, or ``FIGURE``, a `Drawing`, or both.
Where there may be nothing to show it has ``nothing``, too, a function from `Results` to the reason
("" if there is something). `all_exhibits` finds it; nothing else lists it.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...foundation import scan

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..parts.style import Drawing, Loader
    from ..parts.table import Table
    from ..results import Results

# What each section is about. Their order on the page is the reader's (`page.OPEN`), else this one.
SECTIONS = {
    "Claims": "What the paper, and a later re-evaluation of it, claim, and what this run says "
    "about it. The rules are the same for every run (docs/method.md).",
    "Zero-shot": "Images are classified by their similarity to texts alone. Stage one (CODER) "
    "averages over the texts of a class. Stage two (the rerank) compares the five likeliest "
    "classes again, two at a time, with texts that say what one has and the other has not; its "
    "gate lets only uncertain images through.",
    "Errors": "What is taken for what, and which texts decided.",
    "Few-shot": "A cache of a few labelled training images (shots) per class corrects the "
    "zero-shot scores; nothing is trained. All methods here have the same shots, so each is "
    "compared with the others: CLIP without shots is a level to start from.",
    "Texts": "Which kinds of text help, and how many it takes.",
    "Features": (
        "CODER describes an image by its similarities to all texts. Are neighbours better in that "
        "space?"
    ),
    "Settings": "The published code has some bugs and chooses some values on test data. Each "
    "number is beside what it is without them.",
    "Published figures": (
        "What others report for the same images and encoders, each figure with its source."
    ),
}


NO_TEXTS = "no data set has text features of its classes"


@dataclass(frozen=True)
class Exhibit:
    """A table, a figure, or both.

    name: of the module and of the files that it makes. The other fields are what the module
    declares.
    """

    name: str
    section: str
    order: int
    phases: tuple[str, ...]
    has_table: bool
    has_figure: bool
    shows_images: bool
    detail: bool = False

    def table(self, results: Results) -> Table:
        """Make the table; an empty one if no data set has what the table shows."""
        shown = self._shown(results)
        if not shown.datasets:
            from ..parts import table  # not above: it imports pandas

            return table.empty(self.name.replace("_", " ").capitalize(), NO_TEXTS)
        made: Table = self._module().table(shown)
        return made

    @property
    def drawing(self) -> Drawing:
        """The figure's function, title, caption and text for readers who cannot see it."""
        drawing: Drawing = self._module().FIGURE
        return drawing

    def nothing(self, results: Results) -> str:
        """Why there is nothing to show; "" if there is."""
        if self.shows_images and results.features:
            return "there are features instead of images"
        shown = self._shown(results)
        if not shown.datasets:
            return NO_TEXTS
        # a module without the function always has something to show
        nothing = getattr(self._module(), "nothing", None)
        if nothing is None:
            return ""
        return str(nothing(shown))

    def figure(self, results: Results, image: Loader) -> Figure:
        """Draw the figure; if there is nothing to show, a figure with the reason."""
        why = self.nothing(results)
        if why:
            from ..parts import layout, style  # as above

            with style.styled():
                return layout.message(why)
        return self.drawing(self._shown(results), image)

    def _shown(self, results: Results) -> Results:
        """The results without the data sets that the exhibit cannot show."""
        # stages one and two need texts of the classes; few-shot methods do not
        needs_texts = "zero_shot" in self.phases or "rerank" in self.phases
        if needs_texts and "adapter" not in self.phases:
            return results.named()
        return results

    def _module(self) -> Any:
        """Import the module, only when its table or figure is needed.

        The rules read the list of exhibits at every start, without pandas and matplotlib.
        """
        return importlib.import_module(f".{self.name}", __package__)


def exhibit(name: str, folder: Path = Path(__file__).parent) -> Exhibit:
    """An exhibit, from what its module declares, without importing the module."""
    module = scan.module(folder / f"{name}.py")
    section, order, phases = module.required("SECTION", "ORDER", "PHASES")
    has_table, has_figure = module.defines("table"), module.defines("FIGURE")
    if not has_table and not has_figure:
        raise ImportError(f"exhibit '{name}' has neither a function table nor a FIGURE")
    flags = (module.get(flag, False) for flag in ("SHOWS_IMAGES", "DETAIL"))
    return Exhibit(name, section, order, phases, has_table, has_figure, *flags)
