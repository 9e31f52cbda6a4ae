"""Published data sets through the whole DAG, from small trees in their true layouts: one with
everything, one with a test split alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from trees import plant
from working_copy import Work, working_copy

pytestmark = pytest.mark.rest


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Random pictures: the numbers mean nothing, the files everything."""
    root = tmp_path_factory.mktemp("root")
    plant("eurosat", root, 3)
    plant("places365", root, 1)
    document: dict[str, Any] = {
        "data_root": str(root),
        "datasets": {"eurosat": {"texts": "names", "views": 2}, "places365": {"texts": "names"}},
        "models": ["mini"],
        "adapter": {
            **{"methods": ["tip_adapter", "coder_adapter"], "shots": [1, 2], "seeds": [1]},
            **{"betas": [0.1, 200, 20], "alphas": [0.1, 20, 10]},
        },
        "evaluation": {"tsne_images": 40, "text_counts": [1], "draws": 1},
    }
    work = working_copy(tmp_path_factory.mktemp("published") / "copy", document)
    work.make()
    return work


def manifest(work: Work, name: str) -> Any:
    return json.loads((work.folder / f"results/manifests/{name}.json").read_text(encoding="utf-8"))


def root_of(work: Work) -> Path:
    import yaml

    return Path(yaml.safe_load((work.folder / work.config).read_text())["data_root"])


def test_everything_is_made_and_says_which_split(run: Work) -> None:
    results = run.folder / "results"
    assert manifest(run, "eurosat")["split"] == "CoOp's split"
    assert manifest(run, "eurosat")["images"] == {"train": 30, "val": 30, "test": 30}
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "CoOp&#39;s split" in page
    assert "the official validation images as test" in page
    for suffix in (".csv", ".md", ".tex"):
        assert (results / "tables/few_shot").with_suffix(suffix).is_file()


def test_a_test_split_alone_is_zero_shot_only(run: Work) -> None:
    results = run.folder / "results"
    made = (results / "image_features/mini/places365").glob("*.safetensors")
    images = {p.stem: len(load_file(p)["features"]) for p in made}
    assert images.pop("test") > 0
    assert images == {"shots": 0, "val": 0}, "a split that is not needed is a file without images"
    assert sorted(p.name for p in (results / "adapter/mini").iterdir()) == ["eurosat"]
    assert "places365" in (results / "tables/zero_shot.csv").read_text()
    assert "places365" not in (results / "tables/few_shot.csv").read_text()
    document = json.loads((results / "rerank/mini/places365.json").read_text())
    assert {m["threshold"] for m in document["methods"] if m["setting"] == "clean"} == {0.1}


def test_nothing_of_the_machine_is_in_the_artefacts(run: Work) -> None:
    """A colleague's results would differ by a path."""
    root = str(root_of(run)).encode()
    named = [
        p
        for p in (run.folder / "results").rglob("*")
        if p.is_file() and not {"logs", "benchmarks"} & set(p.parts) and root in p.read_bytes()
    ]
    assert named == []


def test_which_root_it_is_reruns_nothing(run: Work, tmp_path: Path) -> None:
    first = root_of(run)
    assert run.planned() == {}
    shutil.copytree(first, tmp_path / "elsewhere")
    run.configure(lambda d: d.update(data_root=str(tmp_path / "elsewhere")))
    assert run.planned() == {}
    run.configure(
        lambda d: d.update(data_root=str(tmp_path / "nowhere"))
    )  # who pulled the artefacts alone
    assert run.planned() == {}
    run.configure(lambda d: d.pop("data_root"))
    assert run.planned() == {}
    run.configure(lambda d: d.update(data_root=str(first)))


def test_another_split_file_reruns_what_follows(run: Work, tmp_path: Path) -> None:
    """Numbers over two splits would stand in one table."""
    first = root_of(run)
    shutil.copytree(first, tmp_path / "elsewhere")
    lists = tmp_path / "elsewhere/eurosat/split_zhou_EuroSAT.json"
    splits = json.loads(lists.read_text())
    splits["train"], splits["val"] = splits["val"], splits["train"]
    lists.write_text(json.dumps(splits))
    run.configure(lambda d: d.update(data_root=str(tmp_path / "elsewhere")))
    planned = run.planned()
    assert planned.get("list_images") == 1
    assert "encode_images" in planned
    run.configure(lambda d: d.update(data_root=str(first)))
    assert run.planned() == {}


def test_the_paper_is_planned_without_images(tmp_path: Path) -> None:
    """Thousands of jobs; a plan that looks at a million images, or at the network, would take
    minutes.
    """
    planned = Work(working_copy(tmp_path / "copy", {}).folder, "config/paper.yaml").planned()
    assert planned["list_images"] == 14
    assert planned["encode_images"] == 5 * 14
    assert planned["fit_adapters"] == 5 * 11 * 5
    assert planned["rerank_top"] == 5 * 14
