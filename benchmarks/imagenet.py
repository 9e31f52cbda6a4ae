"""Memory and time of the job `coder-clip adapter` at the size of ImageNet with 16 shots.

16,000 shots, 20,000 texts, 10,000 validation and 50,000 test images, d = 1024 (RN50): synthetic
features in the files of the earlier phases, and the command as Snakemake runs it, with one seed,
two CPU threads, and the search of each method's authors, in one process per method. Memory is the
process's peak (goal: below 6 GB); seconds are its own (goal: minutes).

Prints a Markdown table row by row. If a method fails, its status is reported and the others run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from coder_clip.baselines.methods import ABLATIONS, FEW_SHOT
from coder_clip.foundation.artifacts import Paths, read_json, write_tensors

MODEL, DATASET = "RN50", "imagenet"
TEXTS = {
    "name": 1,
    "attribute": 14,
    "analogous": 5,
    "prompt": 7,
    "synonym": 3,
}  # a class; the first three: 20
SIZES = {  # classes, validation images, test images, d; 16 shots
    "caltech101": (100, 1649, 2465, 1024),
    "imagenet": (1000, 10_000, 50_000, 1024),
}
METHODS = [*FEW_SHOT, *ABLATIONS]
NOISE = 2.5  # of images: neither CLIP nor the shots are right alone


def main() -> None:
    """Run each method by itself, or all together."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        choices=METHODS,
        default=[*FEW_SHOT],
        help="each by itself (default %(default)s)",
    )
    parser.add_argument("--threads", type=int, default=2, help="CPU threads (default %(default)s)")
    parser.add_argument("--size", choices=SIZES, default="imagenet")
    args = parser.parse_args()
    classes, val, test, d = SIZES[args.size]

    rows: list[dict[str, Any]] = []
    print(
        f"16-shot adapter job, one seed, {args.threads} threads: {16 * classes:,} shots, "
        f"{20 * classes:,} texts, {val:,} + {test:,} images, d = {d}. The features are drawn, so "
        "accuracies only show that the searches had something to find.\n\n"
        "| method | CPU time | wall clock | peak memory | goal | test accuracy, CLIP's |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: |"
    )
    with tempfile.TemporaryDirectory() as folder:
        write_features(Paths(Path(folder) / "results"), classes, 16, val, test, d)
        for method in args.methods:
            rows.append(r := measure(Path(folder), method, args.threads))
            found = (
                f"ended with {r['ended']}"
                if r["ended"]
                else f"{r['accuracy']:.1%}, {r['clip_accuracy']:.1%}"
            )
            times = f"{r['cpu_s']:.0f} s | {r['wall_s']:.0f} s"
            print(f"| `{method}` | {times} | {r['gb']:.1f} GB | < 6 GB | {found} |", flush=True)
    if any(r["ended"] for r in rows):
        sys.exit(1)


def write_features(paths: Paths, classes: int, shots: int, val: int, test: int, d: int) -> None:
    """Write image_features and text_features.

    A common direction, one per class, and one per image or text.
    """
    torch.manual_seed(0)
    centres = normalize(torch.randn(classes, d), dim=1)
    names = [f"class {i}" for i in range(classes)]
    common = {"model": MODEL, "dataset": DATASET, "classes": names, "encoder": {"model": MODEL}}
    for split, n in (("shots", classes * shots), ("val", val), ("test", test)):
        ids = [f"{split}/{i}.jpg" for i in range(n)]
        labels = torch.arange(n) % classes
        # of one seed: for the first shot, the second, … an image a class
        draws = (
            {"1": [ids[i * classes : (i + 1) * classes] for i in range(shots)]}
            if split == "shots"
            else {}
        )
        tensors = {"features": features(labels, centres, NOISE), "labels": labels}
        meta = {**common, "split": split, "ids": ids, "skipped": [], "draws": draws}
        write_tensors(paths.image_features(MODEL, DATASET, split), tensors, meta)
    kind = [k for k, n in TEXTS.items() for _ in range(classes * n)]
    owner = torch.cat([torch.arange(classes).repeat_interleave(n) for n in TEXTS.values()])
    texts = {"features": normalize(features(owner, centres, 1.0), dim=1), "class_index": owner}
    texts["template_weights"] = normalize(features(torch.arange(classes), centres, 0.2), dim=1)
    texts["imagenet_names"] = normalize(features(torch.arange(classes), centres, 1.0), dim=1)
    meta = {**common, "kind": kind, "text": [f"text {i}" for i in range(len(kind))]}
    write_tensors(paths.text_features(MODEL, DATASET), texts, meta)


def features(labels: Tensor, centres: Tensor, noise: float) -> Tensor:
    """Rows (N, d) around a common direction and their class's centre."""
    d = centres.shape[1]
    own = normalize(torch.randn(len(labels), d), dim=1)
    return torch.ones(d) / d**0.5 + 0.5 * centres[labels] + noise * own


def measure(folder: Path, method: str, threads: int) -> dict[str, Any]:
    """The command's CPU seconds, wall-clock seconds, peak memory in GB and exit status.

    A signal is negative.
    """
    config = {
        "datasets": {DATASET: {"texts": "names", "views": 1}},
        "models": {MODEL: {"model": MODEL, "pretrained": "openai"}},
        "features": {"threads": threads},
        "settings": ["clean"],
        "adapter": {"methods": [method], "shots": [16], "seeds": [1]},
    }
    (folder / "c.yaml").write_text(json.dumps(config))
    job = [sys.executable, "-m", "coder_clip.cli", "adapter", "--config", "c.yaml"]
    # a process in between, whose only child is the job: getrusage's peak is over all children
    meter = (
        "import json, resource, subprocess, sys; ended = subprocess.run(sys.argv[1:]).returncode;"
        "u = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(json.dumps([u.ru_utime + u.ru_stime, u.ru_maxrss, ended]))"
    )
    start = time.perf_counter()
    output = subprocess.run(
        [sys.executable, "-c", meter, *job],
        cwd=folder,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    wall = time.perf_counter() - start
    cpu, peak, ended = json.loads(output.stdout.splitlines()[-1])
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss
    row = {"method": method, "cpu_s": cpu, "wall_s": wall, "gb": peak * unit / 1e9, "ended": ended}
    if ended:
        return row
    document = read_json(Paths(folder / "results").adapter(MODEL, DATASET, 16).with_suffix(".json"))
    accuracy = {r["method"]: r["test_accuracy"] for r in document["runs"]}
    return {**row, "accuracy": accuracy[method], "clip_accuracy": accuracy["clip_ensemble"]}


if __name__ == "__main__":
    main()
