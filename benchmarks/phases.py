"""Time and memory of every phase at the size of ImageNet, beside what was forecast.

50,000 test images of 1,000 classes, d = 512, 10,000 validation images and 16 shots per class, as a
data set of drawn features (`features:`), with the shipped texts and pairs of ImageNet and a small
text tower with random weights. One command after the other, each a process of its own with one
thread, as Snakemake runs them. Images are drawn around the text features of their class, and some
are near twins of others.

Seconds are CPU seconds (user and system) of the process, start-up included. The forecast is the one
of `coder-clip check` before a first run; memory is compared with what a job asks Slurm for, which
is never less than 1.5 GB.

Prints a Markdown table row by row. --keep and --only run single phases again in the same folder.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from coder_clip.encoders.encoder import EncoderSpec, load_encoder
from coder_clip.pipeline.config import load_config
from coder_clip.pipeline.resources import need

MODEL, DATASET = "small", "drawn"
WIDTH = 512
# a text tower whose 200,000 sentences take minutes; the image tower encodes nothing
TEXT = {"context_length": 77, "vocab_size": 49408, "width": 256, "heads": 4, "layers": 2}
VISION = {"image_size": 32, "patch_size": 16, "width": 64, "head_width": 32, "layers": 1}
NOISE = 1.6  # of images, beside 0.6 for their class: stage one is right for some of them
TWIN = 0.1  # of an image and its near twin: a cosine of 0.99
TEXTS = Path(__file__).parents[1] / "data" / "texts"
# phase -> its command, in the order of a run
COMMANDS = {
    "manifest": f"manifest --dataset {DATASET}",
    "texts": f"texts --dataset {DATASET}",
    "image_features": f"image-features --model {MODEL} --dataset {DATASET}",
    "text_features": f"text-features --model {MODEL} --dataset {DATASET}",
    "coder": f"coder --model {MODEL} --dataset {DATASET}",
    "zero_shot": f"zero-shot --model {MODEL} --dataset {DATASET}",
    "confusable_pairs": f"confusable-pairs --dataset {DATASET}",
    "pair_texts": f"pair-texts --dataset {DATASET}",
    "one_to_one": f"pair-features --model {MODEL} --dataset {DATASET}",
    "rerank": f"rerank --model {MODEL} --dataset {DATASET}",
    "adapter": f"adapter --model {MODEL} --dataset {DATASET} --shots {{shots}}",
    "evaluation": f"evaluation --model {MODEL} --dataset {DATASET}",
    "tables": "table",
    "figures": "figure",
    "report": "report",
}


@dataclass(frozen=True)
class Sizes:
    """Numbers of classes, test and validation images, shots per class and near twins."""

    classes: int = 1000
    test: int = 50_000
    val: int = 10_000
    shots: int = 16
    twins: int = 500


def main() -> None:
    """Make the data set and run the phases."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in vars(Sizes()).items():
        parser.add_argument(f"--{name}", type=int, default=default, help="default %(default)s")
    parser.add_argument("--methods", nargs="+", help="few-shot methods (default: all)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the run is left")
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    args = parser.parse_args()
    sizes = Sizes(args.classes, args.test, args.val, args.shots, args.twins)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        # the paths in the configuration are relative, as in a clone
        os.chdir(folder)
        if not Path("c.yaml").is_file():
            prepare(sizes, args.methods)
        ended = [show(phase, sizes) for phase in args.only]
        os.chdir(Path(__file__).parent)  # a folder that one is in cannot be removed everywhere
    sys.exit(any(ended))


def prepare(sizes: Sizes, methods: list[str] | None = None) -> None:
    """Write the encoder, the texts, the features and ``c.yaml`` into the current folder."""
    encoder(Path("encoder"))
    text_set, pairs = texts(sizes.classes)
    Path("texts.json").write_text(json.dumps(text_set), encoding="utf-8")
    Path("pairs.json").write_text(json.dumps(pairs), encoding="utf-8")
    names = [c["name"] for c in text_set["classes"]]
    caches(Path("caches"), class_features(Path("encoder"), names), sizes)
    adapter: dict[str, Any] = {"shots": [sizes.shots], "seeds": [1]}
    if methods:
        adapter["methods"] = methods
    config = {
        "results": "results",
        "datasets": {
            DATASET: {
                "features": "caches",
                "classes": names,
                "texts": "texts.json",
                "one_to_one": "pairs.json",
            }
        },
        "models": {MODEL: {"model": "local-dir:encoder"}},
        "features": {"threads": 1, "device": "cpu", "cache": False},
        "settings": ["clean"],
        "adapter": adapter,
    }
    Path("c.yaml").write_text(json.dumps(config), encoding="utf-8")


def encoder(folder: Path) -> None:
    """A folder of open_clip with random weights."""
    folder.mkdir()
    cfg = {"embed_dim": WIDTH, "vision_cfg": VISION, "text_cfg": TEXT}
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3}
    described = {"model_cfg": cfg, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(described), encoding="utf-8")
    torch.manual_seed(0)
    weights = open_clip.model.CLIP(**cfg).state_dict()
    save_file(
        {name: value.contiguous() for name, value in weights.items()},
        folder / "open_clip_model.safetensors",
    )


def texts(n_classes: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The shipped texts and pairs of ImageNet's first classes."""
    text_set = json.loads((TEXTS / "imagenet.json").read_text(encoding="utf-8"))
    pairs = json.loads((TEXTS / "imagenet.one_to_one.json").read_text(encoding="utf-8"))
    # Two pairs of classes share a name, which one's own data set may not have. Pairs of classes
    # name them by index, too.
    names: list[str] = []
    for of_class in text_set["classes"]:
        twice = of_class["name"] in names
        names.append(f"{of_class['name']} again" if twice else of_class["name"])
    classes = [
        {**of_class, "name": name}
        for of_class, name in zip(text_set["classes"], names, strict=True)
    ][:n_classes]
    index = {name: i for i, name in enumerate(names)}
    kept = []
    for pair in pairs["pairs"]:
        a = pair.get("a_index", index[pair["a"]])
        b = pair.get("b_index", index[pair["b"]])
        if max(a, b) < n_classes:
            both = {key: pair[key] for key in ("a_not_b", "b_not_a")}
            kept.append({"a": names[a], "b": names[b], **both})
    return (
        {**text_set, "dataset": DATASET, "classes": classes},
        {**pairs, "dataset": DATASET, "pairs": kept},
    )


def class_features(folder: Path, names: list[str]) -> Tensor:
    """Directions of the classes (C, d): the features of their names without what they share."""
    model = load_encoder(EncoderSpec(f"local-dir:{folder}"), torch.device("cpu"))
    features = model.encode_texts_report([f"a photo of a {name}." for name in names]).features
    return normalize(features - features.mean(dim=0), dim=1).float()


def caches(folder: Path, centres: Tensor, sizes: Sizes) -> None:
    """Features of images around their class, in the form of Tip-Adapter's caches."""
    folder.mkdir()
    draw = torch.Generator().manual_seed(0)

    def images(labels: Tensor) -> Tensor:
        noise = normalize(torch.randn(len(labels), WIDTH, generator=draw), dim=1)
        return normalize(WIDTH**-0.5 + 0.6 * centres[labels] + NOISE * noise, dim=1)

    for split, n in (("val", sizes.val), ("test", sizes.test)):
        labels = torch.arange(n) % sizes.classes
        features = images(labels)
        if split == "test":
            twins = min(sizes.twins, n // 2)
            noise = normalize(torch.randn(twins, WIDTH, generator=draw), dim=1)
            features[-twins or n :] = normalize(features[:twins] + TWIN * noise, dim=1)
            labels[-twins or n :] = labels[:twins]
        torch.save(features, folder / f"{split}_f.pt")
        torch.save(labels, folder / f"{split}_l.pt")
    labels = torch.arange(sizes.classes).repeat(sizes.shots)
    torch.save(images(labels).T.contiguous(), folder / f"keys_{sizes.shots}shots.pt")
    torch.save(one_hot(labels, sizes.classes).half(), folder / f"values_{sizes.shots}shots.pt")


def show(phase: str, sizes: Sizes) -> int:
    """Run a phase and print its row; the exit status of its command."""
    if phase == next(iter(COMMANDS)):
        print(
            f"{sizes.test:,} test images, {sizes.val:,} for validation, {sizes.classes:,} classes, "
            f"{sizes.shots} shots per class, d = {WIDTH}, one thread, one seed, one setting.\n\n"
            "| phase | CPU s | forecast | forecast / CPU | peak memory | asked for |\n"
            "| --- | ---: | ---: | ---: | ---: | ---: |",
            flush=True,
        )
    from coder_clip.preflight.estimate import job_seconds  # not at the top: may be missing

    seconds, gigabytes, ended = measure(COMMANDS[phase].format(shots=sizes.shots))
    config = load_config("c.yaml")
    place = {"model": MODEL, "dataset": DATASET, "shots": str(sizes.shots)}
    forecast = job_seconds(config, phase, place)
    asked = need(config, phase, **place).mem_mb / 1000
    failed = f" (ended with {ended})" if ended else ""
    print(
        f"| {phase}{failed} | {seconds:.1f} s | {forecast:.1f} s | {forecast / seconds:.2f} | "
        f"{gigabytes:.1f} GB | {asked:.1f} GB |",
        flush=True,
    )
    return ended


def measure(command: str) -> tuple[float, float, int]:
    """CPU seconds of a command, its peak memory in GB, and its exit status."""
    job = [sys.executable, "-m", "coder_clip.cli", *command.split(" "), "--config", "c.yaml"]
    # a process in between, whose only child is the job: getrusage's peak is over all children
    meter = (
        "import json, resource, subprocess, sys; ended = subprocess.run(sys.argv[1:]).returncode;"
        "u = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(json.dumps([u.ru_utime + u.ru_stime, u.ru_maxrss, ended]))"
    )
    # in the user's cache, near twins of an earlier run would be found
    with tempfile.TemporaryDirectory() as cache:
        output = subprocess.run(
            [sys.executable, "-c", meter, *job],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_CACHE_HOME": cache},
        )
    seconds, peak, ended = json.loads(output.stdout.splitlines()[-1])
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    return seconds, peak * unit / 1e9, ended


if __name__ == "__main__":
    main()
