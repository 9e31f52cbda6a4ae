"""Small trees in the published data sets' true layouts: real file formats, few and tiny images.

`plant(name, root)` writes one below ``root`` and gives what is in it: for every split {image id:
class name}. Written from the data sets' own readme files, apart from the loaders that read them.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from coder_clip.datasets import load_dataset
from coder_clip.datasets.entry import Download, Entry, entry
from coder_clip.pipeline.config import DatasetConfig

if TYPE_CHECKING:
    from web import Web

Contents = dict[str, dict[str, str]]


def plant(name: str, root: Path, images: int = 3) -> Contents:
    """The tree of a data set, ``images`` a class and split (more where a share of train becomes
    val).

    Each data set has a function of its name below.
    """
    planted: Contents = globals()[name](root, images)
    return planted


def load(name: str, root: Path) -> Any:
    """The data set as its loader reads it."""
    return load_dataset(name, DatasetConfig(), root)


def replace_entry(monkeypatch: pytest.MonkeyPatch, found: Entry) -> None:
    """Whatever data set is asked for, it is declared like this."""
    # that of `entry` last: a module that is imported after it would keep the replacement
    for module in (
        "preflight.questions",
        "datasets.availability",
        "datasets.published",
        "datasets.entry",
    ):
        monkeypatch.setattr(f"coder_clip.{module}.entry", lambda _: found)


def of_any_lists(monkeypatch: pytest.MonkeyPatch, found: Entry) -> Entry:
    """The entry as if no checksum of its lists were published, which planted lists have not."""
    downloads = [
        d if d.unpack else d.model_copy(update={"checksum": None}) for d in found.downloads
    ]
    found = found.model_copy(update={"downloads": downloads})
    replace_entry(monkeypatch, found)
    return found


def served(found: Entry, web: Web) -> Entry:
    """The entry with its downloads from this server, by the checksums of what that has."""

    def here(download: Download) -> Download:
        checksum = f"sha256:{hashlib.sha256(web.files['/' + download.file]).hexdigest()}"
        return download.model_copy(
            update={"url": f"{web.url}/{download.file}", "checksum": checksum}
        )

    return found.model_copy(update={"downloads": [here(d) for d in found.downloads]})


def allow_small_cifar(monkeypatch: pytest.MonkeyPatch, root: Path, name: str) -> dict[str, str]:
    """torchvision takes the small tree's files for the published ones; file -> MD5."""
    from torchvision import datasets

    kind, sums = getattr(datasets, name.upper()), cifar_sums(root, name)
    for key in ("train_list", "test_list"):
        monkeypatch.setattr(kind, key, [[file, sums[file]] for file, _ in getattr(kind, key)])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": sums[kind.meta["filename"]]})
    return sums


@cache
def jpeg(grey: int = 0, mode: str = "RGB", kind: str = "JPEG") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (8, 8), grey if mode == "L" else (grey,) * len(mode)).save(stream, kind)
    return stream.getvalue()


def put(path: Path, content: bytes = b"") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # it may be a link to what others are too
    path.write_bytes(content or jpeg(len(path.name)))


def put_all(paths: Iterable[Path]) -> None:
    """Images as links to one file: of thousands, quicker to make."""
    first: Path | None = None
    folders: set[Path] = set()
    for path in paths:
        if path.parent not in folders:
            path.parent.mkdir(parents=True, exist_ok=True)
            folders.add(path.parent)
        if first is None:
            first = path
            path.write_bytes(jpeg(100))
        else:
            os.link(first, path)


def lines(path: Path, rows: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")


def split_file(path: Path, rows: dict[str, list[tuple[str, int, str]]]) -> None:
    """A CoOp split file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=4), encoding="utf-8")


def classes(name: str) -> list[str]:
    return entry(name).class_names()


# ---- with CoOp's split file


def _coop(
    folder: Path,
    images: str,
    theirs: str,
    name: str,
    path_of: Callable[[str, int, int], str],
    n: int,
) -> Contents:
    """images: their folder below that of the data set; theirs: the data set's name in CoOp."""
    rows: dict[str, list[tuple[str, int, str]]] = {}
    for s, split in enumerate(("train", "val", "test")):
        rows[split] = [
            (path_of(c, label, s * n + i), label, c)
            for label, c in enumerate(classes(name))
            for i in range(n)
        ]
        rows[split].reverse()  # the true files are in no order
    put_all(folder / images / path for found in rows.values() for path, _, _ in found)
    split_file(folder / f"split_zhou_{theirs}.json", rows)
    return {s: {path: c for path, _, c in found} for s, found in rows.items()}


def dtd(root: Path, n: int) -> Contents:
    """images/banded/banded_0001.jpg, the split file, and the data set's own ten partitions."""
    folder = root / "dtd"
    found = _coop(
        folder, "images", "DescribableTextures", "dtd", lambda c, _, i: f"{c}/{c}_{i:04d}.jpg", n
    )
    for split, rows in found.items():
        for partition in range(1, 11):
            lines(folder / f"labels/{split}{partition}.txt", rows)
    return found


def eurosat(root: Path, n: int) -> Contents:
    f = [
        "AnnualCrop",
        "Forest",
        "HerbaceousVegetation",
        "Highway",
        "Industrial",
        "Pasture",
        "PermanentCrop",
    ]
    f += ["Residential", "River", "SeaLake"]
    return _coop(
        root / "eurosat",
        "2750",
        "EuroSAT",
        "eurosat",
        lambda _, label, i: f"{f[label]}/{f[label]}_{i}.jpg",
        n,
    )


def caltech101(root: Path, n: int) -> Contents:
    folder = root / "caltech-101"
    kinds = {
        "face": "Faces",
        "leopard": "Leopards",
        "motorbike": "Motorbikes",
        "airplane": "airplanes",
    }
    for dropped in ("BACKGROUND_Google", "Faces_easy"):
        put(folder / f"101_ObjectCategories/{dropped}/image_0001.jpg")
    return _coop(
        folder,
        "101_ObjectCategories",
        "Caltech101",
        "caltech101",
        lambda c, _, i: f"{kinds.get(c, c)}/image_{i:04d}.jpg",
        n,
    )


def food101(root: Path, n: int) -> Contents:
    folder = root / "food-101"
    found = _coop(
        folder,
        "images",
        "Food101",
        "food101",
        lambda c, label, i: f"{c.replace(' ', '_')}/{label * 1000 + i}.jpg",
        n,
    )
    lines(
        folder / "meta/train.txt",
        [i.removesuffix(".jpg") for s in ("train", "val") for i in found[s]],
    )
    lines(folder / "meta/test.txt", [i.removesuffix(".jpg") for i in found["test"]])
    return found


def oxford_flowers(root: Path, n: int) -> Contents:
    """jpg/image_00001.jpg … with no folders: the split file alone says the class."""
    return _coop(
        root / "oxford_flowers",
        "jpg",
        "OxfordFlowers",
        "oxford_flowers",
        lambda _, label, i: f"image_{label * 3 * n + i + 1:05d}.jpg",
        n,
    )


def oxford_pets(root: Path, n: int) -> Contents:
    """images/Abyssinian_1.jpg (cats upper case, dogs lower); labels are in another order than by
    name.
    """
    folder = root / "oxford_pets"
    cats = {
        "abyssinian",
        "bengal",
        "birman",
        "bombay",
        "british_shorthair",
        "egyptian_mau",
        "maine_coon",
    }
    cats |= {"persian", "ragdoll", "russian_blue", "siamese", "sphynx"}

    def file(breed: str) -> str:
        return "_".join(w.capitalize() for w in breed.split("_")) if breed in cats else breed

    found = _coop(
        folder, "images", "OxfordPets", "oxford_pets", lambda c, _, i: f"{file(c)}_{i + 1}.jpg", n
    )
    put(folder / "images/Abyssinian_1.mat", b"not an image; the archive really holds some")
    return found


def stanford_cars(root: Path, n: int) -> Contents:
    """cars_train and cars_test."""
    folder = root / "stanford_cars"

    def path_of(_: str, label: int, i: int) -> str:
        half, place = ("cars_test", i - 2 * n) if i >= 2 * n else ("cars_train", i)
        return f"{half}/{label * 2 * n + place + 1:05d}.jpg"

    return _coop(folder, "", "StanfordCars", "stanford_cars", path_of, n)


def ucf101(root: Path, n: int) -> Contents:
    folder = root / "ucf101"
    found = _coop(
        folder,
        "UCF-101-midframes",
        "UCF101",
        "ucf101",
        lambda c, _, i: f"{c}/v_{c.replace('_', '')}_g{i + 1:02d}_c01.jpg",
        n,
    )
    return found


def sun397(root: Path, n: int) -> Contents:
    """SUN397/a/apartment_building/outdoor/sun_….jpg"""
    folder = root / "sun397"

    def path_of(c: str, label: int, i: int) -> str:
        place = "/".join(reversed(c.split(" ")))
        return f"{place[0]}/{place}/sun_a{label:03d}{i:02d}.jpg"

    found = _coop(folder, "SUN397", "SUN397", "sun397", path_of, n)
    return found


# ---- with the data set's own lists


def fgvc_aircraft(root: Path, n: int) -> Contents:
    folder = root / "fgvc_aircraft"
    names = classes("fgvc_aircraft")
    lines(folder / "variants.txt", names)
    lines(folder / "families.txt", sorted({v.split("-")[0] for v in names}))
    found: Contents = {}
    number = 34309
    for split in ("train", "val", "test"):
        found[split] = {}
        for c in names:
            for _ in range(n):
                number += 17
                found[split][f"{number:07d}.jpg"] = c
        rows = [f"{i.removesuffix('.jpg')} {c}" for i, c in found[split].items()]
        lines(folder / f"images_variant_{split}.txt", rows)
        lines(folder / f"images_family_{split}.txt", [row.split("-")[0] for row in rows])
    put_all(folder / "images" / i for rows in found.values() for i in rows)
    return found


def imagenet(root: Path, n: int) -> Contents:
    """train and val with a folder a WordNet id; 11 training images a class at least: ten become
    val.
    """
    from timm.data import ImageNetInfo

    found: Contents = {"train": {}, "test": {}}
    names = classes("imagenet")
    for label, synset in enumerate(ImageNetInfo().label_names()[: len(names)]):
        for i in range(10 + n):
            image = f"train/{synset}/{synset}_{i}.JPEG"
            found["train"][image] = names[label]
        image = f"val/{synset}/ILSVRC2012_val_{label:08d}.JPEG"
        found["test"][image] = names[label]
    put_all(root / "imagenet/images" / i for rows in found.values() for i in rows)
    return found


def imagenet_v2(root: Path, n: int) -> Contents:
    names = classes("imagenet_v2")
    found = {
        f"{label}/{i:032x}.jpeg": names[label] for label in range(len(names)) for i in range(n)
    }
    put_all(root / "imagenetv2/imagenetv2-matched-frequency-format-val" / image for image in found)
    return {"test": found}


def cub200(root: Path, n: int) -> Contents:
    folder = root / "CUB_200_2011"
    found: Contents = {"train": {}, "test": {}}
    images, split = [], []
    for label, c in enumerate(classes("cub200"), 1):
        for i in range(6 * n):
            bird = c.replace("-", "_").replace(" ", "_")
            image = f"{label:03d}.{bird}/{bird}_{i:04d}_{label}.jpg"
            images.append(image)
            split.append(int(i < 5 * n))
            found["train" if split[-1] else "test"][image] = c
    lines(folder / "images.txt", [f"{i} {image}" for i, image in enumerate(images, 1)])
    lines(folder / "train_test_split.txt", [f"{i} {s}" for i, s in enumerate(split, 1)])
    put_all(folder / "images" / image for image in images)
    put(root / "attributes.txt", b"beside the folder, as in the archive\n")
    return found


def places365(root: Path, n: int) -> Contents:
    folder = root / "places365"
    found: dict[str, str] = {}
    rows, names = [], classes("places365")
    for i in range(len(names) * n):
        image, label = f"Places365_val_{i + 1:08d}.jpg", (i * 7) % len(names)
        found[image] = names[label]
        rows.append(f"{image} {label}")
    put_all(folder / "val_256" / image for image in found)
    lines(folder / "places365_val.txt", rows)
    return {"test": found}


# ---- CIFAR's pickles


def cifar10(root: Path, n: int) -> Contents:
    return _cifar(root / "cifar-10-batches-py", "cifar10", n)


def cifar100(root: Path, n: int) -> Contents:
    return _cifar(root / "cifar-100-python", "cifar100", n)


def _cifar(folder: Path, name: str, n: int) -> Contents:
    """The published files' form. torchvision knows their MD5: `cifar_sums` gives those of these."""
    folder.mkdir(parents=True)
    ten, names = name == "cifar10", classes(name)
    key = "labels" if ten else "fine_labels"
    found: Contents = {"train": {}, "test": {}}
    batches = (
        [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"] if ten else ["train", "test"]
    )
    for batch in batches:
        half = "test" if batch.startswith("test") else "train"
        labels = [i % len(names) for i in range(len(names) * (n if ten else 5 * n))]
        pixels = np.repeat(np.arange(len(labels), dtype=np.uint8)[:, None], 3072, axis=1)
        for label in labels:
            found[half][f"{half}/{len(found[half]):05d}"] = names[label]
        (folder / batch).write_bytes(pickle.dumps({"data": pixels, key: labels}))
    meta = {"label_names" if ten else "fine_label_names": names}
    (folder / ("batches.meta" if ten else "meta")).write_bytes(pickle.dumps(meta))
    return found


def cifar_sums(root: Path, name: str) -> dict[str, str]:
    """file -> MD5 of the small tree's files."""
    folder = root / ("cifar-10-batches-py" if name == "cifar10" else "cifar-100-python")
    return {p.name: hashlib.md5(p.read_bytes()).hexdigest() for p in folder.iterdir()}
