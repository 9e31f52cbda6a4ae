"""The state behind the page of ``coder-clip explore``: photos, reasons, edited texts and corrected
labels.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from coder_clip.baselines.methods import LABELS
from coder_clip.datasets import load_dataset
from coder_clip.datasets.corrections import (
    Correction,
    default_file,
    read_corrections,
    write_corrections,
)
from coder_clip.datasets.folder import FolderDataset
from coder_clip.datasets.images import read_image
from coder_clip.errors import UserError, nearest
from coder_clip.evaluation.estimates import PairedTest, paired_test
from coder_clip.evaluation.intervals import clear
from coder_clip.foundation.artifacts import write_json
from coder_clip.texts.kinds import BESIDES_NAME
from coder_clip.texts.sets import ClassTexts, TextSet

from .classifier import Classifier, Reason, StageTwo
from .decisions import Decisions, by_rerank, by_score
from .files import NONE
from .find import MostAlike, grouped, most_like
from .listing import as_csv
from .study import Standing, Study

if TYPE_CHECKING:
    from .runs import FinishedRun

WHY = 5  # texts for and against
TOP = 3  # likeliest classes of each photo in the CSV file, as in classify
ALIKE = 5000  # pairs of photos that are nearly the same: all pairs of 100 copies
MOMENT = 0.3  # seconds that photos are compared before the page is told how far that is
LONGEST = 100  # bytes of a file name; file systems take 255, with the ending of a temporary file
BUILT_IN_LABELS = (
    "the labels of a built-in data set stay as they are, so that numbers can be compared"
)
SOURCE = "edited in coder-clip explore"


@dataclass
class Labels:
    """The labels of a run's photos, corrected in a file beside the configuration, for the next run.

    file: holds the corrections, once there are any. folder_class: image -> class of its folder.
    shown: the file, as the page names it. advice: where the configuration has to name the file, ""
    if it does. corrections: image -> the correction of its label."""

    file: Path
    folder_class: Mapping[str, str]
    classes: list[str]
    shown: str
    advice: str = ""
    corrections: dict[str, Correction] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._read()

    def of(self, image: str, now: str | None) -> str | None:
        """The class of an image in the next run; "" if it is left out. now: the class in this run,
        returned for an image whose file is gone.
        """
        if image in self.corrections:
            return self.corrections[image].after
        return self.folder_class.get(image, now)

    def correct(self, image: str, to: str) -> None:
        """Save the true class of an image. "" leaves the image out of the next run, and the class
        of its folder removes an earlier correction.

        UserError for an unknown class, a photo that is gone, or a file that cannot be read or
        written."""
        if to and to not in self.classes:
            raise UserError(f"no class '{to}'{nearest(to, self.classes)}")
        if image not in self.folder_class:
            raise UserError(f"'{image}' is not in the folder any more")
        self._read()  # somebody may have edited the file meanwhile
        before = self.folder_class[image]
        self.corrections.pop(image, None)
        if to != before:
            self.corrections[image] = Correction(before, to)
        write_corrections(self.file, self.corrections)

    def _read(self) -> None:
        self.corrections = read_corrections(self.file) if self.file.exists() else {}


@dataclass
class Explorer:
    """A study that one person looks at. image: returns the picture at a position, decoded. folder:
    where text sets are saved.
    stage_two: of the run, None without it; the page shows its decision and reasons for a photo that
    it would decide. advice: the run's recommendation, "" without a run. shows: a sentence about the
    method on the page. labels: where labels are corrected; None if they cannot be corrected, for
    the reason ``labels_fixed_because``. tried: text sets (as JSON) that were compared with the
    first one. saved: files that this page has written.

    Thread-safe, for a web server: calls run one at a time.
    """

    study: Study
    title: str
    image: Callable[[int], Image.Image]
    folder: Path
    stage_two: StageTwo | None = None
    advice: str = ""
    shows: str = ""
    labels: Labels | None = None
    labels_fixed_because: str = "the photos have no labels"
    now: Standing = field(init=False)
    tried: set[str] = field(default_factory=set)
    saved: set[Path] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)
    _comparing: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self.now = self.study.start

    def state(self) -> dict[str, Any]:
        """Everything on the page: accuracy with its interval, what the edits change, every photo,
        the texts.
        """
        # The page gets everything again after each edit, and keeps no state of its own. Every photo
        # is compared with the first texts (`start`), so that all edits so far are counted.
        start, now, labels, test = self.study.start, self.now, self.study.labels, self._test()
        classes = now.classifier.classes
        best, other = now.prediction, _against(now.decisions, labels)
        scores, rows = now.decisions.scores, torch.arange(len(best))
        margins = (scores[rows, best] - scores[rows, other]).tolist()
        changed = (best != start.prediction).tolist()
        photos = []
        for i, name in enumerate(self.study.names):
            truth = None if labels is None else classes[int(labels[i])]
            # the class in the next run; "": the next run leaves the photo out
            to = truth if self.labels is None else self.labels.of(name, truth)
            photos.append(
                {
                    "id": i,
                    "name": name,
                    "truth": truth,
                    "label": classes[int(best[i])],
                    "other": classes[int(other[i])],
                    "before": classes[int(start.prediction[i])],
                    "margin": margins[i],
                    "right": None if labels is None else bool(best[i] == labels[i]),
                    "changed": changed[i],
                    "corrected": None if to == truth else to,
                }
            )
        corrects = self.labels and {"file": self.labels.shown, "advice": self.labels.advice}
        return {
            "title": self.title,
            "advice": self.advice,
            "shows": self.shows,
            "corrects": corrects,
            "labels_fixed_because": self.labels_fixed_because,
            "images": len(photos),
            "labelled": labels is not None,
            "accuracy": None if labels is None else now.accuracy,
            "difference": test,
            "verdict": None if test is None else clear(test["difference"]),
            "tried": len(self.tried),
            "changed": sum(changed),
            "kinds": list(BESIDES_NAME),
            "texts": _lists(now.texts),
            "first_texts": _lists(start.texts),
            "photos": photos,
        }

    def edit(self, given: Any) -> dict[str, Any]:
        """Classify with these texts: a list with {"name", "attribute", "analogous", "synonym"} per
        class.

        UserError if these are not texts of the same classes.
        """
        with self._lock:
            self.now = self.study.standing(self._texts(given))
            lists = _lists(self.now.texts)
            if lists != _lists(self.study.start.texts):
                self.tried.add(json.dumps(lists))
            return self.state()

    def _test(self) -> PairedTest | None:
        """These texts against the first ones, corrected for all text sets that were tried; None
        without labels.

        The k-th text set counts as k (k + 1) tests, so that the chances of a false "clearly" sum to
        0.05 over all text sets that are ever tried, however often somebody looks in between.
        """
        if self.study.labels is None:
            return None
        k = max(1, len(self.tried))
        tests = k * (k + 1)
        return paired_test(self.study.start.correct, self.now.correct, tests, self.study.groups)

    def why(self, position: int) -> dict[str, Any]:
        """A photo with its reasons. UserError for a position that is not there."""
        one = self._one(position)
        labels = None if self.study.labels is None else self.study.labels[one]
        with self._lock:
            d = self.now.decisions
            decided = Decisions(d.order[one], d.scores[one], d.reranked[one], d.values[one])
            return self._explained(self.study.features[one], decided, labels)

    def correct(self, position: int, to: str) -> dict[str, Any]:
        """Save the true class of a photo for the next run; "" leaves the photo out. UserError as in
        ``Labels.correct``.
        """
        name = self.study.names[self._one(position)][0]
        if self.labels is None:
            raise UserError(f"no label can be corrected: {self.labels_fixed_because}")
        with self._lock:
            self.labels.correct(name, to)
            return self.state()

    def like(self, plus: str, minus: str) -> list[float]:
        """Score each photo as ``coder-clip find``: 100 × `most_like`. plus, minus: texts, separated
        by commas.

        UserError if ``plus`` has no text.
        """
        wanted, unwanted = _between_commas(plus), _between_commas(minus)
        if not wanted:
            raise UserError("say what the photos should be like: red bird")
        with self._lock:
            texts = self.study.encoder.texts([*wanted, *unwanted])
        found = 100 * most_like(self.study.features, texts[: len(wanted)], texts[len(wanted) :])
        return list(map(float, found))

    @cached_property
    def _search(self) -> MostAlike:
        """The search for photos that are nearly the same, which `alike` continues."""
        return MostAlike(self.study.features, self.study.labels, ALIKE)

    def alike(self) -> dict[str, Any]:
        """Continue the search for photos that are nearly the same, for MOMENT seconds. Returns the
        number of photos ``compared`` so far, and groups of photos, the most alike first: all
        ``groups``, and groups that are ``different`` in their labels; None before the search ends.

        A page that stops asking stops the search."""
        with self._comparing:
            search, until = self._search, time.monotonic() + MOMENT
            while not search.ended and time.monotonic() < until:
                search.step()
            found: dict[str, Any] = {"compared": search.compared, "groups": None, "different": None}
            if search.ended:
                n = len(self.study.names)
                found["groups"] = [group._asdict() for group in grouped(n, search.pairs)]
                found["different"] = [group._asdict() for group in grouped(n, search.different)]
            return found

    def csv(self) -> str:
        """The photos with their classes by the current texts, as ``coder-clip classify --format
        csv`` writes them.

        More columns: with labels the true class; if labels can be corrected, the class in the next
        run; after an edit the class by the first texts.
        """
        with self._lock:
            now = self.now
            photos = now.classifier.photos(self.study.features, self.study.names, top=TOP)
            of_page = self.state()["photos"]
            more = {}
            if self.study.labels is not None:
                more["true_class"] = [p["truth"] for p in of_page]
            if self.labels is not None:
                nexts = [p["truth"] if p["corrected"] is None else p["corrected"] for p in of_page]
                more["next_run"] = [label or NONE for label in nexts]
            if _lists(now.texts) != _lists(self.study.start.texts):
                more["class_before"] = [p["before"] for p in of_page]
            return as_csv(photos, TOP, why=0, more=more)

    def classify(self, content: bytes) -> dict[str, Any]:
        """A photo that was dropped on the page, with its reasons. UserError if it cannot be
        read.
        """
        image = read_image("the photo", content=content)
        with self._lock:
            x = self.study.encoder.images([image])
            return self._explained(x, self.study.decide(self.now.texts, x))

    def save(self, name: str) -> str:
        """Write the edited text set with its provenance and accuracy, and return the path.
        UserError for a file that exists, or a name that is not a plain file name."""
        if not re.fullmatch(r"[\w][\w .-]*\.json", name):
            raise UserError(
                f"'{name[:LONGEST]}': give a file name that ends in .json, without folders"
            )
        if len(name.encode()) > LONGEST:
            raise UserError(
                f"'{name[:20]}…' is too long for a file name (at most {LONGEST} bytes): choose a "
                "shorter one"
            )
        path = self.folder / name
        with self._lock:
            if path.exists() and path not in self.saved:
                raise UserError(f"{name} is there already: choose another name")
            write_json(path, self._with_provenance().dump())
            self.saved.add(path)
        return str(path)

    def _one(self, position: int) -> slice:
        """A slice of the one photo at a position. UserError for a position that is not there."""
        if position >= len(self.study.names):
            raise UserError(f"no photo {position}")
        return slice(position, position + 1)

    def _explained(
        self, x: Tensor, decided: Decisions, labels: Tensor | None = None
    ) -> dict[str, Any]:
        """A photo (1, d) with its reasons, for the page. The reasons compare the decided class with
        the class ``other``: the true class if the decision is wrong, else the runner-up.

        labels: (1,), the true class of the photo. Returned keys: margin, the lead over ``other``;
        reranked, stage two's decision and reasons, None if stage one decides.
        """
        classifier = self.now.classifier
        best, other = int(decided.order[0, 0]), int(_against(decided, labels))
        # only the texts of these two classes count, so the texts of a thousand others are not read
        texts = self.now.texts.model_copy(
            update={"classes": [self.now.texts.classes[c] for c in (best, other)]}
        )
        two_classes = Classifier(self.study.encoder, texts, templates=self.study.templates)
        (reasons,) = two_classes.reasons(x, by_score(decided.scores[:, [best, other]]), WHY)
        scores, reranked = decided.scores[0].tolist(), None
        # The page decides by stage one; a copy of the classifier with stage two says what the run's
        # rerank would decide.
        stages = self.stage_two
        if stages is not None and stages.pairs is not None:
            again = by_rerank(x, decided.scores, stages.pairs, stages.threshold, stages.top_k)
            if again.reranked[0]:
                two = copy(classifier)
                two.stages = stages
                reranked = {"label": classifier.classes[int(again.order[0, 0])]}
                reranked |= _sides(*two.reasons(x, again, WHY)[0])
        return {
            "label": classifier.classes[best],
            "score": scores[best],
            "other": classifier.classes[other],
            "other_score": scores[other],
            "margin": scores[best] - scores[other],
            "reranked": reranked,
        } | _sides(*reasons)

    def _texts(self, given: Any) -> TextSet:
        """The text set of the page's texts, checked and cleaned. given: as in `edit`."""
        before = self.study.start.texts
        try:
            edited = TypeAdapter(list[ClassTexts]).validate_python(given)
        except ValidationError as error:
            raise UserError(
                f"texts of the classes are needed: {error.errors()[0]['msg']}"
            ) from None
        if [c.name for c in edited] != self.study.start.classifier.classes:
            raise UserError(f"texts of {len(before.classes)} classes are needed, in their order")
        entries = [
            ClassTexts(
                name=old.name,
                sentence=old.sentence,
                **{k: _cleaned(new.of(k)) for k in BESIDES_NAME},
            )
            for old, new in zip(before.classes, edited, strict=True)
        ]
        return before.model_copy(update={"classes": entries})

    def _with_provenance(self) -> TextSet:
        """The current texts; the provenance of each edited kind says how the texts were edited."""
        start, now = self.study.start, self.now
        note: dict[str, Any] = {"source": SOURCE, "date": datetime.date.today().isoformat()}
        test = self._test()
        if test is not None:
            note["chosen_on"] = {
                "images": len(self.study.names),
                "tried": len(self.tried),
                "accuracy_before": start.accuracy["value"],
                "accuracy_after": now.accuracy["value"],
                "difference": test["difference"],
            }
        notes = dict(start.texts.provenance)
        for kind in BESIDES_NAME:
            before = [c.of(kind) for c in start.texts.classes]
            if [c.of(kind) for c in now.texts.classes] == before:
                continue
            edited = dict(note)
            if kind in notes:
                edited["from"] = notes[kind]
            notes[kind] = edited
        return now.texts.model_copy(update={"provenance": notes})


def _against(decided: Decisions, labels: Tensor | None) -> Tensor:
    """Class (N,) to compare each decision with: the true class if the decision is wrong, else the
    runner-up.
    """
    best, second = decided.order[:, 0], decided.order[:, 1]
    return second if labels is None else torch.where(best == labels, second, labels)


def _sides(reasons_for: Sequence[Reason], against: Sequence[Reason]) -> dict[str, Any]:
    """The reasons for and against a class, for the page."""
    return {"for": [asdict(r) for r in reasons_for], "against": [asdict(r) for r in against]}


def _lists(texts: TextSet) -> list[dict[str, Any]]:
    """The texts of each class, as `Explorer.edit` takes them."""
    return [{"name": c.name} | {kind: c.of(kind) for kind in BESIDES_NAME} for c in texts.classes]


def _between_commas(text: str) -> list[str]:
    """The parts of a text between commas, without empty ones."""
    parts = [part.strip() for part in text.split(",")]
    return [part for part in parts if part]


def _cleaned(texts: list[str]) -> list[str]:
    """Remove superfluous spaces, empty texts and repeats."""
    cleaned = [" ".join(text.split()) for text in texts]
    return list(dict.fromkeys(text for text in cleaned if text))


def explore_run(run: FinishedRun, folder: Path) -> Explorer:
    """The page's state for a finished run (``runs.load_run``): its validation images, so that test
    images stay unseen.

    UserError if the run has no validation images.
    """
    if run.validation is None:
        raise UserError(f"'{run.dataset}' has no validation images to choose texts on")
    data = load_dataset(run.dataset, run.config.datasets[run.dataset], run.config.data_root)
    ids = run.validation.ids
    validation = run.validation
    study = Study(run.classifier, validation.features, ids, validation.labels, validation.groups)
    return Explorer(
        study,
        f"{run.dataset}: validation images",
        lambda i: data.image(ids[i]),
        folder,
        stage_two=run.stage_two,
        advice=run.advice,
        shows=f"This page shows “{LABELS['coder']}”, whose texts can be edited.",
        labels=_labels(run, data) if isinstance(data, FolderDataset) else None,
        # shown where labels is None
        labels_fixed_because=BUILT_IN_LABELS,
    )


def _labels(run: FinishedRun, data: FolderDataset) -> Labels:
    """The labels of a run's photos. Corrections are in the file that the configuration names, or in
    a file beside the configuration.
    """
    named = run.config.datasets[run.dataset].corrections
    file = named or run.root / default_file(run.file, run.dataset)
    shown, configuration = (os.path.relpath(path, run.root) for path in (file, run.file))
    advice = ""
    if not named:
        advice = f"The next run uses it once {configuration} has this line below {run.dataset}:"
    return Labels(file, data.folder_class, data.classes, shown, advice)


def explore_photos(
    classifier: Classifier, files: list[Path], folder: Path
) -> tuple[Explorer, list[tuple[str, str]]]:
    """The page's state for photos without labels, and (path, reason) of photos that cannot be read.
    UserError if none can be read.
    """
    found = classifier.encoder.photos(files, progress=True)
    if not found.kept:
        raise UserError(
            f"no photo can be read; the first: {found.skipped[0][0]}: {found.skipped[0][1]}"
        )
    study = Study(classifier, found.features, found.kept, None)
    title = f"{len(found.kept)} photos"
    return Explorer(study, title, lambda i: read_image(found.kept[i]), folder), found.skipped
