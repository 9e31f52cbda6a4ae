"""The file formats that say which image is in which split: one short function per published format.

Each function takes the place of a data set and returns split -> (id, label) of each image; ids are
paths relative to the image folder, with "/". ``entries/`` says which function is used for which
data set.

Sources: the data sets' own readme files; CoOp's DATASETS.md (github.com/KaiyangZhou/CoOp).
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest
from .base import SPLITS
from .entry import Entry
from .folder import image_files, nfc

Pairs = list[tuple[str, int]]
Splits = dict[str, Pairs]


def contents(name: str, path: Path, reader: Callable[[Path], Any]) -> Any:
    """Read a file of the data set ``name`` with ``reader``; UserError if it cannot be read."""
    try:
        return reader(path)
    except Exception as error:  # damaged files fail in many ways
        raise UserError(f"data set '{name}': {path} cannot be read: {error}") from None


@dataclass(frozen=True)
class Place:
    """A data set on disk: its folder, the folder of its images, and its entry."""

    name: str
    folder: Path
    images: Path
    entry: Entry

    @cached_property
    def classes(self) -> list[str]:
        """Names in label order.

        Read on first use: ImageNet's names need an import that is too slow for planning a DAG.
        """
        return self.entry.class_names()

    def read(self, file: str, reader: Callable[[Path], Any]) -> Any:
        """Read a file of the data set with ``reader``; UserError if it cannot be read."""
        return contents(self.name, self.folder / file, reader)

    def lines(self, file: str) -> Iterator[tuple[str, str]]:
        """Yield (where, line) for each non-empty line of a text file.

        ``where`` names file and line for errors.
        """
        text = self.read(file, lambda path: path.read_text(encoding="utf-8-sig"))
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield f"{self.folder / file}, line {number}", line.strip()

    def listed(
        self, files: dict[str, str], parse: Callable[[str], tuple[str, str | int]]
    ) -> Splits:
        """Read splits from text files with a line per image.

        files: split -> file. parse: line -> image id, and class name or label.
        """
        splits: Splits = {}
        for split, file in files.items():
            pairs = splits[split] = []
            for where, line in self.lines(file):
                try:
                    image, of_class = parse(line)
                except (ValueError, IndexError):
                    raise UserError(
                        f"data set '{self.name}': {where}: unexpected '{line}'"
                    ) from None
                pairs.append((image, self.label(where, of_class)))
        return splits

    def label(self, where: str, of_class: str | int) -> int:
        """The label of a class name, or the label itself.

        UserError if the data set has no such class.
        """
        if isinstance(of_class, str):
            if of_class not in self._labels:
                close = nearest(of_class, self._labels)
                raise UserError(
                    f"data set '{self.name}': {where}: unknown class '{of_class}'{close}"
                )
            return self._labels[of_class]
        if not 0 <= of_class < len(self.classes):
            raise UserError(
                f"data set '{self.name}': {where}: label {of_class} is outside 0 to "
                f"{len(self.classes) - 1}"
            )
        return of_class

    @cached_property
    def _labels(self) -> dict[str, int]:
        """Class name -> label."""
        return {name: label for label, name in enumerate(self.classes)}


# ---- CoOp's split files


def coop(place: Place) -> Splits:
    """A JSON file: ``{"train"|"val"|"test": [[relative path, label, class name], …]}``.

    The class name of every row is compared with the class list: a file of another data set, or with
    other labels, would give wrong accuracies, and is refused.
    """
    # the rule reads one file, whose name differs between data sets
    (file,) = next(rule.needs for rule in place.entry.splits if rule.rule == "coop")
    return coop_file(place.name, place.folder / file, place.classes)


def coop_file(name: str, file: Path, classes: Sequence[str]) -> Splits:
    """Read a split file in the form of CoOp's (`coop`). name: of the data set, for messages."""
    document = contents(name, file, lambda path: json.loads(path.read_bytes()))
    splits: Splits = {}
    for split in SPLITS:
        pairs = splits[split] = []
        rows = document.get(split) if isinstance(document, dict) else None
        if not isinstance(rows, list):
            raise UserError(f"data set '{name}': {file} has no list '{split}'")
        for row in rows:
            where = f"data set '{name}': {file}, {split} {row}"
            match row:
                case [str(path), int(label), str(of_class)]:
                    pass
                case _:
                    raise UserError(f"{where} is not [path, label, class name]")
            if not 0 <= label < len(classes):
                raise UserError(f"{where}: label {label} is outside 0 to {len(classes) - 1}")
            if of_class != classes[label]:
                raise UserError(
                    f"{where}: label {label} is '{classes[label]}' here; the file belongs to "
                    "another data set or another order of classes"
                )
            # such files come from other people's machines: unify separators and Unicode form, and
            # stay inside the data set
            path = nfc(path.replace("\\", "/")).removeprefix("/")
            if ".." in path.split("/"):
                raise UserError(f"{where}: the path leads out of the data set")
            pairs.append((path, label))
    return splits


# ---- the data sets' own lists


def dtd_lists(place: Place) -> Splits:
    """``labels/{split}1.txt``, partition 1 of ten: "banded/banded_0001.jpg"."""
    files = {split: f"labels/{split}1.txt" for split in SPLITS}
    return place.listed(files, lambda line: (line, line.partition("/")[0]))


def aircraft_lists(place: Place) -> Splits:
    """``images_variant_{split}.txt``: "1025794 707-320".

    Classes are the 100 variants, not the 70 families.
    """

    def parse(line: str) -> tuple[str, str]:
        image, _, variant = line.partition(" ")
        return f"{image}.jpg", variant.strip()

    return place.listed({split: f"images_variant_{split}.txt" for split in SPLITS}, parse)


def food_lists(place: Place) -> Splits:
    """``meta/{train,test}.txt``: "apple_pie/1005649"."""
    folders = {name.replace(" ", "_"): name for name in place.classes}

    def parse(line: str) -> tuple[str, str]:
        folder = line.partition("/")[0]
        return f"{line}.jpg", folders.get(folder, folder)

    return place.listed({"train": "meta/train.txt", "test": "meta/test.txt"}, parse)


def cub_lists(place: Place) -> Splits:
    """``images.txt``: "1 001.Black_footed_Albatross/….jpg"; ``train_test_split.txt``: "1 0".

    Both files begin with the image's number. The second number of ``train_test_split.txt`` is 1 for
    a training image and 0 for a test image.
    """
    splits: Splits = {"train": [], "test": []}
    split_of, where, line = {}, "", ""
    try:
        for where, line in place.lines("train_test_split.txt"):  # noqa: B007, for the message
            number, mark = line.split()
            split_of[number] = {"1": "train", "0": "test"}[mark]
        for where, line in place.lines("images.txt"):
            number, image = line.split(maxsplit=1)
            if number not in split_of:  # else it would count as a test image
                raise UserError(f"data set '{place.name}': {where}: not in train_test_split.txt")
            # folders are numbered from 1: 001.Black_footed_Albatross has label 0
            label = place.label(where, int(image.partition(".")[0]) - 1)
            splits[split_of[number]].append((image, label))
    except (ValueError, KeyError):
        raise UserError(f"data set '{place.name}': {where}: unexpected '{line}'") from None
    return splits


def places_lists(place: Place) -> Splits:
    """``places365_val.txt``: "Places365_val_00000001.jpg 165".

    The test split is the official validation images.
    """

    def parse(line: str) -> tuple[str, int]:
        image, _, label = line.rpartition(" ")
        return image.removeprefix("/"), int(label)

    return place.listed({"test": "places365_val.txt"}, parse)


# ---- folders of images


def imagenet_folders(place: Place) -> Splits:
    """``train/n01440764/….JPEG``; the test split is `imagenet_val`.

    The label is the position in `imagenet_synsets`.
    """
    if not (place.images / "train").is_dir():
        raise UserError(
            f"data set '{place.name}': {place.images / 'train'} is missing; with the validation "
            "images alone say split: imagenet_val in the configuration, for zero-shot"
        )
    folders = [f"train/{synset}" for synset in imagenet_synsets()[: len(place.classes)]]
    return {"train": _labelled(place, folders), **imagenet_val(place)}


def imagenet_val(place: Place) -> Splits:
    """``val/n01440764/….JPEG``, or ``val/….JPEG`` as in the official archive.

    Without class folders, the number of an image gives its label (`imagenet_val_labels`).
    """
    synsets = imagenet_synsets()[: len(place.classes)]
    folder = place.images / "val"
    if not folder.is_dir():
        raise UserError(f"data set '{place.name}': {folder} is missing")
    has_class_folders = (folder / synsets[0]).is_dir()
    if not has_class_folders and any(p.suffix.lower() == ".jpeg" for p in folder.iterdir()):
        # the same ids as with class folders
        return {
            "test": [
                (f"val/{synsets[label]}/ILSVRC2012_val_{number:08d}.JPEG", label)
                for number, label in enumerate(imagenet_val_labels(), 1)
                if label < len(synsets)
            ]
        }
    return {"test": _labelled(place, [f"val/{synset}" for synset in synsets])}


def imagenet_v2_folders(place: Place) -> Splits:
    """Folders "0" to "999": the name is the label, because sorted as text they are 0, 1, 10, …"""
    return {"test": _labelled(place, [str(label) for label in range(len(place.classes))])}


def _labelled(place: Place, folders: list[str]) -> Pairs:
    """(id, label) of each image. folders: of each class, in label order."""
    return [
        (image, label) for label, folder in enumerate(folders) for image in images_in(place, folder)
    ]


def imagenet_synsets() -> list[str]:
    """WordNet ids of ImageNet's 1,000 classes in label order, as timm ships them."""
    from importlib.resources import files

    return (
        files("timm")
        .joinpath("data/_info/imagenet_synsets.txt")
        .read_text(encoding="utf-8")
        .split()
    )


def imagenet_val_labels() -> list[int]:
    """Labels of the 50,000 official validation images, in order, as tensorflow-datasets (Apache
    2.0) ships them.
    """
    with gzip.open(Path(__file__).parent / "entries/imagenet_val.txt.gz", "rt") as stream:
        return [int(line) for line in stream]


def images_in(place: Place, folder: str) -> list[str]:
    """Ids of the images below a folder, sorted; UserError if the folder is missing."""
    path = place.images / folder
    if not path.is_dir():
        raise UserError(f"data set '{place.name}': the class folder {path} is missing")
    return sorted(nfc(p.relative_to(place.images).as_posix()) for p in image_files(path))
