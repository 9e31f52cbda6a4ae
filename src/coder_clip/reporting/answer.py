"""The answer on top of the report: how good names and texts are, with their uncertainty, and which method to use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..baselines.methods import LABELS, ZERO_SHOT
from ..evaluation.intervals import clear, images_to_settle
from .parts.cells import percent, points, with_interval
from .results import Results

SHOWN = ("clip", "coder", "coder_rerank")  # in the sentence; whatever is recommended is named besides
NOT_A_METHOD = "random_words"  # a control
SMALLEST = 0.02  # the least difference that is worth settling


@dataclass(frozen=True)
class Answer:
    """The answer for one data set and model.

    numbers: "43.3 % of 90 images right with names alone [33.3, 53.3], …"; advice: what to use, and why; more: sentences
    on what else matters. verdict: better, worse or unclear (CODER, reranked, against names alone). use: the recommended
    method; change: its difference to names alone, with interval, "" for names.
    """

    dataset: str
    model: str
    numbers: str
    advice: str
    more: tuple[str, ...]
    verdict: str
    use: str
    change: str

    @property
    def label(self) -> str:
        return "names alone" if self.use == "clip" else LABELS[self.use]


def answers(results: Results) -> list[Answer]:
    """One for each data set and model."""
    return [_answer(results, *place) for place in results]


def overall(answers: list[Answer]) -> str:
    """How often texts helped, where there are many answers."""
    counts = Counter(a.verdict for a in answers)
    many = f"{len(answers)} data sets" if len({a.model for a in answers}) == 1 else f"{len(answers)} runs"
    return (
        f"Against names alone, CODER is clearly better on {counts['better']} of {many}, clearly worse on "
        f"{counts['worse']}, and without a clear difference on {counts['unclear']}."
    )


def _answer(results: Results, dataset: str, model: str) -> Answer:
    methods, photos = results.main_methods(dataset, model), results.kind == "photos"
    off, texts, n = results.rerank_off(dataset, model), results.has_texts(dataset), results.images(dataset)
    images = "photos" if photos else "images"
    ours = "your texts" if photos else "the texts (CODER)"
    said = {"clip": "names alone", "coder": ours, "coder_rerank": f"{ours} and the rerank"}
    shown = [m for m in SHOWN if m in methods and not (m == "coder_rerank" and off)] if texts else ["clip"]
    of = {"clip": f" of {n:,} {images} right"}
    numbers = [
        f"{percent(methods[m]['accuracy']['value'])} %{of.get(m, '')} with {said[m]} {_interval(methods[m])}"
        for m in shown
    ]
    tested = [m for m in ZERO_SHOT if m in methods and m not in ("clip", NOT_A_METHOD)]
    better = [m for m in tested if clear(methods[m]["against_clip"]["difference"]) == "better"]
    use = max(better, key=lambda m: methods[m]["accuracy"]["value"], default="clip")
    last = methods[shown[-1] if texts else "coder"]["against_clip"]
    change = ""
    if use != "clip":
        change = _points(methods[use]["against_clip"]["difference"])
        value = f", {percent(methods[use]['accuracy']['value'])} % {_interval(methods[use])}"
        named = f"{said[use]} ({LABELS[use]})" if use in said and photos else f"“{LABELS[use]}”"
        accuracy = "" if use in shown else value
        advice = f"Use {named}{accuracy}: clearly better than names alone, by {change} points."
    elif texts:
        advice = f"Use names alone: {'your' if photos else 'the'} texts {_why_not(last, n, images)}"
    else:
        advice = "The classes have only names so far: say what they look like."
    paper = f"{LABELS[shown[-1]]} against names alone: {_points(last['difference'])} points."
    more = [
        paper if use not in ("clip", shown[-1]) else "",
        _few_shot(results, dataset, model),
        f"The rerank is off: {off}." if off and texts else "",
    ]
    return Answer(
        dataset,
        model if len(results.models) > 1 else "",
        f"{', '.join(numbers)}.",
        advice,
        tuple(filter(None, more)),
        clear(last["difference"]) or "unclear",
        use,
        change,
    )


def _why_not(test: Mapping[str, Any], n: int, images: str) -> str:
    """Why texts are not recommended: they are clearly worse, or how many images would settle it."""
    d = test["difference"]
    if clear(d) == "worse":
        return f"are clearly worse, by {_points(d)} points."
    # one image more on each side: that a few were alike does not make a difference impossible
    changed = (test["fixed"] + test["broke"] + 2) / (n + 2)
    target = max(abs(d["value"]), SMALLEST)
    needed = images_to_settle(target, max(changed, target))
    if needed <= n:  # so many do settle it: the difference, if there is one, is smaller
        return f"change less than {100 * target:.0f} points ({_points(d)})."
    return (
        f"make no clear difference ({_points(d)} points). About {float(f'{needed:.2g}'):,.0f} test {images} "
        f"would settle {100 * target:.0f} points."
    )


def _few_shot(results: Results, dataset: str, model: str) -> str:
    """What labelled images add: the CODER-Adapter with the most shots against zero-shot CLIP."""
    shots = max(results.shots_of(dataset), default=0)
    of = {
        r["method"]: r
        for r in results.few_shot_rows("summary")
        if (r["dataset"], r["model"], r["shots"]) == (dataset, model, shots)
    }
    against = of.get("clip_ensemble", {}).get("coder_adapter_against")
    if "coder_adapter" not in of or not against:
        return ""
    d = {**against["difference"], "value": against["difference"]["mean"]}
    a, none = of["coder_adapter"]["accuracy"], of["clip_ensemble"]["accuracy"]["mean"]
    verdict = {
        "better": "clearly better than",
        "worse": "clearly worse than",
        "": "not clearly different from",
    }
    return (
        f"With {shots} labelled image{'s' * (shots != 1)} per class the CODER-Adapter has {percent(a['mean'])} % "
        f"[{percent(a['low'])}, {percent(a['high'])}], {verdict[clear(d)]} CLIP's prompt ensemble "
        f"without any, {percent(none)} % ({_points(d)} points)."
    )


def _interval(method: Mapping[str, Any]) -> str:
    return f"[{percent(method['accuracy']['low'])}, {percent(method['accuracy']['high'])}]"


def _points(d: Mapping[str, float]) -> str:
    return with_interval(d["value"], d["low"], d["high"], points)
