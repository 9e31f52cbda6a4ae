"""The published data sets on small trees in their true layouts, and on CoOp's true split files."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trees
from coder_clip.datasets import (
    FEATURE_SETS,
    PUBLISHED,
    layouts,
    listing,
    load_dataset,
    load_templates,
)
from coder_clip.datasets.base import Dataset
from coder_clip.datasets.entry import entry, table
from coder_clip.datasets.layouts import imagenet_synsets, imagenet_val_labels
from coder_clip.datasets.published import data_root, is_here
from coder_clip.encoders.table_list import read_list
from coder_clip.errors import UserError
from coder_clip.pipeline.config import DatasetConfig
from trees import Contents, allow_small_cifar, load, plant, put


@pytest.fixture(scope="module")
def imagenet_tree(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Contents]:
    """Twelve thousand files: planted once."""
    root = tmp_path_factory.mktemp("imagenet")
    return root, plant("imagenet", root, 1)


def test_the_split_may_be_named(tmp_path: Path) -> None:
    """The authors test zero-shot on DTD's own partition 1, though CoOp's file lies beside it."""
    plant("dtd", tmp_path, 2)
    own = DatasetConfig(split="dtd_lists")
    assert load("dtd", tmp_path).rule.rule == "coop"
    assert load_dataset("dtd", own, tmp_path).rule.rule == "dtd_lists"  # type: ignore[attr-defined]
    assert listing("dtd", own, tmp_path) != listing("dtd", DatasetConfig(), tmp_path)
    with pytest.raises(UserError, match="no split 'dtd_list'"):
        load_dataset("dtd", DatasetConfig(split="dtd_list"), tmp_path)


def named(data: Dataset, split: str) -> dict[str, str]:
    part = data.split(split)
    return {i: data.classes[label] for i, label in zip(part.ids, part.labels, strict=True)}


# ---- every data set


def test_every_entry_has_a_small_tree() -> None:
    """A data set could be added without anyone ever having read its layout."""
    assert [name for name in PUBLISHED if not hasattr(trees, name)] == []


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.rest] * (n == "imagenet")) for n in PUBLISHED]
)
def test_the_true_layout_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Images under another class's name would be accuracies of nothing."""
    if name == "imagenet":
        tmp_path, planted = request.getfixturevalue("imagenet_tree")
    else:
        planted = plant(name, tmp_path, 1)
    if entry(name).loader == "torchvision":
        allow_small_cifar(monkeypatch, tmp_path, name)
    data = load(name, tmp_path)
    read = {split: named(data, split) for split in data.counts}
    if "val" in planted or "train" not in planted:
        assert read == planted
    else:  # val comes out of train, of every class
        assert read["test"] == planted["test"]
        assert {**read["train"], **read["val"]} == planted["train"]
        assert set(data.split("val").labels) == set(range(len(data.classes)))
        assert not set(read["train"]) & set(read["val"])
    assert data.missing() == []
    for split in data.counts:
        part = data.split(split)
        assert part.labels.dtype == np.int64
        order = list(zip(part.labels, part.ids, strict=True))
        assert order == sorted(order)
    image = data.image(data.split("test").ids[0])
    assert (image.mode, image.size) == ("RGB", (32, 32) if "cifar" in name else (8, 8))
    assert data.verified()["split"] == data.rule.what
    with pytest.raises(UserError, match="no image 'x'"):
        data.image("x")


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_entry_says_all_there_is_to_say(name: str) -> None:
    found = entry(name)
    assert found.homepage.startswith("http")
    assert len(found.class_names()) == SIZES.get(name, len(set(found.class_names())))
    assert found.downloads or found.by_hand
    for rule in found.splits:
        assert hasattr(layouts, rule.rule) or rule.rule == "torchvision"
        assert "test" in rule.counts
        assert (rule.val_share or rule.val_per_class) is None or "train" in rule.counts
    templates = load_templates(name, DatasetConfig())
    for key in ("attribute", "analogous"):
        assert {"{class}", f"{{{key}}}"} <= set(placeholders(getattr(templates, key)))
    for sentence in templates.one_to_one:
        assert set(placeholders(sentence)) == {"{class}", "{one_to_one}", "{other}"}
    for sentence in (templates.name, *templates.prompts):
        assert placeholders(sentence) == ["{class}"]
    gives = {b for d in found.downloads for b in (d.gives, *d.brings)} | {
        h.gives for h in found.by_hand
    }
    for needed in (n for rule in found.splits for n in rule.needs):  # people learn how to get it
        assert needed in gives or needed.split("/")[0] in gives, needed
    for hand in found.by_hand:
        assert "http" in hand.how or hand.how.startswith("as "), "no address"


def placeholders(sentence: str) -> list[str]:
    import re

    return re.findall(r"\{\w+\}", sentence)


SIZES = {  # classes, as published
    "caltech101": 100, "cifar10": 10, "cifar100": 100, "cub200": 200, "dtd": 47, "eurosat": 10,
    "fgvc_aircraft": 100, "food101": 101, "imagenet": 1000, "imagenet_v2": 1000, "oxford_flowers": 102,
    "oxford_pets": 37, "places365": 365, "stanford_cars": 196, "sun397": 397, "ucf101": 101,
}  # fmt: skip
COUNTS = {  # CoOp's, as published
    "caltech101": (4128, 1649, 2465), "dtd": (2820, 1128, 1692), "eurosat": (13500, 5400, 8100),
    "fgvc_aircraft": (3334, 3333, 3333), "food101": (50500, 20200, 30300), "oxford_flowers": (4093, 1633, 2463),
    "oxford_pets": (2944, 736, 3669), "stanford_cars": (6509, 1635, 8041), "sun397": (15880, 3970, 19850),
    "ucf101": (7639, 1898, 3783),
}  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
def test_expected_counts_are_the_published_ones(name: str) -> None:
    assert tuple(entry(name).splits[0].counts.values()) == COUNTS[name]


# ---- CoOp's true files

TRUE = [n for n in PUBLISHED if set(entry(n).splits[0].fingerprints) == {"train", "val", "test"}]


@pytest.mark.rest
@pytest.mark.parametrize("name", TRUE)
def test_coops_true_split_files(name: str, tmp_path: Path, shared: Path) -> None:
    found = entry(name)
    rule = found.splits[0]
    folder = tmp_path / found.folders[0]
    (folder / found.images[0]).mkdir(parents=True)
    true = shared / "data/splits" / rule.needs[0]
    shutil.copy(true, folder)
    data = load(name, tmp_path)
    assert data.counts == rule.counts
    assert {split: data.fingerprint(split) for split in rule.counts} == rule.fingerprints
    listed = (true.parent / true.name.replace(".json", ".classes.txt")).read_text(encoding="utf-8")
    assert data.classes == listed.splitlines()
    for split, rows in json.loads(true.read_text()).items():
        assert named(data, split) == {path: name for path, _, name in rows}
    assert len(data.missing()) == sum(rule.counts.values())
    with pytest.raises(UserError, match=f"coder-clip data check {name}"):
        data.verified()
    put(data.place.images / data.split("test").ids[0])
    assert len(load(name, tmp_path).missing()) == sum(rule.counts.values()) - 1


def test_the_downloads_checksums_are_those_of_the_true_files(shared: Path) -> None:
    for name in TRUE:
        file = entry(name).splits[0].needs[0]
        checksum = next(d.checksum for d in entry(name).downloads if d.gives == file)
        true = (shared / "data/splits" / file).read_bytes()
        assert checksum == f"sha256:{hashlib.sha256(true).hexdigest()}"


def lines_sum(split: str, pairs: list[tuple[int, str]]) -> str:
    return hashlib.sha256(
        "".join(f"{split}\t{i}\t{label}\n" for label, i in sorted(pairs)).encode()
    ).hexdigest()


def test_imagenets_validation_images_are_those_that_the_fingerprint_is_of() -> None:
    """The list of labels is that of tensorflow-datasets 4.9.10, from which the fingerprint was
    made.
    """
    rows = enumerate(imagenet_val_labels(), 1)
    synsets = imagenet_synsets()
    pairs = [(label, f"val/{synsets[label]}/ILSVRC2012_val_{n:08d}.JPEG") for n, label in rows]
    assert lines_sum("test", pairs) == entry("imagenet").splits[0].fingerprints["test"]


def test_checksums_of_list_files_are_torchvisions() -> None:
    from torchvision import datasets

    known = {"places365": dict([datasets.Places365._FILE_LIST_META["val"]])}
    for name, kind in (("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)):
        files = [*kind.train_list, *kind.test_list, (kind.meta["filename"], kind.meta["md5"])]
        known[name] = {f"{kind.base_folder}/{file}": md5 for file, md5 in files}
    with_sums = {n: entry(n).splits[0] for n in PUBLISHED if entry(n).splits[0].sums}
    assert {n: r.sums for n, r in with_sums.items()} == {
        n: {file: f"md5:{md5}" for file, md5 in sums.items()} for n, sums in known.items()
    }
    assert all(set(rule.sums) == set(rule.needs) for rule in with_sums.values())


# ---- other lists than CoOp's


def test_an_image_that_no_list_names_is_not_a_test_image(tmp_path: Path) -> None:
    """A list that was cut short would move training images into the test."""
    plant("cub200", tmp_path, 2)
    (path,) = tmp_path.rglob("train_test_split.txt")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError, match=r"images\.txt, line \d+: not in train_test_split\.txt"):
        load("cub200", tmp_path)


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("train_test_split.txt", "7"),
        ("train_test_split.txt", "7 2"),
        ("images.txt", "7"),
        ("images.txt", "1 Black_footed_Albatross/1.jpg"),
    ],
)
def test_a_damaged_list_of_cub_is_one_clear_line(tmp_path: Path, file: str, line: str) -> None:
    plant("cub200", tmp_path, 2)
    (path,) = tmp_path.rglob(file)
    path.write_text(f"{line}\n{path.read_text()}")
    with pytest.raises(UserError, match=rf"{file}, line 1: unexpected '{line}'"):
        load("cub200", tmp_path)


@pytest.mark.parametrize(("name", "split"), [("dtd", "dtd_lists"), ("food101", "food_lists")])
def test_the_authors_zero_shot_test_images_are_a_split_of_their_own(
    name: str, split: str, tmp_path: Path
) -> None:
    """The paper tests zero-shot on other images than CoOp's; a reader sees which split a number is
    of.
    """
    planted = plant(name, tmp_path, 2)
    coop = load(name, tmp_path)
    own = load_dataset(name, DatasetConfig(split=split), tmp_path)
    everything = {i: c for rows in planted.values() for i, c in rows.items()}
    assert {i: c for s in own.counts for i, c in named(own, s).items()} == everything  # type: ignore[attr-defined]
    assert own.verified()["split"] != coop.verified()["split"]  # type: ignore[attr-defined]
    (tmp_path / coop.place.folder / coop.rule.needs[0]).unlink()
    again = load_dataset(name, DatasetConfig(split=split), tmp_path)
    assert again.fingerprint() == own.fingerprint()


@pytest.mark.parametrize("name", COUNTS)
def test_without_its_lists_a_data_set_is_not_read(name: str, tmp_path: Path) -> None:
    """Any other split would give numbers that look like published ones and are of other images."""
    plant(name, tmp_path, 1)
    rule = entry(name).splits[0]
    folder = load(name, tmp_path).place.folder
    assert is_here(name, tmp_path)
    (folder / rule.needs[0]).unlink()
    with pytest.raises(
        UserError, match=rf"no split file .*{re.escape(rule.needs[0])}.* in {folder}"
    ):
        load(name, tmp_path)
    assert not is_here(name, tmp_path)
    assert listing(name, DatasetConfig(), tmp_path) is None


@pytest.mark.rest
def test_imagenet_either_way_below_its_folder(
    tmp_path: Path, imagenet_tree: tuple[Path, Contents]
) -> None:
    first = load("imagenet", imagenet_tree[0])
    assert first.counts == {"train": 1000, "val": 10000, "test": 1000}
    (tmp_path / "imagenet").mkdir()
    for half in ("train", "val"):
        (tmp_path / "imagenet" / half).symlink_to(imagenet_tree[0] / "imagenet/images" / half)
    second = load("imagenet", tmp_path)
    assert second.split("val").ids == first.split("val").ids
    assert second.fingerprint() == first.fingerprint()


# ---- the root


def test_what_is_not_there_says_what_helps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="CODER_CLIP_DATA=FOLDER"):
        load_dataset("dtd", DatasetConfig())
    with pytest.raises(UserError, match=r"no images in .*'coder-clip data check dtd'"):
        load("dtd", tmp_path)
    (tmp_path / "dtd/images").mkdir(parents=True)
    with pytest.raises(
        UserError, match=r"no split file split_zhou_.* in .*'coder-clip data check dtd'"
    ):
        load("dtd", tmp_path)
    monkeypatch.setenv("CODER_CLIP_DATA", "~/somewhere")
    assert data_root(tmp_path) == Path.home() / "somewhere"  # the machine's word comes first
    monkeypatch.setenv("CODER_CLIP_DATA", "")
    assert data_root(tmp_path) == tmp_path


@pytest.mark.parametrize("name", ["caltech101", "dtd", "oxford_flowers", "eurosat"])
def test_a_root_in_the_published_layout_names_data_root(name: str, tmp_path: Path) -> None:
    """'root' is the nearest word, and "'101 ObjectCategories' is the only class" said nothing about
    the other.
    """
    plant(name, tmp_path / "all", 1)
    folder = tmp_path / "all" / entry(name).folders[0]
    for root, below in ((folder, tmp_path / "all"), (tmp_path / "all", tmp_path / "all")):
        with pytest.raises(UserError, match=re.escape(f"write 'data_root: {below}'")) as caught:
            load_dataset(name, DatasetConfig(root=root))
        assert f"'{name}: {{}}'" in str(caught.value)
    folder.rename(tmp_path / "mine")
    with pytest.raises(
        UserError, match=f"with {tmp_path}/mine moved to FOLDER/{entry(name).folders[0]}"
    ):
        load_dataset(name, DatasetConfig(root=tmp_path / "mine"))


def test_class_folders_under_a_published_name_are_read(tmp_path: Path) -> None:
    """A copy as class folders, with other images beside them, is somebody's own data set."""
    for i, kind in enumerate(("banded", "dotted", "images")):
        for n in range(4):
            put(tmp_path / kind / f"{i}{n}.jpg")
    assert load_dataset("dtd", DatasetConfig(root=tmp_path)).classes[:2] == ["banded", "dotted"]


def test_class_folders_may_be_spelled_with_dashes_or_blanks(tmp_path: Path) -> None:
    """Refused as the published layout, a person would be sent to move photos that are where they
    belong.
    """
    for i, kind in enumerate(("annual-crop_land", "Sea or Lake", "2750")):
        for n in range(4):
            put(tmp_path / kind / f"{i}{n}.jpg")
    assert "Sea or Lake" in load_dataset("eurosat", DatasetConfig(root=tmp_path)).classes
    (tmp_path / "Sea or Lake").rename(tmp_path / "other")
    assert "other" in load_dataset("eurosat", DatasetConfig(root=tmp_path)).classes


def test_the_listing_follows_the_split_file(tmp_path: Path) -> None:
    plant("dtd", tmp_path, 1)
    before = listing("dtd", DatasetConfig(), tmp_path)
    with (tmp_path / "dtd/split_zhou_DescribableTextures.json").open("a") as file:
        file.write("\n")
    after = listing("dtd", DatasetConfig(), tmp_path)
    assert before
    assert after
    assert before != after
    assert listing("dtd", DatasetConfig(), tmp_path / "nowhere") is None


def test_other_names_are_offered() -> None:
    from coder_clip.pipeline.config import Config

    for said, meant in (("pets", "oxford_pets"), ("Flowers102", "oxford_flowers"), ("eurosta", "eurosat"), ("shape", "shapes")):  # fmt: skip
        with pytest.raises(ValueError, match=f"did you mean '{meant}'"):
            Config.model_validate({"datasets": [said], "models": {"m": {"model": "hf-hub:a/b"}}})


def test_reading_a_configuration_opens_no_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand class names at every start, though nobody asked."""
    from coder_clip.datasets import entry as module
    from coder_clip.pipeline.config import Config

    def refuse(*_: Any) -> Any:
        raise AssertionError("an entry was read")

    monkeypatch.setattr(module, "entry", refuse)
    Config.model_validate({"datasets": list(PUBLISHED), "models": {"m": {"model": "hf-hub:a/b"}}})


def test_templates_of_the_configuration_come_first() -> None:
    config = DatasetConfig(templates={"attribute": "my {class} with {attribute}"})
    found = load_templates("dtd", config)
    assert found.attribute == "my {class} with {attribute}"
    assert found.prompts == ("{class} texture.",)


def test_coops_split_files_come_from_one_public_commit_and_are_checked() -> None:
    """A split file that somebody else changed would be another benchmark under the same name."""
    files = {
        d.file: d
        for name in PUBLISHED
        for d in entry(name).downloads
        if d.file.startswith("split_zhou_")
    }
    assert len(files) == 9
    for file, download in files.items():
        assert download.checksum, file
        commit = "linzhiqiu/cross_modal_adaptation/c7e7e68ae4eeadfab98e7886b2d6c9cf48a7ceb5"
        assert download.url == f"https://raw.githubusercontent.com/{commit}/splits/{file}"
        assert [url.split("/")[2] for url in download.mirrors] == ["drive.usercontent.google.com"]
    blobs = {file: d.checksum for file, d in files.items() if str(d.checksum).startswith("git:")}
    assert blobs == {
        "split_zhou_Food101.json": "git:39557040ee6501bd32aa8b5dfd75f7941a32f0a7",
        "split_zhou_SUN397.json": "git:8d5725db8f70bcf02245665304f863e68f96a24c",
    }


def test_every_download_without_a_checksum_is_listed_with_its_reason(repo: Path) -> None:
    """A reader can judge which files he takes on trust."""
    names = [*PUBLISHED, *FEATURE_SETS]
    unchecked = {d.file for name in names for d in entry(name).downloads if d.checksum is None}
    lists = [read_list(path) for path in (repo / "src/coder_clip/encoders/tables").glob("*.yaml")]
    assert lists
    unchecked |= {f.file for of in lists for f in of.files if f.source and f.checksum is None}
    page = (repo / "docs/data.md").read_text(encoding="utf-8")
    listed = page.partition("<!-- without a checksum: begin -->")[2].partition("<!-- end -->")[0]
    assert set(re.findall(r"^\| `([^`]+)` \| .{20,} \|$", listed, flags=re.M)) == unchecked


def test_the_documentation_shows_every_entry(repo: Path) -> None:
    """`python -m coder_clip.datasets.entry` prints the table."""
    assert table() in (repo / "docs/data.md").read_text(encoding="utf-8")
