"""The paper's configuration in miniature, from the texts to the report.

Everything is as in config/paper.yaml but small: three of its data sets in their true
layouts, with their first classes and a few drawn images; RN50 and ViT-B-32 under OpenAI's name from
a hub cache that holds random weights; texts from a language model's server, and CuPL's sentences
for one data set. The numbers mean nothing. Everything runs as commands, each for all data sets,
because an hour would go into starting Python for every job; Snakemake then finds nothing left to
do."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

from coder_clip.baselines.methods import ABLATIONS, FEW_SHOT, ZERO_SHOT
from coder_clip.datasets import entry
from coder_clip.reporting.all_exhibits import FIGURES, TABLES
from paper_miniature import CUPL, DATASETS, FEW, MODELS, made
from working_copy import Work

pytestmark = pytest.mark.rest


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Every command was run."""
    return made(tmp_path_factory.mktemp("paper"))


def rows(work: Work, name: str) -> list[dict[str, str]]:
    with (work.folder / f"results/tables/{name}.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_commands_make_all_that_the_dag_asks_for(run: Work) -> None:
    assert run.planned() == {}


def test_every_table_and_figure_is_there(run: Work) -> None:
    results = run.folder / "results"
    for name in TABLES:
        assert rows(run, name), name
        assert all(
            (results / f"tables/{name}{suffix}").stat().st_size for suffix in (".md", ".tex")
        ), name
    for name in FIGURES:
        assert (results / f"figures/{name}.pdf").read_bytes().startswith(b"%PDF")
        with Image.open(results / f"figures/{name}.png") as picture:
            shades = len(np.unique(picture.convert("L").resize((64, 64))))
            assert shades > 8, f"{name} is blank"
    assert (results / "report.html").is_file()


def test_every_data_set_model_and_method_is_in_the_tables(run: Work) -> None:
    found = {(r["dataset"], r["model"], r["method"]) for r in rows(run, "zero_shot")}
    asked = {(d, m, method) for d in DATASETS for m in MODELS for method in ZERO_SHOT}
    has_none = {(d, m, "sentence") for d in DATASETS for m in MODELS if d != CUPL}
    assert {row for row in found if row[0] != "(average)"} == asked - has_none
    methods = {*FEW_SHOT, *ABLATIONS}
    few = {(r["dataset"], r["model"], r["shots"], r["method"]) for r in rows(run, "few_shot")}
    assert few >= {
        (d, m, n, method) for d in FEW for m in MODELS for n in "12" for method in methods
    }
    assert {d for d, *_ in few} <= FEW | {"(average)"}


def test_the_tables_say_which_split(run: Work) -> None:
    splits = {
        r["dataset"]: r["split"] for r in rows(run, "zero_shot") if r["dataset"] != "(average)"
    }
    for name in DATASETS:
        assert splits[name] in {r.what for r in entry.entry(name).splits}, name
    assert splits["dtd"] == "CoOp's split"
    for table, there in (("zero_shot", DATASETS), ("few_shot", FEW)):
        said = (run.folder / f"results/tables/{table}.md").read_text(encoding="utf-8").splitlines()
        note = next(line for line in said if line.startswith("Splits: "))
        assert all(name in note for name in there), note
