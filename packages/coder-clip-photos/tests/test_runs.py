"""Methods of a finished run for new photos: what their accuracy promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from coder_clip.errors import UserError
from coder_clip.evaluation.estimates import estimate
from coder_clip.foundation.artifacts import Paths, read_json, read_parquet, write_json
from coder_clip.jobs import work
from coder_clip.phases.text_inputs import read_texts
from coder_clip.pipeline.config import Config
from coder_clip_photos.decisions import StageTwo
from coder_clip_photos.runs import _Methods, few_shot_candidates, find_config
from fake_results import Fake
from toy_features import Toy


def test_classify_says_the_interval_over_groups(tmp_path: Path) -> None:
    """It states how many test images a few-shot method gets right, with an interval."""
    toy = Toy(tmp_path, burst=3)
    work(toy.config, "fit_adapters", model="m", dataset="toy", shots="2")
    texts = read_texts(Paths(toy.config.results).text_features("m", "toy"))
    methods = _Methods(toy.config, "m", "toy", texts, None, StageTwo(), "clean")
    rows = read_parquet(Paths(toy.config.results).adapter("m", "toy", 2))
    rows = rows[rows["setting"] == "clean"]
    candidates = methods.candidates([])
    assert candidates
    for candidate in candidates:
        of = rows[(rows["method"] == candidate.method) & (rows["seed"] == candidate.seed)]
        expected = estimate(of["correct"].to_numpy(), groups=of["group"].to_numpy())
        assert candidate.on_test == pytest.approx(expected, abs=1e-8)


def test_the_seed_of_a_few_shot_method_is_chosen_on_validation_images(tmp_path: Path) -> None:
    """By test accuracy, the accuracy that classify promises would be too high."""
    results = Fake(tmp_path, datasets=("one",), shots=(16,), seeds=(1, 2, 3)).write()
    path = results.paths.adapter("mini", "one", 16).with_suffix(".json")
    document = read_json(path)
    for r in document["runs"]:
        r["val_accuracy"], r["test_accuracy"] = {1: (0.6, 0.9), 2: (0.8, 0.5), 3: (0.7, 0.7)}[
            r["seed"]
        ]
        r["gamma"] = None
    write_json(path, document)
    config = Config.model_validate(
        {
            "results": str(tmp_path),
            "datasets": {"one": {"root": "one"}},
            "models": {"mini": {"model": "hf-hub:a/b"}},
            "adapter": {"shots": [16]},
        }
    )
    found = few_shot_candidates(config, "mini", "one", "clean")
    assert len(found) > 5
    assert {(c.seed, c.val_accuracy) for c in found} == {(2, 0.8)}
    assert {c.on_test["value"] for c in found} == {0.5}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("datasets: {pets: {root: photos, correction: a.csv}}", "did you mean 'corrections'"),
        ("datasets: {pets: {root: photos}}", "no model and data set of it ran"),
    ],
)
def test_why_a_configuration_is_not_the_one_is_said(tmp_path: Path, text: str, says: str) -> None:
    """After a slip in its configuration a run was said not to exist."""
    (tmp_path / "results").mkdir()
    (tmp_path / "photos").mkdir()
    (tmp_path / "config").mkdir()
    (tmp_path / "config/mine.yaml").write_text(
        f"results: results\nmodels: {{m: {{model: ViT-B-32, pretrained: openai}}}}\n{text}\n"
    )
    with pytest.raises(UserError, match=f"config/mine.yaml.*{says}"):
        find_config(tmp_path / "results")
