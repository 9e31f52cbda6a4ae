"""Controls: neighbours by texts against neighbours by anything else, by three measures."""

from __future__ import annotations

from ...claims import CONTROLS, MEASURES
from ...evaluation.controls import DRAWS
from ...evaluation.intervals import clear
from ..parts import cells, notes
from ..parts.table import Cell, Column, Table
from ..results import Results
from ..verdicts import frame, places, records
from .claims import of_source, verdict_cell

SECTION = "Claims"
ORDER = 20
PHASES = ("claims", "evaluation")
DETAIL = True

CAPTION = (
    "The difference in percentage points between neighbours by texts (CODER, or for the last row "
    "features projected on names) and neighbours by something else, among the same test images, "
    "with its 95 % interval; the verdict is by the first measure. k-NN: vote of the nearest "
    "images. Nearest image: it is of the same class. R-precision: share of an image's class among "
    "its R nearest, where R is the number of the others. Images that describe: as many as there "
    "are texts, or all, of the validation images of the run's other data sets, or of the data "
    "set's own shots and validation images (relative representations, Moschella et al. 2023). "
    "Rotated: the angles between texts stay, and their directions are lost. Centred: minus the "
    "mean of the validation images. Whitened: by their covariance, with the strength that is best "
    f"on them. Of the texts, none was chosen; what is drawn at random has {DRAWS} draws, whose "
    "variance is in the interval."
)


def nothing(results: Results) -> str:
    """Why there is nothing to show; "" if there is."""
    if of_source(results, CONTROLS):
        return ""
    return "the run has no controls"


def table(results: Results) -> Table:
    """A row for each control and place, and a column for each measure."""
    found, shown = records(results), places(results)
    others = [measure for measure in ("nearest", "r_precision")]
    columns = [Column("Neighbours by texts against", numeric=False)]
    located = cells.place(results) if len(shown) > 1 else []
    columns += [column for column, _ in located]
    columns.append(Column(MEASURES["knn"], line=True))
    columns += [Column(MEASURES[measure], line=True) for measure in others]
    rows = []
    for claim in of_source(results, CONTROLS):
        for place in shown:
            record = found.get((claim.id, *place))
            if record is None:
                continue
            row = [Cell(claim.statement)]
            row += [cell(record) for _, cell in located]
            row.append(verdict_cell(record))
            for measure in others:
                d = record.get("other_measures", {}).get(measure)
                if d is None:
                    row.append(Cell("–"))
                    continue
                text = cells.with_interval(d["value"], d["low"], d["high"], cells.points)
                row.append(Cell(text, d["value"], bold=bool(clear(d))))
            rows.append(row)
    every = frame(results)
    return Table(
        "Texts against anything else",
        " ".join(filter(None, [CAPTION, cells.only(results)])),
        every[every["source"] == CONTROLS],
        columns,
        rows,
        tuple(filter(None, [_sizes(results), notes.not_here(results)])),
    )


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
