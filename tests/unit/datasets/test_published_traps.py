"""Where the published data sets' files mislead, and what a person reads about a file that is wrong."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from coder_clip.datasets import load_dataset
from coder_clip.datasets.entry import entry
from coder_clip.datasets.layouts import imagenet_synsets
from coder_clip.datasets.published import PublishedDataset
from coder_clip.errors import UserError
from coder_clip.pipeline.config import DatasetConfig
from trees import jpeg, load, plant, put, split_file

# ---- traps


def test_pets_are_in_annotation_order_not_in_folder_order(tmp_path: Path) -> None:
    """By file name all cats come first: labels would be those of other breeds."""
    planted = plant("oxford_pets", tmp_path, 3)
    assert sorted(planted["test"])[1 * 3].startswith("Bengal")
    data = load("oxford_pets", tmp_path)
    assert data.classes[:6] == [
        "abyssinian", "american_bulldog", "american_pit_bull_terrier", "basset_hound", "beagle", "bengal",
    ]  # fmt: skip


def test_imagenet_v2_folders_are_numbers(tmp_path: Path) -> None:
    """As text they sort 0, 1, 10, 100: nine in ten labels would be wrong."""
    plant("imagenet_v2", tmp_path, 1)
    data = load("imagenet_v2", tmp_path)
    test = data.split("test")
    assert [int(i.split("/")[0]) for i in test.ids] == list(range(1000)) == test.labels.tolist()
    with pytest.raises(UserError, match=r"has no train images \(it has: test\)"):
        data.split("train")


def test_imagenet_is_keyed_by_index(tmp_path: Path) -> None:
    data_names = entry("imagenet").class_names()
    doubles = {n for n in data_names if data_names.count(n) > 1}
    assert doubles == {"missile", "sunglasses"}
    synsets = imagenet_synsets()
    assert len(synsets) == 1000
    assert synsets == sorted(synsets)
    assert (synsets[0], data_names[0]) == ("n01440764", "tench")


def test_imagenets_loose_validation_images_in_lower_case(tmp_path: Path) -> None:
    """Copied over a file system that knows no case: their class folders would be missed."""
    path = tmp_path / "imagenet/val/ilsvrc2012_val_00000001.jpeg"
    put(path)
    data = load_dataset("imagenet", DatasetConfig(split="imagenet_val"), tmp_path)
    assert isinstance(data, PublishedDataset)
    assert data.counts == {"test": 50_000}
    (image,) = (i for i in data.split("test").ids if i.endswith("_00000001.JPEG"))
    assert data.path(image) == path


def test_a_class_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    put(tmp_path / "imagenet/train/n01440764/n01440764_1.JPEG")
    with pytest.raises(UserError, match=r"class folder .*train/n01443537 is missing"):
        load("imagenet", tmp_path)


def test_aircraft_as_the_archive_unpacks(tmp_path: Path) -> None:
    plant("fgvc_aircraft", tmp_path, 1)
    first = load("fgvc_aircraft", tmp_path).fingerprint()
    (tmp_path / "fgvc-aircraft-2013b").mkdir()
    (tmp_path / "fgvc_aircraft").rename(tmp_path / "fgvc-aircraft-2013b/data")
    assert load("fgvc_aircraft", tmp_path).fingerprint() == first


def test_grey_cmyk_and_transparent_images_become_rgb(tmp_path: Path) -> None:
    plant("dtd", tmp_path, 3)
    data = load("dtd", tmp_path)
    ids = data.split("test").ids
    for i, (mode, kind) in enumerate((("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG"))):
        put(data.path(ids[i]), jpeg(100, mode, kind))
        assert data.image(ids[i]).mode == "RGB"
    put(data.path(ids[3]), b"no image")
    with pytest.raises(UserError, match="cannot be read"):
        data.image(ids[3])


def test_upper_case_extensions_and_unicode_forms(tmp_path: Path) -> None:
    """Archives unpacked on other systems: IMAGE.JPG, and é as two characters."""
    plant("dtd", tmp_path, 1)
    folder = tmp_path / "dtd"
    rows = {s: [("banded/caf\u00e9.jpg" if s == "test" else f"banded/{s}.jpg", 0, "banded")] for s in ("train", "val", "test")}  # fmt: skip
    split_file(folder / "split_zhou_DescribableTextures.json", rows)
    for name in ("TRAIN.JPG", "val.jpg", unicodedata.normalize("NFD", "caf\u00e9.jpg")):
        put(folder / "images/banded" / name)
    data = load("dtd", tmp_path)
    assert data.missing() == []
    assert data.image("banded/train.jpg").mode == "RGB"
    assert data.image("banded/caf\u00e9.jpg").mode == "RGB"


def test_links_lead_to_the_images(tmp_path: Path) -> None:
    """Cluster users have the images elsewhere, and link them in, whole or class by class."""
    plant("dtd", tmp_path / "store", 1)
    first = load("dtd", tmp_path / "store")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/dtd").symlink_to(tmp_path / "store/dtd")
    linked = load("dtd", tmp_path / "a")
    assert linked.fingerprint() == first.fingerprint()
    assert linked.verified() == first.verified()
    images = tmp_path / "store/dtd/images"
    images.rename(tmp_path / "elsewhere")
    images.mkdir()
    for c in (tmp_path / "elsewhere").iterdir():
        (images / c.name).symlink_to(c)
    assert load("dtd", tmp_path / "store").missing() == []
    (tmp_path / "elsewhere/banded/again").symlink_to(tmp_path / "elsewhere")  # a loop
    assert load("dtd", tmp_path / "store").missing() == []


def test_a_dead_link_is_a_missing_image(tmp_path: Path) -> None:
    planted = plant("dtd", tmp_path, 1)
    image = tmp_path / "dtd/images" / next(iter(planted["test"]))
    image.unlink()
    image.symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="1 of 141 images are missing"):
        load("dtd", tmp_path).verified()


# ---- what is wrong with a file


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d["test"].append(["banded/x.jpg", 47, "banded"]), "label 47 is outside 0 to 46"),
        (lambda d: d["test"].append(["banded/x.jpg", 1, "banded"]), "label 1 is 'blotchy' here"),
        (
            lambda d: d["test"].append(["../../etc/passwd", 0, "banded"]),
            "leads out of the data set",
        ),
        (lambda d: d["test"].append(d["train"][0]), "listed twice"),
        (lambda d: d.pop("val"), "no list 'val'"),
        (lambda d: d["val"].clear(), "no val images"),
        (lambda d: d["val"].append(["x.jpg"]), "is not"),
    ],
)
def test_a_wrong_split_file_is_one_clear_line(change: Any, says: str, tmp_path: Path) -> None:
    plant("dtd", tmp_path, 1)
    file = tmp_path / "dtd/split_zhou_DescribableTextures.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))
    with pytest.raises(UserError, match=says) as caught:
        load("dtd", tmp_path)
    assert "\n" not in str(caught.value)
    file.write_text("{")
    with pytest.raises(UserError, match=r"split_zhou_DescribableTextures\.json cannot be read"):
        load("dtd", tmp_path)


def test_absolute_paths_in_a_split_file_stay_inside(tmp_path: Path) -> None:
    plant("dtd", tmp_path, 1)
    file = tmp_path / "dtd/split_zhou_DescribableTextures.json"
    document = json.loads(file.read_text())
    put(tmp_path / "dtd/images/etc/passwd.jpg")
    document["test"].append(["/etc/passwd.jpg", 0, "banded"])
    file.write_text(json.dumps(document))
    data = load("dtd", tmp_path)
    assert data.path("etc/passwd.jpg") == tmp_path / "dtd/images/etc/passwd.jpg"


def test_cifar_files_that_are_not_the_published_ones_are_never_opened(tmp_path: Path) -> None:
    """A pickle runs what its author likes."""
    plant("cifar10", tmp_path, 1)
    with pytest.raises(UserError, match="coder-clip data get cifar10"):
        load("cifar10", tmp_path)
