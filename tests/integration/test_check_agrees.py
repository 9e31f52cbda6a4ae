"""`check` and a run agree: what stops a run is refused by check, in one line that names it, and
nothing else is.
"""

from __future__ import annotations

import json
import os
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from coder_clip.datasets.entry import entry
from coder_clip.errors import UserError
from coder_clip.phases import encoder
from coder_clip.pipeline.config import load_config
from coder_clip.preflight.run import before_run
from trees import of_any_lists, plant
from working_copy import changed

pytestmark = pytest.mark.rest

Command = Callable[..., Any]
Patch = pytest.MonkeyPatch
CLASSES = ("cat", "red fox", "wolf")
PHASES = (  # of a run, in its order
    "manifest", "generate-texts", "texts", "image-features", "text-features", "coder", "zero-shot", "confusable-pairs",
    "pair-texts", "pair-features", "rerank", "adapter --shots 1", "evaluation",
)  # fmt: skip


@pytest.fixture
def here(repo: Path, tmp_path: Path, monkeypatch: Patch) -> Path:
    """Photos, texts, a copy of the embedded model and a configuration, with which a run works."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    encoder._loaded.cache_clear()  # the models of all tests have the same path
    encoder._store.cache_clear()
    shutil.copytree(repo / "data/mini", "model")
    for shade, name in enumerate(CLASSES):
        photos(Path("photos") / name.replace(" ", "_"), 80 * shade)
    texts("texts.json", CLASSES)
    configure()
    return tmp_path


def photos(folder: Path, shade: int, n: int = 8, ending: str = "png", mode: str = "RGB") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        Image.new("RGB", (12, 12), (20 * i, shade, 250 - shade)).convert(mode).save(
            folder / f"{i}.{ending}"
        )


def texts(file: str, classes: Any, **more: Any) -> None:
    found = [{"name": c, "attribute": [f"{c} fur", "a tail"]} for c in classes]
    Path(file).write_text(
        json.dumps({"dataset": "mine", "classes": found, **more}), encoding="utf-8"
    )


def pairs(file: str, a: str, b: str) -> None:
    pair = {"a": a, "b": b, "a_not_b": ["a long tail"], "b_not_a": ["a short tail"]}
    Path(file).write_text(json.dumps({"dataset": "mine", "pairs": [pair]}), encoding="utf-8")


def configure(file: str = "c.yaml", **changes: Any) -> None:
    document = {
        "datasets": {"mine": {"root": "photos", "texts": "texts.json", "views": 1}},
        "models": {"small": {"model": "local-dir:model"}},
        "adapter": {"methods": ["tip_adapter"], "shots": [1], "seeds": [1], "betas": [1, 2, 2], "alphas": [1, 2, 2]},
        "evaluation": {"bootstrap": 20, "tsne_images": 20, "text_counts": [1], "draws": 1, "random_draws": 2},
    }  # fmt: skip
    Path(file).write_text(
        json.dumps(changed(document, **changes), ensure_ascii=False), encoding="utf-8"
    )


def run_fails(command: Command, last: str = PHASES[-1], file: str = "c.yaml") -> str:
    """What stops a run up to a phase: the configuration, the checks before the first job, or a
    phase; "" if nothing.
    """
    try:
        config = load_config(file)
        before_run(
            config, Path(file), list(config.datasets), list(config.models), asks=True, here=True
        )
    except UserError as error:
        return f"before: {error}"
    for phase in PHASES[: PHASES.index(last) + 1]:
        if phase == "generate-texts" and config.generator is None:
            continue
        answer = command(*phase.split(), "--config", file)
        if answer.code:
            return f"{phase}: {answer.err}"
    return ""


# ---- what stops a run

Spoil = Callable[[Patch], object]
BROKEN: dict[str, tuple[Spoil, str]] = {}


def broken(says: str) -> Callable[[Spoil], Spoil]:
    """Declare a spoiled set-up; says: a part of the line with which check refuses it."""

    def declare(spoil: Spoil) -> Spoil:
        BROKEN[spoil.__name__.strip("_").replace("_", " ")] = spoil, says
        return spoil

    return declare


def some_image(name: str = "cat", split: str = "test") -> Path:
    from coder_clip.datasets.folder import FolderDataset

    ids = FolderDataset("mine", "photos").split(split).ids
    return Path("photos") / next(i for i in ids if i.startswith(name))


@broken("'cat' is the only class")
def one_class(_: Patch) -> None:
    shutil.rmtree("photos/red_fox")
    shutil.rmtree("photos/wolf")


@broken("'cat' is the only class")
def one_class_listed(_: Patch) -> None:
    configure(datasets__mine__classes=["cat"])


@broken("16 shots, but class 'cat' has 1 training images")
def one_image_per_class_for_16_shots(_: Patch) -> None:
    for path in Path("photos").glob("*/*"):
        if path.stem not in "0":
            path.unlink()
    configure(adapter__shots=[16])


@broken("no val images")
def no_validation_images(_: Patch) -> None:
    for path in Path("photos").glob("*/*"):
        if path.stem not in "01":
            path.unlink()


@broken("no images in class folder photos/empty")
def empty_class_folder(_: Patch) -> None:
    Path("photos/empty").mkdir()


@broken("photos/cat")
def unreadable_class_folder(patch: Patch) -> None:
    close(patch, "photos/cat")


@broken("file name is not valid Unicode")
def a_class_folder_with_a_name_that_is_no_unicode(_: Patch) -> None:
    """As an old zip file makes it."""
    os.rename("photos/cat", b"photos/\xff")


@broken("photos")
def unreadable_folder(patch: Patch) -> None:
    close(patch, "photos")


def close(patch: Patch, folder: str) -> None:
    """Answer as a folder without permission does, to root, too."""
    scandir, listdir = os.scandir, os.listdir
    closed = Path(folder).absolute()

    def refuse(path: Any) -> None:
        if Path(path).absolute() == closed:
            raise PermissionError(13, "Permission denied", str(path))

    patch.setattr(os, "scandir", lambda path=".": (refuse(path), scandir(path))[1])
    patch.setattr(os, "listdir", lambda path=".": (refuse(path), listdir(path))[1])


@broken("photos/wolf/")
def unreadable_image_file(patch: Patch) -> None:
    closed, opened = some_image("wolf").absolute(), open

    def refuse(path: Any, *more: Any, **options: Any) -> Any:
        if isinstance(path, (str, Path)) and Path(path).absolute() == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *more, **options)

    patch.setattr("builtins.open", refuse)
    patch.setattr("io.open", refuse)


@broken("two files are called")
def an_image_in_two_unicode_forms(_: Patch) -> None:
    for form in ("NFC", "NFD"):
        shutil.copy(
            "photos/cat/1.png", Path("photos/cat") / f"{unicodedata.normalize(form, 'é')}.png"
        )


@broken("leads to")
def a_link_to_another_class(_: Patch) -> None:
    Path("photos/cat/more").symlink_to("../wolf")


@broken("image cannot be read: photos/cat/")
def a_jpeg_cut_in_half(_: Patch) -> None:
    for path in list(Path("photos/cat").iterdir()):
        replace(path, ".jpg")
    path = some_image()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@broken("image cannot be read: photos/cat/")
def an_empty_image(_: Patch) -> None:
    some_image().write_bytes(b"")


@broken("not an image")
def a_text_file_with_the_name_of_an_image(_: Patch) -> None:
    some_image().write_text("see the other folder\n")


@broken("image file cannot be read: photos/cat/")
def a_link_to_nowhere(_: Patch) -> None:
    path = some_image()
    path.unlink()
    path.symlink_to("/nowhere.png")


def replace(path: Path, ending: str, **options: Any) -> Path:
    new = path.with_suffix(ending)
    path.unlink()
    Image.effect_noise((60, 60), 90).convert("RGB").save(new, **options)
    return new


@broken("image cannot be read: photos/cat/")
def a_png_with_damaged_pixels(_: Patch) -> None:
    """Header and end are whole."""
    path = some_image()
    Image.effect_noise((200, 200), 90).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)


@pytest.mark.parametrize("ending", [".bmp", ".tif", ".gif", ".webp"])
def test_an_image_of_another_format_that_was_cut_off(
    here: Path, command: Command, ending: str
) -> None:
    """Only JPEG and PNG have an end that can be looked for."""
    Path("photos/cat/0.png").unlink()
    for i in range(1, 8):
        path = replace(Path(f"photos/cat/{i}.png"), ending)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    agree(command, "image cannot be read: photos/cat/")


@broken("float pixels")
def an_image_of_unknown_range(_: Patch) -> None:
    for path in list(Path("photos/cat").iterdir()):
        path.unlink()
        Image.new("F", (12, 12), 1e6).save(path.with_suffix(".tif"))


@broken("none of 6 images of 'test' can be read")
def all_test_images_damaged_with_skip(_: Patch) -> None:
    from coder_clip.datasets.folder import FolderDataset

    for image in FolderDataset("mine", "photos").split("test").ids:
        Path("photos", image).write_bytes(b"no image")
    configure(features__on_error="skip")


@broken("none of 3 images of 'shots' can be read")
def all_shots_damaged_with_skip(_: Patch) -> None:
    from coder_clip.datasets.folder import FolderDataset

    for image in FolderDataset("mine", "photos").split("train").ids:
        Path("photos", image).write_bytes(b"no image")
    configure(features__on_error="skip")


@broken("texts.json")
def texts_for_other_classes(_: Patch) -> None:
    texts("texts.json", ["dog", "red fox", "wolf"])


@broken("texts.json")
def texts_that_are_no_json(_: Patch) -> None:
    Path("texts.json").write_text("{'dataset': ")


@broken("no text set nowhere.json")
def no_text_set(_: Patch) -> None:
    configure(datasets__mine__texts="nowhere.json")


@broken("nowhere.json")
def no_pairs_for_the_rerank(_: Patch) -> None:
    configure(datasets__mine__one_to_one="nowhere.json")


@broken("class 'dog' is not in the data set")
def pairs_of_other_classes(_: Patch) -> None:
    pairs("pairs.json", "cat", "dog")
    configure(datasets__mine__one_to_one="pairs.json")


@broken("'cat' has index 1")
def a_class_list_of_another_order_in_pairs(_: Patch) -> None:
    pair = {
        "a": "cat",
        "b": "wolf",
        "a_index": 1,
        "b_index": 2,
        "a_not_b": ["fur"],
        "b_not_a": ["a tail"],
    }
    Path("pairs.json").write_text(json.dumps({"dataset": "mine", "pairs": [pair]}))
    configure(datasets__mine__one_to_one="pairs.json")


@broken("open_clip_model.safetensors")
def weights_cut_off(_: Patch) -> None:
    path = Path("model/open_clip_model.safetensors")
    path.write_bytes(path.read_bytes()[:100_000])


@broken("values that are no finite numbers")
def weights_of_nan(_: Patch) -> None:
    path = "model/open_clip_model.safetensors"
    state = load_file(path)
    name = sorted(state)[0]
    state[name] = state[name] * float("nan")
    save_file(state, path)


@broken("bpe.txt.gz is empty")
def an_empty_tokenizer(_: Patch) -> None:
    """All numbers would be wrong, and nothing would say so."""
    Path("model/bpe.txt.gz").write_bytes(b"")


@broken("a file of local-dir:model was cut off")
def a_tokenizer_cut_off(_: Patch) -> None:
    path = Path("model/bpe.txt.gz")
    path.write_bytes(path.read_bytes()[:500])


@broken("did you mean 'openai'")
def an_unknown_tag(_: Patch) -> None:
    configure(models__small={"model": "ViT-B-32", "pretrained": "opnai"})


@broken("hf download nobody/nothing")
def weights_of_the_hub_without_network(_: Patch) -> None:
    configure(models__small={"model": "hf-hub:nobody/nothing"})


@broken("cuda:7")
def a_gpu_that_is_not_here(patch: Patch) -> None:
    patch.setattr("torch.cuda.device_count", lambda: 0)
    configure(features__device="cuda:7")


@broken("results cannot be written")
def results_is_a_file(_: Patch) -> None:
    Path("results").touch()


@broken("results cannot be written")
def results_cannot_be_written(patch: Patch) -> None:
    from tempfile import TemporaryFile

    def refuse(dir: Any = None, **more: Any) -> Any:
        if dir is not None:
            raise PermissionError(13, "Permission denied")
        return TemporaryFile(**more)

    patch.setattr("tempfile.TemporaryFile", refuse)


@broken("results cannot be written to results")
def results_is_a_link_to_nowhere(_: Patch) -> None:
    Path("results").symlink_to("/nowhere/results")


@broken("are free")
def a_full_disk(patch: Patch) -> None:
    usage = shutil.disk_usage(".")._replace(free=1000)
    patch.setattr("shutil.disk_usage", lambda _: usage)


@broken("OPENAI_API_KEY")
def no_key_for_a_language_model(_: Patch) -> None:
    configure(datasets__mine__texts={"attribute": "llm"}, generator={"model": "gpt-4o-mini"})


@broken("did you mean 'adapter'")
def a_slip_in_a_key(_: Patch) -> None:
    configure(adaptor={})


def eurosat(patch: Patch, **more: Any) -> dict[str, Any]:
    """A published data set; returns its split file."""
    patch.setenv("CODER_CLIP_DATA", "root")
    plant("eurosat", Path("root"), 2)
    of_any_lists(patch, entry("eurosat"))
    configure(datasets={"eurosat": {"texts": "names", "views": 1}}, **more)
    return dict(json.loads(SPLIT.read_text()))


SPLIT = Path("root/eurosat/split_zhou_EuroSAT.json")


@broken("nowhere, the folder of all data sets, does not exist")
def no_folder_of_data_sets(patch: Patch) -> None:
    eurosat(patch)
    patch.setenv("CODER_CLIP_DATA", "nowhere")


@broken("checksum md5:")
def an_archive_with_another_checksum(patch: Patch) -> None:
    """Someone put it there, or an earlier version fetched it."""
    patch.setenv("CODER_CLIP_DATA", "root")
    patch.setattr("coder_clip.preflight.quick_checks.refusal", lambda _: "")
    archive = next(d for d in entry("eurosat").downloads if d.unpack)
    path = Path("root/.downloads/eurosat") / archive.file
    path.parent.mkdir(parents=True)
    path.write_bytes(b"another")
    configure(datasets={"eurosat": {"texts": "names", "views": 1}}, fetch=True)


@broken("1 of 60 images are missing or empty")
def a_split_file_with_an_image_that_is_not_here(patch: Patch) -> None:
    split = eurosat(patch)
    split["train"][0][0] = split["train"][0][0].replace(".jpg", "0000.jpg")
    SPLIT.write_text(json.dumps(split))


@broken("cannot read folder root/eurosat/2750/Forest: Permission denied")
def an_unreadable_folder_of_a_published_data_set(patch: Patch) -> None:
    eurosat(patch)
    close(patch, "root/eurosat/2750/Forest")


@broken("label 10 is outside 0 to 9")
def a_split_file_with_a_label_out_of_range(patch: Patch) -> None:
    split = eurosat(patch)
    split["test"][0][1] = 10
    SPLIT.write_text(json.dumps(split))


@pytest.mark.parametrize("name", BROKEN)
def test_what_stops_a_run_is_refused_by_check(
    here: Path, command: Command, monkeypatch: Patch, name: str
) -> None:
    """Else a run ends after hours, or is not started though it would work."""
    spoil, says = BROKEN[name]
    spoil(monkeypatch)
    agree(command, says)


def agree(command: Command, says: str) -> None:
    stops = run_fails(command)
    shutil.rmtree("results", ignore_errors=True)
    answer = command("check", "--config", "c.yaml")
    assert answer.code == 1, f"a run stops: {stops}"
    assert stops, f"a run works, and check says: {answer.err}"
    assert "Traceback" not in answer.err + stops
    assert any(says in line for line in (answer.out + answer.err).splitlines()), (
        answer.out + answer.err
    )


# ---- what is unusual and right

RIGHT: dict[str, Spoil] = {}


def right(arrange: Spoil) -> Spoil:
    RIGHT[arrange.__name__.replace("_", " ")] = arrange
    return arrange


@right
def spaces_and_umlauts(_: Patch) -> None:
    Path("photos").rename("meine Bilder")
    Path("meine Bilder/cat").rename("meine Bilder/Kätzchen & Söhne")
    texts("texts.json", ["Kätzchen & Söhne", *CLASSES[1:]])
    configure(datasets__mine__root="meine Bilder")


@right
def upper_case_endings(_: Patch) -> None:
    for path in list(Path("photos").glob("*/*.png")):
        path.rename(path.with_suffix(".PNG"))


@right
def a_linked_folder(_: Patch) -> None:
    Path("photos/cat").rename("cats")
    Path("photos/cat").symlink_to("../cats")
    Path("photos").rename("elsewhere")
    Path("photos").symlink_to("elsewhere")
    Path("elsewhere/cat").unlink()
    Path("elsewhere/cat").symlink_to("../cats")


@right
def images_of_other_modes(_: Patch) -> None:
    for name, mode, ending in (
        ("cat", "L", "jpg"),
        ("red_fox", "P", "gif"),
        ("wolf", "CMYK", "jpg"),
    ):
        shutil.rmtree(f"photos/{name}")
        photos(Path("photos") / name, 90, ending=ending, mode=mode)
    photos(Path("photos/cat"), 90, n=3, ending="tif", mode="1")
    photos(Path("photos/cat"), 90, n=3, ending="bmp")


@right
def one_validation_image_per_class(_: Patch) -> None:
    for path in Path("photos").glob("*/*"):
        if path.stem not in "012345":
            path.unlink()


@right
def names_alone(_: Patch) -> None:
    texts("texts.json", [])
    Path("texts.json").write_text(
        json.dumps({"dataset": "mine", "classes": [{"name": c} for c in CLASSES]})
    )


@right
def absolute_paths(_: Patch) -> None:
    root = {
        "root": str(Path("photos").absolute()),
        "texts": str(Path("texts.json").absolute()),
        "views": 1,
    }
    model = f"local-dir:{Path('model').absolute()}"
    configure(datasets={"mine": root}, models__small__model=model)


@right
def files_of_other_programs_beside_images(_: Patch) -> None:
    for folder in (Path("photos"), Path("photos/cat")):
        for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png", "notes.txt"):
            (folder / name).write_bytes(b"\0\1")
    Path("photos/.git").mkdir()
    Path("photos/__MACOSX").mkdir()


@right
def a_configuration_from_windows(_: Patch) -> None:
    Path("c.yaml").write_bytes(
        b"\xef\xbb\xbf" + Path("c.yaml").read_bytes().replace(b"}", b"}\r\n")
    )
    Path("texts.json").write_bytes(
        b"\xef\xbb\xbf" + Path("texts.json").read_bytes().replace(b"]", b"]\r\n")
    )


@right
def a_damaged_file_of_cached_features(_: Patch) -> None:
    folder = Path("cache/coder-clip/features-2")
    folder.mkdir(parents=True)
    (folder / "encoders").touch()


@right
def data_that_cannot_be_written(patch: Patch) -> None:
    from tempfile import TemporaryFile

    def refuse(dir: Any, **more: Any) -> Any:
        assert "photos" not in str(dir)
        return TemporaryFile(dir=dir, **more)

    patch.setattr("tempfile.TemporaryFile", refuse)
    for path in (*Path("photos").rglob("*"), Path("photos")):
        path.chmod(0o555)


@right
def classes_that_differ_in_case(_: Patch) -> None:
    photos(Path("photos/Cat"), 17)
    texts("texts.json", [*CLASSES, "Cat"])


@right
def one_test_image_skipped(_: Patch) -> None:
    some_image().write_bytes(b"no image")
    configure(features__on_error="skip")


@right
def a_published_data_set_with_a_missing_image_skipped(patch: Patch) -> None:
    eurosat(patch, features__on_error="skip")
    next(Path("root/eurosat/2750/Forest").iterdir()).unlink()


@right
def shots_that_repeat(_: Patch) -> None:
    configure(adapter__shots=[1, 16], adapter__repeat_shots=True)


@right
def names_with_marks_and_emoji(_: Patch) -> None:
    name = 'it\'s "a", cat: 🐈 {x} $HOME'
    Path("photos/cat").rename(f"photos/{name}")
    for path, new in zip(
        sorted(Path("photos/wolf").iterdir()), ("a\nb", "#%25", "-x", "{y}", "🐈"), strict=False
    ):
        path.rename(path.with_stem(new))
    texts("texts.json", [name, *CLASSES[1:]])


@right
def tiny_images_and_ribbons(_: Patch) -> None:
    for path in Path("photos/cat").iterdir():
        Image.new("RGB", (1, 1) if path.stem in "0123" else (3000, 1), (9, 9, 9)).save(path)


@right
def no_test_images_of_a_class(_: Patch) -> None:
    Path("photos").rename("some")
    for split in ("train", "val", "test"):
        shutil.copytree("some", f"photos/{split}")
    shutil.rmtree("photos/test/cat")


@right
def only_test_images(_: Patch) -> None:
    Path("photos").rename("test")
    Path("photos").mkdir()
    Path("test").rename("photos/test")


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_unusual_and_right_passes(
    here: Path, command: Command, monkeypatch: Patch, name: str
) -> None:
    """Else people are kept from runs that work."""
    RIGHT[name](monkeypatch)
    answer = command("check", "--config", "c.yaml")
    assert answer.code == 0, answer.out + answer.err
    assert not run_fails(command, "image-features"), (
        "the phases after it see neither images nor texts' files"
    )
