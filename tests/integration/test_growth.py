"""Forecasts grow as the phases do: each phase is measured at several sizes."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import phases
from benchmarks.phases import DATASET, MODEL, Sizes
from coder_clip.foundation.artifacts import Paths
from coder_clip.phases import (
    adapter,
    coder,
    confusable_pairs,
    evaluation,
    image_features,
    manifest,
    pair_features,
    pair_texts,
    rerank,
    text_features,
    texts,
    zero_shot,
)
from coder_clip.pipeline import resources
from coder_clip.pipeline.config import Config
from coder_clip.preflight.estimate import jobs

pytestmark = pytest.mark.proof

# Three times the images, and three times the classes: a wrong exponent is wrong by a factor of 3.
# "start" is taken off: imports, and what is as long for any size, such as the maps of 600 images.
SIZES = {
    "start": Sizes(classes=12, test=720, val=240, shots=2, twins=10),
    "small": Sizes(classes=150, test=3000, val=1500, shots=4, twins=20),
    "images": Sizes(classes=150, test=9000, val=4500, shots=4, twins=20),
    "classes": Sizes(classes=450, test=3000, val=1500, shots=4, twins=20),
}
ALLOWED = 2.0  # between measured and forecast growth
# CPU seconds above the start, from which a phase is long enough to be compared
LONG = 0.6


def run_phases(config: Config, shots: int) -> dict[str, float]:
    """CPU seconds of each phase in this process."""
    of_model = (config, MODEL, DATASET)
    commands: dict[str, Callable[[], Any]] = {
        "manifest": lambda: manifest.run(config, DATASET),
        "texts": lambda: texts.run(config, DATASET),
        "image_features": lambda: image_features.run(*of_model),
        "text_features": lambda: text_features.run(*of_model),
        "coder": lambda: coder.run(*of_model),
        "zero_shot": lambda: zero_shot.run(*of_model),
        "confusable_pairs": lambda: confusable_pairs.run(config, DATASET),
        "pair_texts": lambda: pair_texts.run(config, DATASET),
        "one_to_one": lambda: pair_features.run(*of_model),
        "rerank": lambda: rerank.run(*of_model),
        "adapter": lambda: adapter.run(*of_model, shots),
        "evaluation": lambda: evaluation.run(*of_model),
    }
    seconds = {}
    for phase, command in commands.items():
        began = time.process_time()
        command()
        seconds[phase] = time.process_time() - began
    return seconds


@pytest.fixture(scope="module")
def measured(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, tuple[Config, dict[str, float]]]]:
    """Size -> configuration, CPU seconds by phase."""
    found = {}
    before = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        # a narrow text tower, whose 100,000 sentences take half a minute
        patch.setattr(phases, "TEXT", {**phases.TEXT, "width": 64, "heads": 2, "layers": 1})
        for name, sizes in SIZES.items():
            folder = tmp_path_factory.mktemp(name)
            os.chdir(folder)
            patch.setenv("XDG_CACHE_HOME", f"{folder}/cache")
            phases.prepare(sizes, ["tip_adapter", "coder_adapter"])
            document = json.loads(Path("c.yaml").read_text(encoding="utf-8"))
            document["results"] = f"{folder}/results"
            document["datasets"][DATASET]["features"] = f"{folder}/caches"
            document["datasets"][DATASET]["texts"] = f"{folder}/texts.json"
            document["datasets"][DATASET]["one_to_one"] = f"{folder}/pairs.json"
            document["models"][MODEL]["model"] = f"local-dir:{folder}/encoder"
            config = Config.model_validate(document)
            if name == "start":
                run_phases(config, sizes.shots)  # imports
                shutil.rmtree(config.results)
            found[name] = config, run_phases(config, sizes.shots)
        os.chdir(before)
        yield found


def growth(
    measured: dict[str, tuple[Config, dict[str, float]]], phase: str, size: str
) -> tuple[float, float] | None:
    """Measured and forecast growth from "small" to another size, start-up taken off.

    None for a phase that takes no time worth a forecast, and of which none is forecast.
    """

    def forecast(name: str) -> float:
        config, shots = measured[name][0], SIZES[name].shots
        place = {"model": MODEL, "dataset": DATASET, "shots": str(shots)}
        return resources.need(config, phase, **place).seconds

    def took(name: str) -> float:
        return measured[name][1][phase] - measured["start"][1][phase]

    forecasts = [forecast(name) - forecast("start") for name in ("small", size)]
    if took(size) < LONG:
        # forecasts without a usual machine's speed are for slow nodes
        assert forecasts[1] < 8 * LONG
        return None
    # a phase that takes little at the small size grows at least this much
    return took(size) / max(took("small"), LONG / 9), forecasts[1] / forecasts[0]


# manifest has a test of its own, with sizes at which comparisons are most of it
OTHERS = ("manifest", "texts", "tables", "figures", "report")
PHASES = [phase for phase in phases.COMMANDS if phase not in OTHERS]


@pytest.mark.parametrize("size", ["images", "classes"])
@pytest.mark.parametrize("phase", PHASES)
def test_a_forecast_grows_as_its_phase_does(
    measured: dict[str, tuple[Config, dict[str, float]]], phase: str, size: str
) -> None:
    """Evaluation had no quadratic term: of 50,000 images its job was killed after 20 minutes."""
    found = growth(measured, phase, size)
    if found is not None:
        took, forecast = found
        assert forecast / ALLOWED < took < forecast * ALLOWED


def test_a_wrong_exponent_is_seen(
    measured: dict[str, tuple[Config, dict[str, float]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above would pass whatever the forecasts are."""
    monkeypatch.setattr(resources, "NEIGHBOURS", 0.0)
    monkeypatch.setattr(resources, "PRODUCT", 0.0)
    found = growth(measured, "evaluation", "images")
    assert found is not None
    took, forecast = found
    assert took > forecast * ALLOWED


def test_the_search_of_near_twins_is_quadratic(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each image is compared with each, and the job was given an hour whatever their number."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    seconds, forecasts = [], []
    # the first one imports
    for i, n in enumerate((5000, 5000, 15_000, 45_000)):
        folder = tmp_path / str(i)
        sizes = Sizes(classes=10, test=n, val=100, shots=1, twins=100)
        centres = torch.nn.functional.normalize(torch.randn(10, phases.WIDTH), dim=1)
        phases.caches(folder, centres, sizes)
        data = {"features": str(folder), "classes": [f"class {i}" for i in range(10)]}
        config = Config.model_validate(
            {
                "results": f"{folder}/results",
                "datasets": {DATASET: {**data, "texts": "names"}},
                "models": {MODEL: {"model": "ViT-B-32", "pretrained": "openai"}},
            }
        )
        began = time.process_time()
        manifest.run(config, DATASET)
        seconds.append(time.process_time() - began)
        forecasts.append(resources.need(config, "manifest", dataset=DATASET).seconds)
    took = (seconds[3] - seconds[1]) / (seconds[2] - seconds[1])
    forecast = (forecasts[3] - forecasts[1]) / (forecasts[2] - forecasts[1])
    assert forecast / ALLOWED < took < forecast * ALLOWED


def test_the_phases_that_count_are_long_enough(
    measured: dict[str, tuple[Config, dict[str, float]]],
) -> None:
    """Faster machines would compare nothing."""
    compared = {p for p in PHASES for size in ("images", "classes") if growth(measured, p, size)}
    assert {"evaluation", "zero_shot", "adapter", "text_features"} <= compared


def test_files_are_about_as_large_as_forecast(
    measured: dict[str, tuple[Config, dict[str, float]]],
) -> None:
    """Text features were forecast as three times their size, and CODERs as a sixth."""
    for name in ("images", "classes"):
        config = measured[name][0]
        for job in jobs(config, {}):
            size = sum(file.stat().st_size for file in job.files)
            if size > 1e6:
                assert job.size / 2.5 < size < job.size * 2.5, job.phase
    assert Paths(config.results).coder(MODEL, DATASET).stat().st_size > 1e6
