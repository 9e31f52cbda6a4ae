"""A part of the true EuroSAT, from a server to the report, with this project's texts and a real
stand-in encoder.

All of it: `python tests/support/eurosat.py FOLDER`. The encoder is a stand-in: accuracies say
nothing about the paper."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from eurosat import configuration, serve_eurosat
from web import serve
from working_copy import Work, working_copy

pytestmark = pytest.mark.rest

CLASSES, PER_CLASS = 10, 8
SMALL = {"shots": [1, 4], "seeds": [1, 2], "betas": [0.1, 200, 50], "alphas": [0.1, 20, 20]}


@pytest.fixture(scope="module")
def made(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Work, str]:
    work = working_copy(tmp_path_factory.mktemp("eurosat") / "copy", configuration(shared, **SMALL))
    work.configure(lambda c: c.update(evaluation={"tsne_images": 60, "random_draws": 2}))
    with serve() as web:
        serve_eurosat(shared, web, work, PER_CLASS)
        done = work.snakemake()
    return work, done.stdout + done.stderr


def rows(work: Work, table: str) -> list[dict[str, str]]:
    with (work.folder / f"results/tables/{table}.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_it_runs_to_the_report_without_a_key(made: tuple[Work, str]) -> None:
    work, said = made
    assert "download eurosat" in said
    assert (work.folder / "results/report.html").stat().st_size > 100_000
    methods = {r["method"] for r in rows(work, "zero_shot") if r["dataset"] == "eurosat"}
    assert {"clip", "coder", "coder_rerank"} <= methods
    assert {r["method"] for r in rows(work, "few_shot")} >= {"tip_adapter", "coder_adapter"}


def test_features_and_labels_belong_together(made: tuple[Work, str]) -> None:
    """Equal features, or labels of other images, would give a tenth, as zero-shot does with the
    stand-in.
    """
    work, _ = made
    few = [
        r for r in rows(work, "few_shot") if r["method"] == "coder_adapter" and r["shots"] == "4"
    ]
    assert few
    assert min(float(r["accuracy"]) for r in few) > 0.2


def test_one_to_one_texts_cover_what_is_compared(made: tuple[Work, str]) -> None:
    work, _ = made
    (document,) = (work.folder / "results/rerank").glob("*/eurosat.json")
    counts = [m["comparisons"] for m in json.loads(document.read_text())["methods"]]
    compared = [c["with_text"] / c["all"] for c in counts if c["all"]]
    assert compared
    assert min(compared) > 0.3


def test_its_images_are_those_that_coop_lists(made: tuple[Work, str]) -> None:
    work, _ = made
    said = work.coder_clip("data", "check", "eurosat", "--config", work.config).stdout
    n = CLASSES * PER_CLASS
    assert re.search(rf"train {n}, val {n}, test {n} \(split: CoOp's split\)", said), said
    assert said.startswith("eurosat: complete")
