"""More of something runs what is new and nothing else; less of something runs nothing but the
report.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pandas as pd
import pytest

from working_copy import SMALL, Work, few_pictures, working_copy

pytestmark = pytest.mark.rest

SECOND = {"model": "local-dir:data/mini", "precision": "fp32"}
OUTPUT = {"compare", "tables", "figures_of_results", "figures_of_images", "page"}


@pytest.fixture(scope="module")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> Work:
    document: dict[str, Any] = {**SMALL, "models": {"mini": None, "second": SECOND}}
    work = working_copy(tmp_path_factory.mktemp("two") / "copy", document)
    few_pictures(work.folder)
    work.make()
    assert work.planned() == {}
    return work


def test_without_a_model_the_others_keep_their_numbers(two_models: Work) -> None:
    two_models.configure(lambda c: c["models"].pop("second"))
    assert set(two_models.planned()) <= OUTPUT
    two_models.configure(lambda c: c["models"].update(second=SECOND))


def test_without_a_data_set_the_others_keep_their_numbers(two_models: Work) -> None:
    """Only the evaluation is made again: its controls describe by images of the other data sets."""
    two_models.configure(lambda c: c["datasets"].pop("marks"))
    assert set(two_models.planned()) <= {*OUTPUT, "evaluate"}
    two_models.configure(lambda c: c["datasets"].update(marks=SMALL["datasets"]["marks"]))


def test_one_more_model_runs_its_own_jobs(work: Work) -> None:
    work.configure(lambda c: c.update(models={"mini": None, "second": SECOND}))
    planned = {rule: n for rule, n in work.planned().items() if rule not in OUTPUT}
    n = len(SMALL["datasets"])
    each = ("encode_texts", "build_coder", "classify", "encode_pairs", "rerank_top", "evaluate")
    assert planned == {"encode_images": n, "fit_adapters": 2 * n, **dict.fromkeys(each, n)}


def encoded(work: Work, *parts: str) -> int:
    """How many images the last job, or the jobs of these shards, sent through the encoder, by their
    progress.
    """
    folder = work.folder / "results/logs"
    logs = [(folder / f"{part}.log").read_text() for part in parts or ["encode_images/mini/marks"]]
    return sum(int(done) for log in logs for done in re.findall(r"100%\|.*\| (\d+)/\1 ", log))


def test_one_more_photo_encodes_one_photo(work: Work) -> None:
    """All other features come from the cache, and the same bytes come out as without it. A photo
    more in a class can move another from train, which nothing had encoded yet, to val or test."""
    file = work.folder / "photos/marks/red_disc/zz.png"
    file.write_bytes((file.parent / "00.png").read_bytes() + b"another file")
    files = [f"results/image_features/mini/marks/{split}.safetensors" for split in ("val", "test")]
    work.snakemake(*files)
    assert encoded(work) <= 2 + 2 * 2, "and shots of its class that were not drawn before"
    kept = {f: (work.folder / f).read_bytes() for f in files}
    for made in files:
        (work.folder / made).unlink()
    work.configure(lambda c: c["features"].update(cache=False))
    work.snakemake(*files)
    assert encoded(work) > 20
    assert {f: (work.folder / f).read_bytes() for f in files} == kept


def test_a_corrected_label_reaches_the_results_without_encoding(work: Work) -> None:
    """A correction that nothing reads would be worse than none. Taken back, the bytes are the first
    ones again.
    """
    made = ["results/manifests/marks.json", "results/zero_shot/mini/marks.json"]
    work.snakemake(*made)
    before = {f: (work.folder / f).read_bytes() for f in made}
    table = pd.read_parquet(work.folder / made[1].replace(".json", ".parquet"))
    assert set(table.loc[table["image_id"].str.startswith("red_disc"), "label"]) == {2}
    image = next(i for i in table["image_id"] if i.startswith("red_disc"))
    file = work.folder / "config/marks.corrections.csv"
    file.write_text(f"image,from,to\n{image},red disc,blue disc\n")
    assert "list_images" not in work.planned(), (
        "a file that the configuration does not name changes nothing"
    )
    work.configure(
        lambda c: c["datasets"]["marks"].update(corrections="config/marks.corrections.csv")
    )
    work.snakemake(*made)
    table = pd.read_parquet(work.folder / made[1].replace(".json", ".parquet"))
    assert set(table.loc[table["image_id"] == image, "label"]) == {0}
    counted = json.loads((work.folder / made[0]).read_text())["corrections"]
    counts = {"corrected": 1, "left_out": 0, "splits": {"test": 1}}
    assert counted == {"file": "config/marks.corrections.csv", **counts}
    assert not {"list_images", "encode_images", "classify"} & set(work.planned())
    file.write_text(file.read_text().replace("blue disc", "green disc"))
    assert "list_images" in work.planned(), "its content is an input"
    listed = (work.folder / made[0]).stat().st_mtime_ns
    file.write_text("image,from,to\nred_disc/gone.png,red disc,blue disc\n")
    failed = work.snakemake(*made, check=False)
    assert failed.returncode != 0
    assert "config/marks.corrections.csv: no image 'red_disc/gone.png'" in failed.stderr
    assert (work.folder / made[0]).stat().st_mtime_ns == listed, "before the first job"
    work.configure(lambda c: c["datasets"]["marks"].pop("corrections"))
    work.snakemake(*made)
    assert {f: (work.folder / f).read_bytes() for f in made} == before


def test_shards_after_a_run_encode_nothing(work: Work) -> None:
    file = "results/image_features/mini/marks/test.safetensors"
    before = (work.folder / file).read_bytes()
    work.configure(lambda c: c["features"].update(shards=2))
    work.snakemake(file)
    assert (work.folder / file).read_bytes() == before
    assert encoded(work, *(f"encode_shard/mini/marks/{shard}/2" for shard in (0, 1))) == 0
