"""Controls: neighbours by texts against neighbours by anything else, by three measures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from ...claims import CONTROLS, NEIGHBOUR_MEASURES
from ..evidence import claims_of
from ..parts import cells, notes
from ..parts.forest import ForestRow, forest
from ..parts.style import Drawing, Loader
from ..parts.table import Cell, Column, Table
from ..results import Results
from ..verdicts import counted, judged, untested
from .claims import forest_row, shown_places, verdict_cell

SECTION = "Claims"
ORDER = 5
PHASES = ("zero_shot", "rerank", "adapter", "evaluation")

TITLE = "Texts against anything else"
CAPTION = (
    "The difference in percentage points between neighbours by texts (CODER, or for the last row "
    "features projected on names) and neighbours by something else, among the same test images, "
    "with its 95 % interval and the verdict as for all claims. k-NN: vote of the nearest images. "
    "Nearest: the nearest image is of the same class. R-precision: share of an image's class among "
    "its R nearest, where R is the number of the others. Images that describe: as many as there "
    "are texts, or all, of the validation images of the run's other data sets, or of the data "
    "set's own shots and validation images (relative representations, Moschella et al. 2023). "
    "Rotated: the angles between texts stay, and their directions are lost. Centred: minus the "
    "mean of the validation images. Whitened: by their covariance, with the strength that is best "
    "on them. Of the texts, none was chosen."
)


def nothing(results: Results) -> str:
    """Why there is nothing to show; "" if there is."""
    if _controls(results):
        return ""
    return "the run has no controls"


def table(results: Results) -> Table:
    """A row for each control and place, and a column for each measure.

    Two data sets in one row would be wider than a printed page.
    """
    frame = judged(results)
    record_of = _record_of(results)
    columns = [Column("Neighbours by texts against", numeric=False)]
    sets = len({dataset for dataset, _ in shown_places(results)}) > 1
    models = len(results.models) > 1
    columns += [Column("Data set", numeric=False)] * sets + [
        Column("Model", numeric=False)
    ] * models
    columns += [Column(label, line=True) for _, label in NEIGHBOUR_MEASURES.values()]
    rows = []
    for stated, names in _controls(results).items():
        for place in shown_places(results):
            dataset, model = place
            row = [Cell(stated)]
            if sets:
                row.append(Cell(cells.dataset_name(dataset, "mean")))
            if models:
                row.append(Cell(model))
            row += [verdict_cell(record_of[name, *place]) for name in names]
            rows.append(row)
    return Table(
        TITLE,
        " ".join(filter(None, [CAPTION, cells.only(results)])),
        frame[frame["source"] == CONTROLS],
        columns,
        rows,
        tuple(filter(None, [_sizes(results), notes.not_here(results)])),
    )


def draw(results: Results, image: Loader) -> Figure:
    """A row for each control, a panel for each place and measure."""
    record_of, places = _record_of(results), shown_places(results)
    rows: list[ForestRow] = []
    for stated, names in _controls(results).items():
        records = [record_of[name, *place] for place in places for name in names]
        row = forest_row(results, record_of, records)
        rows.append(ForestRow(stated, row.marks, row.absent, row.small))
    titles = [
        # short, so that the name of a data set fits beside it
        _head(results, place, label.replace("R-precision", "R-prec."))
        for place in places
        for _, label in NEIGHBOUR_MEASURES.values()
    ]
    # a block for each place
    beside = len(NEIGHBOUR_MEASURES)
    return forest({"Neighbours by texts against": rows}, titles, "Difference (points)", beside)


FIGURE = Drawing(
    draw,
    TITLE,
    "Each control of the table, by three measures of neighbours: the difference in percentage "
    "points in favour of texts, with its 95 % interval. Colour and shape give the verdict; hollow: "
    "not confirmed when corrected for all tests (?). Where many data sets are averaged, small "
    "marks are the data sets. Panels have their own scales.",
    "A row for each control with a marker and an interval for each measure; the numbers are in the "
    "table.",
)


def _controls(results: Results) -> dict[str, list[str]]:
    """Control -> its claims, one for each measure.

    Only controls that the run tests, by some measure.
    """
    controls: dict[str, list[str]] = {}
    for claim in claims_of(results):
        if claim.source == CONTROLS:
            # "Neighbours by texts beat those by X (k-NN)" -> "X"
            stated = claim.statement.partition(" beat")[2].rpartition(" (")[0]
            stated = stated.removeprefix(" those by ").removeprefix("s ")
            controls.setdefault(stated, []).append(claim.name)
    without = {claim.name for claim in untested(results)}
    return {stated: names for stated, names in controls.items() if not without.issuperset(names)}


def _record_of(results: Results) -> dict[tuple[str, str, str], Mapping[Any, Any]]:
    """(claim, data set, model) -> its record."""
    records = judged(results).to_dict("records")
    return {(r["claim"], r["dataset"], r["model"]): r for r in records}


def _head(results: Results, place: tuple[str, str], label: str) -> str:
    """The head of a panel: the place if there are several, and the measure."""
    dataset, model = place
    parts = [label]
    if not counted(results) and len(results.datasets) > 1:
        parts.insert(0, cells.dataset_name(dataset, "mean"))
    if len(results.models) > 1:
        parts.append(model)
    return " ".join(parts)


def _sizes(results: Results) -> str:
    """Note on the numbers of texts and images that describe, and on the strengths of whitening."""
    said = []
    for key, words in (
        ("texts", "texts"),
        ("other_images", "images of other data sets"),
        ("own_images", "images of the data set"),
        ("whitening", "strength of whitening"),
    ):
        sets_of: dict[str, list[str]] = {}  # number -> its data sets
        for dataset, model in results:
            controls = results.evaluation(dataset, model).get("controls", {})
            if key in controls and len(controls) > 1:  # a part has no controls
                sets_of.setdefault(f"{controls[key]:,}", []).append(dataset)
        numbers = [
            number if len(sets_of) == 1 else f"{number} ({', '.join(dict.fromkeys(datasets))})"
            for number, datasets in sets_of.items()
        ]
        if numbers:
            said.append(f"{words}: {', '.join(numbers)}")
    if not said:
        return ""
    return f"{'; '.join(said).capitalize()}."
