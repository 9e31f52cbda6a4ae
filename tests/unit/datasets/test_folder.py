from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from coder_clip.datasets.base import Dataset
from coder_clip.datasets.folder import FolderDataset
from coder_clip.datasets.sanity import warnings
from coder_clip.errors import UserError
from coder_clip.pipeline.listing import listing
from fixtures import SHARED


def fill(folder: Path, n: int, kind: str = "png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        # no two folders have the same image, which would be near twins
        colour = (i, *hashlib.sha256(folder.name.encode()).digest()[:2])
        Image.new("RGB", (4, 4), colour).save(folder / f"{i}.{kind}")


def as_protocol(dataset: Dataset) -> Dataset:
    return dataset  # mypy checks the protocol here


def sizes(dataset: FolderDataset) -> dict[str, int]:
    return {s: len(dataset.split(s)) for s in ("train", "val", "test")}


def test_plain_class_folders(tmp_path: Path) -> None:
    """A folder of class folders would not be a data set, or get other splits each time."""
    fill(tmp_path / "red_fox", 10)
    fill(tmp_path / "arctic_fox", 20)
    data = FolderDataset("foxes", tmp_path)
    as_protocol(data)
    assert data.classes == ["arctic fox", "red fox"]
    assert sizes(data) == {"train": 15, "val": 6, "test": 9}
    everything = [i for s in ("train", "val", "test") for i in data.split(s).ids]
    assert len(set(everything)) == 30
    for split in ("train", "val", "test"):
        part = data.split(split)
        assert part.labels.dtype == np.int64
        assert part.labels.tolist() == [data.classes.index(class_of(i)) for i in part.ids]
        assert list(zip(part.labels, part.ids, strict=True)) == sorted(
            zip(part.labels, part.ids, strict=True)
        )
    assert data.image("red_fox/3.png").getpixel((0, 0))[0] == 3  # type: ignore[index]


def class_of(image_id: str) -> str:
    return image_id.split("/")[0].replace("_", " ")


def test_the_split_depends_on_names_only(tmp_path: Path) -> None:
    for root in ("one", "two"):
        fill(tmp_path / root / "a", 25)
    first, second = FolderDataset("x", tmp_path / "one"), FolderDataset("y", tmp_path / "two")
    for split in ("train", "val", "test"):
        assert first.split(split).ids == second.split(split).ids
    assert first.split("train").ids[:4] == [
        "a/0.png",
        "a/1.png",
        "a/10.png",
        "a/12.png",
    ]  # recorded


@pytest.mark.parametrize("n", range(1, 12))
def test_no_image_is_lost_in_small_classes(tmp_path: Path, n: int) -> None:
    fill(tmp_path / "a", n)
    assert sum(sizes(FolderDataset("x", tmp_path)).values()) == n


def test_all_three_split_folders(tmp_path: Path) -> None:
    for split, n in (("train", 3), ("Validation", 2), ("test", 1)):
        fill(tmp_path / split / "a", n)
        fill(tmp_path / split / "b", n)
    data = FolderDataset("x", tmp_path)
    assert sizes(data) == {"train": 6, "val": 4, "test": 2}
    assert data.split("test").ids == ["test/a/0.png", "test/b/0.png"]
    assert data.split("val").ids[0] == "Validation/a/0.png"
    (tmp_path / "Validation").rename(tmp_path / "valid")
    assert sizes(FolderDataset("x", tmp_path)) == {"train": 6, "val": 4, "test": 2}


def test_val_is_carved_from_train(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "a", 10)
    fill(tmp_path / "test" / "a", 5)
    data = FolderDataset("x", tmp_path)
    assert sizes(data) == {"train": 8, "val": 2, "test": 5}
    assert all(i.startswith("train/") for i in data.split("val").ids)


def test_train_alone_gives_all_three(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "a", 10)
    assert sizes(FolderDataset("x", tmp_path)) == {"train": 5, "val": 2, "test": 3}


def test_a_missing_split_is_one_clear_line(tmp_path: Path) -> None:
    fill(tmp_path / "test" / "a", 5)
    data = FolderDataset("x", tmp_path)
    assert len(data.split("test")) == 5
    with pytest.raises(UserError, match=r"has no train images \(it has: test\)"):
        data.split("train")


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    for folder in ("bus", "car", "train"):
        fill(tmp_path / folder, 4)
    assert FolderDataset("x", tmp_path).classes == ["bus", "car", "train"]


def test_both_layouts_at_once_are_refused(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "a", 2)
    fill(tmp_path / "cat", 2)
    with pytest.raises(
        UserError, match=r"has split folders \(train\) beside the class folder 'cat'"
    ):
        FolderDataset("x", tmp_path)


def test_hidden_files_other_files_case_and_depth(tmp_path: Path) -> None:
    fill(tmp_path / "a", 2)
    fill(tmp_path / "a" / "deeper", 1, "JPG")
    fill(tmp_path / ".cache", 3)
    fill(tmp_path / "__MACOSX", 3)
    (tmp_path / "a" / "._0.png").write_bytes(b"resource fork")
    (tmp_path / "a" / "notes.txt").write_text("hello")
    data = FolderDataset("x", tmp_path)
    assert data.classes == ["a"]
    assert [e.path for e in data.manifest()] == ["a/0.png", "a/1.png", "a/deeper/0.JPG"]


def test_links_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    fill(tmp_path / "store", 3)
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "again").symlink_to(tmp_path / "store")
    (tmp_path / "store" / "dead.png").symlink_to(tmp_path / "nowhere.png")
    data = FolderDataset("x", root)
    ids = [i for s in ("train", "val", "test") for i in data.split(s).ids]
    assert sorted(ids) == ["a/0.png", "a/1.png", "a/2.png", "a/dead.png"]  # told when it is read
    with pytest.raises(UserError, match="link points nowhere"):
        data.image("a/dead.png")
    with pytest.raises(UserError, match=r"dead\.png"):
        data.fingerprint()


def test_names_are_nfc(tmp_path: Path) -> None:
    """A class name from a Mac would not match the same name in a text file."""
    decomposed = unicodedata.normalize("NFD", "Käfer_groß")
    fill(tmp_path / decomposed, 3)
    data = FolderDataset("x", tmp_path, classes=["Käfer groß"])
    assert data.classes == ["Käfer groß"]
    assert data.split("train").ids[0].startswith("Käfer_groß/")
    assert data.image(data.split("train").ids[0]).size == (4, 4)


def test_one_name_in_two_unicode_forms_is_refused(tmp_path: Path) -> None:
    """On Linux both folders can exist; all images of one of them were missing, without a word."""
    for form in ("NFC", "NFD"):
        fill(tmp_path / "photos" / unicodedata.normalize(form, "Käfer"), 4)
    fill(tmp_path / "photos/dog", 4)
    if len(list((tmp_path / "photos").iterdir())) < 3:
        pytest.skip("this file system has one form only")
    with pytest.raises(
        UserError,
        match=r"two folders in .*photos are called 'Käfer', in two Unicode forms; make them",
    ):
        FolderDataset("x", tmp_path / "photos")


def test_class_order_and_subset(tmp_path: Path) -> None:
    for folder in ("a_1", "b", "c"):
        fill(tmp_path / folder, 2)
    data = FolderDataset("x", tmp_path, classes=["c", "a 1"])
    assert data.classes == ["c", "a 1"]
    assert {e.path.split("/")[0] for e in data.manifest()} == {"c", "a_1"}
    assert FolderDataset("x", tmp_path, classes=["a_1"]).classes == ["a 1"]


def test_errors(tmp_path: Path) -> None:
    """A wrong folder of photos would end in a traceback, not in one clear line."""
    with pytest.raises(UserError, match="does not exist"):
        FolderDataset("x", tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is not a folder"):
        FolderDataset("x", tmp_path / "file")
    with pytest.raises(
        UserError, match=r"no class folders in .* \(expected one folder of images per class"
    ):
        FolderDataset("x", tmp_path)
    fill(tmp_path / "cat", 2)
    (tmp_path / "dog").mkdir()
    with pytest.raises(UserError, match=r"no images in class folder .*dog"):
        FolderDataset("x", tmp_path)
    with pytest.raises(UserError, match=r"no folder for class 'cats'.*did you mean 'cat'"):
        FolderDataset("x", tmp_path, classes=["cats"])
    with pytest.raises(UserError, match="listed twice"):
        FolderDataset("x", tmp_path, classes=["cat", "cat"])
    with pytest.raises(UserError, match="empty"):
        FolderDataset("x", tmp_path, classes=[])
    with pytest.raises(UserError, match="no image 'cat/99"):
        FolderDataset("x", tmp_path, classes=["cat"]).image("cat/99.png")


def test_one_class_in_two_spellings_is_refused(tmp_path: Path) -> None:
    """`test/Dog` beside `train/dog` would be a third class, and `dog` have no test image."""
    for folder in ("train/dog", "train/cat", "val/dog", "val/cat", "test/Dog", "test/cat"):
        fill(tmp_path / "split" / folder, 2)
    with pytest.raises(
        UserError, match=r"test/Dog and train/dog differ in upper and lower case only"
    ):
        FolderDataset("pets", tmp_path / "split")
    for folder in ("a", "A"):  # two classes on purpose: side by side, as alphabets have them
        fill(tmp_path / "letters" / folder, 4)
    letters = FolderDataset("letters", tmp_path / "letters")
    assert letters.classes == ["A", "a"]
    assert warnings(letters)[0].startswith(
        "classes 'A' and 'a' differ only in case, which most encoders ignore"
    )


def test_the_fingerprint_follows_the_content(tmp_path: Path) -> None:
    for root in ("one", "two"):
        fill(tmp_path / root / "a", 3)
    first = FolderDataset("x", tmp_path / "one").fingerprint()
    assert first == FolderDataset("other name", tmp_path / "two").fingerprint()
    Image.new("RGB", (4, 4), (99, 0, 0)).save(tmp_path / "two" / "a" / "1.png")
    assert first != FolderDataset("x", tmp_path / "two").fingerprint()


@pytest.mark.rest
@pytest.mark.skipif(
    not (SHARED / "data/cifar10").is_dir(), reason="shared CIFAR-10 photos are not here"
)
def test_cifar10_photos() -> None:
    """Real photos in class folders would be split in another way than before."""
    data = FolderDataset("cifar10", SHARED / "data/cifar10")
    assert len(data.classes) == 10
    assert sizes(data) == {"train": 800, "val": 200, "test": 1000}
    assert np.bincount(data.split("val").labels).tolist() == [20] * 10
    assert data.image(data.split("test").ids[0]).size == (32, 32)
    assert len(data.fingerprint()) == 64


def test_the_listing_follows_links_and_ignores_what_is_no_photo(tmp_path: Path) -> None:
    """A photo added behind a linked class folder would be missed, and opening the folder on a Mac
    would rerun all.
    """
    from coder_clip.pipeline.config import Config

    fill(tmp_path / "store/red", 2)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/red").symlink_to(tmp_path / "store/red")

    from coder_clip.pipeline import listing as of_images

    def listed() -> str | None:
        of_images._listing.cache_clear()
        datasets = {"x": {"root": str(tmp_path / "photos")}}
        config = Config.model_validate(
            {"datasets": datasets, "models": {"m": {"model": "hf-hub:a/b"}}}
        )
        return listing(config, "x")

    before = listed()
    (tmp_path / "photos/.DS_Store").write_text("")
    (tmp_path / "store/red/notes.txt").write_text("")
    assert listed() == before
    fill(tmp_path / "store/red", 3)
    after = listed()
    assert after != before
    (tmp_path / "store/red/9.png").symlink_to("nowhere")
    assert listed() not in (before, after)


def test_a_folder_that_cannot_be_read_is_not_an_empty_one(
    tmp_path: Path, closed: Callable[[Path], None]
) -> None:
    fill(tmp_path / "red_fox", 10)
    fill(tmp_path / "red_fox/more", 10)
    fill(tmp_path / "arctic_fox", 10)
    closed(tmp_path / "red_fox/more")
    with pytest.raises(UserError, match=r"cannot read folder .*/red_fox/more: Permission denied"):
        FolderDataset("foxes", tmp_path).split("train")
