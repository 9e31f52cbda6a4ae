"""The answer on top of the report: how good names and texts are, with their uncertainty, and which
method to use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..baselines.methods import FEW_SHOT, LABELS
from ..evaluation.intervals import clear, images_to_settle
from ..evaluation.recommendation import NAMES
from .parts.cells import percent, points, with_interval
from .parts.notes import several_seeds
from .results import Results

SHOWN = (
    "clip",
    "coder",
    "coder_rerank",
)  # in the sentence; whatever is recommended is named besides
SMALLEST = 0.02  # the least difference that is worth settling
CODER_ADAPTER = "coder_adapter"


@dataclass(frozen=True)
class ReportAnswer:
    """The answer for one data set and model.

    numbers: "43.3 % of 90 images right with names alone [33.3, 53.3], …"; advice: what validation
    images recommend, what test images say about it, and which other methods there are (`Rival`);
    more: sentences on what else matters.
    rivals: those of them that are clearly better on test images, with what they need. verdict:
    better, worse or unclear (CODER, reranked, against names alone, on test images). label: the
    recommended method; change: its difference to names alone on test images, with interval, "" for
    names."""

    dataset: str
    model: str
    numbers: str
    advice: str
    more: tuple[str, ...]
    verdict: str
    label: str
    change: str
    rivals: tuple[str, ...] = ()


def answers(results: Results) -> list[ReportAnswer]:
    """One for each data set and model."""
    return [_answer(results, *place) for place in results.named()]


def overall(answers: list[ReportAnswer]) -> str:
    """How often texts helped, where there are many answers."""
    counts = Counter(a.verdict for a in answers)
    many = (
        f"{len(answers)} data sets"
        if len({a.model for a in answers}) == 1
        else f"{len(answers)} runs"
    )
    return (
        "Against names alone, CODER (with the rerank where it is on) is clearly better on "
        f"{counts['better']} of "
        f"{many}, clearly worse on "
        f"{counts['worse']}, and without a clear difference on {counts['unclear']}."
    )


def _answer(results: Results, dataset: str, model: str) -> ReportAnswer:
    # Validation images choose the method (`recommended`), and test images only report how it does.
    # If they recommend nothing, or names alone, the answer is what the texts change; without
    # texts, it asks for some.
    methods, photos = results.main_methods(dataset, model), results.kind == "photos"
    off, texts, n = (
        results.rerank_off(dataset, model),
        results.has_texts(dataset),
        results.images(dataset),
    )
    images = "photos" if photos else "images"
    ours = "your texts" if photos else "the texts (CODER)"
    said = {"clip": "names alone", "coder": ours, "coder_rerank": f"{ours} and the rerank"}
    # the rerank is named only where it changed something
    shown = (
        [m for m in SHOWN if m in methods and not (m == "coder_rerank" and off)]
        if texts
        else ["clip"]
    )
    of = {"clip": f" of {n:,} {images if n > 1 else images.removesuffix('s')} right"}
    numbers = [
        (
            f"{percent(methods[m]['accuracy']['value'])} %{of.get(m, '')} with {said[m]} "
            f"{_interval(methods[m])}"
        )
        for m in shown
    ]
    ours_last = methods[shown[-1] if texts else "coder"]["against_clip"]
    recommended = results.recommendation(dataset, model)
    change = ""
    if recommended.on_test is not None and recommended.method != NAMES:
        change = _points(recommended.on_test["against_clip"]["difference"])
        accuracy = (
            f"{percent(recommended.on_test['accuracy']['value'])} "
            f"% {_interval(recommended.on_test)}"
        )
        on_test = (
            f"With it {accuracy} of the test {images} are right, {change} points: "
            f"{recommended.confirmed}."
        )
    elif texts:
        effect = _effect(ours_last, n, images)
        on_test = f"On the {n:,} test {images} {'your' if photos else 'the'} texts {effect}"
    else:
        on_test = "The classes have only names so far: say what they look like."
    rivals = results.rivals(dataset, model)
    paper = f"{LABELS[shown[-1]]} against names alone: {_points(ours_last['difference'])} points."
    more = [
        paper if texts and change and recommended.method != shown[-1] else "",
        _few_shot(results, dataset, model),
        f"The rerank is off: {off}." if off and texts else "",
    ]
    return ReportAnswer(
        dataset,
        model if len(results.models) > 1 else "",
        f"{', '.join(numbers)}.",
        " ".join([recommended.advice, on_test, *(r.sentence for r in rivals)]),
        tuple(filter(None, more)),
        clear(ours_last["difference"]) or "unclear",
        recommended.label,
        change,
        tuple(r.title for r in rivals if r.better),
    )


def _effect(test: Mapping[str, Any], n: int, images: str) -> str:
    """What texts change on test images: a clear difference, or how many images would settle it."""
    d = test["difference"]
    verdict = clear(d)
    if verdict:
        return f"are clearly {verdict}, by {_points(d)} points."
    # one image more on each side: that a few were alike does not make a difference impossible
    changed = (test["fixed"] + test["broke"] + 2) / (n + 2)
    target = max(abs(d["value"]), SMALLEST)
    needed = images_to_settle(target, max(changed, target))
    # the whole interval is within ± SMALLEST: more images would settle nothing that matters
    if round(d["low"], 3) > -SMALLEST and round(d["high"], 3) < SMALLEST:
        return f"change less than {100 * SMALLEST:.0f} points ({_points(d)})."
    if (
        needed <= n
    ):  # so many would show a difference of this size in most runs, and here they did not
        return f"make no clear difference ({_points(d)} points)."
    return (
        f"make no clear difference ({_points(d)} points). About {float(f'{needed:.2g}'):,.0f} "
        f"test {images} "
        f"would show a difference of {100 * target:.0f} points."
    )


def _few_shot(results: Results, dataset: str, model: str) -> str:
    """The CODER-Adapter with the most shots, beside the few-shot method that is best on validation
    images.
    """
    # The rival is chosen on validation images: chosen on test images, its accuracy would be too
    # high.
    place = (dataset, model, max(results.shots_of(dataset), default=0))
    summary, runs = (
        [r for r in results.few_shot_rows(part) if (r["dataset"], r["model"], r["shots"]) == place]
        for part in ("summary", "runs")
    )
    of = {r["method"]: r for r in summary}
    others = [m for m in FEW_SHOT if m in of and m != CODER_ADAPTER]
    if CODER_ADAPTER not in of or not others:
        return ""
    # mean over seeds of the accuracy on validation images
    on_validation = {
        m: np.mean([r["val_accuracy"] for r in runs if r["method"] == m]) for m in others
    }
    best = max(others, key=lambda m: float(on_validation[m]))
    difference = of[best]["coder_adapter_against"]["difference"]
    # an estimate over seeds has a mean where others have a value
    d = {**difference, "value": difference["mean"]}
    ours, other = (
        f"{percent(a['mean'])} % [{percent(a['low'])}, {percent(a['high'])}]"
        for a in (of[CODER_ADAPTER]["accuracy"], of[best]["accuracy"])
    )
    verdict = {"better": "clearly better", "worse": "clearly worse", "": "not clearly different"}[
        clear(d)
    ]
    if not several_seeds(results):
        verdict = "not judged against it, as one seed says nothing about other labelled images"
    return (
        f"With {place[2]} labelled image{'s' * (place[2] != 1)} per class the "
        f"{LABELS[CODER_ADAPTER]} has {ours}; "
        f"{LABELS[best]}, the best other few-shot method on validation images, has {other}. "
        f"The {LABELS[CODER_ADAPTER]} is {verdict} ({_points(d)} points)."
    )


def _interval(method: Mapping[str, Any]) -> str:
    return f"[{percent(method['accuracy']['low'])}, {percent(method['accuracy']['high'])}]"


def _points(d: Mapping[str, float]) -> str:
    return with_interval(d["value"], d["low"], d["high"], points)
