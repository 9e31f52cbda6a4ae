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
from ..evaluation.recommendation import NAMES
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


def answers(results: Results) -> list[ReportAnswer]:
    """One answer for each data set and model."""
    return [_answer(results, *place) for place in results.named()]


def overall(answers: list[ReportAnswer]) -> str:
    """A sentence on how often texts helped, if there are many answers."""
    counts = Counter(a.verdict for a in answers)
    one_model = len({a.model for a in answers}) == 1
    total = f"{len(answers)} {'data sets' if one_model else 'runs'}"
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
    methods, photos = results.main_methods(dataset, model), results.kind == "photos"
    off = results.rerank_off(dataset, model)
    texts = results.has_texts(dataset)
    n = results.images(dataset)
    images = "photos" if photos else "images"
    ours = "your texts" if photos else "the texts (CODER)"
    words = {"clip": "names alone", "coder": ours, "coder_rerank": f"{ours} and the rerank"}
    # without texts only names; the rerank is named only where it changed something
    shown = [m for m in SHOWN if m in methods] if texts else ["clip"]
    if off and "coder_rerank" in shown:
        shown.remove("coder_rerank")
    numbers = []
    for m in shown:
        accuracy = f"{percent(methods[m]['accuracy']['value'])} %"
        if m == "clip":
            accuracy += f" of {n:,} {images if n > 1 else images.removesuffix('s')} right"
        numbers.append(f"{accuracy} with {words[m]} {_interval(methods[m])}")
    # CODER, reranked if the rerank changed something
    ours_last = methods[shown[-1] if texts else "coder"]["against_clip"]
    recommended = results.recommendation(dataset, model)
    change = ""
    if recommended.on_test is not None and recommended.method != NAMES:
        change = _points(recommended.on_test["against_clip"]["difference"])
        accuracy = (
            f"{percent(recommended.on_test['accuracy']['value'])} % "
            f"{_interval(recommended.on_test)}"
        )
        on_test = (
            f"With it {accuracy} of the test {images} are right, {change} points: "
            f"{recommended.confirmed}."
        )
    elif texts:
        # the effect is that of the last method shown
        changed = f"{'your' if photos else 'the'} texts"
        if shown[-1] == "coder_rerank":
            changed += " and the rerank"
        on_test = f"On the {n:,} test {images} {changed} {_effect(ours_last, n, images)}"
    else:
        on_test = "The classes have only names so far: say what they look like."
    has_pairs = bool(results.rerank(dataset, model)["pairs_with_texts"])
    stage_two = ""
    if off and (texts or has_pairs):
        stage_two = f"The rerank is off: {off}."
    elif has_pairs and not texts and recommended.method != "coder_rerank":
        # the numbers above are of names alone
        reranked = methods["coder_rerank"]
        accuracy = f"{percent(reranked['accuracy']['value'])} % {_interval(reranked)}"
        stage_two = (
            f"With {'your' if photos else 'the'} one-to-one texts {accuracy} of the test {images} "
            f"are right, {_points(reranked['against_clip']['difference'])} points."
        )
    rivals = results.rivals(dataset, model)
    # further sentences, "" for those that do not apply
    paper = f"{LABELS[shown[-1]]} against names alone: {_points(ours_last['difference'])} points."
    more = [
        paper if texts and change and recommended.method != shown[-1] else "",
        _few_shot(results, dataset, model),
        stage_two,
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
    """What texts change on test images: a clear difference, or how many images would show one.

    test: a `PairedTest` on the n test images.
    """
    d = test["difference"]
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
    """A sentence on the CODER-Adapter and the best other few-shot method.

    With the most shots; "" if one of them did not run.

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
    difference = entry_of[best]["coder_adapter_against"]["difference"]
    # an estimate over seeds has a mean where others have a value
    d = {**difference, "value": difference["mean"]}
    ours, other = (
        f"{percent(a['mean'])} % [{percent(a['low'])}, {percent(a['high'])}]"
        for a in (entry_of[CODER_ADAPTER]["accuracy"], entry_of[best]["accuracy"])
    )
    verdict = {"better": "clearly better", "worse": "clearly worse", "": "not clearly different"}[
        clear(d)
    ]
    if len({r["seed"] for r in runs}) < FEWEST:
        verdict = (
            "not judged against it, as one or two seeds say little about other labelled images"
        )
    images = "labelled image" if shots == 1 else "labelled images"
    return (
        f"With {shots} {images} per class the {LABELS[CODER_ADAPTER]} has {ours}; {LABELS[best]}, "
        f"the best other few-shot method on validation images, has {other}. The "
        f"{LABELS[CODER_ADAPTER]} is {verdict} ({_points(d)} points)."
    )


def _interval(method: Mapping[str, Any]) -> str:
    """The interval of a method's accuracy, in percent."""
    return f"[{percent(method['accuracy']['low'])}, {percent(method['accuracy']['high'])}]"


def _points(d: Mapping[str, float]) -> str:
    """A difference with its interval, in points."""
    return with_interval(d["value"], d["low"], d["high"], points)
