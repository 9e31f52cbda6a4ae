"""`check` and a run agree: what stops a run is refused by check, in one line that names it, and
nothing else is.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from coder_clip.datasets.entry import entry
from coder_clip.datasets.folder import FolderDataset
from coder_clip.errors import UserError
from coder_clip.phases import encoder
from coder_clip.pipeline.config import load_config
from coder_clip.preflight.check import Run, before_run
from trees import of_any_lists, plant
from working_copy import changed

pytestmark = pytest.mark.rest

Command = Callable[..., Any]
Patch = pytest.MonkeyPatch
CLASSES = ("cat", "red fox", "wolf")
PHASES = (  # of a run, in its order
    "manifest", "texts", "image-features", "text-features", "coder", "zero-shot", "confusable-pairs",
    "pair-texts", "pair-features", "rerank", "adapter --shots 1", "evaluation",
)  # fmt: skip
WEIGHTS = Path("model/open_clip_model.safetensors")


@pytest.fixture
def here(repo: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    """Photos, texts, a copy of the embedded model and a configuration, with which a run works."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CODER_CLIP_DATA", "root")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    encoder._loaded.cache_clear()  # the models of all tests have the same path
    encoder._store.cache_clear()
    shutil.copytree(repo / "data/mini", "model")
    for name in CLASSES:
        photos(name.replace(" ", "_"))
    texts(CLASSES)
    configure()


def photos(name: str, ending: str = "png", mode: str = "RGB") -> None:
    """Replace the images of a class."""
    folder = Path("photos", name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for i in range(8):
        image = Image.new("RGB", (60, 60), (20 * i, len(name) * 9, 90))
        image.convert(mode).save(folder / f"{i}.{ending}")


def texts(classes: Iterable[str]) -> None:
    found = [{"name": c, "attribute": [f"{c} fur", "a tail"]} for c in classes]
    write("texts.json", {"dataset": "mine", "classes": found})


def pairs(a: str, b: str) -> None:
    pair = {"a": a, "b": b, "a_not_b": ["a long tail"], "b_not_a": ["a short tail"]}
    write("pairs.json", {"dataset": "mine", "pairs": [pair]})
    configure(datasets__mine__one_to_one="pairs.json")


def write(file: str, document: Any) -> None:
    Path(file).write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def configure(**changes: Any) -> None:
    document = {
        "datasets": {"mine": {"root": "photos", "texts": "texts.json", "views": 1}},
        "models": {"small": {"model": "local-dir:model"}},
        "adapter": {"methods": ["tip_adapter"], "shots": [1], "seeds": [1], "betas": [1, 2, 2], "alphas": [1, 2, 2]},
        "evaluation": {"tsne_images": 20, "text_counts": [1], "draws": 1, "random_draws": 2},
    }  # fmt: skip
    write("c.yaml", changed(document, **changes))


def images(split: str) -> list[Path]:
    return [Path("photos", i) for i in FolderDataset("mine", "photos").split(split).ids]


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoil_all(split: str) -> None:
    for path in images(split):
        path.write_bytes(b"no image")
    configure(features__on_error="skip")


def keep(names: str) -> None:
    """Leave the images of these names in each class."""
    for path in Path("photos").glob("*/*"):
        if path.stem not in names:
            path.unlink()


def close(patch: Patch, folder: str) -> None:
    """Answer as a folder without permission does, to root, too."""
    closed = Path(folder).absolute()

    def refusing(read: Callable[..., Any]) -> Callable[..., Any]:
        def answer(path: Any = ".") -> Any:
            if Path(path).absolute() == closed:
                raise PermissionError(13, "Permission denied", str(path))
            return read(path)

        return answer

    for name in ("scandir", "listdir"):
        patch.setattr(os, name, refusing(getattr(os, name)))


def damage(path: Path) -> None:
    """Header and end stay whole."""
    Image.effect_noise((200, 200), 90).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


def fill_disk(patch: Patch) -> None:
    usage = shutil.disk_usage(".")._replace(free=1000)
    patch.setattr("shutil.disk_usage", lambda _: usage)


def eurosat(patch: Patch, **more: Any) -> Path:
    """A published data set in place of the photos; one of its images."""
    plant("eurosat", Path("root"), 2)
    of_any_lists(patch, entry("eurosat"))
    configure(datasets={"eurosat": {"texts": "names", "views": 1}}, **more)
    return next(Path("root/eurosat/2750/Forest").iterdir())


def other_archive(patch: Patch) -> None:
    """Someone put it there, or an earlier version fetched it."""
    patch.setattr("coder_clip.preflight.quick.refusal", lambda _: "")
    archive = next(d for d in entry("eurosat").downloads if d.unpack)
    path = Path("root/.downloads/eurosat") / archive.file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"another")
    configure(datasets={"eurosat": {"texts": "names", "views": 1}}, fetch=True)


def link_away(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nowhere.png")


BROKEN: dict[str, Callable[[Patch], object]] = {  # words of check -> what stops a run
    "'cat' is the only class": lambda _: configure(datasets__mine__classes=["cat"]),
    "file name is not valid Unicode": lambda _: os.rename("photos/cat", b"photos/\xff"),
    "cannot read folder photos: Permission": lambda patch: close(patch, "photos"),
    "two files are called": lambda _: [
        shutil.copy("photos/cat/1.png", f"photos/cat/{name}.png") for name in ("é", "e\u0301")
    ],
    "image file cannot be read: photos/": lambda _: link_away(images("test")[0]),
    "image cannot be read: photos/": lambda _: damage(images("test")[0]),
    "none of 6 images of 'test' can be read": lambda _: spoil_all("test"),
    "none of 3 images of 'shots' can be read": lambda _: spoil_all("train"),
    "texts.json": lambda _: texts(["dog", "red fox", "wolf"]),
    "nowhere.json": lambda _: configure(datasets__mine__one_to_one="nowhere.json"),
    "class 'dog' is not in the data set": lambda _: pairs("cat", "dog"),
    "open_clip_model.safetensors": lambda _: halve(WEIGHTS),
    "bpe.txt.gz is empty": lambda _: Path("model/bpe.txt.gz").write_bytes(b""),
    "a file of local-dir:model was cut off": lambda _: halve(Path("model/bpe.txt.gz")),
    "results cannot be written": lambda _: Path("results").symlink_to("/nowhere/results"),
    "is not 'results' or 'results/NAME'": lambda _: configure(results="photos/results"),
    "are free": fill_disk,
    "OPENAI_API_KEY": lambda _: configure(
        datasets__mine__texts={"attribute": "llm"}, generator={"model": "gpt-4o-mini"}
    ),
    "checksum md5:": other_archive,
}  # fmt: skip


def test_the_prepared_run_works(here: None, command: Command) -> None:
    assert run_fails(command) == ""


@pytest.mark.parametrize("says", BROKEN)
def test_what_stops_a_run_is_refused_by_check(
    here: None, command: Command, monkeypatch: Patch, says: str
) -> None:
    """Else a run ends after hours, or is not started though it would work."""
    BROKEN[says](monkeypatch)
    refused_by_both(command, says)


@pytest.mark.parametrize("ending", ["jpg", "bmp", "tif", "gif", "webp"])
def test_an_image_that_was_cut_off(here: None, command: Command, ending: str) -> None:
    """Only JPEG and PNG have an end that can be looked for."""
    photos("cat", ending)
    halve(next(path for path in images("test") if path.suffix == f".{ending}"))
    refused_by_both(command, "image cannot be read: photos/cat/")


def refused_by_both(command: Command, says: str) -> None:
    stops = run_fails(command)
    shutil.rmtree("results", ignore_errors=True)
    answer = command("check", "--config", "c.yaml")
    said = answer.out + answer.err
    assert answer.code == 1, f"a run stops: {stops}"
    assert stops, f"a run works, and check says: {said}"
    assert "Traceback" not in said + stops
    assert any(says in line for line in said.splitlines()), said


def run_fails(command: Command, last: str = PHASES[-1]) -> str:
    """What stops a run up to a phase: the configuration, the checks before the first job, or a
    phase; "" if nothing.
    """
    try:
        config = load_config("c.yaml")
        names = list(config.datasets), list(config.models)
        before_run(Run(config, Path("c.yaml"), *names, asks=True, here=True))
    except UserError as error:
        return f"before: {error}"
    for phase in PHASES[: PHASES.index(last) + 1]:
        answer = command(*phase.split(), "--config", "c.yaml")
        if answer.code:
            return f"{phase}: {answer.err}"
    return ""


def names_of_any_kind(_: Patch) -> None:
    name = 'Kätzchen & it\'s "a": 🐈 {x} $HOME'
    Path("photos/cat").rename(f"photos/{name}")
    for i, new in enumerate(("a\nb", "#%25", "-x", "{y}", "🐈", ".DS_Store")):
        Path(f"photos/wolf/{i}.png").rename(f"photos/wolf/{new}.png")
    texts([name, *CLASSES[1:]])


def links(_: Patch) -> None:
    Path("photos/cat").rename("cats")
    Path("photos").rename("elsewhere")
    Path("elsewhere/cat").symlink_to("../cats")
    Path("photos").symlink_to("elsewhere")


def other_modes(_: Patch) -> None:
    photos("cat", "jpg", "CMYK")
    photos("red_fox", "gif", "P")
    photos("wolf", "TIF", "1")
    Image.new("RGB", (1, 1)).save("photos/cat/1.jpg")
    Image.new("RGB", (3000, 1)).save("photos/cat/2.jpg")


def from_windows(_: Patch) -> None:
    for name in ("c.yaml", "texts.json"):
        content = Path(name).read_bytes().replace(b"}", b"}\r\n")
        Path(name).write_bytes(b"\xef\xbb\xbf" + content)


def split_folders(_: Patch) -> None:
    """And a class that has no test images."""
    Path("photos").rename("some")
    for split in ("train", "val", "test"):
        shutil.copytree("some", f"photos/{split}")
    shutil.rmtree("photos/test/cat")


RIGHT: dict[str, Callable[[Patch], object]] = {
    "names of any kind": names_of_any_kind,
    "links": links,
    "other modes and sizes": other_modes,
    "one validation image of a class": lambda _: keep("012345"),
    "files from Windows": from_windows,
    "split folders": split_folders,
    "a test image skipped": lambda _: (
        images("test")[0].write_bytes(b"no image"),
        configure(features__on_error="skip"),
    ),
    "a missing image skipped": lambda patch: eurosat(patch, features__on_error="skip").unlink(),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_unusual_and_right_passes(
    here: None, command: Command, monkeypatch: Patch, name: str
) -> None:
    """Else people are kept from runs that work."""
    RIGHT[name](monkeypatch)
    answer = command("check", "--config", "c.yaml")
    assert answer.code == 0, answer.out + answer.err
    assert run_fails(command, "image-features") == "", "later phases see no images"
