"""What the page of ``explore`` opens: a finished run, or photos without labels."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from coder_clip.baselines.methods import LABELS
from coder_clip.datasets import load_dataset
from coder_clip.datasets.base import Dataset
from coder_clip.datasets.corrections import default_file
from coder_clip.datasets.features import FeatureDataset
from coder_clip.datasets.folder import FolderDataset
from coder_clip.datasets.images import read_image
from coder_clip.errors import UserError

from .classifier import Classifier
from .corrected import Labels
from .draft import Draft, draft_file
from .encoding import IN_FLIGHT, InFlight, pixels_to_decode
from .explorer import Explorer
from .listing import photo_count
from .study import Study

if TYPE_CHECKING:
    from .runs import FinishedRun

_DECODING = InFlight(IN_FLIGHT)


BUILT_IN_LABELS = (
    "the labels of a built-in data set stay as they are, so that numbers can be compared"
)


def explore_run(run: FinishedRun, folder: Path) -> Explorer:
    """The page's state for a finished run (``runs.load_run``): its validation images, so that test
    images stay unseen.

    folder: where files are saved. UserError if the run has no validation images.
    """
    validation = run.validation
    if validation is None:
        raise UserError(f"'{run.dataset}' has no validation images to choose texts on")
    data = load_dataset(run.dataset, run.config.datasets[run.dataset], run.config.data_root)
    ids = validation.ids
    labels = None
    if isinstance(data, FolderDataset) and run.config.datasets[run.dataset].root:
        labels = _labels(run, data)
    classifier = Classifier.of_run(run)
    study = Study(classifier, validation.features, ids, validation.labels, validation.groups)
    file = draft_file([run.config.results, run.dataset, run.encoder.spec.model])
    return Explorer(
        study,
        f"{run.dataset}: validation images",
        _pictures(data, ids),
        folder,
        stage_two=run.stage_two,
        advice=run.advice,
        shows=f"This page shows “{LABELS['coder']}”, whose texts can be edited.",
        labels=labels,
        # shown where labels is None
        labels_fixed_because=BUILT_IN_LABELS,
        kept=Draft(study.start.texts.classes, file),
    )


def _pictures(data: Dataset, ids: Sequence[str]) -> Callable[[int, int], Image.Image] | None:
    """How the page reads the picture at a position; None for features without pictures."""
    if isinstance(data, FeatureDataset):
        return None
    if isinstance(data, FolderDataset):
        return lambda i, least: small_picture(data.path(ids[i]), least)
    return lambda i, least: data.image(ids[i])


def small_picture(path: str | Path, least: int) -> Image.Image:
    """A photo with at least so many pixels per side, if it has them. UserError as `read_image`.

    Large photos wait for each other, so that a page of them does not take gigabytes.
    """
    with _DECODING(pixels_to_decode(path, least)):
        image = read_image(path, least=least)
        # only the small picture leaves, because the large ones are what the limit is for
        image.thumbnail((2 * least, 2 * least))
        return image


def _labels(run: FinishedRun, data: FolderDataset) -> Labels:
    """The labels of a run's photos.

    Corrections are in the file that the configuration names, or in a file beside the configuration.
    """
    named = run.config.datasets[run.dataset].corrections
    file = named or run.root / default_file(run.file, run.dataset)
    shown, configuration = (os.path.relpath(path, run.root) for path in (file, run.file))
    advice = ""
    if not named:
        advice = f"The next run uses it once {configuration} has this line below {run.dataset}:"
    return Labels(file, data.folder_class, data.classes, shown, advice)


def explore_photos(
    classifier: Classifier, files: list[Path], folder: Path, places: Sequence[str]
) -> tuple[Explorer, list[tuple[str, str]]]:
    """The page's state for photos without labels, and (path, reason) of photos that cannot be read.

    places: the files and folders as the person named them, whose draft is continued. UserError if
    no photo can be read.
    """
    found = classifier.encoder.photos(files, progress=True)
    if not found.kept:
        raise UserError(
            f"no photo can be read; the first: {found.skipped[0][0]}: {found.skipped[0][1]}"
        )
    study = Study(classifier, found.features, found.kept, None)
    explorer = Explorer(
        study,
        photo_count(len(found.kept)),
        lambda i, least: small_picture(found.kept[i], least),
        folder,
        kept=Draft(study.start.texts.classes, draft_file(places)),
    )
    return explorer, found.skipped
