"""Someone's own folders: what would spoil a run is one line before anything is encoded."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from coder_clip.datasets.folder import FolderDataset, file_entry
from coder_clip.datasets.sanity import copies, lines
from coder_clip.errors import UserError
from coder_clip.foundation.artifacts import read_json
from coder_clip.pipeline.config import load_config

Command = Callable[..., Any]


def fill(folder: Path, n: int, shade: int) -> None:
    """n images that no other call makes."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        Image.new("RGB", (4, 4), (i, shade, 0)).save(folder / f"{i}.png")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repo: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(repo / "data")
    (tmp_path / "c.yaml").write_text(
        "datasets: {mine: {root: photos, texts: names}}\nmodels: [mini]\nadapter: {shots: [1, 2]}\n"
    )
    for shade, name in enumerate(("cat", "dog")):
        fill(tmp_path / "photos" / name, 10, shade)
    return tmp_path / "photos"


def listed(command: Command) -> Any:
    """The first job of a run. Nothing is encoded before it has ended."""
    return command("manifest", "--config", "c.yaml")


def one_line(answer: Any) -> str:
    assert answer.code == 1
    assert "Traceback" not in answer.err
    assert not Path("results/manifests/mine.json").exists()
    (line,) = answer.err.splitlines()
    return str(line)


def test_photos_without_copies_are_listed_without_a_word(photos: Path, command: Command) -> None:
    answer = listed(command)
    assert (answer.code, answer.err) == (0, "")
    assert "copies" not in read_json("results/manifests/mine.json")


def test_copies_are_told_by_what_they_spoil(
    photos: Path, command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(photos / "cat/0.png", photos / "dog/other name.png")
    shutil.copy(photos / "dog/1.png", photos / "dog/1 again.png")
    data = FolderDataset("mine", photos)
    split_of = {i: s for s in ("train", "val", "test") for i in data.split(s).ids}
    kind = "same" if split_of["dog/1.png"] == split_of["dog/1 again.png"] else "splits"
    found = copies(data)
    assert found == {"classes": [], "splits": [], "same": []} | {
        "classes": [["cat/0.png", "dog/other name.png"]],
        kind: [["dog/1 again.png", "dog/1.png"]],
    }
    assert listed(command).code == 0
    assert (
        "are in several classes, so that some labels are wrong: cat/0.png = dog/other name.png"
        in caplog.text
    )
    assert read_json("results/manifests/mine.json")["copies"]["classes"] == found["classes"]


def test_a_test_folder_copied_to_train_is_told(tmp_path: Path) -> None:
    """Accuracy was that of images that were seen before."""
    for shade, name in enumerate(("cat", "dog")):
        fill(tmp_path / "test" / name, 5, shade)
    shutil.copytree(tmp_path / "test", tmp_path / "train")
    data = FolderDataset("mine", tmp_path)
    (line,) = lines(copies(data))
    assert line.startswith("10 images are in several splits")
    assert copies(data) == copies(data, data.manifest())


def test_only_files_of_one_size_and_end_are_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check of 150 GB would take hours."""
    for name, content in (
        ("a/1", b"one"),
        ("a/2", b"three"),
        ("b/1", b"two"),
        ("b/2", b"three"),
        ("c/1", b"one1"),
    ):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    hashed = []
    monkeypatch.setattr(
        "coder_clip.datasets.sanity.file_entry",
        lambda i, path: hashed.append(i) or file_entry(i, path),
    )
    assert copies(FolderDataset("mine", tmp_path))["classes"] == [["a/2.png", "b/2.png"]]
    assert sorted(hashed) == ["a/2.png", "b/2.png"]


def test_two_folders_of_one_name_are_refused(photos: Path, command: Command) -> None:
    fill(photos / "red_fox", 10, 5)
    fill(photos / "red fox", 10, 6)
    assert "folders 'red fox' and 'red_fox' in photos are both the class 'red fox'" in one_line(
        listed(command)
    )
    with pytest.raises(UserError, match="are both the class 'red fox'"):
        FolderDataset("mine", photos, classes=["cat", "red fox"])
    assert FolderDataset("mine", photos, classes=["cat", "dog"]).classes == ["cat", "dog"]


def test_one_class_is_refused_and_folders_one_level_too_deep_are_named(
    photos: Path, command: Command
) -> None:
    """It ran to 100 % without a remark."""
    shutil.move(photos, "animals")
    os.mkdir(photos)
    shutil.move("animals", photos / "animals")
    said = one_line(listed(command))
    assert "'animals' is the only class" in said
    assert (
        "if the folders cat, dog below it are the classes, root has to be the folder above them"
        in said
    )
    shutil.rmtree(photos)
    fill(photos / "cat", 9, 0)
    assert "'cat' is the only class, so every prediction would be correct; add another" in one_line(
        listed(command)
    )


@pytest.mark.parametrize("target", ["..", "../dog", "../.."])
def test_a_link_to_other_classes_is_refused(photos: Path, command: Command, target: str) -> None:
    """It pulled their images in."""
    (photos / "cat/link").symlink_to(target)
    said = one_line(listed(command))
    assert "photos/cat/link leads to " in said
    assert "holds images of other classes; remove the link" in said


def test_a_link_to_a_folder_elsewhere_is_followed(
    photos: Path, tmp_path: Path, command: Command
) -> None:
    fill(tmp_path / "more", 3, 9)
    (photos / "cat/more").symlink_to(tmp_path / "more")
    assert listed(command).code == 0
    assert (
        len([f for f in read_json("results/manifests/mine.json")["files"] if "/more/" in f["path"]])
        == 3
    )


def test_too_few_images_are_one_line(photos: Path, command: Command) -> None:
    """300 classes of one image failed after a minute, under 25 paths."""
    for i in range(300):
        fill(photos / f"class {i:03d}", 1, 20 + i % 200)
    said = one_line(listed(command))
    assert (
        "data set 'mine': adapter.shots: 2 shots, but class "
        "'class 000' has 1 training images (300 such"
    ) in said


def test_a_split_without_images_is_one_line(photos: Path, command: Command) -> None:
    for name in ("cat", "dog"):
        for i in range(1, 10):
            (photos / name / f"{i}.png").unlink()
    config = Path("c.yaml")
    config.write_text(config.read_text().replace("names}", "names, few_shot: false}"))
    assert "data set 'mine' has no val images; see docs/photos.md" in one_line(listed(command))


def test_a_pipe_is_refused(photos: Path, command: Command) -> None:
    """Its content would be waited for, for ever."""
    os.mkfifo(photos / "cat/x.png")
    assert "photos/cat/x.png: a pipe, socket or device, not a file" in one_line(listed(command))


def test_check_says_the_same(photos: Path, command: Command) -> None:
    shutil.copy(photos / "cat/0.png", photos / "dog/0 again.png")
    answer = command("check", "--config", "c.yaml")
    assert "warning: data set mine: 1 images are in several classes" in answer.out
    shutil.rmtree(photos / "dog")
    assert "'cat' is the only class" in command("check", "--config", "c.yaml").err


def test_class_folders_in_a_folder_beside_others_are_told(
    photos: Path, command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    """`animals/cat` and `animals/dog` become one class "animals" beside "car", and nothing says so."""
    for shade, name in enumerate(("fox", "wolf")):
        fill(photos / "wild" / name, 10, 10 + shade)
    fill(photos / "cat" / "2023", 4, 20)  # more photos of a class that has its own are no classes
    fill(photos / "cat" / "2024", 4, 21)
    assert listed(command).code == 0
    said = (
        "class 'wild' is made of the folders fox, wolf below it; if these are classes, move "
        "them up beside the"
    )
    assert [r.message.split(": ")[1] for r in caplog.records] == [f"{said} others"]


def test_a_class_in_folders_by_year_is_a_class(
    photos: Path, command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("cat", "dog"):
        for year in ("2023", "2024"):
            (photos / name / year).mkdir()
        for i, image in enumerate(sorted((photos / name).glob("*.png"))):
            image.rename(photos / name / ("2023", "2024")[i % 2] / image.name)
    assert listed(command).code == 0
    assert not caplog.records


def test_test_images_alone_are_enough_for_zero_shot(photos: Path, command: Command) -> None:
    """No val to choose on and no shots to learn from: thresholds keep their defaults, few-shot is
    left out.
    """
    (photos / "test").mkdir()
    for name in ("cat", "dog"):
        (photos / name).rename(photos / "test" / name)
    assert listed(command).code == 0
    assert read_json("results/manifests/mine.json")["images"] == {"test": 20}
    config = load_config(Path("c.yaml"))
    assert config.encoded("mine") == ["test"]
    assert not config.few_shot("mine")
    photos.rename(photos.parent / "gone")  # who pulled the results has no photos
    assert load_config(Path("c.yaml")).encoded("mine") == ["test"]
