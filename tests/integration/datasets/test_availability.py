"""Getting published data sets: what people are told, and what comes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from archives import EVIL_TAR, below, tar_with, zip_with
from coder_clip.datasets import PUBLISHED, availability, load_below
from coder_clip.datasets import fetch as fetching
from coder_clip.datasets.availability import get, look_at
from coder_clip.datasets.entry import Entry, entry
from coder_clip.datasets.layouts import imagenet_synsets, imagenet_val_labels
from coder_clip.datasets.published import is_here
from coder_clip.errors import UserError
from fixtures import SHARED
from trees import jpeg, lines, of_any_lists, plant, put, replace_entry, served
from web import Web

# ---- check


@pytest.mark.parametrize("name", PUBLISHED)
def test_nothing_there_says_how_to_get_it(name: str, tmp_path: Path) -> None:
    found = look_at(name, tmp_path / "nowhere")
    said = "\n".join(found.lines())
    assert not found.usable
    assert "no images (looked for " in said
    assert f"coder-clip data get {name}" in said or "by hand" in said
    for download in entry(name).downloads:
        assert all(url in said for url in (download.url, *download.mirrors))
    for hand in entry(name).by_hand:
        assert hand.how in said
    assert not (tmp_path / "nowhere").exists(), "a look made a folder"


def of_size(monkeypatch: pytest.MonkeyPatch, name: str, counts: dict[str, int]) -> Entry:
    """The data set's entry, expecting as many images as the small tree has, and any lists."""
    real = entry(name)
    rules = [
        r.model_copy(update={"counts": counts, "fingerprints": {}, "sums": {}}) for r in real.splits
    ]
    return of_any_lists(monkeypatch, real.model_copy(update={"splits": rules}))


def test_complete_is_said_only_of_what_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant("dtd", tmp_path, 1)
    found = look_at("dtd", tmp_path)
    assert any("expected train 2,820, val 1,128, test 1,692" in p for p in found.problems)
    of_size(monkeypatch, "dtd", {"train": 47, "val": 47, "test": 47})
    assert look_at("dtd", tmp_path).lines() == [
        f"dtd: complete — Describable Textures (DTD), {tmp_path}/dtd",
        f"  here      images in {tmp_path}/dtd/images",
        "  here      train 47, val 47, test 47 (split: CoOp's split)",
        "  here      list of images, sha256, without a published one to compare with: "
        + ", ".join(
            f"{s} {load_below('dtd', tmp_path).fingerprint(s)[:12]}…"
            for s in ("train", "val", "test")
        ),
    ]
    (tmp_path / "dtd/images/banded/banded_0002.jpg").unlink()
    found = look_at("dtd", tmp_path)
    assert found.problems == ["1 of 141 images are missing or empty, first banded/banded_0002.jpg"]
    assert [d.gives for d in found.get] == ["images"]


def test_a_split_file_that_is_absent_is_a_problem(tmp_path: Path) -> None:
    """The images alone are no benchmark, though DTD's archive has lists of its own."""
    plant("dtd", tmp_path, 1)
    (tmp_path / "dtd/split_zhou_DescribableTextures.json").unlink()
    found = look_at("dtd", tmp_path)
    assert not found.usable
    assert found.problems == ["no split file: split_zhou_DescribableTextures.json"]
    assert [d.gives for d in found.get] == ["split_zhou_DescribableTextures.json"]
    assert "coder-clip data get dtd" in "\n".join(found.lines())


def test_another_list_of_images_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody's own split under CoOp's file name."""
    plant("dtd", tmp_path, 1)
    of_size(monkeypatch, "dtd", {"train": 47, "val": 47, "test": 47})
    expecting = availability.entry("dtd")
    data = load_below("dtd", tmp_path)
    known = {"train": data.fingerprint("train"), "test": "0" * 64}
    rule = expecting.splits[0].model_copy(update={"fingerprints": known})
    replace_entry(monkeypatch, expecting.model_copy(update={"splits": [rule]}))
    found = look_at("dtd", tmp_path)
    assert found.problems == [
        "not as published, by checksum: test (read from split_zhou_DescribableTextures.json)"
    ]
    assert found.here[-2:] == [
        "as published, by checksum: train",
        "list of images, sha256, without a published one to compare with: "
        f"val {data.fingerprint('val')[:12]}…",
    ]


def test_another_list_file_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant("places365", tmp_path, 1)
    found = of_size(monkeypatch, "places365", {"test": 365})
    file = tmp_path / "places365/places365_val.txt"
    own = f"md5:{hashlib.md5(file.read_bytes()).hexdigest()}"
    for known, state in ((own, "complete"), ("md5:" + "0" * 32, "not usable")):
        rule = found.splits[0].model_copy(update={"sums": {file.name: known}})
        replace_entry(monkeypatch, found.model_copy(update={"splits": [rule]}))
        said = look_at("places365", tmp_path).lines()
        assert said[0].startswith(f"places365: {state}")
    assert f"  problem   not as published, by checksum: {file.name} (read from {file.name})" in said


def test_a_split_file_that_is_wrong_is_a_problem(tmp_path: Path) -> None:
    plant("dtd", tmp_path, 1)
    (tmp_path / "dtd/split_zhou_DescribableTextures.json").write_text("{}")
    found = look_at("dtd", tmp_path)
    assert "has no list 'train'" in found.problems[0]


def test_the_command_line(
    tmp_path: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`data check` and `data get` say what is missing, and where the data sets belong."""
    assert "where are the data sets?" in command("data", "get", "dtd").err
    monkeypatch.setenv("CODER_CLIP_DATA", str(tmp_path))
    answer = command("data", "check", "dtd")
    assert answer.code == 1
    assert "dtd: not usable" in answer.out
    assert len(command("data", "check", "--all").out.splitlines()) > 2 * len(PUBLISHED)
    assert "did you mean 'oxford_pets'" in command("data", "check", "pets").err
    assert "--all" in command("data", "check").err
    config = tmp_path / "c.yaml"
    lines(config, ["datasets: [dtd, eurosat]", "models: {m: {model: RN50, pretrained: openai}}"])
    said = command("data", "check", "--config", config).out
    assert "dtd: " in said
    assert "eurosat: " in said
    plant("dtd", tmp_path, 1)
    of_size(monkeypatch, "dtd", {"train": 47, "val": 47, "test": 47})
    answer = command("data", "check", "dtd")
    assert (answer.code, answer.err) == (0, "")


REST = ["models: {m: {model: RN50, pretrained: openai}}", "adapter: {shots: [1]}"]


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Path for a configuration; DTD is here, and the weights could be had."""
    monkeypatch.setattr("coder_clip.preflight.thorough._hub_problem", lambda *_: "")
    monkeypatch.setenv("CODER_CLIP_DATA", str(tmp_path))
    plant("dtd", tmp_path, 1)
    return tmp_path / "c.yaml"


def test_a_configuration_check_names_all_that_is_absent(
    tmp_path: Path, command: Callable[..., Any], config: Path
) -> None:
    """One at a time, people would find out fourteen times. Each with the command that gets it."""
    lines(config, ["datasets: {dtd: {texts: names}, eurosat: {}, food101: {}}", *REST])
    answer = command("check", "--config", config)
    assert answer.code == 1
    missing = [
        line
        for line in answer.out.splitlines()
        if line.startswith(("problem: ", "  get", "  by hand"))
    ]
    assert missing == [
        f"problem: data set eurosat, below {tmp_path}/eurosat",
        "  get       2750, split_zhou_EuroSAT.json: coder-clip data get eurosat (0.1 GB)",
        f"problem: data set food101, below {tmp_path}/food-101",
        "  get       images, split_zhou_Food101.json: coder-clip data get food101 (5.0 GB)",
    ]
    assert f"coder-clip data get --config {config}" in answer.out
    assert f"make reproduce CONFIG={config} ONLY_PRESENT=1" in answer.out
    assert "error: 2 problems" in answer.err


def test_a_configuration_check_looks_for_the_images(
    tmp_path: Path, command: Callable[..., Any], config: Path
) -> None:
    """A split file alone, or a folder with half of its images, would stop the run later."""
    lost = tmp_path / "dtd/images/banded/banded_0002.jpg"
    lost.unlink()
    lines(config, ["datasets: {dtd: {texts: names}}", *REST])
    answer = command("check", "--config", config)
    assert answer.code == 1
    assert (
        f"dtd: 1 of 141 images are missing or empty, below {tmp_path}/dtd/images, first "
        "banded/banded_0002.jpg"
    ) in answer.out
    assert "coder-clip data get dtd" in answer.out
    put(lost)
    assert command("check", "--config", config).code == 0


# ---- get


def test_one_that_cannot_be_fetched_keeps_no_other_from_it(
    tmp_path: Path, command: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of fourteen over night, the first is not the only one."""
    plant("dtd", tmp_path, 1)

    def unreachable(urls: list[str], *_: object) -> None:
        raise UserError(f"cannot reach {urls[0]}")

    monkeypatch.setattr("coder_clip.datasets.availability.fetch", unreachable)
    monkeypatch.setenv("CODER_CLIP_DATA", str(tmp_path))
    answer = command("data", "get", "eurosat", "dtd")
    assert answer.code == 1
    assert "eurosat: cannot reach https://" in answer.err
    assert "error: could not be fetched, see above: eurosat" in answer.err
    assert "dtd: not usable" in answer.out, "looked at all the same; of three images a class"


@pytest.fixture
def published_dtd(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Entry:
    """The server has a small DTD: the archive with its images, and the split file."""
    plant("dtd", tmp_path / "made", 1)
    split = tmp_path / "made/dtd/split_zhou_DescribableTextures.json"
    web.files["/split_zhou_DescribableTextures.json"] = split.read_bytes()
    split.unlink()
    archive = tmp_path / "dtd-r1.0.1.tar.gz"
    with tarfile.open(archive, "w:gz", dereference=True) as tar:
        tar.add(tmp_path / "made/dtd", "dtd")
    web.files["/dtd-r1.0.1.tar.gz"] = archive.read_bytes()
    found = of_size(monkeypatch, "dtd", {"train": 47, "val": 47, "test": 47})
    found = served(found, web)
    replace_entry(monkeypatch, found)
    return found


def test_a_list_that_names_an_absent_image_is_at_fault_not_the_archive(
    published_dtd: Entry, web: Web, tmp_path: Path
) -> None:
    """The archive came again at every call, and the image was in none."""
    root = tmp_path / "root"
    get("dtd", root, say=lambda _: None)
    split = root / "dtd/split_zhou_DescribableTextures.json"
    lists = json.loads(split.read_text())
    lists["test"][0][0] = "banded/banded_9999.jpg"
    split.write_text(json.dumps(lists))
    state = look_at("dtd", root)
    assert [d.gives for d in state.get] == [split.name]
    assert (
        f"first banded/banded_9999.jpg; {split.name} lists them, and is not the published file"
        in "".join(state.problems)
    )
    asked = len(web.asked)
    assert get("dtd", root, say=lambda _: None).usable
    assert len(web.asked) == asked + 1


def test_get_brings_a_data_set_to_completion(
    published_dtd: Entry, web: Web, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    said: list[str] = []
    found = get("dtd", root, say=said.append)
    assert found.lines()[0].startswith("dtd: complete")
    assert "Terms: for research" in said[0], "people do not see what they may do with it"
    assert sorted(os.listdir(root)) == ["dtd"]
    assert sorted(os.listdir(root / "dtd")) == [
        "images",
        "labels",
        "split_zhou_DescribableTextures.json",
    ]
    asked = len(web.asked)
    assert get("dtd", root, say=said.append).usable
    assert len(web.asked) == asked, "what is there was fetched again"


def test_get_can_keep_the_archives(published_dtd: Entry, tmp_path: Path) -> None:
    get("dtd", tmp_path / "root", keep=True, say=lambda _: None)
    assert (tmp_path / "root/.downloads/dtd/dtd-r1.0.1.tar.gz").is_file()


def test_get_fetches_only_what_is_missing(published_dtd: Entry, web: Web, tmp_path: Path) -> None:
    """A cluster's images are there, and only the split file is not."""
    plant("dtd", tmp_path / "root", 1)
    (tmp_path / "root/dtd/split_zhou_DescribableTextures.json").unlink()
    found = get("dtd", tmp_path / "root", say=lambda _: None)
    assert found.lines()[0].startswith("dtd: complete")
    assert len(web.asked) == 1


def test_get_goes_on_after_a_failure(
    published_dtd: Entry, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = web.files["/dtd-r1.0.1.tar.gz"]
    web.cut = len(archive) - 100
    # the server goes away in the middle
    monkeypatch.setattr(fetching.time, "sleep", lambda _: web.files.pop("/dtd-r1.0.1.tar.gz", None))
    with pytest.raises(UserError, match="HTTP 404"):
        get("dtd", tmp_path / "root", say=lambda _: None)
    assert not (tmp_path / "root/dtd").exists()
    web.files["/dtd-r1.0.1.tar.gz"], web.cut = archive, None
    assert get("dtd", tmp_path / "root", say=lambda _: None).usable
    assert f"bytes={len(archive) - 100}-" in web.asked


def test_two_calls_at_once_fetch_once(published_dtd: Entry, web: Web, tmp_path: Path) -> None:
    said: list[str] = []
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: get("dtd", tmp_path / "root", say=said.append), range(3)))
    assert all(f.usable for f in found)
    assert len(web.asked) == 2
    assert sorted(os.listdir(tmp_path / "root")) == ["dtd"]
    assert "dtd: another process fetches it; waiting" in said


def test_an_address_that_a_person_gives_comes_first(
    published_dtd: Entry,
    web: Web,
    tmp_path: Path,
    command: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mirror of the university's; the checksum is the published one. One that would not be used
    is refused.
    """
    web.files["/mirror/dtd-r1.0.1.tar.gz"] = web.files.pop("/dtd-r1.0.1.tar.gz")
    monkeypatch.setenv("CODER_CLIP_DATA", str(tmp_path / "root"))
    into = ("data", "get", "dtd", "--url")
    refused = command(*into, f"{web.url}/mirror/dtd.tar.gz")
    files = "dtd-r1.0.1.tar.gz, split_zhou_DescribableTextures.json"
    assert f"dtd.tar.gz: ends in the name of no file that is missing ({files})" in refused.err
    assert not web.asked
    assert command(*into, f"{web.url}/mirror/dtd-r1.0.1.tar.gz").code == 0
    (tmp_path / "root/dtd/split_zhou_DescribableTextures.json").unlink()
    web.files["/drive?id=1"] = web.files.pop("/split_zhou_DescribableTextures.json")
    assert command(*into, f"{web.url}/drive?id=1").code == 0, "the only file that is missing"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"<html>Please log in</html>", "cannot be read"),
        (b"", "cannot be read"),
        (b'{"train": [[', "cannot be read"),
        (b"{}", "has no list 'train'"),
        (b'{"train": [["a.jpg", 0, "cat"]]}', "the file belongs to another data set"),
    ],
)
def test_a_damaged_split_file_is_replaced(
    published_dtd: Entry, web: Web, tmp_path: Path, content: bytes, says: str
) -> None:
    """A web page that a browser saved under its name is not in the way."""
    get("dtd", tmp_path / "root", say=lambda _: None)
    split = tmp_path / "root/dtd/split_zhou_DescribableTextures.json"
    whole = split.read_bytes()
    split.write_bytes(content)
    found = look_at("dtd", tmp_path / "root")
    assert says in found.problems[0]
    assert "coder-clip data get dtd" in "\n".join(found.lines())
    web.failing = [404]
    with pytest.raises(UserError, match="HTTP 404"):
        get("dtd", tmp_path / "root", say=lambda _: None)
    assert split.read_bytes() == content, "a failed download took the old file"
    (
        tmp_path / "root/dtd/images/banded/banded_0002.jpg"
    ).unlink()  # only the right list can show it
    assert get("dtd", tmp_path / "root", say=lambda _: None).usable
    assert split.read_bytes() == whole


def test_archives_in_archives(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caltech-101 comes as a zip with a tar.gz of the images in it."""
    plant("caltech101", tmp_path / "made", 1)
    made = tmp_path / "made/caltech-101"
    with tarfile.open(tmp_path / "inner.tar.gz", "w:gz", dereference=True) as tar:
        tar.add(made / "101_ObjectCategories", "101_ObjectCategories")
    inner = (tmp_path / "inner.tar.gz").read_bytes()
    outer = zip_with(
        tmp_path / "caltech-101.zip",
        ("caltech-101/101_ObjectCategories.tar.gz", inner, 0),
        ("__MACOSX/caltech-101/._101_ObjectCategories.tar.gz", b"fork", 0),
    ).read_bytes()
    web.files = {
        "/caltech-101.zip": outer,
        "/split_zhou_Caltech101.json": (made / "split_zhou_Caltech101.json").read_bytes(),
    }
    found = of_size(monkeypatch, "caltech101", {"train": 100, "val": 100, "test": 100})
    replace_entry(monkeypatch, served(found, web))
    got = get("caltech101", tmp_path / "root", say=lambda _: None)
    assert got.lines()[0].startswith("caltech101: complete")
    assert sorted(os.listdir(tmp_path / "root/caltech-101")) == [
        "101_ObjectCategories",
        "split_zhou_Caltech101.json",
    ]


def test_too_little_room_is_said_before_the_download(
    published_dtd: Entry, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10**6)
    monkeypatch.setattr(availability.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UserError, match=r"dtd needs .* GB more in .* and 1 MB are free"):
        get("dtd", tmp_path / "root", say=lambda _: None)
    assert not web.asked


def test_what_was_downloaded_before_needs_no_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a download that was killed at its end, the disk would be said to be too small for what
    it holds.
    """
    archive = tmp_path / ".downloads/dtd/dtd-r1.0.1.tar.gz.part"
    archive.parent.mkdir(parents=True)
    with archive.open("wb") as stream:
        stream.truncate(500_000_000)  # a hole: takes no room here
    wanted = {"dtd": [d for d in entry("dtd").downloads if d.file == "dtd-r1.0.1.tar.gz"]}
    need = 2.1 * sum(d.gigabytes for d in wanted["dtd"]) - 0.5
    for free, refused in ((need + 0.01, False), (need - 0.01, True)):
        usage = shutil.disk_usage(tmp_path)._replace(free=round(free * 1e9))
        monkeypatch.setattr(availability.shutil, "disk_usage", lambda _, usage=usage: usage)
        with pytest.raises(UserError) if refused else contextlib.nullcontext():
            availability.refuse_small_disk(wanted, tmp_path)


def test_what_only_people_can_get_is_told_by_get_too(tmp_path: Path) -> None:
    found = get("imagenet", tmp_path, say=lambda _: None)
    assert any("https://image-net.org" in line for line in found.lines())
    assert not found.usable


def test_imagenet_from_its_two_official_archives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tar of a tar per class, and one of loose images whose classes are known by their numbers
    alone.
    """
    real = entry("imagenet").model_copy(update={"classes": ["tench", "goldfish"]})
    synsets, labels = imagenet_synsets()[:2], imagenet_val_labels()
    of_class = [
        tar_with(tmp_path / f"{s}.tar", *((f"{s}_{i}.JPEG", jpeg(i)) for i in range(11)), mode="w")
        for s in synsets
    ]
    root = tmp_path / "root"
    root.mkdir()
    tar_with(
        root / "ILSVRC2012_img_train.tar", *((p.name, p.read_bytes()) for p in of_class), mode="w"
    )
    numbers = [n for n, label in enumerate(labels, 1) if label < 2]
    loose = [(f"ILSVRC2012_val_{n:08d}.JPEG", jpeg(7)) for n in numbers]
    tar_with(root / "ILSVRC2012_img_val.tar", *loose, mode="w")
    replace_entry(monkeypatch, real)
    with pytest.raises(
        UserError, match=r"ILSVRC2012_img_val\.tar: checksum .*, published: md5:29b22e"
    ):
        get("imagenet", root, say=lambda _: None)
    hands = [
        h.model_copy(update={"archive": h.archive.model_copy(update={"checksum": None})})
        for h in real.by_hand
        if h.archive
    ]
    replace_entry(monkeypatch, real.model_copy(update={"by_hand": hands}))
    get("imagenet", root, say=lambda _: None)
    data = load_below("imagenet", root)
    assert data.counts == {"train": 2, "val": 20, "test": len(numbers)}
    assert data.missing() == []
    first = data.split("test")
    assert first.ids[0].startswith(f"val/{synsets[0]}/ILSVRC2012_val_")
    assert data.image(first.ids[-1]).size == (8, 8)
    for image, label in zip(first.ids, first.labels.tolist(), strict=True):
        put(tmp_path / "sorted/imagenet" / image)
        assert labels[int(image[-13:-5]) - 1] == label
    sorted_ = load_below("imagenet", tmp_path / "sorted", split="imagenet_val")
    assert sorted_.counts == {"test": len(numbers)}, (
        "without train, where the configuration says so"
    )
    assert sorted_.fingerprint("test") == data.fingerprint("test")
    with pytest.raises(UserError, match="split: imagenet_val"):
        load_below("imagenet", tmp_path / "sorted")


def test_lists_that_a_person_brought_are_not_taken_for_published_ones(
    published_dtd: Entry, tmp_path: Path
) -> None:
    """Only the images are fetched: whose the split file is, nobody knows."""
    split = "split_zhou_DescribableTextures.json"
    get("dtd", tmp_path / "root", say=lambda _: None)
    put(tmp_path / "other/dtd" / split, (tmp_path / "root/dtd" / split).read_bytes())
    found = get("dtd", tmp_path / "other", say=lambda _: None)
    assert found.here[-1].startswith(
        "list of images, sha256, without a published one to compare with: train "
    )


def test_what_may_be_downloaded_comes_and_the_rest_is_told(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The split file alone is no data set; with the images that a person put there, it is complete."""
    name = "stanford_cars"
    made, root, real = tmp_path / "made", tmp_path / "root", entry(name)
    planted = plant(name, made, 1)
    folder, split = real.folders[0], real.splits[0].needs[0]
    web.files["/" + split] = (made / folder / split).read_bytes()
    counts = {s: len(rows) for s, rows in planted.items()}
    rules = [
        r.model_copy(update={"counts": counts, "fingerprints": {}, "sums": {}}) for r in real.splits
    ]
    replace_entry(monkeypatch, served(real, web).model_copy(update={"splits": rules}))
    got = get(name, root, say=lambda _: None)
    assert not got.usable
    assert (root / folder / split).is_file()
    assert got.by_hand == real.by_hand
    for hand in real.by_hand:
        shutil.move(made / folder / hand.gives, root / folder / hand.gives)
    assert look_at(name, root).lines()[0].startswith(f"{name}: complete")
    assert load_below(name, root).missing() == []


@pytest.mark.parametrize("harm", ["checksum", "link", "parent"])
def test_get_keeps_nothing_of_a_wrong_archive(
    published_dtd: Entry, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    """Another file under the address, or one whose author means harm and whose checksum somebody
    took over.
    """
    evil = {
        "link": EVIL_TAR["link out"],
        "parent": EVIL_TAR["hidden parent"],
        "checksum": ("d/x", b"x"),
    }
    web.files["/dtd-r1.0.1.tar.gz"] = tar_with(tmp_path / "evil.tar.gz", evil[harm]).read_bytes()
    if harm != "checksum":
        right = f"sha256:{hashlib.sha256(web.files['/dtd-r1.0.1.tar.gz']).hexdigest()}"
        first, *others = published_dtd.downloads
        changed = [first.model_copy(update={"checksum": right}), *others]
        replace_entry(monkeypatch, published_dtd.model_copy(update={"downloads": changed}))
    with pytest.raises(
        UserError, match="Nothing was kept" if harm == "checksum" else "nothing was unpacked"
    ):
        get("dtd", tmp_path / "root", say=lambda _: None)
    left = set(below(tmp_path / "root"))
    assert left <= {".downloads/dtd/dtd-r1.0.1.tar.gz"}
    assert not [p for p in tmp_path.rglob("*") if p.name in ("evil", "link")]


@pytest.mark.parametrize("given", ["a name", "a configuration", "everything"])
def test_a_check_on_a_fresh_clone_lists_sources_and_terms(
    given: str, command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages send people to this command, which ended with "data/published does not exist"."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "c.yaml"
    file.write_text(
        "{datasets: {dtd_clip: {texts: names}}, data_root: data/published, "
        "models: {m: {model: 'features:true_clip'}}}",
        encoding="utf-8",
    )
    arguments = {
        "a name": ["dtd_clip"],
        "a configuration": ["--config", str(file)],
        "everything": ["--all"],
    }
    answer = command("data", "check", *arguments[given])
    assert answer.code == 1
    assert answer.err == ""
    name = "dtd" if given == "everything" else "dtd_clip"
    of_entry = entry(name)
    assert f"{name}: not usable — {of_entry.title}, data/published/" in answer.out
    assert f"terms     {of_entry.licence}; see {of_entry.homepage}" in answer.out
    assert all(d.url in answer.out for d in of_entry.downloads)
    assert not (tmp_path / "data").exists(), "a check makes no folder"
    (tmp_path / "data").mkdir()
    (tmp_path / "data/published").write_text("")
    refused = command("data", "check", "dtd")
    assert refused.code == 1
    assert "is a file" in refused.err


@pytest.mark.skipif(
    not (SHARED / "data/true_clip").is_dir(), reason="shared features of true CLIP are not here"
)
def test_another_file_in_the_place_of_published_features_is_found_and_replaced(
    command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random numbers as DTD's features passed the check and planned a run."""
    source = SHARED / "data/true_clip/bunnieslala+IMAS@34a935a/caches/dtd"
    folder = tmp_path / "clip_features/dtd"
    folder.mkdir(parents=True)
    for file in ("val_f.pt", "val_l.pt", "test_f.pt", "test_l.pt"):
        (folder / file).write_bytes((source / file).read_bytes())
    split = "split_zhou_DescribableTextures.json"
    (folder / split).write_bytes((SHARED / "data/splits" / split).read_bytes())
    assert look_at("dtd_clip", tmp_path).usable
    assert is_here("dtd_clip", tmp_path)
    whole = torch.load(folder / "val_f.pt", weights_only=True, map_location="cpu")
    torch.save(torch.randn_like(whole.float()), folder / "val_f.pt")
    found = look_at("dtd_clip", tmp_path)
    assert not found.usable
    assert [d.gives for d in found.get] == ["val_f.pt"], "the others are right"
    assert not is_here("dtd_clip", tmp_path), "so no run is planned with it"
    monkeypatch.setenv("CODER_CLIP_DATA", str(tmp_path))
    answer = command("data", "check", "dtd_clip")
    assert answer.code == 1
    assert "val_f.pt is not the published file" in answer.out
