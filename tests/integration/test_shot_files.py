"""The shots of published runs through the whole DAG: CoOp's pickles of ImageNet, of which some name images that would
otherwise be validation images. What the adapters say is computed again from the files and the features, in plain loops.
"""

from __future__ import annotations

import json
import pickle
import pickletools
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from coder_clip.datasets import entry
from coder_clip.datasets.published import load_below
from coder_clip.foundation.artifacts import read_json, read_tensors
from reference import Array, affinity, unit, votes
from trees import plant, put
from working_copy import Work, working_copy

pytestmark = pytest.mark.rest

CLASSES, SHOTS, SEEDS = 3, (1, 2), (1, 2)
DRAWN = [(n, s) for n in SHOTS for s in SEEDS]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """Three classes of ImageNet in its true layout, 20 training and 8 test images each; adapters fitted."""
    root = tmp_path_factory.mktemp("root")
    document: dict[str, Any] = {
        "data_root": str(root),
        "datasets": {"imagenet": {"texts": "names", "views": 2, "shot_files": str(root / "shots")}},
        "models": ["mini"],
        "adapter": {
            **{"methods": ["tip_adapter", "coder_adapter"], "shots": [*SHOTS], "seeds": [*SEEDS]},
            **{"betas": [0.1, 200, 20], "alphas": [0.1, 20, 10]},
        },
        "evaluation": {"bootstrap": 50, "tsne_images": 40, "text_counts": [1], "draws": 1},
    }
    work = working_copy(tmp_path_factory.mktemp("shots") / "copy", document)
    with pytest.MonkeyPatch.context() as patch:
        entries = work.folder / "src/coder_clip/datasets/entries"
        few_classes(entries / "imagenet.yaml")
        patch.setattr(entry, "ENTRIES", entries)
        entry.entry.cache_clear()
        plant("imagenet", root, 10)
        draw(root)
        sample(root)
        work.make()
    entry.entry.cache_clear()
    return work


def few_classes(path: Path) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["classes"] = entry.entry("imagenet").class_names()[:CLASSES]
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def draw(root: Path) -> None:
    """Noisy patches of about their class's colour in the place of the planted images, and more test images."""
    rng = np.random.default_rng(0)
    for label, folder in enumerate(sorted((root / "imagenet/images/val").iterdir())):
        for i in range(7):
            put(folder / f"ILSVRC2012_val_{label}{i}.JPEG")
    colours = rng.integers(0, 256, (CLASSES, 1, 1, 3))
    for split in ("train", "val"):
        for label, folder in enumerate(sorted((root / "imagenet/images" / split).iterdir())):
            for path in sorted(folder.iterdir()):
                pixels = colours[label] + rng.normal(0, 90, 3) + rng.normal(0, 60, (40, 50, 3))
                path.unlink()
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, "JPEG")


def sample(root: Path) -> None:
    """As CoOp does: from all training images, with a sample of its own for every number of shots and seed."""
    train = root / "imagenet/images/train"
    for shots, seed in DRAWN:
        rng = np.random.default_rng([shots, seed])
        rows = [
            (f"/home/somebody/imagenet/images/train/{folder.name}/{path}", label)
            for label, folder in enumerate(sorted(train.iterdir()))
            for path in rng.choice(sorted(p.name for p in folder.iterdir()), shots, replace=False).tolist()
        ]
        write(root / f"shots/shot_{shots}-seed_{seed}.pkl", rows)


def write(path: Path, rows: list[tuple[str, int]]) -> None:
    """A pickle of CoOp's Datum objects, under their true name."""
    name = "dassl.data.datasets.base_dataset"

    class Datum:
        def __init__(self, impath: str, label: int) -> None:
            self._impath, self._label, self._domain = impath, label, 0
            self._classname = entry.entry("imagenet").class_names()[label]

    Datum.__module__, Datum.__qualname__ = name, "Datum"
    parts = name.split(".")
    modules = {".".join(parts[: i + 1]): types.ModuleType(parts[i]) for i in range(len(parts))}
    with pytest.MonkeyPatch.context() as patch:
        for module, empty in modules.items():
            patch.setitem(sys.modules, module, empty)
        patch.setattr(sys.modules[name], "Datum", Datum, raising=False)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pickle.dumps({"train": [Datum(*row) for row in rows]}))


def root_of(work: Work) -> Path:
    return Path(yaml.safe_load((work.folder / work.config).read_text())["data_root"])


def named(work: Work, shots: int, seed: int) -> list[tuple[str, int]]:
    """Ids and labels of a file's shots, of all the strings that are in the pickle."""
    data = (root_of(work) / f"shots/shot_{shots}-seed_{seed}.pkl").read_bytes()
    strings = [value for _, value, _ in pickletools.genops(data) if isinstance(value, str)]
    found = [i[i.index("train/") :] for i in strings if "/imagenet/images/" in i]
    synsets = sorted({i.split("/")[1] for i in found})
    return [(i, synsets.index(i.split("/")[1])) for i in found]


def features(work: Work, split: str) -> tuple[dict[str, Array], dict[str, int]]:
    tensors, meta = read_tensors(work.folder / f"results/image_features/mini/imagenet/{split}.safetensors")
    rows = tensors["features"].double().numpy()
    return dict(zip(meta["ids"], rows, strict=True)), dict(
        zip(meta["ids"], tensors["labels"].tolist(), strict=True)
    )


def texts(work: Work, kind: str) -> list[list[Array]]:
    """For each class the features of its texts."""
    tensors, meta = read_tensors(work.folder / "results/text_features/mini/imagenet.safetensors")
    found: list[list[Array]] = [[] for _ in range(CLASSES)]
    for row, of, label in zip(
        tensors["features"], meta["kind"], tensors["class_index"].tolist(), strict=True
    ):
        if of == kind:
            found[label].append(row.double().numpy())
    return found


def test_no_image_is_a_shot_and_a_validation_image(run: Work) -> None:
    """What is fitted to an image says nothing about it; and ten images a class are left to choose on."""
    shots = {image for n, s in DRAWN for image, _ in named(run, n, s)}
    _, val = features(run, "val")
    assert not shots & set(val)
    assert sorted(val.values()) == [0] * 10 + [1] * 10 + [2] * 10
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(entry, "ENTRIES", run.folder / "src/coder_clip/datasets/entries")
        entry.entry.cache_clear()
        plain = load_below("imagenet", root_of(run))
    entry.entry.cache_clear()
    assert shots & set(plain.split("val").ids), "none would have been one anyway: nothing was tested"
    assert plain.split("test").ids == list(features(run, "test")[0])


def test_the_accuracies_are_those_of_the_files_shots(run: Work) -> None:
    """Of every method, number of shots and seed, at the hyper-parameters that it found."""
    keys, _ = features(run, "shots")
    images, labels = features(run, "test")
    x, right = np.array(list(images.values())), np.array(list(labels.values()))
    weights = np.array([unit(np.mean([unit(t) for t in of], axis=0)) for of in texts(run, "prompt")])
    clip = np.array([[100 * float(unit(i) @ w) for w in weights] for i in x])
    names = np.array([t for of in texts(run, "name") for t in of])
    seen = set()
    for shots, seed in DRAWN:
        drawn = named(run, shots, seed)
        assert len(drawn) == CLASSES * shots
        cache, owner = np.array([keys[i] for i, _ in drawn]), [label for _, label in drawn]
        near = {
            "tip_adapter": np.array([[float(unit(i) @ unit(k)) for k in cache] for i in x]),
            "coder_adapter": affinity(x, cache, names)[0],
        }
        document = read_json(run.folder / f"results/adapter/mini/imagenet/{shots}.json")
        for r in document["runs"]:
            if r["seed"] == seed and r["method"] in near:
                logits = clip + r["alpha"] * votes(near[r["method"]], owner, CLASSES, r["beta"])
                assert r["test_accuracy"] == pytest.approx(float((logits.argmax(axis=1) == right).mean()))
                seen.add((shots, seed, r["method"], r["setting"]))
    assert len(seen) == len(DRAWN) * 2 * 3


def test_results_name_the_files(run: Work) -> None:
    results = run.folder / "results"
    document = read_json(results / "adapter/mini/imagenet/2.json")
    assert list(document["shot_files"]) == ["shot_2-seed_1.pkl", "shot_2-seed_2.pkl"]
    manifest = read_json(results / "manifests/imagenet.json")
    assert list(manifest["shot_files"]) == [f"shot_{n}-seed_{s}.pkl" for n, s in DRAWN]
    assert manifest["images"] == {"train": 30, "val": 30, "test": 24}
    assert manifest["split"] in {
        r.what for r in entry.entry("imagenet").splits
    }  # or nothing published compares
    said = "Shots of imagenet are those of published runs, from files"
    assert said in (results / "tables/few_shot.md").read_text()
    assert said in (results / "report.html").read_text()


def test_another_file_may_take_an_image_out_of_val(run: Work) -> None:
    """So the images are listed again; the same bytes elsewhere change nothing."""
    folder = root_of(run) / "shots"
    assert run.planned() == {}
    shutil.copytree(folder, folder.with_name("elsewhere"))
    run.configure(lambda d: d["datasets"]["imagenet"].update(shot_files=str(folder.with_name("elsewhere"))))
    assert "list_images" not in run.planned()
    run.configure(lambda d: d["datasets"]["imagenet"].update(shot_files=str(folder)))
    (folder / "shot_4-seed_1.json").write_text(
        json.dumps({"train": [[image, label] for image, label in named(run, 2, 1)]})
    )
    assert run.planned()["list_images"] == 1
