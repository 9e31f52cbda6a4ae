"""Every table, whatever the results hold: stable columns, the right numbers, no text that breaks a
format.
"""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import pytest

from coder_clip.datasets import named_pictures
from coder_clip.errors import UserError
from coder_clip.foundation.artifacts import read_json, read_tensors, write_json
from coder_clip.reporting import formats
from coder_clip.reporting.all_exhibits import TABLES
from coder_clip.reporting.parts import cells
from coder_clip.reporting.parts.table import AVERAGE, Cell, Column, Table
from coder_clip.reporting.results import Results
from fake_results import Fake, write_head, write_parquet

HOSTILE = "a|b_c & 100% $x$ #1 {x} \\end{tabular} ~^ <script> `*_[a](b)\n| new row \" ' é 猫 − ±"
COLUMNS = {  # what people's scripts read, of the tables that the paper's results have
    "claims": "dataset model claim source verdict difference difference_low difference_high "
    "over_classes_low over_classes_high p_value p_holm fixed broke after before measure over "
    "exploratory shots why data_sets_shown data_sets_contradicted data_sets_open "
    "data_sets_not_judged data_sets_off statement",
    "zero_shot": "dataset model method setting accuracy accuracy_low accuracy_high top5_accuracy "
    "top5_accuracy_low "
    "top5_accuracy_high mean_class_recall mean_class_recall_low "
    "mean_class_recall_high difference_to_clip "
    "difference_to_clip_low difference_to_clip_high p_value p_holm fixed broke threshold "
    "looked_at draws_count "
    "draws_std draws_min draws_max split",
    "classes": (
        "dataset model label class images clip coder coder_rerank taken_for taken_for_images"
    ),
    "confusions": (
        "dataset model class taken_for images clip coder coder_rerank example lead wrong right"
    ),
    "few_shot": (
        "dataset model method setting shots accuracy accuracy_std accuracy_low "
        "accuracy_high seeds split"
    ),
    "text_kinds": "dataset model kinds texts accuracy accuracy_low accuracy_high",
    "feature_quality": "dataset model features k knn_accuracy knn_accuracy_low knn_accuracy_high "
    "retrieval_precision retrieval_precision_low retrieval_precision_high",
    "flaws": "dataset model flaw leak method shots clean accuracy difference difference_low "
    "difference_high p_value "
    "looked_at_clean looked_at",
    "published": "dataset model method shots setting quantity reproduced low high published "
    "difference within compares "
    "published_as source note",
    "settings": "dataset model method shots setting quantity value low high",
}
EXTREMES = {
    "two data sets": {},
    "one data set, two models": {"datasets": ("one",), "models": ("mini", "ViT-B-32")},
    "ten data sets": {"datasets": tuple(f"set{i}" for i in range(10)), "shots": (1, 4)},
    "one class": {"classes": ("only",)},
    "one seed, one shot": {"seeds": (7,), "shots": (16,)},
    "one setting": {"settings": ("corrected",)},
    "no shots": {"shots": ()},
    "nothing reranked": {"reranked": False},
    "the drawn birds": {"datasets": ("rare",)},
    "no one-to-one texts, unreadable images": {"reranked": False, "paired": False, "unreadable": 3},
}
QUICK = ("one class", "one seed, one shot", "one setting", "no shots")


def fake(tmp_path: Path, **what: object) -> Results:
    return Fake(tmp_path / "results", **what).write()  # type: ignore[arg-type]


def hostile() -> Table:
    """A table whose every text is hostile."""
    columns = [Column("Data set", numeric=False), Column(HOSTILE), Column("Top-1 (%)")]
    rows = [
        [Cell("one"), Cell(HOSTILE, bold=True), Cell("−1.0 ± 2.0")],
        [Cell("[2pt]"), Cell("*"), Cell("–")],
    ]
    frame = pd.DataFrame({"text": [HOSTILE, "x"], "value": [0.1 + 0.2, np.nan]})
    return Table(HOSTILE, HOSTILE, frame, columns, rows)


@pytest.mark.parametrize(
    "extreme",
    [pytest.param(e, marks=[] if e in QUICK else pytest.mark.rest) for e in EXTREMES],
)
def test_copes(tmp_path: Path, extreme: str) -> None:
    """No run, however odd, gives a table that is wrong or cannot be written."""
    what = EXTREMES[extreme]
    if extreme == "the drawn birds":
        what = {**what, "classes": tuple(named_pictures("rare") or ())[:12]}
    results = fake(tmp_path, **what)
    assert COLUMNS.keys() <= TABLES.keys()
    for name, exhibit in TABLES.items():
        table = exhibit.table(results)
        columns = list(table.frame.columns)
        assert columns[:2] == ["dataset", "model"], f"{name}: several models would share a row"
        if name in COLUMNS:
            assert columns == COLUMNS[name].split(), name
        assert {len(row) for row in table.rows} <= {len(table.columns)}, name
        assert not re.search(r"\bnan\b", formats.markdown(table).lower()), name
        assert "U+" not in formats.latex(table, name), (
            f"{name}: a character that pdfLaTeX cannot set"
        )
        if name != "published":  # nothing here is of one model
            labels = {c.label for c in table.columns}
            assert "model: mini" in table.caption.lower() or labels & {"Model", "mini"}


def test_main_table_shows_the_main_setting_and_the_documents_numbers(tmp_path: Path) -> None:
    results = fake(tmp_path)
    frame = TABLES["zero_shot"].table(results).frame
    assert set(frame["setting"]) == {"any", "clean"}
    row = frame[(frame["dataset"] == "rare") & (frame["method"] == "coder_rerank")].iloc[0]
    wanted = next(m for m in results.rerank("rare", "mini")["methods"] if m["setting"] == "clean")
    assert (row["accuracy"], row["accuracy_low"]) == (
        wanted["accuracy"]["value"],
        wanted["accuracy"]["low"],
    )
    assert row["p_value"] == wanted["against_clip"]["p_value"]
    clip = frame[(frame["dataset"] == "rare") & (frame["method"] == "clip")].iloc[0]
    assert np.isnan(clip["difference_to_clip"])


def test_a_drawn_data_set_and_its_control_have_no_average(tmp_path: Path) -> None:
    """The mean of a case made for the method and one made against it says nothing."""
    results = fake(tmp_path)
    for name, exhibit in TABLES.items():
        assert AVERAGE not in set(exhibit.table(results).frame["dataset"]), name


def test_average_is_over_data_sets_that_all_have_the_method(tmp_path: Path) -> None:
    results = fake(tmp_path, split="CoOp's split")
    path = results.paths.zero_shot("mini", "shapes").with_suffix(".json")
    document = read_json(path)
    document["methods"] = [m for m in document["methods"] if m["method"] != "description"]
    write_json(path, document)
    frame = TABLES["zero_shot"].table(results).frame
    average = frame[frame["dataset"] == AVERAGE].set_index("method")["accuracy"]
    assert "description" not in average
    single = frame[(frame["dataset"] != AVERAGE) & (frame["method"] == "coder")]["accuracy"]
    assert average["coder"] == pytest.approx(single.mean())


def test_few_shot_has_the_interval_of_every_other_table(tmp_path: Path) -> None:
    """± over three seeds says nothing about the images: 47.0 ± 0.6 on 90 photos."""
    table = TABLES["few_shot"].table(fake(tmp_path, shots=(4,), datasets=("one",)))
    for row, r in zip(table.rows, table.frame.to_dict("records"), strict=True):
        low, high = (f"{100 * r[f'accuracy_{end}']:.1f}" for end in ("low", "high"))
        assert row[1].text == f"{100 * r['accuracy']:.1f} [{low}, {high}]"
    assert (table.frame["accuracy_std"] >= 0).all()
    assert "±" not in formats.markdown(table)


def test_few_shot_average_has_the_spread_of_the_seeds_averages(tmp_path: Path) -> None:
    results = fake(tmp_path, split="CoOp's split")
    frame = TABLES["few_shot"].table(results).frame
    row = frame[
        (frame["dataset"] == AVERAGE) & (frame["method"] == "coder_adapter") & (frame["shots"] == 4)
    ].iloc[0]
    runs = [
        [
            r["test_accuracy"]
            for r in results.adapter(d, "mini", 4)["runs"]
            if (r["method"], r["setting"]) == ("coder_adapter", "clean")
        ]
        for d in results.datasets
    ]
    assert row["accuracy"] == pytest.approx(np.mean(runs))
    assert row["accuracy_std"] == pytest.approx(np.mean(runs, axis=0).std(ddof=1))


def test_settings_stand_side_by_side(tmp_path: Path) -> None:
    table = TABLES["settings"].table(fake(tmp_path, shots=(4,)))
    assert [c.label for c in table.columns[-3:]] == ["as_published", "corrected", "clean"]
    whats = [row[2].text for row in table.rows if row[0].text == "shapes"]
    assert whats == ["top-1 (%)", "top-1 (%)", "threshold", "reranked images", "top-1 (%), 4 shots"]


def change(results: Results, path: Path, what: Callable[[dict[str, Any]], None]) -> Results:
    """The results with one document changed."""
    document = read_json(path.with_suffix(".json"))
    what(document)
    write_json(path.with_suffix(".json"), document)
    return Results(results.paths.root, results.datasets, results.models, results.shots)


@pytest.mark.parametrize(
    ("what", "note"),
    [
        (
            {"reranked": False},
            "Rerank off: validation chose threshold 0, which reranks nothing (shapes, rare).",
        ),
        ({"reranked": False, "paired": False}, "Rerank off: no one-to-one texts (shapes, rare)."),
        (
            {"reranked": False, "settings": ("corrected",)},
            "Rerank off: no image is below the threshold 0.1 (shapes, rare).",
        ),
        ({}, None),
    ],
)
def test_a_rerank_that_did_nothing_is_said(
    tmp_path: Path, what: dict[str, Any], note: str | None
) -> None:
    """Its row would repeat CODER's, and without it nobody would know why there is none."""
    table = TABLES["zero_shot"].table(fake(tmp_path, **what))
    where = [row[0].text for row in table.rows if row[1].text == "CODER + rerank"]
    assert where == ([] if note else ["shapes", "rare"])
    assert table.notes == ((note,) if note else ())
    if note:
        assert note.replace("(", r"(") in formats.markdown(table)
        assert note in formats.latex(table, "zero_shot")


def test_a_rerank_without_texts_for_what_it_compares_is_said(tmp_path: Path) -> None:
    results = fake(tmp_path, datasets=("one",))

    def no_texts(document: dict[str, Any]) -> None:
        for m in document["methods"]:
            m["comparisons"]["with_text"] = 0

    results = change(results, results.paths.rerank("mini", "one"), no_texts)
    assert (
        "no one-to-one texts for the classes that are compared (one)"
        in TABLES["zero_shot"].table(results).notes[0]
    )


def test_images_that_were_left_out_are_counted_beside_the_numbers(tmp_path: Path) -> None:
    """They change the numbers: who is not told compares with another test split."""
    results = fake(tmp_path, datasets=("pets",), unreadable=3)
    assert TABLES["zero_shot"].table(results).notes == (
        "Left out, because they cannot be read: 3 of 123 test images of pets.",
    )
    assert TABLES["few_shot"].table(results).notes == (
        "Left out, because they cannot be read: 3 of 123 test images and 3 of 60 shots of pets.",
    )


def test_top5_says_nothing_of_five_classes(tmp_path: Path) -> None:
    few = TABLES["zero_shot"].table(
        fake(tmp_path / "few", classes=("a", "b", "c", "d", "e"), datasets=("one",))
    )
    many = TABLES["zero_shot"].table(fake(tmp_path / "many", datasets=("one",)))
    place = [c.label for c in many.columns].index("Top-5 (%)")
    assert "Top-5 (%)" not in [c.label for c in few.columns]
    assert many.rows[0][place].sort == many.frame["top5_accuracy"][0] > many.frame["accuracy"][0]


def predicted(root: Path, predictions: dict[str, list[int]]) -> Results:
    """Results with these predictions of six images: labels 0 0 0 1 1 2, classes cat, dog, fox."""
    made = Fake(
        root / "results",
        datasets=("pets",),
        classes=("cat", "dog", "fox"),
        shots=(),
        settings=("clean",),
    )
    results = made.write()
    ids, labels = [str(i) for i in range(6)], [0, 0, 0, 1, 1, 2]
    for path, methods in (
        (results.paths.zero_shot("mini", "pets"), ("clip", "coder")),
        (results.paths.rerank("mini", "pets"), ("coder_rerank",)),
    ):
        rows = [
            pd.DataFrame(
                {"setting": "any" if m == "clip" else "clean", "method": m, "image_id": ids}
            ).assign(label=labels, prediction=predictions[m])
            for m in methods
        ]
        write_parquet(path, pd.concat(rows))
    head = {"encoder": {"model": "local-dir:mini"}, "skipped": [], "ids": ids}
    features = np.eye(8)[:6] + 0.5
    write_head(results.paths.image_features("mini", "pets", "test"), head, features=features)
    return results


def test_classes_and_confusions_are_counted_right(tmp_path: Path) -> None:
    results = predicted(
        tmp_path,
        {
            "clip": [1, 1, 1, 1, 1, 0],
            "coder": [0, 1, 1, 1, 2, 2],
            "coder_rerank": [1, 1, 0, 2, 1, 2],
        },
    )
    table = TABLES["classes"].table(results)
    assert [[c.text for c in row] for row in table.rows] == [
        ["cat", "3", "0.0", "33.3", "33.3", "dog (2)"],
        ["dog", "2", "100.0", "50.0", "50.0", "fox (1)"],
        ["fox", "1", "0.0", "100.0", "100.0", "–"],
    ]
    table = TABLES["confusions"].table(results)
    assert [[row[0].text, *(c.text for c in row[2:6])] for row in table.rows] == [
        ["cat → dog", "3", "3", "2", "2"],
        ["dog → fox", "2", "0", "1", "1"],
        ["fox → cat", "1", "1", "0", "0"],
    ]
    assert ("On the right" in table.caption) == any(
        c.label.startswith("Speaks") for c in table.columns
    )
    pictures = [row[1].picture for row in table.rows]
    assert pictures[0] in (("pets", "1"), ("pets", "2")), "of the cats that CODER takes for a dog"
    assert pictures[1:] == [("pets", "4"), None]


def test_nothing_confused_is_an_empty_table(tmp_path: Path) -> None:
    right = [0, 0, 0, 1, 1, 2]
    results = predicted(tmp_path, {"clip": right, "coder": right, "coder_rerank": right})
    assert TABLES["confusions"].table(results).rows == []
    assert [c.label for c in TABLES["classes"].table(results).columns][
        -1
    ] == "CODER + rerank (%)", "none is taken for any"


def test_people_see_the_hardest_classes_and_scripts_all(tmp_path: Path) -> None:
    results = fake(
        tmp_path, classes=tuple(f"c{i}" for i in range(30)), datasets=("one", "two"), shots=()
    )
    for name, n in (("classes", 10), ("confusions", 8)):
        table = TABLES[name].table(results)
        assert [row[0].text for row in table.rows] == ["one"] * n + ["two"] * n
        assert len(table.frame) == 60
        assert "the CSV has more" in table.caption
        assert ("On the right" in table.caption) == any(
            c.label.startswith("Speaks") for c in table.columns
        )
        shown = table.frame.groupby("dataset", sort=False)["coder_rerank"].head(n).tolist()
        place = next(i for i, c in enumerate(table.columns) if c.label.startswith("CODER + rerank"))
        assert [row[place].sort for row in table.rows] == shown
        assert shown[:n] == sorted(shown[:n], reverse=name == "confusions")


def test_terminal_shows_the_table_as_people_read_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = fake(tmp_path, reranked=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    text = formats.plain(formats.markdown(TABLES["zero_shot"].table(results)))
    lines = click.unstyle(text).splitlines()
    assert not re.search(r"\\|\*", click.unstyle(text))
    head = next(line for line in lines if line.startswith("Data set"))
    row = next(line for line in lines if line.startswith("shapes") and "prompt ensemble" in line)
    assert row.index("CLIP") == head.index("Method")
    assert lines[-1].startswith("Rerank off:")
    assert max(map(len, lines)) <= 120  # text is wrapped to fit below and above
    assert "\033[1m" in text
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    assert "\033" not in formats.plain(formats.markdown(TABLES["zero_shot"].table(results)))


def test_only_clear_differences_are_bold(tmp_path: Path) -> None:
    """The highest of values whose intervals overlap would be taken for a winner."""
    results = fake(tmp_path, shots=(1, 4))
    for name, exhibit in TABLES.items():
        table = exhibit.table(results)
        for row in table.rows:
            for cell in row:
                ends = re.fullmatch(
                    r"(?:[a-z]+(?: \(\?\))?, )?[+−][\d.]+ \[([^]]*), ([^]]*)\](?:; here .*)?",
                    cell.text,
                )
                if ends:
                    low, high = (float(e.replace("−", "-")) for e in ends.groups())
                    assert cell.bold == (low > 0 or high < 0), (name, cell.text)
                else:
                    assert not cell.bold, (name, cell.text)
    assert TABLES["zero_shot"].table(results).groups().count(True) == 1


def test_what_says_nothing_is_left_out(tmp_path: Path) -> None:
    """Constant columns, data sets and models of which there is one, flaws that change nothing."""
    results = fake(tmp_path, datasets=("one",), shots=())
    assert TABLES["confusions"].table(results).columns[0].label == "Is → taken for"
    assert (
        "Images per class: 20. Data set: one. Model: mini."
        in TABLES["confusions"].table(results).caption
    )

    def idle(document: dict[str, Any]) -> None:
        for f in document["flaws"]:
            if f["flaw"] == "gate_reads_labels":
                f["difference"] |= {"value": 0.0, "low": 0.0, "high": 0.0}

    flaws = TABLES["flaws"].table(change(results, results.paths.rerank("mini", "one"), idle))
    assert "the rerank's gate reads labels" not in {c.text for row in flaws.rows for c in row}
    assert flaws.notes == (
        "Without effect on accuracy in this run: the rerank's gate reads labels.",
    )
    assert "gate_reads_labels" in set(flaws.frame["flaw"])


def test_an_error_is_shown_with_the_texts_that_decided(tmp_path: Path) -> None:
    """The lead of the wrong class is the sum over its texts and those of the true class, as scores
    say.
    """
    results = fake(tmp_path, datasets=("one",), shots=())
    frame = TABLES["confusions"].table(results).frame.dropna(subset=["example"])
    assert len(frame) > 3
    images, of_images = read_tensors(results.paths.image_features("mini", "one", "test"))
    texts, of_texts = read_tensors(results.paths.text_features("mini", "one"))

    def score(image: str, label: int) -> float:
        """Stage one's score of a class, text by text, in points."""
        x = images["features"][of_images["ids"].index(image)].double()
        averaged, names = [], []
        for kind, owner, text in zip(
            of_texts["kind"], texts["class_index"].tolist(), texts["features"].double(), strict=True
        ):
            cosine = float(x @ text / x.norm() / text.norm())
            if owner == label and kind in ("attribute", "analogous"):
                averaged.append(cosine)
            elif owner == label and kind in ("name", "synonym"):
                names.append(cosine)
        return 100 * (sum(averaged) + max(names)) / (len(averaged) + 1)

    classes = results.zero_shot("one", "mini")["classes"]
    for r in frame.to_dict("records"):
        taken_for, label = classes.index(r["taken_for"]), classes.index(r["class"])
        lead = score(r["example"], taken_for) - score(r["example"], label)
        assert r["lead"] == pytest.approx(lead, abs=1e-4)
        for side, name, other in (
            ("wrong", r["taken_for"], r["class"]),
            ("right", r["class"], r["taken_for"]),
        ):
            for said in filter(None, r[side].split("; ")):
                assert said.startswith((f"{name}: ", f"not {other}: "))
                assert re.search(r"(kite|eight straight edges|petals|hands|rim|\(\d)", said)


def test_csv_keeps_every_digit(tmp_path: Path) -> None:
    table = hostile()
    formats.write(table, tmp_path / "a.b" / "hostile.v1")
    path = tmp_path / "a.b" / "hostile.v1.csv"
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))))
    assert rows[0]["text"] == HOSTILE
    assert float(rows[0]["value"]) == 0.1 + 0.2
    assert sorted(p.name for p in path.parent.iterdir()) == [
        f"hostile.v1.{s}" for s in ("csv", "md", "tex")
    ]


def test_markdown_holds_hostile_text_in_its_cell() -> None:
    lines = formats.markdown(hostile()).splitlines()
    assert len(lines) == 6  # title, blank, head, rule, two rows
    for line in lines[2:]:
        assert len(re.findall(r"(?<!\\)\|", line)) == 4
    assert not re.search(r"(?<!\\)<", "\n".join(lines))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0123, "+1.2"), (-0.0123, "−1.2"), (0.0, "0.0"), (-0.0004, "0.0"), (0.0004, "0.0")],
)
def test_differences_have_a_sign_unless_they_round_to_zero(value: float, text: str) -> None:
    assert cells.points(value) == text


def test_where_no_image_changed_no_interval_is_claimed() -> None:
    """Six equal photos do not show that texts change nothing: 0.0 [0.0, 0.0] would say so."""
    assert cells.with_interval(0.0, 0.0, 0.0, cells.points) == "0.0"
    assert cells.with_interval(0.01, -0.02, 0.04, cells.points) == "+1.0 [−2.0, +4.0]"


def test_nothing_to_show_is_said() -> None:
    with pytest.raises(UserError, match="at least one data set and one model"):
        Results("results", [], ["mini"])


@pytest.mark.rest
@pytest.mark.skipif(
    not shutil.which("pdflatex"),
    reason="needs pdflatex (Debian: texlive-latex-base, texlive-latex-recommended)",
)
def test_latex_compiles(tmp_path: Path) -> None:
    """An author's paper would not compile with a table of the report."""
    many = fake(tmp_path, datasets=tuple(f"set_{i}" for i in range(10)), shots=(1, 4))
    made = {name: exhibit.table(many) for name, exhibit in TABLES.items()}
    assert any(len(t.rows) > formats.LONG for t in made.values())  # a longtable is among them
    body = [r"\documentclass{article}", r"\usepackage{booktabs,longtable}", r"\begin{document}"]
    for name, table in {**made, "hostile": hostile()}.items():
        formats.write(table, tmp_path / name)
        body += [rf"\input{{{name}.tex}}", r"\clearpage"]
    (tmp_path / "all.tex").write_text("\n".join([*body, r"\end{document}"]))
    command = ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert run.returncode == 0, run.stdout.decode(errors="replace")[-2000:]
    assert (tmp_path / "all.pdf").stat().st_size > 10_000
