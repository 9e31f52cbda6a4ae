"""The answer on top of the report.

How good names and texts are, with their uncertainty, and which method to use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..baselines.methods import FEW_SHOT, LABELS
from ..claims import FEWEST
from ..evaluation.intervals import clear, images_to_settle
from ..evaluation.validation import NAMES
from ..foundation.terminal import counted
from .parts.cells import percent, points, with_interval
from .results import Results

# methods in the sentence of numbers; the recommended method has a sentence of its own
SHOWN = ("clip", "coder", "coder_rerank")
SMALLEST = 0.02  # the least difference that is worth settling
CODER_ADAPTER = "coder_adapter"


@dataclass(frozen=True)
class ReportAnswer:
    """The answer for one data set and model.

    numbers: "43.3 % of 90 images right with names alone [33.3, 53.3], …". advice: the method that
    validation images recommend, its results on test images, and other methods (`Rival`). more:
    further sentences. verdict: better, worse or unclear (CODER, reranked, against names alone, on
    test images). label: the recommended method. change: its difference to names alone on test
    images, with interval; "" for names alone. rivals: other methods that are clearly better on test
    images, with the shots that they need. model: "" if there is only one."""

    dataset: str
    model: str
    numbers: str
    advice: str
    more: tuple[str, ...]
    verdict: str
    label: str
    change: str
    rivals: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Words:
    """What the answer calls images and texts. whose: "your" or "the"."""

    image: str
    whose: str
    texts: str

    @property
    def images(self) -> str:
        return f"{self.image}s"

    @property
    def methods(self) -> dict[str, str]:
        """Method -> what an accuracy was reached with."""
        return {
            "clip": "names alone",
            "coder": self.texts,
            "coder_rerank": f"{self.texts} and the rerank",
        }

    @property
    def changed(self) -> dict[str, str]:
        """Method -> what changes the accuracy of names alone."""
        return {
            "coder": f"{self.whose} texts",
            "coder_rerank": f"{self.whose} texts and the rerank",
        }


OWN = _Words("photo", "your", "your texts")
OF_OTHERS = _Words("image", "the", "the texts (CODER)")


def answers(results: Results) -> list[ReportAnswer]:
    """One answer for each data set and model."""
    return [_answer(results, *place) for place in results.named()]


def overall(answers: list[ReportAnswer]) -> str:
    """A sentence on how often texts helped, if there are many answers."""
    counts = Counter(a.verdict for a in answers)
    total = f"{len(answers)} runs"
    if len({a.model for a in answers}) == 1:
        total = f"{len(answers)} data sets"
    return (
        "Against names alone, CODER (with the rerank where it is on) is clearly better on "
        f"{counts['better']} of {total}, clearly worse on {counts['worse']}, and without a clear "
        f"difference on {counts['unclear']}."
    )


def _answer(results: Results, dataset: str, model: str) -> ReportAnswer:
    """The answer for one data set and model.

    Validation images choose the method (``recommended``); test images only report its results. If
    validation images recommend nothing, or names alone, the answer says what the texts change;
    without texts, it asks for some.
    """
    methods = results.main_methods(dataset, model)
    texts = results.has_texts(dataset)
    words = {"photos": OWN}.get(results.kind, OF_OTHERS)
    last = "coder"
    if texts:
        last = _shown(results, dataset, model)[-1]
    against_clip = methods[last]["against_clip"]
    recommended = results.recommendation(dataset, model)
    change = ""
    if recommended.on_test is not None and recommended.method != NAMES:
        change = _points(recommended.on_test["against_clip"])
        on_test = (
            f"With it {_accuracy(recommended.on_test)} of the test {words.images} are right, "
            f"{change} points: {recommended.confirmed}."
        )
    elif texts:
        n = results.images(dataset)
        effect = _effect(against_clip, n, words.images)
        on_test = f"On the {n:,} test {words.images} {words.changed[last]} {effect}"
    else:
        on_test = "The classes have only names so far: say what they look like."
    rivals = results.rivals(dataset, model)
    more = [_few_shot(results, dataset, model), _stage_two(results, dataset, model, words)]
    if texts and change and recommended.method != last:
        difference = _points(against_clip)
        more.insert(0, f"{LABELS[last]} against names alone: {difference} points.")
    named = ""
    if len(results.models) > 1:
        named = model
    return ReportAnswer(
        dataset,
        named,
        f"{', '.join(_numbers(results, dataset, model, words))}.",
        " ".join([recommended.advice, on_test, *(r.sentence for r in rivals)]),
        tuple(filter(None, more)),
        clear(against_clip) or "unclear",
        recommended.label,
        change,
        tuple(r.title for r in rivals if r.better),
    )


def _shown(results: Results, dataset: str, model: str) -> list[str]:
    """Methods in the sentence of numbers: only names without texts, the rerank only if it is on."""
    if not results.has_texts(dataset):
        return ["clip"]
    methods = results.main_methods(dataset, model)
    shown = [m for m in SHOWN if m in methods]
    if results.rerank_off(dataset, model):
        return [m for m in shown if m != "coder_rerank"]
    return shown


def _numbers(results: Results, dataset: str, model: str, words: _Words) -> list[str]:
    """The accuracy of each method in the sentence of numbers, with its interval."""
    methods = results.main_methods(dataset, model)
    numbers = []
    for m in _shown(results, dataset, model):
        accuracy = f"{percent(methods[m]['accuracy']['value'])} %"
        if m == "clip":
            accuracy += f" of {counted(results.images(dataset), words.image)} right"
        numbers.append(f"{accuracy} with {words.methods[m]} {_interval(methods[m])}")
    return numbers


def _stage_two(results: Results, dataset: str, model: str, words: _Words) -> str:
    """A sentence on the rerank: why it is off, or its accuracy if the other numbers lack it."""
    texts, off = results.has_texts(dataset), results.rerank_off(dataset, model)
    has_pairs = bool(results.rerank(dataset, model)["pairs_with_texts"])
    if off and (texts or has_pairs):
        return f"The rerank is off: {off}."
    if texts or not has_pairs:
        return ""
    if results.recommendation(dataset, model).method == "coder_rerank":
        return ""
    reranked = results.main_methods(dataset, model)["coder_rerank"]
    return (
        f"With {words.whose} one-to-one texts {_accuracy(reranked)} of the test {words.images} are "
        f"right, {_points(reranked['against_clip'])} points."
    )


def _effect(test: Mapping[str, Any], n: int, images: str) -> str:
    """What texts change on test images: a clear difference, or how many images would show one.

    test: a `Difference` on the n test images.
    """
    d = test
    verdict = clear(d)
    if verdict:
        return f"are clearly {verdict}, by {_points(d)} points."
    # share of changed images; one more on each side, because no change among a few images does
    # not mean that none is possible
    changed = (test["fixed"] + test["broke"] + 2) / (n + 2)
    target = max(abs(d["value"]), SMALLEST)
    needed = images_to_settle(target, max(changed, target))
    # the whole interval is within ± SMALLEST: more images would settle nothing that matters
    if round(d["low"], 3) > -SMALLEST and round(d["high"], 3) < SMALLEST:
        return f"change less than {100 * SMALLEST:.0f} points ({_points(d)})."
    # this many images show a difference of this size in most runs, but here they did not
    if needed <= n:
        return f"make no clear difference ({_points(d)} points)."
    rounded = float(f"{needed:.2g}")  # to two digits
    return (
        f"make no clear difference ({_points(d)} points). About {rounded:,.0f} test {images} would "
        f"show a difference of {100 * target:.0f} points."
    )


def _few_shot(results: Results, dataset: str, model: str) -> str:
    """A sentence on the CODER-Adapter and the best other few-shot method with the most shots; "" if
    one of them did not run.

    The other method is best on validation images: if test images chose it, its accuracy would be
    too high.
    """
    shots = max(results.shots_of(dataset), default=0)
    place = (dataset, model, shots)
    summary, runs = (
        [r for r in results.few_shot_rows(part) if (r["dataset"], r["model"], r["shots"]) == place]
        for part in ("summary", "runs")
    )
    entry_of = {r["method"]: r for r in summary}
    others = [m for m in FEW_SHOT if m in entry_of and m != CODER_ADAPTER]
    if CODER_ADAPTER not in entry_of or not others:
        return ""
    # mean over seeds of the accuracy on validation images
    on_validation = {
        m: np.mean([r["val_accuracy"] for r in runs if r["method"] == m]) for m in others
    }
    best = max(others, key=lambda m: float(on_validation[m]))
    d = entry_of[best]["coder_adapter_against"]
    ours, other = (
        f"{percent(a['value'])} % [{percent(a['low'])}, {percent(a['high'])}]"
        for a in (entry_of[CODER_ADAPTER]["accuracy"], entry_of[best]["accuracy"])
    )
    verdict = {"better": "clearly better", "worse": "clearly worse", "": "not clearly different"}[
        clear(d)
    ]
    if len({r["seed"] for r in runs}) < FEWEST:
        verdict = (
            "not judged against it, as one or two seeds say little about other labelled images"
        )
    images = "labelled images"
    if shots == 1:
        images = "labelled image"
    return (
        f"With {shots} {images} per class the {LABELS[CODER_ADAPTER]} has {ours}; {LABELS[best]}, "
        f"the best other few-shot method on validation images, has {other}. The "
        f"{LABELS[CODER_ADAPTER]} is {verdict} ({_points(d)} points)."
    )


def _accuracy(method: Mapping[str, Any]) -> str:
    """A method's accuracy with its interval, in percent."""
    return f"{percent(method['accuracy']['value'])} % {_interval(method)}"


def _interval(method: Mapping[str, Any]) -> str:
    """The interval of a method's accuracy, in percent."""
    return f"[{percent(method['accuracy']['low'])}, {percent(method['accuracy']['high'])}]"


def _points(d: Mapping[str, float]) -> str:
    """A difference with its interval, in points."""
    return with_interval(d["value"], d["low"], d["high"], points)
