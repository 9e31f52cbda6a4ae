"""Forecasts grow as the phases do: each phase is measured at several sizes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize, one_hot

from coder_clip.jobs import RULES
from coder_clip.pipeline import costs
from coder_clip.pipeline.config import Config, load_config
from coder_clip.preflight.estimate import planned
from tiny import save_tiny

pytestmark = pytest.mark.proof

WIDTH, SHOTS = 512, 4
AT = {"model": "small", "dataset": "random", "shots": str(SHOTS)}
OF_DATASET = ("manifest", "texts")
PHASES = (  # of a run without one-to-one texts, in its order
    *("manifest", "texts", "image-features", "text-features", "coder", "zero-shot"),
    *("adapter", "evaluation"),
)
# classes and test images; "start" is taken off: what is as long for any size
SIZES = {"start": (12, 720), "small": (150, 3000), "images": (150, 9000), "classes": (450, 3000)}
ALLOWED = 2.0  # between measured and forecast growth: a wrong exponent is wrong by a factor of 3
LONG = 0.6  # CPU seconds above the start, from which a phase is compared


def prepare(classes: int, test: int, encoder: Path) -> Config:
    """Features of images around their class, in the form of Tip-Adapter's caches, in this folder."""
    Path("caches").mkdir()
    rng = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, WIDTH, generator=rng)

    def images(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        labels = torch.arange(n) % classes
        noise = torch.randn(n, WIDTH, generator=rng)
        return normalize(centres[labels] + 4 * noise, dim=1), labels

    for split, n in (("val", test // 2), ("test", test)):
        features, labels = images(n)
        torch.save(features, f"caches/{split}_f.pt")
        torch.save(labels, f"caches/{split}_l.pt")
    shots, labels = images(SHOTS * classes)
    torch.save(shots.T.contiguous(), f"caches/keys_{SHOTS}shots.pt")
    torch.save(one_hot(labels).half(), f"caches/values_{SHOTS}shots.pt")
    names = [f"class {i}" for i in range(classes)]
    texts = [{"name": c, "attribute": [f"{c} has look {i}" for i in range(10)]} for c in names]
    Path("texts.json").write_text(json.dumps({"dataset": "random", "classes": texts}))
    random = {"features": "caches", "classes": names}
    document = {
        "results": "results",
        "datasets": {"random": {**random, "texts": "texts.json"}},
        "models": {"small": {"model": f"local-dir:{encoder}"}},
        "features": {"threads": 1, "device": "cpu", "cache": False},
        "settings": ["clean"],
        "adapter": {"methods": ["tip_adapter", "coder_adapter"], "shots": [SHOTS], "seeds": [1]},
    }
    Path("c.yaml").write_text(json.dumps(document))
    return load_config("c.yaml")


def took(command: Callable[..., Any], phase: str) -> float:
    """CPU seconds of a phase in this process."""
    options = [] if phase in OF_DATASET else ["--model", "small"]
    if phase == "adapter":
        options += ["--shots", str(SHOTS)]
    began = time.process_time()
    answer = command(phase, "--dataset", "random", *options, "--config", "c.yaml")
    assert answer.code == 0, answer.err
    return time.process_time() - began


def forecast(config: Config, command: str) -> float:
    """Seconds that are forecast for a command."""
    rule = next(rule.name for rule in RULES if rule.command == command)
    return costs.need(config, rule, AT).seconds


def test_a_forecast_grows_as_its_phase_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Callable[..., Any]
) -> None:
    """Evaluation had no quadratic term: of 50,000 images its job was killed after 20 minutes. Text
    features were forecast as three times their size on disk, and CODERs as a sixth.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    encoder = save_tiny(tmp_path / "encoder", {"width": 64}, embed_dim=WIDTH)
    seconds, forecasts = {}, {}
    for name, sizes in SIZES.items():
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        config = prepare(*sizes, encoder)
        # twice, because of imports and of other work on the machine
        runs = [{phase: took(command, phase) for phase in PHASES} for _ in range(2)]
        seconds[name] = {phase: min(run[phase] for run in runs) for phase in PHASES}
        forecasts[name] = {phase: forecast(config, phase) for phase in PHASES}
        for one in planned(config, {}):
            size = sum(os.path.getsize(p) for p in one.job.outputs if os.path.isfile(p))
            assert size < 1e6 or one.size / 2.5 < size < one.size * 2.5, one.job.name
    compared = set()
    for size in ("images", "classes"):
        for phase in PHASES[1:]:  # near twins are quadratic at larger sizes alone
            small, large = (seconds[n][phase] - seconds["start"][phase] for n in ("small", size))
            few, many = (forecasts[n][phase] - forecasts["start"][phase] for n in ("small", size))
            if large < LONG:
                continue
            compared.add(phase)
            # a phase that takes little at the small size grows at least this much
            growth = large / max(small, LONG / 9)
            assert many / few / ALLOWED < growth < many / few * ALLOWED, (phase, size)
    assert {"evaluation", "zero-shot", "adapter", "text-features"} <= compared
