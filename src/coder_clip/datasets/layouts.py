"""The file formats that say which image is in which split: one short function a published format.

Each takes the place of a data set and gives for every split the images as (id, label); ids are paths
relative to the image folder, with "/". ``entries/`` says which function is used for which data set.

Sources: the data sets' own readme files; CoOp's DATASETS.md (github.com/KaiyangZhou/CoOp).
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest
from .entry import Entry
from .folder import SHARES, cut, image_files, nfc

Pairs = list[tuple[str, int]]
Splits = dict[str, Pairs]


@dataclass(frozen=True)
class Place:
    """The place of a data set: its folder, the folder of its images; and what is known of it."""

    name: str
    folder: Path
    images: Path
    entry: Entry

    @cached_property
    def classes(self) -> list[str]:
        """Names in label order; for ImageNet importing open_clip, with which no plan has to wait."""
        return self.entry.class_names()

    def lines(self, file: str) -> Iterator[tuple[str, str]]:
        """(where, line) of a text file, empty lines left out; ``where`` names file and line for errors."""
        path = self.folder / file
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"data set '{self.name}': {path} cannot be read: {error}") from None
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                yield f"{path}, line {number}", line.strip()

    def json(self, file: str) -> Any:
        path = self.folder / file
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(f"data set '{self.name}': {path} cannot be read: {error}") from None

    def mat(self, file: str) -> dict[str, Any]:
        """A MATLAB file. loadmat reads arrays and structs; nothing in the file is run."""
        from scipy.io import loadmat

        path = self.folder / file
        try:
            found: dict[str, Any] = loadmat(path, squeeze_me=True)
        except Exception as error:  # damaged files fail in many ways
            raise UserError(f"data set '{self.name}': {path} cannot be read: {error}") from None
        return found

    def label(self, where: str, name: str, known: dict[str, int]) -> int:
        if name not in known:
            raise UserError(f"data set '{self.name}': {where}: unknown class '{name}'{nearest(name, known)}")
        return known[name]

    def index(self, where: str, number: str | int, first: int) -> int:
        """A label that counts from ``first`` in the file, from 0 here."""
        try:
            label = int(number) - first
        except ValueError:
            label = -1
        if not 0 <= label < len(self.classes):
            raise UserError(
                f"data set '{self.name}': {where}: label {number} is outside {first} to "
                f"{len(self.classes) - 1 + first}"
            )
        return label


# ---- CoOp's split files


def coop(place: Place, file: str) -> Splits:
    """``{"train"|"val"|"test": [[relative path, label, class name], …]}``.

    The class name of every entry is held against the class list, so that a file of another data set, or one
    with other labels, is refused instead of giving wrong accuracies.
    """
    document = place.json(file)
    splits: Splits = {}
    for split in ("train", "val", "test"):
        pairs = splits[split] = []
        rows = document.get(split) if isinstance(document, dict) else None
        if not isinstance(rows, list):
            raise UserError(f"data set '{place.name}': {place.folder / file} has no list '{split}'")
        for row in rows:
            where = f"{place.folder / file}, {split} {row}"
            if not (isinstance(row, list) and len(row) == 3 and isinstance(row[0], str)):
                raise UserError(f"data set '{place.name}': {where} is not [path, label, class name]")
            label = place.index(where, row[1], 0)
            if row[2] != place.classes[label]:
                raise UserError(
                    f"data set '{place.name}': {where}: label {label} is '{place.classes[label]}' here; "
                    "the file belongs to another data set or another order of classes"
                )
            pairs.append((_inside(place, where, row[0]), label))
    return splits


def _inside(place: Place, where: str, path: str) -> str:
    """The path with "/", NFC; UserError where it leads out of the image folder."""
    path = nfc(path.replace("\\", "/")).removeprefix("/")
    if ".." in path.split("/"):
        raise UserError(f"data set '{place.name}': {where}: the path leads out of the data set")
    return path


# ---- the data sets' own lists


def dtd_lists(place: Place) -> Splits:
    """``labels/{split}1.txt``, partition 1 of ten: "banded/banded_0001.jpg"."""
    known = {c: i for i, c in enumerate(place.classes)}
    return {
        split: [
            (line, place.label(where, line.partition("/")[0], known))
            for where, line in place.lines(f"labels/{split}1.txt")
        ]
        for split in ("train", "val", "test")
    }


def aircraft_lists(place: Place) -> Splits:
    """``images_variant_{split}.txt``: "1025794 707-320". Variants, of which there are 100; families are 70."""
    variants = [line for _, line in place.lines("variants.txt")]
    if variants != place.classes:
        raise UserError(
            f"data set '{place.name}': {place.folder / 'variants.txt'} does not hold the 100 variants in order"
        )
    known = {c: i for i, c in enumerate(variants)}
    splits: Splits = {}
    for split in ("train", "val", "test"):
        pairs = splits[split] = []
        for where, line in place.lines(f"images_variant_{split}.txt"):
            image, _, variant = line.partition(" ")
            pairs.append((f"{image}.jpg", place.label(where, variant.strip(), known)))
    return splits


def pets_lists(place: Place) -> Splits:
    """``annotations/{trainval,test}.txt``: "Abyssinian_100 1 1 1", the second number being the class from 1."""

    def read(file: str) -> Pairs:
        pairs = []
        for where, line in place.lines(f"annotations/{file}.txt"):
            image, label = line.split()[:2]
            index = place.index(where, label, 1)
            breed = image.rpartition("_")[0].lower()
            if breed != place.classes[index]:  # folder order (upper case first) is another order
                raise UserError(
                    f"data set '{place.name}': {where}: class {label} is '{place.classes[index]}', not '{breed}'"
                )
            pairs.append((f"{image}.jpg", index))
        return pairs

    return {"train": read("trainval"), "test": read("test")}


def food_lists(place: Place) -> Splits:
    """``meta/{train,test}.txt``: "apple_pie/1005649"."""
    known = {c.replace(" ", "_"): i for i, c in enumerate(place.classes)}
    return {
        split: [
            (f"{line}.jpg", place.label(where, line.partition("/")[0], known))
            for where, line in place.lines(f"meta/{split}.txt")
        ]
        for split in ("train", "test")
    }


def sun_lists(place: Place) -> Splits:
    """``Training_01.txt``, ``Testing_01.txt``: "/a/apartment_building/outdoor/sun_aaa.jpg"."""
    # "outdoor apartment_building" is in apartment_building/outdoor below the folder of its first letter
    known = {"/".join(reversed(c.split(" "))): i for i, c in enumerate(place.classes)}

    def read(file: str) -> Pairs:
        pairs = []
        for where, line in place.lines(file):
            image = line.removeprefix("/")
            pairs.append((image, place.label(where, "/".join(image.split("/")[1:-1]), known)))
        return pairs

    return {"train": read("Training_01.txt"), "test": read("Testing_01.txt")}


def ucf_lists(place: Place) -> Splits:
    """``ucfTrainTestlist/{train,test}list01.txt``: "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1".

    The middle frame of that video is ``Apply_Eye_Makeup/v_ApplyEyeMakeup_g08_c01.jpg``.
    """
    known = {c.replace("_", ""): i for i, c in enumerate(place.classes)}

    def read(file: str) -> Pairs:
        pairs = []
        for where, line in place.lines(f"ucfTrainTestlist/{file}list01.txt"):
            action, _, video = line.split()[0].partition("/")
            label = place.label(where, action, known)
            pairs.append((f"{place.classes[label]}/{os.path.splitext(video)[0]}.jpg", label))
        return pairs

    return {"train": read("train"), "test": read("test")}


def cub_lists(place: Place) -> Splits:
    """``images.txt`` ("1 001.Black_footed_Albatross/….jpg") and ``train_test_split.txt`` ("1 0": in test)."""
    in_train = dict(line.split() for _, line in place.lines("train_test_split.txt"))
    splits: Splits = {"train": [], "test": []}
    for where, line in place.lines("images.txt"):
        number, image = line.split(maxsplit=1)
        if number not in in_train:
            raise UserError(f"data set '{place.name}': {where}: not in train_test_split.txt")
        label = place.index(where, image.partition(".")[0], 1)
        splits["train" if in_train[number] == "1" else "test"].append((image, label))
    return splits


def places_lists(place: Place) -> Splits:
    """``places365_val.txt``: "Places365_val_00000001.jpg 165". The official validation images are the test."""
    pairs = []
    for where, line in place.lines("places365_val.txt"):
        image, _, label = line.rpartition(" ")
        pairs.append((image.removeprefix("/"), place.index(where, label, 0)))
    return {"test": pairs}


def flowers_lists(place: Place) -> Splits:
    """``imagelabels.mat`` (class from 1 of image 1, 2, …) and ``setid.mat`` (image numbers of each split)."""
    labels, sets = place.mat("imagelabels.mat")["labels"], place.mat("setid.mat")
    where = str(place.folder / "imagelabels.mat")
    return {
        split: [(f"image_{n:05d}.jpg", place.index(where, int(labels[n - 1]), 1)) for n in sets[key].tolist()]
        for split, key in (("train", "trnid"), ("val", "valid"), ("test", "tstid"))
    }


def cars_lists(place: Place) -> Splits:
    """``devkit/cars_meta.mat``, ``devkit/cars_train_annos.mat`` and ``cars_test_annos_withlabels.mat``.

    The files say "AM General Hummer SUV 2000"; CoOp, and so the class list, "2000 AM General Hummer SUV".
    """
    file = "devkit/cars_meta.mat"
    for given, ours in zip(place.mat(file)["class_names"].tolist(), place.classes, strict=True):
        words = str(given).split(" ")
        if " ".join([words[-1], *words[:-1]]) != ours:
            raise UserError(f"data set '{place.name}': {place.folder / file} has '{given}' for '{ours}'")

    def read(images: str, file: str) -> Pairs:
        where = str(place.folder / file)
        rows = place.mat(file)["annotations"]
        return [
            (f"{images}/{row['fname']}", place.index(where, int(row["class"]), 1)) for row in rows.ravel()
        ]

    return {
        "train": read("cars_train", "devkit/cars_train_annos.mat"),
        "test": read("cars_test", "cars_test_annos_withlabels.mat"),
    }


# ---- folders of images

CALTECH_FOLDERS = {"face": "Faces", "leopard": "Leopards", "motorbike": "Motorbikes", "airplane": "airplanes"}
EUROSAT_FOLDERS = {
    "Annual Crop Land": "AnnualCrop",
    "Herbaceous Vegetation Land": "HerbaceousVegetation",
    "Highway or Road": "Highway",
    "Industrial Buildings": "Industrial",
    "Pasture Land": "Pasture",
    "Permanent Crop Land": "PermanentCrop",
    "Residential Buildings": "Residential",
    "Sea or Lake": "SeaLake",
}


def class_folders(place: Place) -> Splits:
    """One folder a class: 50 % train, 20 % val, 30 % test of each, by the hash of the id.

    Folders that are no class are left out (Caltech's BACKGROUND_Google and Faces_easy).
    """
    folders = {**CALTECH_FOLDERS, **EUROSAT_FOLDERS}
    per_class = [images_in(place, folders.get(c, c)) for c in place.classes]
    return {
        split: [(i, label) for label, ids in enumerate(found) for i in ids]
        for split, found in cut(per_class, SHARES).items()
    }


def imagenet_folders(place: Place) -> Splits:
    """``train/n01440764/….JPEG`` and, as the test, ``imagenet_val``. Labels: WordNet ids in order."""
    synsets = imagenet_synsets()[: len(place.classes)]
    if not (place.images / "train").is_dir():
        raise UserError(
            f"data set '{place.name}': {place.images / 'train'} is missing; with the validation images alone say "
            "split: imagenet_val in the configuration, for zero-shot"
        )
    train = [(i, label) for label, s in enumerate(synsets) for i in images_in(place, f"train/{s}")]
    return {"train": train, **imagenet_val(place)}


def imagenet_val(place: Place) -> Splits:
    """``val/n01440764/….JPEG``, or loose as in the official archive: the class of each is known by its number."""
    synsets = imagenet_synsets()[: len(place.classes)]
    folder = place.images / "val"
    if not folder.is_dir():
        raise UserError(f"data set '{place.name}': {folder} is missing")
    if not (folder / synsets[0]).is_dir() and any(image_files_directly(folder)):
        return {
            "test": [
                (f"val/{synsets[label]}/ILSVRC2012_val_{number:08d}.JPEG", label)
                for number, label in enumerate(imagenet_val_labels(), 1)
                if label < len(synsets)
            ]
        }
    return {"test": [(i, label) for label, s in enumerate(synsets) for i in images_in(place, f"val/{s}")]}


def imagenet_v2_folders(place: Place) -> Splits:
    """Folders 0 to 999, the label itself. As text they would sort 0, 1, 10, 100, …"""
    return {"test": [(i, label) for label in range(len(place.classes)) for i in images_in(place, str(label))]}


def imagenet_synsets() -> list[str]:
    """WordNet ids of ImageNet's 1,000 classes in label order, as timm ships them."""
    from importlib.resources import files

    text = files("timm").joinpath("data/_info/imagenet_synsets.txt").read_text(encoding="utf-8")
    return text.split()


def imagenet_val_labels() -> list[int]:
    """Labels of the 50,000 official validation images in order, as tensorflow-datasets (Apache 2.0) ships them."""
    with gzip.open(Path(__file__).parent / "entries/imagenet_val.txt.gz", "rt") as stream:
        return [int(line) for line in stream]


def images_in(place: Place, folder: str) -> list[str]:
    """Ids of the images below a folder, sorted; UserError where the folder is missing."""
    path = place.images / folder
    if not path.is_dir():
        raise UserError(f"data set '{place.name}': the class folder {path} is missing")
    return sorted(nfc(p.relative_to(place.images).as_posix()) for p in image_files(path))


def image_files_directly(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in (".jpg", ".jpeg"))


LAYOUTS: dict[str, Callable[[Place], Splits]] = {
    f.__name__: f
    for f in (
        dtd_lists,
        aircraft_lists,
        pets_lists,
        food_lists,
        sun_lists,
        ucf_lists,
        cub_lists,
        places_lists,
        flowers_lists,
        cars_lists,
        class_folders,
        imagenet_folders,
        imagenet_val,
        imagenet_v2_folders,
    )
}
