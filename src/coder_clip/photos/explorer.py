"""What the page of ``coder-clip explore`` shows and does, without the web: photos, reasons, and edited texts."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..datasets.images import read_image
from ..errors import UserError
from ..foundation.artifacts import write_json
from ..texts.sets import ClassTexts, TextSet
from .classifier import Classifier, Photo, Stages
from .decisions import margins
from .study import EDITED, Standing, Study

WHY = 5  # texts for and against
MOST_TEXTS, LONGEST = 200, 500  # texts of a class and kind; characters of a text
SOURCE = "edited in coder-clip explore"


@dataclass
class Explorer:
    """A study that one person looks at. image: the picture at a position, decoded. folder: where text sets are saved.
    stage_two: shown beside the reasons of stage one where it would decide; None without.

    Safe for the several threads of a web server: one thing at a time.
    """

    study: Study
    title: str
    image: Callable[[int], Image.Image]
    folder: Path
    stage_two: Stages | None = None
    now: Standing = field(init=False)
    saved: set[Path] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self.now = self.study.start

    def state(self) -> dict[str, Any]:
        """Everything on the page: accuracy with its interval, what the edits change, every photo, the texts."""
        with self._lock:
            return self._state()

    def edit(self, given: Any) -> dict[str, Any]:
        """Classify with these texts: a list with {"name", "attribute", "analogous", "synonym"} per class.

        UserError for what is not texts of the same classes.
        """
        with self._lock:
            self.now = self.study.standing(self._texts(given))
            return self._state()

    def why(self, position: int) -> dict[str, Any]:
        """A photo with its reasons: against the runner-up, or, where it is wrong, against the true class.

        UserError for a position that is not there.
        """
        with self._lock:
            if not 0 <= position < len(self.study.names):
                raise UserError(f"no photo {position}")
            x = self.study.features[position : position + 1]
            classifier = self._classifier()
            (photo,) = classifier.photos(x, [self.study.names[position]])
            labels, classes = self.study.labels, classifier.classes
            other = str(photo.runner_up)
            if labels is not None and photo.best != classes[int(labels[position])]:
                other = classes[int(labels[position])]
            return self._shown(classifier, x, photo, other)

    def classify(self, content: bytes, name: str) -> dict[str, Any]:
        """A photo that was dropped on the page. UserError where it cannot be read."""
        image = read_image(name, content=content)
        with self._lock:
            classifier = self._classifier()
            x = classifier.encoder.images([image])
            (photo,) = classifier.photos(x, [name])
            return self._shown(classifier, x, photo, str(photo.runner_up))

    def save(self, name: str) -> str:
        """Write the edited text set, with where it came from and what it is worth; its path. A file that was there
        before is not touched: UserError, as for a name that is no plain file name."""
        if not re.fullmatch(r"[\w][\w .-]*\.json", name):
            raise UserError(f"'{name}': a file name that ends in .json, without folders")
        path = self.folder / name
        with self._lock:
            if path.exists() and path not in self.saved:
                raise UserError(f"{name} is there already: choose another name")
            write_json(path, self._with_provenance(self.now).dump())
            self.saved.add(path)
        return str(path)

    def _shown(self, classifier: Classifier, x: Tensor, photo: Photo, other: str) -> dict[str, Any]:
        """A photo (1, d) with its reasons against another class; margin: its lead over that class."""
        decided, index = classifier.decide(x), classifier.classes.index(other)
        ((reasons_for, against),) = classifier.reasons(x, decided, WHY, torch.tensor([index]))
        score = float(decided.scores[0, index])
        return {
            **{"image": photo.image, "label": photo.best, "score": photo.score},
            **{"other": other, "other_score": score, "margin": photo.score - score},
            **{"for": [asdict(r) for r in reasons_for], "against": [asdict(r) for r in against]},
            "reranked": self._reranked(x),
        }

    def _reranked(self, x: Tensor) -> dict[str, Any] | None:
        """What stage two makes of a photo (1, d), and why; None where it leaves it to stage one."""
        if self.stage_two is None:
            return None
        classifier = self._classifier(self.stage_two)
        (photo,) = classifier.photos(x, [""], why=WHY)
        if not photo.reranked:
            return None
        sides = {"for": photo.reasons_for, "against": photo.reasons_against}
        return {"label": photo.best, **{side: [asdict(r) for r in of] for side, of in sides.items()}}

    def _state(self) -> dict[str, Any]:
        start, now, labels = self.study.start, self.now, self.study.labels
        classes = [c.name for c in now.texts.classes]
        order, ahead = now.decisions.order, margins(now.decisions)
        changed = (now.prediction != start.prediction).tolist()
        photos = []
        for i, name in enumerate(self.study.names):
            best, second = order[i, :2].tolist()
            photos.append(
                {
                    "id": i,
                    "name": name,
                    "truth": self._truth(i),
                    "label": classes[best],
                    "runner_up": classes[second],
                    "before": classes[int(start.prediction[i])],
                    "margin": round(float(ahead[i]), 2),
                    "right": None if labels is None else bool(best == int(labels[i])),
                    "changed": changed[i],
                }
            )
        return {
            "title": self.title,
            "images": len(photos),
            "labelled": labels is not None,
            "accuracy": None if labels is None else now.accuracy,
            "start": None if labels is None else start.accuracy,
            "difference": None if labels is None else self.study.change(start, now),
            "changed": sum(changed),
            "kinds": list(EDITED),
            "texts": _lists(now.texts),
            "first_texts": _lists(start.texts),
            "photos": photos,
        }

    def _truth(self, position: int) -> str | None:
        labels = self.study.labels
        return None if labels is None else self.study.start.texts.classes[int(labels[position])].name

    def _classifier(self, stages: Stages | None = None) -> Classifier:
        given = {"templates": self.study.templates, "stages": stages}
        found = Classifier(self.study.encoder, self.now.texts, **given)  # type: ignore[arg-type]
        found.use(self.now.scoring)
        return found

    def _texts(self, given: Any) -> TextSet:
        before = self.study.start.texts
        names = [c.name for c in before.classes]
        if (
            not isinstance(given, list)
            or [g.get("name") if isinstance(g, dict) else None for g in given] != names
        ):
            raise UserError(f"texts of {len(names)} classes are needed, in their order")
        entries = []
        for old, new in zip(before.classes, given, strict=True):
            kinds = {kind: _list_of_texts(new.get(kind, []), f"{old.name}, {kind}") for kind in EDITED}
            entries.append(ClassTexts(name=old.name, sentence=old.sentence, **kinds))
        return before.model_copy(update={"classes": entries})

    def _with_provenance(self, standing: Standing) -> TextSet:
        before, after = self.study.start.texts, standing.texts
        note: dict[str, Any] = {"source": SOURCE, "date": datetime.date.today().isoformat()}
        if self.study.labels is not None:
            test = self.study.change(self.study.start, standing)
            note["chosen_on"] = {
                "images": len(self.study.names),
                "accuracy_before": self.study.start.accuracy["value"],
                "accuracy_after": standing.accuracy["value"],
                "difference": dict(test["difference"]),
            }
        notes = dict(before.provenance)
        for kind in EDITED:
            if any(
                getattr(a, kind) != getattr(b, kind)
                for a, b in zip(before.classes, after.classes, strict=True)
            ):
                notes[kind] = note | ({"from": before.provenance[kind]} if kind in before.provenance else {})
        return after.model_copy(update={"provenance": notes})


def _lists(texts: TextSet) -> list[dict[str, Any]]:
    return [{"name": c.name} | {kind: list(getattr(c, kind)) for kind in EDITED} for c in texts.classes]


def _list_of_texts(given: Any, where: str) -> list[str]:
    if not isinstance(given, list) or len(given) > MOST_TEXTS or not all(isinstance(t, str) for t in given):
        raise UserError(f"{where}: a list of at most {MOST_TEXTS} texts is needed")
    texts = [" ".join(t.split()) for t in given]
    if any(len(t) > LONGEST for t in texts):
        raise UserError(f"{where}: a text has at most {LONGEST} characters")
    return list(dict.fromkeys(t for t in texts if t))


def explore_run(run: Any, folder: Path) -> Explorer:
    """The validation images of a finished run (``runs.load_run``): test images stay unseen. UserError without any."""
    import contextlib

    from ..datasets import load_dataset

    if run.validation is None or not len(run.validation.ids):
        raise UserError(f"'{run.dataset}' has no validation images to choose texts on")
    with contextlib.chdir(run.root):
        entry = run.config.datasets[run.dataset]
        if entry.root is not None:
            entry = entry.model_copy(update={"root": entry.root.resolve()})
        root = run.config.data_root.resolve() if run.config.data_root else None
        data = load_dataset(run.dataset, entry, root)
    ids = run.validation.ids
    study = Study(run.classifier, run.validation.features, ids, run.validation.labels)
    two = run.stage_two if run.stage_two.threshold > 0 and len(run.stage_two.pairs) else None
    return Explorer(study, f"{run.dataset}: validation images", lambda i: data.image(ids[i]), folder, two)


def explore_photos(
    classifier: Classifier, files: list[Path], folder: Path
) -> tuple[Explorer, list[tuple[str, str]]]:
    """Photos without labels, and (path, reason) of those that cannot be read. UserError where none can."""
    found = classifier.encoder.photos(files, progress=True)
    if not found.kept:
        raise UserError(f"no photo can be read; the first: {found.skipped[0][0]}: {found.skipped[0][1]}")
    kept = [files[i] for i in found.kept]
    study = Study(classifier, found.features, [str(f) for f in kept], None)
    return Explorer(study, f"{len(kept)} photos", lambda i: read_image(kept[i]), folder), found.skipped
