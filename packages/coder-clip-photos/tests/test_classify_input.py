"""`coder-clip classify`: what people have in folders and lists, mistakes, and no network."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from PIL import Image

from coder_clip.datasets import decoding
from coder_clip.datasets.images import read_image
from coder_clip.errors import UserError

Command = Callable[..., Any]


def test_a_pipe_is_refused_and_one_in_a_folder_is_left_out(classify: Command, folder: Path) -> None:
    """Reading it would wait for ever."""
    os.mkfifo(folder / "pipe.jpg")
    answer = classify(folder / "pipe.jpg")
    assert answer.code == 1
    assert "pipe.jpg is a pipe or device" in answer.err
    answer = classify(folder)
    assert answer.code == 0
    assert (
        f"left out: {folder}/pipe.jpg: a folder, pipe, socket or device, not a file" in answer.err
    )
    assert len(answer.out.splitlines()) == 1 + 4


def test_a_name_that_is_no_unicode_stops_no_folder_and_no_list(
    classify: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One old file from another system stopped all photos; written as it is, its name would stop
    the output.
    """
    bad = os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png")
    Image.new("RGB", (9, 9)).save(bad)
    said = f"left out: {folder}/caf\\udce9.png: its name is not valid Unicode: rename it"
    answer = classify(folder)
    assert answer.code == 0
    assert len(answer.out.splitlines()) == 1 + 4
    assert answer.err.splitlines()[-1] == said
    given = os.fsencode(folder / "a.png") + b"\0" + os.fsencode(bad) + b"\0"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
    answer = classify("-")
    assert answer.code == 1, "it was named"
    assert len(answer.out.splitlines()) == 1 + 1
    assert said in answer.err


def test_files_of_other_kinds_are_counted(classify: Command, folder: Path) -> None:
    """A folder of drawings and raw photos looked as if it had been classified whole."""
    for name in ("a.svg", "b.SVG", "below/c.svg", "d.pdf", "LICENSE", ".hidden.svg", "Thumbs.db"):
        (folder / name).write_bytes(b"")
    said = classify(folder).err.splitlines()
    assert "left out by ending: 3 .svg, 1 without ending, 1 .pdf, 1 .txt" in said
    for i in range(20):
        (folder / f"x.{i}").write_bytes(b"")
    said = classify(folder).err.splitlines()
    (line,) = [line for line in said if line.startswith("left out by ending: 3 .svg, 1 ")]
    assert line.endswith(" and 14 more")
    for name in ("a.png", "b.jpg", "below/a.png", "below/c.webp"):
        (folder / name).unlink()
    error = classify(folder).err
    assert "no images in folder" in error
    assert "left out by ending: 3 .svg" in error


def test_broken_photos_are_listed_and_decide_the_status_only_where_they_were_named(
    classify: Command, folder: Path
) -> None:
    (folder / "broken.jpg").write_bytes(b"")
    (folder / "gone.jpg").symlink_to(folder / "nowhere")
    answer = classify(folder)
    assert answer.code == 0
    assert answer.err.splitlines()[-2:] == [
        f"left out: {folder}/broken.jpg: not an image, or a format that Pillow does not know",
        f"left out: {folder}/gone.jpg: the link points nowhere",
    ]
    answer = classify(folder / "a.png", folder / "broken.jpg")
    assert answer.code == 1
    assert len(answer.out.splitlines()) == 1 + 1
    alone = folder.parent / "alone"
    alone.mkdir()
    (folder / "broken.jpg").rename(alone / "broken.jpg")
    assert classify(alone).code == 1, "no photo can be read"


def test_a_folder_below_that_cannot_be_read_is_listed(
    classify: Command, folder: Path, closed: Callable[[Path], None]
) -> None:
    closed(folder / "below")
    answer = classify(folder)
    assert answer.code == 0
    assert len(answer.out.splitlines()) == 1 + 2
    assert answer.err.splitlines()[-1] == f"left out: {folder}/below: Permission denied"
    answer = classify(folder / "below")
    assert answer.code == 1
    assert (
        f"no images in folder {folder}/below; cannot read {folder}/below: Permission denied"
        in answer.err
    )


@pytest.mark.parametrize("between", ["\n", "\0"])
def test_a_list_of_photos_on_standard_input(
    classify: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, between: str
) -> None:
    names = [str(folder / "b.jpg"), str(folder / "a.png"), str(folder / "b.jpg")]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\ufeff" + between.join(names) + between))
    rows = list(csv.DictReader(io.StringIO(classify("-", "--format", "csv").out)))
    assert [r["image"] for r in rows] == names[:2]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--classes", "cat"], "'cat' is the only class"),
        (["--classes", "cat,,dog"], "a class name is empty"),
        (["--classes", "cat,None of these"], "'none of these' is what a photo without a class"),
        (["--classes", "cat,\u202edog"], "class name '\\u202edog': remove the control character"),
        (["--classes", "cat,dog", "--none-below", "nan"], "--none-below nan: give a number"),
        (
            ["--classes", "cats/dogs,cats:dogs", "--copy-to", "sorted"],
            "'cats/dogs' and 'cats:dogs' would have one folder",
        ),
        (["--classes", "Red fox,red Fox"], "'Red fox' and 'red Fox' differ only in case"),
        (["--classes-file", "/dev/null"], "no class names"),
        (["--classes", "cat,dog", "--texts", "x.json"], "--classes and --texts: give one of them"),
        ([], "which classes?"),
        (["--texts", "nowhere.json"], "no text set nowhere.json"),
        (["--classes-file", "foxes.json"], "a text set is given as --texts"),
        (["--classes", "cat,dog", "--model", "/nowhere/model"], "no model folder /nowhere/model"),
        (["--classes-file", "nowhere.txt"], "class names cannot be read: nowhere.txt"),
        (["--classes", "cat,dog", "--method", "clip"], "--method chooses something of a run"),
        (["--run", "nowhere"], "no such folder"),
        (["--run", ".", "--classes", "cat,dog"], "--classes and --run"),
        (["--classes", "caf\u00e9,cafe\u0301"], "'caf\u00e9' is given twice"),
        (["--classes", "red fox,red_fox,a,a"], "'red fox' is given twice; 'a' is given twice"),
        (["--classes", 'cat,"shark, great white'], 'class names cat,"shark, great white: '),
        (["--run", "."], "no config/*.yaml above this folder made one there"),
        (["--classes", "cat,dog", "--model", "ViT-B-23"], "did you mean 'ViT-B-32'"),
        (
            ["--classes", "cat,dog", "--out", "x.xlsx"],
            "--out x.xlsx: end it in .csv, .json, .jsonl or .txt",
        ),
        (
            ["--classes", "cat,dog", "--format", "csv", "--out", "cat.JPG"],
            "--out cat.JPG: this ending is a photo's; end it in",
        ),
    ],
)
def test_what_cannot_be_done_is_one_line(
    command: Command, folder: Path, model: Path, arguments: list[str], says: str
) -> None:
    given = (
        arguments if {"--model", "--run"} & set(arguments) else [*arguments, "--model", str(model)]
    )
    answer = command("classify", folder, *given)
    assert answer.code == 1
    assert "Traceback" not in answer.err
    assert answer.out == ""
    assert says in answer.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("nowhere.jpg", "no file or folder nowhere.jpg"),
        (".", "no images in folder ."),
        (
            "https://example.org/a.jpg",
            "https://example.org/a.jpg is an address: download the photo",
        ),
    ],
)
def test_photos_that_are_not_there(classify: Command, folder: Path, place: str, says: str) -> None:
    answer = classify(place)
    assert answer.code == 1
    assert says in answer.err


@pytest.mark.parametrize("from_file", [False, True])
def test_a_name_may_hold_a_comma_and_a_list_may_begin_with_a_mark(
    command: Command, folder: Path, model: Path, tmp_path: Path, from_file: bool
) -> None:
    """ "shark" and "great white" became two classes; Windows' mark became a part of the first
    name.
    """
    options = ["--classes", '\ufeffcat, "shark, great white",cafe\u0301,red fox']
    if from_file:
        (tmp_path / "classes.txt").write_text(
            '\ufeffcat\n\n# mine\n"shark, great white"\ncafe\u0301\nred fox\n', encoding="utf-8"
        )
        options = ["--classes-file", str(tmp_path / "classes.txt")]
    answer = command(
        "classify", folder, *options, "--model", model, "--top", "9", "--format", "jsonl"
    )
    assert answer.code == 0, answer.err
    names = {name for name, _ in json.loads(answer.out.splitlines()[0])["top"]}
    assert names == {"cat", "shark, great white", "caf\u00e9", "red fox"}


# ---- without network


# two of them wait for four seconds each
SLOW = [pytest.param(name, marks=pytest.mark.rest) for name in ("silent", "no name server")]


@pytest.fixture(params=["closed", *SLOW])
def dead_hub(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a hub that cannot be used, in the ways in which networks fail."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        if request.param == "closed":
            server.close()
        elif request.param == "no name server":
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(30))
            host = "hub.invalid"
        yield f"http://{host}:{port}"


def test_without_the_hub_it_is_told_in_seconds(
    dead_hub: str, command: Command, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default model failed after half a minute of retries, and no way without network was
    named.
    """
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", dead_hub)
    started = time.monotonic()
    answer = command("classify", folder, "--classes", "cat,dog")
    # the hub's own tries take 30 s and more; a busy machine takes its time
    assert time.monotonic() - started < 20
    assert answer.code == 1
    assert "photos:" not in answer.err, "a bar of photos before the weights are found missing"
    said = answer.err.splitlines()[-1]
    for words in (
        f"{dead_hub} cannot be reached (",
        "use a model that is here: a folder, one in the Hugging Face cache, or a checkpoint file",
        "mini knows drawn images only",
    ):
        assert words in said


# ---- reading


def test_heic_without_its_package_says_what_to_install(
    classify: Command, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Phones make HEIC; such photos were ignored without a word."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (folder / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    answer = classify(folder)
    assert answer.code == 0
    assert "phone.HEIC: HEIC, which needs the package pillow-heif" in answer.err.splitlines()[-1]


def test_heic_is_read(tmp_path: Path) -> None:
    """Photos of a phone would be passed over."""
    heif = pytest.importorskip("pillow_heif", reason="the extra 'heic' is not installed")
    file = tmp_path / "phone.heic"
    heif.from_pillow(Image.new("RGB", (64, 48), (200, 30, 40))).save(file)
    image = read_image(file)
    assert (image.size, image.mode) == ((64, 48), "RGB")
    assert image.getpixel((30, 20)) == pytest.approx((200, 30, 40), abs=12)
    assert read_image("phone.heic", content=file.read_bytes()).tobytes() == image.tobytes()


def test_a_photo_too_large_for_pillow_is_decoded_at_a_fraction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The camera's 200 megapixels were left out. Here the limits are small, not the photo large."""
    image = Image.new("RGB", (800, 600), "red")
    image.paste("blue", (400, 0, 800, 600))
    for name in ("large.jpg", "large.png"):
        image.save(tmp_path / name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
    monkeypatch.setattr(decoding, "LEAST_SIDE", 150)
    found = read_image(tmp_path / "large.jpg")
    assert found.size == (200, 150)
    assert found.getpixel((180, 70)) == pytest.approx((0, 0, 255), abs=55)
    with pytest.raises(UserError, match="exceeds limit"):
        read_image(tmp_path / "large.png")  # only a JPEG can be decoded in part


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--classes", "cat,dog", "--dataset", "x"), "--dataset chooses something of a run"),
        (("--pretrained", "openai"), "--pretrained: a run has its own weights"),
        (("--labels", "x.csv"), "--labels: photos get labels; a run has its own"),
    ],
)
def test_explore_ignores_no_option(
    command: Command, folder: Path, arguments: tuple[str, ...], says: str
) -> None:
    answer = command("explore", folder, *arguments, "--no-browser")
    assert answer.code == 1
    assert says in answer.err


def test_a_file_without_permission_is_one_line(
    command: Command, tmp_path: Path, monkeypatch: Any
) -> None:
    """The traceback would end in pathlib."""
    photo, is_dir = tmp_path / "a.jpg", Path.is_dir

    def shut(path: Path) -> bool:
        if path == photo:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return is_dir(path)

    monkeypatch.setattr(Path, "is_dir", shut)
    answer = command("classify", photo, "--classes", "cat,dog")
    assert answer.code == 1
    assert answer.err == f"coder-clip: error: {photo}: Permission denied; check its permissions\n"
