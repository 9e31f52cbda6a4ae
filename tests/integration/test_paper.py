"""The paper's configuration in miniature, from the texts to the report.

Everything is as in config/paper.yaml but small: fourteen data sets in their true layouts with their first classes and
a few drawn images, OpenAI's RN50 and ViT-B-32 with random weights from files, texts from a language model's server.
The numbers mean nothing. Phases run as commands, each for all data sets, because an hour would go into starting
Python for every job; Snakemake then finds them all done, and makes the tables, the figures and the report.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file
from working_copy import REPO, Work, working_copy

from coder_clip.datasets import entry
from coder_clip.datasets.published import load_below
from coder_clip.figures import FIGURES
from coder_clip.methods import ABLATIONS, FEW_SHOT
from coder_clip.tables import TABLES
from llm_server import serving
from trees import plant

pytestmark = pytest.mark.slow

CLASSES, IMAGES = 3, 2  # a data set; a class and split
MODELS = ("RN50", "ViT-B-32")
PAPER: dict[str, Any] = yaml.safe_load((REPO / "config/paper.yaml").read_text(encoding="utf-8"))
PHASES = (
    *("manifest", "generate-texts", "texts", "image-features", "text-features", "coder", "zero-shot"),
    *("confusable-pairs", "generate-pairs", "one-to-one-texts", "one-to-one", "rerank", "adapter"),
    "evaluation",
)


def miniature(root: Path, weights: Path, server: str) -> dict[str, Any]:
    """The paper's configuration with two of its models, fewer shots, seeds and texts, and coarser searches."""
    datasets = {
        d: {**given, "views": min(2, given.get("views", 20))} for d, given in PAPER["datasets"].items()
    }
    files = {m: str(weights / f"{m}.safetensors") for m in MODELS}
    models = {m: {"model": m, "pretrained": file, "quick_gelu": True} for m, file in files.items()}
    return {
        **PAPER,
        "results": "results",
        "data_root": str(root),
        "datasets": datasets,
        "models": models,
        "features": {"batch_size": 16},
        "adapter": {"shots": [1, 2], "seeds": [1, 2], "betas": [0.1, 200, 20], "alphas": [0.1, 20, 10]},
        "evaluation": {
            **{"bootstrap": 50, "tsne_images": 40, "text_counts": [1, 2], "draws": 1},
            "template_ensemble": False,  # a minute of encoding
        },
        "generator": {
            **PAPER["generator"],
            **{"base_url": server, "max_pairs": 2},
            "counts": {"attribute": 3, "analogous": 2, "synonym": 2, "one_to_one": 1},
        },
    }  # fmt: skip


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Every phase was run as a command."""
    folder = tmp_path_factory.mktemp("paper")
    root, weights = folder / "root", folder / "weights"
    random_weights(weights)
    with serving() as server, pytest.MonkeyPatch.context() as patch:
        work = working_copy(folder / "copy", miniature(root, weights, server.url))
        few_classes(work.folder / "src/coder_clip/datasets/entries", patch)
        for i, name in enumerate(PAPER["datasets"]):
            plant(name, root, IMAGES)
            draw(name, root, seed=i)
        for phase in ("check", *PHASES):
            work.coder_clip(phase, "--config", work.config, OPENAI_API_KEY="none")
    entry.entry.cache_clear()
    return work


@pytest.fixture(scope="module")
def planned(commands: Work) -> dict[str, int]:
    """What Snakemake would then do."""
    return commands.planned()


@pytest.fixture(scope="module")
def run(commands: Work, planned: dict[str, int]) -> Work:
    """Snakemake has done it."""
    commands.snakemake()
    return commands


def random_weights(folder: Path) -> None:
    """In half precision, as OpenAI's files are."""
    folder.mkdir()
    for name in MODELS:
        torch.manual_seed(0)
        state = open_clip.create_model(name, load_weights=False, pretrained_text=False).state_dict()
        half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
        save_file({k: v.contiguous() for k, v in half.items()}, folder / f"{name}.safetensors")


def few_classes(entries: Path, patch: pytest.MonkeyPatch) -> None:
    """The working copy's data sets have their first classes alone, there and in this process."""
    for name in PAPER["datasets"]:
        path = entries / f"{name}.yaml"
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        document["classes"] = entry.entry(name).class_names()[:CLASSES]
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    patch.setattr(entry, "ENTRIES", entries)
    entry.entry.cache_clear()


def draw(name: str, root: Path, seed: int) -> None:
    """A noisy patch of about its class's colour into every image of a tree, whose files are links to one."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (CLASSES, 1, 1, 3))
    data = load_below(name, root)
    for split in data.counts:
        images = data.split(split)
        for image, label in zip(images.ids, images.labels, strict=True):
            own = rng.normal(0, 70, 3)  # so that an image's neighbours are not all of its class
            pixels = colours[label] + own + rng.normal(0, 60, (40, 50, 3))
            data.path(image).unlink()
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(data.path(image), "JPEG")


def rows(work: Work, name: str) -> list[dict[str, str]]:
    with (work.folder / f"results/tables/{name}.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_commands_make_all_that_the_dag_asks_for(planned: dict[str, int]) -> None:
    assert set(planned) == {f"table_{t}" for t in TABLES} | {f"figure_{f}" for f in FIGURES} | {"page"}


def test_every_table_and_figure_is_there(run: Work) -> None:
    results = run.folder / "results"
    for name in TABLES:
        assert bool(rows(run, name)) == (name != "published"), name  # random weights compare with nothing
        assert all((results / f"tables/{name}{suffix}").stat().st_size for suffix in (".md", ".tex")), name
    for name in FIGURES:
        assert (results / f"figures/{name}.pdf").read_bytes().startswith(b"%PDF")
        with Image.open(results / f"figures/{name}.png") as picture:
            assert len(np.unique(picture.convert("L").resize((64, 64)))) > 8, f"{name} is blank"
    assert (results / "report.html").is_file()
    assert run.planned() == {}


def test_every_data_set_model_and_method_is_in_the_tables(run: Work) -> None:
    few_shot = {d for d, given in PAPER["datasets"].items() if given.get("few_shot", True)}
    keys = {(r["dataset"], r["model"]) for r in rows(run, "zero_shot")}
    assert keys >= {(d, m) for d in PAPER["datasets"] for m in MODELS}
    methods = {*FEW_SHOT, *ABLATIONS}
    found = {(r["dataset"], r["model"], r["shots"], r["method"]) for r in rows(run, "few_shot")}
    assert found >= {(d, m, n, method) for d in few_shot for m in MODELS for n in "12" for method in methods}
    assert {d for d, *_ in found} <= few_shot | {"(average)"}
