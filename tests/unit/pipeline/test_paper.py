"""The paper's configuration and the published figures: every name in them is one that the project
knows.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from coder_clip.baselines.methods import FEW_SHOT
from coder_clip.datasets import PUBLISHED, zero_shot_only
from coder_clip.datasets.entry import entry
from coder_clip.encoders.families.open_clip import names as open_clip_names
from coder_clip.pipeline.config import Config, load_config
from coder_clip.protocols import PUBLISHED_INITIAL, PUBLISHED_THRESHOLDS
from coder_clip.texts.checks import FEWEST
from coder_clip.texts.sets import load_pair_set, load_text_set

ZERO_SHOT = {
    *("eurosat", "cub200", "dtd", "food101", "caltech101", "oxford_pets", "places365", "imagenet"),
    "imagenet_v2",
}
FEW = {
    *(
        "caltech101",
        "dtd",
        "eurosat",
        "fgvc_aircraft",
        "food101",
        "imagenet",
        "oxford_flowers",
        "oxford_pets",
    ),
    *("stanford_cars", "sun397", "ucf101"),
}


@pytest.fixture
def paper(repo: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.chdir(repo)
    return load_config("config/paper.yaml")


def test_the_papers_data_sets_and_models_are_all_there(paper: Config) -> None:
    assert set(paper.datasets) == ZERO_SHOT | FEW <= set(PUBLISHED)
    assert {d for d in paper.datasets if paper.few_shot(d)} == FEW
    assert set(paper.models) == {"RN50", "ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336"}
    assert {m.pretrained for m in paper.models.values()} == {"openai"}
    assert paper.adapter.shots == [1, 2, 4, 8, 16]
    assert len(paper.adapter.seeds) == 3
    assert (paper.datasets["oxford_pets"].views, paper.datasets["imagenet"].views) == (10, 1)


def test_published_constants_reach_their_data_sets(paper: Config) -> None:
    """Under another name ("pets", "cars") a constant would silently be the default."""
    assert set(PUBLISHED_THRESHOLDS) == ZERO_SHOT
    assert set(PUBLISHED_INITIAL) == FEW
    assert paper.threshold("oxford_pets") == PUBLISHED_THRESHOLDS["oxford_pets"]
    assert paper.initial("stanford_cars") == (1.5, 23.5)


def test_no_data_set_needs_a_key(paper: Config) -> None:
    """Each has its file of texts and of pairs, whose classes are the data set's."""
    assert paper.generator is None
    for name, data in paper.datasets.items():
        assert not data.generated(name), name
        assert data.pair_text_source is None, name
        classes = entry(name).class_names()
        file, pairs = data.text_source(name), data.pair_source(name)
        assert file is not None, name
        assert pairs is not None, name
        texts = load_text_set(file, name, classes)
        assert min(len(c.attribute) for c in texts.classes) >= FEWEST, name
        assert load_pair_set(pairs, name, classes).pairs, name


def test_a_language_model_is_one_documented_change(repo: Path, tmp_path: Path) -> None:
    """As docs/paper.md has it: the value of texts and the section generator of config/texts.yaml."""
    assert "replace `texts: &texts null`" in (repo / "docs/paper.md").read_text(encoding="utf-8")
    text, other = (
        (repo / f"config/{n}.yaml").read_text(encoding="utf-8") for n in ("paper", "texts")
    )
    value = re.search(r"&llm (\{.*?\})", other)
    assert value is not None
    edited = (
        text.replace("texts: &texts null", f"texts: &texts {value[1]}")
        + other[other.index("\ngenerator:") :]
    )
    (tmp_path / "c.yaml").write_text(edited)
    config = load_config(tmp_path / "c.yaml")
    for name, data in config.datasets.items():
        assert set(data.generated(name).values()) == {"llm"}, name
        assert data.pair_text_source == "llm", name


def test_a_data_set_has_a_test_split_alone_by_its_entry() -> None:
    """Nothing could be chosen on the others' validation images, or a run would wait for images that
    nobody has.
    """
    assert {n for n in PUBLISHED if zero_shot_only(n)} == {"imagenet_v2", "places365"}


def test_a_test_split_alone_is_encoded_and_no_more(paper: Config) -> None:
    assert paper.encoded("places365") == ["test"]
    assert paper.encoded("cub200") == ["val", "test"]
    assert paper.encoded("dtd") == ["shots", "val", "test"]
    own = {"places365": {"root": "photos"}}  # somebody's folder of that name
    config = Config.model_validate({"datasets": own, "models": {"m": {"model": "hf-hub:a/b"}}})
    assert config.encoded("places365") == ["shots", "val", "test"]


# ---- data/reference


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("name", ["few_shot", "zero_shot"])
def test_every_published_figure_has_its_source(repo: Path, name: str) -> None:
    """A number without one could have come from anywhere."""
    found = rows(repo / f"data/reference/{name}.csv")
    assert len(found) > 200
    for row in found:
        assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{7,40} \S.*", row["source"]), row
        assert row["dataset"] in PUBLISHED, row
        assert row["model"] in open_clip_names(), row
    assert len({tuple(r.values()) for r in found}) == len(found)


def test_few_shot_figures_are_percent_of_methods_that_we_have(repo: Path) -> None:
    found = rows(repo / "data/reference/few_shot.csv")
    assert all(0 < float(r["accuracy"]) <= 100 for r in found)
    assert {r["method"] for r in found} <= {"", "clip_ensemble", *FEW_SHOT}
    assert {"tip_adapter", "tip_x", "ape", "gda"} <= {r["method"] for r in found}
    tip = [
        r
        for r in found
        if (r["dataset"], r["published_as"], r["shots"]) == ("imagenet", "Tip-Adapter", "16")
    ]
    assert [(r["accuracy"], r["source"]) for r in tip] == [
        ("62.01", "gaopengcuhk/Tip-Adapter@d0e2d6f exp.log")
    ]


def test_zero_shot_figures_are_fractions(repo: Path) -> None:
    assert all(0 < float(r["value"]) < 1 for r in rows(repo / "data/reference/zero_shot.csv"))


def test_published_figures_are_those_that_were_read(repo: Path, shared: Path) -> None:
    """Against the file they were collected in: none lost, changed or added."""
    ours = rows(repo / "data/reference/few_shot.csv")
    theirs = rows(shared / "data/reference/few_shot_reference.csv")
    key = {
        (r["published_as"], r["model"], r["shots"], r["seed"], r["accuracy"], r["source"])
        for r in ours
    }
    assert key == {
        (
            r["method"],
            r["backbone"].replace("/", "-"),
            r["shots"],
            r["seed"],
            r["accuracy"],
            r["source"],
        )
        for r in theirs
    }
