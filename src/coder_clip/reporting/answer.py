"""The answer on top of the report: how good names and texts are, with their uncertainty, and which method to use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..baselines.methods import LABELS, ZERO_SHOT
from ..evaluation.intervals import clear, images_to_settle
from .parts.cells import percent, points
from .results import Results

SHOWN = ("clip", "coder", "coder_rerank")  # in the sentence; whatever is recommended is named besides
SAID = {
    "clip": "names alone",
    "coder": "your texts",
    "coder_rerank": "your texts and the rerank",
}
NOT_A_METHOD = "random_words"  # a control
SMALLEST = 0.02  # the least difference that is worth settling


@dataclass(frozen=True)
class Answer:
    """Of one data set and model. numbers: "43.3 % of 90 images right with names alone [33.3, 53.3], …"; advice: what to
    use, and why; more: sentences on what else matters. verdict: better, worse or unclear (CODER, reranked, against
    names alone). use: the recommended method; change: its difference to names alone, with interval, "" for names."""

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
    """One for each data set and model that has CLIP and CODER."""
    found = [_answer(results, *place) for place in results]
    return [a for a in found if a]


def overall(answers: list[Answer]) -> str:
    """How often texts helped, where there are many answers."""
    counts = {v: sum(a.verdict == v for a in answers) for v in ("better", "worse", "unclear")}
    many = f"{len(answers)} data sets" if len({a.model for a in answers}) == 1 else f"{len(answers)} runs"
    return (
        f"Against names alone, CODER is clearly better on {counts['better']} of {many}, clearly worse on "
        f"{counts['worse']}, and without a clear difference on {counts['unclear']}."
    )


def _answer(results: Results, dataset: str, model: str) -> Answer | None:
    methods = results.main_methods(dataset, model)
    if not {"clip", "coder"} <= methods.keys():
        return None
    off, texts, images = (
        results.rerank_off(dataset, model),
        results.has_texts(dataset),
        results.images(dataset),
    )
    shown = [m for m in SHOWN if m in methods and not (m == "coder_rerank" and off)][: None if texts else 1]
    of = {m: f" of {images:,} {_images(results)} right" if m == "clip" else "" for m in shown}
    numbers = [
        f"{percent(methods[m]['accuracy']['value'])} %{of[m]} with {_said(results, m)} {_interval(methods[m])}"
        for m in shown
    ]
    tested = [m for m in ZERO_SHOT if m in methods and m not in ("clip", NOT_A_METHOD)]
    better = [m for m in tested if clear(methods[m]["against_clip"]["difference"]) == "better"]
    use = max(better, key=lambda m: methods[m]["accuracy"]["value"], default="clip")
    last = methods[shown[-1] if texts else "coder"]["against_clip"]
    change = "" if use == "clip" else _points(methods[use]["against_clip"]["difference"])
    if change:
        a = methods[use]
        accuracy = "" if use in shown else f", {percent(a['accuracy']['value'])} % {_interval(a)}"
        advice = f"Use {_named(results, use)}{accuracy}: clearly better than names alone, by {change} points."
    elif texts:
        advice = f"Use names alone: {_why_not(results, last, images)}"
    else:
        advice = "There are no texts besides the names yet: say what the classes look like."
    paper = f"{LABELS[shown[-1]]} against names alone: {_points(last['difference'])} points."
    more = [
        paper if use not in ("clip", shown[-1]) else "",
        _few_shot(results, dataset, model),
        f"The rerank is off: {off}." if off and texts else "",
    ]
    shown_model = model if len(results.models) > 1 else ""
    verdict = clear(last["difference"]) or "unclear"
    said = tuple(filter(None, more))
    return Answer(dataset, shown_model, f"{', '.join(numbers)}.", advice, said, verdict, use, change)


def _why_not(results: Results, test: Mapping[str, Any], images: int) -> str:
    """Texts that are not clearly better: worse, or how many images would tell."""
    texts = "your texts" if results.kind == "photos" else "the texts"
    d = test["difference"]
    if clear(d) == "worse":
        return f"{texts} are clearly worse, by {_points(d)} points."
    # one image more on each side: that a few were alike does not make a difference impossible
    changed = (test["fixed"] + test["broke"] + 2) / (images + 2)
    target = max(abs(d["value"]), SMALLEST)
    needed = images_to_settle(target, max(changed, target))
    if needed <= images:  # so many do settle it: the difference, if there is one, is smaller
        return f"{texts} change less than {100 * target:.0f} points ({_points(d)})."
    return (
        f"{texts} make no clear difference ({_points(d)} points). About {_round(needed):,} test {_images(results)} "
        f"would settle {100 * target:.0f} points."
    )


def _few_shot(results: Results, dataset: str, model: str) -> str:
    """What labelled images add: the CODER-Adapter with the most shots against zero-shot CLIP, where that is clear."""
    shots = results.shots_of(dataset)
    if not shots:
        return ""
    summary = results.adapter(dataset, model, shots[-1])["summary"]
    of = {s["method"]: s for s in summary if s["setting"] == results.setting_of(summary)}
    against = of.get("clip_ensemble", {}).get("coder_adapter_against")
    if "coder_adapter" not in of or not against:
        return ""
    d = {**against["difference"], "value": against["difference"]["mean"]}
    labelled = f"With {shots[-1]} labelled image{'s' * (shots[-1] != 1)} per class the CODER-Adapter has"
    a = of["coder_adapter"]["accuracy"]
    said = f"{labelled} {percent(a['mean'])} % [{percent(a['low'])}, {percent(a['high'])}]"
    verdict = {"better": "clearly better than", "worse": "clearly worse than", "": "not clearly other than"}
    return f"{said}, {verdict[clear(d)]} CLIP without any ({_points(d)} points)."


def _said(results: Results, method: str) -> str:
    said = SAID.get(method, LABELS.get(method, method))
    return said if results.kind == "photos" else said.replace("your texts", "the texts (CODER)")


def _named(results: Results, method: str) -> str:
    """A method by what it is, and by the name that tables give it."""
    label = LABELS.get(method, method)
    return (
        f"{_said(results, method)} ({label})" if method in SAID and results.kind == "photos" else f"“{label}”"
    )


def _images(results: Results) -> str:
    return "photos" if results.kind == "photos" else "images"


def _interval(method: Mapping[str, Any]) -> str:
    return f"[{percent(method['accuracy']['low'])}, {percent(method['accuracy']['high'])}]"


def _points(d: Mapping[str, float]) -> str:
    return f"{points(d['value'])} [{points(d['low'])}, {points(d['high'])}]"


def _round(n: int) -> int:
    """To two digits."""
    digits = max(0, len(str(n)) - 2)
    return round(n, -digits)
