"""The claims that a run tests: the table claims.csv, and the rules by which each is judged.

A claim compares two methods on the same test images (of few-shot methods: and seeds), in the
setting ``clean``, with the largest number of shots, and says that ``after`` is better than
``before``. Columns of the table::

    id           in results/claims.json and in the CSV
    statement    as tables show it
    source       who makes the claim (SOURCES); of the paper with the section
    evidence     the rows that hold both sides: zero_shot, few_shot, neighbours, texts
    after        the side that the claim says is better: a method, features or a choice of texts
    before       the other side
    measure      what is compared (MEASURES)
    over         what the claim is meant for: other images, or other classes as well
    exploratory  "yes" if its rule came after a first number of true CLIP features

The verdict is `evaluation.intervals.clear` of the difference, and nothing else::

    shown           the difference is clearly above 0
    contradicted    it is clearly below 0
    open            it is neither
    not judged      few-shot methods with fewer than FEWEST seeds, a discriminant of one shot, or a
                    mean of fewer than FEWEST_SETS data sets
    off             validation chose to change nothing, which is a difference of 0

Texts belong to classes. So a claim about texts is judged over classes: its interval is for other
classes, each with its images. That rule came after first numbers of true CLIP features, too; on
these classes alone the intervals were shorter.

The re-evaluation says that CODER and TIP-X do *not* win against simple classifiers of image
features. Its claims are tested as "the simple one is better": contradicted where CODER or TIP-X
clearly wins, shown only where the simple one does. CLIP's logits help whoever has them, so both
sides have them or neither has. The controls ask whether anything else than texts would do."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal

from .baselines.methods import METHODS
from .errors import UserError
from .evaluation.intervals import clear
from .texts.kinds import BESIDES_NAME

Verdict = Literal["shown", "contradicted", "open", "not judged", "off"]
JUDGED = ("shown", "contradicted", "open")
TABLE = Path(__file__).parent / "claims.csv"

PAPER, REEVALUATION, CONTROLS = "paper", "Herzog & Wang", "this project"
SOURCES = {
    PAPER: "Yi et al., CVPR 2024, with the section",
    REEVALUATION: "“Reevaluating the Intra-Modal Misalignment Hypothesis in CLIP”, CVPR 2026, "
    "which says that CODER and TIP-X do not win against simple classifiers of image features",
    CONTROLS: "controls that ask whether anything else than texts would do; a description by "
    "images is known as relative representations (Moschella et al., ICLR 2023)",
}
MEASURES = {
    "accuracy": "top-1 accuracy",
    "knn": "k-NN",
    "nearest": "nearest image",
    "r_precision": "R-precision",
}
SETTING = "clean"
FEWEST = 3  # seeds: of two numbers no interval is short enough to tell
FEWEST_SETS = 6  # data sets of a mean: the signed-rank test cannot tell with fewer
DISCRIMINANTS = ("lda", "gda", "discriminant")  # fitted to the covariance of shots
# what images are described by, or maps of image features, whose neighbours are compared
FEATURES = (
    *("original", "coder", "coder_few", "projected", "discriminant"),
    *("other_images", "own_images", "rotated_texts", "random_directions", "projected_images"),
    *("centred", "whitened"),
)
_SIDES = {
    "zero_shot": set(METHODS),
    "few_shot": set(METHODS),
    "neighbours": set(FEATURES),
    "texts": {"all texts", "few texts", "diverse texts", "alike texts"}
    | {f"all but {kind}" for kind in BESIDES_NAME},
}


@dataclass(frozen=True)
class Claim:
    """A row of the table."""

    id: str
    statement: str
    source: str
    evidence: str
    after: str
    before: str
    measure: str
    over: str
    exploratory: str

    @property
    def by(self) -> str:
        """The source without the section."""
        return self.source.split(",")[0]

    @property
    def uses_labels(self) -> bool:
        """True if a side was fitted to labelled images (shots)."""
        return self.evidence == "few_shot" or "discriminant" in (self.after, self.before)


@cache
def claims(table: Path = TABLE) -> tuple[Claim, ...]:
    """The claims of a table. UserError for an unknown column, source, side, measure, or a second
    claim with the same id, or with the same sides and measure.
    """
    columns = [field.name for field in fields(Claim)]
    found: dict[str, Claim] = {}
    compared: dict[tuple[str, ...], str] = {}
    with table.open(encoding="utf-8", newline="") as rows:
        reader = csv.DictReader(rows)
        if reader.fieldnames != columns:
            raise UserError(f"{table.name} has columns {reader.fieldnames}, but needs {columns}")
        for number, row in enumerate(reader, start=2):
            where = f"{table.name}, line {number}"
            if list(row) != columns or None in row.values():
                raise UserError(f"{where}: {len(columns)} values are needed, one for each column")
            claim = Claim(**row)
            known = {
                "source": (claim.by, set(SOURCES)),
                "evidence": (claim.evidence, set(_SIDES)),
                "after": (claim.after, _SIDES.get(claim.evidence, set())),
                "before": (claim.before, _SIDES.get(claim.evidence, set())),
                "measure": (claim.measure, set(MEASURES)),
                "over": (claim.over, {"images", "classes"}),
                "exploratory": (claim.exploratory, {"", "yes"}),
            }
            for column, (value, allowed) in known.items():
                if value not in allowed:
                    names = ", ".join(sorted(allowed))
                    raise UserError(f"{where}: unknown {column} '{value}'; known are {names}")
            sides = (claim.evidence, claim.measure, *sorted((claim.after, claim.before)))
            same = found.get(claim.id) or found.get(compared.get(sides, ""))
            if same:
                raise UserError(f"{where}: claim '{claim.id}' is there already, as '{same.id}'")
            found[claim.id], compared[sides] = claim, claim.id
    return tuple(found.values())


def verdict(difference: Mapping[str, Any]) -> Verdict:
    """The verdict on a claim whose two sides were compared."""
    direction = clear(difference)
    if direction == "better":
        return "shown"
    if direction == "worse":
        return "contradicted"
    return "open"
