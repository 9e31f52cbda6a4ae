"""`coder-clip classify`: any folder of photos, whatever is in it, from any folder, in one line."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from PIL import Image, ImageDraw
from rich.cells import cell_len

from coder_clip.datasets import images
from coder_clip.datasets.images import read_image
from coder_clip.errors import UserError
from coder_clip_photos import Photo
from coder_clip_photos.listing import as_csv, as_json, as_table, summary, typical
from tiny import save_tiny

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four photos at two depths, and what else is in people's folders; the working directory is
    another one.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "photos/below").mkdir(parents=True)
    for i, name in enumerate(("a.png", "b.jpg", "below/a.png", "below/c.webp")):
        image = Image.new("RGB", (40 + i, 50), (60 * i, 10, 200 - 50 * i))
        ImageDraw.Draw(image).ellipse((4, 4, 30, 20 + i), fill="white")
        image.save(tmp_path / "photos" / name)
    (tmp_path / "photos/notes.txt").write_text("not a photo")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "photos"


@pytest.fixture
def classify(command: Command, model: Path) -> Command:
    return lambda *arguments: command(
        "classify", *arguments, "--model", model, "--classes", "cat,red fox"
    )


def test_a_folder_becomes_a_table(classify: Command, folder: Path) -> None:
    answer = classify(folder)
    assert answer.code == 0, answer.err
    head, *rows = answer.out.splitlines()
    assert head.split() == ["photo", "class", "score", "margin", "runner-up"]
    assert [r.split()[0] for r in rows] == [
        f"{folder}/{n}" for n in ("a.png", "b.jpg", "below/a.png", "below/c.webp")
    ]
    assert "4 photos: " in answer.err.splitlines()[-2]
    assert "images/s" in answer.err.splitlines()[-2]
    assert "1 photo: " in classify(folder / "a.png").err


def test_nothing_is_called_a_probability_without_labels(classify: Command, folder: Path) -> None:
    """A softmax of scores says 93 % where 39 % are right."""
    answer = classify(folder, "--why", "1")
    table = answer.out
    assert "%" not in table
    assert "probability" not in table
    assert "probability" not in classify(folder, "--format", "csv").out
    assert '"probability": null' in classify(folder, "--format", "jsonl").out


@pytest.fixture
def described(command: Command, model: Path, tmp_path: Path) -> Command:
    """As `classify`, with a text for each class besides its name."""
    entries = [
        {"name": "cat", "attribute": ["whiskers"]},
        {"name": "red fox", "attribute": ["red fur"]},
    ]
    texts = {"format": 1, "dataset": "pets", "classes": entries}
    (tmp_path / "texts.json").write_text(json.dumps(texts))
    return lambda *a: command("classify", *a, "--model", model, "--texts", tmp_path / "texts.json")


def test_csv_and_json_lines_hold_the_same(described: Command, folder: Path, tmp_path: Path) -> None:
    out, classify = tmp_path / "found.csv", described
    answer = classify(folder, "--why", "1", "--top", "2", "--out", out)
    assert answer.out == ""
    assert f"written to {out}" in answer.err
    rows = list(csv.DictReader(out.open()))
    lines = [
        json.loads(line)
        for line in classify(folder, "--why", "1", "--format", "jsonl").out.splitlines()
    ]
    assert list(rows[0]) == [
        *("image", "class", "score", "margin", "runner_up", "reranked"),
        *("top1", "score1", "top2", "score2", "for1", "against1"),
    ]
    for row, line in zip(rows, lines, strict=True):
        assert row["image"] == line["image"]
        assert row["class"] == line["label"] == row["top1"] in ("cat", "red fox")
        assert float(row["score"]) == pytest.approx(line["score"], abs=1e-4)
        assert float(row["score1"]) - float(row["score2"]) == pytest.approx(
            float(row["margin"]), abs=2e-4
        )
        assert row["for1"].startswith("'+"), "a spreadsheet would take it for a formula"
        assert {"text", "kind", "label", "cosine", "adds"} == set(line["reasons_for"][0])


def test_json_is_one_list_with_the_same(classify: Command, folder: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in classify(folder, "--format", "jsonl").out.splitlines()]
    assert json.loads(classify(folder, "--format", "json").out) == lines
    classify(folder, "--out", tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text()) == lines
    assert json.loads(as_json([], lines=False)) == []


def test_no_cell_is_a_formula_and_none_moves_the_cursor(
    command: Command, model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file from somebody else runs a command in a spreadsheet, or writes into the terminal's
    title.
    """
    monkeypatch.chdir(folder)
    names = ["=cmd.png", "+1.png", "-2.png", "@a.png", "x\x1b]0;title\x07.png"]
    for name in names:
        os.link(folder / "a.png", folder / name)
    described = [{"name": "=1+1"}, {"name": "dog\x1b[31m"}]
    Path("x.json").write_text(json.dumps({"format": 1, "dataset": "x", "classes": described}))
    classes = ["--texts", "x.json", "--model", model]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\0".join(names).encode())))
    answer = command("classify", "-", *classes, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(answer.out)))
    assert [row["image"] for row in rows] == [
        *("'=cmd.png", "'+1.png", "'-2.png", "'@a.png", "x\\x1b]0;title\\x07.png"),
    ]
    assert {row["class"] for row in rows} | {row["runner_up"] for row in rows} == {
        "'=1+1",
        "dog\\x1b[31m",
    }
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\0".join(names).encode())))
    table = command("classify", "-", *classes)
    assert "\x1b]0" not in answer.out + table.out
    assert "dog\x1b" not in table.out + table.err
    assert float(rows[0]["score"]) == float(rows[0]["score1"]), "numbers stay numbers"


def test_names_alone_give_no_reasons(classify: Command, described: Command, folder: Path) -> None:
    """With one text per class, reasons are the two halves of the margin for every photo, and say
    nothing.
    """
    answer = classify(folder, "--why", "2")
    assert answer.code == 0
    assert len(answer.out.splitlines()) == 1 + 4
    assert "names alone have no reasons: --texts FILE shows those of texts" in answer.err
    answer = described(folder, "--why", "2")
    assert len(answer.out.splitlines()) > 1 + 4
    assert "names alone" not in answer.err
    assert "names alone" not in classify(folder).err


def test_the_most_uncertain_come_first(classify: Command, folder: Path) -> None:
    rows = list(
        csv.DictReader(io.StringIO(classify(folder, "--sort", "uncertain", "--format", "csv").out))
    )
    margins = [float(r["margin"]) for r in rows]
    assert margins == sorted(margins)
    assert margins != sorted(margins, reverse=True)


def test_the_best_come_first(classify: Command, folder: Path) -> None:
    rows = list(
        csv.DictReader(io.StringIO(classify(folder, "--sort", "score", "--format", "csv").out))
    )
    scores = [float(r["score"]) for r in rows]
    assert scores == sorted(scores, reverse=True)
    assert scores != sorted(scores)


def test_none_of_these_says_what_is_typical(classify: Command, folder: Path) -> None:
    """Nothing said which score is low for these photos."""
    rows = list(csv.DictReader(io.StringIO(classify(folder, "--format", "csv").out)))
    scores = sorted(float(r["score"]) for r in rows)
    middle = (scores[1] + scores[2]) / 2
    first, third = (
        scores[0] + 0.75 * (scores[1] - scores[0]),
        scores[2] + 0.25 * (scores[3] - scores[2]),
    )
    said = classify(folder, "--none-below", middle).err
    expected = (
        f"score of the best class: {scores[0]:.1f} to {scores[3]:.1f}, quartiles {first:.1f}, "
        f"{middle:.1f}, "
        f"{third:.1f}; 2 of 4 photos below "
    )
    assert expected in said
    assert "quartiles" not in classify(folder).err


def test_none_of_these_with_probabilities_is_about_probabilities() -> None:
    photos = [
        Photo(str(i), "cat", 20.0, p, 1.0, (("cat", 20.0), ("dog", 19.0)), reranked=p is None)
        for i, p in enumerate((0.2, 0.9, None, 0.4))
    ]
    assert typical(photos, 0.3, True) == (
        "probability of the best class: 0.20 to 0.90, quartiles "
        "0.30, 0.40, 0.65; 1 of 3 photos below 0.3"
    )
    assert typical(photos[2:3], 0.3, True) == ""


def test_margins_are_left_out_where_scores_are_not_points() -> None:
    """The table said 5958 points for a few-shot method."""
    photos = [Photo("a.png", "cat", 9000.0, 0.9, 5958.0, (("cat", 9000.0), ("dog", 3042.0)))]
    assert "5958" not in as_table(photos, 2, points=False)
    assert "margin" not in as_table(photos, 2, points=False)
    assert "5958.0" in as_table(photos, 2)
    (row,) = csv.DictReader(io.StringIO(as_csv(photos, 2, 0, points=False)))
    assert row["margin"] == ""


def test_weights_are_looked_for_before_a_bar_of_photos(
    command: Command, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a minute passed under "photos 0 of 4" before the weights were found missing."""
    empty = tmp_path / "no-model"
    empty.mkdir()
    answer = command("classify", folder, "--classes", "cat,dog", "--model", empty)
    assert answer.code == 1
    assert "photos:" not in answer.err


def test_none_of_these(classify: Command, folder: Path, tmp_path: Path) -> None:
    """Photos below `--none-below` would be sorted into a class."""
    rows = list(csv.DictReader(io.StringIO(classify(folder, "--format", "csv").out)))
    middle = sum(sorted(float(r["score"]) for r in rows)[1:3]) / 2
    answer = classify(folder, "--none-below", middle, "--copy-to", tmp_path / "sorted")
    assert answer.out.count("(none of these: ") == sum(float(r["score"]) < middle for r in rows) > 0
    assert len(list((tmp_path / "sorted/none_of_these").iterdir())) == answer.out.count(
        "(none of these: "
    )


def test_copies_go_to_folders_by_class_and_no_photo_is_lost(
    classify: Command, folder: Path, tmp_path: Path
) -> None:
    """Two photos are called a.png; a second call adds nothing."""
    for _ in range(2):
        answer = classify(folder, "--copy-to", tmp_path / "sorted")
        copies = [p for p in (tmp_path / "sorted").rglob("*") if p.is_file()]
        assert {p.parent.name for p in copies} <= {"cat", "red_fox"}
        originals = sorted(p.read_bytes() for p in folder.rglob("*.*") if p.suffix != ".txt")
        assert sorted(p.read_bytes() for p in copies) == originals
    assert "0 photos copied" in answer.err
    answer = classify(folder, "--copy-to", folder / "sorted")
    assert answer.code == 1
    assert "whose photos are read" in answer.err
    assert not (folder / "sorted").exists()


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
    classify: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    """One old file from another system stopped all photos; written as it is, its name would stop
    the output.
    """
    bad = os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png")
    Image.new("RGB", (9, 9)).save(bad)
    answer = classify(folder)
    assert answer.code == 0
    assert len(answer.out.splitlines()) == 1 + 4
    assert (
        answer.err.splitlines()[-1]
        == f"left out: {folder}/caf\\udce9.png: its name is not valid Unicode: rename it"
    )
    assert answer.err.isascii() or answer.err.encode()
    assert classify(bad).code == 1
    given = os.fsencode(folder / "a.png") + b"\0" + os.fsencode(bad) + b"\0"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="utf-8"))
    answer = classify("-")
    assert answer.code == 1, "it was named"
    assert len(answer.out.splitlines()) == 1 + 1
    assert "caf\\udce9.png: its name is not valid Unicode" in answer.err


def test_files_of_other_kinds_are_counted(classify: Command, folder: Path) -> None:
    """A folder of drawings and raw photos looked as if it had been classified whole."""
    for name in ("a.svg", "b.SVG", "below/c.svg", "d.pdf", "LICENSE", ".hidden.svg", "Thumbs.db"):
        (folder / name).write_bytes(b"")
    said = classify(folder).err.splitlines()
    assert "left out by ending: 3 .svg, 1 without ending, 1 .pdf, 1 .txt" in said
    for i in range(20):
        (folder / f"x.{i}").write_bytes(b"")
    (line,) = [
        line for line in classify(folder).err.splitlines() if line.startswith("left out by ending")
    ]
    assert line.startswith("left out by ending: 3 .svg, 1 ")
    assert line.endswith(" and 14 more")
    for path in folder.rglob("*.[jpw]*g*"):
        path.unlink()
    (folder / "below/c.webp").unlink()
    error = classify(folder).err
    assert "no images in folder" in error
    assert "left out by ending: 3 .svg" in error


def test_an_address_is_no_photo(classify: Command, folder: Path) -> None:
    """It was "no file or folder https:/example.org/a.jpg"."""
    answer = classify("https://example.org/a.jpg")
    assert answer.code == 1
    assert "https://example.org/a.jpg is an address: download the photo" in answer.err


@pytest.mark.parametrize("columns", [60, 20])
def test_a_table_fits_the_terminal(
    classify: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    """Long paths pushed classes and scores into the next lines."""
    (folder / "a.png").rename(folder / f"begin{'猫' * 50}end.png")
    whole = classify(folder)
    assert f"begin{'猫' * 50}end.png" in whole.out, "a pipe gets whole paths"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = classify(folder).out.splitlines()[1:]
    assert max(map(cell_len, lines)) <= max(columns, 16 + len("  red fox  -10.0     0.0  red fox"))
    assert lines[0].split("…")[0] == str(folder)[: len(lines[0].split("…")[0])]
    assert "…" in lines[0]
    assert "end.png" in lines[-1] + lines[0] + lines[1]
    assert [line.split()[1:] for line in lines] == [
        line.split()[1:] for line in whole.out.splitlines()[1:]
    ]
    classify(folder, "--out", "found.txt")
    assert Path("found.txt").read_text() == whole.out, (
        "neither cut nor with the terminal's codes for bold"
    )


def test_a_thousand_classes_are_summed_up_in_a_line() -> None:
    """One line of kilobytes hides the photos that could not be read."""
    photos = [
        Photo("a.jpg", f"class {i}", 1.0, None, 1.0, ((f"class {i}", 1.0),)) for i in range(1000)
    ]
    line = summary([*photos, photos[500]])
    assert line.startswith("1,001 photos: class 500 2, class 0 1, class 1 1, ")
    assert line.endswith("class 8 1 and 990 more")


def test_a_newline_in_a_name_breaks_no_line(classify: Command, folder: Path) -> None:
    (folder / "a.png").rename(folder / "a\nb.png")
    answer = classify(folder)
    assert len(answer.out.splitlines()) == 1 + 4
    assert "a\\nb.png" in answer.out
    names = [
        r["image"] for r in csv.DictReader(io.StringIO(classify(folder, "--format", "csv").out))
    ]
    assert f"{folder}/a\nb.png" in names


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
    assert "left out" in answer.err.splitlines()[-1]


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


def test_nothing_that_can_be_read_is_an_error(
    classify: Command, tmp_path: Path, folder: Path
) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/x.png").write_bytes(b"x")
    answer = classify(tmp_path / "bad")
    assert answer.code == 1
    assert "Traceback" not in answer.err
    assert "left out: " in answer.err.splitlines()[-1]


@pytest.mark.parametrize("between", ["\n", "\0"])
def test_a_list_of_photos_on_standard_input(
    classify: Command, folder: Path, monkeypatch: pytest.MonkeyPatch, between: str
) -> None:
    names = [str(folder / "b.jpg"), str(folder / "a.png"), str(folder / "b.jpg")]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\ufeff" + between.join(names) + between))
    rows = list(csv.DictReader(io.StringIO(classify("-", "--format", "csv").out)))
    assert [r["image"] for r in rows] == names[:2]


@pytest.mark.rest
def test_a_reader_that_has_seen_enough_is_no_error(model: Path, folder: Path) -> None:
    """`… | head -1` gave status 1, or a traceback."""
    command = [
        sys.executable,
        "-m",
        "coder_clip.cli",
        "classify",
        str(folder),
        "--model",
        str(model),
    ]
    command += ["--classes", "cat,dog"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert process.returncode == 0, said
    assert "Traceback" not in said
    assert "Broken" not in said


def test_output_that_cannot_be_written_leaves_nothing(
    classify: Command, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("a file")
    answer = classify(folder, "--out", tmp_path / "taken/found.csv")
    assert answer.code == 1
    assert answer.err.splitlines()[-1].startswith("coder-clip: error: cannot write ")
    assert (tmp_path / "taken").read_text() == "a file"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--classes", "cat"], "'cat' is the only class"),
        (["--classes", "cat,,dog"], "a class name is empty"),
        (
            ["--classes", "cat,None of these"],
            "'none of these' is what a photo without a class gets",
        ),
        (["--classes", "cat,\u202edog"], "class name '\\u202edog': remove the control character"),
        (["--classes", "cat,dog", "--none-below", "nan"], "--none-below nan: give a number"),
        (
            ["--classes", "cats/dogs,cats:dogs", "--copy-to", "sorted"],
            "'cats/dogs' and 'cats:dogs' would have one folder",
        ),
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
    ("places", "says"),
    [(["nowhere.jpg"], "no file or folder nowhere.jpg"), (["."], "no images in folder .")],
)
def test_photos_that_are_not_there(
    classify: Command, folder: Path, places: list[str], says: str
) -> None:
    answer = classify(*places)
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


@pytest.mark.parametrize(
    ("classes", "says"),
    [
        (
            "cat,dog,Bird,dog,bird,cat",
            "'cat' is given twice; 'dog' is given twice; 'Bird' and 'bird' differ only in",
        ),
        ("caf\u00e9,cafe\u0301", "'caf\u00e9' is given twice"),
        ("red fox,red_fox", "'red fox' is given twice"),
        ('cat,"shark, great white', 'class names cat,"shark, great white: '),
    ],
)
def test_all_mistakes_in_a_list_are_one_line(
    command: Command, folder: Path, model: Path, classes: str, says: str
) -> None:
    """One duplicate a call took as many calls as there were; two forms of é were two classes that
    always tied.
    """
    answer = command("classify", folder, "--classes", classes, "--model", model)
    assert answer.code == 1
    (line,) = answer.err.splitlines()
    assert says in line


# ---- without network


# two of them wait for four seconds each
SLOW = [pytest.param(name, marks=pytest.mark.rest) for name in ("silent", "no name server")]


@pytest.fixture(params=["closed", "503", *SLOW])
def dead_hub(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a hub that cannot be used, in the ways in which networks fail."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        if request.param == "closed":
            server.close()
        elif request.param == "503":

            def refuse() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        with server.accept()[0] as asked:
                            asked.recv(10_000)
                            asked.sendall(
                                b"HTTP/1.1 503 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                            )

            threading.Thread(target=refuse, daemon=True).start()
        elif request.param == "no name server":
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(30))
        yield f"http://{host if request.param != 'no name server' else 'hub.invalid'}:{port}"
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


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
    assert time.monotonic() - started < 20, (
        "the hub's own tries take 30 s and more; a busy machine takes its time"
    )
    assert answer.code == 1
    said = answer.err.splitlines()[-1]
    assert re.search(
        rf"{dead_hub} (cannot be reached \(|does not work at the moment \(HTTP 503\))", said
    )
    assert (
        "use a model that is here: a folder, one in the Hugging Face cache, or a checkpoint file"
        in said
    )
    assert "mini knows drawn images only" in said


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
    heif.from_pillow(Image.new("RGB", (64, 48), (200, 30, 40))).save(tmp_path / "phone.heic")
    image = read_image(tmp_path / "phone.heic")
    assert (image.size, image.mode) == ((64, 48), "RGB")
    assert all(
        abs(a - b) < 12 for a, b in zip(image.getpixel((30, 20)), (200, 30, 40), strict=True)
    )  # type: ignore[arg-type]
    content = (tmp_path / "phone.heic").read_bytes()
    assert read_image("phone.heic", content=content).tobytes() == image.tobytes()


def test_a_photo_too_large_for_pillow_is_decoded_at_a_fraction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The camera's 200 megapixels were left out. Here the limits are small, not the photo large."""
    image = Image.new("RGB", (800, 600), "red")
    image.paste("blue", (400, 0, 800, 600))
    for name in ("large.jpg", "large.png"):
        image.save(tmp_path / name)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
    monkeypatch.setattr(images, "LEAST_SIDE", 150)
    found = read_image(tmp_path / "large.jpg")
    assert found.size == (200, 150)
    assert found.getpixel((20, 70))[0] > 200  # type: ignore[index]
    assert found.getpixel((180, 70))[2] > 200  # type: ignore[index]
    with pytest.raises(UserError, match="exceeds limit"):
        read_image(tmp_path / "large.png")  # only a JPEG can be decoded in part
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with pytest.raises(UserError, match="exceeds limit"):
        read_image(tmp_path / "large.jpg")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ("--classes", "cat,dog", "--dataset", "x"),
            "--dataset chooses something of a run; photos have the classes",
        ),
        (("--pretrained", "openai"), "--pretrained: a run has its own weights"),
    ],
)
def test_explore_ignores_no_option(
    command: Command, folder: Path, arguments: tuple[str, ...], says: str
) -> None:
    answer = command("explore", folder, *arguments, "--no-browser")
    assert answer.code == 1
    assert says in answer.err


@pytest.mark.parametrize("name", ["classify", "explore", "find"])
def test_help_shows_no_types_of_python(command: Command, name: str) -> None:
    """It had <list[str]> for photos."""
    answer = command(name, "--help")
    assert answer.code == 0
    assert "Usage" in answer.out
    assert not re.findall(r"<(list|str|bool|int|float|path)", answer.out)


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
