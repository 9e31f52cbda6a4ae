"""Published figures beside reproduced ones: the right one, from the right source, and nothing that
does not compare.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from coder_clip.datasets.entry import entry
from coder_clip.foundation.artifacts import read_json
from coder_clip.reporting import formats
from coder_clip.reporting.all_exhibits import TABLES
from coder_clip.reporting.exhibits import published
from coder_clip.reporting.exhibits.published import comparable, figures
from coder_clip.reporting.results import Results
from fake_results import Fake, write_head, write_json

ENCODER = {"model": "RN50", "pretrained": "openai", "weights_sha256": "0" * 64}
WHOLE = {"split": "CoOp's split", "images": {"train": 2820, "val": 1128, "test": 1692}}


@pytest.fixture(autouse=True)
def _at_the_root(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "REFERENCE", repo / "data/reference")


def ran(
    root: Path, manifest: dict[str, Any], encoder: dict[str, Any], dataset: str = "dtd"
) -> Results:
    """Made-up numbers that say of themselves that they are of this data set and encoder."""
    results = Fake(root / "results", datasets=(dataset,), models=("mine",), shots=(1, 16)).write()
    path = results.paths.manifest(dataset)
    write_json(path, {**read_json(path), **manifest})
    write_head(results.paths.image_features("mine", dataset, "test"), {"encoder": encoder})
    return results


def of(frame: pd.DataFrame, method: str, shots: int, quantity: str = "accuracy") -> pd.DataFrame:
    return frame[
        (frame["method"] == method) & (frame["shots"] == shots) & (frame["quantity"] == quantity)
    ]


def test_a_figure_stands_beside_the_number_that_it_is_of(tmp_path: Path) -> None:
    results = ran(tmp_path, WHOLE, ENCODER)
    table = TABLES["published"].table(results)
    (tip,) = of(table.frame, "tip_adapter", 16).to_dict("records")
    assert (tip["published"], tip["published_as"]) == (pytest.approx(0.6093), "Tip-Adapter")
    assert tip["source"] == "gaopengcuhk/Tip-Adapter@d0e2d6f exp.log"
    assert tip["compares"] == "target"
    summary = results.adapter("dtd", "mine", 16)["summary"]
    ours = next(
        s["accuracy"] for s in summary if (s["method"], s["setting"]) == ("tip_adapter", "clean")
    )
    assert (tip["reproduced"], tip["low"], tip["high"]) == (
        ours["value"],
        ours["low"],
        ours["high"],
    )
    assert tip["difference"] == pytest.approx(ours["value"] - 0.6093)
    assert tip["within"] == ("yes" if ours["low"] <= 0.6093 <= ours["high"] else "no")
    (gda,) = of(table.frame, "gda", 16).to_dict("records")
    assert gda["published"] == pytest.approx(0.6651), (
        "the mean that they publish, not one of its seeds"
    )
    zero = of(table.frame, "clip_ensemble", 0)
    assert zero["published"].tolist() == pytest.approx([0.4220, 0.4232]), (
        "two logs that differ are both shown"
    )
    (band,) = of(table.frame, "clip_templates", 0).to_dict("records")
    assert (band["compares"], band["published"]) == ("band", pytest.approx(0.4154))
    assert set(table.frame["dataset"]) == {"dtd"}
    assert set(table.frame["model"]) == {"mine"}, "the run's own name of the encoder"


def test_within_is_told_by_our_interval(tmp_path: Path) -> None:
    results = ran(tmp_path, WHOLE, ENCODER)
    path = results.paths.zero_shot("mine", "dtd").with_suffix(".json")
    document = read_json(path)
    for value, low, high, said in (
        (0.43, 0.40, 0.46, "yes"),
        (0.5, 0.47, 0.53, "no"),
        (0.42, 0.4220, 0.43, "yes"),
    ):
        for m in document["methods"]:
            if m["method"] == "clip_ensemble":
                m["accuracy"] = {"value": value, "low": low, "high": high}
        write_json(path, document)
        again = Results(results.paths.root, results.datasets, results.models, results.shots)
        row = of(TABLES["published"].table(again).frame, "clip_ensemble", 0).iloc[0]
        assert row["within"] == said
        assert row["difference"] == pytest.approx(value - 0.4220)


def test_what_nobody_could_verify_is_unknown(tmp_path: Path) -> None:
    """A figure from memory would be taken for the paper's."""
    table = TABLES["published"].table(ran(tmp_path, WHOLE, ENCODER))
    ours = table.frame[table.frame["method"].str.startswith("coder")]
    assert list(zip(ours["method"], ours["shots"], strict=True)) == [
        ("coder", 0), ("coder_rerank", 0), ("coder_adapter", 1), ("coder_adapter", 16),
    ]  # fmt: skip
    assert ours["published"].isna().all()
    assert ours["difference"].isna().all()
    assert set(ours["within"]) == {"unknown"}
    assert set(ours["setting"]) == {"as_published"}
    shown = next(row for row in table.rows if row[0].text == "CODER")
    assert [c.text for c in shown[3:6]] == ["unknown", "–", "unknown"]
    assert "nan" not in formats.markdown(table).lower().replace("nanometre", "")


@pytest.mark.parametrize(
    ("manifest", "encoder", "dataset"),
    [
        ({}, ENCODER, "dtd"),  # somebody's folder of that name
        ({**WHOLE, "images": {"train": 2820, "val": 1128, "test": 12}}, ENCODER, "dtd"),
        ({**WHOLE, "split": "another one"}, ENCODER, "dtd"),
        (WHOLE, {**ENCODER, "pretrained": "laion2b_s34b_b79k"}, "dtd"),
        (WHOLE, {"model": "local-dir:data/mini"}, "dtd"),
        (WHOLE, ENCODER, "shapes"),
    ],
)
def test_nothing_else_is_held_against_a_paper(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    manifest: dict[str, Any],
    encoder: dict[str, Any],
    dataset: str,
) -> None:
    monkeypatch.setattr(published, "REFERENCE", tmp_path / "nothing is read")
    results = ran(tmp_path, manifest, encoder, dataset)
    table = TABLES["published"].table(results)
    assert (table.rows, len(table.frame)) == ([], 0)
    assert formats.markdown(table).count("\n") == 1
    assert "Nothing is compared" in formats.markdown(table)
    formats.write(table, results.paths.table("published", ""))
    assert list(csv.reader(results.paths.table("published").open(encoding="utf-8"))) == [
        list(table.frame.columns)
    ]


def read_rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def share(row: dict[str, str]) -> float:
    return float(row["accuracy"]) / 100


@pytest.mark.rest
def test_every_published_figure_of_a_method_of_ours_is_shown_or_told_apart(repo: Path) -> None:
    """A row that is dropped by mistake would be missed by nobody."""
    few = pd.read_csv(repo / "data/reference/few_shot.csv").dropna(subset="method")
    for (dataset, model), rows in few[few["shots"] > 0].groupby(["dataset", "model"]):
        split = next(r for r in entry(str(dataset)).splits).what
        found = figures(str(dataset), str(model), split)
        shown = {(f.method, f.shots) for f in found if f.value is not None and f.shots}
        assert shown == set(zip(rows["method"], rows["shots"], strict=True))
        for f in found:
            if f.value is None or not f.shots:
                continue
            of_source = rows[
                (rows["method"] == f.method)
                & (rows["shots"] == f.shots)
                & (rows["source"] == f.source)
                & (rows["published_as"] == f.published_as)
            ]
            seeds = of_source.dropna(subset="seed")["accuracy"] / 100
            values = of_source[of_source["seed"].isna()]["accuracy"] / 100
            mean = f.note.startswith("mean of seeds 1, 2, 3")
            assert np.isclose([seeds.mean()] if mean else values, f.value).any()
    zero = pd.read_csv(repo / "data/reference/zero_shot.csv")
    for (dataset, model), rows in zero.groupby(["dataset", "model"]):
        found = [f for f in figures(str(dataset), str(model), "") if f.method == "clip_templates"]
        assert {f.value for f in found} == set(
            rows.loc[rows["metric"] != "datacomp_main_metric", "value"]
        )
        twice = rows[rows["metric"] == "datacomp_main_metric"]
        assert np.allclose(twice["value"], rows.loc[rows["metric"] == "as_published", "value"]), (
            "left out as equal"
        )


def test_imagenet_is_a_target_with_the_sentences_of_open_clip() -> None:
    (found,) = [f for f in figures("imagenet", "RN50", "") if f.method == "clip_templates"]
    assert (found.quantity, found.target, found.note) == ("accuracy", True, "")
    pets = [
        f for f in figures("oxford_pets", "RN50", "CoOp's split") if f.method == "clip_templates"
    ]
    assert [(f.quantity, f.target) for f in pets] == [("mean_class_recall", False)]


def test_the_rule_of_a_split_decides(tmp_path: Path) -> None:
    """Another partition of DTD is whole, and no target."""
    other = entry("dtd").splits[1]
    manifest = {"split": other.what, "images": dict(other.counts)}
    assert comparable("dtd", manifest, ENCODER) == "RN50"
    few = [f for f in figures("dtd", "RN50", other.what) if f.method == "tip_adapter"]
    assert few
    assert not any(f.target for f in few)
    assert all("another split" in f.note for f in few)


def test_the_page_says_once_that_nothing_is_compared(tmp_path: Path) -> None:
    results = Fake(tmp_path / "results", datasets=("shapes",), shots=(1,)).write()
    assert (
        TABLES["published"]
        .nothing(results)
        .startswith("no data set of this run is a published one")
    )
