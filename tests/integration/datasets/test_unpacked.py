"""What archives unpack to is what the loader reads."""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from pathlib import Path

import pytest

from archives import PUBLISHED_ARCHIVES, pack
from coder_clip.datasets import availability, load_below
from coder_clip.datasets.availability import get, look_at
from coder_clip.datasets.entry import entry
from trees import allow_small_cifar, plant, replace_entry, served
from web import Web

LARGE = ("imagenet_v2", "cub200", "sun397")  # even with one image per class


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.rest] * (n in LARGE)) for n in PUBLISHED_ARCHIVES]
)
def test_what_is_downloaded_is_found_by_the_loader(
    name: str, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hours of download, and then "no images": the archive has another folder on top than the entry
    thinks.
    """
    usage = shutil.disk_usage(tmp_path)._replace(free=10**12)
    monkeypatch.setattr(availability.shutil, "disk_usage", lambda _: usage)
    made, real = tmp_path / "made", entry(name)
    plant(name, made, 1 if name in LARGE else 2)
    for d in real.downloads:
        file = d.file
        members = PUBLISHED_ARCHIVES[name].get(file)
        path = pack(tmp_path / file, made, members) if members else made / real.folders[0] / d.gives
        web.files["/" + file] = path.read_bytes()
    brought = []
    for h in real.by_hand:
        if h.archive and (members := PUBLISHED_ARCHIVES[name].get(h.archive.file)):
            (tmp_path / "root").mkdir()
            path = pack(tmp_path / "root" / h.archive.file, made, members)
            checksum = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
            archive = h.archive.model_copy(update={"checksum": checksum})
            brought.append(h.model_copy(update={"archive": archive}))
    real = served(real, web).model_copy(update={"by_hand": brought})
    by_hand = {h.gives for h in entry(name).by_hand}
    rules = [r for r in real.splits if not by_hand & set(r.needs)]
    replace_entry(monkeypatch, real.model_copy(update={"splits": rules}))
    planted = load_below(name, made)
    rules = [
        r.model_copy(update={"counts": planted.counts, "fingerprints": {}, "sums": {}})
        for r in rules
    ]
    replace_entry(monkeypatch, real.model_copy(update={"splits": rules}))
    got = get(name, tmp_path / "root", say=lambda _: None)
    assert got.lines()[0].startswith(f"{name}: complete"), got.lines()
    assert load_below(name, tmp_path / "root").fingerprint() == planted.fingerprint()
    asked = len(web.asked)
    get(name, tmp_path / "root", say=lambda _: None)
    assert len(web.asked) == asked


@pytest.fixture
def aircraft(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root into which `data get` brought FGVC Aircraft."""
    test_what_is_downloaded_is_found_by_the_loader("fgvc_aircraft", web, tmp_path, monkeypatch)
    return tmp_path / "root"


def test_a_download_that_an_older_folder_hides_is_told(aircraft: Path) -> None:
    """An image was lost, so the archive comes again, in its own layout, beside the one that people
    share.
    """
    (file,) = aircraft.rglob("images_variant_test.txt")
    coop = aircraft / "fgvc_aircraft"
    for path in file.parent.iterdir():
        path.rename(coop / path.name)
    shutil.rmtree(coop / "fgvc-aircraft-2013b")
    next((coop / "images").iterdir()).unlink()
    got = get("fgvc_aircraft", aircraft, say=lambda _: None)
    (advice,) = got.advice
    assert f"next to {coop}/images, which takes precedence: move that folder away" in advice
    (coop / "images").rename(coop / "old")
    assert look_at("fgvc_aircraft", aircraft).usable


def test_copies_with_one_folder_more_are_found(tmp_path: Path) -> None:
    """Kaggle's Cars and ImageNet, Zenodo's EuroSAT."""
    plant("stanford_cars", tmp_path, 1)
    for half in ("cars_train", "cars_test"):
        (tmp_path / "stanford_cars" / half).rename(tmp_path / "moved")
        (tmp_path / "stanford_cars" / half).mkdir()
        (tmp_path / "moved").rename(tmp_path / "stanford_cars" / half / half)
    cars = load_below("stanford_cars", tmp_path)
    assert cars.missing() == []
    assert cars.image(cars.split("test").ids[0]).size == (8, 8)
    plant("eurosat", tmp_path, 1)
    (tmp_path / "eurosat/2750").rename(tmp_path / "eurosat/EuroSAT_RGB")
    assert load_below("eurosat", tmp_path).missing() == []


@pytest.mark.parametrize("how", ["lost", "empty"])
def test_an_image_that_was_lost_comes_back(aircraft: Path, how: str) -> None:
    """The archive's own folders are there already: it must not be unpacked below them once more. A
    copy on a full disk leaves empty files."""
    image = next((aircraft / "fgvc_aircraft/fgvc-aircraft-2013b/data/images").iterdir())
    whole = image.read_bytes()
    image.unlink()
    if how == "empty":
        image.touch()
    (problem,) = look_at("fgvc_aircraft", aircraft).problems
    assert problem.endswith(f" images are missing or empty, first {image.name}")
    got = get("fgvc_aircraft", aircraft, say=lambda _: None)
    assert got.lines()[0].startswith("fgvc_aircraft: complete"), got.lines()
    assert image.read_bytes() == whole


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_is_downloaded_and_read(
    name: str, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, real = tmp_path / "made", entry(name)
    contents = plant(name, made, 1)
    sums = allow_small_cifar(monkeypatch, made, name)
    (download,) = real.downloads
    file = download.file
    with tarfile.open(tmp_path / file, "w:gz") as tar:
        tar.add(made / real.images[0], real.images[0])
    web.files["/" + file] = (tmp_path / file).read_bytes()
    read = load_below(name, made)
    own = {f"{real.images[0]}/{file}": f"md5:{sum_}" for file, sum_ in sums.items()}
    rule = real.splits[0].model_copy(update={"counts": read.counts, "sums": own})
    replace_entry(monkeypatch, served(real, web).model_copy(update={"splits": [rule]}))
    got = get(name, tmp_path / "root", say=lambda _: None)
    assert got.lines()[0].startswith(f"{name}: complete"), got.lines()
    assert load_below(name, tmp_path / "root").counts == {
        "train": len(contents["train"]) * 4 // 5,
        "val": len(contents["train"]) // 5,
        "test": len(contents["test"]),
    }
