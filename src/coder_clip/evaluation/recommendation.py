"""The recommendation of a run: a method that is clearly better than names alone on validation
images, or names alone.

The one rule of the report, ``coder-clip classify --run`` and ``coder-clip explore``. Test images
choose nothing: they show what is recommended with plain 95 % intervals, whatever these say.
docs/evaluation.md says how often the rule is wrong in simulations.

Some methods cannot be recommended by this rule, such as those that need labelled images. The best
of them on validation images are named beside the recommendation, with their results on test images
(`rivals`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..baselines.methods import FEW_SHOT, LABELS, ZERO_SHOT
from ..errors import UserError
from ..protocols import usable
from .estimates import (
    Estimate,
    compare,
    estimate,
)
from .intervals import clear
from .validation import DIAGNOSTICS, NAMES

if TYPE_CHECKING:
    pass

JsonObject = Mapping[str, Any]


@dataclass(frozen=True)
class Recommendation:
    """What a run recommends.

    method: None without validation images; images: number of validation images.

    on_test: the method's `entry` on test images, from the run's document; None without a method.
    """

    method: str | None
    images: int = 0
    on_test: JsonObject | None = None

    @property
    def reason(self) -> str:
        """The reason, without the method's name; the same in the report, on the command line and in
        ``explore``.
        """
        if self.method is None:
            return "nothing is recommended, because there are no validation images to choose on"
        if self.method == NAMES:
            return f"no method without labelled images is clearly better {self._where}"
        return f"clearly better {self._where}"

    @property
    def _where(self) -> str:
        """The end of a sentence: compared with which method, on which images."""
        images = f"{self.images:,} validation images"
        if self.images == 1:
            images = "validation image"
        return f"than names alone on the {images}"

    @property
    def label(self) -> str:
        """The method in words; "nothing" without one."""
        if self.method is None:
            return "nothing"
        if self.method == NAMES:
            return "names alone"
        return LABELS[self.method]

    @property
    def advice(self) -> str:
        """What to use, and why, in one sentence."""
        if self.method is None:
            return f"{self.reason.capitalize()}."
        if self.method == NAMES:
            use = f"names alone: no method is clearly better {self._where}"
        else:
            use = f"“{self.label}”: {self.reason}"
        return f"Without labelled images, use {use}."

    @property
    def confirmed(self) -> str:
        """What test images say about a recommended method; "" for names alone."""
        if self.on_test is None or self.method == NAMES:
            return ""
        return {
            "better": "on test images it is clearly better, too",
            "": "on test images the difference is not clear",
            "worse": "on test images it is clearly worse",
        }[clear(self.on_test["against_clip"])]


def candidates(methods: Iterable[str]) -> list[str]:
    """The methods that can be recommended besides names alone, in the order of METHODS; no
    diagnostics.
    """
    given = set(methods)
    return [m for m in ZERO_SHOT if m in given and m != NAMES and m not in DIAGNOSTICS]


CANDIDATES = candidates(ZERO_SHOT)


def recommend(methods: Sequence[JsonObject], among: Sequence[str] = CANDIDATES) -> str | None:
    """The most accurate of the candidates that are clearly better than names alone, the first of
    equals.

    methods: entries on validation images (`entry`). among: the candidates; if these are fewer
    than all candidates, their intervals stay corrected for all. Names alone if no candidate is
    clearly better; None without entries.
    """
    if not methods:
        return None
    entry_of = {m["method"]: m for m in methods}
    tested = [entry_of[method] for method in among if method in entry_of]
    better = [e for e in tested if clear(e["against_clip"]) == "better"]
    if not better:
        return NAMES
    # of equals max takes the first, in the order of `among`
    best = max(better, key=lambda e: float(e["accuracy"]["value"]))
    return str(best["method"])


def of_run(
    zero_shot: JsonObject, rerank: JsonObject, among: Sequence[str] = CANDIDATES
) -> Recommendation:
    """The recommendation for one data set and model, from the documents of zero_shot and rerank."""
    if zero_shot["validation"] is None:
        return Recommendation(None)
    on_validation = [*zero_shot["validation"]["methods"], *rerank["validation"]["methods"]]
    method = recommend(on_validation, among)
    # validation images choose method and setting; the same pair is read on test images
    setting = next(e["setting"] for e in on_validation if e["method"] == method)
    on_test = next(
        e
        for e in (*zero_shot["methods"], *rerank["methods"])
        if e["method"] == method and e["setting"] == setting
    )
    return Recommendation(method, zero_shot["validation"]["images"], on_test)


# ---- methods beside the recommendation


@dataclass(frozen=True)
class Rival:
    """A method that validation images chose, but that the rule cannot or does not recommend.

    accuracy: on test images. difference: this accuracy minus that of the recommended method; None
    where the results of each image are not on this machine. shots: labelled images per class of a
    few-shot method, else None. several: True if the method ran with several seeds.
    """

    method: str
    accuracy: Estimate
    difference: Estimate | None
    shots: int | None = None
    several: bool = True

    @property
    def name(self) -> str:
        """The method's name for ``classify --method``."""
        if self.shots is None:
            return self.method
        return f"{self.method}-{self.shots}"

    @property
    def title(self) -> str:
        """The method, and what it needs."""
        if self.shots is None:
            return LABELS[self.method]
        return f"{LABELS[self.method]}, {self.shots} shot{'' if self.shots == 1 else 's'}"

    @property
    def better(self) -> bool:
        """True if the method is clearly better on test images than the recommended method."""
        return self.difference is not None and clear(self.difference) == "better"

    @property
    def sentence(self) -> str:
        """The method, how it was chosen, its result on test images, and the command to use it."""
        label = f"“{LABELS[self.method]}”"
        seed = ""
        if self.shots is None:
            kind = ""
            if self.method in DIAGNOSTICS:
                kind = "a diagnostic that is never recommended, and "
            subject = f"{label}, {kind}the best other method on validation images,"
        else:
            images = "labelled images"
            if self.shots == 1:
                images = "labelled image"
            subject = (
                f"With {self.shots} {images} per class, {label}, the best few-shot method on "
                "validation images,"
            )
            if not self.several:
                seed = " (one seed: for these labelled images)"
        use = f"coder-clip classify PHOTOS --run RUN --method {self.name}"
        return f"{subject} {self._on_test}{seed} ({use})."

    @property
    def _on_test(self) -> str:
        """The result on test images, in words."""
        accuracy = "{value:.1f} % [{low:.1f}, {high:.1f}]".format(**_in_percent(self.accuracy))
        if self.difference is None:
            return f"has {accuracy} of the test images right"
        points = "{value:+.1f} [{low:+.1f}, {high:+.1f}] points".format(
            **_in_percent(self.difference)
        ).replace("-", "−")
        verdict = clear(self.difference)
        words = "not clearly different"
        if verdict:
            words = f"clearly {verdict}"
        return f"is {words} on test images: {accuracy}, {points}"


def rivals(
    zero_shot: JsonObject,
    rerank: JsonObject,
    rows: pd.DataFrame | None,
    few_shot: tuple[JsonObject, pd.DataFrame | None] | None,
) -> list[Rival]:
    """The methods to name beside the recommendation: at most one zero-shot and one few-shot method.

    Validation images choose each: the most accurate other method of its table. The few-shot method
    is always named, because labels are often the cheapest way to more accuracy; the zero-shot
    method only if test images say that it is clearly better than the recommended one (`clear`).

    zero_shot, rerank: documents of a run. rows: one for each test image, method, setting and draw
    of both documents. few_shot: the document and the rows of the largest number of shots; None if
    the run has no few-shot methods. Rows are None where they are not on this machine."""
    advised = of_run(zero_shot, rerank)
    if advised.on_test is None:
        return []
    base = None  # results of the recommended method
    if rows is not None:
        base = _correct(rows, advised.on_test["method"], advised.on_test["setting"], "draw")
    found = []
    # validation images choose the rival; test images only decide whether to name it
    on_validation = [*zero_shot["validation"]["methods"], *rerank["validation"]["methods"]]
    others = [m for m in on_validation if m["method"] != advised.method]
    if others and rows is not None and base is not None:
        best = max(others, key=lambda m: float(m["accuracy"]["value"]))
        correct = _correct(rows, best["method"], best["setting"], "draw")
        without_labels = _rival(base, correct, best["method"], _groups(rows))
        if without_labels.better:
            found.append(without_labels)
    if few_shot is not None:
        groups = None if rows is None else _groups(rows)
        with_labels = _few_shot_rival(base, *few_shot, groups)
        if with_labels is not None:
            found.append(with_labels)
    return found


def _few_shot_rival(
    base: pd.DataFrame | None,
    document: JsonObject,
    rows: pd.DataFrame | None,
    groups: NDArray[Any] | None,
) -> Rival | None:
    """The few-shot method that is best on validation images; None if the document has none.

    base: from `_correct`, of the recommended method. document, rows: of one number of shots.
    groups: from `_groups`.
    """
    setting = usable(r["setting"] for r in document["runs"])
    # method -> validation accuracies, one per seed
    on_validation: dict[str, list[float]] = {}
    for r in document["runs"]:
        if r["setting"] == setting and r["method"] in FEW_SHOT:
            on_validation.setdefault(r["method"], []).append(r["val_accuracy"])
    if setting is None or not on_validation:
        return None
    best = max(on_validation, key=lambda m: float(np.mean(on_validation[m])))
    if base is not None and rows is not None:
        correct = _correct(rows, best, setting, "seed")
        return _rival(base, correct, best, groups, document["shots"])
    # without the results of single images only the summary's accuracy is left
    (accuracy,) = [
        entry["accuracy"]
        for entry in document["summary"]
        if entry["method"] == best and entry["setting"] == setting
    ]
    return Rival(best, accuracy, None, document["shots"], len(on_validation[best]) > 1)


def _rival(
    base: pd.DataFrame,
    other: pd.DataFrame,
    method: str,
    groups: NDArray[Any] | None,
    shots: int | None = None,
) -> Rival:
    """Compare a method with the recommended one.

    base: results of the recommended method, one run; other: results of ``method`` (both from
    `_correct`). groups: from `_groups`; the intervals are over groups.
    """
    if not base.index.equals(other.index):
        raise UserError(
            f"results of {method} are of other images than those of the zero-shot methods; run "
            "again"
        )
    # the recommended method has one run, which is compared with each run of the other
    after = other.to_numpy().T
    before = np.broadcast_to(base.to_numpy().T, after.shape)
    difference = compare(before, after, groups=groups)
    return Rival(method, estimate(after, groups=groups), difference, shots, len(after) > 1)


def _correct(rows: pd.DataFrame, method: str, setting: str, runs: str) -> pd.DataFrame:
    """Which images a method has right: a row for each image id, a column for each run.

    runs: the column of ``rows`` that numbers runs, "draw" or "seed".
    """
    of_method = rows[(rows["method"] == method) & (rows["setting"] == setting)]
    return of_method.pivot(index="image_id", columns=runs, values="correct").sort_index()


def _groups(rows: pd.DataFrame) -> NDArray[Any] | None:
    """The group of each image, in the order of `_correct`; None without near twins."""
    if "group" not in rows:
        return None
    images = rows.drop_duplicates("image_id").sort_values("image_id")
    numbers: NDArray[Any] = images["group"].to_numpy()
    return numbers


def _in_percent(share: Estimate) -> dict[str, float]:
    return {"value": 100 * share["value"], "low": 100 * share["low"], "high": 100 * share["high"]}
