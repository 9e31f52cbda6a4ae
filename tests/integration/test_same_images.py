"""Several sets of texts of the same images in one run of the real DAG."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from working_copy import SMALL, Work, few_pictures, working_copy

pytestmark = pytest.mark.rest

# texts in the form that the importer of Menon and Vondrick's descriptors writes, for the folder,
# and class names alone for drawn images that have no section of their own
DOCUMENT: dict[str, Any] = {
    **SMALL,
    "datasets": {
        "marks-menon": {"of": "marks", "texts": "photos/menon.json"},
        "marks": {"root": "photos/marks", "texts": "photos/marks.json", "views": 2},
        "rare-names": {"of": "rare", "texts": "names", "few_shot": False},
    },
    "adapter": {**SMALL["adapter"], "methods": ["tip_adapter", "coder_adapter"]},
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Everything run once, two jobs at a time."""
    work = working_copy(tmp_path_factory.mktemp("texts") / "copy", DOCUMENT)
    few_pictures(work.folder)
    texts = json.loads((work.folder / "photos/marks.json").read_text())
    for one in texts["classes"]:
        one["attribute"] = ["which is a mark", f"a {one['name'].split()[0]} middle"]
    (work.folder / "photos/menon.json").write_text(json.dumps(texts))
    work.snakemake()
    return work


def encoded(work: Work, dataset: str) -> int:
    """How many images the job sent through the encoder, by its progress."""
    log = work.folder / f"results/logs/image_features/mini/{dataset}.log"
    return sum(int(done) for done in re.findall(r"100%\|.*\| (\d+)/\1 ", log.read_text()))


def test_the_same_images_are_encoded_once(made: Work) -> None:
    """Four sets of texts of ImageNet would encode it four times. The job that is named waits for
    nobody; the other waits for it, though its section comes first, and finds all images."""
    assert encoded(made, "marks") > 20
    assert encoded(made, "marks-menon") == 0
    assert encoded(made, "rare-names") > 100, "the drawn images have no other job"


def test_images_shots_and_views_are_the_same(made: Work) -> None:
    """Differences between rows are paired by image, shot and seed."""
    folder = made.folder / "results/image_features/mini"
    for split in ("shots", "val", "test"):
        one, other = (
            load_file(folder / d / f"{split}.safetensors") for d in ("marks", "marks-menon")
        )
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name])


def test_one_table_has_each_set_of_texts(made: Work) -> None:
    """Class names alone do not read the texts, so their accuracies agree; CODER reads them."""
    table = pd.read_csv(made.folder / "results/tables/zero_shot.csv")
    rows = table.set_index(["dataset", "method"])["accuracy"]
    assert set(table["dataset"]) == set(DOCUMENT["datasets"])
    assert rows["marks", "clip"] == rows["marks-menon", "clip"]
    texts = {
        d: json.loads((made.folder / f"results/texts/{d}.json").read_text())["classes"]
        for d in ("marks", "marks-menon")
    }
    assert [c["name"] for c in texts["marks"]] == [c["name"] for c in texts["marks-menon"]]
    assert texts["marks"][0]["attribute"] != texts["marks-menon"][0]["attribute"]
    few_shot = pd.read_csv(made.folder / "results/tables/few_shot.csv")
    tip = few_shot[few_shot["method"] == "tip_adapter"].set_index("dataset")["accuracy"]
    assert list(tip["marks"]) == list(tip["marks-menon"])
    page = (made.folder / "results/report.html").read_text(encoding="utf-8")
    assert "marks-menon" in page


def test_the_run_is_finished(made: Work) -> None:
    """A job that waits for another one's features must not be outdated by them."""
    assert made.planned() == {}


def test_another_set_of_texts_leaves_the_first_alone(made: Work) -> None:
    """Results that somebody paid for must not run again because a set stands beside them now."""
    made.configure(lambda c: c["datasets"].update({"marks-b": {"of": "marks", "texts": "names"}}))
    planned = made.planned()
    made.configure(lambda c: c["datasets"].pop("marks-b"))
    output = {"tables", "figures_of_results", "figures_of_images", "page"}
    each = (
        *("list_images", "text_set", "encode_images", "encode_texts", "build_coder", "classify"),
        *("confusable_pairs", "pair_texts", "encode_pairs", "rerank_top", "evaluate"),
    )
    assert {r: n for r, n in planned.items() if r not in output} == {
        **dict.fromkeys(each, 1),
        "fit_adapters": 2,
    }
