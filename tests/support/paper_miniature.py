"""The paper's configuration in miniature, made by commands: for test_paper.py, and beside the
default for tracking.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from coder_clip import datasets
from coder_clip.datasets import entry, load_below
from llm_server import serving
from trees import plant
from working_copy import REPO, Work, working_copy

CLASSES, IMAGES = 3, 2  # a data set; a class and split
HUB = {"RN50": "timm/resnet50_clip.openai", "ViT-B-32": "timm/vit_base_patch32_clip_224.openai"}
MODELS = tuple(HUB)
CUPL = "dtd"  # has sentences
PAPER, BY_MODEL = (
    yaml.safe_load((REPO / f"config/{n}.yaml").read_text("utf-8")) for n in ("paper", "texts")
)
TEXTS = {"texts": BY_MODEL["datasets"]["dtd"]["texts"]}  # the files are of all classes
# One with sentences, one without validation images and one without few-shot. Each more
# takes a minute; the unit tests read all layouts.
SOME = ("dtd", "imagenet", "imagenet_v2")
DATASETS: dict[str, Any] = {
    d: {**PAPER["datasets"][d], **TEXTS, "views": min(2, PAPER["datasets"][d].get("views", 20))}
    for d in SOME
}
FEW = {d for d, given in DATASETS.items() if given.get("few_shot", True)}


def miniature(root: Path, server: str, results: str, names: Collection[str]) -> dict[str, Any]:
    """The paper's configuration with two of its models, fewer shots, seeds and texts, and coarser
    searches.
    """
    return {
        **PAPER,
        "results": results,
        "data_root": str(root),
        "datasets": {name: DATASETS[name] for name in names},
        "models": {m: PAPER["models"][m] for m in MODELS},
        "features": {"batch_size": 16},
        "adapter": {"shots": [1, 2], "seeds": [1, 2], "betas": [0.1, 200, 20], "alphas": [0.1, 20, 10]},
        "evaluation": {"tsne_images": 40, "text_counts": [1, 2], "draws": 1, "random_draws": 2},
        "generator": {
            **BY_MODEL["generator"],
            **{"base_url": server, "max_pairs": 2, "encoder": MODELS[0]},
            "on_failure": "skip",  # random weights find made-up names similar
            "texts_per_class": {"attribute": 3, "analogous": 2, "synonym": 2, "one_to_one": 1},
        },
    }  # fmt: skip


def made(folder: Path, results: str = "results", names: Collection[str] = DATASETS) -> Work:
    """A working copy whose every command was run. results: folder of its results. names: of its
    data sets.
    """
    root = folder / "root"
    hub_cache(folder / "hub")
    with serving() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_CACHE", str(folder / "hub"))
        patch.setenv("OPENAI_API_KEY", "none")
        work = working_copy(folder / "copy", miniature(root, server.url, results, names))
        entries = work.folder / "src/coder_clip/datasets/entries"
        few_classes(entries, patch)
        for i, name in enumerate(names):
            plant(name, root, IMAGES)
            draw(name, root, seed=i)
        work.coder_clip("manifest", "--config", work.config)
        call_it_whole(entries, work.folder / results / "manifests", names)
        write_sentences(work)
        work.commands("check")
        work.make()
    entry.entry.cache_clear()
    return work


def hub_cache(folder: Path) -> None:
    """What the Hugging Face hub leaves behind, with random weights in half precision, as OpenAI's
    files are.
    """
    for name, repository in HUB.items():
        torch.manual_seed(0)
        state = open_clip.create_model(name, load_weights=False, pretrained_text=False).state_dict()
        half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
        place = folder / f"models--{repository.replace('/', '--')}"
        (place / "snapshots/0").mkdir(parents=True)
        (place / "refs").mkdir()
        (place / "refs/main").write_text("0")
        weights = place / "snapshots/0/open_clip_model.safetensors"
        save_file({k: v.contiguous() for k, v in half.items()}, weights)


def few_classes(entries: Path, patch: pytest.MonkeyPatch) -> None:
    """The working copy's data sets have their first classes alone, there and in this process."""
    for name in DATASETS:
        path = entries / f"{name}.yaml"
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        document["classes"] = entry.entry(name).class_names()[:CLASSES]
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    patch.setattr(datasets, "ENTRIES", entries)
    entry.entry.cache_clear()


def call_it_whole(entries: Path, manifests: Path, names: Collection[str]) -> None:
    """The entries expect as many images as there are: only a whole data set is held against
    published figures.
    """
    for name in names:
        path = entries / f"{name}.yaml"
        document, manifest = (
            yaml.safe_load(path.read_text(encoding="utf-8")),
            manifests / f"{name}.json",
        )
        rule = next(
            r for r in document["splits"] if r["what"] == json.loads(manifest.read_text())["split"]
        )
        rule["counts"] = json.loads(manifest.read_text())["images"]
        for known in ("fingerprints", "sums"):
            rule.pop(known, None)
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def write_sentences(work: Work) -> None:
    """CuPL's sentences for one data set, by the commands that a user would type."""
    names = entry.entry(CUPL).class_names()
    prompts = work.folder / "prompts.json"
    prompts.write_text(
        json.dumps({n: [f"A {n} surface looks like {n} {i}." for i in range(3)] for n in names})
    )
    said = work.coder_clip(
        "texts", "import", "cupl", prompts, "--dataset", CUPL, "--config", work.config
    )
    file = f"data/texts/{CUPL}.cupl.json"
    assert file in said.stdout, said.stdout
    texts = {**DATASETS[CUPL]["texts"], "sentence": file}
    work.configure(lambda c: c["datasets"][CUPL].update(texts=texts))


def draw(name: str, root: Path, seed: int) -> None:
    """A noisy patch of about its class's colour into every image of a tree, whose files are links
    to one.
    """
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
