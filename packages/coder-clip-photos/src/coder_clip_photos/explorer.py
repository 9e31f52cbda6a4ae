"""The state behind the page of ``coder-clip explore``: photos, reasons, edited texts, labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any

import torch
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from coder_clip.errors import UserError, nearest
from coder_clip.evaluation.estimates import Difference, compare
from coder_clip.evaluation.intervals import clear
from coder_clip.texts.kinds import BESIDES_NAME
from coder_clip.texts.sets import ClassTexts

from . import labelling
from .classifier import Classifier, Reason
from .corrected import Labels
from .decisions import Decisions, StageTwo, by_rerank, by_score
from .draft import Draft, photo_keys
from .find import most_like
from .study import Standing, Study
from .texts import class_named, label_named

WHY = 5  # texts for and against
NEXT = 10  # photos to label next that are proposed at a time


@dataclass
class Explorer:
    """A study that one person looks at and works on.

    image: returns the picture at a position, decoded, with at least so many pixels per side; None
    if the photos are features without pictures. folder: where files are saved. kept: the draft;
    None keeps the work in memory alone.
    stage_two: of the run, None without it; the page shows its decision and reasons for a photo that
    it would decide. advice: the run's recommendation, "" without a run. shows: a sentence about the
    method on the page. labels: where labels of a run are corrected; None if they cannot be
    corrected, for the reason ``labels_fixed_because``. saved: files that this page has written.

    Photos without labels are labelled on the page, and their classes can be changed.

    Thread-safe, for a web server: calls run one at a time.
    """

    study: Study
    title: str
    image: Callable[[int, int], Image.Image] | None
    folder: Path
    stage_two: StageTwo | None = None
    advice: str = ""
    shows: str = ""
    labels: Labels | None = None
    labels_fixed_because: str = "the photos have no labels"
    kept: Draft | None = None
    now: Standing = field(init=False)
    learned: Decisions | None = field(init=False, default=None)
    saved: set[Path] = field(default_factory=set)
    lock: RLock = field(default_factory=RLock)

    def __post_init__(self) -> None:
        self.now = self.study.start
        self.draft = self.kept or Draft(self.study.start.texts.classes)
        names = self.study.names
        # name of a photo -> its name in the draft
        self._key = dict(zip(names, photo_keys(names), strict=True))
        self._position = {key: i for i, key in enumerate(self._key.values())}
        self._classify()

    @property
    def may_label(self) -> bool:
        """True for photos that came without labels."""
        return self.study.labels is None

    @property
    def yours(self) -> dict[int, str]:
        """Photo -> the class that the person gave it, "" for none of these."""
        labels = self.draft.work.labels.items()
        return {self._position[key]: to for key, to in labels if key in self._position}

    @property
    def labels_by_name(self) -> dict[str, str]:
        """As `yours`, by the names of the photos."""
        return {self.study.names[i]: to for i, to in self.yours.items()}

    def state(self) -> dict[str, Any]:
        """Everything on the page.

        Accuracy with its interval, what the edits change, every photo, the texts.
        """
        # The page gets everything again after each edit, and keeps no state of its own. Every photo
        # is compared with the first texts (`start`), so that all edits so far are counted.
        with self.lock:
            start, now, test = self.study.start, self.now, self.test()
            photos = self.photos()
            corrects = self.labels and {"file": self.labels.shown, "advice": self.labels.advice}
            return {
                "title": self.title,
                "advice": self.advice,
                "shows": self.shows,
                "pictures": self.image is not None,
                "may_label": self.may_label,
                "version": self.draft.work.version,
                "continued": self.draft.continued,
                "learned": self.learned is not None,
                "corrects": corrects,
                "labels_fixed_because": self.labels_fixed_because,
                "images": len(photos),
                "labelled": self.study.labels is not None,
                "accuracy": None if self.may_label else now.accuracy,
                "difference": test,
                "verdict": None if test is None else clear(test),
                "tried": len(self.draft.work.tried),
                "changed": sum(p["changed"] for p in photos),
                "kinds": list(BESIDES_NAME),
                "texts": _lists_of(now.texts.classes),
                "first_texts": _lists_of(start.texts.classes),
                "photos": photos,
            }

    def photos(self) -> list[dict[str, Any]]:
        """What the page shows of each photo."""
        start, now, labels = self.study.start, self.now, self.study.labels
        classes, first = now.classifier.classes, start.classifier.classes
        decided = self.learned or now.decisions
        best, other = decided.order[:, 0], _against(decided, labels)
        rows = torch.arange(len(best))
        margins = (decided.scores[rows, best] - decided.scores[rows, other]).tolist()
        bests, others = best.tolist(), other.tolist()
        before = [first[c] for c in start.prediction.tolist()]
        by_texts = [classes[c] for c in now.prediction.tolist()]
        truths: list[str | None] = [None] * len(bests)
        if labels is not None:
            truths = [classes[c] for c in labels.tolist()]
        yours = self.yours
        photos = []
        for i, name in enumerate(self.study.names):
            # the class in the next run; "": the next run leaves the photo out
            to = truths[i] if self.labels is None else self.labels.of(name, truths[i])
            photos.append(
                {
                    "id": i,
                    "name": name,
                    "truth": truths[i],
                    "yours": yours.get(i),
                    "label": classes[bests[i]],
                    "other": classes[others[i]],
                    "before": before[i],
                    "margin": margins[i],
                    "right": None if labels is None else classes[bests[i]] == truths[i],
                    "changed": by_texts[i] != before[i],
                    "corrected": None if to == truths[i] else to,
                }
            )
        return photos

    # ---- edits

    def edit(self, given: Any, version: int | None = None) -> dict[str, Any]:
        """Classify with these texts.

        A list with {"name", "attribute", "analogous", "synonym"} per class.

        version: of the work that this is an edit of. UserError if these are not texts of the same
        classes; Conflict for an old version.
        """
        with self.lock:
            classes = self._texts(given)
            tried = self.draft.work.tried
            lists = _lists_of(classes)
            key = hashlib.sha256(json.dumps(lists).encode()).hexdigest()[:16]
            if lists != _lists_of(self.study.start.texts.classes) and key not in tried:
                tried = [*tried, key]
            return self._change(version, classes=classes, tried=tried)

    def label(self, photos: Any, to: Any, version: int | None = None) -> dict[str, Any]:
        """Give photos (positions) a class; "" for none of these, None for no label.

        A class that is not there is added. UserError for a photo that is not there, or a name that
        cannot be one; Conflict for an old version.
        """
        self._refuse_labels()
        numbers = isinstance(photos, list) and all(type(p) is int for p in photos)
        if not numbers or not photos or not isinstance(to, str | None):
            raise UserError(
                "'photos' and 'to': a list of photos and the name of a class are needed"
            )
        names = [self.study.names[self._one(p)][0] for p in photos]
        return self.label_by_name(dict.fromkeys(names, to), version)

    def label_by_name(
        self, labels: Mapping[str, str | None], version: int | None = None, **more: Any
    ) -> dict[str, Any]:
        """Give photos classes, by name; None for no label. Adds classes that are not there.

        more: other new values of the work, in the same edit.
        """
        self._refuse_labels()
        with self.lock:
            classes, given = list(self.draft.work.classes), dict(self.draft.work.labels)
            names = [c.name for c in classes]
            for photo, name in labels.items():
                key = self._key[photo]
                if name is None:
                    given.pop(key, None)
                    continue
                given[key] = to = label_named(name, names)
                if to and to not in names:
                    names.append(to)
                    classes.append(ClassTexts(name=to))
            return self._change(version, classes=classes, labels=given, **more)

    def take_once(self, labels: Mapping[str, str]) -> int:
        """Give photos these labels, but those that were taken so before, whatever became of them.

        Returns the number of new labels.
        """
        taken = self.draft.work.taken
        new = {n: to for n, to in labels.items() if taken.get(self._key[n]) != to}
        if new:
            self.label_by_name(new, taken=taken | {self._key[n]: to for n, to in new.items()})
        return len(new)

    def add_class(self, name: str, version: int | None = None) -> dict[str, Any]:
        """Add a class. UserError for a name that cannot be one, or is there."""
        self._refuse_labels()
        with self.lock:
            now = self.draft.work.classes
            name = class_named(name, [c.name for c in now], new=True)
            return self._change(version, classes=[*now, ClassTexts(name=name)])

    def rename_class(self, old: str, new: str, version: int | None = None) -> dict[str, Any]:
        """Give a class another name, also in the labels. UserError for a name that is there."""
        self._refuse_labels()
        with self.lock:
            now = self.draft.work
            at = self._class(old)
            new = class_named(new, [c.name for c in now.classes if c.name != old], new=True)
            changed = list(now.classes)
            changed[at] = now.classes[at].model_copy(update={"name": new})
            labels = {photo: new if to == old else to for photo, to in now.labels.items()}
            return self._change(version, classes=changed, labels=labels)

    def remove_class(self, name: str, version: int | None = None) -> dict[str, Any]:
        """Remove a class with its labels. UserError for one of the last two classes."""
        self._refuse_labels()
        with self.lock:
            now = self.draft.work
            at = self._class(name)
            if len(now.classes) == 2:
                raise UserError(f"two classes are needed: add another one before '{name}' goes")
            rest = now.classes[:at] + now.classes[at + 1 :]
            labels = {photo: to for photo, to in now.labels.items() if to != name}
            return self._change(version, classes=rest, labels=labels)

    def correct(self, position: int, to: str, version: int | None = None) -> dict[str, Any]:
        """Save the true class of a photo for the next run; "" leaves the photo out.

        UserError as in ``Labels.correct``.
        """
        name = self.study.names[self._one(position)][0]
        if self.labels is None:
            raise UserError(f"no label can be corrected: {self.labels_fixed_because}")
        with self.lock:
            self.draft.refuse_old(version)
            self.labels.correct(name, to)
            return self._change(version)

    def start_afresh(self, version: int | None = None) -> dict[str, Any]:
        """Go back to the first texts and no labels."""
        with self.lock:
            return self._change(version, classes=self.study.start.texts.classes, labels={})

    def _change(self, version: int | None, **new: Any) -> dict[str, Any]:
        """Make an edit (`Draft.change`), and return the state after it."""
        self.draft.change(version, **new)
        self._classify()
        return self.state()

    def _classify(self) -> None:
        """Classify with the texts and labels of the work."""
        classes = self.draft.work.classes
        texts = self.study.start.texts.model_copy(update={"classes": classes})
        self.now = self.study.standing(texts)
        number = {c.name: i for i, c in enumerate(classes)}
        labelled = {i: number[name] for i, name in self.yours.items() if name}
        self.learned = None
        if labelling.can_learn([*labelled.values()]):
            scores = labelling.learned_scores(
                self.study.features,
                self.now.decisions.scores,
                [*labelled],
                torch.tensor([*labelled.values()]),
            )
            self.learned = by_score(scores)

    def _refuse_labels(self) -> None:
        if not self.may_label:
            raise UserError("these photos have labels; a wrong one is corrected with the photo")

    def _class(self, name: str) -> int:
        """The position of a class. UserError for an unknown name."""
        names = [c.name for c in self.draft.work.classes]
        if name not in names:
            raise UserError(f"no class '{name}'{nearest(name, names)}")
        return names.index(name)

    # ---- looking

    def next_photos(self) -> list[int]:
        """The photos to label next, by uncertainty and variety (`labelling.next_photos`)."""
        with self.lock:
            decided = self.learned or self.now.decisions
            unlabelled = [i for i in range(len(self.study.names)) if i not in self.yours]
            return labelling.next_photos(
                self.study.features,
                decided.scores,
                unlabelled,
                NEXT,
                learned=self.learned is not None,
            )

    def test(self) -> Difference | None:
        """These texts against the first ones, corrected for all text sets that were tried.

        None without labels.

        The k-th text set counts as k (k + 1) tests, so that the chances of a false "clearly" sum to
        0.05 over all text sets that are ever tried, however often somebody looks in between.
        """
        if self.study.labels is None:
            return None
        k = max(1, len(self.draft.work.tried))
        tests = k * (k + 1)
        return compare(
            self.study.start.correct, self.now.correct, groups=self.study.groups, tests=tests
        )

    def why(self, position: int) -> dict[str, Any]:
        """A photo with its reasons. UserError for a position that is not there.

        The reasons compare the decided class with the class ``other``: the true class if the
        decision is wrong, else the runner-up. margin: the lead over ``other``. reranked: stage
        two's decision and reasons, None if stage one decides.
        """
        one = self._one(position)
        x, labels = self.study.features[one], self.study.labels
        with self.lock:
            classifier, texts, decided = self.now.classifier, self.now.texts, self.now.decisions
            best = int(decided.order[position, 0])
            other = int(_against(decided, labels)[position])
            # only their texts count, so the texts of a thousand other classes are not read
            both = texts.model_copy(update={"classes": [texts.classes[c] for c in (best, other)]})
            two_classes = Classifier(self.study.encoder, both, templates=self.study.templates)
            scores, reranked = decided.scores[one], None
            (reasons,) = two_classes.reasons(x, by_score(scores[:, [best, other]]), WHY)
            # The page decides by stage one; a copy of the classifier with stage two says what the
            # rerank of the run would decide.
            stages = self.stage_two
            if stages is not None and stages.pairs is not None:
                again = by_rerank(x, scores, stages.pairs, stages.threshold, stages.top_k)
                if again.reranked[0]:
                    two = copy(classifier)
                    two.stages = stages
                    reranked = {"label": classifier.classes[int(again.order[0, 0])]}
                    reranked |= _sides(*two.reasons(x, again, WHY)[0])
            best_score, other_score = float(scores[0, best]), float(scores[0, other])
            return {
                "label": classifier.classes[best],
                "score": best_score,
                "other": classifier.classes[other],
                "other_score": other_score,
                "margin": best_score - other_score,
                "reranked": reranked,
            } | _sides(*reasons)

    def like(self, plus: str, minus: str) -> list[float]:
        """Score each photo as ``coder-clip find``: 100 × `most_like`.

        plus, minus: texts, separated by commas.

        UserError if ``plus`` has no text.
        """
        wanted, unwanted = _between_commas(plus), _between_commas(minus)
        if not wanted:
            raise UserError("say what the photos should be like: red bird")
        with self.lock:
            texts = self.study.encoder.texts([*wanted, *unwanted])
        found = 100 * most_like(self.study.features, texts[: len(wanted)], texts[len(wanted) :])
        return list(map(float, found))

    def like_photo(self, position: int) -> list[float]:
        """Score each photo by its likeness to one of them: 100 × cosine."""
        one = self.study.features[self._one(position)]
        return list(map(float, 100 * most_like(self.study.features, one, one[:0])))

    def _one(self, position: int) -> slice:
        """A slice of the one photo at a position. UserError for a position that is not there."""
        if not isinstance(position, int) or not 0 <= position < len(self.study.names):
            raise UserError(f"no photo {position}")
        return slice(position, position + 1)

    def _texts(self, given: Any) -> list[ClassTexts]:
        """The texts of the page, checked and cleaned. given: as in `edit`."""
        before = self.draft.work.classes
        try:
            edited = TypeAdapter(list[ClassTexts]).validate_python(given)
        except ValidationError as error:
            raise UserError(
                f"texts of the classes are needed: {error.errors()[0]['msg']}"
            ) from None
        if [c.name for c in edited] != [c.name for c in before]:
            raise UserError(f"texts of {len(before)} classes are needed, in their order")
        return [
            ClassTexts(
                name=old.name,
                sentence=old.sentence,
                **{k: _cleaned(new.of(k)) for k in BESIDES_NAME},
            )
            for old, new in zip(before, edited, strict=True)
        ]


def _against(decided: Decisions, labels: Tensor | None) -> Tensor:
    """Class (N,) to compare each decision with.

    The true class if the decision is wrong, else the runner-up.
    """
    best, second = decided.order[:, 0], decided.order[:, 1]
    if labels is None:
        return second
    return torch.where(best == labels, second, labels)


def _sides(reasons_for: Sequence[Reason], against: Sequence[Reason]) -> dict[str, Any]:
    """The reasons for and against a class, for the page."""
    return {"for": [asdict(r) for r in reasons_for], "against": [asdict(r) for r in against]}


def _lists_of(classes: Sequence[ClassTexts]) -> list[dict[str, Any]]:
    """The texts of each class, as `Explorer.edit` takes them."""
    return [{"name": c.name} | {kind: c.of(kind) for kind in BESIDES_NAME} for c in classes]


def _between_commas(text: str) -> list[str]:
    """The parts of a text between commas, without empty ones."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _cleaned(texts: list[str]) -> list[str]:
    """Remove superfluous spaces, empty texts and repeats."""
    cleaned = [" ".join(text.split()) for text in texts]
    return list(dict.fromkeys(text for text in cleaned if text))
