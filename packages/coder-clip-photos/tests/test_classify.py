"""`coder-clip classify`: any folder of photos, whatever is in it, from any folder, in one line."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len

from coder_clip_photos import Photo
from coder_clip_photos.listing import as_csv, as_json, as_table, summary, typical

Command = Callable[..., Any]


def rows(answer: Any) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(answer.out)))


def test_a_folder_becomes_a_table(classify: Command, folder: Path) -> None:
    """Nothing is called a probability without labels: a softmax says 93 % where 39 % are right."""
    answer = classify(folder)
    assert answer.code == 0, answer.err
    head, *lines = answer.out.splitlines()
    assert head.split() == ["photo", "class", "score", "margin", "runner-up"]
    names = ("a.png", "b.jpg", "below/a.png", "below/c.webp")
    assert [line.split()[0] for line in lines] == [f"{folder}/{n}" for n in names]
    assert "%" not in answer.out
    said = answer.err.splitlines()[-2]
    assert "4 photos: " in said
    assert "images/s" in said
    assert "1 photo: " in classify(folder / "a.png").err


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


def test_csv_and_json_hold_the_same(described: Command, folder: Path, tmp_path: Path) -> None:
    asked = (folder, "--why", "1", "--top", "2")
    answer = described(*asked, "--out", tmp_path / "found.csv")
    assert answer.out == ""
    assert f"written to {tmp_path / 'found.csv'}" in answer.err
    found = list(csv.DictReader((tmp_path / "found.csv").open()))
    lines = [json.loads(line) for line in described(*asked, "--format", "jsonl").out.splitlines()]
    assert list(found[0]) == [
        *("image", "class", "score", "margin", "runner_up", "reranked"),
        *("top1", "score1", "top2", "score2", "for1", "against1"),
    ]
    for row, line in zip(found, lines, strict=True):
        assert row["image"] == line["image"]
        assert row["class"] == line["label"] == row["top1"] in ("cat", "red fox")
        for column in ("score", "margin"):
            assert float(row[column]) == pytest.approx(line[column], abs=1e-4)
        assert row["for1"].startswith("'+"), "a spreadsheet would take it for a formula"
        assert {"text", "kind", "label", "cosine", "adds"} == set(line["reasons_for"][0])
        assert line["probability"] is None
    described(*asked, "--out", tmp_path / "found.json")
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

    def classified(*more: str) -> Any:
        listed = io.TextIOWrapper(io.BytesIO("\0".join(names).encode()))
        monkeypatch.setattr(sys, "stdin", listed)
        return command("classify", "-", "--texts", "x.json", "--model", model, *more)

    found = rows(classified("--format", "csv"))
    shown = ["'=cmd.png", "'+1.png", "'-2.png", "'@a.png", "x\\x1b]0;title\\x07.png"]
    assert [row["image"] for row in found] == shown
    classes = {row["class"] for row in found} | {row["runner_up"] for row in found}
    assert classes == {"'=1+1", "dog\\x1b[31m"}
    assert float(found[0]["score"]) == float(found[0]["score1"]), "numbers stay numbers"
    table = classified()
    assert "\x1b" not in table.out + table.err


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


@pytest.mark.parametrize(
    ("sort", "key", "sign"), [("uncertain", "margin", 1), ("score", "score", -1)]
)
def test_the_most_uncertain_or_the_best_come_first(
    classify: Command, folder: Path, sort: str, key: str, sign: int
) -> None:
    found = rows(classify(folder, "--sort", sort, "--format", "csv"))
    numbers = [sign * float(row[key]) for row in found]
    assert numbers == sorted(numbers)
    assert numbers != sorted(numbers, reverse=True)


def test_none_of_these_says_what_is_typical(
    classify: Command, folder: Path, tmp_path: Path
) -> None:
    """Nothing said which score is low for these photos; photos below it go to no class."""
    scores = [float(row["score"]) for row in rows(classify(folder, "--format", "csv"))]
    least, first, middle, third, most = np.percentile(scores, [0, 25, 50, 75, 100])
    answer = classify(folder, "--none-below", middle, "--copy-to", tmp_path / "sorted")
    said = f"score of the best class: {least:.1f} to {most:.1f}, quartiles {first:.1f}, "
    assert f"{said}{middle:.1f}, {third:.1f}; 2 of 4 photos below " in answer.err
    assert answer.out.count("(none of these: ") == 2
    assert len(list((tmp_path / "sorted/none_of_these").iterdir())) == 2


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
    more = {"true_class": ["=1+1"]}
    (row,) = csv.DictReader(io.StringIO(as_csv(photos, 2, 0, points=False, more=more)))
    assert row["margin"] == ""
    assert row["true_class"] == "'=1+1"


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
    assert "…" in lines[0]
    assert str(folder).startswith(lines[0].split("…")[0])
    assert "end.png" in "".join(lines)
    cells = [line.split()[1:] for line in whole.out.splitlines()[1:]]
    assert [line.split()[1:] for line in lines] == cells
    classify(folder, "--out", "found.txt")
    assert Path("found.txt").read_text() == whole.out, "neither cut nor in bold"


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
    names = [row["image"] for row in rows(classify(folder, "--format", "csv"))]
    assert f"{folder}/a\nb.png" in names


@pytest.mark.rest
def test_a_reader_that_has_seen_enough_is_no_error(model: Path, folder: Path) -> None:
    """`… | head -1` gave status 1, or a traceback."""
    command = [sys.executable, "-m", "coder_clip.cli", "classify", str(folder)]
    command += ["--model", str(model), "--classes", "cat,dog"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        said = process.stderr.read().decode()
    assert process.returncode == 0, said
    assert "Broken" not in said
